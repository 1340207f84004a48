"""Files of word vectors: what is written is read, and what is wrong is said with its place."""

from __future__ import annotations

import gzip
import itertools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from unrolled.errors import ConfigError, DataError
from unrolled.vectors.formats import (
    VOCABULARY_FILE,
    StoredVectors,
    format_for,
    format_of,
    read_vectors,
    read_vocabulary,
    write_vectors,
)

WORDS = [
    "the",
    ",",
    "ñandú",
    "日本",
    "3.5",
    "New-York",
    "\x85",
    "a\u00a0b",
    "</s>",
    "don't",
    "\ufeffx",
]
FORMATS = {
    "vectors.txt": "glove",
    "vectors.vec": "word2vec",
    "vectors.bin": "word2vec-binary",
    "vectors.safetensors": "safetensors",
    "vectors.txt.gz": "glove",
    "vectors.vec.gz": "word2vec",
    "vectors.bin.gz": "word2vec-binary",
}


def matrix_of(n_words: int, width: int = 7) -> np.ndarray:
    """Numbers of every size that float32 has."""
    generator = np.random.default_rng(n_words)
    exponents = generator.integers(-44, 38, (n_words, width))
    values = generator.normal(size=(n_words, width)) * 10.0**exponents
    values[0, :3] = 0.1, -0.0, 1 / 3
    return values.astype(np.float32)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path, **settings) -> str:
    """What `read_vectors` says of a file, without the folder it lies in."""
    with pytest.raises(DataError) as raised:
        read_vectors(path, **settings)
    return str(raised.value).replace(f"{path.parent}/", "")


def notes_of(stored: StoredVectors, folder: Path) -> list[str]:
    return [note.replace(f"{folder}/", "") for note in stored.notes]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path, name: str) -> None:
    matrix, path = matrix_of(len(WORDS)), tmp_path / name
    write_vectors(path, WORDS, matrix)
    assert format_for(path) == format_of(path) == FORMATS[name]
    stored = read_vectors(path)
    assert stored.words == WORDS
    assert stored.matrix.dtype == np.float32
    assert stored.matrix.tobytes() == matrix.tobytes()
    assert stored.notes == ()
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("width", [1, 2])
def test_narrow_vectors_are_not_taken_for_something_else(
    tmp_path: Path, name: str, width: int
) -> None:
    matrix = np.full((3, width), 1.5, np.float32)
    write_vectors(tmp_path / name, ["ice", "12", "a"], matrix)
    stored = read_vectors(tmp_path / name)
    assert stored.words == ["ice", "12", "a"]
    assert stored.matrix.tolist() == matrix.tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_only_words_to_keep_are_kept_in_the_order_of_the_file(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(len(WORDS))
    write_vectors(tmp_path / name, WORDS, matrix)
    stored = read_vectors(tmp_path / name, {"日本", "the", "absent", "</s>"})
    assert stored.words == ["the", "日本", "</s>"]
    assert stored.matrix.tolist() == matrix[[0, 3, 8]].tolist()
    assert read_vectors(tmp_path / name, limit=2).words == WORDS[:2]
    assert read_vectors(tmp_path / name, {"日本", ","}, limit=1).words == [","]


@pytest.mark.parametrize("name", FORMATS)
def test_the_width_is_known_where_no_word_is_kept(tmp_path: Path, name: str) -> None:
    write_vectors(tmp_path / name, WORDS, matrix_of(len(WORDS)))
    stored = read_vectors(tmp_path / name, {"absent"})
    assert (stored.words, stored.width, len(stored.matrix)) == ([], 7, 0)


def test_packed_files_of_the_same_vectors_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.txt.gz", "b.txt.gz"):
        write_vectors(tmp_path / name, WORDS, matrix_of(len(WORDS)))
    assert (tmp_path / "a.txt.gz").read_bytes() == (tmp_path / "b.txt.gz").read_bytes()


def test_a_packed_file_needs_no_ending(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", gzip.compress(b"ice 1 2\nfire 3 4\n"))
    assert read_vectors(path).words == ["ice", "fire"]


# What other programs write


def test_binary_vectors_come_with_and_without_line_ends(tmp_path: Path) -> None:
    for end in (b"", b"\n", b"\r\n"):
        records = [b"%b " % word + struct.pack("<3f", *v) + end for word, v in RECORDS.items()]
        path = write(tmp_path / "vectors.bin", b"2 3\n" + b"".join(records))
        stored = read_vectors(path)
        assert stored.words == ["ice", "fire"]
        assert stored.matrix.tolist() == [[1.0, 2.0, 3.0], [10.0, 0.5, -1.0]]
        assert stored.notes == ()


RECORDS = {b"ice": (1.0, 2.0, 3.0), b"fire": (10.0, 0.5, -1.0)}


def test_binary_records_may_lie_across_blocks(tmp_path: Path, monkeypatch) -> None:
    matrix = matrix_of(len(WORDS))
    write_vectors(tmp_path / "vectors.bin", WORDS, matrix)
    for block in (1, 3, 29, 41):
        monkeypatch.setattr("unrolled.vectors.formats._BLOCK", block)
        stored = read_vectors(tmp_path / "vectors.bin")
        assert stored.words == WORDS
        assert stored.matrix.tobytes() == matrix.tobytes()


def test_spaces_at_line_ends_and_windows_line_ends_are_no_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", b"\xef\xbb\xbf2 2\r\nice 1 2 \r\nfire 3 4\r\n\r\n")
    stored = read_vectors(path)
    assert stored.words == ["ice", "fire"]
    assert stored.matrix.tolist() == [[1, 2], [3, 4]]


def test_words_may_have_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", "ice 1 2\n. . . 3 4\nat name@domain.com 5 6\n")
    stored = read_vectors(path)
    assert stored.words == ["ice", ". . .", "at name@domain.com"]
    assert stored.matrix.tolist() == [[1, 2], [3, 4], [5, 6]]
    write_vectors(tmp_path / "again.txt", stored.words, stored.matrix)
    assert read_vectors(tmp_path / "again.txt").words == stored.words


def test_a_header_may_be_too_many_or_missing(tmp_path: Path) -> None:
    with_header = write(tmp_path / "vectors.txt", "2 2\nice 1 2\nfire 3 4\n")
    assert read_vectors(with_header).notes == ()
    told = read_vectors(with_header, format="glove")
    assert told.words == ["ice", "fire"]
    assert notes_of(told, tmp_path) == [
        "vectors.txt, line 1: the header of word2vec's format is skipped"
    ]
    without = write(tmp_path / "vectors.vec", "ice 1 2\nfire 3 4\n")
    assert read_vectors(without).notes == ()
    told = read_vectors(without, format="word2vec")
    assert told.words == ["ice", "fire"]
    assert notes_of(told, tmp_path) == [
        "vectors.vec, line 1: no header with the number of words and their width; read as GloVe's "
        "format"
    ]


def test_a_header_that_promises_other_words_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.vec", "1000 2\nice 1 2\nfire 3 4\n")
    assert notes_of(read_vectors(path), tmp_path) == [
        "vectors.vec, line 1: 1,000 words are promised here, and 2 follow"
    ]
    assert read_vectors(path, limit=1).notes == ()


def test_of_a_word_that_stands_twice_the_first_vector_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", "ice 1 2\nfire 3 4\nice 5 6\nfire 7 8\nice 9 9\n")
    stored = read_vectors(path)
    assert stored.words == ["ice", "fire"]
    assert stored.matrix.tolist() == [[1, 2], [3, 4]]
    assert notes_of(stored, tmp_path) == [
        "vectors.txt, line 3: 3 words there before, first 'ice'; the first vector of each stays"
    ]


def test_words_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", b"ice 1 2\ncaf\xe9 3 4\n 5 6\nfire 7 8\n")
    stored = read_vectors(path)
    assert stored.words == ["ice", "fire"]
    assert notes_of(stored, tmp_path) == [
        "vectors.txt, line 2: 1 word not in UTF-8, first 'caf\\xe9'; left out",
        "vectors.txt, line 3: 1 word empty; left out",
    ]


def test_bytes_after_the_last_binary_vector_are_told(tmp_path: Path) -> None:
    write_vectors(tmp_path / "vectors.bin", ["ice", "ice"], matrix_of(2))
    content = (tmp_path / "vectors.bin").read_bytes()
    path = write(tmp_path / "vectors.bin", content + b"\n\nmore")
    assert notes_of(read_vectors(path), tmp_path) == [
        "vectors.bin: bytes after the last of 2 words left out",
        "vectors.bin: word 2: 1 word there before, first 'ice'; the first vector of each stays",
    ]


# What is wrong


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "vectors.txt: the file is empty; expected word vectors"),
        ("2 3\n", "vectors.txt: there are no word vectors in this file"),
        (
            "ice\t1\t2\n",
            "vectors.txt, line 1: expected a word and its numbers, one space between them, found "
            "'ice\t1\t2'",
        ),
        (
            "ice 1 2\n\nfire 3\n",
            "vectors.txt, line 3: expected a word and 2 numbers as before, found 1 number",
        ),
        (
            "ice 1 2\nfire 3.5 4.5 6\n",
            "vectors.txt, line 2: expected a word and 2 numbers as before, found 3 numbers",
        ),
        (
            "ice 1 2\nfire 1e-3 4.5 6 7\n",
            "vectors.txt, line 2: expected a word and 2 numbers as before, found 4 numbers",
        ),
        (
            "2 3\nice 1 2\n",
            "vectors.txt, line 2: expected a word and 3 numbers as before, found 2 numbers",
        ),
        (
            "ice 1 2\nfire 3 x4\n",
            "vectors.txt, line 2: number 2 of 'fire' is 'x4'; expected decimal numbers, one space "
            "between them",
        ),
        (
            "ice 1 2\nfire 3 nan\n",
            "vectors.txt, line 2: number 2 of 'fire' is nan, expected finite numbers; remove it",
        ),
        (
            "ice 1 2\nice 3 4\nfire -1e39 4\n",
            "vectors.txt, line 3: number 1 of 'fire' is -inf, expected finite numbers; remove it",
        ),
        (b"ice 1 2\nfi\0re 3 4\n", "vectors.txt, line 2: a NUL byte; this is not a text file"),
        (
            b"\x80\x04\x95abc",
            "vectors.txt: this is a pickled file, which can run code as it is read and is never "
            "loaded; in gensim, write it with save_word2vec_format",
        ),
        (
            b"PK\x03\x04abc",
            "vectors.txt: this is a zip archive; unpack it and give the file inside",
        ),
        ("3 0\nice\n", "vectors.txt, line 1: expected 1 to 65,536 numbers a word, found '3 0'"),
        (
            gzip.compress(b"ice 1 2\n" * 1000)[:-40],
            "vectors.txt: damaged gzip file; copy or download it again",
        ),
    ],
)
def test_what_is_wrong_with_a_text_is_said_with_its_line(
    tmp_path: Path, content: str | bytes, sentence: str
) -> None:
    assert refusal(write(tmp_path / "vectors.txt", content)) == sentence


def test_words_that_are_not_kept_need_no_good_numbers_but_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", "ice 1 2\nfire nan x\n")
    assert read_vectors(path, {"ice"}).words == ["ice"]
    path = write(tmp_path / "vectors.txt", "ice 1 2\nfire 3\n")
    assert "line 2: expected a word and 2 numbers" in refusal(path, keep={"ice"})


def test_a_file_without_line_ends_does_not_fill_the_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("unrolled.vectors.formats._LONGEST_LINE", 1 << 10)
    path = write(tmp_path / "vectors.txt", b"ice 1 2\n" + b"x" * 5000)
    assert refusal(path) == (
        "vectors.txt, line 2: a line of 16 MB; this is no file of word vectors"
    )


@pytest.mark.parametrize("n_bytes", [4, 5, 9, 33, 70, -1])
def test_a_binary_file_that_is_cut_off_is_refused_by_the_word(tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "vectors.bin"
    write_vectors(path, ["ice", "fire", "sea"], matrix_of(3))
    content = path.read_bytes().removesuffix(b"\n")
    write(path, content[:n_bytes])
    record = {4: 1, 5: 1, 9: 1, 33: 1, 70: 3, -1: 3}[n_bytes]
    assert refusal(path, format="word2vec-binary") == (
        "vectors.bin: cut short: 3 words are promised in its first line, and word "
        f"{record} is not whole; copy or download the file again"
    )


def test_a_binary_file_needs_its_header(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.bin", b"ice 1 2\n")
    assert refusal(path, format="word2vec-binary") == (
        "vectors.bin: expected a first line with the number of words and their width"
    )


def test_numbers_of_a_binary_file_must_be_finite(tmp_path: Path) -> None:
    matrix = matrix_of(3)
    matrix[1, 4] = np.nan
    write_vectors(tmp_path / "vectors.bin", ["ice", "fire", "sea"], matrix)
    assert refusal(tmp_path / "vectors.bin") == (
        "vectors.bin: word 2: number 5 of 'fire' is nan, expected finite numbers; remove it"
    )


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "vectors.txt", "ice 1\n")
    assert refusal(tmp_path / "vector.txt") == (
        "vector.txt: no such file; did you mean 'vectors.txt'?"
    )
    assert refusal(tmp_path / "none.safetensors").startswith("none.safetensors: no such file")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", "ice 1\n")
    with pytest.raises(ConfigError) as raised:
        read_vectors(path, format="fasttext")  # type: ignore[arg-type]
    assert str(raised.value) == (
        "format must be one of glove, word2vec, word2vec-binary, safetensors, got 'fasttext'"
    )


# safetensors


def trained(folder: Path, n: int = 5) -> dict[str, np.ndarray]:
    """What a training leaves, but for the counts."""
    generator = np.random.default_rng(2)
    tensors = {
        "w": generator.normal(size=(n, 3)).astype(np.float32),
        "w_context": generator.normal(size=(n, 3)).astype(np.float32),
        "b": generator.normal(size=n).astype(np.float32),
        "b_context": generator.normal(size=n).astype(np.float32),
    }
    save_file(tensors, folder / "vectors.safetensors")
    lines = [f"w{i}\t{100 - i}\n" for i in range(n)]
    (folder / VOCABULARY_FILE).write_text("".join(lines), encoding="utf-8")
    return tensors


@pytest.mark.parametrize("which", ["sum", "word", "context"])
def test_word_and_context_vectors_are_added_unless_one_is_asked_for(tmp_path: Path, which) -> None:
    tensors = trained(tmp_path)
    w, context = tensors["w"], tensors["w_context"]
    expected = {"sum": w + context, "word": w, "context": context}[which]
    for path in (tmp_path, tmp_path / "vectors.safetensors"):
        stored = read_vectors(path, which=which)
        assert stored.words == [f"w{i}" for i in range(5)]
        assert stored.matrix.tobytes() == expected.tobytes()
        assert stored.counts is not None
        assert stored.counts.tolist() == [100, 99, 98, 97, 96]
        kept = read_vectors(path, {"w3", "w1"}, which=which)
        assert kept.words == ["w1", "w3"]
        assert kept.matrix.tobytes() == expected[[1, 3]].tobytes()
        assert kept.counts is not None
        assert kept.counts.tolist() == [99, 97]


def test_a_whole_matrix_is_left_on_the_disk(tmp_path: Path) -> None:
    trained(tmp_path)
    base = read_vectors(tmp_path, which="word").matrix
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floating_point_numbers_are_read(tmp_path: Path, dtype) -> None:
    values = np.array([[1, 2], [3, 0.5]], dtype)
    save_file({"embedding.weight": values}, tmp_path / "any.safetensors")
    write(tmp_path / VOCABULARY_FILE, "ice\nfire\n")
    stored = read_vectors(tmp_path / "any.safetensors")
    assert stored.matrix.dtype == np.float32
    assert stored.matrix.tolist() == values.tolist()
    assert stored.counts is None


def test_counts_are_written_and_read(tmp_path: Path) -> None:
    counts = np.array([30, 12])
    write_vectors(tmp_path / "v.safetensors", ["a b", "c"], matrix_of(2), counts=counts)
    assert (tmp_path / VOCABULARY_FILE).read_bytes() == b"a b\t30\nc\t12\n"
    assert list(load_file(tmp_path / "v.safetensors")) == ["w"]
    stored = read_vectors(tmp_path / "v.safetensors")
    assert stored.words == ["a b", "c"]
    assert stored.counts is not None
    assert stored.counts.tolist() == [30, 12]


def test_what_is_wrong_with_safetensors_is_said(tmp_path: Path) -> None:
    tensors = trained(tmp_path)
    file, vocabulary = tmp_path / "vectors.safetensors", tmp_path / VOCABULARY_FILE
    good, words = file.read_bytes(), vocabulary.read_bytes()
    write(vocabulary, b"w0\t5\n")
    assert refusal(file) == "vocabulary.tsv: 1 words, but 5 vectors in vectors.safetensors"
    vocabulary.unlink()
    assert refusal(file).startswith("vocabulary.tsv: no such file")
    write(vocabulary, words)
    for damaged in (good[:-1], good[:5], b"", b"\xff" * 100):
        write(file, damaged)
        assert refusal(file).startswith("vectors.safetensors: not a whole safetensors file (")
    save_file({"b": tensors["b"]}, file)
    assert refusal(file) == "vectors.safetensors: no matrix 'w' in this file, only b"
    save_file({"w": tensors["w"], "b": tensors["b"]}, file)
    assert refusal(file, which="context") == (
        "vectors.safetensors: no matrix 'w_context' in this file, only b, w"
    )
    tensors["w"][3, 1] = np.inf
    save_file(tensors, file)
    assert refusal(file) == (
        "vectors.safetensors: number 2 of 'w3' is inf, expected finite numbers; remove it, or train "
        "again"
    )


def test_a_word_twice_in_a_vocabulary_keeps_its_first_row(tmp_path: Path) -> None:
    tensors = trained(tmp_path)
    write(tmp_path / VOCABULARY_FILE, "a\t9\nb\t8\na\t7\nc\t6\nd\t5\n")
    stored = read_vectors(tmp_path, which="word")
    assert stored.words == ["a", "b", "c", "d"]
    assert stored.matrix.tobytes() == tensors["w"][[0, 1, 3, 4]].tobytes()
    assert notes_of(stored, tmp_path) == [
        "vocabulary.tsv: 1 word there before; the first vector of each stays"
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "vocabulary.tsv: the file is empty; expected a word, a tab and its count per line"),
        (
            b"ice\t3\nfire\n",
            "vocabulary.tsv, line 2: expected a word, a tab and its count, found 'fire'",
        ),
        (b"ice\nfire\t3\n", "vocabulary.tsv, line 2: expected a word, found 'fire\t3'"),
        (
            b"ice\tmany\n",
            "vocabulary.tsv, line 1: expected a word, a tab and its count, found 'ice\tmany'",
        ),
        (
            b"ice\t3\n\t4\n",
            "vocabulary.tsv, line 2: expected a word, a tab and its count, found '\t4'",
        ),
        (b"ice\t3\ncaf\xe9\t2\n", "vocabulary.tsv, line 2: 'caf\\xe9' is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_vocabulary_is_said(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = write(tmp_path / VOCABULARY_FILE, content)
    with pytest.raises(DataError) as raised:
        read_vocabulary(path)
    assert str(raised.value).replace(f"{tmp_path}/", "") == sentence


# Writing


@pytest.mark.parametrize(
    ("name", "word", "problem"),
    [
        ("v.txt", "", "it is empty"),
        ("v.bin", "a\nb", "it has a line end or a NUL byte in it"),
        ("v.safetensors", "a\tb", "it has a tab in it"),
        (
            "v.vec",
            "New York",
            "a space ends a word in word2vec's formats; write GloVe's or safetensors",
        ),
        (
            "v.bin",
            "New York",
            "a space ends a word in word2vec's formats; write GloVe's or safetensors",
        ),
        (
            "v.txt",
            "windows 95",
            "its space could not be told from those between numbers; write safetensors",
        ),
        (
            "v.txt",
            "a ",
            "its space could not be told from those between numbers; write safetensors",
        ),
    ],
)
def test_a_word_that_a_format_cannot_hold_is_refused(
    tmp_path: Path, name: str, word: str, problem: str
) -> None:
    with pytest.raises(DataError) as raised:
        write_vectors(tmp_path / name, ["ice", word], matrix_of(2))
    assert str(raised.value) == f"{tmp_path / name}: cannot hold word 2, {word!r}: {problem}"
    assert list(tmp_path.iterdir()) == []


def test_an_ending_that_stands_for_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        write_vectors(tmp_path / "v.dat", ["ice"], matrix_of(1))
    assert str(raised.value) == (
        "cannot tell the format from 'v.dat'; end the name in .txt (glove), .vec (word2vec), .bin "
        "(word2vec-binary), .safetensors (safetensors), or name the format"
    )
    with pytest.raises(ConfigError, match=r"a packed safetensors file cannot be mapped"):
        format_for(tmp_path / "v.safetensors.gz")
    with pytest.raises(ConfigError, match=r"there is no folder '.*none'; make it, or name another"):
        write_vectors(tmp_path / "none" / "v.txt", ["ice"], matrix_of(1))


def test_what_stood_there_stays_when_writing_fails(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "v.txt"
    write_vectors(path, ["ice"], matrix_of(1))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unrolled.vectors.formats._text_rows", full)
    with pytest.raises(OSError, match="No space"):
        write_vectors(path, ["fire"], matrix_of(1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_format_is_told_from_the_content(tmp_path: Path) -> None:
    endings = ("txt", "vec", "bin")
    for ending, other in itertools.permutations(endings, 2):
        write_vectors(tmp_path / f"a.{ending}", WORDS, matrix_of(len(WORDS)))
        moved = (tmp_path / f"a.{ending}").rename(tmp_path / f"b.{other}")
        assert format_of(moved) == format_for(f"a.{ending}")


def test_memory_is_that_of_the_words_kept(tmp_path: Path) -> None:
    n, width = 40_000, 50
    path = tmp_path / "vectors.bin"
    write_vectors(path, [f"w{i}" for i in range(n)], np.ones((n, width), np.float32))
    tracemalloc.start()
    read_vectors(path, {"w17", "w19999"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 8_000_000
    assert peak < 4_000_000


@pytest.mark.usefixtures("real_data")
def test_genuine_vectors_are_read(real_data: Path) -> None:
    path = real_data / "glove-6B-50d-subset" / "glove.6B.50d.subset.txt.gz"
    stored = read_vectors(path)
    assert (len(stored.words), stored.width, stored.words[:2]) == (8863, 50, ["the", ","])
    assert stored.matrix[0, 0] == np.float32(0.418)
    assert stored.notes == ()
