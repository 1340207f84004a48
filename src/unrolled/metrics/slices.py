"""Error analysis: scores of slices of the examples, and the model's most confident errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.errors import ConfigError
from unrolled.metrics.calibration import check_probabilities
from unrolled.metrics.class_counts import check_ids, check_same_length
from unrolled.metrics.display import WIDTH, aligned, bounds_shown, shown, title
from unrolled.metrics.intervals import Interval, bootstrap
from unrolled.metrics.multi_label import apply_thresholds, check_matrix
from unrolled.metrics.tally import Floats, Ints, Scorable, Scores
from unrolled.quoting import brief
from unrolled.wording import percent

UNKNOWN_SHARES = (0.0, 0.05, 0.1, 0.2)
"""Upper bounds of the buckets of unknown tokens: none, up to 5%, up to 10%, up to 20%, and more."""

TEXT_SEPARATOR = "⏎"
"""Separates the two texts of an example of a pair."""


@dataclass(frozen=True)
class Slice:
    """The scores of examples with a common property.

    Args:
        name: the common property.
        n: number of examples.
        scores: scores by name, with an interval over these examples.
    """

    name: str
    n: int
    scores: dict[str, Interval]


@dataclass(frozen=True)
class SliceTable:
    """The scores of all examples, by slice.

    Args:
        by: the property by which they are sliced.
        slices: the slices that are not empty.
        shown: the names of the scores to show.
    """

    by: str
    slices: tuple[Slice, ...]
    shown: tuple[str, ...]

    def lines(self, width: int = WIDTH) -> Iterator[str]:
        """The table as lines of text."""
        rows = [[self.by, "examples"]]
        for name in self.shown:
            rows[0] += [title(name), "95% interval"]
        for part in self.slices:
            row = [brief(part.name), f"{part.n:,}"]
            for name in self.shown:
                score = part.scores[name]
                row += [shown(name, score.value), bounds_shown(name, score)]
            rows.append(row)
        yield from aligned(rows, width)


def by_length(
    scored: Scorable,
    lengths: ArrayLike,
    edges: Sequence[int] | None = None,
    *,
    scores: Sequence[str] = (),
    n_resamples: int = 1_000,
    seed: int = 1,
) -> SliceTable:
    """Scores by length in tokens.

    In a macro average, classes that are absent from a slice count as 0; to compare slices, use accuracy
    and micro averages.

    Args:
        scored: a tally of all examples.
        lengths: `[N]`, number of tokens of each example.
        edges: the largest length in each bucket but the last, in increasing order; by default, up to five
            buckets with about the same number of examples.
        scores: names of the scores to show; by default the first one of the tally.
        n_resamples: number of resamples for the intervals of each slice.
        seed: random seed of the resamples.

    Raises:
        ConfigError: the edges are not increasing, or a score is unknown.
        ValueError: there is not one length per example, or one is negative.

    >>> from unrolled.metrics.labels import tally_labels
    >>> tally = tally_labels([0, 1, 0, 1], [0, 1, 1, 0], n_classes=2)
    >>> table = by_length(tally, [3, 5, 20, 40], edges=(10,))
    >>> [(each.name, each.n, each.scores["accuracy"].value) for each in table.slices]
    [('0–10', 2, 1.0), ('11 and more', 2, 0.0)]
    """
    lengths_N = _check_lengths("lengths", lengths, scored.n_examples)
    if edges is None:
        quantiles = np.quantile(lengths_N, [0.2, 0.4, 0.6, 0.8], method="lower")
        edges = [int(edge) for edge in np.unique(quantiles) if edge < lengths_N.max()]
    _check_edges("lengths", edges)
    starts = [0, *(edge + 1 for edge in edges)]
    names = [
        f"{first}–{last}" if first < last else f"{last}"
        for first, last in zip(starts, edges, strict=False)
    ]
    bucket_N = np.searchsorted(np.asarray(edges), lengths_N, side="left")
    names.append(f"{starts[-1]} and more" if edges else "all")
    return _slice(scored, "length in tokens", names, bucket_N, scores, n_resamples, seed)


def by_unknown_share(
    scored: Scorable,
    n_unknown: ArrayLike,
    lengths: ArrayLike,
    edges: Sequence[float] = UNKNOWN_SHARES,
    *,
    scores: Sequence[str] = (),
    n_resamples: int = 1_000,
    seed: int = 1,
) -> SliceTable:
    """Scores by the share of tokens that are not in the vocabulary.

    Args:
        scored: a tally of all examples.
        n_unknown: `[N]`, number of unknown tokens of each example.
        lengths: `[N]`, number of all tokens of each example; an empty text has a share of 0.
        edges: the largest share in each bucket but the last, in increasing order, 0…1.
        scores: names of the scores to show; by default the first one of the tally.
        n_resamples: number of resamples for the intervals of each slice.
        seed: random seed of the resamples.

    Raises:
        ConfigError: the edges are not increasing, or a score is unknown.
        ValueError: there is not one number per example, one is negative, or an example has more unknown
            tokens than tokens.
    """
    lengths_N = _check_lengths("lengths", lengths, scored.n_examples)
    unknown_N = _check_lengths("n_unknown", n_unknown, scored.n_examples)
    more = np.flatnonzero(unknown_N > lengths_N)
    if len(more):
        raise ValueError(
            f"example {more[0]} has {unknown_N[more[0]]} unknown tokens of {lengths_N[more[0]]}: pass "
            "counts of the same tokens"
        )
    _check_edges("shares", edges)
    share_N = unknown_N / np.maximum(lengths_N, 1)
    # A share equal to an edge belongs to the bucket below it, regardless of rounding.
    bucket_N = np.searchsorted(np.asarray(edges, np.float64), share_N - 1e-12, side="left")
    names = [_share_name(low, high) for low, high in zip([0.0, *edges], edges, strict=False)]
    names.append(f"over {_percent(edges[-1])}" if edges else "all")
    return _slice(scored, "share of unknown tokens", names, bucket_N, scores, n_resamples, seed)


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction.

    Args:
        index: index of the example, 0-based.
        text: the text of the example.
        gold: the gold label; several are joined by ", ".
        predicted: the predicted label; several are joined by ", ".
        probability: the model's confidence in the prediction.
        words: the words of the text with their attribution, −1…1: how much each supports the prediction
            or, if negative, speaks against it. Empty if unknown.
        token: index of the wrong token, in tagging.
        place: file and line of the example, or of the token; "" if unknown.

    Raises:
        ValueError: a weight is outside −1…1.
    """

    index: int
    text: str
    gold: str
    predicted: str
    probability: float
    words: tuple[tuple[str, float], ...] = ()
    token: int | None = None
    place: str = ""

    def __post_init__(self) -> None:
        for word, weight in self.words:
            if not -1 <= weight <= 1:
                raise ValueError(f"the weight of a word must be in −1…1, got {weight} for '{word}'")

    def line(self) -> str:
        """The mistake as a line of text."""
        return (
            f"{self.probability:.3f}  {self.gold} → {self.predicted}  {' '.join(self.text.split())}"
        )


def worst_mistakes(
    classes: Sequence[str],
    texts: Sequence[str],
    gold: ArrayLike,
    predicted: ArrayLike,
    probabilities: ArrayLike,
    n: int = 20,
) -> list[Mistake]:
    """The wrong predictions with the highest confidence, highest first; ties in the order of the data.

    Args:
        classes: the C names, by id.
        texts: the N texts.
        gold: `[N]` class ids.
        predicted: `[N]` class ids.
        probabilities: `[N, C]`; the confidence is the predicted class's probability.
        n: maximum number to return.

    Raises:
        ValueError: the shapes do not match, or an id is not that of a class.
        NonFiniteError: a probability is not a finite number.

    >>> mistakes = worst_mistakes(["no", "yes"], ["a", "b"], [0, 1], [1, 1], [[0.1, 0.9], [0.4, 0.6]])
    >>> mistakes[0].line()
    '0.900  no → yes  a'
    """
    gold_N = check_ids("gold", gold, len(classes))
    predicted_N = check_ids("predicted", predicted, len(classes))
    check_same_length(len(gold_N), len(predicted_N), "predicted")
    check_same_length(len(gold_N), len(texts), "texts")
    given_NC = check_probabilities(probabilities, len(gold_N), len(classes), sum_to_one=True)
    confidence_N = given_NC[np.arange(len(gold_N)), predicted_N]
    return surest_mistakes(classes, texts, gold_N, predicted_N, confidence_N, n)


def surest_mistakes(
    classes: Sequence[str],
    texts: Sequence[str],
    gold_N: Ints,
    predicted_N: Ints,
    confidence_N: Floats,
    n: int = 20,
) -> list[Mistake]:
    """`worst_mistakes` from the probability of each predicted class, `[N]`."""
    return [
        Mistake(
            index,
            texts[index],
            classes[gold_N[index]],
            classes[predicted_N[index]],
            float(confidence_N[index]),
        )
        for index in _surest(gold_N != predicted_N, confidence_N, n)
    ]


def worst_multi_label_mistakes(
    classes: Sequence[str],
    texts: Sequence[str],
    gold: ArrayLike,
    probabilities: ArrayLike,
    thresholds: ArrayLike,
    n: int = 20,
) -> list[Mistake]:
    """Like `worst_mistakes`, for examples with any number of labels.

    The confidence of an example is that of its most confident wrong label: p for a label that is
    predicted but absent, 1 − p for one that is present but not predicted.

    Args:
        classes: the C names.
        texts: the N texts.
        gold: `[N, C]` of 0 and 1.
        probabilities: `[N, C]`.
        thresholds: `[C]`, the probability from which each label is predicted.
        n: maximum number to return.

    Raises:
        ValueError: the shapes do not match, or values are out of range.
        NonFiniteError: a probability is not a finite number.
    """
    there_NC = check_matrix("gold", gold, len(classes))
    check_same_length(len(there_NC), len(texts), "texts")
    given_NC = check_probabilities(probabilities, len(there_NC), len(classes), sum_to_one=False)
    called_NC = apply_thresholds(given_NC, thresholds)
    wrong_NC = there_NC != called_NC
    confidence_N = np.where(wrong_NC, np.where(called_NC, given_NC, 1 - given_NC), 0.0).max(1)
    return [
        Mistake(
            index,
            texts[index],
            _joined(classes, there_NC[index]),
            _joined(classes, called_NC[index]),
            float(confidence_N[index]),
        )
        for index in _surest(wrong_NC.any(1), confidence_N, n)
    ]


@dataclass(frozen=True, eq=False)
class _Part:
    """A subset of the examples of a tally."""

    whole: Scorable
    index: NDArray[np.intp]

    @property
    def n_examples(self) -> int:
        return len(self.index)

    def scores(self, index: NDArray[np.integer[Any]]) -> Scores:
        return self.whole.scores(self.index[index])


def _slice(
    scored: Scorable,
    by: str,
    names: Sequence[str],
    bucket_N: NDArray[np.integer[Any]],
    scores: Sequence[str],
    n_resamples: int,
    seed: int,
) -> SliceTable:
    slices = []
    for number, name in enumerate(names):
        part = _Part(scored, np.flatnonzero(bucket_N == number))
        if part.n_examples:
            found = bootstrap(part, n_resamples=n_resamples, seed=seed)
            slices.append(Slice(name, part.n_examples, found))
    if not slices:
        raise ValueError("no examples to score: pass at least one")
    known = slices[0].scores
    for name in scores:
        if name not in known:
            raise ConfigError(f"no score '{name}'; there are {', '.join(known)}")
    return SliceTable(by, tuple(slices), tuple(scores) or (next(iter(known)),))


def _surest(is_wrong_N: NDArray[np.bool_], confidence_N: Floats, n: int) -> list[int]:
    wrong_K = np.flatnonzero(is_wrong_N)
    return wrong_K[np.argsort(-confidence_N[wrong_K], kind="stable")][:n].tolist()


def _joined(classes: Sequence[str], is_on_C: NDArray[np.bool_]) -> str:
    return ", ".join(classes[index] for index in np.flatnonzero(is_on_C).tolist()) or "(none)"


def _check_lengths(name: str, given: ArrayLike, n_examples: int) -> Ints:
    found = np.asarray(given)
    if found.shape != (n_examples,) or (found.size and found.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be one whole number for each of {n_examples:,} examples, got {found.dtype} "
            f"of shape {found.shape}"
        )
    if (found < 0).any():
        raise ValueError(f"{name} must not be negative, got {found.min()}")
    return found.astype(np.int64)


def _check_edges(name: str, edges: Sequence[float]) -> None:
    if any(a >= b for a, b in pairwise(edges)) or any(e < 0 for e in edges):
        raise ConfigError(f"the edges of {name} must rise from 0 or more, got {list(edges)}")


def _share_name(low: float, high: float) -> str:
    if not high:
        return "none"
    return f"over {_percent(low)} to {_percent(high)}" if low else f"up to {_percent(high)}"


def _percent(share: float) -> str:
    return percent(share, None)
