"""What is counted beside a network: n-grams of tokens and of characters, and what they are worth.

The features of an example are, for each of its texts in turn, the n-grams of its tokens, then those of
the characters of its tokens. If the second text is also counted by the first, each feature of the second
text is there once more for every first text with which it occurs in training. Its weight beside a first
text is then the sum of a shared weight and of one of its own: the feature augmentation of Daumé III 2007,
"Frustratingly easy domain adaptation", with first texts as domains. A first text that training has not
seen has the shared weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled.baselines import character_ngrams
from unrolled.baselines.character_ngrams import CharacterNgrams
from unrolled.baselines.features import (
    Cells,
    Indices,
    Ngrams,
    Text,
    beside,
    find,
    inverse_frequencies,
    presence,
    tfidf,
)
from unrolled.baselines.model import Example
from unrolled.errors import DataError

MOST_FIRSTS = 50
"""The largest number of different first texts by which the second one can be counted."""

_MIN_TEXTS = 2
"""In how many training texts an n-gram of characters, or a feature by first text, must occur.

Rarer ones are the greater part, and made no difference in a cross-validation (SemEval-2016 task 6 A).
"""

Vocabulary: TypeAlias = Ngrams | CharacterNgrams


@dataclass(frozen=True)
class CountedText:
    """The tokens of a text as they are counted; each list has an entry for each token.

    Args:
        tokens: indices by `Ngrams.indices_of`.
        letters: indices by `CharacterNgrams.indices_of`; [] if characters are not counted.
        first: the first text of its example by `Counting.first_of`.
    """

    tokens: Sequence[int]
    letters: Sequence[character_ngrams.Indices] = ()
    first: int = -1

    def changed(self, change: Callable[[Sequence[Any]], list[Any]]) -> CountedText:
        """Some of the tokens, or tokens in another order: a list for all → the list for the new ones."""
        return replace(
            self, tokens=change(self.tokens), letters=change(self.letters) if self.letters else ()
        )

    @property
    def is_known(self) -> bool:
        """Whether any feature is counted."""
        return any(index >= 0 for index in self.tokens) or any(self.letters)


@dataclass(frozen=True, eq=False)
class Occurrences:
    """The occurrences of features in texts, which follow each other.

    Args:
        tokens: `[K]`, the first token of each occurrence.
        lengths: `[K]`, its number of tokens.
        rows: `[K]`, the text it is in.
        features: `[K]`, the feature.
        values: `[K]`, the share of each of its tokens in the value of the feature.
    """

    tokens: Indices
    lengths: Indices
    rows: Indices
    features: Indices
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Counting:
    """The features of examples.

    Args:
        ngrams: the n-grams of tokens of each text.
        characters: the n-grams of characters of each text; () if they are not counted.
        idf: `[F]`, the inverse document frequency of each feature: the value of a feature is its TF-IDF,
            normalised for the tokens of a text and for its characters; None for values of 1.
        firsts: the first texts by which the second one is counted, their tokens separated by blanks; ()
            for none.
        own: `[K]`, the features of the second text by a first one: the index of the first text times F,
            plus the index of the feature; increasing.
    """

    ngrams: tuple[Ngrams, ...]
    characters: tuple[CharacterNgrams, ...] = ()
    idf: NDArray[np.float64] | None = None
    firsts: tuple[str, ...] = ()
    own: Indices = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def learn(
        cls, texts: Sequence[Example], n: int, characters: int = 0, by_first: bool = False
    ) -> Counting:
        """Collect the features of training examples.

        Args:
            texts: the tokens of the texts of each example, one or two.
            n: length of the longest n-grams of tokens; 0 for none.
            characters: length of the longest n-grams of characters; 0 for none. With them, values are
                TF-IDF, and otherwise 1.
            by_first: whether the second text is also counted by the first.

        Raises:
            DataError: there are too many first texts.
        """
        sides: list[tuple[Text, ...]] = list(zip(*texts, strict=True))
        ngrams = tuple(Ngrams.learn(side, n, 1) if n else Ngrams(()) for side in sides)
        letters = tuple(
            CharacterNgrams.learn(side, characters, _MIN_TEXTS) for side in sides if characters
        )
        found = cls(ngrams, letters)
        if characters:
            counts = [vocabulary.count(sides[side]) for side, vocabulary in found._blocks]
            found = replace(found, idf=np.concatenate(list(map(inverse_frequencies, counts))))
        return found._learn_own(texts) if by_first else found

    def _learn_own(self, texts: Sequence[Example]) -> Counting:
        firsts = tuple(sorted({_joined(example[0]) for example in texts}))
        if len(firsts) > MOST_FIRSTS:
            raise DataError(
                f"model.ngrams_by_first is for at most {MOST_FIRSTS} different first texts, found "
                f"{len(firsts):,}; set it to false"
            )
        found = replace(self, firsts=firsts)
        cells = found._shared(texts)
        keys_K = found._keys([found.first_of(example[0]) for example in texts], cells)
        own, n_texts = np.unique(keys_K[keys_K >= 0], return_counts=True)
        return replace(found, own=own[n_texts >= _MIN_TEXTS])

    def __len__(self) -> int:
        return self.n_shared + len(self.own)

    @cached_property
    def n_shared(self) -> int:
        """F, without the features by first text."""
        return sum(len(vocabulary) for _, vocabulary in self._blocks)

    @cached_property
    def _blocks(self) -> list[tuple[int, Vocabulary]]:
        """Each vocabulary and the text it is of, in the order of the features."""
        each = zip(self.ngrams, self.characters or [None] * len(self.ngrams), strict=True)
        pairs = enumerate(each)
        return [(side, v) for side, both in pairs for v in both if v is not None]

    def first_of(self, first: Text) -> int:
        """The index of a first text among those by which the second is counted; −1 for others."""
        return self._index.get(_joined(first), -1)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {first: i for i, first in enumerate(self.firsts)}

    def texts_of(
        self, example: Example, first: Text, known: Sequence[dict[str, character_ngrams.Indices]]
    ) -> tuple[CountedText, ...]:
        """The texts of an example as they are counted.

        Args:
            example: the tokens of its texts.
            first: those tokens of the first text that training would see.
            known: for each text, tokens whose n-grams of characters are known; those of the example are
                added.
        """
        which = self.first_of(first)
        return tuple(
            CountedText(
                self.ngrams[side].indices_of(text),
                self.characters[side].indices_of(text, known[side]) if self.characters else (),
                which,
            )
            for side, text in enumerate(example)
        )

    def features(self, texts: Sequence[Example]) -> Cells:
        """The values of the features of examples: `[N, F + K]`."""
        cells = self._shared(texts)
        if not self.firsts:
            return cells
        keys_K = self._keys([self.first_of(example[0]) for example in texts], cells)
        columns = find(keys_K, self.own)
        here = columns >= 0
        own = Cells(cells.rows[here], columns[here], cells.values[here], len(texts), len(self.own))
        return beside([cells, own], len(texts))

    def _shared(self, texts: Sequence[Example]) -> Cells:
        sides = list(zip(*texts, strict=True))
        counts = (vocabulary.count(sides[side]) for side, vocabulary in self._blocks)
        weighted = map(self._weighted, range(len(self._blocks)), counts)
        return beside(list(weighted), len(texts))

    def _weighted(self, block: int, counts: Cells) -> Cells:
        if self.idf is None:
            return presence(counts)
        start = self._starts[block]
        return tfidf(counts, self.idf[start : start + counts.n_columns])

    @cached_property
    def _starts(self) -> list[int]:
        """The first feature of each block."""
        return np.cumsum([0, *(len(vocabulary) for _, vocabulary in self._blocks)]).tolist()

    def _keys(self, first_N: Sequence[int], cells: Cells) -> Indices:
        """The key of each cell in `own`; −1 if it is not of the second text, or its first is unknown."""
        first_K = np.asarray(first_N, np.int64)[cells.rows]
        start = sum(len(vocabulary) for side, vocabulary in self._blocks if side == 0)
        is_own = (first_K >= 0) & (cells.columns >= start)
        return np.where(is_own, first_K * self.n_shared + cells.columns, -1)

    def occurrences(self, side: int, rows: Sequence[CountedText]) -> Iterator[Occurrences]:
        """The occurrences of features in texts.

        The value of a feature in a text is divided among its occurrences there, and among their tokens.

        Args:
            side: index of the text in an example, from 0.
            rows: the tokens of each text.
        """
        row_P = np.repeat(np.arange(len(rows)), [len(row.tokens) for row in rows])
        for block, (of_side, vocabulary) in enumerate(self._blocks):
            if of_side != side:
                continue
            if isinstance(vocabulary, Ngrams):
                token_P = np.fromiter(chain(*(row.tokens for row in rows)), np.int64, len(row_P))
                found = list(vocabulary.occurrences(token_P, row_P))
                tokens, grams = (np.concatenate(each) for each in zip(*found, strict=True))
                lengths = np.repeat(np.arange(len(found)) + 1, [len(at) for at, _ in found])
            else:
                letters = list(chain(*(row.letters for row in rows)))
                tokens = np.repeat(np.arange(len(letters)), list(map(len, letters)))
                grams = np.fromiter(chain(*letters), np.int64, len(tokens))
                lengths = np.ones(len(tokens), np.int64)
            yield self._valued(block, tokens, lengths, row_P[tokens], grams)

    def _valued(
        self, block: int, tokens: Indices, lengths: Indices, rows: Indices, grams: Indices
    ) -> Occurrences:
        """Occurrences of features of a block, of which each is given by its index there."""
        n_columns = len(self._blocks[block][1])
        width = max(1, n_columns)
        keys, which, number = np.unique(
            rows * width + grams, return_inverse=True, return_counts=True
        )
        n_rows = int(rows.max(initial=-1)) + 1
        counts = Cells(keys // width, keys % width, number.astype(np.float64), n_rows, n_columns)
        values = (self._weighted(block, counts).values / number)[which] / lengths
        return Occurrences(tokens, lengths, rows, self._starts[block] + grams, values)

    def own_of(self, found: Occurrences, rows: Sequence[CountedText]) -> Indices:
        """`[K]`, the index in `own` of each occurrence; −1 if there is none."""
        cells = Cells(found.rows, found.features, found.values, len(rows), self.n_shared)
        return find(self._keys([row.first for row in rows], cells), self.own)


def _joined(text: Text) -> str:
    return " ".join(text)
