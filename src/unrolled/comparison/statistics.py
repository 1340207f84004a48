"""Means over seeds with intervals, and paired tests between variants, without torch.

Run i of every variant has the same seed, and so the same order of the data. The difference of two
variants is therefore tested by the paired t test over seeds (Student 1908): d̄ / (s / √n), with n − 1
degrees of freedom and s the standard deviation of the differences. The p-values of all pairs are
corrected by Holm's method (1979), which keeps the probability of claiming any difference that does not
exist at 5% or below, however many pairs there are. The interval of a difference is not corrected; a
difference is only claimed if the corrected p-value is below 0.05, and then the interval excludes 0.

Scores that count examples are coarse. With few seeds all differences may be equal by chance, which makes
s 0 and any difference "certain". So s is at least one example, for scores in percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from unrolled.metrics.intervals import Interval, over_seeds, t_probability, t_quantile
from unrolled.metrics.tally import SMALLER_IS_BETTER
from unrolled.wording import with_minus

LEVEL = 0.95
_SMALLER = SMALLER_IS_BETTER | {"loss", "perplexity", "bits_per_character"}

Scores = Mapping[int, float]
"""The score of each run by seed."""


@dataclass(frozen=True)
class Difference:
    """The difference A − B of two variants over the seeds that both have.

    Args:
        a: name of A.
        b: name of B.
        n: number of seeds.
        value: mean difference; None if there is no seed.
        low: lower bound of its 95% interval; None with fewer than two seeds.
        high: upper bound of it.
        p: p-value of the paired t test; None if it cannot be computed.
        p_corrected: the same, corrected for the number of pairs.
        n_pairs: number of pairs it is corrected for.
    """

    a: str
    b: str
    n: int
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    n_pairs: int = 1

    @property
    def differs(self) -> bool:
        """Whether a difference is claimed."""
        return self.p_corrected is not None and self.p_corrected < 1 - LEVEL

    def reversed(self) -> Difference:
        """B − A."""
        value, low, high = (
            None if each is None else -each for each in (self.value, self.high, self.low)
        )
        return replace(self, a=self.b, b=self.a, value=value, low=low, high=high)


def smaller_is_better(score: str) -> bool:
    """Whether smaller values of a score are better."""
    return score in _SMALLER


def mean_over_seeds(scores: Sequence[float]) -> Interval | None:
    """The mean with its interval; a point for one score, None for none.

    >>> print(mean_over_seeds([83, 85, 84, 86, 82]))
    84.0000 (82.0368–85.9632)
    """
    if not scores:
        return None
    if len(scores) == 1:
        return Interval(scores[0], scores[0], scores[0], "one seed", LEVEL)
    return over_seeds(scores, LEVEL)


def differences(scores: Mapping[str, Scores], *, step: float = 0.0) -> tuple[Difference, ...]:
    """The differences of all pairs of variants, the later minus the earlier, with corrected p-values.

    Args:
        scores: the scores of each variant.
        step: the smallest possible difference of two scores; 0 if they are continuous.
    """
    found = [
        paired(later, earlier, scores[later], scores[earlier], step=step)
        for earlier, later in combinations(scores, 2)
    ]
    tested = [each.p for each in found if each.p is not None]
    corrected = iter(holm(tested))
    return tuple(
        replace(each, n_pairs=len(tested), p_corrected=None if each.p is None else next(corrected))
        for each in found
    )


def paired(a: str, b: str, of_a: Scores, of_b: Scores, *, step: float = 0.0) -> Difference:
    """The difference of two variants, not corrected for the number of pairs.

    >>> scores = {1: 3.0, 2: 5.0, 3: 4.0}
    >>> found = paired("A", "B", scores, {1: 1.0, 2: 2.0, 3: 3.0})
    >>> found.value, round(found.p, 4), round(found.low, 2)
    (2.0, 0.0742, -0.48)
    """
    seeds = [seed for seed in of_a if seed in of_b]
    d = np.array([of_a[seed] - of_b[seed] for seed in seeds], np.float64)
    if len(d) < 2:
        return Difference(a, b, len(d), float(d[0]) if len(d) else None)
    mean, deviation = float(d.mean()), max(float(d.std(ddof=1)), step)
    error = deviation / math.sqrt(len(d))
    half = t_quantile(LEVEL, len(d) - 1) * error
    bounds = mean - half, mean + half
    if error == 0:  # equal for all seeds, so that the seeds tell nothing
        return Difference(a, b, len(d), mean, *bounds, 1.0 if mean == 0 else None)
    return Difference(a, b, len(d), mean, *bounds, t_probability(mean / error, len(d) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number: Holm, "A simple sequentially rejective …", 1979.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def sentence(difference: Difference, score: str, title: str) -> str:
    """A difference in words that claim no more than the interval shows.

    Args:
        difference: the difference.
        score: the score.
        title: the score as people write it.

    >>> shown = Difference("LSTM", "GRU", 5, 0.3, -0.4, 1.0, 0.3, 0.3)
    >>> print(sentence(shown, "accuracy", "accuracy"))
    LSTM and GRU: no difference in accuracy is shown: +0.30 (−0.40 to +1.00), p = 0.30, 5 seeds.
    """
    names = f"{difference.a} and {difference.b}"
    if difference.value is None:
        return f"{names}: no seed with a finished run of both."
    if difference.low is None:
        value = signed(difference.value, digits_of(score))
        return f"{names}: {value} in {title} with one seed, which says nothing about other seeds."
    if not difference.differs:
        return f"{names}: no difference in {title} is shown: {_numbers(difference, score)}."
    if (difference.value > 0) == smaller_is_better(score):
        difference = difference.reversed()
    better, worse = difference.a, difference.b
    return f"{better} is better than {worse} in {title}: {_numbers(difference, score)}."


def _numbers(difference: Difference, score: str) -> str:
    shown = (difference.value, difference.low, difference.high)
    value, low, high = (signed(each or 0.0, digits_of(score)) for each in shown)
    return f"{value} ({low} to {high}), {_p_of(difference)}, {difference.n} seeds"


def _p_of(difference: Difference) -> str:
    p = difference.p_corrected
    if p is None:
        return "equal for all seeds, so not tested"
    shown = f"p = {p:.2f}" if p >= 0.095 else f"p = {p:.3f}" if p >= 0.0005 else "p < 0.001"
    pairs = difference.n_pairs
    return f"{shown} corrected for {pairs} pairs" if pairs > 1 else shown


def digits_of(score: str) -> int:
    """The decimals with which a score is shown: more for those that are not percentages."""
    return 3 if smaller_is_better(score) and score not in ("perplexity", "hamming_loss") else 2


def signed(value: float, digits: int) -> str:
    """A difference with its sign.

    >>> signed(-0.4, 2), signed(-0.0001, 2)
    ('−0.40', '−0.00')
    """
    return with_minus(f"{value:+.{digits}f}")
