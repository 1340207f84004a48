"""Paired tests and intervals against scipy, and how often they claim what is not there."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.comparison.statistics import differences, holm, mean_over_seeds, paired, sentence

stats = pytest.importorskip("scipy.stats")

SEEDS = range(1, 6)


def scores_of(values: np.ndarray) -> dict[int, float]:
    return dict(zip(SEEDS, map(float, values), strict=False))


@pytest.mark.parametrize("n", [2, 3, 5, 10, 31])
def test_the_paired_test_is_that_of_scipy(n: int) -> None:
    draw = np.random.default_rng(n)
    a, b = draw.normal(3, 2, n), draw.normal(2, 1, n)
    found = paired("A", "B", dict(enumerate(a)), dict(enumerate(b)))
    expected = stats.ttest_rel(a, b)
    bounds = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), rel=1e-9)


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = [71.2, 70.1, 73.3, 69.9]
    found = mean_over_seeds(values)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)


def test_holm_corrects_step_by_step() -> None:
    # 4 × 0.005, 3 × 0.01, then 2 × 0.03 = 0.06, which the last, 0.04, may not fall below.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def share_of_claims(draw_scores, n_variants: int, n_seeds: int, step: float = 0.0) -> float:
    """The share of 1,000 comparisons of equal variants in which any difference is claimed."""
    random = np.random.default_rng(5)
    n_claims = 0
    for _ in range(1000):
        values = draw_scores(random, (n_variants, n_seeds))
        scores = {f"V{v}": dict(enumerate(map(float, row))) for v, row in enumerate(values)}
        n_claims += any(each.differs for each in differences(scores, step=step))
    return n_claims / 1000


def continuous(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Scores with a part that all variants share for a seed."""
    return random.normal(80, 1, shape) + random.normal(0, 2, shape[1])


def counted(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Percentages of 200 examples."""
    return 100 * random.binomial(200, 0.97, shape) / 200


def test_equal_variants_differ_in_one_of_twenty() -> None:
    assert 0.03 <= share_of_claims(continuous, 2, 5) <= 0.07


@pytest.mark.parametrize("n_variants", [3, 4])
def test_many_equal_variants_differ_no_more_often(n_variants: int) -> None:
    assert share_of_claims(continuous, n_variants, 5) <= 0.07


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_coarse_scores_claim_no_more(n_seeds: int) -> None:
    assert share_of_claims(counted, 2, n_seeds, step=0.5) <= 0.07


def test_a_true_difference_is_claimed() -> None:
    random = np.random.default_rng(7)
    n_claims = 0
    for _ in range(200):
        better, worse = continuous(random, (2, 5)) + np.array([[4.0], [0.0]])
        scores = {"worse": scores_of(worse), "better": scores_of(better)}
        (found,) = differences(scores)
        n_claims += found.differs and found.a == "better" and found.value > 0
    assert n_claims >= 190


def test_equal_differences_are_no_certainty() -> None:
    a, b = {1: 90.5, 2: 90.5}, {1: 90.0, 2: 90.0}
    assert paired("A", "B", a, b).p is None
    assert paired("A", "B", a, b, step=0.5).p > 0.2
    assert paired("A", "B", a, a).p == 1.0


def test_only_seeds_of_both_count() -> None:
    found = paired("A", "B", {1: 5.0, 2: 9.0, 3: 7.0}, {1: 4.0, 3: 5.0, 4: 100.0})
    assert (found.n, found.value) == (2, 1.5)


def test_sentences_say_who_is_better() -> None:
    values = scores_of(np.array([3.0, 3.1, 2.9, 3.0, 3.05]))
    others = scores_of(np.array([1.0, 1.0, 1.0, 1.1, 1.0]))
    (found,) = differences({"GRU": others, "LSTM": values})
    assert found.differs
    assert sentence(found, "accuracy", "accuracy").startswith(
        "LSTM is better than GRU in accuracy: +1.99 (+"
    )
    assert sentence(found, "loss", "loss").startswith("GRU is better than LSTM in loss: −1.990 (−")


def test_sentences_claim_no_more_than_intervals_show() -> None:
    (found,) = differences({"GRU": {1: 5.0, 2: 6.0, 3: 7.0}, "LSTM": {1: 6.0, 2: 5.5, 3: 7.0}})
    assert sentence(found, "f1", "F1") == (
        "LSTM and GRU: no difference in F1 is shown: +0.17 (−1.73 to +2.06), p = 0.74, 3 seeds."
    )
    (alone,) = differences({"GRU": {1: 5.0}, "LSTM": {1: 6.0}})
    assert sentence(alone, "f1", "F1") == (
        "LSTM and GRU: +1.00 in F1 with one seed, which says nothing about other seeds."
    )
