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
"""Scores by name; each `[...]`, one for every set of sums."""


SMALLER_IS_BETTER = frozenset({"ece", "brier", "nll", "hamming_loss"})
"""Names of scores that are losses; of every other score, larger is better."""


class Scorable(Protocol):
    """What can be scored on any choice of its examples: `Tally`, fast, and `AnyScore`."""

    @property
    def n_examples(self) -> int:
        """How many examples there are to choose from."""
        ...

    def scores(self, index: NDArray[np.integer[Any]]) -> Scores:
        """The scores of choices of examples: `[R, M]` indices → by name, `[R]` scores.

        An example chosen twice counts twice.
        """
        ...


@dataclass(frozen=True, eq=False)
class Tally:
    """What each example adds to the sums of which scores are made.

    Examples that add the same form a group, so that thousands of resamples are a count of groups and one
    product of matrices.

    Args:
        groups: `[N]`, the group of each example.
        rows: `[G, K]`, what an example of each group adds.
        of_sums: `[..., K]` sums → scores by name, each `[...]`.

    >>> rows = np.array([[1, 1], [0, 1], [1, 1]])  # right, examples
    >>> tally = Tally.of_rows(rows, lambda sums: {"right": sums[..., 0] / sums[..., 1]})
    >>> tally.scores(np.array([[0, 1, 2], [0, 0, 2]]))["right"].round(3).tolist()
    [0.667, 1.0]
    """

    groups: NDArray[np.intp]
    rows: Floats
    of_sums: Callable[[Floats], Scores]

    @classmethod
    def of_rows(cls, rows: NDArray[Any], of_sums: Callable[[Floats], Scores]) -> Tally:
        """From what each example adds: `[N, K]`."""
        distinct_GK, groups_N = np.unique(rows, axis=0, return_inverse=True)
        return cls(groups_N.reshape(-1), distinct_GK.astype(np.float64), of_sums)

    @property
    def n_examples(self) -> int:
        return len(self.groups)

    def scores(self, index: NDArray[np.integer[Any]]) -> Scores:
        size = len(index), len(self.rows)
        cells_RM = self.groups[index] + np.arange(size[0])[:, None] * size[1]
        counts_RG = np.bincount(cells_RM.reshape(-1), minlength=size[0] * size[1]).reshape(size)
        return self.of_sums(counts_RG @ self.rows)

    @classmethod
    def side_by_side(cls, tallies: Sequence[Tally]) -> tuple[NDArray[np.intp], list[Tally]]:
        """Tallies of the same examples, over groups that they have in common.

        Returns:
            `[N]`, the group of each example: those that are alike in every tally form one; and the
            tallies with a row for each of these groups.

        >>> one, other = (Tally.of_rows(np.array(rows), dict) for rows in ([[1], [0], [1]], [[2]] * 3))
        >>> groups, (one, other) = Tally.side_by_side([one, other])
        >>> groups.tolist(), one.rows.tolist(), other.rows.tolist()
        ([1, 0, 1], [[0.0], [1.0]], [[2.0], [2.0]])
        """
        groups_N = np.zeros(tallies[0].n_examples, np.intp)
        for tally in tallies:
            # Numbered anew each time, so that the product of many numbers of groups does not overflow.
            together_N = groups_N * len(tally.rows) + tally.groups
            groups_N = np.unique(together_N, return_inverse=True)[1].reshape(-1)
        _, first_J = np.unique(groups_N, return_index=True)
        return groups_N, [
            cls(groups_N, tally.rows[tally.groups[first_J]], tally.of_sums) for tally in tallies
        ]


@dataclass(frozen=True, eq=False)
class AnyScore:
    """Any function of gold and predicted, called once for every choice of examples.

    Args:
        function: gold and predicted values of the same examples → a number.
        gold: `[N, …]`.
        predicted: `[N, …]`.
        name: of the score.
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
        found = [self.function(self.gold[chosen], self.predicted[chosen]) for chosen in index]
        return {self.name: np.asarray(found, np.float64)}
