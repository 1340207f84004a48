"""N-gram features: which n-grams of tokens occur in which texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Text = Sequence[str]
"""The tokens of a text."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cells:
    """The non-zero cells of a sparse matrix `[n_rows, n_columns]`, sorted by row and column.

    Args:
        rows: `[K]`, the row of each cell.
        columns: `[K]`, the column of each cell.
        values: `[K]`, the value of each cell.
        n_rows: number of texts.
        n_columns: number of features.
    """

    rows: Indices
    columns: Indices
    values: NDArray[np.float64]
    n_rows: int
    n_columns: int

    def times(self, weights_CF: NDArray[np.float64]) -> NDArray[np.float64]:
        """The matrix times Wᵀ: `[n_rows, C]`."""
        products = np.empty((self.n_rows, len(weights_CF)))
        for c, weights_F in enumerate(weights_CF):
            terms = weights_F[self.columns] * self.values
            products[:, c] = np.bincount(self.rows, terms, minlength=self.n_rows)
        return products


@dataclass(frozen=True, eq=False)
class Ngrams:
    """A vocabulary of n-grams of tokens, n = 1, 2 … up to some largest n.

    The key of an n-gram is computed from its parts: an (n−1)-gram of the vocabulary, then a token. No
    n-gram occurs in more texts than its (n−1)-gram, so with a minimum number of texts, the (n−1)-gram of
    every n-gram is in the vocabulary, too.

    Args:
        tokens: the single tokens, by code point.
        keys: for n = 2, 3 …, the key of each n-gram: the index of its (n−1)-gram among those, times the
            number of tokens, plus the index of its last token; increasing.

    >>> ngrams = Ngrams.learn([["no", "good"], ["good", "no", "good"]], n=2, min_texts=1)
    >>> [" ".join(ngrams.name(i)) for i in range(len(ngrams))]
    ['good', 'no', 'good no', 'no good']
    >>> ngrams.count([["no", "good", "good", "phone"]]).columns.tolist()
    [0, 1, 3]
    """

    tokens: tuple[str, ...]
    keys: tuple[Indices, ...] = ()

    @classmethod
    def learn(cls, texts: Sequence[Text], n: int, min_texts: int) -> Ngrams:
        """Collect the n-grams that occur in at least `min_texts` texts.

        Args:
            texts: the tokens of each text.
            n: length of the longest n-grams, at least 1.
            min_texts: minimum number of texts, at least 1.
        """
        n_texts_of = Counter(chain.from_iterable(map(set, texts)))
        tokens = tuple(sorted(t for t, number in n_texts_of.items() if number >= min_texts))
        known: list[Indices] = []
        tokens_P, rows_P = _positions(texts, {token: i for i, token in enumerate(tokens)})
        grams_P = tokens_P
        for shorter in range(1, n):
            keys_P = _keys(grams_P, tokens_P, rows_P, shorter, len(tokens))
            there_P = keys_P >= 0
            distinct, at = np.unique(keys_P[there_P], return_inverse=True)
            width = max(1, len(distinct))
            n_texts = np.bincount(
                np.unique(rows_P[there_P] * width + at) % width, minlength=len(distinct)
            )
            known.append(distinct[n_texts >= min_texts])
            grams_P = find(keys_P, known[-1])
        return cls(tokens, tuple(known))

    def __len__(self) -> int:
        return len(self.tokens) + sum(map(len, self.keys))

    def name(self, index: int) -> tuple[str, ...]:
        """The tokens of the n-gram with this index; single tokens come first, then pairs, and so on.

        Raises:
            IndexError: there is no such n-gram.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no n-gram {index}: the vocabulary has {len(self)} n-grams")
        level, at = -1, index
        while at >= (size := len(self.keys[level]) if level >= 0 else len(self.tokens)):
            level, at = level + 1, at - size
        last: list[str] = []
        for keys in reversed(self.keys[: level + 1]):
            at, token = divmod(int(keys[at]), len(self.tokens))
            last.append(self.tokens[token])
        return (self.tokens[at], *reversed(last))

    def count(self, texts: Sequence[Text]) -> Cells:
        """Count how often each n-gram of the vocabulary occurs in each text."""
        tokens_P, rows_P = _positions(texts, self._index)
        width = max(1, len(self))
        places = [rows_P[at] * width + grams for at, grams in self.occurrences(tokens_P, rows_P)]
        place, number = np.unique(np.concatenate(places), return_counts=True)
        return Cells(
            place // width, place % width, number.astype(np.float64), len(texts), len(self)
        )

    def occurrences(self, tokens_P: Indices, rows_P: Indices) -> Iterator[tuple[Indices, Indices]]:
        """For n = 1, 2 …: the places where n-grams of the vocabulary begin, and which these are.

        Args:
            tokens_P: index of each token of all texts, −1 for an unknown one; see `indices_of`.
            rows_P: the text of each token.
        """
        grams_P = tokens_P
        yield (at := np.flatnonzero(grams_P >= 0)), grams_P[at]
        offset = len(self.tokens)
        for shorter, known in enumerate(self.keys, start=1):
            keys_P = _keys(grams_P, tokens_P, rows_P, shorter, len(self.tokens))
            grams_P = find(keys_P, known)
            yield (at := np.flatnonzero(grams_P >= 0)), offset + grams_P[at]
            offset += len(known)

    def indices_of(self, text: Text) -> list[int]:
        """The index of each token of a text among the single tokens; −1 for an unknown one."""
        return [self._index.get(token, -1) for token in text]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}


def tfidf(counts: Cells, idf_F: NDArray[np.float64]) -> Cells:
    """(1 + ln count) · idf, each row divided by its Euclidean length.

    Equals scikit-learn's TfidfVectorizer with `sublinear_tf=True`.
    """
    values = (1.0 + np.log(counts.values)) * idf_F[counts.columns]
    lengths = np.sqrt(np.bincount(counts.rows, values**2, minlength=counts.n_rows))
    return replace(counts, values=values / lengths[counts.rows])


def inverse_frequencies(counts: Cells) -> NDArray[np.float64]:
    """idf_f = ln((1 + n) / (1 + n_f)) + 1, where n_f of the n texts have feature f.

    Smoothed as in scikit-learn, as if one more text had every feature.
    """
    n_texts = np.bincount(counts.columns, minlength=counts.n_columns)
    return np.log((1.0 + counts.n_rows) / (1.0 + n_texts)) + 1.0


def presence(counts: Cells) -> Cells:
    """1 where a feature occurs, regardless of how often."""
    return replace(counts, values=np.ones_like(counts.values))


def beside(sides: Sequence[Cells], n_rows: int) -> Cells:
    """Concatenate matrices with the same rows along their columns."""
    offsets = np.cumsum([0, *(side.n_columns for side in sides)])
    rows = np.concatenate([np.empty(0, np.int64), *(side.rows for side in sides)])
    columns = np.concatenate(
        [
            np.empty(0, np.int64),
            *(side.columns + offset for side, offset in zip(sides, offsets[:-1], strict=True)),
        ]
    )
    values = np.concatenate([np.empty(0), *(side.values for side in sides)])
    order = np.argsort(rows, kind="stable")
    return Cells(rows[order], columns[order], values[order], n_rows, int(offsets[-1]))


def _positions(texts: Sequence[Text], index: Mapping[str, int]) -> tuple[Indices, Indices]:
    """For each token of all texts, its index (−1 if unknown) and the index of its text."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    numbers = (index.get(token, -1) for token in chain.from_iterable(texts))
    return (
        np.fromiter(numbers, np.int64, int(lengths.sum())),
        np.repeat(np.arange(len(texts), dtype=np.int64), lengths),
    )


def _keys(
    grams_P: Indices, tokens_P: Indices, rows_P: Indices, shorter: int, n_tokens: int
) -> Indices:
    """The key of the n-gram that begins at each position, given its (n−1)-gram; −1 if there is none."""
    keys_P = np.full(len(grams_P), -1, np.int64)
    if len(grams_P) > shorter:
        begin, last = grams_P[:-shorter], tokens_P[shorter:]
        fits = (begin >= 0) & (last >= 0) & (rows_P[:-shorter] == rows_P[shorter:])
        keys_P[:-shorter] = np.where(fits, begin * n_tokens + last, -1)
    return keys_P


def find(keys_P: Indices, known: Indices) -> Indices:
    """The index of each key among the known ones, which are increasing; −1 for an unknown key."""
    if not len(known):
        return np.full(len(keys_P), -1, np.int64)
    at_P = np.minimum(np.searchsorted(known, keys_P), len(known) - 1)
    return np.where(known[at_P] == keys_P, at_P, -1)
