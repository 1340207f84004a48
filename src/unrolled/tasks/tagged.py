"""Tagged sentences without torch: the settings of their data, a sentence as ids, predicted spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.roles import CHARACTERS, LABELS, TEXT, Tokenizers
from unrolled.tasks.spelling import MaxCharacters, spelled
from unrolled.text.labels import Labels
from unrolled.text.rows import Field, as_list, as_text
from unrolled.text.splits import DataConfig, Length, TooLong
from unrolled.text.tokenizer import Tokenizer

Scheme = Literal["auto", "none", "bio", "iob1", "bioes", "bilou"]


@dataclass(frozen=True)
class TagData(DataConfig):
    """Where tagged sentences come from; all other fields are as in `DataConfig`.

    A file has one token per line (`text.conll.column_lines`), or is a table with one sentence per row:
    tokens and tags are lists in JSON Lines, and separated by spaces in other tables.

    Args:
        columns: the token column and the tag column; in a file with one token per line, their numbers,
            e.g. ["1", "-1"], the default.
        max_length: maximum number of tokens read at once.
        too_long: "skip" leaves longer training sentences out, "truncate" reads them in pieces.
        max_characters: maximum number of characters read per word; half of them are taken from the
            beginning and half from the end of a longer word.
        scheme: how tags encode spans: "bio", "iob1", "bioes" or "bilou"; "none" if they do not; "auto"
            detects it.

    Raises:
        ConfigError: a value is invalid.
    """

    max_length: Length = 400
    too_long: TooLong = "truncate"
    max_characters: MaxCharacters = 100
    scheme: Scheme = "auto"


@dataclass(frozen=True, eq=False)
class TagExample:
    """One encoded sentence.

    Args:
        tokens: tokens as written.
        words: word id of each token.
        spellings: character ids of each token.
        tags: tag id of each token; None if the tags are not known.
        piece: maximum number of tokens read at once; 0 for all.
        order: order in which the tokens are read, if not their own; predictions are put back in place.
    """

    tokens: tuple[str, ...]
    words: list[int]
    spellings: list[tuple[int, ...]]
    tags: list[int] | None
    piece: int = 0
    order: NDArray[np.int64] | None = None


def encode(fields: Sequence[Field], tokenizers: Tokenizers, data: TagData) -> TagExample:
    """Encode a sentence as ids. Without tags, the field may also be text, which is split into tokens."""
    words: Tokenizer = tokenizers[TEXT]
    sentence = fields[0]
    is_text = len(fields) == 1 and isinstance(sentence, str)
    tokens = words.split(as_text(sentence), folded=False) if is_text else as_list(sentence)
    tags: list[int] | None = None
    if len(fields) > 1:
        names, labels = as_list(fields[1]), tokenizers[LABELS]
        check_count(tokens, names)
        tags = []
        for place, name in enumerate(names, start=1):
            try:
                tags.append(labels.id_of(name))
            except DataError as error:
                raise DataError(error.problem, line=place) from None
    letters: Tokenizer = tokenizers[CHARACTERS]
    spellings = list(spelled(tokens, letters, data.max_characters))
    if () in spellings:
        place = spellings.index(()) + 1
        raise DataError("the token is empty; remove it and its tag", line=place)
    return TagExample(tuple(tokens), words.ids_of(tokens), spellings, tags)


def check_count(tokens: Sequence[str], tags: Sequence[str], line: int | None = None) -> None:
    if len(tokens) != len(tags):
        raise DataError(
            f"expected one tag per token ({len(tokens):,}), found {len(tags):,}",
            line=line,
        )


def cut(example: TagExample, data: TagData) -> TagExample:
    """The example, set to be read in pieces of `data.max_length` tokens."""
    return replace(example, piece=data.max_length)


@dataclass(frozen=True)
class TaggedSpan:
    """A span encoded by tags.

    Args:
        start: index of its first token, from 0.
        end: index after its last token.
        type: type of the span.
        text: its tokens, joined by spaces.
        probability: lowest probability of its tags, an upper bound for their joint probability.
    """

    start: int
    end: int
    type: str
    text: str
    probability: float


def spans_of(prediction: LabelPrediction, labels: Labels) -> list[TaggedSpan]:
    """The spans of a prediction, read as conlleval does; [] if the tags do not encode spans."""
    if not labels.scheme:
        return []
    from unrolled.metrics.spans import find_spans  # late, as most answers need no spans

    probabilities = probabilities_of(prediction, labels)
    words = prediction.pieces[0]
    return [
        TaggedSpan(start, end, kind, " ".join(words[start:end]), min(probabilities[start:end]))
        for start, end, kind in find_spans(prediction.labels, labels.scheme)  # type: ignore[arg-type]
    ]


def probabilities_of(prediction: LabelPrediction, labels: Labels) -> list[float]:
    """The probability of each token's predicted tag."""
    rows = zip(prediction.labels, prediction.probabilities, strict=True)
    return [float(row[labels.id_of(tag)]) for tag, row in rows]
