"""What the implementations of counting and training take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.vectors.config import VectorsConfig

BORDER = -1
"""Stands between words that share no window."""

PAIR = np.dtype(
    [("row", "<u2"), ("column", "<u2"), ("weight", "<f4"), ("log_count", "<f4")], align=False
)
"""One non-zero of X: its words' places in their groups, f(X_ij) and log X_ij."""


@dataclass(frozen=True, eq=False)
class PairWeights:
    """What a pair of words at each distance adds to a count, as integers.

    1/d is counted in units of 1/lcm(1 … window), exactly, where no sum of 64 bits can overflow.
    Where one could, it is counted in units of 2⁻⁶³ in 128 bits: each weight is then right to half a
    unit, and a sum to the last bits of a float64. Either way sums are integers, which no order of
    adding changes.

    Args:
        multiples: `[window + 1]`, by distance, in `unit`s of one.
        unit: what stands for a weight of 1.
        is_wide: whether sums need 128 bits.
        sides: of the context, 1 or 2.
    """

    multiples: NDArray[np.uint64]
    unit: int
    is_wide: bool
    sides: int

    @classmethod
    def of(cls, config: VectorsConfig, most_frequent: int) -> PairWeights:
        """The weights of a text whose most frequent word is seen so often.

        >>> PairWeights.of(VectorsConfig(window=4), 1000).multiples.tolist()
        [0, 12, 6, 4, 3]
        """
        distances = range(1, config.window + 1)
        sides = 2 if config.symmetric else 1
        is_flat = config.weighting == "flat"
        unit = 1 if is_flat else lcm(*distances)
        multiples = [0, *(1 if is_flat else unit // d for d in distances)]
        is_wide = most_frequent * sides * sum(multiples) >= 1 << 64
        if is_wide:
            unit = 1 << 63
            multiples = [0, *((2 * unit + d) // (2 * d) for d in distances)]
        return cls(np.array(multiples, np.uint64), unit, is_wide, sides)

    @property
    def window(self) -> int:
        """The largest distance."""
        return len(self.multiples) - 1

    @property
    def most_by_one(self) -> int:
        """The most that one occurrence of a word can add to one of its counts."""
        return self.sides * sum(self.multiples.tolist())

    @property
    def width(self) -> int:
        """64-bit integers of a sum; the lower comes first."""
        return 2 if self.is_wide else 1

    def counts(self, sums: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Sums as counts X_ij.

        >>> PairWeights.of(VectorsConfig(window=4), 9).counts(np.array([30], np.uint64)).tolist()
        [2.5]
        """
        if self.is_wide:
            return sums[:, 1] * 2.0 + sums[:, 0] * 2.0**-63
        return sums / np.float64(self.unit)


class Rows(NamedTuple):
    """Some consecutive rows of sums; the columns of each rise.

    Args:
        sizes: `[rows]`, entries of each.
        columns: `[entries]`, uint32.
        values: `[entries]` uint64, or `[entries, 2]` for sums of 128 bits.
    """

    sizes: NDArray[np.int64]
    columns: NDArray[np.uint32]
    values: NDArray[np.uint64]


class Matrix(NamedTuple):
    """Consecutive rows of a sparse matrix: `ends` `[rows + 1]` from 0, then as in `Rows`."""

    ends: NDArray[np.uint64]
    columns: NDArray[np.uint32]
    values: NDArray[np.uint64]


class Block(NamedTuple):
    """Pairs whose words are of one group of rows and one of columns; their rows rise."""

    pairs: NDArray[Any]
    row_group: int
    column_group: int


@dataclass(frozen=True, eq=False)
class Side:
    """The parameters of words in one of their two roles, and the sums of AdaGrad.

    Word w is number w // groups of group w % groups. Vectors end in zeros, up to a multiple of 16
    numbers; their sums there are ones.

    Args:
        vectors: `[groups, words of a group, stride]`, float32.
        vector_sums: the same shape, squares of rate · gradient, from 1.
        biases: `[groups, words of a group]`.
        bias_sums: the same shape, squares of gradients, from 1.
    """

    vectors: NDArray[np.float32]
    vector_sums: NDArray[np.float32]
    biases: NDArray[np.float32]
    bias_sums: NDArray[np.float32]

    @property
    def arrays(self) -> Sequence[NDArray[np.float32]]:
        """All four."""
        return self.vectors, self.vector_sums, self.biases, self.bias_sums
