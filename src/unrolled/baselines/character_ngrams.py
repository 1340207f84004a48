"""N-grams of the characters of tokens: which of them occur in which texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from unrolled.baselines.features import Cells, Text

SHORTEST = 2
"""Number of characters of the shortest n-grams."""

Indices = tuple[int, ...]
"""The indices of the n-grams of a token."""


@dataclass(frozen=True, eq=False)
class CharacterNgrams:
    """A vocabulary of n-grams of characters within tokens, of 2 characters up to some largest number.

    Tokens are in lower case, and a blank marks either border. These are the n-grams of scikit-learn's
    `char_wb`: a token with its borders that is not longer than n is an n-gram once.

    Args:
        grams: the n-grams, by code point.
        longest: number of characters of the longest n-grams.

    >>> ngrams = CharacterNgrams.learn([["Good", "a"]], longest=3, min_texts=1)
    >>> ngrams.grams
    (' a', ' a ', ' g', ' go', 'a ', 'd ', 'go', 'goo', 'od', 'od ', 'oo', 'ood')
    >>> ngrams.indices_of(["GO", "?"])
    [(2, 6, 3), ()]
    """

    grams: tuple[str, ...]
    longest: int

    @classmethod
    def learn(cls, texts: Sequence[Text], longest: int, min_texts: int) -> CharacterNgrams:
        """Collect the n-grams that occur in at least `min_texts` texts.

        Args:
            texts: the tokens of each text.
            longest: number of characters of the longest n-grams, at least 2.
            min_texts: minimum number of texts, at least 1.
        """
        parts = {token: tuple(_ngrams(token, longest)) for token in set(chain(*texts))}
        n_texts_of = Counter(
            chain.from_iterable(set(chain(*(parts[token] for token in text))) for text in texts)
        )
        return cls(tuple(sorted(g for g, n in n_texts_of.items() if n >= min_texts)), longest)

    def __len__(self) -> int:
        return len(self.grams)

    def indices_of(self, text: Text, known: dict[str, Indices] | None = None) -> list[Indices]:
        """The indices of the n-grams of each token of a text, in their order, without unknown ones.

        Args:
            text: its tokens.
            known: tokens whose indices are known; those of the text are added.
        """
        known = {} if known is None else known
        for token in text:
            if token not in known:
                indices = (self._index.get(gram, -1) for gram in _ngrams(token, self.longest))
                known[token] = tuple(index for index in indices if index >= 0)
        return [known[token] for token in text]

    def count(self, texts: Sequence[Text]) -> Cells:
        """Count how often each n-gram of the vocabulary occurs in each text."""
        known: dict[str, Indices] = {}
        rows = [list(chain(*self.indices_of(text, known))) for text in texts]
        width = max(1, len(self))
        row_K = np.repeat(np.arange(len(rows)), list(map(len, rows)))
        gram_K = np.fromiter(chain(*rows), np.int64, len(row_K))
        place, number = np.unique(row_K * width + gram_K, return_counts=True)
        return Cells(
            place // width, place % width, number.astype(np.float64), len(texts), len(self)
        )

    @cached_property
    def _index(self) -> dict[str, int]:
        return {gram: i for i, gram in enumerate(self.grams)}


def _ngrams(token: str, longest: int) -> Iterator[str]:
    """The n-grams of a token, shorter ones first."""
    written = f" {token.lower()} "
    for n in range(SHORTEST, min(longest, len(written)) + 1):
        yield from (written[at : at + n] for at in range(len(written) - n + 1))
