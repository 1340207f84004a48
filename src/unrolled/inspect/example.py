"""A text that a trained model reads, as a batch with a loss: the model's own answer, or a given one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from unrolled.decoding.record import SearchRecord, recorded
from unrolled.errors import ConfigError
from unrolled.exports.runtime import is_exported
from unrolled.inspect.beam_tree import BeamTree, tree_of
from unrolled.layers.replay import in_type_of
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.load import AnyPredictor
from unrolled.predictors.queries import QueryPredictor, memory_of
from unrolled.predictors.seq2seq import Predictor
from unrolled.predictors.unknown import as_written
from unrolled.tasks.kind import CODE, LABELLING, LANGUAGE_MODEL, QUERIES, SEQ2SEQ, Kind
from unrolled.tasks.language_model import check_forward
from unrolled.tasks.roles import CHARACTERS, LABELS
from unrolled.tasks.sql.answers import described
from unrolled.tasks.sql.examples import written as pieces_of_query
from unrolled.tasks.text_labels import ROLE
from unrolled.text.config import EOS_ID
from unrolled.text.corpus.windows import Window
from unrolled.training.run_folder import check_single
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
        n_given: number of these that are given; what a decoder reads follows them.
        memory: what attention looks at, if that is more than a text.
        rows: by the first part of a module's name, the tokens of each of its rows, where these are not
            the texts: the characters of words.
        answer: the answer as text.
        notes: what was cut.
        search: the beam search for the model's own answer, if there was one.
    """

    batch: Any
    loss: Callable[[Any], tuple[Tensor, int]]
    sequences: list[Tokens]
    n_given: int = 1
    memory: Tokens = ()
    rows: Mapping[str, list[Tokens]] = field(default_factory=dict)
    answer: str = ""
    notes: tuple[str, ...] = ()
    search: BeamTree | None = None


class Matching:
    """Which text a layer reads: one with its number of steps, in the order of calls.

    Args:
        example: the texts.
    """

    def __init__(self, example: Example) -> None:
        self._example = example
        self._left = list(range(len(example.sequences)))
        self._known: dict[str, int] = {}

    def place(self, layer: str, lengths: Sequence[int]) -> int | None:
        """The index of the text that a layer reads; None if it is not known.

        Args:
            layer: the name of the layer, as in `ReplayedLayer.name`.
            lengths: its number of steps in each row.
        """
        if len(lengths) != 1 or any(layer.startswith(prefix) for prefix in self._example.rows):
            return None
        key = layer.rsplit(" layer ", 1)[0]
        sequences = self._example.sequences
        if key not in self._known:
            fitting = [place for place in self._left if len(sequences[place]) == lengths[0]] or [
                place for place, each in enumerate(sequences) if len(each) == lengths[0]
            ]
            if not fitting:
                return None
            self._known[key] = fitting[0]
            self._left = [place for place in self._left if place != fitting[0]]
        place = self._known[key]
        return place if len(sequences[place]) == lengths[0] else None

    def tokens(self, layer: str, lengths: Sequence[int], row: int = 0) -> Tokens:
        """The tokens of a row of a layer; numbers where they are not known."""
        n = int(lengths[row])
        for prefix, rows in self._example.rows.items():
            if layer.startswith(prefix) and row < len(rows) and len(rows[row]) == n:
                return rows[row]
        place = self.place(layer, lengths)
        return tuple(map(str, range(1, n + 1))) if place is None else self._example.sequences[place]


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
        ConfigError: the text is empty, is not what the model reads, or the run is an export.
        DataError: the answer is not one of the labels of the run.
    """
    if is_exported(predictor):
        raise ConfigError(
            "an export has no gradients and no internal states; inspect the run that it was made of"
        )
    texts = [text] if isinstance(text, str) else list(text)
    if not texts or not any(each.strip() for each in texts):
        raise ConfigError("nothing to inspect: the text is empty")
    if predictor.folder is not None:
        check_single(predictor.folder, "inspection reads")
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


def _cut_tokens(tokens: Tokens, notes: list[str]) -> Tokens:
    if len(tokens) > MOST_TOKENS:
        n = count_of(len(tokens), "token")
        notes.append(f"the text has {n}; the first {MOST_TOKENS:,} are inspected")
    return tokens[:MOST_TOKENS]


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
            _cut(each, tokenizer, notes) if isinstance(each, str) else _cut_tokens(each, notes)
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

    return Example(batch, loss, pieces, len(pieces), (), rows, shown, tuple(notes))


def _of_text(predictor: Any, text: Any, answer: Any, _: str | None) -> Example:
    assert isinstance(predictor, Predictor)
    if not isinstance(text, str):
        raise ConfigError(f"this model reads one text, got {count_of(len(text), 'text')}")
    notes = list[str]()
    roles = list(predictor.tokenizers)
    source, target = predictor.tokenizers[roles[0]], predictor.tokenizers[roles[-1]]
    text = _cut(text, source, notes)
    with recorded() as searches:
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
    copied = getattr(example, "words", ()) or source.tokens(source.encode(text))
    ids = getattr(example, "copied", ()) or getattr(example, "target", target.encode(answer))
    written = ("<s>", *target.pieces(ids, copied))
    search = _searched(
        searches, lambda id_: target.pieces([id_], copied)[0], prediction.hypotheses[0].log_prob
    )
    return _of_encoded(predictor, example, [read, tuple(written)], answer, notes, search)


def _searched(
    searches: list[SearchRecord], piece_of: Callable[[int], str], answer: float | None
) -> BeamTree | None:
    """The search for the answer, the last one; None for greedy decoding and sampling."""
    return tree_of(searches[-1], piece_of, answer) if searches else None


def _of_query(predictor: Any, text: Any, answer: Any, database: str | None) -> Example:
    assert isinstance(predictor, QueryPredictor)
    if not isinstance(text, str):
        raise ConfigError(f"this model reads one question, got {count_of(len(text), 'text')}")
    if database is None:
        raise ConfigError("a question needs its database; name an SQLite file with --database FILE")
    notes = list[str]()
    text = _cut_question(predictor, text, database, notes)
    with recorded() as searches:
        (prediction,) = predictor.predict([text], database)
    if answer is None:
        answer = prediction.text
        if not answer:
            raise ConfigError(
                "the model has no answer to this question, so there is no loss; give a query as answer"
            )
    example = predictor.task.encode([text, database, answer], predictor.tokenizers)
    target = list(predictor.tokenizers.values())[-1]

    def piece_of(id_: int) -> str:
        return " ".join(described(pieces_of_query([id_], example, target), example))

    written = ("<s>", *map(piece_of, example.target))
    best = prediction.hypotheses[0].log_prob if prediction.text else None
    search = _searched(searches, piece_of, best)
    sequences = [tuple(example.words), written]
    encoded = _of_encoded(predictor, example, sequences, answer, notes, search)
    return replace(encoded, memory=memory_of(example))


def _cut_question(predictor: QueryPredictor, text: str, database: str, notes: list[str]) -> str:
    """The words of a question that the model reads."""
    most = min(MOST_TOKENS, predictor.recipe.decoding.max_input_length)
    text = " ".join(text.split()[: most + 1])  # each has one word or more
    words = predictor.task.encode((text, database), predictor.tokenizers).words
    if len(words) <= most:
        return text
    notes.append(f"the question has more than {most:,} words; the first {most:,} are inspected")
    return " ".join(words[:most])


def _of_encoded(
    predictor: Any,
    example: Any,
    sequences: list[Tokens],
    answer: str,
    notes: list[str],
    search: BeamTree | None,
) -> Example:
    batch = predictor.task.collate([example])

    def loss(model: Any) -> tuple[Tensor, int]:
        result: tuple[Tensor, int] = predictor.task.evaluate_loss(model, _for(model, batch))
        return result

    return Example(batch, loss, sequences, 1, (), {}, answer, tuple(notes), search)


def _of_stream(predictor: Any, text: Any, answer: Any, _: str | None) -> Example:
    assert isinstance(predictor, LanguagePredictor)
    if not isinstance(text, str):
        raise ConfigError(f"a language model reads one text, got {count_of(len(text), 'text')}")
    if answer is not None:
        raise ConfigError("a language model predicts the text itself; leave out the answer")
    check_forward(predictor.recipe.model, "an inspection on a text")
    notes = list[str]()
    tokenizer = next(each for role, each in predictor.tokenizers.items() if role != LABELS)
    text = _cut(text, tokenizer, notes)
    ids = tokenizer.encode(text)
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

    pieces = tokenizer.pieces(ids)
    written = zip(pieces, as_written(tokenizer, text, pieces), strict=True)
    shown = [word if word == piece else f"[{word}]" for piece, word in written]
    tokens = (*tokenizer.pieces([EOS_ID]), *shown)
    return Example(batch, loss, [tokens], notes=tuple(notes))


_TABLE: Mapping[Kind, Callable[[Any, Any, Any, str | None], Example]] = {
    SEQ2SEQ: _of_text,
    CODE: _of_text,
    QUERIES: _of_query,
    LABELLING: _of_labels,
    LANGUAGE_MODEL: _of_stream,
}
