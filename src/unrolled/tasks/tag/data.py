"""Tagged sentences as ids: vocabularies, tagging scheme, examples and batches.

The part of the task `tag` that does not depend on the model. The tokens of the data are looked up whole;
the scheme in which tags encode spans is detected in the training part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ConfigError, DataError
from unrolled.layers.crf import Allowed, allowed_transitions
from unrolled.metrics.spans import find_scheme, find_spans
from unrolled.quoting import quote
from unrolled.shapes import Padded
from unrolled.tasks.roles import CHARACTERS, LABELS, Tokenizers
from unrolled.tasks.roles import TEXT as ROLE
from unrolled.tasks.spelling import learn_characters
from unrolled.tasks.tagged import TagData, TagExample, check_count
from unrolled.text.config import PAD_ID, UNK_ID, TextConfig
from unrolled.text.labels import Labels, same_names
from unrolled.text.rows import Field, Row, as_list
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import percent

transitions = allowed_transitions
"""The transitions that a scheme allows."""

_KINDS = ("word", "space")


# Data: the vocabularies, the scheme, and a sentence as ids


def tags_in(fields: Sequence[Field], data: TagData) -> list[str]:
    """The tags of a row, one for each token."""
    return as_list(fields[-1])


def train_tokenizers(
    rows: Sequence[Row], text: TextConfig, data: TagData, words: Tokenizer | None = None
) -> dict[str, Any]:
    """Build the word vocabulary unless it is given, that of characters, and the tags with their scheme.

    Raises:
        ConfigError: the tokens are not whole words.
        DataError: a sentence does not have one tag per token, or a tag is not valid for `data.scheme`.
    """
    check_kind(text)
    sentences, tagged = list[list[str]](), list[list[str]]()
    for row in rows:
        tokens, tags = (as_list(field) for field in row.fields)
        check_count(tokens, tags, row.line)
        if "" in tags:
            place = tags.index("") + 1
            raise DataError(
                f"the tag of token {place} is empty; expected one tag per token", line=row.line
            )
        sentences.append(tokens)
        tagged.append(tags)
    same = same_names(chain.from_iterable(tagged))
    tagged = [[same[tag] for tag in tags] for tags in tagged]
    labels = Labels.of(same.values())
    if data.scheme not in ("auto", "none"):
        _check_scheme(rows, tagged, labels.names, data.scheme)
    scheme, n_ill_formed = scheme_of(tagged, data.scheme)
    all_tokens = list(chain.from_iterable(sentences))
    return {
        ROLE: words or Tokenizer.of_tokens(all_tokens, text),
        CHARACTERS: learn_characters(all_tokens, data.max_characters),
        LABELS: replace(labels, scheme=scheme, n_ill_formed=n_ill_formed),
    }


def check_kind(text: TextConfig) -> None:
    """Refuse tokens that are not whole words."""
    if text.kind not in _KINDS:
        raise ConfigError(
            f"text.kind is '{text.kind}', but a tag belongs to a whole word; set text.kind to 'word', or "
            "to 'space' if raw text is already split into tokens"
        )


def scheme_of(tagged: Sequence[Sequence[str]], asked: str = "auto") -> tuple[str, int]:
    """The scheme in which tags encode spans, "" for none, and the number of sentences that violate it.

    BIO and IOB1 use the same tags: the one that fewer sentences violate is chosen.

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


def _n_ill_formed(tagged: Sequence[Sequence[str]], allowed: Allowed) -> int:
    places = {name: place for place, name in enumerate(allowed.labels)}
    return _n_refused(allowed, ([places[tag] for tag in tags] for tags in tagged))


def _n_refused(allowed: Allowed, paths: Iterable[Sequence[int]]) -> int:
    return sum(allowed.why_not(path) is not None for path in paths)


def _check_scheme(
    rows: Sequence[Row], tagged: Sequence[Sequence[str]], names: Sequence[str], scheme: str
) -> None:
    invalid = set()
    for name in names:
        try:
            find_spans([name], scheme)  # type: ignore[arg-type]
        except DataError:
            invalid.add(name)
    for row, tags in zip(rows, tagged, strict=True) if invalid else ():
        for place, tag in enumerate(tags):
            if tag in invalid:
                letters = {"bioes": "B, I, E, S", "bilou": "B, I, L, U"}.get(scheme, "B, I")
                raise DataError(
                    f"tag {quote(tag)} is not valid for data.scheme = '{scheme}': expected O, or one of "
                    f"{letters} followed by a hyphen and a type; correct it, or set data.scheme = 'none'",
                    line=row.lines[place] if row.lines else row.line,
                )


def lengths(example: TagExample) -> tuple[int, ...]:
    """The number of tokens."""
    return (len(example.words),)


def tokens(example: TagExample) -> list[int]:
    """The word ids."""
    return example.words


def shuffle(example: TagExample, tokenizers: Tokenizers, random: np.random.Generator) -> TagExample:
    """The example, set to be read in random order; each prediction is put back to its token."""
    return replace(example, order=random.permutation(len(example.words)))


def notes(parts: Mapping[str, Sequence[TagExample]], tokenizers: Tokenizers) -> tuple[str, ...]:
    """The tagging scheme, how many sentences violate it, and the share of unknown words."""
    labels: Labels = tokenizers[LABELS]
    lines = [f"{len(labels)} tags that do not encode spans; each tag is scored separately"]
    if labels.scheme:
        types = sorted({name[2:] for name in labels if name != "O"} - {""})
        shown = ", ".join(types[:8]) + (", …" if len(types) > 8 else "")
        of_types = f"span types: {shown}" if types else "spans have no types"
        lines = [f"{len(labels)} tags in the {labels.scheme.upper()} scheme; {of_types}"]
        allowed = transitions(labels.names, labels.scheme)
        for part, examples in parts.items():
            n = _n_refused(allowed, (example.tags or () for example in examples))
            if n:
                effect = "a CRF therefore allows every transition"
                if not labels.n_ill_formed:
                    effect = "a CRF gives them probability 0, and its loss excludes them"
                violated = f"sentences whose tags violate the {labels.scheme.upper()} scheme"
                lines.append(f"{part}: {violated}: {n:,}; {effect}")
    for part, examples in parts.items():
        ids = [id_ for example in examples for id_ in example.words]
        n_unknown = ids.count(UNK_ID)
        if n_unknown:
            lines.append(
                f"{part}: {percent(n_unknown / len(ids))} of the tokens are unknown words "
                "(text.vocab_size, text.min_count)"
            )
    return tuple(lines)


@dataclass(frozen=True)
class TagBatch:
    """The input of the loss. N is the number of tokens of all sentences, concatenated.

    Args:
        words: `[P, T]` word ids of each piece; the pieces of a sentence are consecutive.
        places: `[P, T]`, the row of each word in `spellings`.
        spellings: `[W, K]` character ids of the distinct words.
        lengths: `[B]`, the number of tokens of each sentence, on the CPU.
        targets: `[N]` tag ids; None if the tags are not known.
    """

    words: Padded
    places: Tensor
    spellings: Padded
    lengths: Tensor
    targets: Tensor | None

    @property
    def n_tokens(self) -> int:
        """The number of tokens of all sentences."""
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
    """Examples → padded ids, with each distinct spelling once."""
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
            places.append([numbers.setdefault(ids, len(numbers)) for ids in spelled])
        targets += [example.tags[place] for place in order] if example.tags is not None else []
    is_known = all(example.tags is not None for example in examples)
    return TagBatch(
        Padded.from_rows(words, PAD_ID),
        Padded.from_rows(places).values,
        Padded.from_rows(list(numbers), PAD_ID),
        torch.tensor([len(example.words) for example in examples], dtype=torch.int64),
        torch.tensor(targets, dtype=torch.int64) if is_known else None,
    )
