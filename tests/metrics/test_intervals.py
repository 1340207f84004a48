from __future__ import annotations

import math

import numpy as np
import pytest

from unrolled.errors import ConfigError, NonFiniteError
from unrolled.metrics.intervals import (
    Comparison,
    Interval,
    _over_examples,
    bootstrap,
    over_seeds,
    paired_bootstrap,
    t_quantile,
)
from unrolled.metrics.labels import tally_labels
from unrolled.metrics.multi_label import tally_multi_label
from unrolled.metrics.spans import tally_spans
from unrolled.metrics.tally import AnyScore, Tally


def answers(n: int, right_rate: float, seed: int, n_classes: int = 3):
    """Gold labels (the same for every seed), and answers of which about a share is right."""
    gold = np.random.default_rng(0).integers(n_classes, size=n)
    random = np.random.default_rng([1, seed])
    wrong = random.integers(1, n_classes, size=n)
    is_right = random.uniform(size=n) < right_rate
    return gold, np.where(is_right, gold, (gold + wrong) % n_classes)


def macro_f1(gold, predicted) -> float:
    found = []
    for c in range(3):
        right = int(((gold == c) & (predicted == c)).sum())
        below = int((gold == c).sum() + (predicted == c).sum())
        found.append(2 * right / below if below else 0.0)
    return sum(found) / 3


def test_the_fast_way_and_any_function_agree():
    gold, predicted = answers(61, 0.7, 1)
    fast = bootstrap(tally_labels(gold, predicted, 3), n_resamples=200, seed=5)
    slow = bootstrap(AnyScore(macro_f1, gold, predicted), n_resamples=200, seed=5)["score"]
    assert (slow.value, slow.low, slow.high) == pytest.approx(
        (fast["macro_f1"].value, fast["macro_f1"].low, fast["macro_f1"].high), abs=1e-14
    )
    any_accuracy = AnyScore(lambda g, p: (g == p).mean(), gold, predicted)
    accuracy = bootstrap(any_accuracy, n_resamples=200, seed=5)["score"]
    assert (accuracy.low, accuracy.high) == (fast["accuracy"].low, fast["accuracy"].high)


def test_an_interval_is_the_middle_of_the_resamples():
    gold, predicted = answers(37, 0.6, 2)
    random = np.random.default_rng([9, 0])
    drawn = []
    for _ in range(123):
        index = random.integers(37, size=37)
        drawn.append(float((gold[index] == predicted[index]).mean()))
    found = bootstrap(tally_labels(gold, predicted, 3), n_resamples=123, level=0.8, seed=9)
    assert found["accuracy"].low == pytest.approx(np.quantile(drawn, 0.1))
    assert found["accuracy"].high == pytest.approx(np.quantile(drawn, 0.9))
    assert found["accuracy"].value == (gold == predicted).mean()
    assert found["accuracy"].level == 0.8


def test_the_interval_of_a_share_is_that_of_the_binomial():
    gold, predicted = answers(25_000, 0.85, 3)
    found = bootstrap(tally_labels(gold, predicted, 3))["accuracy"]
    half = 1.96 * math.sqrt(found.value * (1 - found.value) / 25_000)
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def test_the_same_seed_gives_the_same_bits_whatever_is_scored():
    gold, predicted = answers(101, 0.7, 4)
    tally = tally_labels(gold, predicted, 3)
    assert bootstrap(tally, seed=3) == bootstrap(tally, seed=3)
    assert bootstrap(tally, seed=3) != bootstrap(tally, seed=4)
    with_more = tally_labels(gold, predicted, 3, averaged=(0, 2))
    assert bootstrap(with_more, seed=3)["accuracy"] == bootstrap(tally, seed=3)["accuracy"]


def test_draws_do_not_depend_on_how_many_are_made_together(monkeypatch):
    gold, predicted = answers(53, 0.7, 4)
    whole = bootstrap(tally_labels(gold, predicted, 3), n_resamples=50)
    monkeypatch.setattr("unrolled.metrics.intervals._DRAWN_TOGETHER", 160)
    assert bootstrap(tally_labels(gold, predicted, 3), n_resamples=50) == whole


def test_few_groups_are_drawn_from_a_multinomial():
    # Of 2,003 examples 1,471 are right: the resampled accuracy is a binomial share.
    n, n_right = 2_003, 1_471
    right = np.arange(n) < n_right
    drawn = _over_examples([tally_labels(np.ones(n, int), right.astype(int), 2)], 20_000, seed=3)
    shares = drawn["accuracy"][0] * n
    assert shares == pytest.approx(shares.round(), abs=1e-9)
    assert shares.mean() == pytest.approx(n_right, abs=0.7)
    assert shares.var() == pytest.approx(n_right * (1 - n_right / n), rel=0.04)


def test_drawing_groups_and_drawing_examples_come_to_the_same(monkeypatch):
    a, b = (tally_labels(*answers(1_009, 0.7, seed), 3) for seed in (1, 2))
    assert 16 * len(Tally.side_by_side([a, b])[1][0].rows) <= 1_009
    of_groups = paired_bootstrap([a], [b], "macro_f1", n_resamples=20_000)
    monkeypatch.setattr("unrolled.metrics.intervals._DEAR", 1_000)
    of_examples = paired_bootstrap([a], [b], "macro_f1", n_resamples=20_000)
    assert of_groups != of_examples
    assert of_groups.difference == of_examples.difference
    wide = of_examples.high - of_examples.low
    assert of_groups.low == pytest.approx(of_examples.low, abs=0.03 * wide)
    assert of_groups.high == pytest.approx(of_examples.high, abs=0.03 * wide)
    assert of_groups.p_value == pytest.approx(of_examples.p_value, abs=0.02)


def test_drawn_groups_do_not_depend_on_the_block_size(monkeypatch):
    gold, predicted = answers(1_009, 0.7, 4)
    whole = bootstrap(tally_labels(gold, predicted, 3), n_resamples=50)
    monkeypatch.setattr("unrolled.metrics.intervals._DRAWN_TOGETHER", 100)
    assert bootstrap(tally_labels(gold, predicted, 3), n_resamples=50) == whole


def test_tallies_side_by_side_score_as_they_do_alone():
    tallies = [tally_labels(*answers(307, 0.7, seed), 3) for seed in range(7)]
    groups, together = Tally.side_by_side(tallies)
    index = np.random.default_rng(5).integers(307, size=(11, 61))
    for alone, beside in zip(tallies, together, strict=True):
        assert (beside.groups == groups).all()
        for name, values in alone.scores(index).items():
            np.testing.assert_allclose(beside.scores(index)[name], values, rtol=0, atol=1e-15)


def test_every_tally_has_intervals_around_its_scores():
    random = np.random.default_rng(8)
    matrix = random.integers(0, 2, (83, 5))
    sequences = [random.choice(["O", "B-X", "I-X", "B-Y"], 7).tolist() for _ in range(83)]
    tallies: list[Tally] = [
        tally_labels(*answers(83, 0.6, 1), n_classes=3),
        tally_multi_label(matrix, matrix ^ (random.uniform(size=matrix.shape) < 0.2)),
        tally_spans(sequences, sequences[1:] + sequences[:1]),
    ]
    for tally in tallies:
        for name, found in bootstrap(tally, n_resamples=300).items():
            assert found.low < found.value < found.high, name


def test_one_example_and_answers_all_alike_give_a_point():
    one = bootstrap(tally_labels([1], [1], 2), n_resamples=10)["accuracy"]
    assert (one.value, one.low, one.high) == (1, 1, 1)
    none = bootstrap(tally_labels([1] * 30, [0] * 30, 2), n_resamples=10)["accuracy"]
    assert (none.low, none.high) == (0, 0)


def test_an_interval_states_the_method():
    found = bootstrap(tally_labels([0, 1], [0, 0], 2), n_resamples=20, seed=7)["accuracy"]
    assert found.how == "bootstrap percentile|over:2 examples|resamples:20|seed:7"
    assert over_seeds([1.0, 2.0]).how == "t|over:2 seeds"
    assert str(Interval(0.5, 0.25, 0.75, "")) == "0.5000 (0.2500–0.7500)"


@pytest.mark.parametrize(
    ("n_degrees", "level", "expected"),
    [  # tables of Student's t
        (1, 0.95, 12.7062),
        (2, 0.95, 4.3027),
        (3, 0.95, 3.1824),
        (4, 0.95, 2.7764),
        (9, 0.95, 2.2622),
        (30, 0.95, 2.0423),
        (120, 0.95, 1.9799),
        (4, 0.99, 4.6041),
        (5, 0.80, 1.4759),
        (1, 0.50, 1.0000),
    ],
)
def test_quantiles_are_those_of_the_tables(n_degrees, level, expected):
    assert t_quantile(level, n_degrees) == pytest.approx(expected, abs=5e-5)


def test_t_quantiles_approach_the_normal_distribution():
    # t = z + (z³ + z) / 4ν + …
    assert t_quantile(0.95, 2_001) == pytest.approx(1.959964 + (7.529 + 1.96) / 8_004, abs=1e-5)


def test_the_interval_over_seeds_is_that_of_student():
    scores = [0.81, 0.84, 0.79, 0.83, 0.86]
    found = over_seeds(scores)
    half = 2.7764451 * np.std(scores, ddof=1) / math.sqrt(5)
    assert found.value == pytest.approx(np.mean(scores))
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert over_seeds([0.5, 0.5]).low == 0.5


def test_nine_of_ten_intervals_over_seeds_hold_the_mean():
    random = np.random.default_rng(12)
    held = [
        found.low <= 0.7 <= found.high
        for found in (over_seeds(random.normal(0.7, 0.02, 5), level=0.9) for _ in range(600))
    ]
    assert np.mean(held) == pytest.approx(0.9, abs=0.04)


def runs(n: int, right_rate: float, seeds) -> list[Tally]:
    return [tally_labels(*answers(n, right_rate, seed), n_classes=3) for seed in seeds]


def compared_by_hand(a, b, n_resamples, seed, paired):
    """The paired bootstrap, one resample at a time, from arrays of gold and predicted."""
    examples, seeds = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    n = len(a[0][0])
    of_a, of_b = np.empty((n_resamples, len(a))), np.empty((n_resamples, len(b)))
    for row in range(n_resamples):
        index = examples.integers(n, size=n)
        of_a[row] = [macro_f1(gold[index], predicted[index]) for gold, predicted in a]
        of_b[row] = [macro_f1(gold[index], predicted[index]) for gold, predicted in b]
    chosen_a = seeds.integers(len(a), size=of_a.shape)
    chosen_b = chosen_a if paired else seeds.integers(len(b), size=of_b.shape)
    found = []
    for row in range(n_resamples):
        mean_a = np.mean([of_a[row, s] for s in chosen_a[row]])
        found.append(mean_a - np.mean([of_b[row, s] for s in chosen_b[row]]))
    return np.array(found)


@pytest.mark.parametrize("paired", [False, True])
def test_the_paired_bootstrap_equals_the_definition(paired):
    a = [answers(41, 0.7, seed) for seed in range(3)]
    b = [answers(41, 0.6, seed) for seed in range(10, 13 if paired else 12)]
    expected = compared_by_hand(a, b, 150, 6, paired)
    found = paired_bootstrap(
        [tally_labels(*each, 3) for each in a],
        [tally_labels(*each, 3) for each in b],
        "macro_f1",
        n_resamples=150,
        seed=6,
        seeds_are_paired=paired,
    )
    assert (found.low, found.high) == pytest.approx(np.quantile(expected, [0.025, 0.975]))
    assert found.a == pytest.approx(np.mean([macro_f1(*each) for each in a]))
    assert found.difference == pytest.approx(found.a - np.mean([macro_f1(*each) for each in b]))
    tail = min((expected <= 0).sum(), (expected >= 0).sum())
    assert found.p_value == pytest.approx(2 * (tail + 1) / 151)


def test_a_clear_difference_is_shown_and_turns_with_the_sides():
    good, poor = runs(300, 0.8, range(5)), runs(300, 0.65, range(10, 15))
    found = paired_bootstrap(good, poor, "accuracy", n_resamples=1_000)
    assert found.verdict == "A is better"
    assert found.low > 0
    assert found.p_value == 2 / 1_001
    turned = paired_bootstrap(poor, good, "accuracy", n_resamples=1_000)
    assert turned.verdict == "B is better"
    assert turned.difference == -found.difference


def test_a_model_is_not_better_than_itself():
    same = runs(90, 0.7, range(5))
    found = paired_bootstrap(same, same, "macro_f1", n_resamples=500)
    assert found.verdict == "no difference shown"
    assert found.difference == 0
    assert found.p_value > 0.5
    paired = paired_bootstrap(same, same, "macro_f1", n_resamples=500, seeds_are_paired=True)
    assert (paired.low, paired.high, paired.p_value) == (0, 0, 1)


def test_examples_are_paired_and_seeds_are_drawn():
    # A answers all that B does and a little more: of the examples, nothing speaks against it.
    gold, predicted = answers(200, 0.6, 1)
    better = predicted.copy()
    wrong = np.flatnonzero(gold != predicted)[:9]
    better[wrong] = gold[wrong]
    a, b = [tally_labels(gold, better, 3)], [tally_labels(gold, predicted, 3)]
    assert paired_bootstrap(a, b, "accuracy", n_resamples=1_000).low > 0
    apart = bootstrap(a[0])["accuracy"], bootstrap(b[0])["accuracy"]
    assert apart[0].low < apart[1].high
    # Four more seeds of A, which are far worse, take the certainty away.
    unsure = [*a * 4, *runs(200, 0.5, [21])]
    assert paired_bootstrap(unsure, b, "accuracy", n_resamples=1_000).low < 0


def test_no_difference_is_claimed_too_often():
    # Two equally good models, seeds and examples by chance: at most about 5 % may be told apart.
    random = np.random.default_rng(23)
    told = 0
    for number in range(60):
        ease = random.uniform(0.4, 0.9, 150)
        tallies = []
        for _ in range(10):
            skill = random.normal(0, 0.03)
            right = (random.uniform(size=150) < ease + skill).astype(np.int64)
            tallies.append(tally_labels(np.ones(150, int), right, 2))
        found = paired_bootstrap(tallies[:5], tallies[5:], "accuracy", n_resamples=100, seed=number)
        told += found.verdict != "no difference shown"
    assert told <= 0.1 * 60


def test_of_a_loss_the_smaller_is_better():
    assert Comparison("brier", 0.2, 0.3, -0.15, -0.05, 0.01, "").verdict == "A is better"
    assert Comparison("brier", 0.3, 0.2, 0.05, 0.15, 0.01, "").verdict == "B is better"
    assert Comparison("brier", 0.3, 0.3, -0.1, 0.1, 1.0, "").verdict == "no difference shown"


def test_a_comparison_is_printed():
    found = Comparison("macro_f1", 0.5, 0.45, 0.01, 0.09, 0.02, "how")
    assert list(found.lines()) == [
        "macro_f1: A 0.5000, B 0.4500",
        "A − B = +0.0500 (+0.0100 to +0.0900), p = 0.0200: A is better",
        "how",
    ]
    tally = tally_labels([0, 1], [0, 0], 2)
    found = paired_bootstrap([tally] * 3, [tally] * 2, "accuracy", n_resamples=20, seed=4)
    assert found.how == (
        "paired bootstrap|over:2 examples, 3 and 2 seeds|resamples:20|seed:4|p:two-sided"
    )


def test_what_cannot_be_compared_is_refused():
    two, three = tally_labels([0, 1], [0, 0], 2), tally_labels([0, 1, 1], [0, 0, 1], 2)
    with pytest.raises(ConfigError, match="nothing to compare: A has 0 runs and B 1"):
        paired_bootstrap([], [two], "accuracy")
    with pytest.raises(ValueError, match=r"scored on the same examples, got runs with \[2, 3\] ex"):
        paired_bootstrap([two], [three], "accuracy")
    with pytest.raises(
        ConfigError, match=r"no score 'acuracy'; the scores are accuracy, .*did you mean"
    ):
        paired_bootstrap([two], [two], "acuracy")
    with pytest.raises(ConfigError, match="equal numbers of runs, got 1 of A and 2 of B"):
        paired_bootstrap([two], [two, two], "accuracy", seeds_are_paired=True)


def test_what_has_no_interval_is_refused():
    tally = tally_labels([0, 1], [0, 0], 2)
    with pytest.raises(ConfigError, match="a bootstrap needs at least 1 resample, got 0"):
        bootstrap(tally, n_resamples=0)
    with pytest.raises(ConfigError, match="level of an interval must be between 0 and 1, got 95"):
        bootstrap(tally, level=95)
    with pytest.raises(ConfigError, match="over seeds needs at least 2 scores, got 1"):
        over_seeds([0.5])
    with pytest.raises(NonFiniteError, match="'score' is not finite"):
        over_seeds([0.5, math.nan])
    with pytest.raises(NonFiniteError, match="'score' is not finite for some resample"):
        bootstrap(AnyScore(lambda g, p: math.nan, np.ones(1), np.ones(1)))
    with pytest.raises(ValueError, match="no examples to score"):
        bootstrap(AnyScore(lambda g, p: 0.0, np.ones(0), np.ones(0)))
    with pytest.raises(ValueError, match="gold has 1 examples and predicted 2"):
        AnyScore(lambda g, p: 0.0, np.zeros(1), np.zeros(2))
