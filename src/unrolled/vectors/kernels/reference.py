"""Counting and training in NumPy: the reference for the kernels, and their substitute.

Every function has the same arguments and result as in `native`. Counts and pairs are the same, bit for
bit; training makes the same steps in the same order, with products that round differently. Memory is not
bounded: a chunk is counted at once, and `max_entries` is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.vectors.kernels.types import BORDER, Block, Matrix, PairWeights, Rows, Side

_LOW = np.uint64(2**32 - 1)


def why_not() -> str | None:
    """Always None: NumPy is always available."""
    return None


def encode(texts: Iterable[bytes], border: bytes) -> tuple[NDArray[np.int32], bytes, Any]:
    index: dict[bytes, int] = {}
    ids: list[int] = []
    for text in texts:
        for number, part in enumerate(text.split(border)):
            if number and not (ids and ids[-1] == BORDER):
                ids.append(BORDER)
            ids += [index.setdefault(word, len(index)) for word in part.split()]
    all_ids = np.array(ids, np.int32)
    counts = np.bincount(all_ids[all_ids >= 0], minlength=len(index)).astype(np.int64)
    return all_ids, b"".join([word + b"\n" for word in index]), counts


def expand(
    ids: NDArray[np.int32], starts: NDArray[np.int64], words: NDArray[np.int32]
) -> NDArray[np.int32]:
    is_border = ids < 0
    known = np.where(is_border, 0, ids)
    if len(starts) == 1:  # there are no words; all ids, if any, are borders
        starts = np.zeros(2, np.int64)
    lengths = np.where(is_border, 1, np.diff(starts)[known])
    ends = np.cumsum(lengths)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    of_border = np.repeat(is_border, lengths)
    places = np.where(of_border, 0, np.repeat(starts[:-1][known], lengths) + within)
    if not len(words):
        words = np.full(1, BORDER, np.int32)
    out = np.where(of_border, BORDER, words[places])[of_border | (words[places] >= 0)]
    repeated = (out[1:] == BORDER) & (out[:-1] == BORDER)
    return out[np.concatenate([np.ones(min(1, len(out)), bool), ~repeated])].astype(np.int32)


def count_rows(
    tokens: NDArray[np.int32],
    first: int,
    n_words: int,
    weights: PairWeights,
    max_entries: int,
    n_threads: int,
) -> Iterator[Rows]:
    segment = np.cumsum(tokens == BORDER)
    keys, sums = np.empty(0, np.int64), np.empty((0, 2), np.uint64)
    for distance in range(1, min(weights.window, len(tokens) - 1) + 1):
        left, right = tokens[:-distance], tokens[distance:]
        together = (segment[:-distance] == segment[distance:]) & (left >= 0) & (right >= 0)
        together[: max(0, first - distance)] = False  # already counted with the previous chunk
        left, right = left[together].astype(np.int64), right[together].astype(np.int64)
        new = [right * n_words + left]
        if weights.sides == 2:
            new.append(left * n_words + right)
        weight = weights.multiples[distance]
        for pair_keys in new:
            unique_keys, times = np.unique(pair_keys, return_counts=True)
            keys, sums = _add(keys, sums, unique_keys, _times(weight, times))
    yield _as_rows(keys, sums, n_words, n_words, weights)


def merge_rows(
    matrices: Sequence[Matrix], n_words: int, weights: PairWeights, n_threads: int
) -> Rows:
    n_rows = len(matrices[0].ends) - 1
    keys, sums = np.empty(0, np.int64), np.empty((0, 2), np.uint64)
    for matrix in matrices:
        rows = np.repeat(np.arange(n_rows), np.diff(matrix.ends).astype(np.int64))
        values = matrix.values
        if not weights.is_wide:
            values = np.stack([values, np.zeros_like(values)], axis=1)
        keys, sums = _add(keys, sums, rows * n_words + matrix.columns, values)
    return _as_rows(keys, sums, n_rows, n_words, weights)


def _times(weight: np.uint64, times: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The products in 128 bits, `[n, 2]`, lower 64 bits first; `times` must be below 2³²."""
    n = times.astype(np.uint64)
    low, high = (weight & _LOW) * n, (weight >> np.uint64(32)) * n
    lower = low + (high << np.uint64(32))
    upper = (high >> np.uint64(32)) + (lower < low)
    return np.stack([lower, upper.astype(np.uint64)], axis=1)


def _add(
    keys: NDArray[np.int64],
    sums: NDArray[np.uint64],
    new_keys: NDArray[np.int64],
    new: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Merge two lists of increasing keys with sums of 128 bits."""
    merged = np.union1d(keys, new_keys)
    total = np.zeros((len(merged), 2), np.uint64)
    total[np.searchsorted(merged, keys)] = sums
    places = np.searchsorted(merged, new_keys)
    lower = total[places, 0] + new[:, 0]
    total[places, 1] += new[:, 1] + (lower < new[:, 0])
    total[places, 0] = lower
    return merged, total


def _as_rows(
    keys: NDArray[np.int64],
    sums: NDArray[np.uint64],
    n_rows: int,
    n_words: int,
    weights: PairWeights,
) -> Rows:
    sizes = np.bincount(keys // n_words, minlength=n_rows).astype(np.int64)
    values = sums if weights.is_wide else np.ascontiguousarray(sums[:, 0])
    return Rows(sizes, (keys % n_words).astype(np.uint32), values)


def count_blocks(
    first_row: int, rows: Matrix, n_groups: int, sizes: NDArray[np.int64], n_threads: int
) -> None:
    blocks = _blocks(first_row, rows, n_groups)[0]
    sizes += np.bincount(blocks, minlength=sizes.size).reshape(sizes.shape)


def deal(
    first_row: int,
    rows: Matrix,
    n_groups: int,
    weights: NDArray[np.float32],
    log_counts: NDArray[np.float32],
    pairs: NDArray[Any],
    places: NDArray[np.int64],
    n_threads: int,
) -> None:
    blocks, words = _blocks(first_row, rows, n_groups)
    order = np.argsort(blocks, kind="stable")
    sizes = np.bincount(blocks, minlength=places.size)
    starts = np.cumsum(sizes) - sizes
    within = np.arange(len(order)) - np.repeat(starts, sizes)
    to = np.repeat(places.reshape(-1), sizes) + within
    new_pairs = np.empty(len(order), pairs.dtype)
    new_pairs["row"], new_pairs["column"] = words // n_groups, rows.columns // n_groups
    new_pairs["weight"], new_pairs["log_count"] = weights, log_counts
    pairs[to] = new_pairs[order]
    places += sizes.reshape(places.shape)


def _blocks(
    first_row: int, rows: Matrix, n_groups: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The block of each entry, and the word of its row."""
    words = first_row + np.arange(len(rows.ends) - 1)
    of_entries = np.repeat(words, np.diff(rows.ends).astype(np.int64))
    return of_entries % n_groups * n_groups + rows.columns % n_groups, of_entries


def train_blocks(
    sides: tuple[Side, Side],
    size: int,
    blocks: Sequence[Block],
    rate: float,
    clip: float,
    n_threads: int,
) -> list[tuple[float, int]]:
    with np.errstate(all="ignore"):  # there is a separate test for finite numbers
        return [_train_block(sides, block, np.float32(rate), np.float32(clip)) for block in blocks]


def _train_block(
    sides: tuple[Side, Side], block: Block, rate: np.float32, clip: np.float32
) -> tuple[float, int]:
    rows = [array[block.row_group] for array in sides[0].arrays]
    columns = [array[block.column_group] for array in sides[1].arrays]
    loss = 0.0
    most = clip * rate
    for number, (i, j, weight, log_count) in enumerate(block.pairs.tolist()):
        (w, s, b, b_sum), (c, c_s, c_b, c_b_sum) = rows, columns
        diff = np.float32(w[i] @ c[j]) + b[i] + c_b[j] - np.float32(log_count)
        weighted = np.float32(weight) * diff
        if not np.isfinite(weighted):
            return loss, number
        loss += 0.5 * float(weighted) * float(diff)
        to_w = np.clip(weighted * rate * c[j], -most, most)
        to_c = np.clip(weighted * rate * w[i], -most, most)
        w[i] -= to_w / np.sqrt(s[i])
        c[j] -= to_c / np.sqrt(c_s[j])
        s[i] += to_w * to_w
        c_s[j] += to_c * to_c
        b[i] -= weighted / np.sqrt(b_sum[i])
        c_b[j] -= weighted / np.sqrt(c_b_sum[j])
        b_sum[i] += weighted * weighted
        c_b_sum[j] += weighted * weighted
    return loss, -1
