"""Word vectors with search: nearest neighbours, analogies, similarity and co-occurrence ratios.

All scores are based on cosines. The matrix is not changed or copied, whether it is mapped or in memory;
only the lengths of its rows are stored in addition. A search multiplies the queries with one block of
rows at a time and keeps the best results, so no V × V matrix is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.config import require
from unrolled.errors import ConfigError, DataError, did_you_mean
from unrolled.quoting import quote
from unrolled.vectors.counting.cooccurrence import Counts
from unrolled.vectors.counting.ratios import COUNTS_FOLDER, Ratio, ratio
from unrolled.vectors.formats.detect import Format, Which, read_vectors
from unrolled.vectors.formats.stored import forms_of

Method = Literal["3CosAdd", "3CosMul"]
METHODS: tuple[Method, ...] = ("3CosAdd", "3CosMul")

EPSILON = 0.001
"""ε of 3CosMul, which prevents division by zero (Levy & Goldberg 2014, equation 5)."""

_FLOATS = 1 << 19  # scores in memory at a time
_QUERIES = 256  # queries per search
_ROWS = 1 << 14  # rows per block when lengths are computed
_SUGGESTED_AMONG = 100_000  # most frequent words searched for suggestions, since the search is slow


class Neighbour(NamedTuple):
    """A word in a search result, with its score."""

    word: str
    score: float


class WordVectors:
    """Words and their vectors.

    Args:
        words: V words, most frequent first if that is known; if a word occurs twice, the first one is
            used.
        matrix: `[V, D]`, row i for word i. It may be changed in place; therefore the lengths of its rows
            are computed again for each search. After `load` it is read-only, and they are cached.
        notes: remarks for the user, one sentence each.
        folder: folder with the co-occurrence counts, for `ratio`.
        path: file from which the vectors were read, for messages.

    Raises:
        DataError: the numbers of words and vectors differ, or there are none.

    >>> matrix = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0.1]], np.float32)
    >>> vectors = WordVectors(["ice", "snow", "water", "fire"], matrix)
    >>> [word for word, _ in vectors.nearest("ice", k=2)]
    ['snow', 'water']
    >>> round(vectors.similarity("ice", "snow"), 3)
    0.8
    """

    def __init__(
        self,
        words: Sequence[str],
        matrix: NDArray[np.float32],
        notes: Sequence[str] = (),
        folder: Path | None = None,
        path: Path | None = None,
    ) -> None:
        if matrix.ndim != 2 or len(words) != len(matrix) or not len(words):
            raise DataError(f"{len(words):,} words, but vectors of shape {matrix.shape}")
        self.words, self.matrix, self.notes = list(words), matrix, tuple(notes)
        self._folder, self._path = folder, path
        self._lengths: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._ours: NDArray[np.float32] | None = (
            None  # a matrix whose memory nothing else can change
        )
        last = len(self.words) - 1
        self._ids = dict(zip(reversed(self.words), range(last, -1, -1), strict=True))

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        keep: Container[str] | None = None,
        *,
        format: Format | None = None,
        which: Which = "sum",
        limit: int | None = None,
    ) -> WordVectors:
        """Read a file of vectors or the folder of a training. Arguments as in `formats.read_vectors`.

        Raises:
            DataError: the file cannot be read as specified, or contains none of the words to keep.
        """
        stored = read_vectors(path, keep, format=format, which=which, limit=limit)
        if not stored.words:
            raise DataError("the file contains none of the words to keep", path)
        is_whole = keep is None and limit is None  # otherwise the rows of the counts differ
        path = Path(path)
        folder = path if path.is_dir() else path.parent
        folder_of_counts = folder if is_whole else None
        vectors = cls(stored.words, stored.matrix, stored.notes, folder_of_counts, path)
        vectors._ours = _read_only(stored.matrix)
        return vectors

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._row_of(word) is not None

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """The vector of a word, `[D]`."""
        return self.matrix[self.id_of(word)]

    @property
    def width(self) -> int:
        """D."""
        return self.matrix.shape[1]

    def id_of(self, word: str) -> int:
        """The row of a word.

        Raises:
            ConfigError: the word has no vector; the message suggests one with a similar spelling.
        """
        row = self._row_of(word)
        if row is None:
            raise ConfigError(f"no vector for {quote(word)}{self._alike(word)}")
        return row

    def _row_of(self, word: str) -> int | None:
        """The row of a word, in whichever Unicode normal form it is written; None if it has no vector."""
        rows = (self._ids.get(form) for form in forms_of(word))
        return next((row for row in rows if row is not None), None)

    def find(self, word: str) -> int | None:
        """The row of a word, or else of its lower-cased form; None if neither has a vector.

        Vectors are often trained on lower-cased text, while word lists have capitals.
        """
        row = self._row_of(word)
        return self._row_of(word.lower()) if row is None else row

    def first(self, n_words: int) -> WordVectors:
        """The first `n_words` words with their vectors; the matrix is not copied."""
        some = WordVectors(self.words[:n_words], self.matrix[:n_words], self.notes)
        some._ours = some.matrix if self._ours is self.matrix else None
        return some

    def similarity(self, first: str, second: str) -> float:
        """The cosine of two words, −1…1; 0 if a vector is zero.

        Raises:
            ConfigError: a word is unknown.
        """
        ids = np.array([self.id_of(first), self.id_of(second)])
        return float(self.similarities(ids[:1], ids[1:])[0])

    def similarities(
        self, first_N: NDArray[np.int64], second_N: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """`[N]` cosines of pairs of rows."""
        unit_ND, other_ND = (self.unit(ids).astype(np.float64) for ids in (first_N, second_N))
        return np.einsum("nd,nd->n", unit_ND, other_ND)

    def unit(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[N, D]`: rows normalized to length 1; rows of zeros remain zeros."""
        unit: NDArray[np.float32] = self.matrix[ids] * self._inverse(ids)[:, None]
        return unit

    def nearest(self, word: str, k: int = 10) -> list[Neighbour]:
        """The k words with the largest cosine, without the word itself.

        Raises:
            ConfigError: the word is unknown, or k is below 1.
        """
        return self.nearest_to(self[word], k, without=(word,))

    def nearest_to(
        self, vector: NDArray[np.floating], k: int = 10, without: Sequence[str] = ()
    ) -> list[Neighbour]:
        """The k words with the largest cosine with a vector `[D]`, except the words in `without`.

        Raises:
            ConfigError: the vector has another width, a word is unknown, or k is below 1.
        """
        require(k >= 1, "k", "at least 1", k)
        require(
            vector.shape == (self.width,), "the vector", f"of shape ({self.width},)", vector.shape
        )
        length = float(np.linalg.norm(vector.astype(np.float64)))
        unit_1D = (vector / (length or 1.0)).astype(np.float32)[None]
        excluded = np.array([[self.id_of(word) for word in without]], np.int64)
        ((ids_QK, scores_QK),) = self._search(
            unit_1D, lambda cosines: (cosines,), min(k, len(self)), excluded
        )
        return self._named(ids_QK[0], scores_QK[0])

    def analogy(
        self, a: str, b: str, c: str, k: int = 10, method: Method = "3CosAdd"
    ) -> list[Neighbour]:
        """The k best answers d to a : b = c : d, e.g. man : king = woman : queen; never a, b or c.

        3CosAdd (Mikolov, Yih & Zweig 2013; equation 3 of Levy & Goldberg 2014) maximizes
        cos(d, b − a + c) for vectors of length 1; the score is that cosine. 3CosMul (their equation 5)
        maximizes cos(d, b) cos(d, c) / (cos(d, a) + ε), with each cosine shifted to 0…1.

        Raises:
            ConfigError: a word or the method is unknown, or k is below 1.
        """
        require(k >= 1, "k", "at least 1", k)
        require(method in METHODS, "method", f"one of {', '.join(METHODS)}", method)
        ids_13 = np.array([[self.id_of(word) for word in (a, b, c)]])
        ids_QK, scores_QK = self.analogies(ids_13, k)[method]
        if method == "3CosAdd":
            unit_a, unit_b, unit_c = self.unit(ids_13[0])
            length = float(np.linalg.norm(unit_b - unit_a + unit_c))
            scores_QK = scores_QK / (length or 1.0)
        return self._named(ids_QK[0], scores_QK[0])

    def analogies(
        self, ids_Q3: NDArray[np.int64], k: int = 1
    ) -> dict[Method, tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The k best answers to each of Q questions a : b = c : ?, by both methods at once.

        Args:
            ids_Q3: the rows of a, b and c.
            k: number of answers.

        Returns:
            By method, `[Q, K]` rows (K at most V; −1 if there are fewer answers) and their scores. The
            score of 3CosAdd is cos(d, b) − cos(d, a) + cos(d, c).
        """
        k = min(k, len(self))
        parts: list[list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = []
        for start in range(0, len(ids_Q3), _QUERIES):
            asked = ids_Q3[start : start + _QUERIES]
            # Questions of one kind share few words; each word is multiplied only once.
            words_U, places = np.unique(asked, return_inverse=True)
            combine = partial(_both_methods, places.reshape(asked.shape))
            parts.append(self._search(self.unit(words_U), combine, k, asked))
        answers: dict[Method, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        for index, method in enumerate(METHODS):
            ids = [part[index][0] for part in parts] or [np.empty((0, k), np.int64)]
            scores = [part[index][1] for part in parts] or [np.empty((0, k), np.float32)]
            answers[method] = np.concatenate(ids), np.concatenate(scores)
        return answers

    def ratio(self, first: str, second: str, *probes: str) -> list[Ratio]:
        """Ratios of co-occurrence probabilities P(k|i) / P(k|j) for each probe word k.

        Pennington, Socher & Manning 2014, table 1: P(k|i) = X_ik / X_i, from the counts on which the
        vectors were trained. i is `first` and j is `second`.

        Raises:
            ConfigError: a word is unknown.
            DataError: there are no counts beside the vectors, or they have another vocabulary.
        """
        ids = [self.id_of(word) for word in (first, second, *probes)]
        if self._folder is None:
            raise DataError(
                "ratios need co-occurrence counts; load the folder of a training, with all its words"
            )
        counts = Counts.open(self._folder / COUNTS_FOLDER, len(self))
        counts.require_whole()
        first_id, second_id, *probe_ids = ids
        return [
            ratio(counts, first_id, second_id, id_, probe)
            for id_, probe in zip(probe_ids, probes, strict=True)
        ]

    def _inverse_lengths(self) -> NDArray[np.float32]:
        """`[V]`: 1 over the length of each row; 0 for a row of zeros."""
        matrix, cached = self.matrix, self._lengths
        is_fixed = self._ours is matrix and not _can_be_written(matrix)
        if cached is not None and cached[0] is matrix and is_fixed:
            return cached[1]
        starts = range(0, len(self), _ROWS)
        inverse = np.concatenate([self._inverse(slice(at, at + _ROWS)) for at in starts])
        self._lengths = (matrix, inverse) if is_fixed else None
        return inverse

    def _inverse(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """`[N]`: the same for some rows."""
        wide = np.asarray(self.matrix[rows], np.float64)
        lengths = np.sqrt(np.einsum("vd,vd->v", wide, wide))
        if not np.isfinite(lengths).all():
            word = np.arange(len(self))[rows][np.isfinite(lengths).argmin()]
            problem = (
                f"the vector of {quote(self.words[word])} is not finite; remove it, or train again"
            )
            raise DataError(problem, self._path)
        return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0).astype(
            np.float32
        )

    def _search(
        self,
        words_UD: NDArray[np.float32],
        combine: Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], ...]],
        k: int,
        excluded_QX: NDArray[np.int64],
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The k rows with the best scores for each query, best first; ties in the order of the rows.

        Args:
            words_UD: vectors of length 1 from which the queries are made.
            combine: maps their `[U, N]` cosines with a block of rows to one or more `[Q, N]` score arrays
                of the Q queries, which are modified afterwards.
            k: number of results.
            excluded_QX: rows to leave out.

        Returns:
            For each score, `[Q, K]` rows (−1 if there are fewer) and their scores.
        """
        n_queries = len(excluded_QX)
        step = max(1, _FLOATS // (len(words_UD) + 3 * n_queries))
        best: list[_Best] = []
        inverse = self._inverse_lengths()
        for start in range(0, len(self), step):
            block_ND = self.matrix[start : start + step]
            cosines_UN = words_UD @ block_ND.T
            cosines_UN *= inverse[start : start + step]
            scores = combine(cosines_UN)
            best = best or [_Best(n_queries, k) for _ in scores]
            query, column = np.nonzero(
                (excluded_QX >= start) & (excluded_QX < start + len(block_ND))
            )
            for best_so_far, score_QN in zip(best, scores, strict=True):
                score_QN[query, excluded_QX[query, column] - start] = -np.inf
                best_so_far.add(score_QN, start)
        return [(results.ids_QK, results.scores_QK) for results in best]

    def _named(self, ids: NDArray[np.int64], scores: NDArray[np.floating]) -> list[Neighbour]:
        return [
            Neighbour(self.words[id_], float(score))
            for id_, score in zip(ids, scores, strict=True)
            if id_ >= 0
        ]

    def _alike(self, word: str) -> str:
        for variant in (word.lower(), word.capitalize(), word.upper(), word.strip()):
            if variant in self._ids:
                return f"; did you mean {quote(variant)}?"
        candidates = [
            other
            for other in self.words[:_SUGGESTED_AMONG]
            if abs(len(other) - len(word)) <= 2
            and (other[:1] == word[:1] or other[-1:] == word[-1:])
        ]
        return did_you_mean(word, candidates)


def _read_only(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make an array, and all arrays that it is a view of, read-only."""
    part: object = matrix
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        part = part.base
    return matrix


def _can_be_written(matrix: NDArray[np.float32]) -> bool:
    """Whether an array, or one that it is a view of, was made writable again."""
    part: object = matrix
    while isinstance(part, np.ndarray):
        if part.flags.writeable:
            return True
        part = part.base
    return False


class _Best:
    """The best results of some queries so far, updated with one block of scores at a time."""

    def __init__(self, n_queries: int, k: int) -> None:
        self.ids_QK = np.full((n_queries, k), -1, np.int64)
        self.scores_QK = np.full((n_queries, k), -np.inf, np.float32)

    def add(self, score_QN: NDArray[np.float32], start: int) -> None:
        """Add the scores of the rows from `start` on."""
        k = self.ids_QK.shape[1]
        largest_Q = score_QN.max(axis=1)
        for query in np.flatnonzero(largest_Q > self.scores_QK[:, -1]):
            scores = score_QN[query]
            threshold = self.scores_QK[query, -1]
            if k < len(scores):
                threshold = max(threshold, np.partition(scores, -k)[-k])
            # Includes all ties with the k-th best score, so that the first rows win.
            better = np.flatnonzero((scores >= threshold) & (scores > -np.inf))
            all_scores = np.concatenate([self.scores_QK[query], scores[better]])
            all_ids = np.concatenate([self.ids_QK[query], better + start])
            order = np.argsort(-all_scores, kind="stable")[:k]
            self.ids_QK[query], self.scores_QK[query] = all_ids[order], all_scores[order]


def _both_methods(
    places_Q3: NDArray[np.int64], cosines_UN: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The scores of 3CosAdd and 3CosMul from the cosines with a, b and c."""
    of_a, of_b, of_c = (cosines_UN[places_Q] for places_Q in places_Q3.T)
    added = of_b - of_a
    added += of_c
    # (x + 1) / 2 shifts a cosine to 0…1 (Levy & Goldberg 2014, footnote 7); the factors ½ are combined.
    of_b += 1
    of_c += 1
    of_a += 1 + 2 * EPSILON
    of_b *= of_c
    of_b /= of_a
    of_b *= 0.5
    return added, of_b
