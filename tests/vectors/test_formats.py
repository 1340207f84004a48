"""Files of word vectors: round trips in every format, and detection of formats."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from vector_samples import WORDS, matrix_of, refusal, write

from unrolled.errors import ConfigError, DataError, RunError
from unrolled.vectors.formats.detect import (
    format_for,
    format_of,
    read_vectors,
    write_vectors,
)

FORMATS = {
    "vectors.txt": "glove",
    "vectors.vec": "word2vec",
    "vectors.bin": "word2vec-binary",
    "vectors.safetensors": "safetensors",
    "vectors.txt.gz": "glove",
    "vectors.vec.gz": "word2vec",
    "vectors.bin.gz": "word2vec-binary",
}


@pytest.mark.parametrize("name", FORMATS)
def test_written_vectors_are_read_bit_for_bit(tmp_path: Path, name: str) -> None:
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
def test_the_format_of_narrow_vectors_is_recognized(tmp_path: Path, name: str, width: int) -> None:
    matrix = np.full((3, width), 1.5, np.float32)
    write_vectors(tmp_path / name, ["ice", "12", "a"], matrix)
    stored = read_vectors(tmp_path / name)
    assert stored.words == ["ice", "12", "a"]
    assert stored.matrix.tolist() == matrix.tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_only_requested_words_are_read_in_file_order(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(len(WORDS))
    write_vectors(tmp_path / name, WORDS, matrix)
    stored = read_vectors(tmp_path / name, {"日本", "the", "absent", "</s>"})
    assert stored.words == ["the", "日本", "</s>"]
    assert stored.matrix.tolist() == matrix[[0, 3, 8]].tolist()
    assert read_vectors(tmp_path / name, limit=2).words == WORDS[:2]
    assert read_vectors(tmp_path / name, {"日本", ","}, limit=1).words == [","]


@pytest.mark.parametrize("name", FORMATS)
def test_the_width_is_known_when_no_word_is_kept(tmp_path: Path, name: str) -> None:
    write_vectors(tmp_path / name, WORDS, matrix_of(len(WORDS)))
    stored = read_vectors(tmp_path / name, {"absent"})
    assert (stored.words, stored.width, len(stored.matrix)) == ([], 7, 0)


def test_compressed_files_are_reproducible(tmp_path: Path) -> None:
    for name in ("a.txt.gz", "b.txt.gz"):
        write_vectors(tmp_path / name, WORDS, matrix_of(len(WORDS)))
    assert (tmp_path / "a.txt.gz").read_bytes() == (tmp_path / "b.txt.gz").read_bytes()


def test_a_compressed_file_needs_no_suffix(tmp_path: Path) -> None:
    path = write(tmp_path / "vectors.txt", gzip.compress(b"ice 1 2\nfire 3 4\n"))
    assert read_vectors(path).words == ["ice", "fire"]


def test_a_missing_file_is_reported_with_a_suggestion(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("name", "word", "problem"),
    [
        ("v.txt", "", "it is empty; remove it"),
        ("v.bin", "a\nb", "it contains a line end or a NUL byte; remove it"),
        ("v.safetensors", "a\tb", "it contains a tab; remove it"),
        (
            "v.vec",
            "New York",
            "a space ends a word in word2vec's formats; use GloVe's format or safetensors",
        ),
        (
            "v.bin",
            "New York",
            "a space ends a word in word2vec's formats; use GloVe's format or safetensors",
        ),
        (
            "v.txt",
            "windows 95",
            "its space cannot be distinguished from those between numbers; use safetensors",
        ),
        (
            "v.txt",
            "a ",
            "its space cannot be distinguished from those between numbers; use safetensors",
        ),
    ],
)
def test_a_word_that_a_format_cannot_represent_is_refused(
    tmp_path: Path, name: str, word: str, problem: str
) -> None:
    with pytest.raises(DataError) as raised:
        write_vectors(tmp_path / name, ["ice", word], matrix_of(2))
    assert str(raised.value) == f"{tmp_path / name}: cannot write word 2, {word!r}: {problem}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_vectors_that_are_not_finite_are_not_written(tmp_path: Path, name: str) -> None:
    matrix = matrix_of(3)
    matrix[1, 4] = np.inf
    with pytest.raises(DataError) as raised:
        write_vectors(tmp_path / name, ["ice", "fire", "sea"], matrix)
    assert str(raised.value) == (
        f"{tmp_path / name}: cannot write word 2, 'fire': its vector is not finite; remove it, or train "
        "again"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_first_word_with_a_byte_order_mark_is_refused(tmp_path: Path, name: str) -> None:
    words, path = ["\ufeffthe", "ice"], tmp_path / name
    if FORMATS[name].startswith("word2vec"):  # the file begins with a header
        write_vectors(path, words, matrix_of(2))
        assert read_vectors(path).words == words
    else:
        with pytest.raises(DataError, match="it begins with a byte order mark, which readers"):
            write_vectors(path, words, matrix_of(2))


def test_an_unknown_suffix_or_a_bad_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        write_vectors(tmp_path / "v.dat", ["ice"], matrix_of(1))
    assert str(raised.value) == (
        "'v.dat' has no known suffix; use one of .txt (glove), .vec (word2vec), .bin (word2vec-binary), "
        ".safetensors (safetensors), or give the format"
    )
    with pytest.raises(ConfigError, match=r"a compressed safetensors file cannot be mapped"):
        format_for(tmp_path / "v.safetensors.gz")
    with pytest.raises(
        ConfigError, match=r"the folder '.*none' does not exist; create it, or name"
    ):
        write_vectors(tmp_path / "none" / "v.txt", ["ice"], matrix_of(1))
    with pytest.raises(ConfigError, match=r"it is a folder; name a file in it$"):
        write_vectors(tmp_path, ["ice"], matrix_of(1), format="glove")


def test_the_old_file_is_kept_when_writing_fails(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "v.txt.gz"
    write_vectors(path, ["ice"], matrix_of(1))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(
        RunError, match=f"^disk full while writing {path}; free space and try again$"
    ):
        write_vectors(path, ["fire"], matrix_of(1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_format_is_detected_from_the_content(tmp_path: Path) -> None:
    endings = ("txt", "vec", "bin")
    for ending, other in itertools.permutations(endings, 2):
        write_vectors(tmp_path / f"a.{ending}", WORDS, matrix_of(len(WORDS)))
        moved = (tmp_path / f"a.{ending}").rename(tmp_path / f"b.{other}")
        assert format_of(moved) == format_for(f"a.{ending}")
