"""word2vec's binary format: files are read completely, and errors name the word."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from vector_samples import WORDS, matrix_of, notes_of, refusal, write

from unrolled.vectors.formats.detect import (
    read_vectors,
    write_vectors,
)


def test_line_ends_after_binary_vectors_are_optional(tmp_path: Path) -> None:
    for end in (b"", b"\n", b"\r\n"):
        records = [b"%b " % word + struct.pack("<3f", *v) + end for word, v in RECORDS.items()]
        path = write(tmp_path / "vectors.bin", b"2 3\n" + b"".join(records))
        stored = read_vectors(path)
        assert stored.words == ["ice", "fire"]
        assert stored.matrix.tolist() == [[1.0, 2.0, 3.0], [10.0, 0.5, -1.0]]
        assert stored.notes == ()


RECORDS = {b"ice": (1.0, 2.0, 3.0), b"fire": (10.0, 0.5, -1.0)}


def test_binary_records_may_cross_block_borders(tmp_path: Path, monkeypatch) -> None:
    matrix = matrix_of(len(WORDS))
    write_vectors(tmp_path / "vectors.bin", WORDS, matrix)
    for block in (1, 3, 29, 41):
        monkeypatch.setattr("unrolled.vectors.formats.word2vec_binary._BLOCK", block)
        stored = read_vectors(tmp_path / "vectors.bin")
        assert stored.words == WORDS
        assert stored.matrix.tobytes() == matrix.tobytes()


def test_extra_bytes_in_a_binary_file_give_a_note(tmp_path: Path) -> None:
    write_vectors(tmp_path / "vectors.bin", ["ice", "ice"], matrix_of(2))
    content = (tmp_path / "vectors.bin").read_bytes()
    path = write(tmp_path / "vectors.bin", content + b"\n\nmore")
    assert notes_of(read_vectors(path), tmp_path) == [
        "vectors.bin: the bytes after the last of 2 words are ignored",
        "vectors.bin: word 2: 1 duplicate word, the first is 'ice'; the first vector of each is used",
    ]


def test_a_space_in_a_binary_word_is_suggested_as_the_cause(tmp_path: Path) -> None:
    numbers = struct.pack("<3f", 0.1, -0.2, 0.3)
    words = (b"ice", b"New York", b"fire", b"sea")
    path = write(tmp_path / "v.bin", b"4 3\n" + b"".join(b"%b %b" % (w, numbers) for w in words))
    stored = read_vectors(path)
    assert notes_of(stored, tmp_path) == [
        "v.bin: word 3: 1 non-UTF-8 word, the first is '\\xbe\\x9a\\x99\\x99>fire'; left out; if words "
        "contain spaces, which this format does not allow, earlier words are wrong"
    ]


@pytest.mark.parametrize("n_bytes", [4, 5, 9, 33, 70, -1])
def test_a_truncated_binary_file_is_refused(tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "vectors.bin"
    write_vectors(path, ["ice", "fire", "sea"], matrix_of(3))
    content = path.read_bytes().removesuffix(b"\n")
    write(path, content[:n_bytes])
    record = {4: 1, 5: 1, 9: 1, 33: 1, 70: 3, -1: 3}[n_bytes]
    assert refusal(path, format="word2vec-binary") == (
        "vectors.bin: truncated: the first line declares 3 words, but word "
        f"{record} is incomplete; copy or download the file again"
    )


def test_a_binary_file_needs_its_header(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.bin", b"ice 1 2\n")
    assert refusal(path, format="word2vec-binary") == (
        "vectors.bin: expected a first line with the number of words and their width"
    )


def test_numbers_of_a_binary_file_must_be_finite(tmp_path: Path) -> None:
    numbers = (struct.pack("<3f", 1, 2, third) for third in (3, float("nan"), 1))
    records = [b"%b %b" % pair for pair in zip((b"ice", b"fire", b"sea"), numbers, strict=True)]
    path = write(tmp_path / "vectors.bin", b"3 3\n" + b"".join(records))
    assert refusal(path) == (
        "vectors.bin: word 2: number 3 of 'fire' is nan, expected finite numbers; remove it"
    )


def test_only_kept_words_take_memory(tmp_path: Path) -> None:
    n, width = 40_000, 50
    path = tmp_path / "vectors.bin"
    write_vectors(path, [f"w{i}" for i in range(n)], np.ones((n, width), np.float32))
    tracemalloc.start()
    read_vectors(path, {"w17", "w19999"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 8_000_000
    assert peak < 4_000_000
