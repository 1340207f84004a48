"""Non-zeros of X as training pairs, sorted into blocks by the groups of their words; see `model`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import log
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import storage
from unrolled.errors import RunError
from unrolled.vectors import memory
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.cooccurrence import Counts
from unrolled.vectors.kernels.types import PAIR, Block, Matrix

_GROUPS = 32  # minimum; with fewer, pairs are too much sorted by row, and the vectors get worse
_WORDS_OF_GROUP = 1 << 16  # maximum; indices within a group have 16 bits


def n_groups_of(n_words: int) -> int:
    """Number of groups of words; it only depends on V, because it affects the vectors.

    >>> n_groups_of(50_000), n_groups_of(3_000_000)
    (32, 46)
    """
    return max(_GROUPS, -(-n_words // _WORDS_OF_GROUP))


class PairsInMemory:
    """All non-zeros as pairs, sorted by block, in memory."""

    def __init__(self, pairs: NDArray[Any], starts: NDArray[np.int64], n_groups: int) -> None:
        self._pairs, self._starts, self._n_groups = pairs, starts, n_groups

    def rounds(self, rounds: Sequence[Sequence[tuple[int, int]]]) -> Iterator[list[Block]]:
        """The blocks of each round."""
        for places in rounds:
            yield [Block(self._of(i, j), i, j) for i, j in places]

    def _of(self, row_group: int, column_group: int) -> NDArray[Any]:
        block = row_group * self._n_groups + column_group
        return self._pairs[self._starts[block] : self._starts[block + 1]]


class PairsOnDisk:
    """The same in a file; some blocks of a round are read while others are used for training."""

    def __init__(
        self, path: Path, starts: NDArray[np.int64], n_groups: int, n_at_once: int
    ) -> None:
        self._path, self._starts, self._n_groups = path, starts, n_groups
        self._n_at_once = n_at_once  # pairs; at least one block is read

    def rounds(self, rounds: Sequence[Sequence[tuple[int, int]]]) -> Iterator[list[Block]]:
        """The blocks of each round, as many at a time as fit into memory."""
        portions = [some for places in rounds for some in self._portions(places)]
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(self._read, portions[0])]
            for following in [*portions[1:], None]:
                blocks = waiting.pop().result()
                if following is not None:
                    waiting.append(pool.submit(self._read, following))
                yield blocks

    def _portions(self, places: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        """Split a round into portions, largest blocks first, since the round waits for the last one."""
        some: list[tuple[int, int]] = []
        size = 0
        for place in sorted(places, key=lambda place: (-self._size(place), place[0])):
            if some and size + self._size(place) > self._n_at_once:
                yield some
                some, size = [], 0
            some.append(place)
            size += self._size(place)
        yield some

    def _size(self, place: tuple[int, int]) -> int:
        block = place[0] * self._n_groups + place[1]
        return int(self._starts[block + 1] - self._starts[block])

    def _read(self, places: Sequence[tuple[int, int]]) -> list[Block]:
        blocks = []
        for i, j in places:
            start, size = int(self._starts[i * self._n_groups + j]), self._size((i, j))
            pairs = np.fromfile(self._path, PAIR, size, offset=start * PAIR.itemsize)
            if len(pairs) != size:
                raise RunError(f"{self._path}: truncated; continue with --resume")
            blocks.append(Block(pairs, i, j))
        return blocks


Pairs = PairsInMemory | PairsOnDisk


def shard_pairs(
    counts: Counts, config: VectorsConfig, implementation: ModuleType, file: Path, free: int
) -> Pairs:
    """Sort the non-zeros into blocks, in memory if they fit, otherwise in a file.

    Args:
        counts: X.
        config: has x_max, alpha and the number of threads.
        implementation: module of the kernels.
        file: file for pairs that do not fit into memory.
        free: bytes of memory for pairs.

    Raises:
        ConfigError: the memory limit is too low for two blocks.
        DataError: the counts are damaged.
        RunError: the disk is full.
    """
    n_groups, n_threads = n_groups_of(counts.n_words), config.n_threads
    sizes = np.zeros((n_groups, n_groups), np.int64)
    at_once = memory.dealt_at_once(free)
    for first, stop in counts.batches(at_once):
        some = counts.read(first, stop, with_values=False)
        implementation.count_blocks(first, some, n_groups, sizes, n_threads)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    if memory.all_pairs_fit(counts.n_nonzeros, counts.n_words, free):
        pairs = np.empty(counts.n_nonzeros, PAIR)
        places = starts[:-1].copy()
        for first, rows, weights, log_counts in _weighted(counts, config, at_once):
            implementation.deal(
                first, rows, n_groups, weights, log_counts, pairs, places, n_threads
            )
        return PairsInMemory(pairs, starts, n_groups)
    memory.require_blocks_fit(config, int(sizes.max()), free)
    with storage.writing(file):
        _deal_to(file, starts, n_groups, counts, config, implementation, at_once)
    return PairsOnDisk(file, starts, n_groups, free // (2 * PAIR.itemsize))


def _weighted(
    counts: Counts, config: VectorsConfig, at_once: int
) -> Iterator[tuple[int, Matrix, NDArray[np.float32], NDArray[np.float32]]]:
    """All rows, some at a time, with f(X_ij) (eq. 9) and log X_ij."""
    for first, stop in counts.batches(at_once):
        rows = counts.read(first, stop)
        logs = np.log(rows.values)
        weights = np.exp(config.alpha * np.minimum(logs - log(config.x_max), 0.0))
        yield first, rows, weights.astype(np.float32), logs.astype(np.float32)


def _deal_to(
    file: Path,
    starts: NDArray[np.int64],
    n_groups: int,
    counts: Counts,
    config: VectorsConfig,
    implementation: ModuleType,
    at_once: int,
) -> None:
    """Sort some rows at a time in memory, and write the pairs of each block to its place in the file."""
    places = starts[:-1].copy()
    with storage.new_file(file) as stream:
        for first, rows, weights, log_counts in _weighted(counts, config, at_once):
            sizes = np.zeros((n_groups, n_groups), np.int64)
            implementation.count_blocks(first, rows, n_groups, sizes, config.n_threads)
            ends = np.cumsum(sizes)
            pairs = np.empty(len(rows.columns), PAIR)
            own = ends - sizes.reshape(-1)
            implementation.deal(
                first, rows, n_groups, weights, log_counts, pairs, own, config.n_threads
            )
            for block in np.flatnonzero(sizes.reshape(-1)):
                size = int(sizes.reshape(-1)[block])
                stream.seek(int(places[block]) * PAIR.itemsize)
                stream.write(pairs[ends[block] - size : ends[block]].data)
                places[block] += size
