"""The vocabulary: words that occur often enough to get a vector, most frequent first."""

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
from unrolled.wording import count_of


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words by rank: by decreasing count, words with equal counts by code point.

    Args:
        words: V words.
        counts: `[V]`, frequency of each word.

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
        """Write a line `word<TAB>count` for each word in UTF-8.

        Raises:
            RunError: the disk is full, or the file cannot be written.
        """
        pairs = zip(self.words, self.counts.tolist(), strict=True)
        text = "".join([f"{word}\t{count}\n" for word, count in pairs])
        storage.write_whole(path, text.encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a file that `save` wrote.

        Raises:
            DataError: the file is missing or damaged; the message names the line.
        """
        words, counts = read_vocabulary(path)
        if counts is None:
            raise DataError("expected a word, a tab and its count per line, found only words", path)
        return cls(words, counts)


class WordCounts:
    """Word frequencies, collected from parts of a text in any order.

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
        """Number of words in the text."""
        return int(self._counts.sum())

    def add(self, words: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Add words with their counts; a word may occur several times."""
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
        """Select the vocabulary.

        Raises:
            DataError: there are no words, or fewer than two that are frequent enough.
        """
        if not self._index:
            raise DataError("the corpus contains no words; give more text")
        counts = self._counts[: len(self._index)]
        is_kept = counts >= config.min_count
        if not is_kept.any():
            raise DataError(
                f"no word occurs {config.min_count} times (vectors.min_count); the most frequent one "
                f"occurs {count_of(int(counts.max()), 'time')}; give more text, or lower "
                "vectors.min_count"
            )
        kept = sorted(compress(self._index, is_kept))  # Python sorts text by code point
        seen = counts[np.fromiter(map(self._index.__getitem__, kept), np.int64, len(kept))]
        order = np.argsort(-seen, kind="stable")[: config.max_words or None]
        if len(order) < 2:
            raise DataError(
                f"the vocabulary has only one word, {quote(kept[order[0]])}, but training needs at least "
                "two; give more text, or lower vectors.min_count"
            )
        return Vocabulary([kept[place] for place in order], seen[order])


def composed(text: str) -> str:
    """The text in Unicode normal form C."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
