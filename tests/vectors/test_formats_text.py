"""Text formats: files of other programs are read, and errors name the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from vector_samples import notes_of, refusal, write

from unrolled.vectors.formats.detect import (
    read_vectors,
    write_vectors,
)


def test_trailing_spaces_and_windows_line_ends_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", b"\xef\xbb\xbf2 2\r\nice 1 2 \r\nfire 3 4\r\n\r\n")
    stored = read_vectors(path)
    assert stored.words == ["ice", "fire"]
    assert stored.matrix.tolist() == [[1, 2], [3, 4]]


def test_words_may_contain_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", "ice 1 2\n. . . 3 4\nat name@domain.com 5 6\n")
    stored = read_vectors(path)
    assert stored.words == ["ice", ". . .", "at name@domain.com"]
    assert stored.matrix.tolist() == [[1, 2], [3, 4], [5, 6]]
    write_vectors(tmp_path / "again.txt", stored.words, stored.matrix)
    assert read_vectors(tmp_path / "again.txt").words == stored.words


def test_a_missing_or_unexpected_header_gives_a_note(tmp_path: Path) -> None:
    with_header = write(tmp_path / "vectors.txt", "2 2\nice 1 2\nfire 3 4\n")
    assert read_vectors(with_header).notes == ()
    stored = read_vectors(with_header, format="glove")
    assert stored.words == ["ice", "fire"]
    assert notes_of(stored, tmp_path) == [
        "vectors.txt, line 1: found a header of word2vec's format; it is skipped"
    ]
    without = write(tmp_path / "vectors.vec", "ice 1 2\nfire 3 4\n")
    assert read_vectors(without).notes == ()
    stored = read_vectors(without, format="word2vec")
    assert stored.words == ["ice", "fire"]
    assert notes_of(stored, tmp_path) == [
        "vectors.vec, line 1: found no header with the number of words and their width; read as GloVe's "
        "format"
    ]


def test_a_header_with_a_wrong_number_of_words_gives_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.vec", "1000 2\nice 1 2\nfire 3 4\n")
    assert notes_of(read_vectors(path), tmp_path) == [
        "vectors.vec, line 1: the header declares 1,000 words, but 2 follow"
    ]
    assert read_vectors(path, limit=1).notes == ()


def test_the_first_vector_of_a_duplicate_word_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", "ice 1 2\nfire 3 4\nice 5 6\nfire 7 8\nice 9 9\n")
    stored = read_vectors(path)
    assert stored.words == ["ice", "fire"]
    assert stored.matrix.tolist() == [[1, 2], [3, 4]]
    assert notes_of(stored, tmp_path) == [
        "vectors.txt, line 3: 3 duplicate words, the first is 'ice'; the first vector of each is used"
    ]


def test_empty_words_and_invalid_utf8_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", b"ice 1 2\ncaf\xe9 3 4\n 5 6\nfire 7 8\n")
    stored = read_vectors(path)
    assert stored.words == ["ice", "fire"]
    assert notes_of(stored, tmp_path) == [
        "vectors.txt, line 2: 1 non-UTF-8 word, the first is 'caf\\xe9'; left out",
        "vectors.txt, line 3: 1 empty word; left out",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "vectors.txt: the file is empty; expected word vectors"),
        (
            "2 3\n",
            "vectors.txt: the file contains no word vectors; expected a word and its numbers",
        ),
        (
            "ice\t1\t2\n",
            "vectors.txt, line 1: expected a word and its numbers, separated by one space, found "
            "'ice\\t1\\t2'",
        ),
        (
            "ice 1 2\n\nfire 3\n",
            "vectors.txt, line 3: expected a word and 2 numbers, as before, found 1 number",
        ),
        (
            "ice 1 2\nfire 3.5 4.5 6\n",
            "vectors.txt, line 2: expected a word and 2 numbers, as before, found 3 numbers",
        ),
        (
            "ice 1 2\nfire 1e-3 4.5 6 7\n",
            "vectors.txt, line 2: expected a word and 2 numbers, as before, found 4 numbers",
        ),
        (
            "2 3\nice 1 2\n",
            "vectors.txt, line 2: expected a word and 3 numbers, as before, found 2 numbers",
        ),
        (
            "ice 1 2\nfire 3 x4\n",
            "vectors.txt, line 2: number 2 of 'fire' is 'x4'; expected decimal numbers separated by one "
            "space",
        ),
        (
            "ice 1 2\nfire 3 nan\n",
            "vectors.txt, line 2: number 2 of 'fire' is nan, expected finite numbers; remove it",
        ),
        (
            "ice 1 2\nice 3 4\nfire -1e39 4\n",
            "vectors.txt, line 3: number 1 of 'fire' is -inf, expected finite numbers; remove it",
        ),
        (
            b"ice 1 2\nfi\0re 3 4\n",
            "vectors.txt, line 2: found a NUL byte; expected a text file",
        ),
        (
            b"\x80\x04\x95abc",
            "vectors.txt: this is a pickled file, which is not loaded because it can run code; save it "
            "in gensim with save_word2vec_format",
        ),
        (
            b"PK\x03\x04abc",
            "vectors.txt: this is a zip archive; unpack it and give the file inside",
        ),
        (
            "3 0\nice\n",
            "vectors.txt, line 1: expected a header with a width of 1 to 65,536, found '3 0'",
        ),
        (
            gzip.compress(b"ice 1 2\n" * 1000, mtime=0)[:-40],
            "vectors.txt: damaged gzip file; copy or download it again",
        ),
    ],
)
def test_errors_in_a_text_file_name_the_line(
    tmp_path: Path, content: str | bytes, sentence: str
) -> None:
    assert refusal(write(tmp_path / "vectors.txt", content)) == sentence


def test_vectors_of_other_words_are_only_checked_for_width(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", "ice 1 2\nfire nan x\n")
    assert read_vectors(path, {"ice"}).words == ["ice"]
    path = write(tmp_path / "vectors.txt", "ice 1 2\nfire 3\n")
    assert "line 2: expected a word and 2 numbers" in refusal(path, keep={"ice"})


def test_a_file_without_line_ends_does_not_fill_up_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("UNROLLED_MAX_LINE", "1KB")
    path = write(tmp_path / "vectors.txt", b"ice 1 2\n" + b"x" * 5000)
    assert refusal(path) == (
        "vectors.txt, line 2: this line is longer than 1 KB; split it, or raise UNROLLED_MAX_LINE (an "
        "environment variable, now 1 KB)"
    )


@pytest.mark.usefixtures("real_data")
def test_published_vectors_are_read(real_data: Path) -> None:
    path = real_data / "glove-6B-50d-subset" / "glove.6B.50d.subset.txt.gz"
    stored = read_vectors(path)
    assert (len(stored.words), stored.width, stored.words[:2]) == (8863, 50, ["the", ","])
    assert stored.matrix[0, 0] == np.float32(0.418)
    assert stored.notes == ()
