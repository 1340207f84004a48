"""What is counted beside a network: the features of scikit-learn, shares of tokens, first texts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from unrolled.baselines.character_ngrams import CharacterNgrams
from unrolled.baselines.counting import MOST_FIRSTS, Counting
from unrolled.baselines.ngram_scores import TFIDF_C_VALUES, NgramScores
from unrolled.errors import DataError, RunError

ODD = ["Good good FILMS", "a", "", "ß é 👍👍 it's", "goodness a good a", "films , films"]
FIRSTS = ["the plot", "the cast"]
SECONDS = [
    *("so good it hurts", "badly made", "a good good one", "bad , bad and Bad", "quite goodish"),
    *("not bad", "as good as it gets", "awfully bad", "what a gem", "what a bore", "good"),
]
EXAMPLES = [[first.split(), second.split()] for second in SECONDS for first in FIRSTS]
CLASSES = np.array([(n % 2 + n // 3) % 3 for n in range(len(EXAMPLES))])
TRUTH = np.eye(3, dtype=bool)[CLASSES]
KINDS = {
    "characters": {"n": 0, "characters": 4},
    "both": {"n": 2, "characters": 3},
    "words by first": {"n": 2, "by_first": True},
    "all": {"n": 2, "characters": 5, "by_first": True},
}
UNHEARD = [[["the", "sound"], ["so", "good", "goody"]], [[], []], [["the", "plot"], ["xyz"]]]


@cache
def fitted(kind: str, multi_label: bool = False) -> NgramScores:
    return NgramScores.fit(EXAMPLES, TRUTH, multi_label=multi_label, **KINDS[kind])


def dense(cells) -> np.ndarray:
    found = np.zeros((cells.n_rows, cells.n_columns))
    found[cells.rows, cells.columns] = cells.values
    return found


def shares(scores: NgramScores, side: int, examples) -> list[np.ndarray]:
    counting = scores.counting
    texts = [counting.texts_of(example, example[0], [{}, {}]) for example in examples]
    return scores.token_scores(side, [text[side] for text in texts])


@pytest.mark.parametrize("longest", [2, 3, 5])
def test_counts_are_those_of_char_wb(longest) -> None:
    vectorizer = CountVectorizer(analyzer="char_wb", ngram_range=(2, longest))
    wanted = vectorizer.fit_transform(ODD).toarray()
    texts = [text.split() for text in ODD]
    ngrams = CharacterNgrams.learn(texts, longest, min_texts=1)
    assert list(ngrams.grams) == sorted(vectorizer.vocabulary_)
    order = [vectorizer.vocabulary_[gram] for gram in ngrams.grams]
    np.testing.assert_array_equal(dense(ngrams.count(texts)), wanted[:, order])
    unheard = ["a goose", "", "xyz"]
    found = dense(ngrams.count([text.split() for text in unheard]))
    np.testing.assert_array_equal(found, vectorizer.transform(unheard).toarray()[:, order])


def test_values_are_the_tfidf_of_scikit_learn() -> None:
    texts = [[text.split()] for text in ODD * 2]
    counting = Counting.learn(texts, n=0, characters=4)
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2
    )
    wanted = vectorizer.fit_transform(ODD * 2).toarray()
    order = [vectorizer.vocabulary_[gram] for gram in counting.characters[0].grams]
    assert len(order) == len(vectorizer.vocabulary_)
    np.testing.assert_allclose(dense(counting.features(texts)), wanted[:, order], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("multi_label", [False, True])
def test_shares_of_tokens_add_up_to_the_scores(kind, multi_label) -> None:
    scores = fitted(kind, multi_label)
    examples = [*EXAMPLES, *UNHEARD]
    sides = [shares(scores, side, examples) for side in (0, 1)]
    for side, rows in enumerate(sides):
        assert [len(row) for row in rows] == [len(example[side]) for example in examples]
    summed = sum(np.stack([row.sum(0) for row in rows]) for rows in sides) + scores.bias
    np.testing.assert_allclose(summed, scores.scores(examples), rtol=1e-10, atol=1e-12)


def test_a_token_has_the_weights_of_its_characters() -> None:
    scores = fitted("characters")
    counting, text = scores.counting, ["Good", "goo"]
    features = dense(counting.features([[[], text]]))[0]
    start = len(counting.characters[0])
    index = {gram: start + i for i, gram in enumerate(counting.characters[1].grams)}
    found = shares(scores, 1, [[[], text]])[0]
    wanted = np.zeros((2, 3))
    for gram, at in index.items():
        counts = [f" {token} ".count(gram) for token in ("good", "goo")]
        if sum(counts):
            value = features[at] * scores.weights[:, at]
            wanted += np.outer(counts, value) / sum(counts)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_fit_is_logistic_regression_on_augmented_features() -> None:
    """Equals scikit-learn on a matrix whose columns are repeated for each first text."""
    scores = fitted("all")
    counting = scores.counting
    shared = dense(replace(counting, firsts=()).features(EXAMPLES))[:, : counting.n_shared]
    start = len(counting.ngrams[0]) + len(counting.characters[0])
    is_second = np.arange(counting.n_shared) >= start
    blocks = [shared]
    for first in sorted(FIRSTS):
        here = np.array([" ".join(example[0]) == first for example in EXAMPLES])
        own = shared * here[:, None]
        blocks.append(own[:, ((own > 0).sum(0) > 1) & is_second])
    matrix = np.concatenate(blocks, axis=1)
    assert matrix.shape[1] == len(counting)
    wanted = [
        LogisticRegression(C=scores.c, tol=1e-8, max_iter=1000)
        .fit(matrix, truth)
        .decision_function(matrix)
        for truth in TRUTH.T
    ]
    np.testing.assert_allclose(scores.scores(EXAMPLES), np.stack(wanted, 1), atol=2e-3)
    assert scores.c in TFIDF_C_VALUES


def test_a_first_text_has_weights_of_its_own() -> None:
    truth = np.array(
        [[first == "the plot", first != "the plot"] for _ in SECONDS for first in FIRSTS]
    )
    truth[::6] = truth[::6, ::-1]
    examples = [[["x", *first], second] for first, second in EXAMPLES]
    scores = NgramScores.fit(examples, truth, n=1, by_first=True)
    [plot], [cast] = (
        shares(scores, 1, [[["x", "the", each], ["good"]]]) for each in ("plot", "cast")
    )
    assert not np.allclose(plot, cast)


def test_an_unknown_first_text_has_the_shared_weights() -> None:
    scores = fitted("all")
    weights = scores.weights.copy()
    weights[:, scores.counting.n_shared :] = 0
    shared = replace(scores, weights=weights)
    unheard = [[["the", "sound"], second] for _, second in EXAMPLES]
    np.testing.assert_array_equal(scores.scores(unheard), shared.scores(unheard))
    assert not np.allclose(scores.scores(EXAMPLES), shared.scores(EXAMPLES))


def test_too_many_first_texts_are_refused() -> None:
    examples = [[[str(n)], ["good"]] for n in range(MOST_FIRSTS + 1)]
    with pytest.raises(DataError) as caught:
        Counting.learn(examples, n=1, by_first=True)
    assert str(caught.value) == (
        "model.ngrams_by_first is for at most 50 different first texts, found 51; set it to false"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_same_scores(tmp_path, kind) -> None:
    scores = fitted(kind)
    scores.save(tmp_path / "ngrams.safetensors")
    again = NgramScores.load(tmp_path / "ngrams.safetensors")
    examples = [*EXAMPLES, *UNHEARD]
    assert np.array_equal(again.scores(examples), scores.scores(examples))
    for one, other in zip(shares(scores, 1, examples), shares(again, 1, examples), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("characters.1"),
        lambda arrays: arrays.pop("longest.0"),
        lambda arrays: arrays.pop("own"),
        lambda arrays: arrays.update(idf=arrays["idf"][1:].copy()),
        lambda arrays: arrays.update(own=arrays["own"][1:].copy()),
        lambda arrays: arrays.update(firsts=np.frombuffer(b'{"a": 1}', np.uint8)),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change) -> None:
    path = tmp_path / "ngrams.safetensors"
    fitted("all").save(path)
    arrays = load_arrays(path.read_bytes())
    change(arrays)
    path.write_bytes(save_arrays(arrays))
    with pytest.raises(RunError, match="the counts of n-grams are damaged"):
        NgramScores.load(path)
