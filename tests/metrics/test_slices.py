from __future__ import annotations

import numpy as np
import pytest

from unrolled.errors import ConfigError
from unrolled.metrics.intervals import bootstrap
from unrolled.metrics.labels import measure_labels, tally_labels
from unrolled.metrics.slices import (
    Mistake,
    by_length,
    by_unknown_share,
    worst_mistakes,
    worst_multi_label_mistakes,
)
from unrolled.metrics.spans import tally_spans


def example(n: int = 97):
    random = np.random.default_rng(5)
    gold = random.integers(3, size=n)
    predicted = np.where(random.uniform(size=n) < 0.6, gold, random.integers(3, size=n))
    return gold, predicted, random.integers(0, 40, n)


def test_slices_partition_examples_and_score_separately():
    gold, predicted, lengths = example()
    table = by_length(tally_labels(gold, predicted, 3), lengths, edges=(4, 15, 22), n_resamples=50)
    assert [each.name for each in table.slices] == ["0–4", "5–15", "16–22", "23 and more"]
    bounds = [(0, 4), (5, 15), (16, 22), (23, 99)]
    for each, (low, high) in zip(table.slices, bounds, strict=True):
        inside = (lengths >= low) & (lengths <= high)
        assert each.n == inside.sum()
        alone = measure_labels("abc", gold[inside], predicted[inside]).scores()
        assert {name: found.value for name, found in each.scores.items()} == alone
        assert each.scores == bootstrap(
            tally_labels(gold[inside], predicted[inside], 3), n_resamples=50
        )


def test_buckets_are_of_equal_size_by_default():
    gold, predicted, lengths = example()
    table = by_length(tally_labels(gold, predicted, 3), lengths, n_resamples=5)
    assert len(table.slices) == 5
    assert sum(each.n for each in table.slices) == 97
    assert min(each.n for each in table.slices) > 10
    assert table.shown == ("accuracy",)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([7, 7, 7], [("all", 3)]),
        ([0, 0, 9], [("0", 2), ("1 and more", 1)]),
        ([1, 2, 2], [("0–1", 1), ("2 and more", 2)]),
    ],
)
def test_equal_lengths_share_a_bucket(lengths, expected):
    table = by_length(tally_labels([0, 0, 0], [0, 0, 0], 1), lengths, n_resamples=5)
    assert [(each.name, each.n) for each in table.slices] == expected


def test_empty_buckets_are_left_out():
    table = by_length(tally_labels([0, 0], [0, 0], 1), [5, 90], edges=(10, 20, 30), n_resamples=5)
    assert [each.name for each in table.slices] == ["0–10", "31 and more"]


def test_unknown_words_are_counted_by_their_share():
    n_unknown = [0, 0, 1, 1, 2, 1, 3, 10]
    lengths = [0, 9, 20, 10, 10, 19, 10, 10]
    table = by_unknown_share(tally_labels([0] * 8, [0] * 8, 1), n_unknown, lengths, n_resamples=5)
    assert [(each.name, each.n) for each in table.slices] == [
        ("none", 2),  # an empty text has no unknown words
        ("up to 5%", 1),
        ("over 5% to 10%", 2),
        ("over 10% to 20%", 1),
        ("over 20%", 2),
    ]


def test_a_share_on_the_edge_belongs_to_the_lower_bucket():
    lengths = np.arange(1, 400)
    exact = lengths[lengths % 20 == 0]
    tally = tally_labels([0] * len(exact), [0] * len(exact), 1)
    for share, name in ((20, "up to 5%"), (10, "over 5% to 10%"), (5, "over 10% to 20%")):
        table = by_unknown_share(tally, exact // share, exact, n_resamples=2)
        assert [each.name for each in table.slices] == [name]


def test_spans_can_be_sliced_too():
    gold = [["B-X", "I-X"], ["O"], ["B-X", "O", "O", "B-Y"]]
    predicted = [["B-X", "I-X"], ["O"], ["O", "O", "O", "B-Y"]]
    table = by_length(tally_spans(gold, predicted), [2, 1, 4], edges=(2,), n_resamples=5)
    assert [each.scores["f1"].value for each in table.slices] == [1.0, 2 / 3]


def test_a_table_is_printed():
    tally = tally_labels([0, 1, 0, 1], [0, 1, 1, 0], 2)
    table = by_length(tally, [3, 5, 20, 40], edges=(10,), scores=("accuracy", "macro_f1"))
    assert max(map(len, table.lines())) == 80
    assert list(table.lines(100)) == [
        "length in tokens  examples  accuracy       95% interval  macro F1      95% interval",
        "0–10                     2   100.00%  100.00% – 100.00%   100.00%  50.00% – 100.00%",
        "11 and more              2     0.00%      0.00% – 0.00%     0.00%     0.00% – 0.00%",
    ]


def test_the_most_confident_mistakes_come_first():
    gold = [0, 1, 1, 0, 0]
    probabilities = [[0.2, 0.8], [0.7, 0.3], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]]
    found = worst_mistakes(("neg", "pos"), [*"abcde"], gold, [1, 0, 1, 1, 1], probabilities, n=3)
    assert found == [
        Mistake(0, "a", "neg", "pos", 0.8),
        Mistake(4, "e", "neg", "pos", 0.8),
        Mistake(1, "b", "pos", "neg", 0.7),
    ]
    assert found[0].line() == "0.800  neg → pos  a"
    assert len(worst_mistakes(("n", "p"), [*"abcde"], gold, [1, 0, 1, 1, 1], probabilities)) == 4
    assert worst_mistakes(("n", "p"), ["a"], [0], [0], [[1, 0]]) == []


def test_in_multi_label_the_most_confident_error_counts():
    gold = [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]]
    probabilities = [[0.2, 0.9, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.65], [0.05, 0.9, 0.1]]
    found = worst_multi_label_mistakes("abc", [*"wxyz"], gold, probabilities, [0.5, 0.5, 0.6])
    assert [(each.index, each.gold, each.predicted) for each in found] == [
        (3, "a, b", "b"),  # surely not a: 0.95
        (0, "a", "b"),  # surely b: 0.9
        (2, "(none)", "c"),  # 0.65
    ]
    assert [each.probability for each in found] == pytest.approx([0.95, 0.9, 0.65])


def test_a_multi_line_mistake_is_printed_on_one_line():
    assert Mistake(0, "a\n\tb  c", "x", "y", 0.5).line() == "0.500  x → y  a b c"


@pytest.mark.parametrize("weight", [1.2, -1.01, float("nan")])
def test_weights_of_words_beyond_1_are_refused(weight):
    with pytest.raises(ValueError, match=r"must be in −1…1, got .* for 'good'"):
        Mistake(0, "good", "a", "b", 0.5, (("good", weight),))


def test_invalid_arguments_are_refused():
    tally = tally_labels([0, 1], [0, 0], 2)
    with pytest.raises(
        ConfigError, match=r"the edges of lengths must rise from 0 or more, got \[9"
    ):
        by_length(tally, [1, 2], edges=[9, 9])
    with pytest.raises(ConfigError, match=r"the edges of shares must rise from 0 or more, got \[-"):
        by_unknown_share(tally, [0, 0], [1, 1], edges=[-0.5])
    with pytest.raises(ConfigError, match="no score 'f1'; there are accuracy, macro_f1"):
        by_length(tally, [1, 2], scores=["f1"])
    with pytest.raises(ValueError, match="lengths must be one whole number for each of 2 examples"):
        by_length(tally, [1, 2, 3])
    with pytest.raises(ValueError, match="one whole number for each of 2 examples, got float64"):
        by_length(tally, [1.0, 2.0])
    with pytest.raises(ValueError, match="n_unknown must not be negative, got -1"):
        by_unknown_share(tally, [0, -1], [1, 1])
    with pytest.raises(ValueError, match="example 1 has 3 unknown tokens of 2"):
        by_unknown_share(tally, [0, 3], [1, 2])
    with pytest.raises(ValueError, match="gold has 2 examples and texts 1"):
        worst_mistakes("ab", ["x"], [0, 1], [1, 1], [[0, 1], [0, 1]])
