"""The sums that scores are made of: counts by class, and what each example adds to them.

Nothing here is a mean of means: a score is computed once, from sums over all examples. So the score of a
part of the examples, of a resample of them or of several shards together needs only other sums.

0/0 is 0: the precision of a class that is never predicted, the recall of a class that never occurs, and
the F1 of a class that is neither (scikit-learn's `zero_division=0`). Such a class counts in a macro
average, with 0, so that its denominator does not depend on the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Scores = dict[str, Floats]
"""Scores by name; each `[...]`, one for every set of sums."""

SMALLER_IS_BETTER = frozenset({"ece", "brier", "nll", "hamming_loss"})
"""Names of scores that are losses; of every other score, larger is better."""


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """A quotient in which 0/0, and anything over 0, is 0.

    >>> ratio([1, 0], [2, 0]).tolist()
    [0.5, 0.0]
    """
    above, below = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    return np.divide(above, below, out=np.zeros(above.shape), where=below != 0)


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Counts by class, of which precision, recall and F1 are made.

    Args:
        right: `[..., C]`, how often class c was predicted and was right (true positives).
        predicted: `[..., C]`, how often it was predicted.
        gold: `[..., C]`, how often it was there to predict (its support).

    Two of three predictions of the first class are right; the second class is never predicted:

    >>> counts = ClassCounts(np.array([2, 0]), np.array([3, 0]), np.array([2, 1]))
    >>> counts.precision.round(3).tolist(), counts.recall.tolist(), counts.f1.tolist()
    ([0.667, 0.0], [1.0, 0.0], [0.8, 0.0])
    >>> float(counts.macro_f1), float(counts.mean_f1([0]))
    (0.4, 0.8)
    """

    right: NDArray[Any]
    predicted: NDArray[Any]
    gold: NDArray[Any]

    @property
    def precision(self) -> Floats:
        """`[..., C]`, right / predicted."""
        return ratio(self.right, self.predicted)

    @property
    def recall(self) -> Floats:
        """`[..., C]`, right / gold."""
        return ratio(self.right, self.gold)

    @property
    def f1(self) -> Floats:
        """`[..., C]`, 2 right / (predicted + gold): the harmonic mean of precision and recall."""
        return ratio(2 * self.right, self.predicted + self.gold)

    @property
    def macro_precision(self) -> Floats:
        """`[...]`, the mean of the classes' precisions."""
        return _mean(self.precision)

    @property
    def macro_recall(self) -> Floats:
        """`[...]`, the mean of the classes' recalls; balanced accuracy, where every class occurs."""
        return _mean(self.recall)

    @property
    def macro_f1(self) -> Floats:
        """`[...]`, the mean of the classes' F1 (not the F1 of mean precision and mean recall)."""
        return _mean(self.f1)

    @property
    def micro_precision(self) -> Floats:
        """`[...]`, precision of all classes' counts together."""
        return ratio(self.right.sum(-1), self.predicted.sum(-1))

    @property
    def micro_recall(self) -> Floats:
        """`[...]`, recall of all classes' counts together."""
        return ratio(self.right.sum(-1), self.gold.sum(-1))

    @property
    def micro_f1(self) -> Floats:
        """`[...]`, F1 of all classes' counts together; of one label per example, its accuracy."""
        return ratio(2 * self.right.sum(-1), self.predicted.sum(-1) + self.gold.sum(-1))

    @property
    def weighted_f1(self) -> Floats:
        """`[...]`, the mean of the classes' F1, each weighted by its support."""
        return ratio((self.gold * self.f1).sum(-1), self.gold.sum(-1))

    def mean_f1(self, ids: Sequence[int]) -> Floats:
        """`[...]`, the mean F1 of some classes.

        Mistakes between these and the others still count, as false positives or false negatives of these:
        only the F1 of the others is left out.
        """
        return _mean(self.f1[..., list(ids)])


def _mean(values: Floats) -> Floats:
    return ratio(values.sum(-1), np.float64(values.shape[-1]))


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


def check_ids(name: str, ids: ArrayLike, n_classes: int) -> Ints:
    """Class ids as an array `[N]`.

    Raises:
        ValueError: they are not whole numbers in one dimension, or one is no class.
    """
    ids_N = np.asarray(ids)
    if ids_N.ndim != 1 or (ids_N.dtype.kind not in "iu" and ids_N.size):
        raise ValueError(
            f"{name} must be class ids [N], whole numbers; got {ids_N.dtype} of shape {ids_N.shape}"
        )
    wrong = np.flatnonzero((ids_N < 0) | (ids_N >= n_classes))
    if len(wrong):
        raise ValueError(
            f"{name}[{wrong[0]}] is {ids_N[wrong[0]]}; the ids of {n_classes} classes are "
            f"0…{n_classes - 1}"
        )
    return ids_N.astype(np.int64)


def check_same_length(n_gold: int, n_other: int, name: str) -> None:
    """Refuse columns of different lengths, and nothing to score.

    Raises:
        ValueError: they differ, or there are no examples.
    """
    if n_gold != n_other:
        raise ValueError(
            f"gold has {n_gold:,} examples and {name} {n_other:,}: pass one row for each"
        )
    if not n_gold:
        raise ValueError("no examples to score: pass at least one")
