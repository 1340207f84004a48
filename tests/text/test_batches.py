"""Every row once, within the budget, in an order that only depends on (seed, epoch)."""

from __future__ import annotations

import time

import numpy as np
import pytest

from unrolled.errors import ConfigError
from unrolled.text.batching import batches, padding_share

Lengths = list[tuple[int, ...]]


def sentences(n_rows: int, seed: int = 3) -> Lengths:
    """Lengths like those of sentence pairs: skewed, and the two sides alike."""
    random = np.random.default_rng(seed)
    source = random.gamma(4.0, 3.0, n_rows) + 1
    target = source * random.normal(1.1, 0.2, n_rows).clip(0.5, 2) + 1
    return [(int(s), int(t)) for s, t in zip(source, target, strict=True)]


def cost(lengths: Lengths, rows: list[int]) -> int:
    return len(rows) * max(max(lengths[i]) for i in rows)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n_rows", [1, 2, 7, 997])
@pytest.mark.parametrize("max_tokens", [1, 13, 101, 4099, 10**9])
def test_every_row_once_and_within_the_budget(n_rows: int, max_tokens: int, shuffle: bool) -> None:
    lengths = sentences(n_rows)
    order = list(batches(lengths, max_tokens, seed=5, epoch=2, shuffle=shuffle))
    assert sorted(i for rows in order for i in rows) == list(range(n_rows))
    for rows in order:
        assert len(rows) == 1 or cost(lengths, rows) <= max_tokens


def test_batches_are_filled() -> None:
    lengths = sentences(5003)
    order = list(batches(lengths, 1009, shuffle=False))
    spent = sum(cost(lengths, rows) for rows in order)
    assert spent / (len(order) * 1009) > 0.95


def test_a_batch_may_use_the_whole_budget() -> None:
    assert list(batches([(5, 2)] * 4, 10, shuffle=False)) == [[1, 0], [3, 2]]
    assert [len(rows) for rows in batches([(5, 2)] * 4, 9)] == [1, 1, 1, 1]


def test_rows_without_tokens_and_no_rows_at_all() -> None:
    assert list(batches([], 10)) == []
    assert list(batches([(0, 0)], 10)) == [[0]]
    order = list(batches([(0, 0), (0, 3), (5, 0)], 4))
    assert sorted(i for rows in order for i in rows) == [0, 1, 2]


def test_a_row_longer_than_the_budget_is_its_own_batch() -> None:
    order = list(batches([(1, 1), (500, 2), (1, 1)], 10, shuffle=False))
    assert [1] in order
    assert [0, 2] in order or [2, 0] in order


def test_rows_of_one_side_and_of_three() -> None:
    assert list(batches([(2,), (9,), (2,)], 9, shuffle=False)) == [[1], [2, 0]]
    order = list(batches([(2, 2, 2), (9, 1, 1)], 9))
    assert sorted(order) == [[0], [1]]


def test_the_same_seed_and_epoch_give_the_same_order() -> None:
    lengths = sentences(997)
    assert list(batches(lengths, 251, 7, 3)) == list(batches(lengths, 251, 7, 3))


def test_another_seed_or_epoch_reshuffles_the_batches() -> None:
    lengths = sentences(997)
    runs = [
        list(batches(lengths, 251, seed, epoch)) for seed, epoch in ((1, 0), (1, 1), (2, 0), (2, 1))
    ]
    as_sets = [frozenset(frozenset(rows) for rows in run) for run in runs]
    assert len(set(as_sets)) == 4
    assert len({tuple(map(tuple, run)) for run in runs}) == 4


def test_unshuffled_batches_are_longest_first_for_any_seed() -> None:
    lengths = sentences(997)
    order = list(batches(lengths, 251, seed=1, epoch=0, shuffle=False))
    assert order == list(batches(lengths, 251, seed=9, epoch=4, shuffle=False))
    longest_target = [max(lengths[i][1] for i in rows) for rows in order]
    assert longest_target == sorted(longest_target, reverse=True)


def test_shuffled_batches_are_not_sorted_by_length() -> None:
    lengths = sentences(997)
    means = [np.mean([lengths[i][1] for i in rows]) for rows in batches(lengths, 251)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_a_zero_budget_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        batches([(5, 5)], 0)
    assert str(caught.value) == "a batch needs room for at least 1 token, got 0"


def test_padding_of_sentence_pairs_stays_under_five_percent() -> None:
    lengths = sentences(29_989)
    order = list(batches(lengths, 2048))
    cells = sum(
        len(rows) * sum(max(lengths[i][side] for i in rows) for side in (0, 1)) for rows in order
    )
    share = 1 - sum(map(sum, lengths)) / cells
    assert padding_share(lengths, order) == pytest.approx(share)
    assert share < 0.05
    assert padding_share(lengths, np.array_split(np.arange(29_989), len(order))) > 0.4  # type: ignore[arg-type]


def test_no_batches_have_no_padding() -> None:
    assert padding_share([], []) == 0.0
    assert padding_share([(0, 0)], [[0]]) == 0.0


def test_a_million_rows_take_seconds() -> None:
    lengths = sentences(1_000_003)
    started = time.process_time()
    n_rows = sum(len(rows) for rows in batches(lengths, 4096))
    assert n_rows == len(lengths)
    assert time.process_time() - started < 10
