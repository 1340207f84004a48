from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

from unrolled.errors import ConfigError, NonFiniteError
from unrolled.metrics.class_counts import ClassCounts
from unrolled.metrics.labels import (
    confusion_matrix,
    measure_labels,
    signature,
    tally_labels,
)
from unrolled.metrics.tally import SMALLER_IS_BETTER

STANCES = ("AGAINST", "FAVOR", "NONE")


def names(n_classes: int) -> list[str]:
    return [f"class {index}" for index in range(n_classes)]


def cases(n_cases: int = 60):
    """Gold and predicted ids of all shapes: one example, one class, classes that never occur."""
    random = np.random.default_rng(11)
    for number in range(n_cases):
        n_classes = int(random.integers(1, 8))
        n = int(random.integers(1, 2 + number))
        used = random.integers(1, n_classes + 1)
        yield random.integers(used, size=n), random.integers(n_classes, size=n), n_classes


def brute_force(gold, predicted, n_classes, averaged=()) -> dict[str, Fraction]:
    """Every score from its definition, with fractions; 0/0 is 0."""
    pairs = list(zip(list(gold), list(predicted), strict=True))

    def over(above: int, below: int) -> Fraction:
        return Fraction(above, below) if below else Fraction(0)

    precision, recall, f1, support = [], [], [], []
    for c in range(n_classes):
        right = sum(1 for g, p in pairs if g == c and p == c)
        called = sum(1 for _, p in pairs if p == c)
        there = sum(1 for g, _ in pairs if g == c)
        precision.append(over(right, called))
        recall.append(over(right, there))
        both = precision[-1] + recall[-1]
        f1.append(2 * precision[-1] * recall[-1] / both if both else Fraction(0))
        support.append(there)
    found = {
        "accuracy": Fraction(sum(1 for g, p in pairs if g == p), len(pairs)),
        "macro_f1": sum(f1) / n_classes,
        "weighted_f1": sum(s * f for s, f in zip(support, f1, strict=True)) / len(pairs),
    }
    found["micro_f1"] = found["accuracy"]
    if averaged:
        found["mean_f1"] = sum(f1[c] for c in averaged) / len(averaged)
    return found | {"precision": precision, "recall": recall, "f1": f1}


def test_scores_are_those_of_their_definitions():
    for gold, predicted, n_classes in cases():
        averaged = tuple(range(0, n_classes, 2))
        found = measure_labels(
            names(n_classes), gold, predicted, averaged=[names(n_classes)[c] for c in averaged]
        )
        expected = brute_force(gold, predicted, n_classes, averaged)
        for name in ("precision", "recall", "f1"):
            by_class = [float(value) for value in expected.pop(name)]
            assert getattr(found.counts, name) == pytest.approx(by_class, abs=1e-14), name
        scores = found.scores()
        assert scores == pytest.approx({n: float(v) for n, v in expected.items()}, abs=1e-14)


def test_scores_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for gold, predicted, n_classes in cases():
        if n_classes == 1:
            continue  # scikit-learn warns
        found = measure_labels(names(n_classes), gold, predicted)
        for average in ("macro", "micro", "weighted", None):
            expected = metrics.precision_recall_fscore_support(
                gold, predicted, labels=range(n_classes), average=average, zero_division=0
            )
            if average is None:
                assert found.counts.precision == pytest.approx(expected[0], abs=1e-14)
                assert found.counts.recall == pytest.approx(expected[1], abs=1e-14)
                assert found.counts.f1 == pytest.approx(expected[2], abs=1e-14)
                assert found.counts.gold.tolist() == expected[3].tolist()
            else:
                assert found.scores()[f"{average}_f1"] == pytest.approx(expected[2], abs=1e-14)
        expected = metrics.confusion_matrix(gold, predicted, labels=range(n_classes))
        assert found.confusion.tolist() == expected.tolist()


def test_a_confusion_matrix_counts_gold_by_row():
    found = confusion_matrix([0, 0, 0, 1, 2], [0, 1, 1, 1, 0], 3)
    assert found.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]
    assert found.dtype == np.int64


def test_the_mean_of_two_classes_counts_mistakes_with_the_third():
    # AGAINST: 2 right of 3 predicted and 3 gold; FAVOR: 1 right of 3 predicted and 2 gold.
    gold = [0, 0, 0, 1, 1, 2, 2]
    predicted = [0, 0, 1, 1, 2, 0, 1]
    found = measure_labels(STANCES, gold, predicted, averaged=("FAVOR", "AGAINST"))
    assert found.scores()["mean_f1"] == pytest.approx((4 / 6 + 2 / 5) / 2)
    # A tweet of NONE that is called FAVOR instead of NONE is one more false positive.
    better = measure_labels(STANCES, gold, [0, 0, 1, 1, 2, 0, 2], averaged=("FAVOR", "AGAINST"))
    assert better.scores()["mean_f1"] == pytest.approx((4 / 6 + 2 / 4) / 2)


def test_the_majority_class_scores_as_published_for_stance():
    # SemEval-2016 task 6 B: 299 AGAINST, 148 FAVOR and 260 NONE of 707; always AGAINST scores 29.72.
    gold = [0] * 299 + [1] * 148 + [2] * 260
    found = measure_labels(STANCES, gold, [0] * 707, averaged=("FAVOR", "AGAINST"))
    assert round(100 * found.scores()["mean_f1"], 2) == 29.72


def test_what_is_undefined_is_0_and_counts():
    # b is never predicted, c never occurs, d is neither.
    found = measure_labels("abcd", gold=[0, 1], predicted=[0, 2])
    assert found.counts.precision.tolist() == [1, 0, 0, 0]
    assert found.counts.recall.tolist() == [1, 0, 0, 0]
    assert found.counts.f1.tolist() == [1, 0, 0, 0]
    assert found.scores()["macro_f1"] == 0.25
    assert found.unseen == ("d",)
    assert "neither in the gold labels nor predicted: d" in list(found.lines())


def test_macro_f1_is_the_mean_of_f1_not_the_f1_of_means():
    found = measure_labels("ab", gold=[0, 0, 0, 1], predicted=[0, 1, 1, 1])
    counts = found.counts
    of_means = 2 / (1 / counts.macro_precision + 1 / counts.macro_recall)
    assert float(counts.macro_f1) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert float(of_means) == pytest.approx(2 / 3)


def test_counts_of_many_samples_are_scored_at_once():
    random = np.random.default_rng(5)
    right = random.integers(0, 5, (3, 7, 4))
    predicted = right + random.integers(0, 5, right.shape)
    gold = right + random.integers(0, 5, right.shape)
    together = ClassCounts(right, predicted, gold)
    for place in np.ndindex(3, 7):
        one = ClassCounts(right[place], predicted[place], gold[place])
        for name in ("macro_f1", "micro_f1", "weighted_f1", "macro_precision", "micro_recall"):
            assert getattr(together, name)[place] == pytest.approx(float(getattr(one, name)))


def test_no_class_at_all_scores_0():
    counts = ClassCounts(*(np.zeros(0, int) for _ in range(3)))
    assert float(counts.macro_f1) == float(counts.micro_f1) == float(counts.weighted_f1) == 0


def test_the_most_probable_class_wins_ties_to_the_first():
    probabilities = [[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [1 / 3, 1 / 3, 1 / 3]]
    found = measure_labels(STANCES, [1, 0, 0], probabilities=probabilities)
    assert found.confusion.tolist() == [[2, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert set(found.scores()) >= {"ece", "brier", "nll"}


def test_given_predictions_need_not_be_the_most_probable():
    probabilities = [[0.9, 0.1], [0.9, 0.1]]
    found = measure_labels("ab", [1, 0], predicted=[1, 1], probabilities=probabilities)
    assert found.scores()["accuracy"] == 0.5
    # The confidence is that of what was predicted: 0.1 twice, right once.
    assert found.scores()["ece"] == pytest.approx(0.4)


def test_a_tally_of_all_examples_gives_the_scores_of_the_record():
    for gold, predicted, n_classes in cases(20):
        averaged = [0] if n_classes > 1 else []
        tally = tally_labels(gold, predicted, n_classes, averaged)
        found = tally.scores(np.arange(len(gold))[None])
        record = measure_labels(
            names(n_classes), gold, predicted, averaged=[names(n_classes)[c] for c in averaged]
        )
        assert {name: value[0] for name, value in found.items()} == record.scores()
        assert list(found) == list(record.scores())


def test_a_tally_scores_any_choice_of_examples():
    random = np.random.default_rng(3)
    gold, predicted = random.integers(5, size=41), random.integers(5, size=41)
    index = random.integers(41, size=(13, 29))
    found = tally_labels(gold, predicted, 5, [1, 4]).scores(index)
    for row, chosen in enumerate(index):
        expected = brute_force(gold[chosen], predicted[chosen], 5, [1, 4])
        for name, values in found.items():
            assert values[row] == pytest.approx(float(expected[name]), abs=1e-14)


def test_mistakes_are_listed_by_how_often_they_were_made():
    found = measure_labels("abc", gold=[0, 0, 0, 1, 2, 2, 2], predicted=[0, 1, 1, 2, 0, 2, 1])
    assert found.confusions() == [("a", "b", 2), ("b", "c", 1), ("c", "a", 1), ("c", "b", 1)]
    assert measure_labels("ab", [0, 1], [0, 1]).confusions() == []


def test_tables_show_every_class_and_leave_out_a_matrix_too_wide():
    few = list(measure_labels(STANCES, [0, 1, 2, 2], [0, 1, 1, 2]).lines())
    assert any(line.startswith("FAVOR") and "50.00%" in line for line in few)
    assert few[-5:] == [
        "         predicted",
        "gold     AGAINST  FAVOR  NONE",
        "AGAINST        1      0     0",
        "FAVOR          0      1     0",
        "NONE           0      1     1",
    ]
    assert sum("50.00%" in line for line in few) == 2  # FAVOR's precision, NONE's recall
    many = list(measure_labels(names(13), [0], [12]).lines())
    assert len([line for line in many if line.startswith("class ") and "," not in line]) == 13 + 2
    assert "most frequent errors:" in many
    assert many[-1].split() == ["class", "0", "class", "12", "1"]


def test_signatures_say_how_each_score_was_computed():
    found = measure_labels(
        STANCES,
        [0, 1],
        probabilities=[[1, 0, 0], [0, 1, 0]],
        averaged=["FAVOR", "AGAINST"],
        n_bins=7,
    )
    lines = found.signature()
    assert list(lines) == list(found.scores())
    assert lines["mean_f1"] == (
        "n:2|classes:3|mean F1 of:FAVOR, AGAINST|mistakes with other classes:count|0/0:0"
    )
    assert lines["macro_f1"] == "n:2|classes:3|average:macro over all classes|0/0:0"
    assert lines["ece"] == (
        "confidence:of the predicted class|bins:7 of equal mass|smaller is better"
    )
    for name, line in lines.items():
        assert (name in SMALLER_IS_BETTER) == ("smaller is better" in line)
    assert signature()["accuracy"] == "right / all"


def test_a_record_has_no_scores_of_what_was_not_given():
    found = measure_labels("ab", [0], [0])
    assert list(found.scores()) == ["accuracy", "macro_f1", "weighted_f1", "micro_f1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gold": [0, 3], "predicted": [0, 0]}, "gold[1] is 3; the ids of 3 classes are 0…2"),
        ({"gold": [0], "predicted": [-1]}, "predicted[0] is -1; the ids of 3 classes are 0…2"),
        (
            {"gold": [0.0], "predicted": [0]},
            "gold must be class ids [N], whole numbers; got float64 of shape (1,)",
        ),
        (
            {"gold": [[0]], "predicted": [0]},
            "gold must be class ids [N], whole numbers; got int64 of shape (1, 1)",
        ),
        (
            {"gold": [0, 1], "predicted": [0]},
            "gold has 2 examples and predicted 1: pass one row for each",
        ),
        ({"gold": [], "predicted": []}, "no examples to score: pass at least one"),
        ({"gold": [0]}, "nothing to score: pass predicted, or probabilities, or both"),
        (
            {"gold": [0], "probabilities": [[0.5, 0.5]]},
            "probabilities must be [N, C] = [1, 3], got shape (1, 2)",
        ),
        (
            {"gold": [0], "probabilities": [[2.0, -1.0, 0.0]]},
            "row 0 of the probabilities has values outside 0…1; pass probabilities, not logits",
        ),
        (
            {"gold": [0], "probabilities": [[0.5, 0.1, 0.1]]},
            "row 0 of the probabilities sums to 0.7, not to 1; pass a softmax over all classes",
        ),
    ],
)
def test_arrays_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        measure_labels(STANCES, **given)


def test_probabilities_that_are_no_numbers_are_refused():
    with pytest.raises(
        NonFiniteError, match="row 1 of the probabilities holds a value that is not a"
    ):
        measure_labels("ab", [0, 0], probabilities=[[1, 0], [np.nan, 0]])


def test_an_unknown_class_is_named():
    with pytest.raises(ConfigError) as refusal:
        measure_labels(STANCES, [0], [0], averaged=["FAVOUR"])
    assert str(refusal.value) == (
        "there is no class 'FAVOUR'; the classes are AGAINST, FAVOR, NONE; did you mean 'FAVOR'?"
    )


def test_the_repr_of_an_evaluation_is_short() -> None:
    found = measure_labels(["neg", "pos"], gold=[0, 0, 1, 1, 1], predicted=[0, 1, 1, 1, 0])
    assert repr(found) == "LabelEvaluation(accuracy=0.6000, macro_f1=0.5833, weighted_f1=0.6000)"
