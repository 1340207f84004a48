"""Rows of `classify` and `pair` as examples and batches: tokenizers and labels, encode, cut, collate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.errors import DataError
from unrolled.layers.label_head import SoftTargets
from unrolled.layers.unknown import count_ids
from unrolled.shapes import Padded
from unrolled.tasks import beside, roles
from unrolled.tasks.beside import NOTHING, Beside
from unrolled.tasks.examples import LabelledExample, labels_in
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.text.config import PAD_ID, UNK_ID, TextConfig
from unrolled.text.labels import Labels, same_names
from unrolled.text.rows import Row
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import percent

ROLE = roles.TEXT
"""The role of the tokenizer, which is used for every text of a row."""

TEXT = {"kind": "word", "vocab_size": 30_000}
"""Defaults of the `[text]` section."""

_SHARES_COUNT = 10


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
