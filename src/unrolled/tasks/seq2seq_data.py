"""Pairs of texts as ids: tokenizers, encoding, batches, and which words of a source can be copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.shapes import Padded
from unrolled.tasks.roles import Tokenizers
from unrolled.text import round_trip
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, UNK_ID, TextConfig
from unrolled.text.id_rows import IdRows
from unrolled.text.rows import Row
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import percent


@dataclass(frozen=True, slots=True)
class Pair:
    """One encoded example.

    Args:
        source: source ids, with </s>.
        target: target ids, without </s>.
        words: the source words as written; empty if all are in the source vocabulary.
        writes: the word that copying each source step writes, as a target id, or V + the first step of
            that word if it is not in the target vocabulary; empty if `words` is.
        copied: the target ids with V + s for each word that is not in the target vocabulary but occurs at
            step s of the source; empty if there are none.
    """

    source: list[int]
    target: list[int]
    words: tuple[str, ...] = ()
    writes: tuple[int, ...] = ()
    copied: tuple[int, ...] = ()


@dataclass(frozen=True)
class Copies:
    """The ids of a batch for copying words that are not in a vocabulary.

    Args:
        writes: `[B, S]`, `Pair.writes`, and -1 in rows whose source has no unknown word.
        target: `[B, T]` target ids, as in `Pair.copied`, beginning with <s>.
        right: `[n_tokens]` ids to predict, as in `Pair.copied`.
    """

    writes: Tensor
    target: Tensor
    right: Tensor

    def to(self, device: torch.device | str) -> Copies:
        """The same ids on another device."""
        return Copies(self.writes.to(device), self.target.to(device), self.right.to(device))


@dataclass(frozen=True)
class TranslationBatch:
    """The input of the loss.

    Args:
        source: `[B, S]` source ids, each row ending in </s>.
        target: `[B, T]` target ids, each row beginning with <s>.
        right: `[n_tokens]` ids to predict, row by row, without padding.
        copies: the same ids with words that are not in a vocabulary; None if there are none.
    """

    source: Padded
    target: Padded
    right: Tensor
    copies: Copies | None = None

    @property
    def n_tokens(self) -> int:
        """The number of target tokens, with </s> and without padding."""
        return len(self.right)

    def to(self, device: torch.device | str) -> TranslationBatch:
        """The same batch on another device."""
        copies = None if self.copies is None else self.copies.to(device)
        return TranslationBatch(
            self.source.to(device), self.target.to(device), self.right.to(device), copies
        )


def train_tokenizers(
    rows: Sequence[Row], config: TextConfig, words: Tokenizer | None = None
) -> dict[str, Tokenizer]:
    """Train a tokenizer for each side, or one for both if `text.shared` is set.

    Args:
        rows: the training part.
        config: the `[text]` section.
        words: the tokenizer of the source, if it is given.
    """
    sides = [[row.texts[side] for row in rows] for side in (0, 1)]
    if words is not None:
        return {"source": words, "target": Tokenizer.train(sides[1], config)}
    if config.shared:
        shared = Tokenizer.train(chain(*sides), config)
        return {"source": shared, "target": shared}
    source, target = (Tokenizer.train(side, config) for side in sides)
    return {"source": source, "target": target}


class Pairs(Sequence[Pair]):
    """Many pairs, stored as arrays of ids.

    Args:
        tokenizers: the tokenizers of the pairs, by role.
    """

    def __init__(self, tokenizers: Tokenizers) -> None:
        self.source, self.target = (IdRows(len(tokenizers[role])) for role in ("source", "target"))
        self._with_copies: dict[int, Pair] = {}

    def append(self, pair: Pair) -> None:
        """Add a pair."""
        if pair.writes or pair.copied:
            self._with_copies[len(self)] = pair
        self.source.append(pair.source)
        self.target.append(pair.target)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        found = self._with_copies.get(place)
        return Pair(self.source[place], self.target[place]) if found is None else found


def ids_of(pairs: Sequence[Pair], side: str) -> Iterable[int] | NDArray[np.unsignedinteger]:
    """The ids of one side of all pairs, "source" or "target"."""
    if isinstance(pairs, Pairs):
        rows: IdRows = getattr(pairs, side)
        return rows.ids
    return chain.from_iterable(getattr(pair, side) for pair in pairs)


class PairEncoder:
    """Encode a source and its target, if there is one, as ids."""

    def __call__(self, fields: Sequence[str], tokenizers: Tokenizers) -> Pair:
        """Encode one row."""
        target = tokenizers["target"].encode(fields[1]) if len(fields) > 1 else []
        return _pair(fields, tokenizers["source"].encode(fields[0]), target, tokenizers)

    def many(self, rows: Sequence[Sequence[str]], tokenizers: Tokenizers) -> list[Pair]:
        """Encode many rows that have a target; see `tasks.task.ManyEncoder`."""
        sources, targets = (
            tokenizers[role].encode_batch([fields[side] for fields in rows])
            for side, role in enumerate(("source", "target"))
        )
        return [
            _pair(fields, source, target, tokenizers)
            for fields, source, target in zip(rows, sources, targets, strict=True)
        ]

    def store(self, tokenizers: Tokenizers) -> Pairs:
        """An empty store of pairs."""
        return Pairs(tokenizers)


encode = PairEncoder()


def _pair(
    fields: Sequence[str], source: list[int], target: list[int], tokenizers: Tokenizers
) -> Pair:
    source.append(EOS_ID)
    if UNK_ID not in source and UNK_ID not in target:
        return Pair(source, target)
    words = _words_of(fields[0], source, tokenizers["source"])
    first: dict[str, int] = {}
    for step, word in enumerate(words):
        first.setdefault(word, step)
    tokenizer: Tokenizer = tokenizers["target"]
    writes: tuple[int, ...] = ()
    copied: tuple[int, ...] = ()
    if UNK_ID in source:
        writes = _with_steps(tokenizer.ids_of(words), words, first, len(tokenizer))
    if UNK_ID in target:
        answer = _words_of(fields[1], target, tokenizer)
        copied = _with_steps(target, answer, first, len(tokenizer))
    return Pair(
        source,
        target,
        words if writes else (),
        (*writes, EOS_ID) if writes else (),
        copied if copied != tuple(target) else (),
    )


def notes(
    text: TextConfig,
    rows: Mapping[str, Sequence[Row]],
    pairs: Mapping[str, Sequence[Pair]],
    tokenizers: Tokenizers,
) -> tuple[str, ...]:
    """Notes on many unknown words, and on targets that their tokens do not restore."""
    found: list[str] = []
    for role in ("source", "target"):
        ids = [id_ for pair in pairs["valid"] for id_ in getattr(pair, role)]
        share = ids.count(UNK_ID) / max(1, len(ids))
        if share > _MANY_UNKNOWN:
            is_full = len(tokenizers[role]) >= text.most_tokens
            advice = f"raise text.vocab_size = {text.most_tokens}, or " if is_full else ""
            found.append(
                f"valid: {percent(share)} of the {role} tokens are unknown words; {advice}use "
                "--text.kind bpe, which has none"
            )
    targets = [row.texts[1] for row in rows["train"]]
    return (*found, *round_trip.note(targets, tokenizers["target"], "target"))


_MANY_UNKNOWN = 0.02


def _words_of(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> tuple[str, ...]:
    """The words of a text, one for each id but </s>."""
    n_words = len(ids) - (ids[-1:] == [EOS_ID])
    words = tokenizer.split(text)
    if len(words) != n_words:  # a long word was split into several tokens
        words = tokenizer.tokens(ids[:n_words])
    return tuple(words)


def _with_steps(
    ids: Sequence[int], words: Sequence[str], first: Mapping[str, int], n_words: int
) -> tuple[int, ...]:
    """The ids of words, V + the first step in the source for each unknown word that occurs there."""
    return tuple(
        n_words + first[word] if id_ == UNK_ID and word in first else id_
        for id_, word in zip(ids, words, strict=True)
    )


def lengths(pair: Pair) -> tuple[int, int]:
    """The number of steps on each side, with </s> or <s>."""
    return len(pair.source), len(pair.target) + 1


def collate(pairs: Sequence[Pair]) -> TranslationBatch:
    """Pairs → padded ids."""
    source = Padded.from_rows([pair.source for pair in pairs], PAD_ID)
    target = Padded.from_rows([[BOS_ID, *pair.target] for pair in pairs], PAD_ID)
    right = [id_ for pair in pairs for id_ in (*pair.target, EOS_ID)]
    copies = copies_of(pairs) if any(pair.writes or pair.copied for pair in pairs) else None
    return TranslationBatch(source, target, torch.tensor(right, dtype=torch.int64), copies)


def copies_of(pairs: Sequence[Pair]) -> Copies:
    """The ids of a batch with the words that are in no vocabulary."""
    targets = [pair.copied or pair.target for pair in pairs]
    right = [id_ for target in targets for id_ in (*target, EOS_ID)]
    return Copies(
        written_ids(pairs),
        Padded.from_rows([[BOS_ID, *target] for target in targets], PAD_ID).values,
        torch.tensor(right, dtype=torch.int64),
    )


def copied_ids(
    same_words: Tensor, n_words: int, source_BS: Tensor, unknown_BS: Tensor | None = None
) -> Tensor:
    """The word that copying each source step writes: a target id, or V + the first step of the word.

    Args:
        same_words: `[source words]`, the target id of each source word, or −1 if there is none.
        n_words: V.
        source_BS: source ids.
        unknown_BS: the words that rows with unknown source words write (`Pair.writes`), -1 for other
            rows; None if there are no such rows.
    """
    same_BS = same_words[source_BS]
    first_BS = (source_BS.unsqueeze(2) == source_BS.unsqueeze(1)).int().argmax(2)
    found_BS = torch.where(same_BS >= 0, same_BS, n_words + first_BS)
    return found_BS if unknown_BS is None else torch.where(unknown_BS < 0, found_BS, unknown_BS)


def written_ids(pairs: Sequence[Pair]) -> Tensor:
    """`[B, S]`, the word that copying each source step writes; -1 in rows without unknown words."""
    return Padded.from_rows([pair.writes or [-1] * len(pair.source) for pair in pairs], -1).values
