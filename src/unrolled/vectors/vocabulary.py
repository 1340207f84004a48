"""Which words have vectors: those seen often enough, the most frequent first."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError, RunError
from unrolled.vectors import storage
from unrolled.vectors.config import VectorsConfig


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
            RunError: the file is missing or damaged; the line is named.
        """
        try:
            lines = path.read_bytes().decode("utf-8", "surrogatepass").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path}: cannot be read ({error})") from None
        words, counts = [], []
        for number, line in enumerate(lines[:-1], start=1):
            word, tab, count = line.rpartition("\t")
            if not (tab and count.isdecimal()):
                raise RunError(f"{path}, line {number}: expected a word, a tab and its count")
            words.append(word)
            counts.append(int(count))
        return cls(words, np.array(counts, np.int64))


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
        words = np.array(list(self._index), object)
        frequent = np.flatnonzero(counts >= config.min_count)
        if not len(frequent):
            raise DataError(
                f"no word is seen {config.min_count} times (vectors.min_count); the most frequent "
                f"is seen {counts.max()} times; give more text, or lower the count"
            )
        pairs = zip(counts[frequent].tolist(), words[frequent].tolist(), strict=True)
        kept = sorted((-count, word) for count, word in pairs)  # Python orders text by code point
        kept = kept[: config.max_words or None]
        if len(kept) < 2:
            raise DataError(
                f"the vocabulary holds one word, '{kept[0][1]}', and vectors compare at least two; "
                "give more text, or lower vectors.min_count"
            )
        return Vocabulary([word for _, word in kept], -np.array([n for n, _ in kept], np.int64))


def composed(text: str) -> str:
    """Unicode's normal form C."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
