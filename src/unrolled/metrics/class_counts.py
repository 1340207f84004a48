"""The sums that scores are made of: counts by class, and what each example adds to them.

Nothing here is a mean of means: a score is computed once, from sums over all examples. So the score of a
part of the examples, of a resample of them or of several shards together needs only other sums.

0/0 is 0: the precision of a class that is never predicted, the recall of a class that never occurs, and
the F1 of a class that is neither (scikit-learn's `zero_division=0`). Such a class counts in a macro
average, with 0, so that its denominator does not depend on the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.metrics.tally import Floats, Ints


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
