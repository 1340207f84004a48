"""Confidence intervals of scores over examples and over seeds, and comparisons of two models over both.

Over examples: the percentile bootstrap (Efron and Tibshirani 1993, chapter 13). N examples are drawn
repeatedly from the N with replacement; the interval contains the middle 95% of the resulting scores. It
covers the scores of the same trained model on other test sets of the same size.

Over seeds: mean ± t_{n−1} s / √n, with Student's t. It covers the mean score of other training runs on
the same test set.

"A beats B" must hold for other seeds and other examples, so both are resampled (`paired_bootstrap`). A
resample uses the same examples for all runs, which makes the comparison paired (Koehn 2004), and then
draws from the runs of A and from those of B. The p-value is two-sided: twice the smaller of the shares of
resamples in which the difference is ≤ 0 and ≥ 0, with one resample added to each so that it is never 0.
Its limits: with S runs, the variance over seeds is underestimated by the factor (S − 1) / S, and the
noise of single predictions is counted more than once (Owen 2007, on bootstraps of crossed factors). So
the test is conservative if runs differ only by noise in single predictions, and too liberal with two or
three runs that differ strongly as a whole; use five or more. One run each says nothing about other seeds.

Examples that add the same to every score form a group. With few groups, the number of examples from each
group is drawn from the multinomial distribution, which is equivalent to N draws of examples; the time of
a resample then depends on the number of groups, not of examples. With many groups, examples are drawn one
by one. The same seed gives the same draws for the same predictions, and, if examples are drawn one by
one, for any predictions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError, NonFiniteError, did_you_mean
from unrolled.metrics.tally import SMALLER_IS_BETTER, Floats, Scorable, Scores, Tally

_DRAWN_TOGETHER = 2_000_000  # indices of examples in memory at once
_DEAR = 16  # drawing the count of one group takes as long as drawing this many examples
_TIE = 12  # decimals to which differences are rounded, so that rounding errors count as 0


@dataclass(frozen=True)
class Interval:
    """A score with its confidence interval.

    Args:
        value: the measured score.
        low: lower bound.
        high: upper bound.
        how: how the bounds were computed.
        level: confidence level, 0…1.

    >>> print(Interval(0.8493, 0.8311, 0.864, "t over 5 seeds"))
    0.8493 (0.8311–0.8640)
    """

    value: float
    low: float
    high: float
    how: str
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f}–{self.high:.4f})"


@dataclass(frozen=True)
class Comparison:
    """The comparison of two models, A and B.

    Args:
        score: name of the compared score.
        a: mean score of A's runs.
        b: mean score of B's runs.
        low: lower bound of A − B.
        high: upper bound of A − B.
        p_value: two-sided p-value.
        how: how bounds and p-value were computed.
        level: confidence level of the bounds.
        p_floor: smallest p-value that the number of resamples can show.
    """

    score: str
    a: float
    b: float
    low: float
    high: float
    p_value: float
    how: str
    level: float = 0.95
    p_floor: float = 0.0

    @property
    def p_shown(self) -> str:
        """The p-value as text: "= 0.0123", or "< 0.0002" if no resample contradicts the difference."""
        if self.p_value <= self.p_floor:
            return f"< {math.ceil(1e4 * self.p_floor) / 1e4:.4g}"
        return f"= {self.p_value:.4f}"

    @property
    def difference(self) -> float:
        """A − B."""
        return self.a - self.b

    @property
    def verdict(self) -> str:
        """Which model is better, in words, or that no difference was shown."""
        if self.low <= 0 <= self.high:
            return "no difference shown"
        a_is_better = (self.low > 0) != (self.score in SMALLER_IS_BETTER)
        return "A is better" if a_is_better else "B is better"

    def lines(self) -> Iterator[str]:
        """The comparison as lines of text."""
        yield f"{self.score}: A {self.a:.4f}, B {self.b:.4f}"
        yield (
            f"A − B = {self.difference:+.4f} ({self.low:+.4f} to {self.high:+.4f}), "
            f"p {self.p_shown}: {self.verdict}"
        )
        yield self.how


def bootstrap(
    scored: Scorable, *, n_resamples: int = 1_000, level: float = 0.95, seed: int = 1
) -> dict[str, Interval]:
    """Percentile bootstrap intervals over examples.

    If all examples are correct, or none, all resamples are equal and the interval is a point, which
    understates the uncertainty.

    A class so rare that a resample may miss it counts as 0 in the macro average of that resample, as in
    any data without the class, and widens the interval downward.

    Args:
        scored: a tally (`tally_labels`, `tally_multi_label`, `tally_spans`), or an `AnyScore` with any
            function of gold and predicted labels, which is called once per resample.
        n_resamples: number of resamples.
        level: confidence level, 0…1.
        seed: seed of the draws; equal seeds give bit-identical results.

    Returns:
        An interval for each score, by name.

    Raises:
        ConfigError: `n_resamples` is less than 1, or `level` is not between 0 and 1.
        ValueError: there are no examples.
        NonFiniteError: a score is not finite in some resample.

    >>> from unrolled.metrics.labels import tally_labels
    >>> right = [1] * 80 + [0] * 20
    >>> found = bootstrap(tally_labels([1] * 100, right, n_classes=2))["accuracy"]
    >>> found.value, 0.7 < found.low < 0.76, 0.84 < found.high < 0.9
    (0.8, True, True)
    """
    _check(n_resamples, level)
    values = _scores_of_all(scored)
    drawn = _over_examples([scored], n_resamples, seed)
    how = f"bootstrap percentile|over:{scored.n_examples} examples|resamples:{n_resamples}|seed:{seed}"
    return {
        name: Interval(values[name], *_middle(scores_SR[0], level), how, level)
        for name, scores_SR in drawn.items()
    }


def over_seeds(scores: Sequence[float], level: float = 0.95) -> Interval:
    """Mean ± t_{n−1} s / √n over the scores of n seeds, s with n − 1.

    Args:
        scores: one score per seed, at least two.
        level: confidence level, 0…1.

    Raises:
        ConfigError: there are fewer than two scores, or `level` is not between 0 and 1.
        NonFiniteError: a score is not finite.

    >>> print(over_seeds([0.83, 0.85, 0.84, 0.86, 0.82]))
    0.8400 (0.8204–0.8596)
    """
    _check(1, level)
    if len(scores) < 2:
        raise ConfigError(f"an interval over seeds needs at least 2 scores, got {len(scores)}")
    scores_S = np.asarray(scores, np.float64)
    _check_finite("score", scores_S)
    mean = float(scores_S.mean())
    half = (
        t_quantile(level, len(scores_S) - 1)
        * float(scores_S.std(ddof=1))
        / math.sqrt(len(scores_S))
    )
    return Interval(mean, mean - half, mean + half, f"t|over:{len(scores_S)} seeds", level)


def t_quantile(level: float, n_degrees: int) -> float:
    """The t with P(|T| ≤ t) = `level`, for Student's T with `n_degrees` degrees of freedom.

    The probability is the finite sum in θ = arctan(t / √ν) of Abramowitz and Stegun 1964, 26.7.3 and
    26.7.4.

    >>> round(t_quantile(0.95, 4), 4), round(t_quantile(0.95, 1), 3)
    (2.7764, 12.706)
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _probability_within(middle, n_degrees) < level:
            low = middle
        else:
            high = middle
    return math.sqrt(n_degrees) * math.tan((low + high) / 2)


def t_probability(t: float, n_degrees: int) -> float:
    """P(|T| ≥ |t|) for Student's T with `n_degrees` degrees of freedom, the two-sided p-value of t.

    >>> round(t_probability(2.7764, 4), 4), round(t_probability(-12.706, 1), 4)
    (0.05, 0.05)
    """
    theta = math.atan(abs(t) / math.sqrt(n_degrees))
    return max(0.0, 1.0 - _probability_within(theta, n_degrees))


def _probability_within(theta: float, n_degrees: int) -> float:
    """P(|T| ≤ √ν tan θ)."""
    sine, cosine = math.sin(theta), math.cos(theta)
    is_odd = n_degrees % 2
    term, total = (cosine if is_odd else 1.0), 0.0
    for k in range(1 + is_odd, n_degrees, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (theta + sine * total) if is_odd else sine * total


def paired_bootstrap(
    a: Sequence[Scorable],
    b: Sequence[Scorable],
    score: str,
    *,
    n_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 1,
    seeds_are_paired: bool = False,
) -> Comparison:
    """Compare A and B over other seeds and other examples.

    Each resample draws N examples, the same for all runs, and as many runs of A and of B as there are;
    the difference is the mean score of the drawn runs of A − that of the drawn runs of B.

    Args:
        a: one tally per seed of A, all on the same N examples in the same order.
        b: one tally per seed of B, whose number may differ from A's.
        score: name of the score in the tallies.
        n_resamples: number of resamples.
        level: confidence level of the interval, 0…1.
        seed: seed of the draws; equal seeds give bit-identical results.
        seeds_are_paired: whether run i of A and run i of B belong together, for example because they
            share a split of the data, and are drawn together.

    Raises:
        ConfigError: there are no runs, the score is unknown, `n_resamples` is less than 1, `level` is not
            between 0 and 1, or A and B have different numbers of paired seeds.
        ValueError: the runs have different numbers of examples, or none.
        NonFiniteError: a score is not finite in some resample.

    >>> from unrolled.metrics.labels import tally_labels
    >>> gold = [0, 1] * 50
    >>> good = [tally_labels(gold, [0, 1] * 45 + [1, 0] * 5, 2)] * 5
    >>> poor = [tally_labels(gold, [1, 0] * 20 + [0, 1] * 30, 2)] * 5
    >>> paired_bootstrap(good, poor, "accuracy", n_resamples=500).verdict
    'A is better'
    """
    _check(n_resamples, level)
    if not a or not b:
        raise ConfigError(f"nothing to compare: A has {len(a)} runs and B {len(b)}")
    if seeds_are_paired and len(a) != len(b):
        raise ConfigError(
            f"paired seeds need equal numbers of runs, got {len(a)} of A and {len(b)} of B"
        )
    sizes = sorted({run.n_examples for run in (*a, *b)})
    if len(sizes) > 1:
        raise ValueError(
            f"compared runs must be scored on the same examples, got runs with {sizes} examples"
        )
    runs = [*a, *b]
    values = [_scores_of_all(run) for run in runs]
    for scores in values:
        if score not in scores:
            raise ConfigError(
                f"no score '{score}'; the scores are {', '.join(scores)}{did_you_mean(score, scores)}"
            )
    drawn_SR = _over_examples(runs, n_resamples, seed)[score]
    of_a, of_b = drawn_SR[: len(a)].T, drawn_SR[len(a) :].T
    random = np.random.default_rng([seed, 1])
    chosen_a = random.integers(len(a), size=of_a.shape)
    chosen_b = chosen_a if seeds_are_paired else random.integers(len(b), size=of_b.shape)
    differences_R = np.round(
        np.take_along_axis(of_a, chosen_a, 1).mean(1)
        - np.take_along_axis(of_b, chosen_b, 1).mean(1),
        _TIE,
    )
    tail = min(int((differences_R <= 0).sum()), int((differences_R >= 0).sum()))
    mean_a, mean_b = (
        float(np.mean([scores[score] for scores in part]))
        for part in (values[: len(a)], values[len(a) :])
    )
    return Comparison(
        score,
        mean_a,
        mean_b,
        *_middle(differences_R, level),
        min(1.0, 2 * (tail + 1) / (n_resamples + 1)),
        f"paired bootstrap|over:{sizes[0]} examples, {len(a)} and {len(b)} "
        f"{'paired ' if seeds_are_paired else ''}seeds|resamples:{n_resamples}|seed:{seed}|p:two-sided",
        level,
        p_floor=2 / (n_resamples + 1),
    )


def _over_examples(runs: Sequence[Scorable], n_resamples: int, seed: int) -> Scores:
    """The scores `[S, R]` of R resamples by name, with the same examples for all S runs."""
    random = np.random.default_rng([seed, 0])
    tallies = [run for run in runs if isinstance(run, Tally)]
    parts: list[list[Scores]] = [[] for _ in runs]
    if len(tallies) == len(runs):
        groups_N, tallies = Tally.side_by_side(tallies)
        for counts_RJ in _drawn_groups(random, np.bincount(groups_N), groups_N, n_resamples):
            for part, tally in zip(parts, tallies, strict=True):
                part.append(tally.of_sums(counts_RJ.astype(np.float64) @ tally.rows))
    else:
        for index_RN in _drawn_examples(random, runs[0].n_examples, n_resamples):
            for part, run in zip(parts, runs, strict=True):
                part.append(run.scores(index_RN))
    drawn: Scores = {}
    for name in parts[0][0]:
        if all(name in part[0] for part in parts):
            drawn[name] = np.stack(
                [np.concatenate([scores[name] for scores in part]) for part in parts]
            )
            _check_finite(name, drawn[name])
    return drawn


def _drawn_examples(
    random: np.random.Generator, n: int, n_resamples: int
) -> Iterator[NDArray[np.int64]]:
    """Yield several resamples at a time: `[R, N]`, the examples of each."""
    together = max(1, _DRAWN_TOGETHER // n)
    for first in range(0, n_resamples, together):
        rows = min(together, n_resamples - first)
        # One call per resample, so that the draws do not depend on how many are made together.
        yield np.stack([random.integers(n, size=n) for _ in range(rows)])


def _drawn_groups(
    random: np.random.Generator,
    sizes_J: NDArray[np.intp],
    groups_N: NDArray[np.intp],
    n_resamples: int,
) -> Iterator[NDArray[np.int64]]:
    """Yield several resamples at a time: `[R, J]`, the number of examples from each group."""
    n, n_groups = len(groups_N), len(sizes_J)
    if _DEAR * n_groups > n:
        for index_RN in _drawn_examples(random, n, n_resamples):
            yield np.stack(
                [np.bincount(groups_N[index_N], minlength=n_groups) for index_N in index_RN]
            )
        return
    together = max(1, _DRAWN_TOGETHER // n_groups)
    for first in range(0, n_resamples, together):
        yield random.multinomial(n, sizes_J / n, size=min(together, n_resamples - first))


def _scores_of_all(scored: Scorable) -> dict[str, float]:
    """The scores of the examples without resampling."""
    if not scored.n_examples:
        raise ValueError("no examples to score: pass at least one")
    scores = scored.scores(np.arange(scored.n_examples)[None])
    for name, value in scores.items():
        _check_finite(name, value)
    return {name: float(value[0]) for name, value in scores.items()}


def _middle(scores_R: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(scores_R, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(n_resamples: int, level: float) -> None:
    if n_resamples < 1:
        raise ConfigError(f"a bootstrap needs at least 1 resample, got {n_resamples}")
    if not 0 < level < 1:
        raise ConfigError(f"the level of an interval must be between 0 and 1, got {level}")


def _check_finite(name: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"'{name}' is not finite for some resample; define its value, such as 0, for examples "
            "where it is undefined"
        )
