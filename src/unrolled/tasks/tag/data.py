"""Tagged sentences as ids: the vocabularies, the scheme of the tags, examples and batches.

The part of the task `tag` that knows no model. Tokens are those of the data, looked up whole; how tags
write spans is found from the training part.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.config import Range
from unrolled.errors import ConfigError, DataError
from unrolled.layers.crf import Allowed, allowed_transitions, booleans
from unrolled.metrics.spans import find_scheme, find_spans
from unrolled.quoting import quote
from unrolled.shapes import Padded
from unrolled.tasks.task import LABELS, Tokenizers
from unrolled.tasks.text_labels import ROLE
from unrolled.text.labels import Labels
from unrolled.text.rows import Field, Row, as_list, as_text
from unrolled.text.splits import DataConfig, Length, TooLong
from unrolled.text.tokenizer import PAD_ID, UNK_ID, TextConfig, Tokenizer

CHARACTERS = "characters"
"""The role of the tokenizer of characters."""

Scheme = Literal["auto", "none", "bio", "iob1", "bioes", "bilou"]
_KINDS = ("word", "space")


@dataclass(frozen=True)
class TagData(DataConfig):
    """Where tagged sentences come from; what is not described here is as in `DataConfig`.

    A file has a token on each line (`text.readers.column_lines`), or is a table whose rows are sentences:
    in JSON lines lists of tokens and of tags, elsewhere both separated by spaces.

    Args:
        columns: the columns of the tokens and of the tags; of a file with a token on each line by their
            numbers, e.g. ["1", "-1"], which is the default.
        max_length: the most tokens that are read at once.
        too_long: whether longer training sentences are left out ("skip"), or read in pieces ("truncate").
        max_characters: the most characters of a word that are read; of a longer one, which is hardly a
            word, half of them from its beginning and half from its end.
        scheme: how tags write spans: "bio", "iob1", "bioes", "bilou"; "none" for not at all; "auto" finds
            out.

    Raises:
        ConfigError: a value that cannot be.
    """

    max_length: Length = 400
    too_long: TooLong = "truncate"
    max_characters: Annotated[int, Range(1, 10**6)] = 100
    scheme: Scheme = "auto"


# Data: the vocabularies, the scheme, and a sentence as ids


def tags_in(fields: Sequence[Field], data: TagData) -> list[str]:
    """The tags of a row, one for each token."""
    return as_list(fields[-1])


def train_tokenizers(rows: Sequence[Row], text: TextConfig, data: TagData) -> dict[str, Any]:
    """The vocabularies of words and of characters, and the tags with their scheme.

    Raises:
        ConfigError: tokens that are no words.
        DataError: a sentence without a tag for each token, or a tag that is not of `data.scheme`.
    """
    check_kind(text)
    sentences, tagged = list[list[str]](), list[list[str]]()
    for row in rows:
        tokens, tags = (as_list(field) for field in row.fields)
        _check_count(tokens, tags, row.line)
        if "" in tags:
            place = tags.index("") + 1
            raise DataError(f"token {place} has an empty tag; expected one for each", line=row.line)
        sentences.append(tokens)
        tagged.append(tags)
    labels = Labels.of(chain.from_iterable(tagged))
    if data.scheme not in ("auto", "none"):
        _check_scheme(rows, tagged, labels.names, data.scheme)
    scheme, n_ill_formed = scheme_of(tagged, data.scheme)
    every = list(chain.from_iterable(sentences))
    # Characters are as they are written: a capital is what tells a name.
    letters, most = TextConfig(kind="char"), data.max_characters
    return {
        ROLE: Tokenizer.of_tokens(every, text),
        CHARACTERS: Tokenizer.train((_characters(each, most) for each in every), letters),
        LABELS: replace(labels, scheme=scheme, n_ill_formed=n_ill_formed),
    }


def check_kind(text: TextConfig) -> None:
    """Refuse tokens that are no words."""
    if text.kind not in _KINDS:
        raise ConfigError(
            f"text.kind is '{text.kind}', but a tag belongs to a whole word; set text.kind to 'word', or "
            "to 'space' where raw text is in tokens already"
        )


def scheme_of(tagged: Sequence[Sequence[str]], asked: str = "auto") -> tuple[str, int]:
    """How tags write spans, "" for not at all; and how many sentences do not keep to it.

    BIO and IOB1 have the same tags: it is the one that more sentences keep to.

    >>> scheme_of([["B-PER", "I-PER", "O", "B-PER"]]), scheme_of([["I-PER", "B-PER", "I-PER"]])
    (('bio', 0), ('iob1', 0))
    >>> scheme_of([["DET", "NOUN"]]), scheme_of([["O", "I-LOC", "O"], ["B-LOC"], ["B-LOC"]])
    (('', 0), ('bio', 1))
    """
    if asked == "none":
        return "", 0
    names = sorted({tag for tags in tagged for tag in tags})
    found = find_scheme(names) if asked == "auto" else asked
    if found is None:
        return "", 0
    choices = ("bio", "iob1") if (asked, found) == ("auto", "bio") else (found,)
    counts = {scheme: _n_ill_formed(tagged, transitions(names, scheme)) for scheme in choices}
    best = min(choices, key=counts.__getitem__)
    return best, counts[best]


def transitions(names: Sequence[str], scheme: str) -> Allowed:
    """What a scheme allows; see `layers.crf.allowed_transitions`.

    In IOB1, B stands only where a span of its type has just ended, and I begins all the others.

    >>> allowed = transitions(["B-PER", "I-PER", "O"], "iob1")
    >>> allowed.starts.tolist(), allowed.steps[:, 0].tolist()
    ([False, True, True], [True, True, False])
    """
    if scheme != "iob1":
        return allowed_transitions(names, scheme)
    parts = [(name[:1], name[2:]) for name in names]
    steps = [
        [letter != "B" or (before != "O" and kind == kind_before) for letter, kind in parts]
        for before, kind_before in parts
    ]
    return Allowed(
        tuple(names),
        booleans(letter != "B" for letter, _ in parts),
        booleans(each for row in steps for each in row).reshape(len(parts), len(parts)),
        booleans(True for _ in parts),
    )


def _n_ill_formed(tagged: Sequence[Sequence[str]], allowed: Allowed) -> int:
    places = {name: place for place, name in enumerate(allowed.labels)}
    return _n_refused(allowed, ([places[tag] for tag in tags] for tags in tagged))


def _n_refused(allowed: Allowed, paths: Iterable[Sequence[int]]) -> int:
    return sum(allowed.why_not(path) is not None for path in paths)


def _check_scheme(
    rows: Sequence[Row], tagged: Sequence[Sequence[str]], names: Sequence[str], scheme: str
) -> None:
    others = set()
    for name in names:
        try:
            find_spans([name], scheme)  # type: ignore[arg-type]
        except DataError:
            others.add(name)
    for row, tags in zip(rows, tagged, strict=True) if others else ():
        for place, tag in enumerate(tags):
            if tag in others:
                letters = {"bioes": "B, I, E, S", "bilou": "B, I, L, U"}.get(scheme, "B, I")
                raise DataError(
                    f"tag {quote(tag)} is none of data.scheme = '{scheme}': expected O, or one of "
                    f"{letters} with a hyphen and a type; correct it, or set data.scheme = 'none'",
                    line=row.lines[place] if row.lines else row.line,
                )


def _check_count(tokens: Sequence[str], tags: Sequence[str], line: int | None = None) -> None:
    if len(tokens) != len(tags):
        raise DataError(
            f"expected as many tags as there are tokens, {len(tokens):,}; found {len(tags):,}",
            line=line,
        )


@dataclass(frozen=True, eq=False)
class TagExample:
    """One encoded sentence.

    Args:
        tokens: as they are written.
        words: the id of each.
        spellings: the ids of the characters of each.
        tags: the id of each one's tag; None where they are not known.
        piece: the most tokens that are read at once; 0 for all.
        order: in which the tokens are read, where it is not their own; answers go back to their places.
    """

    tokens: tuple[str, ...]
    words: list[int]
    spellings: list[tuple[int, ...]]
    tags: list[int] | None
    piece: int = 0
    order: NDArray[np.int64] | None = None


def encode(fields: Sequence[Field], tokenizers: Tokenizers, data: TagData) -> TagExample:
    """A sentence as ids. Without tags, the field may also be text, which is split into tokens."""
    words: Tokenizer = tokenizers[ROLE]
    sentence = fields[0]
    is_text = len(fields) == 1 and isinstance(sentence, str)
    tokens = words.split(as_text(sentence), folded=False) if is_text else as_list(sentence)
    tags: list[int] | None = None
    if len(fields) > 1:
        names, labels = as_list(fields[1]), tokenizers[LABELS]
        _check_count(tokens, names)
        tags = []
        for place, name in enumerate(names, start=1):
            try:
                tags.append(labels.id_of(name))
            except DataError as error:
                raise DataError(error.problem, line=place) from None
    letters: Tokenizer = tokenizers[CHARACTERS]
    most = data.max_characters
    spellings = [tuple(letters.ids_of(_characters(token, most))) for token in tokens]
    if () in spellings:
        place = spellings.index(()) + 1
        raise DataError("the token is empty; leave it out, with its tag", line=place)
    return TagExample(tuple(tokens), words.ids_of(tokens), spellings, tags)


def _characters(token: str, most: int) -> str:
    """The characters of a token that are read."""
    spelled = unicodedata.normalize("NFC", token)
    if len(spelled) <= most:
        return spelled
    n_last = most // 2
    return spelled[: most - n_last] + spelled[len(spelled) - n_last :]


def lengths(example: TagExample) -> tuple[int, ...]:
    """Tokens."""
    return (len(example.words),)


def cut(example: TagExample, data: TagData) -> TagExample:
    """The example to be read in pieces of `data.max_length` tokens."""
    return replace(example, piece=data.max_length)


def tokens(example: TagExample) -> list[int]:
    """The ids of the words."""
    return example.words


def shuffle(example: TagExample, tokenizers: Tokenizers, random: np.random.Generator) -> TagExample:
    """The example to be read in random order, each answer put back to its token."""
    return replace(example, order=random.permutation(len(example.words)))


def notes(parts: Mapping[str, Sequence[TagExample]], tokenizers: Tokenizers) -> tuple[str, ...]:
    """The scheme of the tags, who does not keep to it, and the share of unknown words."""
    labels: Labels = tokenizers[LABELS]
    told = [f"{len(labels)} tags, each scored by itself: they write no spans"]
    if labels.scheme:
        types = sorted({name[2:] for name in labels if name != "O"} - {""})
        shown = ", ".join(types[:8]) + (", …" if len(types) > 8 else "")
        of = f": {shown}" if types else ", without types"
        told = [f"{len(labels)} tags, which write spans as {labels.scheme}{of}"]
        allowed = transitions(labels.names, labels.scheme)
        for part, examples in parts.items():
            n = _n_refused(allowed, (example.tags or () for example in examples))
            if n:
                so = "a CRF forbids no transition"
                if not labels.n_ill_formed:
                    so = "a CRF gives them no probability, and its loss leaves them out"
                told.append(
                    f"{part}: sentences with tags that {labels.scheme} does not allow: {n:,}; {so}"
                )
    for part, examples in parts.items():
        ids = [id_ for example in examples for id_ in example.words]
        n_unknown = ids.count(UNK_ID)
        if n_unknown:
            told.append(
                f"{part}: {n_unknown / len(ids):.1%} of the tokens are unknown words "
                "(text.vocab_size, text.min_count)"
            )
    return tuple(told)


@dataclass(frozen=True)
class TagBatch:
    """What the loss takes. N tokens of all sentences stand one after another where rows are not needed.

    Args:
        words: `[P, T]` ids of the words of each piece; the pieces of a sentence follow one another.
        places: `[P, T]`, which spelling each word has.
        spellings: `[W, K]` ids of the characters of the different words.
        lengths: `[B]` tokens of each sentence, on the CPU.
        targets: `[N]` ids of the tags; None where they are not known.
    """

    words: Padded
    places: Tensor
    spellings: Padded
    lengths: Tensor
    targets: Tensor | None

    @property
    def n_tokens(self) -> int:
        """Tokens of all sentences."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str) -> TagBatch:
        """The same batch on another device."""
        return TagBatch(
            self.words.to(device),
            self.places.to(device),
            self.spellings.to(device),
            self.lengths,
            None if self.targets is None else self.targets.to(device),
        )


def collate(examples: Sequence[TagExample]) -> TagBatch:
    """Examples → padded ids, each spelling once."""
    numbers: dict[tuple[int, ...], int] = {}
    words, places, targets = list[list[int]](), list[list[int]](), list[int]()
    for example in examples:
        n = len(example.words)
        order = range(n) if example.order is None else example.order.tolist()
        size = example.piece or max(1, n)
        for start in range(0, max(1, n), size):
            piece = order[start : start + size]
            words.append([example.words[place] for place in piece])
            spelled = (example.spellings[place] for place in piece)
            places.append([numbers.setdefault(each, len(numbers)) for each in spelled])
        targets += [example.tags[place] for place in order] if example.tags is not None else []
    is_known = all(example.tags is not None for example in examples)
    return TagBatch(
        Padded.from_rows(words, PAD_ID),
        Padded.from_rows(places).values,
        Padded.from_rows(list(numbers), PAD_ID),
        torch.tensor([len(example.words) for example in examples], dtype=torch.int64),
        torch.tensor(targets, dtype=torch.int64) if is_known else None,
    )
