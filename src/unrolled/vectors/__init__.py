"""Word vectors trained on a corpus with GloVe (Pennington, Socher & Manning 2014).

    from unrolled import VectorsConfig, train_vectors       # fit_vectors is in unrolled.vectors.train

Training writes a folder, which is complete when `vectors.safetensors` exists:

    vocabulary.tsv       a line `word<TAB>count` for each word, UTF-8, LF; V lines by decreasing count,
                         words with equal counts by code point. The first line is the word of rank 0
    vectors.safetensors  float32, rows by rank: `w` [V, D], `w_context` [V, D], `b` [V], `b_context`
                         [V]. The paper's vectors are w + w_context
    counts/              the non-zeros of X; row i has the words around word i. All three can be mapped:
      rows.npy           uint64 [V + 1]; row i is the entries from rows[i] up to rows[i + 1]
      columns.npy        uint32, the ranks j, increasing within a row
      values.npy         float64, X_ij
    vectors.toml         the settings, a `VectorsConfig`
    record.json          what was done: files, words, loss of each epoch, seconds, versions
    README.md            a model card: a summary in words
    work/                only during training: the state from which a run can be resumed

P(k | i) is the value of row i at column k divided by the sum of the row's values.
"""
