"""How models of `classify` and `pair` are trained: what is learned or counted before, and the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unrolled.layers.label_head import LabelHead
from unrolled.layers.recurrent import INITIAL_ONLY
from unrolled.layers.unknown import count_ids, shares_of, some_unknown
from unrolled.shapes import Padded
from unrolled.tasks import beside
from unrolled.tasks.beside import TrainingRows
from unrolled.tasks.examples import LabelledExample, labels_in
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.text_labels.data import ROLE, LabelBatch, tokens
from unrolled.text.labels import Labels
from unrolled.text.rows import Row, as_text
from unrolled.text.splits import LabelData

TRAINING_ONLY = INITIAL_ONLY | {
    "dropout_rate",
    "word_rate",
    "unknown_rate",
    "label_smoothing",
    "class_weights",
}
"""Settings of `[model]` that do not affect the shapes and meaning of the weights."""

ClassWeights = Literal["none", "balanced"]


def weigh_classes(head: LabelHead, examples: Sequence[LabelledExample], how: ClassWeights) -> None:
    """Set the weight of each class in the loss from its frequency in the training part.

    "balanced" is defined as in scikit-learn, N / (C n_c), if each row has one label. With several labels
    per row, the positive examples of a label have the weight (N − n_c) / n_c.
    """
    if how == "none":
        head.class_weights.fill_(1)
        return
    n_labels = len(head.class_weights)
    counts_C = np.zeros(n_labels)
    for example in examples:
        for label in example.labels or ():
            counts_C[label] += 1
    seen_C = np.maximum(counts_C, 1)
    if head.multi_label:
        weights_C = np.where(counts_C > 0, (len(examples) - counts_C) / seen_C, 1)
        weights_C = np.maximum(weights_C, 1e-3)
    else:
        weights_C = len(examples) / (n_labels * seen_C)
    head.class_weights.copy_(torch.from_numpy(weights_C))


def prepare(model: Any, parts: Mapping[str, Sequence[LabelledExample]]) -> None:
    """Set the statistics of the training part: class weights, and how rare each word is."""
    weigh_classes(model.head, parts["train"], model.config.class_weights)
    ids = chain.from_iterable(map(tokens, parts["train"]))
    counts_V = count_ids(ids, len(model.unknown_shares))
    model.is_seen.copy_(torch.from_numpy(counts_V > 0))
    if model.config.unknown_rate:
        model.unknown_shares.copy_(shares_of(counts_V, model.config.unknown_rate))
    beside.set_character_shares(model, parts["train"])


def learn(
    config: Any, rows: Sequence[Row], tokenizers: Tokenizers, data: LabelData
) -> dict[str, Any]:
    """Add what the model reads beside the ids of tokens: characters, and scores of n-grams."""
    labels: Labels = tokenizers[LABELS]
    texts = [[as_text(field) for field in row.fields[:-1]] for row in rows]
    ids = [[labels.id_of(name) for name in labels_in(row.fields, data)] for row in rows]
    training = TrainingRows(texts, ids, tokenizers[ROLE], labels)
    return {**tokenizers, **beside.learned(config, training, data)}


def extend(config: Any, tokenizers: Tokenizers) -> Tokenizers:
    """Extend the vocabulary by the first `embeddings.extra_words` words of the vector file."""
    return {**tokenizers, ROLE: config.embeddings.extend(tokenizers[ROLE])}


def load_pretrained(model: Any, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Load pretrained embeddings if the recipe names a file.

    Otherwise, unless they will be those of a language model, set the embeddings of tokens that do not
    occur in training to zero, where they stay: bytes that no text has, and words that are always
    truncated. Their random initial values would be noise.
    """
    if model.config.embeddings.file is None and not model.config.pretrained:
        with torch.no_grad():
            model.embedding.weight[~model.is_seen] = 0
    return load_vectors(model, tokenizers)


def load_vectors(model: Any, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Load pretrained embeddings if the recipe names a file."""
    notes: tuple[str, ...] = model.config.embeddings.load(
        model.embedding, tokenizers[ROLE], "model.embeddings"
    )
    return notes


def hidden_of(model: Any, batch: LabelBatch, read: Sequence[Padded] | None = None) -> Tensor:
    """The hidden vectors `[B, D]` of a batch, of the network alone.

    Args:
        model: the model.
        batch: the batch.
        read: its texts as they are to be read, if some of their words are to be unknown.
    """
    hidden: Tensor = model.read(*beside.embedded(model, batch, read))[0]
    return hidden


def read(model: Any, batch: LabelBatch) -> tuple[Tensor, tuple[Any, ...]]:
    """The hidden vectors of a batch, with the scores of counted n-grams, and attention weights."""
    return beside.read(model, beside.counted(model, beside.embedded(model, batch), batch))


def loss(model: Any, batch: LabelBatch) -> tuple[Tensor, int]:
    """See `LabelHead.loss`; in training some words are replaced by the unknown word."""
    assert batch.targets is not None
    texts = batch.texts
    if model.training and model.config.unknown_rate:
        texts = tuple(_some_unknown(model, text) for text in texts)
    hidden = hidden_of(model, batch, texts)
    result: tuple[Tensor, int]
    if batch.soft is not None:
        result = model.head.distillation_loss(hidden, batch.targets, batch.soft)
    else:
        result = model.head.loss(hidden, batch.targets)
    return result


def _some_unknown(model: Any, text: Padded) -> Padded:
    ids_BT = some_unknown(text.values, model.unknown_shares, model.config.unknown_rate)
    return Padded(ids_BT, text.lengths)


def evaluate_loss(model: Any, batch: LabelBatch) -> tuple[Tensor, int]:
    """See `LabelHead.plain_loss`."""
    assert batch.targets is not None
    result: tuple[Tensor, int] = model.head.plain_loss(read(model, batch)[0], batch.targets)
    return result
