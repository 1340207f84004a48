"""A text that a trained model reads, as a batch with a loss: the model's own answer, or a given one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from unrolled.errors import ConfigError
from unrolled.layers.replay import in_type_of
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.load import AnyPredictor
from unrolled.predictors.queries import QueryPredictor
from unrolled.predictors.seq2seq import Predictor
from unrolled.tasks.kind import LABELLING, LANGUAGE_MODEL, QUERIES, SEQ2SEQ, Kind
from unrolled.tasks.tag.data import CHARACTERS
from unrolled.tasks.task import LABELS
from unrolled.tasks.text_labels import ROLE
from unrolled.text.config import EOS_ID
from unrolled.text.corpus.windows import Window
from unrolled.wording import count_of

MOST_TOKENS = 1000
"""Longer texts are cut: their pictures could not be read, and the memory for their gradients is large."""

Tokens = tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One input of a model with the answer whose loss is looked at.

    Args:
        batch: what the task's loss takes.
        loss: the loss of a model on it, without dropout; sum and number of targets.
        sequences: the tokens of each text that is read, in the order in which the model reads them.
        rows: by the first part of a module's name, the tokens of each of its rows, where these are not
            the texts: the characters of words.
        answer: the answer as text.
        notes: what was cut.
    """

    batch: Any
    loss: Callable[[Any], tuple[Tensor, int]]
    sequences: list[Tokens]
    rows: Mapping[str, list[Tokens]] = field(default_factory=dict)
    answer: str = ""
    notes: tuple[str, ...] = ()


def example_of(
    predictor: AnyPredictor,
    text: str | Sequence[str],
    answer: str | Sequence[str] | None = None,
    database: str | None = None,
) -> Example:
    """Encode a text for inspection.

    Args:
        predictor: a trained run.
        text: the text; for pairs, both; in tagging, also the tokens.
        answer: the label, tags or output text whose loss is looked at; by default what the model
            predicts. A language model predicts the text itself.
        database: for queries, the database of the question.

    Raises:
        ConfigError: the text is empty, or is not what the model reads.
        DataError: the answer is not one of the labels of the run.
    """
    texts = [text] if isinstance(text, str) else list(text)
    if not texts or not any(each.strip() for each in texts):
        raise ConfigError("nothing to inspect: the text is empty")
    return _TABLE[predictor.task.kind](predictor, text, answer, database)


def shortened(text: str, n_tokens_of: Callable[[str], int], most: int = MOST_TOKENS) -> str:
    """The beginning of a text with at most so many tokens, cut between words where possible.

    >>> shortened("one two three", lambda text: len(text.split()), 2)
    'one two'
    """
    if n_tokens_of(text) <= most:
        return text
    low, high = 0, len(text)
    while low < high - 1:
        middle = (low + high) // 2
        if n_tokens_of(text[:middle]) <= most:
            low = middle
        else:
            high = middle
    words = text[:low].rsplit(maxsplit=1)
    is_between = text[low - 1 : low + 1] != text[low - 1 : low + 1].strip() or len(words) < 2
    return text[:low].rstrip() if is_between else words[0]


def _cut(text: str, tokenizer: Any, notes: list[str]) -> str:
    def n_tokens_of(part: str) -> int:
        return len(tokenizer.encode(part))

    short = shortened(text, n_tokens_of)
    if short != text:
        n = n_tokens_of(short)
        notes.append(
            f"the text has {count_of(n_tokens_of(text), 'token')}; the first {n:,} are inspected"
        )
    return short


def _for(model: Any, batch: Any) -> Any:
    """The batch on the device and in the type of a model."""
    return in_type_of(batch.to(next(model.parameters()).device), model)


def _of_labels(predictor: Any, text: Any, answer: Any, _: str | None) -> Example:
    assert isinstance(predictor, LabelPredictor)
    task, data, notes = predictor.task, predictor.recipe.data, list[str]()
    fields = list(predictor._fields_of(text))
    if len(fields) == predictor.n_texts:
        tokenizer = predictor.tokenizers[ROLE]
        fields = [
            _cut(each, tokenizer, notes) if isinstance(each, str) else each[:MOST_TOKENS]
            for each in fields
        ]
    one: Any = fields[0] if len(fields) == 1 else tuple(fields)
    (prediction,) = predictor.predict([one])
    if prediction.n_truncated:
        n = prediction.n_truncated
        notes.append(f"{count_of(n, 'token')} cut off, as in training (data.max_length)")
    label = prediction.labels if answer is None else answer
    names = (label,) if isinstance(label, str) else tuple(label)
    gold: Any
    if task.by_token:
        fields, gold = [prediction.pieces[0]], names
    else:
        gold = getattr(data, "label_separator", "").join(names)
    example = task.cut(task.encode([*fields, gold], predictor.tokenizers, data), data)
    batch = task.collate([example])
    pieces = [tuple(each) for each in prediction.words or prediction.pieces]
    rows: dict[str, list[Tokens]] = {}
    if getattr(batch, "spellings", None) is not None:
        letters = predictor.tokenizers[CHARACTERS]
        spelled = zip(
            batch.spellings.values.tolist(), batch.spellings.lengths.tolist(), strict=True
        )
        rows["spelling"] = [tuple(letters.pieces(ids[:n])) for ids, n in spelled]
    config = getattr(predictor.model, "config", None)
    if getattr(config, "condition", "first") == "second" and len(pieces) == 2:
        pieces.reverse()
    if len(pieces) == 2:
        pieces.append((*pieces[0], *pieces[1]))  # for an encoder of both texts as one
    shown = " ".join(names) if task.by_token else ", ".join(names)

    def loss(model: Any) -> tuple[Tensor, int]:
        return task.evaluate_loss(model, _for(model, batch))

    return Example(batch, loss, pieces, rows, shown, tuple(notes))


def _of_text(predictor: Any, text: Any, answer: Any, _: str | None) -> Example:
    assert isinstance(predictor, Predictor)
    if not isinstance(text, str):
        raise ConfigError(f"this model reads one text, got {count_of(len(text), 'text')}")
    notes = list[str]()
    roles = list(predictor.tokenizers)
    source, target = predictor.tokenizers[roles[0]], predictor.tokenizers[roles[-1]]
    text = _cut(text, source, notes)
    (prediction,) = predictor.predict([text])
    if prediction.n_truncated:
        notes.append(
            f"{count_of(prediction.n_truncated, 'token')} not read for the answer "
            "(decoding.max_input_length)"
        )
    if answer is None:
        answer = _cut(prediction.text, target, [])
    example = predictor.task.encode([text, answer], predictor.tokenizers)
    read: Tokens = tuple(prediction.source_words or prediction.source_pieces)
    written = ("<s>", *target.pieces(target.encode(answer)))
    return _of_encoded(predictor, example, [read, tuple(written)], answer, notes)


def _of_query(predictor: Any, text: Any, answer: Any, database: str | None) -> Example:
    assert isinstance(predictor, QueryPredictor)
    if not isinstance(text, str):
        raise ConfigError(f"this model reads one question, got {count_of(len(text), 'text')}")
    if database is None:
        raise ConfigError("a question needs its database; name an SQLite file with --database FILE")
    if answer is None:
        answer = predictor.predict([text], database)[0].text
        if not answer:
            raise ConfigError(
                "the model has no answer to this question, so there is no loss; give a query"
            )
    example = predictor.task.encode([text, database, answer], predictor.tokenizers)
    words = tuple(example.words)
    return _of_encoded(predictor, example, [words], answer, [])


def _of_encoded(
    predictor: Any, example: Any, sequences: list[Tokens], answer: str, notes: list[str]
) -> Example:
    batch = predictor.task.collate([example])

    def loss(model: Any) -> tuple[Tensor, int]:
        result: tuple[Tensor, int] = predictor.task.evaluate_loss(model, _for(model, batch))
        return result

    return Example(batch, loss, sequences, {}, answer, tuple(notes))


def _of_stream(predictor: Any, text: Any, answer: Any, _: str | None) -> Example:
    assert isinstance(predictor, LanguagePredictor)
    if not isinstance(text, str):
        raise ConfigError(f"a language model reads one text, got {count_of(len(text), 'text')}")
    if answer is not None:
        raise ConfigError("a language model predicts the text itself; leave out the answer")
    notes = list[str]()
    tokenizer = next(each for role, each in predictor.tokenizers.items() if role != LABELS)
    ids = tokenizer.encode(_cut(text, tokenizer, notes))
    # Every token is read, from an end-of-document mark on; after the last there is nothing to predict.
    inputs = np.array([[EOS_ID, *ids]], dtype=np.int64)
    targets = np.array([[*ids, -1]], dtype=np.int64)
    task = predictor.task
    batch = task.collate(Window(inputs, targets, inputs.shape[1], None))

    def loss(model: Any) -> tuple[Tensor, int]:
        total, count, _state = task.evaluate_loss(
            model, _for(model, batch), task.start(model, 1), None
        )
        return total, count

    return Example(batch, loss, [tuple(tokenizer.pieces(inputs[0].tolist()))], {}, "", tuple(notes))


_TABLE: Mapping[Kind, Callable[[Any, Any, Any, str | None], Example]] = {
    SEQ2SEQ: _of_text,
    QUERIES: _of_query,
    LABELLING: _of_labels,
    LANGUAGE_MODEL: _of_stream,
}
