"""Predictions of `classify` and `pair`, and the thresholds that validation data choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.metrics.multi_label import choose_thresholds
from unrolled.tasks.examples import LabelledExample
from unrolled.tasks.mixing import is_mixed, labels_of_parts, mix_parts, mixed, parts_of
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.roles import CHARACTERS, LABELS, Tokenizers
from unrolled.tasks.text_labels.data import ROLE, collate
from unrolled.tasks.text_labels.training import read
from unrolled.text.labels import Labels
from unrolled.text.tokenizer import Tokenizer


def predict(
    model: Any, examples: Sequence[LabelledExample], tokenizers: Tokenizers
) -> list[LabelPrediction]:
    """A prediction for each example; without a known word, its probabilities are `Labels.shares`."""
    batch = collate([replace(example, labels=None) for example in examples])
    batch = batch.to(model.head.thresholds.device)
    hidden, weights = read(model, batch)
    labels: Labels = tokenizers[LABELS]
    is_blank = np.zeros(len(examples), bool)
    parts_B2C = parts_of(model.head, hidden)
    if parts_B2C is None:
        probabilities_BC = model.head.probabilities(hidden).float().cpu().numpy()
    else:
        probabilities_BC = mixed(parts_B2C, float(model.head.share), labels.multi_label)
    if labels.shares:
        is_blank = np.array(_without_known_words(model, examples, tokenizers), bool)
        probabilities_BC[is_blank] = labels.shares
    chosen = labels_for(probabilities_BC, labels, model.head.thresholds)
    attention = [None if w is None else w.float().cpu().numpy() for w in weights]
    words = tokenizers[ROLE]
    return [
        LabelPrediction(
            chosen[row],
            probabilities_BC[row],
            tuple(tuple(words.pieces(ids)) for ids in example.texts),
            tuple(
                None if w is None else w[row, : len(ids)]
                for w, ids in zip(attention, example.texts, strict=True)
            ),
            example.n_truncated,
            parts=None if parts_B2C is None or is_blank[row] else parts_B2C[row],
        )
        for row, example in enumerate(examples)
    ]


def _without_known_words(
    model: Any, examples: Sequence[LabelledExample], tokenizers: Tokenizers
) -> list[bool]:
    """For each example, whether none of its tokens occurred in training, nor any of their characters."""
    words: Tokenizer = tokenizers[ROLE]
    rows = [
        [id_ for id_ in chain.from_iterable(example.texts[model.sides]) if id_ not in words.silent]
        for example in examples
    ]
    ids = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int64)
    weight = model.embedding.weight
    known = iter(weight[ids.to(weight.device)].any(1).tolist())
    is_known = [any(list(islice(known, len(row)))) for row in rows]
    letters = tokenizers.get(CHARACTERS)
    silent: frozenset[int] = frozenset() if letters is None else letters.silent
    return [
        not (has_words or (example.facts and example.facts.is_known(model.sides, silent)))
        for has_words, example in zip(is_known, examples, strict=True)
    ]


def labels_for(
    probabilities_BC: NDArray[np.float32], labels: Labels, thresholds: Tensor
) -> list[tuple[str, ...]]:
    """The labels to predict, by their probabilities `[B, C]` and, if there may be several, thresholds."""
    if not labels.multi_label:
        return [(labels.names[best],) for best in probabilities_BC.argmax(1).tolist()]
    predicted_BC = probabilities_BC >= thresholds.cpu().numpy()
    return [tuple(labels.names[c] for c in np.flatnonzero(row)) for row in predicted_BC]


def tune_thresholds(
    model: Any,
    examples: Sequence[LabelledExample],
    predictions: list[LabelPrediction],
    tokenizers: Tokenizers,
) -> list[LabelPrediction]:
    """If a row may have several labels, set the threshold of each label to the one with the best F1.

    If the model counts n-grams, their share in the scores is set first.
    """
    labels: Labels = tokenizers[LABELS]
    if is_mixed(getattr(model, "head", None)):
        gold_NC = gold_matrix(examples, len(labels))
        predictions = mix_parts(model.head, predictions, gold_NC, labels, labels_for)
    if not labels.multi_label:
        return predictions
    probabilities_NC = probabilities_of(predictions)
    thresholds = choose_thresholds(gold_matrix(examples, len(labels)), probabilities_NC)
    model.head.thresholds.copy_(torch.from_numpy(thresholds))
    chosen = labels_for(probabilities_NC, labels, model.head.thresholds)
    return [replace(old, labels=names) for old, names in zip(predictions, chosen, strict=True)]


def parts_alone(
    model: Any, predictions: Sequence[LabelPrediction], tokenizers: Tokenizers
) -> dict[str, list[tuple[str, ...]]]:
    """The labels that each part of a model alone would predict; see `mixing.labels_of_parts`."""
    return labels_of_parts(
        getattr(model, "head", None), predictions, tokenizers[LABELS], labels_for
    )


def probabilities_of(predictions: Sequence[LabelPrediction]) -> NDArray[np.float32]:
    """The probabilities `[N, C]` of all predictions."""
    return np.stack([prediction.probabilities for prediction in predictions])


def gold_matrix(examples: Sequence[LabelledExample], n_labels: int) -> NDArray[np.int64]:
    """The gold labels as `[N, C]` of 0 and 1."""
    gold_NC = np.zeros((len(examples), n_labels), np.int64)
    for row, example in enumerate(examples):
        gold_NC[row, list(example.labels or ())] = 1
    return gold_NC
