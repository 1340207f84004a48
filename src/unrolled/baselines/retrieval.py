"""Translation by retrieval: return the translation of the training source that is nearest to the query.

Its score shows how far memorising sentences gets without learning to translate.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from unrolled.errors import DataError


class RetrievalBaseline:
    """Nearest neighbour by the cosine of TF-IDF vectors over words and pairs of words.

    A term that occurs f times in a sentence and in d of the n training sources has the weight
    (1 + log f) * log(n / d); terms not seen in training are left out. Among equally near pairs, the first
    is used.

    Args:
        pairs: (source, target) sentences.

    Raises:
        DataError: there are no pairs.

    >>> baseline = RetrievalBaseline([("I eat.", "Como."), ("The dog runs.", "El perro corre.")])
    >>> baseline.translate(["The old dog runs."])
    ['El perro corre.']
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        sources: list[dict[str, int]] = []
        self._targets: list[str] = []
        for source, target in pairs:
            sources.append(_terms(source))
            self._targets.append(target)
        if not sources:
            raise DataError("retrieval needs at least one sentence pair; pass training pairs")
        rows: dict[str, list[int]] = {}
        weights: dict[str, list[float]] = {}
        for row, terms in enumerate(sources):
            for term, frequency in terms.items():
                rows.setdefault(term, []).append(row)
                weights.setdefault(term, []).append(1.0 + np.log(frequency))
        self._rarity = {term: float(np.log(len(sources) / len(at))) for term, at in rows.items()}
        # The inverted index: for each term, the rows in which it occurs and its weight there.
        self._rows = {term: np.asarray(at, dtype=np.int64) for term, at in rows.items()}
        self._weights = {
            term: np.asarray(weights[term]) * self._rarity[term] for term in self._rows
        }
        squares = np.zeros(len(sources))
        for term, at in self._rows.items():
            squares[at] += self._weights[term] ** 2
        self._norms = np.sqrt(np.where(squares > 0, squares, 1.0))

    def translate(self, sources: Sequence[str]) -> list[str]:
        """The target of the nearest training pair for each source; the first pair if none matches."""
        return [self._targets[self._nearest(source)] for source in sources]

    def _nearest(self, source: str) -> int:
        products = np.zeros(len(self._targets))
        for term, frequency in _terms(source).items():
            if term in self._rows:
                weight = (1.0 + np.log(frequency)) * self._rarity[term]
                products[self._rows[term]] += weight * self._weights[term]
        return int(np.argmax(products / self._norms))


def _terms(sentence: str) -> dict[str, int]:
    tokens = re.findall(r"\w+|[^\w\s]", sentence.lower())
    pairs = [f"{first} {second}" for first, second in pairwise(tokens)]
    return Counter([*tokens, *pairs])
