"""GloVe: word vectors whose inner products approximate the logarithms of co-occurrence counts.

Pennington, Socher & Manning (2014), "GloVe: Global vectors for word representation", eq. 8:

    J = Σ f(X_ij) (w_i · w̃_j + b_i + b̃_j − log X_ij)²,    f(x) = min(1, x / x_max)^α   (eq. 9)

minimized with AdaGrad over the non-zeros in a seeded order. The update is that of the authors' program:
gradients are half of those of J; each gradient component of w and w̃ is clipped, then multiplied by the
learning rate, and the sum of the squares of these products starts at 1; biases are not clipped, and
their learning rate is 1.

The order makes training fast and exactly reproducible. Words are divided into groups, and non-zeros into
blocks by the groups of their two words. An epoch visits the blocks in rounds. No two blocks of a round
share a group, so threads never update the same number, and any number of threads gives the same vectors,
bit for bit. In a block, the non-zeros of a row are consecutive, so the row's vector stays in registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import fsum
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import NonFiniteError
from unrolled.quoting import quote
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.vocabulary import Vocabulary
from unrolled.vectors.formats import arrays as storage
from unrolled.vectors.glove.pairs import Pairs, n_groups_of
from unrolled.vectors.kernels.types import Block, Side

_STRIDE = 16  # floats; each vector starts at a cache line
_NUMBERS_AT_ONCE = 1 << 18  # read from disk or written to it at once

TENSORS = ("w", "w_context", "b", "b_context")
"""Contents of `vectors.safetensors`: `[V, D]`, `[V, D]`, `[V]`, `[V]`, float32."""


@dataclass
class Parameters:
    """All trained parameters, with the sums of AdaGrad.

    Args:
        sides: parameters of the words as rows and as contexts.
        n_words: V.
        size: D.
    """

    sides: tuple[Side, Side]
    n_words: int
    size: int

    @classmethod
    def begin(cls, n_words: int, config: VectorsConfig) -> Parameters:
        """Initialize vectors and biases uniformly in ±1/(2 D), determined by the seed; sums are 1."""
        parameters = cls._empty(n_words, config.size)
        draw = np.random.PCG64(np.random.SeedSequence([config.seed, 0]))
        for name, shape in parameters.shapes().items():
            if not name.startswith("sums."):
                width = int(np.prod(shape[1:]))
                at_once = max(1, _NUMBERS_AT_ONCE // width)
                for first in range(0, n_words, at_once):
                    n = min(at_once, n_words - first)
                    values = _uniform(draw, (n, *shape[1:]), config.size)
                    parameters._fill(name, first, values)
        return parameters

    @staticmethod
    def n_bytes_of(n_words: int, size: int) -> int:
        """Memory of all parameters and sums, in bytes."""
        n_groups = n_groups_of(n_words)
        stride = -(-size // _STRIDE) * _STRIDE
        return 4 * 2 * n_groups * -(-n_words // n_groups) * (2 * stride + 2)

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
        """Name, array and shape in the file, for all arrays."""
        shapes = self.shapes()
        for ending, side in zip(("", "_context"), self.sides, strict=True):
            arrays = {
                f"w{ending}": side.vectors,
                f"b{ending}": side.biases,
                f"sums.w{ending}": side.vector_sums,
                f"sums.b{ending}": side.bias_sums,
            }
            for name, array in arrays.items():
                yield name, array, shapes[name]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """`[V, D]` or `[V]`, by name."""
        return _shapes(self.n_words, self.size)

    def rows(self, name: str) -> Iterator[NDArray[np.float32]]:
        """The rows of an array in the order of ranks, some at a time."""
        array = next(array for other, array, _ in self._all() if other == name)
        n_groups, n_in_group = array.shape[:2]
        at_once = max(1, _NUMBERS_AT_ONCE // (n_groups * (self.size if array.ndim == 3 else 1)))
        for first in range(0, n_in_group, at_once):
            some = array[:, first : first + at_once]
            some = some[..., : self.size] if array.ndim == 3 else some
            flat = some.swapaxes(0, 1).reshape(-1, *some.shape[2:])
            yield flat[: self.n_words - first * n_groups]

    def _fill(self, name: str, first: int, values: NDArray[np.float32]) -> None:
        """Set the rows of the words from rank `first` on."""
        array = next(array for other, array, _ in self._all() if other == name)
        n_groups = array.shape[0]
        ranks = np.arange(first, first + len(values))
        own = array[..., : self.size] if array.ndim == 3 else array
        own[ranks % n_groups, ranks // n_groups] = values

    def not_finite(self) -> tuple[str, int] | None:
        """The first array with a number that is not finite, and the rank of the word; or None."""
        for name in self.shapes():
            rank = 0
            for rows in self.rows(name):
                wrong = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
                if wrong.any():
                    return name, rank + int(np.argmax(wrong))
                rank += len(rows)
        return None

    def save(self, path: Path, with_sums: bool) -> None:
        """Write a `.safetensors` file with the arrays in `TENSORS` and, to resume, AdaGrad's sums.

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
        """Read a file that `save` wrote with the sums.

        Raises:
            RunError: the file is missing, damaged, or of other vectors.
        """
        shapes = _shapes(n_words, size)
        storage.read_tensor_shapes(path, shapes)  # checked before memory is allocated
        parameters = cls._empty(n_words, size)
        for name, first, rows in storage.read_tensors(path, shapes, _NUMBERS_AT_ONCE):
            parameters._fill(name, first, rows)
        return parameters


def _shapes(n_words: int, size: int) -> dict[str, tuple[int, ...]]:
    vectors, biases = (n_words, size), (n_words,)
    return {
        f"{of}{name}{ending}": shape
        for ending in ("", "_context")
        for of, name, shape in (
            ("", "w", vectors),
            ("", "b", biases),
            ("sums.", "w", vectors),
            ("sums.", "b", biases),
        )
    }


def _aligned(shape: tuple[int, ...], value: float) -> NDArray[np.float32]:
    n = int(np.prod(shape))
    raw = np.empty(n + _STRIDE, np.float32)
    start = -(raw.ctypes.data // 4) % _STRIDE
    array = raw[start : start + n].reshape(shape)
    array[...] = value
    return array


def _uniform(draw: np.random.PCG64, shape: tuple[int, ...], size: int) -> NDArray[np.float32]:
    """Uniform in ±1/(2 D), from raw bits: NumPy only guarantees these to be stable across versions."""
    drawn = draw.random_raw(int(np.prod(shape))) >> np.uint64(40)
    unit = drawn.astype(np.float32) / np.float32(1 << 24)
    return ((unit - np.float32(0.5)) / np.float32(size)).reshape(shape)


def _permutation(draw: np.random.PCG64, n: int) -> list[int]:
    order: list[int] = np.argsort(draw.random_raw(n), kind="stable").tolist()
    return order


def rounds_of(epoch: int, n_groups: int, seed: int) -> list[list[tuple[int, int]]]:
    """The blocks of an epoch, in rounds in which each group of rows and of columns occurs once.

    Args:
        epoch: number of the epoch, from 1; each has its own order.
        n_groups: number of groups of words.
        seed: seed of the order.

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
        NonFiniteError: a gradient is not finite; the message names the pair of words.
    """
    n_groups = parameters.sides[0].vectors.shape[0]
    losses = []
    for blocks in pairs.rounds(rounds_of(epoch, n_groups, config.seed)):
        # The largest first: the round is only complete when the last block is done.
        blocks.sort(key=lambda block: (-len(block.pairs), block.row_group))
        results = implementation.train_blocks(
            parameters.sides, parameters.size, blocks, config.rate, config.clip, config.n_threads
        )
        for number, (loss, refused) in enumerate(results):
            losses.append(loss)
            if refused >= 0:
                raise _not_finite(blocks[number], refused, n_groups, epoch, vocabulary)
        blocks.clear()  # frees memory while the next are read
    return fsum(losses)  # exact, so it does not depend on the order


def _not_finite(
    block: Block, number: int, n_groups: int, epoch: int, vocabulary: Vocabulary
) -> NonFiniteError:
    row, column, _, log_count = block.pairs[number].tolist()
    word = vocabulary.words[row * n_groups + block.row_group]
    context = vocabulary.words[column * n_groups + block.column_group]
    return NonFiniteError(
        f"epoch {epoch}: the gradient of {quote(word)} with {quote(context)} (log X = "
        f"{log_count:.3g}) is not finite; lower vectors.rate or vectors.clip"
    )
