"""N-gram counts equal a plain loop, and their weights equal scikit-learn's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from unrolled.baselines.features import (
    Cells,
    Ngrams,
    beside,
    inverse_frequencies,
    presence,
    tfidf,
)

WORDS = ["no", "good", "phone", "this is", "is", "\ud800", "café", " ", "."]


def texts(seed: int, n: int = 31, longest: int = 13) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    lengths = [0, 1, 2, *generator.integers(0, longest + 1, n - 3).tolist()]
    return [[WORDS[i] for i in generator.integers(0, len(WORDS), length)] for length in lengths]


def grams(text: list[str], longest: int) -> list[tuple[str, ...]]:
    return [
        tuple(text[start : start + n])
        for n in range(1, longest + 1)
        for start in range(len(text) - n + 1)
    ]


def dense(cells: Cells) -> np.ndarray:
    matrix = np.zeros((cells.n_rows, cells.n_columns))
    matrix[cells.rows, cells.columns] = cells.values
    return matrix


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("min_texts", [1, 2, 7])
def test_counts_equal_a_plain_loop(n: int, min_texts: int) -> None:
    learned, new = texts(1), [*texts(2), ["never", "no", "good", "seen"]]
    ngrams = Ngrams.learn(learned, n, min_texts)
    n_texts = Counter(gram for text in learned for gram in set(grams(text, n)))
    names = [ngrams.name(i) for i in range(len(ngrams))]
    assert sorted(names) == sorted(gram for gram, number in n_texts.items() if number >= min_texts)
    assert [len(name) for name in names] == sorted(len(name) for name in names)
    for some in (learned, new):
        counts = dense(ngrams.count(some))
        for row, text in zip(counts, some, strict=True):
            expected = Counter(gram for gram in grams(text, n) if gram in set(names))
            assert {name: c for name, c in zip(names, row, strict=True) if c} == expected


def test_cells_are_sorted_by_row_and_column() -> None:
    cells = Ngrams.learn(texts(1), 3, 1).count(texts(2))
    order = cells.rows * cells.n_columns + cells.columns
    assert (np.diff(order) > 0).all()


def test_empty_texts_and_vocabularies_are_accepted() -> None:
    for learned in ([], [[]], [["rare"], ["other"]]):
        ngrams = Ngrams.learn(learned, 3, 2)
        assert len(ngrams) == 0
        assert dense(ngrams.count([["rare"], []])).shape == (2, 0)
        with pytest.raises(IndexError, match="there is no n-gram 0: the vocabulary has 0"):
            ngrams.name(0)
    assert dense(Ngrams.learn(texts(1), 2, 1).count([])).shape[0] == 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tfidf_equals_scikit_learn(n: int) -> None:
    learned, new = texts(1), texts(2)
    theirs = TfidfVectorizer(analyzer=lambda text: grams(text, n), min_df=2, sublinear_tf=True)
    theirs.fit(learned)
    ngrams = Ngrams.learn(learned, n, 2)
    idf = inverse_frequencies(ngrams.count(learned))
    columns = [theirs.vocabulary_[ngrams.name(i)] for i in range(len(ngrams))]
    assert len(columns) == len(theirs.vocabulary_)
    for some in (learned, new):
        ours = dense(tfidf(ngrams.count(some), idf))
        np.testing.assert_allclose(ours, theirs.transform(some).toarray()[:, columns], atol=1e-15)


def test_presence_equals_scikit_learn() -> None:
    theirs = CountVectorizer(analyzer=lambda text: grams(text, 2), binary=True).fit(texts(1))
    ngrams = Ngrams.learn(texts(1), 2, 1)
    columns = [theirs.vocabulary_[ngrams.name(i)] for i in range(len(ngrams))]
    ours = dense(presence(ngrams.count(texts(2))))
    assert (ours == theirs.transform(texts(2)).toarray()[:, columns]).all()


def test_matrices_are_concatenated_by_column() -> None:
    first, second = Ngrams.learn(texts(1), 1, 1), Ngrams.learn(texts(3), 2, 1)
    sides = [first.count(texts(4)), second.count(texts(5))]
    both = beside(sides, 31)
    assert (dense(both) == np.hstack([dense(side) for side in sides])).all()
    assert dense(beside([], 7)).shape == (7, 0)


def test_products_equal_dense_matrix_products() -> None:
    cells = Ngrams.learn(texts(1), 2, 1).count(texts(2))
    weights = np.random.default_rng(0).normal(size=(3, cells.n_columns))
    np.testing.assert_allclose(cells.times(weights), dense(cells) @ weights.T, atol=1e-12)
