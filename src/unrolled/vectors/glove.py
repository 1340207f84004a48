"""GloVe: vectors whose products are the logarithms of co-occurrence counts.

Pennington, Socher & Manning (2014), "GloVe: Global vectors for word representation", eq. 8:

    J = Σ f(X_ij) (w_i · w̃_j + b_i + b̃_j − log X_ij)²,    f(x) = min(1, x / x_max)^α   (eq. 9)

minimised by AdaGrad over the non-zeros in a seeded order. A step is that of the authors' program:
gradients are half of J's; each number of w and w̃ has its gradient clipped, then multiplied by the rate,
and the sum of such squares starts at 1; biases are not clipped, and their rate is 1.

The order is what makes it quick and exact. Words are dealt to groups, and non-zeros to blocks by the
groups of their two words. An epoch visits the blocks in rounds; no two blocks of a round share a group,
so that threads never touch the same number, and any number of them makes the same vectors, bit for bit.
Inside a block the non-zeros of a row follow one another, and the row's vector stays in registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from unrolled.errors import NonFiniteError, RunError
from unrolled.vectors import storage
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.cooccurrence import Counts
from unrolled.vectors.records import PAIR, Block, Matrix, Side
from unrolled.vectors.vocabulary import Vocabulary

_GROUPS = 32  # at least; fewer would sort the pairs too much by row, and the vectors would be worse
_WORDS_OF_GROUP = 1 << 16  # at most; their numbers are 16 bits
_STRIDE = 16  # floats; a vector starts at the start of a cache line
_ROWS_AT_ONCE = 4096  # of vectors, on their way to the disk
_LEAST_DEALT, _MOST_DEALT = 1 << 16, 1 << 22  # non-zeros at once
_BYTES_DEALT = 64  # of a non-zero, while it is made into a pair

TENSORS = ("w", "w_context", "b", "b_context")
"""What `vectors.safetensors` holds: `[V, D]`, `[V, D]`, `[V]`, `[V]`, float32."""


def n_groups_of(n_words: int) -> int:
    """How many groups words are dealt to; it depends on nothing else, for the vectors depend on it.

    >>> n_groups_of(50_000), n_groups_of(3_000_000)
    (32, 46)
    """
    return max(_GROUPS, -(-n_words // _WORDS_OF_GROUP))


class PairsInMemory:
    """All non-zeros as pairs, block after block."""

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
    """The same in a file; a round is read while the one before is trained on."""

    def __init__(self, path: Path, starts: NDArray[np.int64], n_groups: int) -> None:
        self._path, self._starts, self._n_groups = path, starts, n_groups

    def rounds(self, rounds: Sequence[Sequence[tuple[int, int]]]) -> Iterator[list[Block]]:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self._read, rounds[0])
            for number in range(len(rounds)):
                blocks = waiting.result()
                if number + 1 < len(rounds):
                    waiting = pool.submit(self._read, rounds[number + 1])
                yield blocks

    def _read(self, places: Sequence[tuple[int, int]]) -> list[Block]:
        blocks = []
        for i, j in places:
            block = i * self._n_groups + j
            start, stop = (int(each) for each in self._starts[block : block + 2])
            offset = start * PAIR.itemsize
            pairs = np.fromfile(self._path, PAIR, stop - start, offset=offset)
            blocks.append(Block(pairs, i, j))
        return blocks


Pairs = PairsInMemory | PairsOnDisk


def deal_pairs(
    counts: Counts, config: VectorsConfig, implementation: ModuleType, file: Path
) -> Pairs:
    """Deal the non-zeros to blocks: in memory where there is room, else in a file.

    Raises:
        RunError: the disk is full, or the counts are damaged.
    """
    n_groups, n_threads = n_groups_of(counts.n_words), config.n_threads
    sizes = np.zeros((n_groups, n_groups), np.int64)
    free = config.n_bytes - storage.memory_in_use()
    at_once = max(_LEAST_DEALT, min(_MOST_DEALT, free // 4 // _BYTES_DEALT))
    for first, stop in counts.batches(at_once):
        implementation.count_blocks(
            first, _columns(counts, first, stop), n_groups, sizes, n_threads
        )
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    if counts.n_nonzeros * PAIR.itemsize + at_once * _BYTES_DEALT <= free:
        pairs = np.empty(counts.n_nonzeros, PAIR)
        places = starts[:-1].copy()
        for first, rows, weights, log_counts in _weighted(counts, config, at_once):
            implementation.deal(
                first, rows, n_groups, weights, log_counts, pairs, places, n_threads
            )
        return PairsInMemory(pairs, starts, n_groups)
    with storage.writing(file):
        _deal_to(file, starts, n_groups, counts, config, implementation, at_once)
    return PairsOnDisk(file, starts, n_groups)


def _columns(counts: Counts, first: int, stop: int) -> Matrix:
    ends = np.array(counts.ends[first : stop + 1])
    path = counts.folder / "columns.npy"
    columns = storage.read_rows(path, np.uint32, int(ends[0]), int(ends[-1]))
    return Matrix(ends - ends[0], columns, np.empty(0, np.uint64))


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
    """Deal some rows at a time in memory, and write each block's share to its place in the file."""
    places = starts[:-1].copy()
    with file.open("wb") as stream:
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


@dataclass
class Parameters:
    """Everything that training changes.

    Args:
        sides: the words as rows and as context.
        n_words: V.
        size: D.
    """

    sides: tuple[Side, Side]
    n_words: int
    size: int

    @classmethod
    def begin(cls, n_words: int, config: VectorsConfig) -> Parameters:
        """Vectors and biases uniform in ±1/(2 D), the same for the same seed; sums of 1."""
        parameters = cls._empty(n_words, config.size)
        draw = np.random.PCG64(np.random.SeedSequence([config.seed, 0]))
        for name, _, _ in parameters._all():
            if not name.startswith("sums."):
                parameters._fill(name, _uniform(draw, parameters.shape(name), config.size))
        return parameters

    @classmethod
    def _empty(cls, n_words: int, size: int) -> Parameters:
        n_groups = n_groups_of(n_words)
        n_in_group = -(-n_words // n_groups)
        stride = -(-size // _STRIDE) * _STRIDE
        shape = (n_groups, n_in_group)

        def side() -> Side:
            return Side(
                _aligned((*shape, stride), 0.0),
                _aligned((*shape, stride), 1.0),
                _aligned(shape, 0.0),
                _aligned(shape, 1.0),
            )

        return cls((side(), side()), n_words, size)

    def _all(self) -> Iterator[tuple[str, NDArray[np.float32], tuple[int, ...]]]:
        """Name, array and shape as it is kept, of all that there is."""
        for ending, side in zip(("", "_context"), self.sides, strict=True):
            vectors, biases = (self.n_words, self.size), (self.n_words,)
            yield f"w{ending}", side.vectors, vectors
            yield f"b{ending}", side.biases, biases
            yield f"sums.w{ending}", side.vector_sums, vectors
            yield f"sums.b{ending}", side.bias_sums, biases

    def shape(self, name: str) -> tuple[int, ...]:
        """`[V, D]` or `[V]`."""
        return next(shape for its, _, shape in self._all() if its == name)

    def rows(self, name: str) -> Iterator[NDArray[np.float32]]:
        """An array by rank of its words, some rows at a time."""
        array = next(array for its, array, _ in self._all() if its == name)
        n_groups, n_in_group = array.shape[:2]
        at_once = max(1, _ROWS_AT_ONCE // n_groups)
        for first in range(0, n_in_group, at_once):
            some = array[:, first : first + at_once]
            some = some[..., : self.size] if array.ndim == 3 else some
            flat = some.swapaxes(0, 1).reshape(-1, *some.shape[2:])
            yield flat[: self.n_words - first * n_groups]

    def _fill(self, name: str, values: NDArray[np.float32]) -> None:
        array = next(array for its, array, _ in self._all() if its == name)
        n_groups = array.shape[0]
        for group in range(n_groups):
            of_group = values[group::n_groups]
            if array.ndim == 3:
                array[group, : len(of_group), : self.size] = of_group
            else:
                array[group, : len(of_group)] = of_group

    def save(self, path: Path, with_sums: bool) -> None:
        """Write a `.safetensors` file: what `TENSORS` names, and for a resume AdaGrad's sums.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        tensors: dict[str, tuple[tuple[int, ...], storage.Pieces]] = {}
        for name, _, shape in self._all():
            if with_sums or not name.startswith("sums."):
                tensors[name] = shape, partial(self.rows, name)
        storage.write_tensors(path, tensors)

    @classmethod
    def load(cls, path: Path, n_words: int, size: int) -> Parameters:
        """Read what `save` wrote with its sums.

        Raises:
            RunError: the file is missing, damaged, or of other vectors.
        """
        parameters = cls._empty(n_words, size)
        try:
            with safe_open(path, "np") as file:
                for name, _, shape in parameters._all():
                    values = file.get_tensor(name)
                    if values.shape != shape:
                        raise RunError(f"{path}: '{name}' is {values.shape}, expected {shape}")
                    parameters._fill(name, values)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: damaged ({error}); train again (--force)") from None
        return parameters


def _aligned(shape: tuple[int, ...], value: float) -> NDArray[np.float32]:
    n = int(np.prod(shape))
    raw = np.empty(n + _STRIDE, np.float32)
    start = -(raw.ctypes.data // 4) % _STRIDE
    array = raw[start : start + n].reshape(shape)
    array[...] = value
    return array


def _uniform(draw: np.random.PCG64, shape: tuple[int, ...], size: int) -> NDArray[np.float32]:
    """Uniform in ±1/(2 D). Only the bits of a generator are promised to stay what they are."""
    drawn = draw.random_raw(int(np.prod(shape))) >> np.uint64(40)
    unit = drawn.astype(np.float32) / np.float32(1 << 24)
    return ((unit - np.float32(0.5)) / np.float32(size)).reshape(shape)


def _permutation(draw: np.random.PCG64, n: int) -> list[int]:
    order: list[int] = np.argsort(draw.random_raw(n), kind="stable").tolist()
    return order


def rounds_of(epoch: int, n_groups: int, seed: int) -> list[list[tuple[int, int]]]:
    """The blocks of an epoch: rounds in which each group of rows and of columns comes once.

    Args:
        epoch: from 1; each has an order of its own.
        n_groups: of words.
        seed: of the order.

    >>> sorted(sum(rounds_of(1, 2, seed=3), []))
    [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    draw = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
    rows, columns, shifts = (_permutation(draw, n_groups) for _ in range(3))
    return [
        [(rows[k], columns[(k + shift) % n_groups]) for k in range(n_groups)] for shift in shifts
    ]


def train_epoch(
    pairs: Pairs,
    parameters: Parameters,
    epoch: int,
    config: VectorsConfig,
    implementation: ModuleType,
    vocabulary: Vocabulary,
) -> float:
    """One pass over all pairs.

    Returns:
        Σ f(X_ij) diff² / 2, each before its own step.

    Raises:
        NonFiniteError: a gradient is not finite; the pair of words is named.
    """
    n_groups = parameters.sides[0].vectors.shape[0]
    losses = []
    for blocks in pairs.rounds(rounds_of(epoch, n_groups, config.seed)):
        # The largest first, for those that come last are waited for.
        blocks.sort(key=lambda block: (-len(block.pairs), block.row_group))
        results = implementation.train_blocks(
            parameters.sides, parameters.size, blocks, config.rate, config.clip, config.n_threads
        )
        for block, (loss, refused) in zip(blocks, results, strict=True):
            losses.append(loss)
            if refused >= 0:
                raise _not_finite(block, refused, n_groups, epoch, vocabulary)
    return float(np.sum(losses))


def _not_finite(
    block: Block, number: int, n_groups: int, epoch: int, vocabulary: Vocabulary
) -> NonFiniteError:
    row, column, _, log_count = block.pairs[number].tolist()
    word = vocabulary.words[row * n_groups + block.row_group]
    context = vocabulary.words[column * n_groups + block.column_group]
    return NonFiniteError(
        f"epoch {epoch}: the gradient of '{word}' with '{context}' (log X = {log_count:.3g}) is not "
        "finite; lower vectors.rate or vectors.clip"
    )
