"""Types of the arguments and results of the counting and training kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.vectors.config import VectorsConfig

BORDER = -1
"""Marks a border between words that share no window."""

PAIR = np.dtype(
    [("row", "<u2"), ("column", "<u2"), ("weight", "<f4"), ("log_count", "<f4")], align=False
)
"""One non-zero of X: the indices of its words in their groups, f(X_ij) and log X_ij."""


@dataclass(frozen=True, eq=False)
class PairWeights:
    """Integer weights by distance: what a pair of words adds to a count.

    1/d is counted exactly, in units of 1/lcm(1 … window), if no sum can overflow 64 bits. Otherwise it is
    counted in units of 2⁻⁶³ in 128 bits: then each weight is exact to half a unit, and a sum to the last
    bits of a float64. In both cases sums are integers, so they do not depend on the order of addition.

    Args:
        multiples: `[window + 1]`, weight by distance, as a multiple of 1/`unit`.
        unit: the integer for a weight of 1.
        is_wide: whether sums need 128 bits.
        sides: number of sides of the context, 1 or 2.
    """

    multiples: NDArray[np.uint64]
    unit: int
    is_wide: bool
    sides: int

    @classmethod
    def of(cls, config: VectorsConfig, most_frequent: int) -> PairWeights:
        """The weights for a text whose most frequent word occurs `most_frequent` times.

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
        """The maximum that one occurrence of a word can add to one of its counts."""
        return self.sides * sum(self.multiples.tolist())

    @property
    def width(self) -> int:
        """64-bit integers per sum; the lower one comes first."""
        return 2 if self.is_wide else 1

    def counts(self, sums: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Convert sums to counts X_ij.

        >>> PairWeights.of(VectorsConfig(window=4), 9).counts(np.array([30], np.uint64)).tolist()
        [2.5]
        """
        if self.is_wide:
            return sums[:, 1] * 2.0 + sums[:, 0] * 2.0**-63
        return sums / np.float64(self.unit)


class Rows(NamedTuple):
    """Consecutive rows of sums; columns are increasing within a row.

    Args:
        sizes: `[rows]`, number of entries in each row.
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
    """Pairs with words of one row group and one column group, in increasing order of rows."""

    pairs: NDArray[Any]
    row_group: int
    column_group: int


@dataclass(frozen=True, eq=False)
class Side:
    """The parameters of words in one of their two roles, with the sums of AdaGrad.

    Word w has index w // groups in group w % groups. Vectors are padded with zeros to a multiple of 16
    numbers; the padding of the sums is ones.

    Args:
        vectors: `[groups, words of a group, stride]`, float32.
        vector_sums: the same shape, sums of squares of rate · gradient, starting at 1.
        biases: `[groups, words of a group]`.
        bias_sums: the same shape, sums of squares of gradients, starting at 1.
    """

    vectors: NDArray[np.float32]
    vector_sums: NDArray[np.float32]
    biases: NDArray[np.float32]
    bias_sums: NDArray[np.float32]

    @property
    def arrays(self) -> Sequence[NDArray[np.float32]]:
        """All four arrays."""
        return self.vectors, self.vector_sums, self.biases, self.bias_sums
