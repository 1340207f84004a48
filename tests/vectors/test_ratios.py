"""P(k|i) / P(k|j) follows from the counts, and invalid counts are refused."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from unrolled.errors import ConfigError, DataError
from unrolled.vectors.counting.ratios import Ratio, render
from unrolled.vectors.word_vectors import WordVectors

WORDS = ["ice", "steam", "solid", "gas", "water", "lonely"]

# X_ij, times two as for a window of two words: X_i are 20, 24, …, and 0 for the last.
COUNTS = np.array(
    [
        [0, 2, 8, 1, 9, 0],
        [2, 0, 0, 12, 10, 0],
        [8, 0, 4, 0, 0, 0],
        [1, 12, 0, 0, 0, 0],
        [9, 10, 0, 0, 2, 0],
        [0, 0, 0, 0, 0, 0],
    ]
)


def write_counts(folder: Path, counts: np.ndarray, dtype: type) -> None:
    """Write a folder like that of a training."""
    folder.mkdir(exist_ok=True)
    (folder / "counts").mkdir(exist_ok=True)
    n_of_row = (counts > 0).sum(axis=1)
    rows = np.concatenate([[0], np.cumsum(n_of_row)]).astype(np.uint64)
    row, column = np.nonzero(counts)
    np.save(folder / "counts" / "rows.npy", rows)
    np.save(folder / "counts" / "columns.npy", column.astype(np.uint32))
    np.save(folder / "counts" / "values.npy", counts[row, column].astype(dtype))
    lines = [f"{word}\t{10 - i}\n" for i, word in enumerate(WORDS)]
    (folder / "vocabulary.tsv").write_text("".join(lines), encoding="utf-8")
    w = np.random.default_rng(1).normal(size=(len(WORDS), 3)).astype(np.float32)
    save_file({"w": w, "w_context": w}, folder / "vectors.safetensors")


@pytest.mark.parametrize("dtype", [np.uint64, np.float64])
def test_ratios_equal_those_of_the_rows(tmp_path: Path, dtype: type) -> None:
    write_counts(tmp_path, COUNTS, dtype)
    ratios = WordVectors.load(tmp_path).ratio("ice", "steam", "solid", "gas", "water", "lonely")
    assert [ratio.probe for ratio in ratios] == ["solid", "gas", "water", "lonely"]
    assert [ratio.first for ratio in ratios] == [8 / 20, 1 / 20, 9 / 20, 0.0]
    assert [ratio.second for ratio in ratios] == [0.0, 12 / 24, 10 / 24, 0.0]
    assert [ratio.ratio for ratio in ratios[:3]] == [math.inf, 0.1, pytest.approx(1.08)]
    assert math.isnan(ratios[3].ratio)


def test_a_word_without_contexts_has_zero_probabilities(tmp_path: Path) -> None:
    write_counts(tmp_path, COUNTS, np.uint64)
    (ratio,) = WordVectors.load(tmp_path).ratio("lonely", "ice", "water")
    assert (ratio.first, ratio.second, ratio.ratio) == (0.0, 9 / 20, 0.0)


def test_the_table_has_the_layout_of_the_paper() -> None:
    ratios = [Ratio("solid", 1.9e-4, 2.2e-5), Ratio("gas", 6.6e-5, 7.8e-4), Ratio("x", 1, 0)]
    lines = render("ice", "steam", ratios)
    assert [line.split() for line in lines] == [
        ["solid", "gas", "x"],
        ["P(k|ice)", "0.00019", "6.6e-05", "1"],
        ["P(k|steam)", "2.2e-05", "0.00078", "0"],
        ["P(k|ice)", "/", "P(k|steam)", "8.64", "0.0846", "∞"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_an_unknown_word_is_reported(tmp_path: Path) -> None:
    write_counts(tmp_path, COUNTS, np.uint64)
    with pytest.raises(ConfigError, match=r"^no vector for 'steem'; did you mean 'steam'\?$"):
        WordVectors.load(tmp_path).ratio("ice", "steem", "solid")


def test_missing_or_inconsistent_counts_are_refused(tmp_path: Path) -> None:
    def refusal(**settings) -> str:
        with pytest.raises(DataError) as raised:
            WordVectors.load(tmp_path, **settings).ratio("ice", "steam", "gas")
        return str(raised.value).replace(f"{tmp_path}/", "")

    write_counts(tmp_path, COUNTS, np.uint64)
    assert refusal(limit=4) == (
        "ratios need co-occurrence counts; load the folder of a training, with all its words"
    )
    values = tmp_path / "counts" / "values.npy"
    content = values.read_bytes()
    values.write_bytes(content[:-8])
    sentence = (
        "counts/values.npy: not a complete NumPy array; train again, or copy the whole folder"
    )
    assert refusal() == sentence
    values.write_bytes(b"")
    assert refusal() == sentence
    values.unlink()
    assert refusal() == "counts/values.npy: missing; train again, or copy the whole folder"
    np.save(values, np.ones(3))
    assert refusal() == "counts: the counts are incomplete; train again"
    np.save(tmp_path / "counts" / "rows.npy", np.zeros(9, np.uint64))
    assert refusal() == "counts: the counts are for 8 words, but there are 6 vectors; train again"
    shutil.rmtree(tmp_path / "counts")
    assert refusal() == (
        "counts: no counts found; they are in the folder that `unrolled vectors train` wrote"
    )
