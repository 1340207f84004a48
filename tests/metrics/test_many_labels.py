"""Many labels: memory and time grow with the examples, and the scores are those of the plain way."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.metrics.intervals import bootstrap, paired_bootstrap
from unrolled.metrics.labels import measure_labels, tally_labels
from unrolled.metrics.tally import SparseRows

C, N = 20_000, 500


def answers(n_classes: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    gold = random.integers(n_classes, size=n)
    predicted = np.where(random.random(n) < 0.6, gold, random.integers(n_classes, size=n))
    return gold, predicted


def test_a_sparse_tally_scores_like_a_dense_one(monkeypatch: pytest.MonkeyPatch) -> None:
    gold, predicted = answers(30)
    averaged = [29, 3]
    dense = tally_labels(gold, predicted, 40, averaged)
    monkeypatch.setattr("unrolled.metrics.labels._MANY", 0)
    sparse = tally_labels(gold, predicted, 40, averaged)
    assert isinstance(sparse.rows, SparseRows)
    index = np.random.default_rng(1).integers(N, size=(7, N))
    wanted, found = dense.scores(index), sparse.scores(index)
    assert list(found) == list(wanted) == [
        "accuracy", "macro_f1", "mean_f1", "weighted_f1", "micro_f1",
    ]  # fmt: skip
    for name, scores in wanted.items():
        np.testing.assert_allclose(found[name], scores, rtol=1e-12)
    for name, interval in bootstrap(dense, n_resamples=50).items():
        other = bootstrap(sparse, n_resamples=50)[name]
        assert (other.value, other.low, other.high) == pytest.approx(
            (interval.value, interval.low, interval.high), rel=1e-12
        )
    plain = paired_bootstrap([dense], [dense], "macro_f1", n_resamples=50)
    assert paired_bootstrap([sparse], [sparse], "macro_f1", n_resamples=50) == plain


def test_sums_are_made_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = tally_labels(*answers(C), C)
    index = np.random.default_rng(1).integers(N, size=(7, N))
    whole = tally.scores(index)
    monkeypatch.setattr("unrolled.metrics.tally._SUMS_TOGETHER", 2 * tally.rows.n_columns)
    for name, scores in tally.scores(index).items():
        assert scores.tolist() == whole[name].tolist()


def test_a_tally_of_many_labels_has_columns_for_those_that_occur() -> None:
    gold, predicted = answers(C)
    tally = tally_labels(gold, predicted, C)
    n_used = len({*gold.tolist(), *predicted.tolist()})
    assert tally.rows.n_columns == 3 * n_used < 6 * N
    assert tally.rows.columns.shape == (len({*zip(gold, predicted, strict=True)}), 3)


def test_many_labels_are_measured_without_a_square_matrix() -> None:
    gold, predicted = answers(C)
    names = [f"c{number}" for number in range(C)]
    found = measure_labels(names, gold, predicted)
    assert len(found.cells.counts) <= N
    right = int((gold == predicted).sum())
    assert found.scores()["accuracy"] == right / N
    f1 = [
        2 * ((gold == c) & (predicted == c)).sum() / ((gold == c).sum() + (predicted == c).sum())
        for c in {*gold.tolist(), *predicted.tolist()}
    ]
    assert found.scores()["macro_f1"] == pytest.approx(sum(f1) / C, rel=1e-12)
    confusions = found.confusions()
    assert sum(count for *_, count in confusions) == N - right
    assert [count for *_, count in confusions] == sorted(
        (count for *_, count in confusions), reverse=True
    )


def test_a_table_shows_the_most_frequent_of_many_labels() -> None:
    gold = np.array([7, 7, 9])
    lines = list(measure_labels([f"c{number}" for number in range(C)], gold, gold).lines())
    first = next(place for place, line in enumerate(lines) if line.startswith("class "))
    assert [line.split()[0] for line in lines[first + 1 : first + 3]] == ["c7", "c9"]
    assert "… and 19,950 less frequent ones" in lines
    assert len(lines) < 100
