"""What `classify` and `pair` share: one or two texts in, one label out, or several.

In the order data flows: example, encode, cut, collate, head, loss, predict, tune_thresholds,
evaluate. Where a row
may have several labels or none (`data.label_separator`), each label is a yes or no of its own (a sigmoid
each, the loss is the sum of their binary cross-entropies), and is given where its probability reaches a
threshold that is chosen on the validation part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.errors import DataError
from unrolled.layers.label_head import LabelHead
from unrolled.layers.unknown import count_ids, shares_of, some_unknown
from unrolled.metrics.labels import measure_labels, tally_labels
from unrolled.metrics.labels import signature as label_signature
from unrolled.metrics.multi_label import (
    choose_thresholds,
    measure_multi_label,
    tally_multi_label,
)
from unrolled.metrics.multi_label import signature as multi_label_signature
from unrolled.metrics.slices import worst_mistakes, worst_multi_label_mistakes
from unrolled.metrics.tally import SMALLER_IS_BETTER, Tally
from unrolled.shapes import Padded
from unrolled.tasks.predictions import LabelPrediction, LabelScores
from unrolled.tasks.task import LABELS, Tokenizers
from unrolled.text.labels import Labels, split_labels
from unrolled.text.rows import Field, Row, as_text
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import PAD_ID, TextConfig, Tokenizer
from unrolled.vectors.formats.detect import read_vectors

ROLE = "text"
"""The role of the tokenizer, which reads every text of a row."""

TEXT = {"kind": "word", "vocab_size": 30_000}
"""How texts are read where the recipe does not say."""

TRAINING_ONLY = frozenset(
    {"dropout_rate", "word_rate", "unknown_rate", "label_smoothing", "class_weights"}
)
"""Settings of `[model]` that do not change the weights a model has."""

ClassWeights = Literal["none", "balanced"]


_SHARES_COUNT = 10


@dataclass(frozen=True)
class LabelledExample:
    """One encoded row.

    Args:
        texts: ids of each text.
        labels: ids of its labels; None where they are not known.
        n_truncated: tokens that were cut away.
    """

    texts: tuple[list[int], ...]
    labels: tuple[int, ...] | None
    n_truncated: int = 0


@dataclass(frozen=True)
class LabelBatch:
    """What the loss takes.

    Args:
        texts: `[B, T]` ids of each text.
        targets: `[B]` ids of labels, or `[B, C]` of 0 and 1; None where they are not known.
    """

    texts: tuple[Padded, ...]
    targets: Tensor | None

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts, padding not."""
        return sum(int(text.lengths.sum()) for text in self.texts)

    def to(self, device: torch.device | str) -> LabelBatch:
        """The same batch on another device."""
        targets = None if self.targets is None else self.targets.to(device)
        return LabelBatch(tuple(text.to(device) for text in self.texts), targets)


def labels_in(fields: Sequence[Field], data: LabelData) -> list[str]:
    """The labels of a row, several where `data.label_separator` says that there may be."""
    field = fields[-1]
    if data.label_separator:
        return split_labels(field, data.label_separator)
    return [as_text(field).strip()]


def train_tokenizers(rows: Sequence[Row], text: TextConfig, data: LabelData) -> dict[str, Any]:
    """A tokenizer for all texts, and the labels of the training part.

    Raises:
        DataError: where each row has one label, a row with none or with a list; too few labels to choose
            from.
        ConfigError: `data.averaged` names a label that is not there.
    """
    *columns, _ = zip(*(row.texts for row in rows), strict=True)
    words = Tokenizer.train((each for column in columns for each in column), text)
    multi_label = bool(data.label_separator)
    if not multi_label:
        _check_each_has_one(rows)
    found = [labels_in(row.fields, data) for row in rows]
    labels = Labels.of(chain.from_iterable(found), multi_label=multi_label, averaged=data.averaged)
    texts = [
        list(chain.from_iterable(each))
        for each in zip(*(words.encode_batch(column) for column in columns), strict=True)
    ]
    has_NC = np.array([[name in names for name in labels] for names in found])
    shares = shares_without_words(texts, has_NC, words)
    return {ROLE: words, LABELS: replace(labels, shares=tuple(shares.round(6).tolist()))}


def shares_without_words(
    texts: Sequence[Sequence[int]], has_NC: NDArray[np.bool_], words: Tokenizer
) -> NDArray[np.float64]:
    """How often to expect each label where no word of a text is known, from the training part.

    The texts that are like that are those of which no other text has a word. Mostly they are few, so that
    the shares of all texts count as `_SHARES_COUNT` more of them.

    Args:
        texts: ids of each.
        has_NC: which labels each has.
        words: the vocabulary.

    >>> words = Tokenizer.train(["a b", "a c", "zoo"], TextConfig(kind="word"))
    >>> has = np.array([[True, False], [True, False], [False, True]])
    >>> texts = words.encode_batch(["a b", "a c", "zoo"])
    >>> shares_without_words(texts, has, words).round(3).tolist()
    [0.606, 0.394]
    """
    rows = [sorted(set(ids) - words.silent) for ids in texts]
    n_texts_V = count_ids(chain.from_iterable(rows), len(words))
    is_alone_N = np.array([n_texts_V[row].max(initial=0) <= 1 for row in rows])
    prior_C = has_NC.mean(0)
    return (has_NC[is_alone_N].sum(0) + _SHARES_COUNT * prior_C) / (
        is_alone_N.sum() + _SHARES_COUNT
    )


def _check_each_has_one(rows: Sequence[Row]) -> None:
    # No name would become a label like any other, and each combination of labels a class of its own.
    for row in rows:
        if not row.texts[-1].strip():
            raise DataError(
                "the label is missing; give one, leave the row out, or set data.label_separator if a row "
                "may have several labels or none",
                line=row.line,
            )
        if not isinstance(row.fields[-1], str):
            raise DataError(
                "the label is a list, so that a row may have several labels, or none; say so with "
                "data.label_separator = '|'",
                line=row.line,
            )


def encode_with(n_texts: int) -> Any:
    """The `encode` of a task with so many texts; the label comes after them, where it is known."""

    def encode(fields: Sequence[Field], tokenizers: Tokenizers, data: LabelData) -> LabelledExample:
        """Ids of each text, and of the labels."""
        texts = tuple(tokenizers[ROLE].encode(as_text(field)) for field in fields[:n_texts])
        labels: Labels = tokenizers[LABELS]
        if len(fields) == n_texts:
            return LabelledExample(texts, None)
        names = labels_in(fields, data)
        return LabelledExample(texts, tuple(labels.id_of(name) for name in names))

    return encode


def lengths(example: LabelledExample) -> tuple[int, ...]:
    """Tokens of each text."""
    return tuple(len(ids) for ids in example.texts)


def cut(example: LabelledExample, data: LabelData) -> LabelledExample:
    """The example with no text longer than `data.max_length`."""
    texts = tuple(truncate(ids, data) for ids in example.texts)
    n_truncated = sum(lengths(example)) - sum(len(ids) for ids in texts)
    return replace(example, texts=texts, n_truncated=n_truncated)


def truncate(ids: list[Any], data: LabelData) -> list[Any]:
    """What is read of a text.

    >>> truncate([1, 2, 3, 4, 5], LabelData(max_length=3, keep="both"))
    [1, 2, 5]
    """
    n_over = len(ids) - data.max_length
    if n_over <= 0:
        return ids
    n_first = {"start": data.max_length, "end": 0, "both": -(-data.max_length // 2)}[data.keep]
    return ids[:n_first] + ids[n_first + n_over :]


def collate(examples: Sequence[LabelledExample]) -> LabelBatch:
    """Examples → padded ids and ids of labels."""
    n_texts = len(examples[0].texts)
    texts = tuple(
        Padded.from_rows([example.texts[side] for example in examples], PAD_ID)
        for side in range(n_texts)
    )
    if any(example.labels is None for example in examples):
        return LabelBatch(texts, None)
    # Rows of several labels become rows of 0 and 1 in the head, which knows how many there are.
    rows = [example.labels or () for example in examples]
    width = max(map(len, rows))
    targets = torch.tensor([[*row, *[-1] * (width - len(row))] for row in rows], dtype=torch.int64)
    return LabelBatch(texts, targets.reshape(len(rows), width))


def weigh_classes(head: LabelHead, examples: Sequence[LabelledExample], how: ClassWeights) -> None:
    """Set what a row of each class counts, from how often it stands in the training part.

    Balanced, as scikit-learn has it: N / (C n_c) of one label; (N − n_c) / n_c of a label that may stand
    beside others, for the rows that have it.
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
    """What a model takes from the training part: class weights, how rare each word is."""
    weigh_classes(model.head, parts["train"], model.config.class_weights)
    ids = chain.from_iterable(map(tokens, parts["train"]))
    counts_V = count_ids(ids, len(model.unknown_shares))
    model.is_seen.copy_(torch.from_numpy(counts_V > 0))
    if model.config.unknown_rate:
        model.unknown_shares.copy_(shares_of(counts_V, model.config.unknown_rate))


def extend(config: Any, tokenizers: Tokenizers) -> Tokenizers:
    """The vocabulary with the first words of the file of vectors, as many as the recipe says."""
    settings = config.embeddings
    if not settings.extra_words:
        return tokenizers
    words = read_vectors(settings.file, limit=settings.extra_words).words
    return {**tokenizers, ROLE: tokenizers[ROLE].extended(words)}


def load_pretrained(model: Any, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Pretrained embeddings, where the recipe names a file.

    Where not, tokens that training never shows begin, and so remain, at zeros: bytes that no text has,
    words that stand behind `data.max_length`. As they were drawn they would say nothing but chance.
    """
    if model.config.embeddings.file is None:
        with torch.no_grad():
            model.embedding.weight[~model.is_seen] = 0
    return load_vectors(model, tokenizers)


def load_vectors(model: Any, tokenizers: Tokenizers) -> tuple[str, ...]:
    """Pretrained embeddings, where the recipe names a file."""
    notes: tuple[str, ...] = model.config.embeddings.load(
        model.embedding, tokenizers[ROLE], "model.embeddings"
    )
    return notes


def hidden_of(model: Any, batch: LabelBatch) -> Tensor:
    """`[B, D]` of a batch of ids."""
    return model.read(*(model.embed(text) for text in batch.texts))[0]


def loss(model: Any, batch: LabelBatch) -> tuple[Tensor, int]:
    """See `LabelHead.loss`; in training some words are read as unknown."""
    assert batch.targets is not None
    if model.training and model.config.unknown_rate:
        batch = replace(batch, texts=tuple(_some_unknown(model, text) for text in batch.texts))
    found: tuple[Tensor, int] = model.head.loss(hidden_of(model, batch), batch.targets)
    return found


def _some_unknown(model: Any, text: Padded) -> Padded:
    ids_BT = some_unknown(text.values, model.unknown_shares, model.config.unknown_rate)
    return Padded(ids_BT, text.lengths)


def evaluate_loss(model: Any, batch: LabelBatch) -> tuple[Tensor, int]:
    """See `LabelHead.plain_loss`."""
    assert batch.targets is not None
    found: tuple[Tensor, int] = model.head.plain_loss(hidden_of(model, batch), batch.targets)
    return found


def predict(
    model: Any, examples: Sequence[LabelledExample], tokenizers: Tokenizers
) -> list[LabelPrediction]:
    """A prediction for each example; where it has no known word, the expected share of each label."""
    batch = collate([replace(example, labels=None) for example in examples])
    batch = batch.to(model.head.thresholds.device)
    hidden, weights = model.read(*(model.embed(text) for text in batch.texts))
    probabilities_BC = model.head.probabilities(hidden).float().cpu().numpy()
    labels: Labels = tokenizers[LABELS]
    if labels.shares:
        blank = [_says_nothing(model, example, tokenizers[ROLE]) for example in examples]
        probabilities_BC[np.array(blank, bool)] = labels.shares
    chosen = _chosen(probabilities_BC, labels, model.head.thresholds)
    looked = [None if each is None else each.float().cpu().numpy() for each in weights]
    words = tokenizers[ROLE]
    return [
        LabelPrediction(
            chosen[row],
            probabilities_BC[row],
            tuple(tuple(words.pieces(ids)) for ids in example.texts),
            tuple(
                None if each is None else each[row, : len(ids)]
                for each, ids in zip(looked, example.texts, strict=True)
            ),
            example.n_truncated,
        )
        for row, example in enumerate(examples)
    ]


def _says_nothing(model: Any, example: LabelledExample, words: Tokenizer) -> bool:
    """Whether training has seen no token that is read of an example."""
    read = chain.from_iterable(example.texts[model.sides])
    ids = [id_ for id_ in read if id_ not in words.silent]
    return not ids or not bool(model.embedding.weight[ids].any())


def _chosen(
    probabilities_BC: NDArray[np.float32], labels: Labels, thresholds: Tensor
) -> list[tuple[str, ...]]:
    if not labels.multi_label:
        return [(labels.names[best],) for best in probabilities_BC.argmax(1).tolist()]
    given_BC = probabilities_BC >= thresholds.cpu().numpy()
    return [tuple(labels.names[c] for c in np.flatnonzero(row)) for row in given_BC]


def tune_thresholds(
    model: Any,
    examples: Sequence[LabelledExample],
    predictions: list[LabelPrediction],
    tokenizers: Tokenizers,
) -> list[LabelPrediction]:
    """Where a row may have several labels, set each threshold to the one with the best F1."""
    labels: Labels = tokenizers[LABELS]
    if not labels.multi_label:
        return predictions
    probabilities_NC = probabilities_of(predictions)
    thresholds = choose_thresholds(gold_matrix(examples, len(labels)), probabilities_NC)
    model.head.thresholds.copy_(torch.from_numpy(thresholds))
    chosen = _chosen(probabilities_NC, labels, model.head.thresholds)
    return [replace(each, labels=names) for each, names in zip(predictions, chosen, strict=True)]


def probabilities_of(predictions: Sequence[LabelPrediction]) -> NDArray[np.float32]:
    """`[N, C]`."""
    return np.stack([each.probabilities for each in predictions])


def gold_matrix(examples: Sequence[LabelledExample], n_labels: int) -> NDArray[np.int64]:
    """`[N, C]` of 0 and 1."""
    gold_NC = np.zeros((len(examples), n_labels), np.int64)
    for row, example in enumerate(examples):
        gold_NC[row, list(example.labels or ())] = 1
    return gold_NC


def evaluate(
    model: Any,
    examples: Sequence[LabelledExample],
    predictions: Sequence[LabelPrediction],
    tokenizers: Tokenizers,
) -> LabelScores:
    """Everything that is measured of labels."""
    labels: Labels = tokenizers[LABELS]
    names, probabilities_NC = labels.names, probabilities_of(predictions)
    places = {name: place for place, name in enumerate(names)}
    if labels.multi_label:
        given_NC = np.zeros(probabilities_NC.shape, np.int64)
        for row, each in enumerate(predictions):
            given_NC[row, [places[name] for name in each.labels]] = 1
        gold_NC = gold_matrix(examples, len(labels))
        thresholds_C = model.head.thresholds.cpu().numpy()
        return LabelScores(
            measure_multi_label(names, gold_NC, None, probabilities_NC, thresholds=thresholds_C),
            lambda: tally_multi_label(gold_NC, given_NC),
            lambda texts: worst_multi_label_mistakes(
                names, texts, gold_NC, probabilities_NC, thresholds_C
            ),
        )
    gold_N = np.array([(example.labels or (0,))[0] for example in examples])
    given_N = np.array([places[each.labels[0]] for each in predictions])
    averaged = [places[name] for name in labels.averaged]
    return LabelScores(
        measure_labels(names, gold_N, given_N, probabilities_NC, averaged=labels.averaged),
        lambda: tally_labels(gold_N, given_N, len(names), averaged),
        lambda texts: worst_mistakes(names, texts, gold_N, given_N, probabilities_NC),
    )


def scores(tokenizers: Tokenizers) -> tuple[str, ...]:
    """The names of what `evaluate` measures, of which more is better."""
    labels: Labels = tokenizers[LABELS]
    n = len(labels)
    if labels.multi_label:
        return better_of(tally_multi_label(np.zeros((1, n)), np.zeros((1, n))))
    averaged = [labels.id_of(name) for name in labels.averaged]
    return better_of(tally_labels([0], [0], n, averaged))


def better_of(tally: Tally) -> tuple[str, ...]:
    """The names of a tally's scores of which more is better."""
    found = tally.scores(np.zeros((1, 1), np.int64))
    return tuple(name for name in found if name not in SMALLER_IS_BETTER)


def tokens(example: LabelledExample) -> list[int]:
    """The ids of all texts."""
    return [id_ for text in example.texts for id_ in text]


def shuffle(
    example: LabelledExample, tokenizers: Tokenizers, random: np.random.Generator
) -> LabelledExample:
    """The words of each text in random order; what a word is made of stays together."""
    words: Tokenizer = tokenizers[ROLE]
    return replace(example, texts=tuple(_shuffled(text, words, random) for text in example.texts))


def _shuffled(ids: list[int], words: Tokenizer, random: np.random.Generator) -> list[int]:
    """What is in no word, as white space among characters, keeps its place between words."""
    places = words.word_places(ids)
    order = random.permutation(len(places))
    found: list[int] = []
    end = 0
    for (start, next_end), other in zip(places, order.tolist(), strict=True):
        found += ids[end:start]
        found += ids[slice(*places[other])]
        end = next_end
    return found + ids[end:]


def signature() -> dict[str, str]:
    """How the scores are computed, of one label and of several."""
    return {**multi_label_signature(), **label_signature(("the labels of data.averaged",))}
