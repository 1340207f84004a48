"""Vectors as safetensors with a vocabulary: mapping, sums, and consistency checks."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from vector_samples import matrix_of, notes_of, refusal, write

from unrolled.errors import ConfigError, DataError, RunError
from unrolled.vectors.formats.detect import (
    VOCABULARY_FILE,
    read_vectors,
    read_vocabulary,
    write_vectors,
)


def trained(folder: Path, n: int = 5) -> dict[str, np.ndarray]:
    """Write the files of a training, except the counts."""
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
def test_word_and_context_vectors_are_added_by_default(tmp_path: Path, which) -> None:
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


def test_a_whole_matrix_is_mapped_from_disk(tmp_path: Path) -> None:
    trained(tmp_path)
    base = read_vectors(tmp_path, which="word").matrix
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floating_point_types_are_read(tmp_path: Path, dtype) -> None:
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


def test_the_vocabulary_of_other_vectors_is_not_overwritten(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.safetensors", ["ice", "sea"], matrix_of(2))
    write_vectors(tmp_path / "v.safetensors", ["ice", "fire"], matrix_of(2))
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError) as raised:
        write_vectors(tmp_path / "other.safetensors", ["a", "b"], matrix_of(2))
    assert str(raised.value) == (
        f"cannot write {tmp_path}/other.safetensors: {tmp_path}/vocabulary.tsv is the vocabulary of "
        "v.safetensors; choose another folder"
    )
    (tmp_path / "vectors.toml").touch()
    with pytest.raises(ConfigError, match=r"is the folder of a training, whose vocabulary and"):
        write_vectors(tmp_path / "v.safetensors", ["a", "b"], matrix_of(2))
    (tmp_path / "vectors.toml").unlink()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("n_done", range(3))
def test_new_words_are_never_beside_old_vectors(tmp_path: Path, monkeypatch, n_done: int) -> None:
    path, replaced, steps = tmp_path / "v.safetensors", os.replace, iter(range(9))
    write_vectors(path, ["ice", "sea"], matrix_of(2))
    before = snapshot(tmp_path)

    def stopped(source: Path, target: Path) -> None:
        if next(steps) == n_done:
            raise OSError(28, "No space left on device")
        replaced(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with suppress(OSError, RunError):
        write_vectors(path, ["a", "b"], -matrix_of(2))
    after = snapshot(tmp_path)
    assert next(steps) == n_done + 1
    assert after == before or "v.safetensors" not in after
    assert not [name for name in after if name.startswith(".")]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_without_vectors_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith(
        ": this folder has no vectors.safetensors; give the folder of a training, or a file of vectors"
    )
    (tmp_path / "vectors.toml").touch()
    assert refusal(tmp_path).endswith(
        ": the training of these vectors is not finished; run its command again with --resume --out "
        f"{tmp_path.name}"
    )


def test_other_tensors_are_listed_in_the_error(tmp_path: Path) -> None:
    save_file({f"t{i}": np.ones(1, np.float32) for i in range(9)}, tmp_path / "model.safetensors")
    assert refusal(tmp_path / "model.safetensors") == (
        "model.safetensors: expected a matrix 'w', found t0, t1, t2, t3, t4, …"
    )


def test_errors_in_safetensors_are_reported(tmp_path: Path) -> None:
    tensors = trained(tmp_path)
    file, vocabulary = tmp_path / "vectors.safetensors", tmp_path / VOCABULARY_FILE
    good, words = file.read_bytes(), vocabulary.read_bytes()
    write(vocabulary, b"w0\t5\n")
    assert refusal(file) == (
        "vocabulary.tsv: 1 word, but 5 vectors in vectors.safetensors; copy the whole folder again"
    )
    vocabulary.unlink()
    assert refusal(file).startswith("vocabulary.tsv: no such file")
    write(vocabulary, words)
    for damaged in (good[:-1], good[:5], b"", b"\xff" * 100):
        write(file, damaged)
        assert refusal(file).startswith("vectors.safetensors: not a complete safetensors file (")
    save_file({"b": tensors["b"]}, file)
    assert refusal(file) == "vectors.safetensors: expected a matrix 'w', found b"
    save_file({"w": tensors["w"], "b": tensors["b"]}, file)
    assert refusal(file, which="context") == (
        "vectors.safetensors: expected a matrix 'w_context', found b, w"
    )
    tensors["w"][3, 1] = np.inf
    save_file(tensors, file)
    assert refusal(file) == (
        "vectors.safetensors: number 2 of 'w3' is inf, expected finite numbers; remove it, or train "
        "again"
    )


def test_a_duplicate_word_in_a_vocabulary_keeps_its_first_row(tmp_path: Path) -> None:
    tensors = trained(tmp_path)
    write(tmp_path / VOCABULARY_FILE, "a\t9\nb\t8\na\t7\nc\t6\nd\t5\n")
    stored = read_vectors(tmp_path, which="word")
    assert stored.words == ["a", "b", "c", "d"]
    assert stored.matrix.tobytes() == tensors["w"][[0, 1, 3, 4]].tobytes()
    assert notes_of(stored, tmp_path) == [
        "vocabulary.tsv: 1 duplicate word; the first vector of each is used"
    ]


@pytest.mark.parametrize("at_once", [1 << 30, 1])
@pytest.mark.parametrize(
    "content",
    [
        b"the\t9\na\xc2\xa0b\t8\n\xef\xbb\xbfx\t7\n",
        b"\xef\xbb\xbfthe\t9\na\xc2\xa0b\t8\n\xef\xbb\xbfx\t7\n",
        b"the\t9\r\na\xc2\xa0b\t8\r\n\xef\xbb\xbfx\t7",
    ],
)
def test_reading_a_vocabulary_in_blocks_or_by_line_is_equal(
    tmp_path: Path, monkeypatch, content: bytes, at_once: int
) -> None:
    monkeypatch.setattr("unrolled.vectors.formats.safetensors._AT_ONCE", at_once)
    words, counts = read_vocabulary(write(tmp_path / VOCABULARY_FILE, content))
    assert words == ["the", "a\u00a0b", "\ufeffx"]
    assert counts is not None
    assert (counts.tolist(), counts.dtype) == ([9, 8, 7], np.int64)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "vocabulary.tsv: the file is empty; expected a word, a tab and its count per line"),
        (
            b"ice\t3\nfire\n",
            "vocabulary.tsv, line 2: expected a word, a tab and its count, found 'fire'",
        ),
        (b"ice\nfire\t3\n", "vocabulary.tsv, line 2: expected a word, found 'fire\\t3'"),
        (
            b"ice\tmany\n",
            "vocabulary.tsv, line 1: expected a word, a tab and its count, found 'ice\\tmany'",
        ),
        (
            b"ice\t3\n\t4\n",
            "vocabulary.tsv, line 2: expected a word, a tab and its count, found '\\t4'",
        ),
        (b"ice\t3\ncaf\xe9\t2\n", "vocabulary.tsv, line 2: 'caf\\xe9' is not valid UTF-8"),
        *(
            (
                b"ice\t3\nfire\t%b\n" % count,
                "vocabulary.tsv, line 2: expected a word, a tab and its count, found "
                f"'fire\\t{count.decode()}'",
            )
            for count in (b"", b"-1", b"1_0", b" 1", "٣".encode(), b"9" * 19)
        ),
        (
            b"ice\t3\nfi\0re\t2\n",
            "vocabulary.tsv, line 2: found a NUL byte; expected a text file",
        ),
    ],
)
def test_errors_in_a_vocabulary_name_the_line(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = write(tmp_path / VOCABULARY_FILE, content)
    with pytest.raises(DataError) as raised:
        read_vocabulary(path)
    assert str(raised.value).replace(f"{tmp_path}/", "") == sentence
