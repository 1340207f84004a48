"""Scores of tagging: of spans, in both readings, if the tags encode spans; otherwise of tokens.

Intervals and slices are computed over sentences, because the tokens of a sentence are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError
from unrolled.metrics import labels as of_labels
from unrolled.metrics import spans
from unrolled.metrics.class_counts import ClassCounts
from unrolled.metrics.labels import LabelEvaluation, label_scores, measure_labels
from unrolled.metrics.spans import SpanEvaluation, measure_spans, tally_spans
from unrolled.metrics.tally import Floats, Scores, Tally
from unrolled.text.labels import Labels


@dataclass(frozen=True)
class TagEvaluation(SpanEvaluation):
    """Scores of spans read as conlleval does, and F1 with the strict reading.

    Args:
        strict_f1: F1 of only the spans that the scheme allows, 0…1.
    """

    strict_f1: float = 0.0

    def scores(self) -> dict[str, float]:
        """All scores by name, 0…1."""
        return {**super().scores(), "strict_f1": self.strict_f1}

    def signature(self) -> dict[str, str]:
        """How each score was computed."""
        of = f"n:{self.n_sequences}|spans:{sum(self.gold)}"
        strict = spans.signature(self.scheme, "strict", of)["f1"]
        return {**super().signature(), "strict_f1": strict}


def measure_tags(
    gold: Sequence[Sequence[str]],
    given: Sequence[Sequence[str]],
    labels: Labels,
    probabilities: Sequence[NDArray[np.float32]] | None = None,
) -> TagEvaluation | LabelEvaluation:
    """Evaluate the tags of sentences: by span if the tags encode spans, otherwise by token.

    Args:
        gold: the gold tags of each sentence.
        given: the predicted tags, as many for each sentence.
        labels: all tags, and their scheme.
        probabilities: `[T, C]` for each sentence, for the calibration of tags that do not encode spans.

    Raises:
        DataError: there is no token.
    """
    if not any(gold):
        raise DataError("no tokens to score; give sentences with tags")
    if not labels.scheme:
        gold_N, given_N = (_ids(each, labels) for each in (gold, given))
        of_all = None if probabilities is None else np.concatenate(probabilities)
        return measure_labels(labels.names, gold_N, given_N, of_all)
    scheme: Any = labels.scheme
    plain = measure_spans(gold, given, scheme)
    strict = measure_spans(gold, given, scheme, "strict")
    return TagEvaluation(**vars(plain), strict_f1=strict.scores()["f1"])


def tally_tags(
    gold: Sequence[Sequence[str]], given: Sequence[Sequence[str]], labels: Labels
) -> Tally:
    """Contribution of each sentence to the scores, for intervals and slices. See `measure_tags`."""
    if labels.scheme:
        scheme: Any = labels.scheme
        plain, strict = (
            tally_spans(gold, given, scheme, reading) for reading in get_args(spans.Reading)
        )
        groups_N, (plain, strict) = Tally.side_by_side([plain, strict])
        n_sums = plain.rows.shape[1]

        def of_both(sums: Floats) -> Scores:
            strict_f1 = strict.of_sums(sums[..., n_sums:])["f1"]
            return {**plain.of_sums(sums[..., :n_sums]), "strict_f1": strict_f1}

        return Tally(groups_N, np.concatenate([plain.rows, strict.rows], axis=1), of_both)
    C = len(labels)
    rows_B3C = np.zeros((len(gold), 3, C), np.int64)
    for row, (right, called) in enumerate(zip(gold, given, strict=True)):
        right_T, called_T = (_ids([each], labels) for each in (right, called))
        for place, ids in enumerate((right_T[right_T == called_T], called_T, right_T)):
            rows_B3C[row, place] = np.bincount(ids, minlength=C)

    def of_sums(sums: Floats) -> Scores:
        right, called, there = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, C), -2, 0)
        return label_scores(ClassCounts(right, called, there))

    return Tally.of_rows(rows_B3C.reshape(len(gold), 3 * C), of_sums)


def _ids(tagged: Sequence[Sequence[str]], labels: Labels) -> NDArray[np.int64]:
    ids = [labels.id_of(tag) for tags in tagged for tag in tags]
    return np.array(ids, dtype=np.int64)


def signature() -> dict[str, str]:
    """How each score is computed, for tags with and without spans."""
    plain, strict = (
        {
            name: line.replace("scheme:bio", "scheme:data.scheme")
            for name, line in spans.signature(reading=reading).items()
        }
        for reading in get_args(spans.Reading)
    )
    by_token = of_labels.signature()
    macro = f"{plain['macro_f1']}; of tags without spans: {by_token['macro_f1']}"
    return {**plain, **by_token, "macro_f1": macro, "strict_f1": strict["f1"]}
