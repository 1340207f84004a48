"""Batches of rows of like length, under a budget of tokens.

The order is a function of (seed, epoch) alone, so a run can go on from any batch of any epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError


def batches(
    lengths: Sequence[tuple[int, ...]],
    max_tokens: int,
    seed: int = 1,
    epoch: int = 0,
    shuffle: bool = True,
) -> Iterator[list[int]]:
    """Lists of row indices; every index once per epoch.

    A batch costs its number of rows times its longest side, and no more than `max_tokens`; a row
    that is longer by itself stands alone. Rows are sorted by their last side, then by the ones
    before, ties in random order; the batches then come in random order.

    Args:
        lengths: for each row, its length on each side, in tokens.
        max_tokens: the budget of one batch, padding included, on its longest side.
        seed: another seed, another order.
        epoch: another epoch, another order and other batches.
        shuffle: False for a fixed order, longest first, whatever the seed and epoch.

    Raises:
        ConfigError: the budget is not positive.

    >>> list(batches([(3, 4), (9, 9), (3, 3), (4, 4)], max_tokens=12, shuffle=False))
    [[1], [2, 0, 3]]
    """
    if max_tokens < 1:
        raise ConfigError(f"a batch needs room for at least 1 token, got {max_tokens}")
    table = _table(lengths)
    random = np.random.default_rng([seed, epoch]) if shuffle else None
    order = _sorted_by_length(table, random)
    bounds = _cut(np.maximum(table[order].max(axis=1, initial=1), 1), max_tokens)
    places = (
        np.arange(len(bounds) - 1)[::-1] if random is None else random.permutation(len(bounds) - 1)
    )
    return (order[bounds[i] : bounds[i + 1]].tolist() for i in places.tolist())


def padding_share(
    lengths: Sequence[tuple[int, ...]], rows_of_batches: Iterable[Sequence[int]]
) -> float:
    """Which share of the cells of all batches, all sides together, is padding.

    >>> padding_share([(3, 2), (1, 2), (4, 2)], [[0, 1], [2]])
    0.125
    """
    table = _table(lengths)
    cells = real = 0
    for rows in rows_of_batches:
        sides = table[np.asarray(rows, dtype=np.int64)]
        cells += int(sides.max(axis=0, initial=0).sum()) * len(sides)
        real += int(sides.sum())
    return 1 - real / cells if cells else 0.0


def _table(lengths: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    n_sides = len(lengths[0]) if len(lengths) else 1
    flat = np.fromiter(chain.from_iterable(lengths), dtype=np.int64)
    return flat.reshape(len(lengths), n_sides)


def _sorted_by_length(
    table: NDArray[np.int64], random: np.random.Generator | None
) -> NDArray[np.int64]:
    """Row indices by last side, then by the earlier ones, ties at random or as they stand."""
    n_rows, n_sides = table.shape
    ties = np.arange(n_rows)[::-1] if random is None else random.permutation(n_rows)
    keys = [ties]
    for side in range(n_sides):
        # Boustrophedon: the earlier side rises where the next is even and falls where it is odd,
        # so that rows on either side of a step are alike.
        turned = side + 1 < n_sides
        sign = 1 - 2 * (table[:, side + 1] % 2) if turned else 1
        keys.append(table[:, side] * sign)
    return np.lexsort(keys)


def _cut(longest: NDArray[np.int64], max_tokens: int) -> list[int]:
    """Where each batch starts, and the end: as many rows as fit, in order."""
    bounds = [0]
    while bounds[-1] < len(longest):
        start = bounds[-1]
        window = longest[start : start + max(1, max_tokens // int(longest[start]))]
        cost = np.maximum.accumulate(window) * np.arange(1, len(window) + 1)
        bounds.append(start + max(1, int(np.searchsorted(cost, max_tokens, side="right"))))
    return bounds
