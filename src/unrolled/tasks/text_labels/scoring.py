"""The scores of predicted labels, for one label of each row, for several, and for very many labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unrolled.metrics.calibration import calibrate_rows, check_probabilities, proper_losses
from unrolled.metrics.labels import measure_labels, tally_labels
from unrolled.metrics.labels import signature as label_signature
from unrolled.metrics.multi_label import measure_multi_label, tally_multi_label
from unrolled.metrics.multi_label import signature as multi_label_signature
from unrolled.metrics.slices import surest_mistakes, worst_mistakes, worst_multi_label_mistakes
from unrolled.metrics.tally import SMALLER_IS_BETTER, Tally
from unrolled.tasks.examples import LabelledExample
from unrolled.tasks.predictions import Digest, LabelPrediction, LabelScores
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.text_labels.prediction import gold_matrix, probabilities_of
from unrolled.text.labels import Labels

MANY_LABELS = 1_000
"""Number of labels above which an evaluation keeps only the most probable ones of each row."""

_MOST_PROBABLE = 100


def evaluate(
    model: Any,
    examples: Sequence[LabelledExample],
    predictions: Sequence[LabelPrediction],
    tokenizers: Tokenizers,
) -> LabelScores:
    """All measurements of the predicted labels."""
    labels: Labels = tokenizers[LABELS]
    names = labels.names
    places = {name: place for place, name in enumerate(names)}
    if any(prediction.digest is not None for prediction in predictions):
        return _evaluate_digests(examples, predictions, labels)
    probabilities_NC = probabilities_of(predictions)
    if labels.multi_label:
        predicted_NC = np.zeros(probabilities_NC.shape, np.int64)
        for row, prediction in enumerate(predictions):
            predicted_NC[row, [places[name] for name in prediction.labels]] = 1
        gold_NC = gold_matrix(examples, len(labels))
        thresholds_C = model.head.thresholds.cpu().numpy()
        return LabelScores(
            measure_multi_label(names, gold_NC, None, probabilities_NC, thresholds=thresholds_C),
            lambda: tally_multi_label(gold_NC, predicted_NC),
            lambda texts: worst_multi_label_mistakes(
                names, texts, gold_NC, probabilities_NC, thresholds_C
            ),
        )
    gold_N = np.array([(example.labels or (0,))[0] for example in examples])
    predicted_N = np.array([places[prediction.labels[0]] for prediction in predictions])
    averaged = [places[name] for name in labels.averaged]
    return LabelScores(
        measure_labels(names, gold_N, predicted_N, probabilities_NC, averaged=labels.averaged),
        lambda: tally_labels(gold_N, predicted_N, len(names), averaged),
        lambda texts: worst_mistakes(names, texts, gold_N, predicted_N, probabilities_NC),
    )


def _evaluate_digests(
    examples: Sequence[LabelledExample], predictions: Sequence[LabelPrediction], labels: Labels
) -> LabelScores:
    """`evaluate` of predictions from `digested`."""
    names = labels.names
    gold_N = np.array([(example.labels or (0,))[0] for example in examples])
    predicted_N = np.array([labels.id_of(prediction.labels[0]) for prediction in predictions])
    digests = [prediction.digest for prediction in predictions if prediction.digest is not None]
    confidence_N = np.array([digest.confidence for digest in digests])
    losses_N2 = np.stack([digest.losses for digest in digests])
    averaged = [labels.id_of(name) for name in labels.averaged]
    calibrated = calibrate_rows(gold_N == predicted_N, confidence_N, losses_N2)
    return LabelScores(
        measure_labels(names, gold_N, predicted_N, averaged=labels.averaged, calibrated=calibrated),
        lambda: tally_labels(gold_N, predicted_N, len(names), averaged),
        lambda texts: surest_mistakes(names, texts, gold_N, predicted_N, confidence_N),
    )


def digested(
    examples: Sequence[Any], predictions: list[LabelPrediction], labels: Labels
) -> list[LabelPrediction]:
    """Predictions for an evaluation: if there are many labels, a digest replaces the probabilities.

    Raises:
        NonFiniteError: a probability is not finite.
    """
    is_kept = len(labels) <= MANY_LABELS or labels.multi_label or labels.scheme
    if is_kept or not all(isinstance(one, LabelledExample) and one.labels for one in examples):
        return predictions
    n_labels = len(labels)
    found = []
    for example, prediction in zip(examples, predictions, strict=True):
        given_1C = check_probabilities(prediction.probabilities[None], 1, n_labels, sum_to_one=True)
        given_C = prediction.probabilities
        top = np.argpartition(-given_C, _MOST_PROBABLE)[:_MOST_PROBABLE]
        top = top[np.lexsort((top, -given_C[top]))]
        digest = Digest(
            top,
            given_C[top],
            float(given_1C[0, labels.id_of(prediction.labels[0])]),
            proper_losses(np.array(example.labels), given_1C)[0],
        )
        found.append(replace(prediction, probabilities=given_C[:0].copy(), digest=digest))
    return found


def scores(tokenizers: Tokenizers) -> tuple[str, ...]:
    """The names of the scores of `evaluate` for which larger is better."""
    labels: Labels = tokenizers[LABELS]
    n = len(labels)
    if labels.multi_label:
        return better_of(tally_multi_label(np.zeros((1, n)), np.zeros((1, n))))
    averaged = [labels.id_of(name) for name in labels.averaged]
    return better_of(tally_labels([0], [0], n, averaged))


def better_of(tally: Tally) -> tuple[str, ...]:
    """The names of the scores of a tally for which larger is better."""
    scores_by_name = tally.scores(np.zeros((1, 1), np.int64))
    return tuple(name for name in scores_by_name if name not in SMALLER_IS_BETTER)


def signature() -> dict[str, str]:
    """How each score is computed, for one label and for several labels per row."""
    return {**multi_label_signature(), **label_signature(("the labels of data.averaged",))}
