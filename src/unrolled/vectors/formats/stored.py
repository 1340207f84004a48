"""The content of a file of word vectors, and how it is collected from a stream."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError
from unrolled.quoting import quote
from unrolled.vectors.formats.files import shown
from unrolled.wording import count_of

ROWS = 1 << 14
"""Rows of a matrix that are processed at once."""


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """The content of a file of word vectors.

    Args:
        words: words in the order of the file, without duplicates.
        matrix: `[V, D]`, row i for word i; mapped from disk if a whole safetensors file is read.
        counts: `[V]`, frequency of each word, if the file has it.
        notes: remarks for the user, one sentence each, with file and line.
    """

    words: list[str]
    matrix: NDArray[np.float32]
    counts: NDArray[np.int64] | None
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        """D; known even if no word was kept."""
        return self.matrix.shape[1]


def is_kept(word: str, keep: Container[str] | None) -> bool:
    """Whether a word is one of those to keep, in whichever Unicode normal form it is written."""
    if keep is None or word in keep:
        return True
    return not word.isascii() and any(form in keep for form in forms_of(word))


def forms_of(word: str) -> tuple[str, ...]:
    """A word as written, in Unicode normal form C and in form D; ASCII words have only one form.

    >>> [len(form) for form in forms_of("caf\u00e9")], forms_of("tea")
    ([4, 4, 5], ('tea',))
    """
    if word.isascii():
        return (word,)
    return word, unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)


_OF_A_SPACE = "; if words contain spaces, which this format does not allow, earlier words are wrong"


class Kept:
    """Collects words and their numbers from a stream: the first vector of each word to be kept.

    Args:
        path: the file.
        unit: "line" or "word", for positions in messages.
        keep, limit: as for `read_vectors`.
    """

    def __init__(
        self, path: Path, unit: str, keep: Container[str] | None, limit: int | None
    ) -> None:
        self.numbers = array("f")
        self.notes: list[str] = []
        self._path, self._unit, self._keep, self._limit = path, unit, keep, limit
        self._places: dict[str, int] = {}
        self._left_out: dict[str, tuple[int, int, str]] = {}

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and len(self._places) >= self._limit

    def wants(self, raw: bytes, place: int) -> bool:
        """Whether to keep this word; if so, its numbers must be added next."""
        try:
            word = raw.decode("utf-8")
        except UnicodeDecodeError:
            self._leave_out("non-UTF-8", place, shown(raw))
            return False
        if not word:
            self._leave_out("empty", place, "")
        elif word in self._places:
            self._leave_out("duplicate", place, word)
        elif is_kept(word, self._keep):
            self._places[word] = place
            return True
        return False

    def error(self, problem: str, place: int) -> DataError:
        """An error about a line or word."""
        if self._unit == "line":
            return DataError(problem, self._path, place)
        return DataError(f"{self._unit} {place:,}: {problem}", self._path)

    def stored(self, width: int) -> StoredVectors:
        """Everything that was kept."""
        if not self._places and self._keep is None:
            raise DataError(
                "the file contains no word vectors; expected a word and its numbers", self._path
            )
        matrix = np.zeros((0, width), np.float32)
        if self._places:
            matrix = np.frombuffer(self.numbers, np.float32).reshape(-1, width)
        words, places = list(self._places), list(self._places.values())
        row = not_finite(matrix)
        if row is not None:
            raise self.error(
                f"{what_is_not_finite(words[row], matrix[row])}; remove it", places[row]
            )
        for why, (n, place, word) in self._left_out.items():
            first = f", the first is {quote(word)}" if word else ""
            action = "the first vector of each is used" if why == "duplicate" else "left out"
            if why == "non-UTF-8" and self._unit == "word":
                action += _OF_A_SPACE
            sentence = f"{count_of(n, f'{why} word')}{first}; {action}"
            self.notes.append(str(self.error(sentence, place)))
        return StoredVectors(words, matrix, None, tuple(self.notes))

    def _leave_out(self, why: str, place: int, word: str) -> None:
        n, first, first_word = self._left_out.get(why, (0, place, word))
        self._left_out[why] = n + 1, first, first_word


def not_finite(matrix: NDArray[np.floating[Any]]) -> int | None:
    """The first row of `[V, D]` with an infinite number or NaN; None if all are finite."""
    for start in range(0, len(matrix), ROWS):
        good = np.isfinite(matrix[start : start + ROWS])
        if not good.all():
            return start + int(good.all(axis=1).argmin())
    return None


def what_is_not_finite(word: str, row: NDArray[np.floating[Any]]) -> str:
    """A sentence that names the first number of a row that is not finite; the caller adds what to do."""
    place = int(np.isfinite(row).argmin())
    return f"number {place + 1} of {quote(word)} is {row[place]}, expected finite numbers"
