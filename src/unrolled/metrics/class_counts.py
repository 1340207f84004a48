"""Counts by class, from which precision, recall and F1 are computed.

Nothing here is a mean of means: a score is computed once, from sums over all examples. Scores of a subset
of the examples, of a resample or of several shards together are computed from other sums in the same way.

0/0 is 0: the precision of a class that is never predicted, the recall of a class that never occurs, and
the F1 of a class to which both apply (scikit-learn's `zero_division=0`). Such a class is included in a
macro average as 0, so that the denominator does not depend on the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.metrics.tally import Floats, Ints


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """A quotient in which 0/0, and anything divided by 0, is 0.

    >>> ratio([1, 0], [2, 0]).tolist()
    [0.5, 0.0]
    """
    above, below = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    return np.divide(above, below, out=np.zeros(above.shape), where=below != 0)


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Counts by class, from which precision, recall and F1 are computed.

    Args:
        right: `[..., C]`, how often class c was predicted correctly (true positives).
        predicted: `[..., C]`, how often it was predicted.
        gold: `[..., C]`, how often it occurs in the data (its support).
        n_absent: number of further classes, which neither occur nor are predicted.

    Two of three predictions of the first class are correct; the second class is never predicted:

    >>> counts = ClassCounts(np.array([2, 0]), np.array([3, 0]), np.array([2, 1]))
    >>> counts.precision.round(3).tolist(), counts.recall.tolist(), counts.f1.tolist()
    ([0.667, 0.0], [1.0, 0.0], [0.8, 0.0])
    >>> float(counts.macro_f1), float(counts.mean_f1([0]))
    (0.4, 0.8)
    """

    right: NDArray[Any]
    predicted: NDArray[Any]
    gold: NDArray[Any]
    n_absent: int = field(default=0, kw_only=True)

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
        return _mean(self.precision, self.n_absent)

    @property
    def macro_recall(self) -> Floats:
        """`[...]`, the mean of the classes' recalls; the balanced accuracy if every class occurs."""
        return _mean(self.recall, self.n_absent)

    @property
    def macro_f1(self) -> Floats:
        """`[...]`, the mean of the classes' F1 (not the F1 of mean precision and mean recall)."""
        return _mean(self.f1, self.n_absent)

    @property
    def micro_precision(self) -> Floats:
        """`[...]`, precision from the counts of all classes together."""
        return ratio(self.right.sum(-1), self.predicted.sum(-1))

    @property
    def micro_recall(self) -> Floats:
        """`[...]`, recall from the counts of all classes together."""
        return ratio(self.right.sum(-1), self.gold.sum(-1))

    @property
    def micro_f1(self) -> Floats:
        """`[...]`, F1 from the counts of all classes together; the accuracy if each has one label."""
        return ratio(2 * self.right.sum(-1), self.predicted.sum(-1) + self.gold.sum(-1))

    @property
    def weighted_f1(self) -> Floats:
        """`[...]`, the mean of the classes' F1, each weighted by its support."""
        return ratio((self.gold * self.f1).sum(-1), self.gold.sum(-1))

    def mean_f1(self, ids: Sequence[int]) -> Floats:
        """`[...]`, the mean F1 of some of the classes.

        Errors between these and other classes still count, as false positives or false negatives of these
        classes; only the F1 of the other classes is left out.
        """
        return _mean(self.f1[..., list(ids)])


def _mean(values: Floats, n_zeros: int = 0) -> Floats:
    return ratio(values.sum(-1), np.float64(values.shape[-1] + n_zeros))


def check_ids(name: str, ids: ArrayLike, n_classes: int) -> Ints:
    """Check class ids and return them as an array `[N]`.

    Raises:
        ValueError: they are not integers in one dimension, or one is not the id of a class.
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
    """Check that both columns have the same length and are not empty.

    Raises:
        ValueError: the lengths differ, or there are no examples.
    """
    if n_gold != n_other:
        raise ValueError(
            f"gold has {n_gold:,} examples and {name} {n_other:,}: pass one row for each"
        )
    if not n_gold:
        raise ValueError("no examples to score: pass at least one")
