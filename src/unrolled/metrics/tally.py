"""Sums over examples, from which every score is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


Ints = NDArray[np.int64]


Scores = dict[str, Floats]
"""Scores by name; each `[...]`, one score for every set of sums."""


SMALLER_IS_BETTER = frozenset({"ece", "brier", "nll", "hamming_loss"})
"""Names of scores that are losses; for all other scores, larger is better."""


_SUMS_TOGETHER = 8_000_000  # numbers in memory at once


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A matrix `[G, K]` of few nonzero counts, for `Tally.rows` when K grows with the examples.

    It supports what a tally needs: its number of rows, a selection of rows, and `[R, G] @ rows`.

    Args:
        columns: `[G, E]`, the columns to which each row adds 1; K for an entry that adds nothing.
        n_columns: K.

    >>> rows = SparseRows(np.array([[0, 2], [1, 3]]), 3)  # [[1, 0, 1], [0, 1, 0]]
    >>> (np.array([[2.0, 3.0]]) @ rows).tolist(), len(rows[np.array([1])])
    ([[2.0, 3.0, 2.0]], 1)
    """

    columns: Ints
    n_columns: int

    __array_ufunc__ = None  # so that NumPy leaves `array @ rows` to this class

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, index: NDArray[np.integer[Any]]) -> SparseRows:
        return SparseRows(self.columns[index], self.n_columns)

    def __rmatmul__(self, counts_RG: Floats) -> Floats:
        sums_RK = np.zeros((len(counts_RG), self.n_columns))
        for sums_K, counts_G in zip(sums_RK, counts_RG, strict=True):
            used = np.flatnonzero(counts_G)
            columns = self.columns[used]
            weights = np.repeat(counts_G[used], columns.shape[1])
            sums_K += np.bincount(columns.reshape(-1), weights, self.n_columns + 1)[:-1]
        return sums_RK


class Scorable(Protocol):
    """Can be scored on any selection of its examples: `Tally`, which is fast, or `AnyScore`."""

    @property
    def n_examples(self) -> int:
        """Number of examples to select from."""
        ...

    def scores(self, index: NDArray[np.integer[Any]]) -> Scores:
        """The scores of R selections of examples: `[R, M]` indices → by name, `[R]` scores.

        An example selected twice counts twice.
        """
        ...


@dataclass(frozen=True, eq=False)
class Tally:
    """The contribution of each example to the sums from which scores are computed.

    Examples with the same contribution form a group, so thousands of resamples only take counting groups
    and one matrix product.

    Args:
        groups: `[N]`, the group of each example.
        rows: `[G, K]`, the contribution of an example of each group; an array or `SparseRows`.
        of_sums: `[..., K]` sums → scores by name, each `[...]`.

    >>> rows = np.array([[1, 1], [0, 1], [1, 1]])  # right, examples
    >>> tally = Tally.of_rows(rows, lambda sums: {"right": sums[..., 0] / sums[..., 1]})
    >>> tally.scores(np.array([[0, 1, 2], [0, 0, 2]]))["right"].round(3).tolist()
    [0.667, 1.0]
    """

    groups: NDArray[np.intp]
    rows: Any
    of_sums: Callable[[Floats], Scores]

    @classmethod
    def of_rows(cls, rows: NDArray[Any], of_sums: Callable[[Floats], Scores]) -> Tally:
        """Create a tally from the contribution of each example, `[N, K]`."""
        distinct_GK, groups_N = np.unique(rows, axis=0, return_inverse=True)
        return cls(groups_N.reshape(-1), distinct_GK.astype(np.float64), of_sums)

    @property
    def n_examples(self) -> int:
        return len(self.groups)

    def scores(self, index: NDArray[np.integer[Any]]) -> Scores:
        width = len(self.rows)
        if isinstance(self.rows, SparseRows):
            width = max(width, self.rows.n_columns)
        together = max(1, _SUMS_TOGETHER // width)
        parts = [
            self._scores(index[first : first + together])
            for first in range(0, len(index), together)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _scores(self, index: NDArray[np.integer[Any]]) -> Scores:
        size = len(index), len(self.rows)
        cells_RM = self.groups[index] + np.arange(size[0])[:, None] * size[1]
        counts_RG = np.bincount(cells_RM.reshape(-1), minlength=size[0] * size[1]).reshape(size)
        return self.of_sums(counts_RG @ self.rows)

    @classmethod
    def side_by_side(cls, tallies: Sequence[Tally]) -> tuple[NDArray[np.intp], list[Tally]]:
        """Convert tallies of the same examples to common groups.

        Returns:
            `[N]`, the group of each example: examples that are equal in every tally form one; and the
            tallies with one row per group.

        >>> one, other = (Tally.of_rows(np.array(rows), dict) for rows in ([[1], [0], [1]], [[2]] * 3))
        >>> groups, (one, other) = Tally.side_by_side([one, other])
        >>> groups.tolist(), one.rows.tolist(), other.rows.tolist()
        ([1, 0, 1], [[0.0], [1.0]], [[2.0], [2.0]])
        """
        groups_N = np.zeros(tallies[0].n_examples, np.intp)
        for tally in tallies:
            # Renumbered after each tally, so that the product of many group counts does not overflow.
            together_N = groups_N * len(tally.rows) + tally.groups
            groups_N = np.unique(together_N, return_inverse=True)[1].reshape(-1)
        _, first_J = np.unique(groups_N, return_index=True)
        return groups_N, [
            cls(groups_N, tally.rows[tally.groups[first_J]], tally.of_sums) for tally in tallies
        ]


@dataclass(frozen=True, eq=False)
class AnyScore:
    """Any function of gold and predicted values, called once for every selection of examples.

    Args:
        function: gold and predicted values of the same examples → a number.
        gold: `[N, …]`.
        predicted: `[N, …]`.
        name: name of the score.
    """

    function: Callable[[Any, Any], float]
    gold: NDArray[Any]
    predicted: NDArray[Any]
    name: str = "score"

    def __post_init__(self) -> None:
        if len(self.gold) != len(self.predicted):
            raise ValueError(
                f"gold has {len(self.gold):,} examples and predicted {len(self.predicted):,}: "
                "pass one prediction for each"
            )

    @property
    def n_examples(self) -> int:
        return len(self.gold)

    def scores(self, index: NDArray[np.integer[Any]]) -> Scores:
        values = [self.function(self.gold[chosen], self.predicted[chosen]) for chosen in index]
        return {self.name: np.asarray(values, np.float64)}
