"""Calibration: whether a model that is 80% confident is right 80% of the time.

Expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3): confidences are sorted into
bins, and ECE = Σ_b n_b/N · |accuracy in b − mean confidence in b|. Bins have equal mass (the same number
of examples in each; Nguyen and O'Connor 2015) or equal width (M intervals of 0…1). Both estimates are
biased upwards with few examples and many bins, because random deviations in each bin add up. Only compare
values with the same signature.

Brier score (Brier 1950): the mean over examples of Σ_c (p_c − [c is gold])², 0…2. Negative
log-likelihood: the mean of −ln p_gold, in nats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.errors import ConfigError, NonFiniteError
from unrolled.metrics.tally import Floats
from unrolled.wording import percent

Binning = Literal["mass", "width"]

FLOOR = float(np.finfo(np.float64).eps)
"""Smallest probability in a logarithm, so that a probability rounded to 0 does not give infinity."""

_SUM_TOLERANCE = 0.01  # the sum of a softmax in half precision is not more exact


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar confidence.

    Args:
        low: the smallest confidence in the bin.
        high: the largest confidence in the bin.
        n: number of predictions in the bin, at least 1.
        sum_confidence: sum of their confidences.
        n_right: number of correct predictions.
    """

    low: float
    high: float
    n: int
    sum_confidence: float
    n_right: int

    @property
    def confidence(self) -> float:
        """Mean confidence."""
        return self.sum_confidence / self.n

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions."""
        return self.n_right / self.n


@dataclass(frozen=True)
class Calibration:
    """The calibration of predicted probabilities.

    Args:
        bins: the non-empty bins, by increasing confidence.
        binning: "mass" or "width".
        n_bins: number of bins requested.
        n: number of rows of probabilities.
        sum_brier: sum of their squared errors.
        sum_nll: sum of −ln p_gold, in nats.
        of: what the confidence refers to.
    """

    bins: tuple[ReliabilityBin, ...]
    binning: Binning
    n_bins: int
    n: int
    sum_brier: float
    sum_nll: float
    of: str = "the predicted class"

    @property
    def ece(self) -> float:
        """Expected calibration error, 0…1."""
        n_binned = sum(bin.n for bin in self.bins)
        return sum(abs(bin.n_right - bin.sum_confidence) for bin in self.bins) / n_binned

    @property
    def brier(self) -> float:
        """Mean squared error of the probabilities: 0…2, for two classes as for more."""
        return self.sum_brier / self.n

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of the gold label, in nats."""
        return self.sum_nll / self.n

    def scores(self) -> dict[str, float]:
        """ECE, Brier score and negative log-likelihood; smaller is better for all three."""
        return {"ece": self.ece, "brier": self.brier, "nll": self.nll}

    def signature(self) -> dict[str, str]:
        """How each score was computed."""
        return {
            "ece": f"confidence:of {self.of}|bins:{self.n_bins} of equal {self.binning}"
            "|smaller is better",
            "brier": f"squared error:summed over classes|n:{self.n}|smaller is better",
            "nll": f"unit:nats|floor:{FLOOR:.1e}|n:{self.n}|smaller is better",
        }

    def lines(self) -> Iterator[str]:
        """The reliability table as lines of text."""
        yield "confidence        mean   right      n"
        for bin in self.bins:
            shares = f"{percent(bin.confidence):>6}  {percent(bin.accuracy):>6}"
            yield f"{percent(bin.low):>6} –{percent(bin.high):>7}  {shares}  {bin.n:5,}"


def reliability(
    confidence: ArrayLike, right: ArrayLike, binning: Binning = "mass", n_bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """The reliability table: predictions sorted into bins by confidence, without empty bins.

    Args:
        confidence: `[N]`, 0…1.
        right: `[N]`, whether each prediction was correct.
        binning: "mass": prediction i goes into bin ⌊M r_i / N⌋, where r_i is the number of less confident
            predictions. So equal confidences share a bin, and the order of the rows does not matter.
            "width": bin k takes k/M < confidence ≤ (k + 1)/M, and 0 goes into the first bin.
        n_bins: M.

    Raises:
        ConfigError: the binning is unknown, or `n_bins` is below 1.

    >>> for bin in reliability([0.9, 0.8, 0.6, 0.6], [True, True, True, False], n_bins=2):
    ...     print(bin.n, round(bin.confidence, 3), bin.accuracy)
    2 0.6 0.5
    2 0.85 1.0
    """
    if binning not in get_args(Binning):
        raise ConfigError(f"bins must be of equal 'mass' or equal 'width', got '{binning}'")
    if n_bins < 1:
        raise ConfigError(f"calibration needs at least 1 bin, got {n_bins}")
    confidence_N = np.asarray(confidence, np.float64)
    right_N = np.asarray(right, bool)
    if binning == "mass":
        n_less_N = np.searchsorted(np.sort(confidence_N), confidence_N, side="left")
        bin_N = n_bins * n_less_N // max(1, len(confidence_N))
    else:
        edges = np.arange(1, n_bins) / n_bins
        bin_N = np.searchsorted(edges, confidence_N, side="left")
    bins = []
    for number in np.unique(bin_N):
        chosen = bin_N == number
        held = confidence_N[chosen]
        bins.append(
            ReliabilityBin(
                float(held.min()),
                float(held.max()),
                len(held),
                float(held.sum()),
                int(right_N[chosen].sum()),
            )
        )
    return tuple(bins)


def calibrate(
    gold: NDArray[np.integer],
    predicted: NDArray[np.integer],
    probabilities: Floats,
    binning: Binning = "mass",
    n_bins: int = 15,
) -> Calibration:
    """Calibration with one label per example; the confidence is the predicted class's probability.

    Args:
        gold: `[N]` class ids.
        predicted: `[N]` class ids.
        probabilities: `[N, C]`, checked by `check_probabilities`.
        binning: see `reliability`.
        n_bins: see `reliability`.
    """
    confidence_N = probabilities[np.arange(len(gold)), predicted]
    losses_N2 = proper_losses(gold, probabilities)
    return calibrate_rows(gold == predicted, confidence_N, losses_N2, binning, n_bins)


def calibrate_rows(
    right: NDArray[np.bool_],
    confidence: Floats,
    losses: Floats,
    binning: Binning = "mass",
    n_bins: int = 15,
) -> Calibration:
    """`calibrate` for rows whose probabilities are no longer in memory.

    Args:
        right: `[N]`, whether each prediction was correct.
        confidence: `[N]`, the probability of each predicted class.
        losses: `[N, 2]`, from `proper_losses`.
        binning: see `reliability`.
        n_bins: see `reliability`.
    """
    sums_2 = losses.sum(0)
    return Calibration(
        reliability(confidence, right, binning, n_bins),
        binning,
        n_bins,
        len(right),
        float(sums_2[0]),
        float(sums_2[1]),
    )


def calibrate_cells(
    gold: NDArray[np.bool_], probabilities: Floats, binning: Binning = "mass", n_bins: int = 15
) -> Calibration:
    """Calibration of multi-label predictions: each label of each example is a separate prediction.

    The confidence is the label's probability, and "right" means that the label is present. The Brier
    score is summed over the two outcomes, present or absent, as over two classes.

    Args:
        gold: `[N, C]`, whether each label is present.
        probabilities: `[N, C]`, checked by `check_probabilities`.
        binning: see `reliability`.
        n_bins: see `reliability`.
    """
    there, p = gold.reshape(-1), probabilities.reshape(-1)
    p_gold = np.where(there, p, 1 - p)
    return Calibration(
        reliability(p, there, binning, n_bins),
        binning,
        n_bins,
        len(p),
        float(2 * ((p - there) ** 2).sum()),
        float(-np.log(np.maximum(p_gold, FLOOR)).sum()),
        "each label of each example",
    )


def proper_losses(gold: NDArray[np.integer], probabilities: Floats) -> Floats:
    """`[N, 2]`: the squared error and −ln p_gold of each row."""
    rows = np.arange(len(gold))
    p_gold = probabilities[rows, gold]
    # Computed as Σ_c p_c² − 2 p_gold + 1, a small error would lose its digits.
    error_NC = probabilities.copy()
    error_NC[rows, gold] -= 1
    return np.column_stack([(error_NC**2).sum(1), -np.log(np.maximum(p_gold, FLOOR))])


def check_probabilities(
    probabilities: ArrayLike, n_examples: int, n_classes: int, sum_to_one: bool
) -> Floats:
    """Check probabilities and return them as float64 `[N, C]`.

    Args:
        probabilities: `[N, C]`.
        n_examples: N.
        n_classes: C.
        sum_to_one: whether each row must be a distribution.

    Raises:
        ValueError: the shape is wrong, a value is outside 0…1, or a row does not sum to 1.
        NonFiniteError: a value is not a finite number.
    """
    found = np.asarray(probabilities, np.float64)
    wanted = (n_examples, n_classes)
    if found.shape != wanted:
        raise ValueError(
            f"probabilities must be [N, C] = [{wanted[0]}, {wanted[1]}], got shape {found.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise NonFiniteError(
            f"row {bad[0]} of the probabilities holds a value that is not a number; look at its text, "
            "and at the loss of the training"
        )
    bad = np.flatnonzero(((found < -1e-6) | (found > 1 + 1e-6)).any(1))
    if len(bad):
        raise ValueError(
            f"row {bad[0]} of the probabilities has values outside 0…1; pass probabilities, not logits"
        )
    if sum_to_one:
        bad = np.flatnonzero(np.abs(found.sum(1) - 1) > _SUM_TOLERANCE)
        if len(bad):
            raise ValueError(
                f"row {bad[0]} of the probabilities sums to {found[bad[0]].sum():.4g}, not to 1; pass a "
                "softmax over all classes"
            )
    return found.clip(0.0, 1.0)
