from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

from unrolled.errors import ConfigError, NonFiniteError
from unrolled.metrics.multi_label import (
    apply_thresholds,
    choose_thresholds,
    measure_multi_label,
    tally_multi_label,
)


def cases(n_cases: int = 40):
    """0/1 matrices of all shapes; some labels never occur, some are never predicted."""
    random = np.random.default_rng(13)
    for number in range(n_cases):
        n, n_labels = int(random.integers(1, 2 + number)), int(random.integers(1, 8))
        gold = random.uniform(size=(n, n_labels)) < random.choice([0, 0.1, 0.5, 1], n_labels)
        predicted = random.uniform(size=(n, n_labels)) < random.choice([0, 0.3, 0.7], n_labels)
        yield gold.astype(int), predicted.astype(int)


def f1(gold, predicted) -> Fraction:
    """Of lists of 0 and 1."""
    right = sum(g and p for g, p in zip(gold, predicted, strict=True))
    below = sum(gold) + sum(predicted)
    return Fraction(2 * right, below) if below else Fraction(0)


def brute_force(gold: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    n, n_labels = gold.shape
    by_label = [f1(gold[:, c].tolist(), predicted[:, c].tolist()) for c in range(n_labels)]
    support = [int(gold[:, c].sum()) for c in range(n_labels)]
    weighted = sum(s * f for s, f in zip(support, by_label, strict=True))
    wrong = sum(
        1 for g, p in zip(gold.ravel().tolist(), predicted.ravel().tolist(), strict=True) if g != p
    )
    found = {
        "micro_f1": f1(gold.ravel().tolist(), predicted.ravel().tolist()),
        "macro_f1": sum(by_label) / n_labels,
        "weighted_f1": weighted / sum(support) if sum(support) else 0,
        "subset_accuracy": Fraction(
            sum(1 for g, p in zip(gold.tolist(), predicted.tolist(), strict=True) if g == p),
            n,
        ),
        "hamming_loss": Fraction(wrong, n * n_labels),
    }
    return {name: float(value) for name, value in found.items()}


def test_scores_are_those_of_their_definitions():
    for gold, predicted in cases():
        found = measure_multi_label([*"abcdefgh"][: gold.shape[1]], gold, predicted)
        assert found.scores() == pytest.approx(brute_force(gold, predicted), abs=1e-14)


def test_scores_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for gold, predicted in cases():
        scores = measure_multi_label([*"abcdefgh"][: gold.shape[1]], gold, predicted).scores()
        if gold.shape[1] > 1:  # scikit-learn takes one column for two classes
            for average in ("micro", "macro", "weighted"):
                expected = metrics.f1_score(gold, predicted, average=average, zero_division=0)
                assert scores[f"{average}_f1"] == pytest.approx(expected, abs=1e-14)
        assert scores["subset_accuracy"] == pytest.approx(metrics.accuracy_score(gold, predicted))
        assert scores["hamming_loss"] == pytest.approx(metrics.hamming_loss(gold, predicted))


def test_no_label_at_all_is_right_where_none_is_predicted():
    scores = measure_multi_label("ab", [[0, 0]], [[0, 0]]).scores()
    assert scores["subset_accuracy"] == 1
    assert scores["hamming_loss"] == 0
    assert scores["micro_f1"] == scores["macro_f1"] == 0


def test_a_tally_scores_any_choice_of_examples():
    for gold, predicted in cases(12):
        index = np.random.default_rng(1).integers(len(gold), size=(4, len(gold)))
        found = tally_multi_label(gold, predicted).scores(index)
        for row, chosen in enumerate(index):
            expected = brute_force(gold[chosen], predicted[chosen])
            assert {name: value[row] for name, value in found.items()} == pytest.approx(expected)
            assert list(found) == list(expected)


def best_f1_by_trial(gold, probabilities) -> Fraction:
    """The largest F1 that any threshold gives, by trying one below, between and above all values."""
    values = sorted({0.0, *probabilities.tolist()})
    trials = [*values, *(value + 1e-9 for value in values)]
    return max(f1(gold.tolist(), [int(p >= t) for p in probabilities]) for t in trials)


def test_no_threshold_gives_a_larger_f1():
    random = np.random.default_rng(17)
    for _ in range(60):
        n = int(random.integers(1, 40))
        gold = (random.uniform(size=(n, 3)) < random.uniform()).astype(int)
        probabilities = np.round(np.clip(random.normal(0.3 + 0.2 * gold, 0.2), 0, 1), 2)
        chosen = choose_thresholds(gold, probabilities)
        predicted = apply_thresholds(probabilities, chosen)
        for c in range(3):
            if gold[:, c].any():
                reached = f1(gold[:, c].tolist(), predicted[:, c].astype(int).tolist())
                assert reached == best_f1_by_trial(gold[:, c], probabilities[:, c])
            else:
                assert chosen[c] == 0.5


@pytest.mark.parametrize(
    ("gold", "probabilities", "expected"),
    [
        ([0, 0, 0], [0.9, 0.8, 0.1], 0.5),  # never seen
        ([1, 1, 0], [0.9, 0.6, 0.4], 0.5),  # 0.5 is among the best
        ([1, 1, 0], [0.9, 0.5, 0.4], 0.5),  # also at the end of its stretch, which is included
        ([1, 1, 0], [0.3, 0.2, 0.1], 0.15),  # otherwise the middle
        ([1, 0, 0], [0.9, 0.7, 0.6], 0.8),
        ([1, 1, 1], [0.4, 0.2, 0.3], 0.1),  # all of them: the middle between 0 and the smallest
        ([1, 1, 1], [0.8, 0.7, 0.9], 0.5),
        ([1], [0.0], 0.0),  # only 0 itself lets a 0 through
        # F1 is 2/3 at 0.75 (one of one) and at 0.15 (two of four): the nearer to 0.5
        ([1, 0, 0, 1], [0.9, 0.6, 0.5, 0.3], 0.75),
        ([0, 1], [0.7, 0.3], 0.15),  # the only best one predicts both
    ],
)
def test_ties_are_broken_as_documented(gold, probabilities, expected):
    found = choose_thresholds(np.array(gold)[:, None], np.array(probabilities)[:, None])
    assert found.tolist() == pytest.approx([expected])


def test_of_two_as_near_the_higher_threshold_is_taken():
    # One of one predicted, or two of four: F1 is 2/3 both times.
    gold = np.array([1, 0, 0, 1])[:, None]
    probabilities = np.array([0.875, 0.75, 0.625, 0.25])[:, None]
    stretches = apply_thresholds(probabilities, [0.8125]), apply_thresholds(probabilities, [0.1875])
    assert [int(each.sum()) for each in stretches] == [1, 4]
    assert choose_thresholds(gold, probabilities).tolist() == [0.8125]
    # The lower stretch ends at 0; with one more example at 0.125, and its middle is as near.
    more = np.vstack([probabilities, [[0.125]]])
    assert choose_thresholds(np.vstack([gold, [[0]]]), more).tolist() == [0.8125]


@pytest.mark.parametrize("low", [0.3, np.nextafter(0.3, 1)])
def test_neighbouring_numbers_are_distinguished(low):
    # Their middle rounds to the one whose last bit is 0, which is the lower one of every other two.
    high = np.nextafter(low, 1)
    chosen = choose_thresholds([[0], [1]], [[low], [high]])
    assert apply_thresholds([[low], [high]], chosen).tolist() == [[False], [True]]


def test_thresholds_chosen_are_used_and_shown():
    gold, probabilities = [[1, 0], [0, 1]], np.array([[0.3, 0.1], [0.2, 0.9]])
    thresholds = choose_thresholds(gold, probabilities)
    found = measure_multi_label("ab", gold, probabilities=probabilities, thresholds=thresholds)
    assert found.scores()["subset_accuracy"] == 1
    assert found.thresholds == (0.25, 0.5)
    lines = list(found.lines())
    assert [line.split()[-1] for line in lines if line[:2] in ("a ", "b ")] == ["0.250", "0.500"]
    by_default = measure_multi_label("ab", gold, probabilities=probabilities)
    assert by_default.scores()["subset_accuracy"] == 0.5
    assert by_default.thresholds == (0.5, 0.5)


def test_signatures_say_how_each_score_was_computed():
    found = measure_multi_label("ab", [[1, 0]], probabilities=[[0.7, 0.1]])
    lines = found.signature()
    assert list(lines) == list(found.scores())
    assert lines["hamming_loss"] == "n:1|labels:2|wrong cells / all cells|smaller is better"
    assert "confidence:of each label of each example" in lines["ece"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gold": [1, 0]}, "gold must be [N, 2], got shape (2,)"),
        ({"gold": [[1, 0, 1]]}, "gold must be [N, 2], got shape (1, 3)"),
        ({"gold": [[1, 2]]}, "gold must contain only 0 and 1, got 2"),
        ({"gold": [[1, 0]]}, "nothing to score: pass predicted, or probabilities, or both"),
        (
            {"gold": [[1, 0]], "predicted": [[1, 0], [0, 0]]},
            "gold has 1 examples and predicted 2: pass one row for each",
        ),
        (
            {"gold": np.zeros((0, 2)), "predicted": np.zeros((0, 2))},
            "no examples to score: pass at least one",
        ),
        (
            {"gold": [[1, 0]], "probabilities": [[0.1, 0.2]], "thresholds": [0.5]},
            "thresholds must be one per label, got shape (1,) for probabilities of shape (1, 2)",
        ),
    ],
)
def test_arrays_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure_multi_label("ab", **given)


def test_thresholds_beside_predictions_are_refused():
    with pytest.raises(ConfigError, match="thresholds have no effect on given predictions"):
        measure_multi_label("a", [[1]], [[1]], thresholds=[0.5])


def test_thresholds_of_nothing_are_refused():
    with pytest.raises(ValueError, match="no examples to score"):
        choose_thresholds(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(NonFiniteError, match="row 0 of the probabilities"):
        choose_thresholds([[1]], [[np.nan]])
