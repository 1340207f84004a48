from __future__ import annotations

import math

import numpy as np
import pytest

from unrolled.errors import ConfigError
from unrolled.metrics.calibration import FLOOR, calibrate, reliability
from unrolled.metrics.labels import measure_labels
from unrolled.metrics.multi_label import measure_multi_label


def distributions(n: int, n_classes: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(n_classes, 0.7), n)


def by_hand(confidence, right, binning, n_bins) -> dict[int, list[int]]:
    """The bin of each prediction, computed one at a time."""
    bins: dict[int, list[int]] = {}
    for i, c in enumerate(confidence):
        if binning == "mass":
            number = n_bins * sum(1 for other in confidence if other < c) // len(confidence)
        else:
            number = next(k for k in range(n_bins) if c <= (k + 1) / n_bins)
        bins.setdefault(number, []).append(i)
    return bins


@pytest.mark.parametrize("binning", ["mass", "width"])
@pytest.mark.parametrize(("n", "n_bins"), [(1, 1), (1, 15), (7, 3), (53, 15), (101, 10), (11, 97)])
def test_bins_and_error_equal_the_definition(binning, n, n_bins):
    random = np.random.default_rng(n)
    confidence = np.round(random.uniform(size=n), 2)  # some are equal
    right = random.uniform(size=n) < confidence
    bins = by_hand(confidence.tolist(), right, binning, n_bins)
    found = reliability(confidence, right, binning, n_bins)
    assert [each.n for each in found] == [len(bins[number]) for number in sorted(bins)]
    error = 0.0
    for each, number in zip(found, sorted(bins), strict=True):
        held = bins[number]
        assert each.confidence == pytest.approx(np.mean(confidence[held]))
        assert each.accuracy == pytest.approx(np.mean(right[held]))
        assert (each.low, each.high) == (min(confidence[held]), max(confidence[held]))
        error += len(held) / n * abs(np.mean(right[held]) - np.mean(confidence[held]))
    probabilities = np.column_stack([confidence, 1 - confidence])
    gold = np.where(right, 0, 1)
    record = calibrate(gold, np.zeros(n, int), probabilities, binning, n_bins)
    assert record.ece == pytest.approx(error, abs=1e-12)
    assert record.bins == found


def test_bins_of_equal_mass_differ_by_at_most_one():
    found = reliability(np.random.default_rng(2).permutation(103) / 103, np.ones(103), "mass", 10)
    assert len(found) == 10
    assert {each.n for each in found} == {10, 11}


def test_equal_confidences_share_a_bin_and_order_does_not_matter():
    confidence = np.array([0.5] * 30 + [0.9] * 3)
    right = np.arange(33) % 2 == 0
    found = reliability(confidence, right, "mass", 5)
    assert [each.n for each in found] == [30, 3]
    order = np.random.default_rng(1).permutation(33)
    assert reliability(confidence[order], right[order], "mass", 5) == found


def test_edges_of_bins_of_equal_width_belong_to_the_lower_bin():
    found = reliability([0.0, 0.1, 0.2, 0.3, 0.31, 0.7, 1.0], [True] * 7, "width", 10)
    assert [(each.low, each.high) for each in found] == [
        (0.0, 0.1),
        (0.2, 0.2),
        (0.3, 0.3),
        (0.31, 0.31),
        (0.7, 0.7),
        (1.0, 1.0),
    ]


def test_overconfidence_raises_the_calibration_error():
    random = np.random.default_rng(4)
    honest = random.uniform(0.5, 1, 20_000)
    right = random.uniform(size=20_000) < honest
    gold = np.where(right, 0, 1)
    nothing = np.zeros(20_000, int)
    assert calibrate(gold, nothing, np.column_stack([honest, 1 - honest])).ece < 0.015
    sure = np.tile([0.99, 0.01], (20_000, 1))
    assert calibrate(gold, nothing, sure).ece == pytest.approx(0.99 - right.mean())


def test_brier_and_likelihood_equal_the_definition():
    probabilities, gold = distributions(37, 5), np.random.default_rng(1).integers(5, size=37)
    brier = likelihood = 0.0
    for row, label in zip(probabilities, gold, strict=True):
        brier += sum((p - (c == label)) ** 2 for c, p in enumerate(row))
        likelihood -= math.log(row[label])
    scores = measure_labels("abcde", gold, probabilities=probabilities).scores()
    assert scores["brier"] == pytest.approx(brier / 37, rel=1e-12)
    assert scores["nll"] == pytest.approx(likelihood / 37, rel=1e-12)


def test_brier_and_likelihood_equal_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for n_classes in (2, 3, 7):
        probabilities = distributions(53, n_classes, n_classes)
        gold = np.random.default_rng(n_classes).integers(n_classes, size=53)
        found = calibrate(gold, probabilities.argmax(1), probabilities)
        labels = list(range(n_classes))
        assert found.nll == pytest.approx(metrics.log_loss(gold, probabilities, labels=labels))
        one_hot = np.eye(n_classes)[gold]
        assert found.brier == pytest.approx(((one_hot - probabilities) ** 2).sum(1).mean())


def test_a_zero_probability_gives_a_finite_likelihood():
    found = measure_labels("ab", [1, 1], probabilities=[[1, 0], [0, 1]]).scores()
    assert found["nll"] == pytest.approx(-math.log(FLOOR) / 2)
    assert found["brier"] == 1.0


def test_a_small_error_keeps_precision():
    tiny = 1e-9
    found = measure_labels("ab", [0], probabilities=[[1 - tiny, tiny]]).scores()
    assert found["brier"] == pytest.approx(2 * tiny**2, rel=1e-6)


def test_half_precision_probabilities_are_accepted():
    logits = np.random.default_rng(9).normal(size=(29, 11)) * 4
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gold = softmax.argmax(1)
    exact = measure_labels([*"abcdefghijk"], gold, probabilities=softmax).scores()
    half = measure_labels([*"abcdefghijk"], gold, probabilities=softmax.astype(np.float16)).scores()
    assert half == pytest.approx(exact, abs=2e-3)


def test_in_multi_label_every_cell_is_a_prediction():
    gold = np.array([[1, 0], [0, 0], [1, 1]])
    probabilities = np.array([[0.9, 0.2], [0.3, 0.1], [0.6, 0.8]])
    found = measure_multi_label("ab", gold, probabilities=probabilities, n_bins=2)
    assert found.calibration.n == 6
    low, high = found.calibration.bins
    assert (low.n, low.n_right, high.n, high.n_right) == (3, 0, 3, 3)
    assert found.scores()["ece"] == pytest.approx((0.6 + (3 - 2.3)) / 6)
    squares = (probabilities - gold) ** 2
    assert found.scores()["brier"] == pytest.approx(2 * squares.mean())
    logs = np.log(np.where(gold == 1, probabilities, 1 - probabilities))
    assert found.scores()["nll"] == pytest.approx(-logs.mean())


def test_the_table_is_printed():
    confidence = np.array([0.55, 0.6, 0.97, 1.0])
    record = calibrate(
        np.array([0, 1, 0, 0]),
        np.zeros(4, int),
        np.column_stack([confidence, 1 - confidence]),
        n_bins=2,
    )
    assert list(record.lines()) == [
        "confidence        mean   right      n",
        " 55.0% –  60.0%   57.5%   50.0%      2",
        " 97.0% – 100.0%   98.5%  100.0%      2",
    ]


def test_invalid_bins_are_refused():
    with pytest.raises(ConfigError, match="must be of equal 'mass' or equal 'width', got 'size'"):
        reliability([0.5], [True], "size")
    with pytest.raises(ConfigError, match="calibration needs at least 1 bin, got 0"):
        reliability([0.5], [True], n_bins=0)
