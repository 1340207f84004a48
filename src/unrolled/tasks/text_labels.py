"""The common part of `classify` and `pair`: one or two texts as input, one or several labels as output.

In the order in which data flows: example, encode, cut, collate, head, loss, predict, tune_thresholds,
evaluate. If a row may have several labels or none (`data.label_separator`), each label is a binary
decision with a sigmoid of its own; the loss is the sum of their binary cross-entropies, and a label is
predicted if its probability reaches a threshold that is tuned on the validation part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress, islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.errors import DataError
from unrolled.layers.label_head import LabelHead, SoftTargets
from unrolled.layers.recurrent import INITIAL_ONLY
from unrolled.layers.unknown import count_ids, shares_of, some_unknown
from unrolled.metrics.calibration import calibrate_rows, check_probabilities, proper_losses
from unrolled.metrics.labels import measure_labels, tally_labels
from unrolled.metrics.labels import signature as label_signature
from unrolled.metrics.multi_label import (
    choose_thresholds,
    measure_multi_label,
    tally_multi_label,
)
from unrolled.metrics.multi_label import signature as multi_label_signature
from unrolled.metrics.slices import surest_mistakes, worst_mistakes, worst_multi_label_mistakes
from unrolled.metrics.tally import SMALLER_IS_BETTER, Tally
from unrolled.shapes import Padded
from unrolled.tasks import beside
from unrolled.tasks.beside import NOTHING, Beside, TokenFacts, truncate
from unrolled.tasks.mixing import is_mixed, labels_of_parts, mix_parts, mixed, parts_of
from unrolled.tasks.predictions import Digest, LabelPrediction, LabelScores
from unrolled.tasks.spelling import CHARACTERS
from unrolled.tasks.task import LABELS, Tokenizers
from unrolled.text.config import PAD_ID, UNK_ID, TextConfig
from unrolled.text.labels import Labels, same_names, split_labels
from unrolled.text.rows import Field, Row, as_text
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import percent

ROLE = "text"
"""The role of the tokenizer, which is used for every text of a row."""

TEXT = {"kind": "word", "vocab_size": 30_000}
"""Defaults of the `[text]` section."""

TRAINING_ONLY = INITIAL_ONLY | {
    "dropout_rate",
    "word_rate",
    "unknown_rate",
    "label_smoothing",
    "class_weights",
}
"""Settings of `[model]` that do not affect the shapes and meaning of the weights."""

ClassWeights = Literal["none", "balanced"]

_SHARES_COUNT = 10

MANY_LABELS = 1_000
"""Number of labels above which an evaluation keeps only the most probable ones of each row."""

_MOST_PROBABLE = 100


@dataclass(frozen=True, slots=True)
class LabelledExample:
    """One encoded row.

    Args:
        texts: token ids of each text.
        labels: ids of the labels; None if they are not known.
        n_truncated: number of tokens that were cut off.
        facts: what is known of the tokens beside their ids; None if nothing else is read.
    """

    texts: tuple[list[int], ...]
    labels: tuple[int, ...] | None
    n_truncated: int = 0
    facts: TokenFacts | None = None


@dataclass(frozen=True)
class LabelBatch:
    """The input of the loss.

    Args:
        texts: `[B, T]` token ids of each text.
        targets: `[B, K]` label ids, filled up with −1; None if they are not known.
        soft: the probabilities of a teacher, to be learned beside the labels; None without one.
        beside: what is read beside the ids.
    """

    texts: tuple[Padded, ...]
    targets: Tensor | None
    soft: SoftTargets | None = None
    beside: Beside = NOTHING

    @property
    def n_tokens(self) -> int:
        """The number of tokens of all texts, without padding."""
        return sum(int(text.lengths.sum()) for text in self.texts)

    @property
    def spellings(self) -> Padded | None:
        """The characters of its distinct words, if they are read."""
        return None if self.beside.spellings is None else self.beside.spellings.letters

    def to(self, device: torch.device | str) -> LabelBatch:
        """The same batch on another device."""
        targets = None if self.targets is None else self.targets.to(device)
        texts = tuple(text.to(device) for text in self.texts)
        soft = None if self.soft is None else self.soft.to(device)
        return LabelBatch(texts, targets, soft, self.beside.to(device))


def labels_in(fields: Sequence[Field], data: LabelData) -> list[str]:
    """The labels of a row; several or none if `data.label_separator` is set."""
    field = fields[-1]
    if data.label_separator:
        return split_labels(field, data.label_separator)
    return [as_text(field).strip()]


def train_tokenizers(
    rows: Sequence[Row], text: TextConfig, data: LabelData, words: Tokenizer | None = None
) -> dict[str, Any]:
    """A tokenizer for all texts, unless one is given, and the labels of the training part.

    Raises:
        DataError: a row has no label or a list of labels, although `data.label_separator` is not set; or
            there are too few labels to choose from.
        ConfigError: `data.averaged` names an unknown label.
    """
    *columns, _ = zip(*(row.texts for row in rows), strict=True)
    words = words or Tokenizer.train(chain.from_iterable(columns), text)
    multi_label = bool(data.label_separator)
    if not multi_label:
        _check_each_has_one(rows)
    raw_N = [labels_in(row.fields, data) for row in rows]
    same = same_names(chain.from_iterable(raw_N))
    names_N = [[same[name] for name in names] for names in raw_N]
    labels = Labels.of(
        chain.from_iterable(names_N), multi_label=multi_label, averaged=data.averaged
    )
    ids_N = [[labels.id_of(name) for name in names] for names in names_N]
    texts = [
        list(chain.from_iterable(ids))
        for ids in zip(*(words.encode_batch(column) for column in columns), strict=True)
    ]
    shares = shares_without_words(texts, ids_N, len(labels), words)
    return {ROLE: words, LABELS: replace(labels, shares=tuple(shares.round(6).tolist()))}


def shares_without_words(
    texts: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], n_labels: int, words: Tokenizer
) -> NDArray[np.float64]:
    """The expected share of each label for texts without a known word, estimated on the training part.

    Such texts are represented by those that share no word with any other text. There are usually few of
    them, so the label shares of all texts are added as a prior with the weight of `_SHARES_COUNT` texts.

    Args:
        texts: token ids of each text.
        labels: the ids of the labels of each text.
        n_labels: C.
        words: the vocabulary.

    >>> words = Tokenizer.train(["a b", "a c", "zoo"], TextConfig(kind="word"))
    >>> texts = words.encode_batch(["a b", "a c", "zoo"])
    >>> shares_without_words(texts, [[0], [0], [1]], 2, words).round(3).tolist()
    [0.606, 0.394]
    """
    rows = [sorted(set(ids) - words.silent) for ids in texts]
    n_texts_V = count_ids(chain.from_iterable(rows), len(words))
    is_alone_N = [all(n_texts_V[id_] <= 1 for id_ in row) for row in rows]
    prior_C = count_ids(chain.from_iterable(labels), n_labels) / len(labels)
    alone_C = count_ids(chain.from_iterable(compress(labels, is_alone_N)), n_labels)
    return (alone_C + _SHARES_COUNT * prior_C) / (sum(is_alone_N) + _SHARES_COUNT)


def _check_each_has_one(rows: Sequence[Row]) -> None:
    # Otherwise the empty string would become a label, and each combination of labels a class.
    for row in rows:
        if not row.texts[-1].strip():
            raise DataError(
                "the label is missing; add it, remove the row, or set data.label_separator if a row "
                "may have several labels or none",
                line=row.line,
            )
        if not isinstance(row.fields[-1], str):
            raise DataError(
                "the label is a list; if a row may have several labels or none, set "
                "data.label_separator = '|'",
                line=row.line,
            )


@dataclass(frozen=True)
class ExampleEncoder:
    """Encode texts, and the labels after them if they are known, as ids.

    Args:
        n_texts: number of texts of a row.
    """

    n_texts: int

    def __call__(
        self, fields: Sequence[Field], tokenizers: Tokenizers, data: LabelData
    ) -> LabelledExample:
        """Encode one row."""
        return self.many([fields], tokenizers, data)[0]

    def many(
        self, rows: Sequence[Sequence[Field]], tokenizers: Tokenizers, data: LabelData
    ) -> list[LabelledExample]:
        """Encode many rows; see `tasks.task.ManyEncoder`."""
        words: Tokenizer = tokenizers[ROLE]
        labels: Labels = tokenizers[LABELS]
        columns = [[as_text(fields[side]) for fields in rows] for side in range(self.n_texts)]
        sides = [words.encode_batch(column) for column in columns]
        facts = beside.token_facts(columns, sides, words, tokenizers, data)
        examples = []
        for fields, texts, known in zip(rows, zip(*sides, strict=True), facts, strict=True):
            ids = None
            if len(fields) > self.n_texts:
                ids = tuple(labels.id_of(name) for name in labels_in(fields, data))
            examples.append(LabelledExample(texts, ids, facts=known))
        return examples


def encode_with(n_texts: int) -> ExampleEncoder:
    """The `encode` of a task with `n_texts` texts, which are followed by the label if it is known."""
    return ExampleEncoder(n_texts)


def notes(
    parts: Mapping[str, Sequence[LabelledExample]], tokenizers: Tokenizers
) -> tuple[str, ...]:
    """What was counted, and whether too many words are unknown for the model to learn from them."""
    words: Tokenizer = tokenizers[ROLE]
    counted = tuple(beside.describe(tokenizers))
    ids = [id_ for example in parts["valid"] for text in example.texts for id_ in text]
    share = ids.count(UNK_ID) / max(1, len(ids))
    if words.kind not in ("word", "space") or share <= _MANY_UNKNOWN:
        return counted
    return (
        *counted,
        f"valid: {percent(share)} of the words are unknown; for languages without blanks between words, "
        "such as Chinese, use --text.kind char",
    )


_MANY_UNKNOWN = 0.25


def lengths(example: LabelledExample) -> tuple[int, ...]:
    """The number of tokens of each text."""
    return tuple(len(ids) for ids in example.texts)


def cut(example: LabelledExample, data: LabelData) -> LabelledExample:
    """The example with no text longer than `data.max_length`."""
    texts = tuple(truncate(ids, data) for ids in example.texts)
    n_truncated = sum(lengths(example)) - sum(len(ids) for ids in texts)
    facts = example.facts and example.facts.changed(lambda _, each: truncate(each, data))
    return replace(example, texts=texts, n_truncated=n_truncated, facts=facts)


def collate(examples: Sequence[LabelledExample]) -> LabelBatch:
    """Examples → padded token ids and label ids."""
    n_texts = len(examples[0].texts)
    texts = tuple(
        Padded.from_rows([example.texts[side] for example in examples], PAD_ID)
        for side in range(n_texts)
    )
    facts = beside.collate_facts([example.facts for example in examples])
    if any(example.labels is None for example in examples):
        return LabelBatch(texts, None, beside=facts)
    # With several labels, the head converts each row to C values of 0 and 1.
    rows = [example.labels or () for example in examples]
    width = max(map(len, rows))
    targets = torch.tensor([[*row, *[-1] * (width - len(row))] for row in rows], dtype=torch.int64)
    return LabelBatch(texts, targets.reshape(len(rows), width), beside=facts)


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
    kinds = len(labels), labels.multi_label
    return {**tokenizers, **beside.learned(config, texts, ids, tokenizers[ROLE], *kinds, data)}


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


def tokens(example: LabelledExample) -> list[int]:
    """The token ids of all texts."""
    return [id_ for text in example.texts for id_ in text]


def shuffle(
    example: LabelledExample, tokenizers: Tokenizers, random: np.random.Generator
) -> LabelledExample:
    """The example with the words of each text in random order; the tokens of a word stay together."""
    words: Tokenizer = tokenizers[ROLE]
    orders = [_shuffled(text, words, random) for text in example.texts]

    def put(side: int, tokens: list[Any]) -> list[Any]:
        return [tokens[place] for place in orders[side]]

    texts = tuple(put(side, ids) for side, ids in enumerate(example.texts))
    return replace(example, texts=texts, facts=example.facts and example.facts.changed(put))


def _shuffled(ids: list[int], words: Tokenizer, random: np.random.Generator) -> list[int]:
    """The places of tokens with their words in random order.

    Tokens outside words, such as white space, keep their places between words.
    """
    places = words.word_places(ids)
    order = random.permutation(len(places))
    shuffled: list[int] = []
    end = 0
    for (start, next_end), other in zip(places, order.tolist(), strict=True):
        shuffled += range(end, start)
        shuffled += range(*places[other])
        end = next_end
    return [*shuffled, *range(end, len(ids))]


def signature() -> dict[str, str]:
    """How each score is computed, for one label and for several labels per row."""
    return {**multi_label_signature(), **label_signature(("the labels of data.averaged",))}
