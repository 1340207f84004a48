"""Batches of rows with similar lengths and a limited number of tokens.

The order only depends on (seed, epoch), so a run can be resumed at any batch of any epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError

Lengths = Sequence[tuple[int, ...]] | NDArray[np.int64]
"""The length of each row on each side, in tokens."""


def batches(
    lengths: Lengths,
    max_tokens: int,
    seed: int = 1,
    epoch: int = 0,
    shuffle: bool = True,
) -> Iterator[list[int]]:
    """Yield lists of row indices; every index occurs once per epoch.

    The size of a batch is its number of rows times its longest side, at most `max_tokens`; a row that is
    longer than this forms its own batch. Rows are sorted by their last side, then by the sides before
    it, with ties in random order; the batches are then shuffled.

    Args:
        lengths: for each row, its length on each side, in tokens.
        max_tokens: maximum size of a batch in tokens, including padding, on its longest side.
        seed: random seed of the order.
        epoch: number of the epoch; each epoch has a different order and different batches.
        shuffle: False for a fixed order, longest first, regardless of seed and epoch.

    Raises:
        ConfigError: `max_tokens` is not positive.

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


def padding_share(lengths: Lengths, rows_of_batches: Iterable[Sequence[int]]) -> float:
    """The share of padding among the cells of all batches, over all sides.

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


def _table(lengths: Lengths) -> NDArray[np.int64]:
    if isinstance(lengths, np.ndarray):
        return lengths
    n_sides = len(lengths[0]) if len(lengths) else 1
    flat = np.fromiter(chain.from_iterable(lengths), dtype=np.int64)
    return flat.reshape(len(lengths), n_sides)


def _sorted_by_length(
    table: NDArray[np.int64], random: np.random.Generator | None
) -> NDArray[np.int64]:
    """Row indices sorted by last side, then by the earlier sides; ties at random or in fixed order."""
    n_rows, n_sides = table.shape
    ties = np.arange(n_rows)[::-1] if random is None else random.permutation(n_rows)
    keys = [ties]
    for side in range(n_sides):
        # Boustrophedon: the earlier side increases where the next one is even and decreases where it is
        # odd, so that neighbouring rows are similar when the next side changes.
        turned = side + 1 < n_sides
        sign = 1 - 2 * (table[:, side + 1] % 2) if turned else 1
        keys.append(table[:, side] * sign)
    return np.lexsort(keys)


def _cut(longest: NDArray[np.int64], max_tokens: int) -> list[int]:
    """The start of each batch, and the end of the last: as many rows as fit, in order."""
    bounds = [0]
    while bounds[-1] < len(longest):
        start = bounds[-1]
        window = longest[start : start + max(1, max_tokens // int(longest[start]))]
        cost = np.maximum.accumulate(window) * np.arange(1, len(window) + 1)
        bounds.append(start + max(1, int(np.searchsorted(cost, max_tokens, side="right"))))
    return bounds
