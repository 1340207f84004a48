"""Which words have vectors: those seen often enough, the most frequent first."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled import storage
from unrolled.errors import DataError
from unrolled.quoting import quote
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.formats.safetensors import read_vocabulary


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words by rank: by falling count, words of one count by code point.

    Args:
        words: V of them.
        counts: `[V]`, how often each was seen.

    >>> Vocabulary(["the", "ice"], np.array([7, 2])).ranks()
    {'the': 0, 'ice': 1}
    """

    words: list[str]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.words)

    def ranks(self) -> dict[str, int]:
        """The rank of each word."""
        return {word: rank for rank, word in enumerate(self.words)}

    def save(self, path: Path) -> None:
        """Write a line `word<TAB>count` for each word, in UTF-8.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        pairs = zip(self.words, self.counts.tolist(), strict=True)
        text = "".join([f"{word}\t{count}\n" for word, count in pairs])
        storage.write_whole(path, text.encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing or damaged; the line is named.
        """
        words, counts = read_vocabulary(path)
        if counts is None:
            raise DataError(
                "expected a word, a tab and its count per line, found words alone", path
            )
        return cls(words, counts)


class WordCounts:
    """How often each word was seen, gathered from parts of a text in any order.

    >>> seen = WordCounts()
    >>> seen.add(["b", "a", "b"], np.array([2, 1, 3]))
    >>> seen.vocabulary(VectorsConfig(min_count=1)).words
    ['b', 'a']
    """

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._counts = np.zeros(1 << 10, np.int64)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def n_tokens(self) -> int:
        """All words of the text, counted as often as they stand there."""
        return int(self._counts.sum())

    def add(self, words: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Add words, which may come several times, with the counts of each."""
        index = self._index
        places = np.fromiter(
            (index.setdefault(word, len(index)) for word in words), np.int64, len(words)
        )
        if len(index) > len(self._counts):
            grown = np.zeros(2 * len(index), np.int64)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        np.add.at(self._counts, places, counts)

    def vocabulary(self, config: VectorsConfig) -> Vocabulary:
        """The words that are kept.

        Raises:
            DataError: there is no word, or none is seen often enough, or only one is.
        """
        if not self._index:
            raise DataError("the text holds no words; give more text")
        counts = self._counts[: len(self._index)]
        is_kept = counts >= config.min_count
        if not is_kept.any():
            raise DataError(
                f"no word is seen {config.min_count} times (vectors.min_count); the most frequent "
                f"is seen {counts.max()} times; give more text, or lower the count"
            )
        kept = sorted(compress(self._index, is_kept))  # Python orders text by code point
        seen = counts[np.fromiter(map(self._index.__getitem__, kept), np.int64, len(kept))]
        order = np.argsort(-seen, kind="stable")[: config.max_words or None]
        if len(order) < 2:
            raise DataError(
                f"the vocabulary holds one word, {quote(kept[order[0]])}, and vectors compare at least "
                "two; give more text, or lower vectors.min_count"
            )
        return Vocabulary([kept[place] for place in order], seen[order])


def composed(text: str) -> str:
    """Unicode's normal form C."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
