"""Any number of labels per example: subset accuracy, Hamming loss, F1, and the choice of thresholds.

With y and ŷ in {0, 1}, `[N, C]`:

    subset accuracy = the share of examples whose labels are all correct
    Hamming loss = the share of the N·C cells that are wrong
    micro F1 = F1 of all cells together        macro F1 = mean over labels of F1_c

0/0 is 0: the F1 of a label that is neither in the gold labels nor predicted. An example without labels
for which none is predicted is correct.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.errors import ConfigError
from unrolled.metrics.calibration import (
    Binning,
    Calibration,
    calibrate_cells,
    check_probabilities,
)
from unrolled.metrics.class_counts import ClassCounts, check_same_length, ratio
from unrolled.metrics.display import WIDTH, class_lines, score_lines, short_repr
from unrolled.metrics.tally import Floats, Scores, Tally

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class MultiLabelEvaluation:
    """The evaluation of examples with any number of labels.

    Args:
        classes: names of the C labels.
        counts: correct, predicted and gold counts by label, `[C]` each.
        n: number of examples.
        n_exact: number of examples whose labels are all correct.
        thresholds: threshold of each of the C labels; None if unknown.
        calibration: calibration of the probabilities of all cells; None if they are unknown.

    >>> found = measure_multi_label(["a", "b"], [[1, 0], [1, 1], [0, 0]], [[1, 0], [1, 0], [0, 0]])
    >>> {name: round(value, 3) for name, value in found.scores().items()}
    {'micro_f1': 0.8, 'macro_f1': 0.5, 'weighted_f1': 0.667, 'subset_accuracy': 0.667,
     'hamming_loss': 0.167}
    """

    classes: tuple[str, ...]
    counts: ClassCounts
    n: int
    n_exact: int
    thresholds: tuple[float, ...] | None = None
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        return short_repr(self)

    def scores(self) -> dict[str, float]:
        """All scores by name, 0…1 except `brier` (0…2) and `nll` (nats)."""
        values = multi_label_scores(self.counts, np.array(self.n_exact), np.array(self.n))
        scores = {name: float(value) for name, value in values.items()}
        return scores | (self.calibration.scores() if self.calibration else {})

    def signature(self) -> dict[str, str]:
        """How each score was computed."""
        return signature(self.calibration, f"n:{self.n}|labels:{len(self.classes)}")

    @property
    def redundant(self) -> frozenset[str]:
        """Scores that are not shown: none."""
        return frozenset()

    def lines(self, width: int = WIDTH) -> Iterator[str]:
        """All scores, and scores by label, as lines of text."""
        yield from score_lines(self.scores(), width=width)
        yield ""
        yield from self.tables(width)

    def tables(self, width: int = WIDTH) -> Iterator[str]:
        """Scores by label, with its threshold if known."""
        yield from class_lines("label", self.classes, self.counts, width, self.thresholds)


def measure_multi_label(
    classes: Sequence[str],
    gold: ArrayLike,
    predicted: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    *,
    thresholds: ArrayLike | None = None,
    binning: Binning = "mass",
    n_bins: int = 15,
) -> MultiLabelEvaluation:
    """Evaluate examples with any number of labels.

    Args:
        classes: names of the C labels.
        gold: `[N, C]` of 0 and 1.
        predicted: `[N, C]` of 0 and 1; by default the labels whose probability reaches its threshold.
        probabilities: `[N, C]`, one for each label; without them, calibration is not measured.
        thresholds: `[C]`, 0.5 by default; used and shown only without `predicted`.
        binning: binning of the calibration error, see `calibration.reliability`.
        n_bins: number of bins of the calibration error.

    Raises:
        ValueError: an array has the wrong shape or values, or neither predictions nor probabilities are
            given.
        NonFiniteError: a probability is not finite.
        ConfigError: both `thresholds` and `predicted` are given.
    """
    gold_NC = check_matrix("gold", gold, len(classes))
    given_NC, used = None, None
    if probabilities is not None:
        given_NC = check_probabilities(probabilities, len(gold_NC), len(classes), sum_to_one=False)
    if predicted is not None:
        if thresholds is not None:
            raise ConfigError(
                "thresholds have no effect on given predictions; pass only one of the two"
            )
        predicted_NC = check_matrix("predicted", predicted, len(classes))
    elif given_NC is not None:
        used_C = np.full(len(classes), DEFAULT_THRESHOLD) if thresholds is None else thresholds
        predicted_NC = apply_thresholds(given_NC, used_C)
        used = tuple(np.asarray(used_C, np.float64).tolist())
    else:
        raise ValueError("nothing to score: pass predicted, or probabilities, or both")
    check_same_length(len(gold_NC), len(predicted_NC), "predicted")
    calibration = None
    if given_NC is not None:
        calibration = calibrate_cells(gold_NC, given_NC, binning, n_bins)
    return MultiLabelEvaluation(
        tuple(classes),
        ClassCounts((gold_NC & predicted_NC).sum(0), predicted_NC.sum(0), gold_NC.sum(0)),
        len(gold_NC),
        int((gold_NC == predicted_NC).all(1).sum()),
        used,
        calibration,
    )


def tally_multi_label(gold: ArrayLike, predicted: ArrayLike) -> Tally:
    """What each example adds to the scores of `multi_label_scores`, for intervals and slices.

    Args:
        gold: `[N, C]` of 0 and 1.
        predicted: `[N, C]` of 0 and 1.

    Raises:
        ValueError: a matrix has the wrong shape or values, or there are no examples.
    """
    gold_NC = check_matrix("gold", gold, None)
    n_labels = gold_NC.shape[1]
    predicted_NC = check_matrix("predicted", predicted, n_labels)
    check_same_length(len(gold_NC), len(predicted_NC), "predicted")
    exact_N = (gold_NC == predicted_NC).all(1)
    ones_N = np.ones(len(gold_NC), bool)
    rows = np.column_stack([gold_NC & predicted_NC, predicted_NC, gold_NC, exact_N, ones_N])

    def of_sums(sums: Floats) -> Scores:
        by_label = sums[..., :-2].reshape(*sums.shape[:-1], 3, n_labels)
        right, predicted, gold = np.moveaxis(by_label, -2, 0)
        return multi_label_scores(ClassCounts(right, predicted, gold), sums[..., -2], sums[..., -1])

    return Tally.of_rows(rows.astype(np.uint8), of_sums)


def multi_label_scores(counts: ClassCounts, n_exact: NDArray[Any], n: NDArray[Any]) -> Scores:
    """Compute the scores of examples with any number of labels from counts.

    Args:
        counts: `[..., C]`.
        n_exact: `[...]`, number of examples whose labels are all correct.
        n: `[...]`, number of examples.
    """
    n_wrong = (counts.predicted + counts.gold - 2 * counts.right).sum(-1)
    return {
        "micro_f1": counts.micro_f1,
        "macro_f1": counts.macro_f1,
        "weighted_f1": counts.weighted_f1,
        "subset_accuracy": ratio(n_exact, n),
        "hamming_loss": ratio(n_wrong, n * counts.right.shape[-1]),
    }


def signature(calibration: Calibration | None = None, of: str = "") -> dict[str, str]:
    """How each score is computed, one line each; see `labels.signature`."""
    lines = {
        "micro_f1": "average:micro over all labels|0/0:0",
        "macro_f1": "average:macro over all labels|0/0:0",
        "weighted_f1": "average:by support|0/0:0",
        "subset_accuracy": "all labels right / examples",
        "hamming_loss": "wrong cells / all cells|smaller is better",
    }
    if of:
        lines = {name: f"{of}|{line}" for name, line in lines.items()}
    return lines | (calibration.signature() if calibration else {})


def apply_thresholds(probabilities: ArrayLike, thresholds: ArrayLike) -> NDArray[np.bool_]:
    """Predict the labels whose probability is at least their threshold, compared in float64.

    Args:
        probabilities: `[N, C]`.
        thresholds: `[C]`.

    Raises:
        ValueError: the shapes do not fit.

    >>> apply_thresholds([[0.5, 0.5]], [0.5, 0.6]).tolist()
    [[True, False]]
    """
    given_NC = np.asarray(probabilities, np.float64)
    from_C = np.asarray(thresholds, np.float64)
    if given_NC.ndim != 2 or from_C.shape != given_NC.shape[1:]:
        raise ValueError(
            f"thresholds must be one per label, got shape {from_C.shape} for probabilities of shape "
            f"{given_NC.shape}"
        )
    return given_NC >= from_C


def choose_thresholds(gold: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Choose the threshold of each label that maximizes its F1. Use validation data, never test data.

    All thresholds between two neighbouring probabilities give the same predictions. Among those with the
    largest F1, 0.5 is chosen if possible; otherwise the midpoint between two neighbouring probabilities
    that is nearest to 0.5, and of two equally near ones the higher. A label that never occurs keeps 0.5.

    Args:
        gold: `[N, C]` of 0 and 1.
        probabilities: `[N, C]`, 0…1.

    Returns:
        `[C]`, for `apply_thresholds`.

    Raises:
        ValueError: a matrix has the wrong shape or values, or there are no examples.
        NonFiniteError: a probability is not finite.

    >>> choose_thresholds([[1, 0], [1, 0], [0, 0]], [[0.4, 0.9], [0.3, 0.1], [0.1, 0.1]]).tolist()
    [0.2, 0.5]
    """
    gold_NC = check_matrix("gold", gold, None)
    n_examples, n_labels = gold_NC.shape
    given_NC = check_probabilities(probabilities, n_examples, n_labels, sum_to_one=False)
    check_same_length(n_examples, len(given_NC), "probabilities")
    columns = zip(gold_NC.T, given_NC.T, strict=True)
    return np.array([_threshold(gold_N, p_N) for gold_N, p_N in columns])


def _threshold(gold_N: NDArray[np.bool_], p_N: Floats) -> float:
    n_gold = int(gold_N.sum())
    if not n_gold:
        return DEFAULT_THRESHOLD
    order = np.argsort(-p_N, kind="stable")
    falling_N = p_N[order]
    is_last_N = np.append(falling_N[1:] < falling_N[:-1], True)
    n_predicted_K = np.flatnonzero(is_last_N) + 1
    n_right_K = np.cumsum(gold_N[order])[is_last_N]
    f1_K = ratio(2 * n_right_K, n_predicted_K + n_gold)
    # Thresholds t with low < t ≤ high predict the same; the lowest interval includes 0.
    high_K = falling_N[is_last_N]
    low_K = np.append(high_K[1:], 0.0)
    best = f1_K == f1_K.max()
    high_K, low_K = high_K[best], low_K[best]
    if ((low_K < DEFAULT_THRESHOLD) & (high_K >= DEFAULT_THRESHOLD)).any():
        return DEFAULT_THRESHOLD
    middle_K = (low_K + high_K) / 2
    middle_K = np.where(middle_K > low_K, middle_K, high_K)  # adjacent float64 have no midpoint
    distance_K = np.abs(middle_K - DEFAULT_THRESHOLD)
    return float(middle_K[np.lexsort((-middle_K, distance_K))[0]])


def check_matrix(name: str, given: ArrayLike, n_labels: int | None) -> NDArray[np.bool_]:
    """Check a matrix of labels and convert it to booleans `[N, C]`.

    Args:
        name: name of the matrix, for the message.
        given: `[N, C]` of 0 and 1.
        n_labels: C; None for any number.

    Raises:
        ValueError: the matrix has the wrong shape, or other values.
    """
    labels_NC = np.asarray(given)
    if labels_NC.ndim != 2 or n_labels not in (None, labels_NC.shape[1]):
        wanted = "[N, C]" if n_labels is None else f"[N, {n_labels}]"
        raise ValueError(f"{name} must be {wanted}, got shape {labels_NC.shape}")
    if not np.isin(labels_NC, (0, 1)).all():
        raise ValueError(
            f"{name} must contain only 0 and 1, got {labels_NC[~np.isin(labels_NC, (0, 1))][0]}"
        )
    return labels_NC.astype(bool)
