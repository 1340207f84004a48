"""Word vectors from a text of one's own, by GloVe (Pennington, Socher & Manning 2014).

    from unrolled import VectorsConfig, train_vectors       # and fit_vectors, of unrolled.vectors.train

What training leaves is a folder, complete when `vectors.safetensors` is there:

    vocabulary.tsv       a line `word<TAB>count` for each word, UTF-8, LF; V lines by falling count,
                         words of one count by code point. The first line is the word of rank 0
    vectors.safetensors  float32, rows by rank: `w` [V, D], `w_context` [V, D], `b` [V], `b_context`
                         [V]. The paper's vectors are w + w_context
    counts/              the non-zeros of X, row i the words around word i, all three to be memory-mapped:
      rows.npy           uint64 [V + 1]; row i is the entries from rows[i] up to rows[i + 1]
      columns.npy        uint32, the ranks j, rising within a row
      values.npy         float64, X_ij
    vectors.toml         the settings, a `VectorsConfig`
    record.json          what was done: files, words, loss of each epoch, seconds, versions
    README.md            a card that says so in words
    work/                only while it is being made: what a resumed run goes on from

P(k | i) is values of row i at column k over the sum of the row's values.
"""
