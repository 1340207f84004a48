"""One label per example: accuracy, precision, recall, F1, confusion, calibration.

With the confusion matrix M (rows gold, columns predicted), right_c = M_cc, predicted_c = Σ_g M_gc and
gold_c = Σ_p M_cp:

    accuracy = Σ_c right_c / N            precision_c = right_c / predicted_c
    recall_c = right_c / gold_c           F1_c = 2 right_c / (predicted_c + gold_c)

    macro F1 = mean of F1_c over all classes of the model
    weighted F1 = Σ_c gold_c F1_c / N
    micro F1 = accuracy, because each example has exactly one gold and one predicted label

0/0 is 0 (scikit-learn's `zero_division=0` with `labels=range(C)`), also for a class that is neither in
the gold labels nor predicted, which lowers macro averages. `LabelEvaluation.unseen` lists those classes.

The official score of SemEval-2016 task 6 (Mohammad et al. 2016) is the mean of F1(FAVOR) and F1(AGAINST)
over the tweets of all targets together: `averaged=("FAVOR", "AGAINST")`. Tweets of the third class
count: one that is predicted as FAVOR is a false positive of FAVOR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.errors import ConfigError, did_you_mean
from unrolled.metrics.calibration import Binning, Calibration, calibrate, check_probabilities
from unrolled.metrics.class_counts import ClassCounts, check_ids, check_same_length
from unrolled.metrics.display import (
    WIDTH,
    class_lines,
    confusion_lines,
    matrix_fits,
    matrix_lines,
    score_lines,
    short_repr,
)
from unrolled.metrics.tally import Floats, Ints, Scores, SparseRows, Tally
from unrolled.quoting import listed, quote
from unrolled.wording import wrapped

_MANY = 1_000  # classes from which tallies leave out those that do not occur


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a confusion matrix that are not 0, row by row.

    Args:
        gold: `[K]` class ids.
        predicted: `[K]` class ids.
        counts: `[K]`, number of examples.
    """

    gold: Ints
    predicted: Ints
    counts: Ints

    @classmethod
    def of(cls, gold: ArrayLike, predicted: ArrayLike, n_classes: int) -> Cells:
        """Count the examples of each cell.

        Args:
            gold: `[N]` class ids.
            predicted: `[N]` class ids.
            n_classes: C.

        Raises:
            ValueError: an array has the wrong shape, an id is not a class, or there are no examples.
        """
        cells_K, counts_K = np.unique(_cells(gold, predicted, n_classes), return_counts=True)
        return cls(*np.divmod(cells_K, n_classes), counts_K)

    def dense(self, n_classes: int) -> Ints:
        """The confusion matrix `[C, C]`."""
        matrix_CC = np.zeros((n_classes, n_classes), np.int64)
        matrix_CC[self.gold, self.predicted] = self.counts
        return matrix_CC

    def by_class(self, n_classes: int) -> ClassCounts:
        """Counts by class, `[C]` each."""
        right = np.where(self.gold == self.predicted, self.counts, 0)
        columns = (self.gold, right), (self.predicted, self.counts), (self.gold, self.counts)
        return ClassCounts(*(np.bincount(ids, n, n_classes).astype(np.int64) for ids, n in columns))


@dataclass(frozen=True, eq=False, repr=False)
class LabelEvaluation:
    """The evaluation of one label per example.

    Args:
        classes: names of the C classes, by id.
        cells: the confusions that occur, and how often.
        averaged: classes of `mean_f1`; () if it is not computed.
        calibration: calibration of the probabilities; None if they are unknown.

    >>> found = measure_labels(["neg", "pos"], gold=[0, 0, 1, 1, 1], predicted=[0, 1, 1, 1, 0])
    >>> print(*found.lines(), sep="\\n")
    score         value
    accuracy     60.00%
    macro F1     58.33%
    weighted F1  60.00%
    <BLANKLINE>
    class  precision  recall      F1  gold  predicted
    neg       50.00%  50.00%  50.00%     2          2
    pos       66.67%  66.67%  66.67%     3          3
    <BLANKLINE>
              predicted
    gold      neg  pos
    neg         1    1
    pos         1    2
    """

    classes: tuple[str, ...]
    cells: Cells
    averaged: tuple[str, ...] = ()
    calibration: Calibration | None = None

    @property
    def n(self) -> int:
        """The number of examples."""
        return int(self.cells.counts.sum())

    @property
    def confusion(self) -> Ints:
        """The confusion matrix `[C, C]`, with gold classes as rows and predicted classes as columns."""
        return self.cells.dense(len(self.classes))

    @cached_property
    def counts(self) -> ClassCounts:
        """Counts by class, `[C]` each."""
        return self.cells.by_class(len(self.classes))

    @property
    def unseen(self) -> tuple[str, ...]:
        """Classes that are neither in the gold labels nor predicted."""
        counts = self.counts
        absent = np.flatnonzero((counts.gold == 0) & (counts.predicted == 0))
        return tuple(self.classes[index] for index in absent)

    def __repr__(self) -> str:
        return short_repr(self)

    def scores(self) -> dict[str, float]:
        """All scores by name, 0…1 except `brier` (0…2) and `nll` (nats)."""
        ids = class_ids(self.averaged, self.classes)
        scores = {name: float(value) for name, value in label_scores(self.counts, ids).items()}
        return scores | (self.calibration.scores() if self.calibration else {})

    def signature(self) -> dict[str, str]:
        """How each score was computed; scores with the same signature are comparable."""
        return signature(self.averaged, self.calibration, f"n:{self.n}|classes:{len(self.classes)}")

    @property
    def redundant(self) -> frozenset[str]:
        """Scores that are not shown, because another one is always equal: micro F1 is the accuracy."""
        return frozenset({"micro_f1"})

    @property
    def titles(self) -> dict[str, str]:
        """Names of scores that depend on the classes."""
        return {"mean_f1": f"mean F1 of {', '.join(self.averaged)}"} if self.averaged else {}

    def lines(self, width: int = WIDTH) -> Iterator[str]:
        """All scores and the tables, as lines of text."""
        scores = {
            name: value for name, value in self.scores().items() if name not in self.redundant
        }
        yield from score_lines(scores, width=width, titles=self.titles)
        yield ""
        yield from self.tables(width)

    def tables(self, width: int = WIDTH) -> Iterator[str]:
        """Scores by class, and confusions: a matrix if it fits, otherwise the most frequent errors."""
        yield from class_lines("class", self.classes, self.counts, width)
        if self.unseen:
            unseen = listed(self.unseen, most=5)
            yield from wrapped(f"neither in the gold labels nor predicted: {unseen}", width)
        if matrix_fits(self.classes, self.n, width):
            yield ""
            yield from matrix_lines(self.classes, self.confusion, width)
        elif confusions := self.confusions():
            yield ""
            yield from confusion_lines(confusions, width)

    def confusions(self) -> list[tuple[str, str, int]]:
        """Gold label, predicted label and count of the mistakes, the most frequent first."""
        cells = self.cells
        wrong_K = np.flatnonzero(cells.gold != cells.predicted)
        order = wrong_K[np.argsort(-cells.counts[wrong_K], kind="stable")]
        columns = cells.gold[order], cells.predicted[order], cells.counts[order]
        return [
            (self.classes[g], self.classes[p], n)
            for g, p, n in zip(*(column.tolist() for column in columns), strict=True)
        ]


def measure_labels(
    classes: Sequence[str],
    gold: ArrayLike,
    predicted: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    *,
    averaged: Sequence[str] = (),
    binning: Binning = "mass",
    n_bins: int = 15,
    calibrated: Calibration | None = None,
) -> LabelEvaluation:
    """Evaluate one label per example.

    Args:
        classes: names of the C classes, by id.
        gold: `[N]` class ids.
        predicted: `[N]` class ids; by default the most probable class, the first of equal ones.
        probabilities: `[N, C]`; without them, calibration is not measured.
        averaged: classes whose mean F1 is `mean_f1`.
        binning: binning of the calibration error, see `calibration.reliability`.
        n_bins: number of bins of the calibration error.
        calibrated: the calibration, if it was measured before, row by row; instead of `probabilities`.

    Raises:
        ValueError: an array has the wrong shape, an id is not a class, a probability is outside 0…1, or
            neither predictions nor probabilities are given.
        NonFiniteError: a probability is not finite.
        ConfigError: `averaged` names an unknown class.
    """
    n_classes = len(classes)
    gold_N = check_ids("gold", gold, n_classes)
    given_NC = None
    if probabilities is not None:
        given_NC = check_probabilities(probabilities, len(gold_N), n_classes, sum_to_one=True)
    if predicted is not None:
        predicted_N = check_ids("predicted", predicted, n_classes)
    elif given_NC is not None:
        predicted_N = given_NC.argmax(1)
    else:
        raise ValueError("nothing to score: pass predicted, or probabilities, or both")
    class_ids(averaged, classes)
    calibration = None
    cells = Cells.of(gold_N, predicted_N, n_classes)
    if given_NC is not None:
        calibration = calibrate(gold_N, predicted_N, given_NC, binning, n_bins)
    elif calibrated is not None:
        calibration = calibrated
    return LabelEvaluation(tuple(classes), cells, tuple(averaged), calibration)


def confusion_matrix(gold: ArrayLike, predicted: ArrayLike, n_classes: int) -> Ints:
    """The confusion matrix `[C, C]`, with gold classes as rows and predicted classes as columns.

    Raises:
        ValueError: an array has the wrong shape, an id is not a class, or there are no examples.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    return Cells.of(gold, predicted, n_classes).dense(n_classes)


def tally_labels(
    gold: ArrayLike, predicted: ArrayLike, n_classes: int, averaged: Sequence[int] = ()
) -> Tally:
    """What each example adds to the scores of `label_scores`, for intervals and slices.

    Args:
        gold: `[N]` class ids.
        predicted: `[N]` class ids.
        n_classes: C.
        averaged: ids of the classes of `mean_f1`.

    Raises:
        ValueError: an array has the wrong shape, an id is not a class, or there are no examples.
    """
    cells_G, groups_N = np.unique(_cells(gold, predicted, n_classes), return_inverse=True)
    groups_N = groups_N.reshape(-1)
    gold_G, predicted_G = np.divmod(cells_G, n_classes)
    if n_classes > _MANY:
        return _sparse_tally(groups_N, gold_G, predicted_G, n_classes, averaged)
    rows_G3C = np.zeros((len(cells_G), 3, n_classes))
    rows_G = np.arange(len(cells_G))
    rows_G3C[rows_G, 0, gold_G] = gold_G == predicted_G
    rows_G3C[rows_G, 1, predicted_G] = 1
    rows_G3C[rows_G, 2, gold_G] = 1
    return Tally(
        groups_N, rows_G3C.reshape(len(cells_G), -1), _of_sums(n_classes, n_classes, averaged)
    )


def _sparse_tally(
    groups_N: NDArray[np.intp],
    gold_G: Ints,
    predicted_G: Ints,
    n_classes: int,
    averaged: Sequence[int],
) -> Tally:
    """`tally_labels` with columns only for the K classes that occur."""
    used_K = np.unique(np.concatenate([gold_G, predicted_G, np.asarray(averaged, np.int64)]))
    n_used = len(used_K)
    gold_G, predicted_G = (np.searchsorted(used_K, ids) for ids in (gold_G, predicted_G))
    right_G = np.where(gold_G == predicted_G, gold_G, 3 * n_used)
    columns_G3 = np.stack([right_G, n_used + predicted_G, 2 * n_used + gold_G], axis=1)
    ids = np.searchsorted(used_K, np.asarray(averaged, np.int64)).tolist()
    return Tally(groups_N, SparseRows(columns_G3, 3 * n_used), _of_sums(n_used, n_classes, ids))


def _of_sums(n_counted: int, n_classes: int, averaged: Sequence[int]) -> Callable[[Floats], Scores]:
    """Sums `[..., 3 * n_counted]` → scores; the other classes neither occur nor are predicted."""

    def of_sums(sums: Floats) -> Scores:
        right, predicted, gold = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, n_counted), -2, 0)
        counts = ClassCounts(right, predicted, gold, n_absent=n_classes - n_counted)
        return label_scores(counts, averaged)

    return of_sums


def label_scores(counts: ClassCounts, averaged: Sequence[int] = ()) -> Scores:
    """Compute the scores of one label per example from counts.

    Args:
        counts: `[..., C]`.
        averaged: ids of the classes of `mean_f1`; if empty, it is omitted.
    """
    scores = {"accuracy": counts.micro_recall, "macro_f1": counts.macro_f1}
    if averaged:
        scores["mean_f1"] = counts.mean_f1(averaged)
    return scores | {"weighted_f1": counts.weighted_f1, "micro_f1": counts.micro_f1}


def signature(
    averaged: Sequence[str] = (), calibration: Calibration | None = None, of: str = ""
) -> dict[str, str]:
    """How each score is computed, one line each.

    Args:
        averaged: names of the classes of `mean_f1`.
        calibration: calibration whose signature is added; None for none.
        of: a prefix of each line, e.g. the number of examples.
    """
    lines = {
        "accuracy": "right / all",
        "macro_f1": "average:macro over all classes|0/0:0",
    }
    if averaged:
        lines["mean_f1"] = (
            f"mean F1 of:{', '.join(averaged)}|mistakes with other classes:count|0/0:0"
        )
    lines["weighted_f1"] = "average:by support|0/0:0"
    lines["micro_f1"] = "average:micro over all classes (= accuracy)"
    if of:
        lines = {name: f"{of}|{line}" for name, line in lines.items()}
    return lines | (calibration.signature() if calibration else {})


def class_ids(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The ids of classes by their names.

    Raises:
        ConfigError: a name is not one of the classes.
    """
    for name in names:
        if name not in classes:
            raise ConfigError(
                f"there is no class {quote(name)}; the classes are {listed(classes)}"
                f"{did_you_mean(name, classes)}"
            )
    return [list(classes).index(name) for name in names]


def _cells(gold: ArrayLike, predicted: ArrayLike, n_classes: int) -> Ints:
    """`[N]`, the index of the confusion matrix cell of each example."""
    gold_N = check_ids("gold", gold, n_classes)
    predicted_N = check_ids("predicted", predicted, n_classes)
    check_same_length(len(gold_N), len(predicted_N), "predicted")
    return gold_N * n_classes + predicted_N
