"""Tags from the word alone, and from its context, compared with a count and with scikit-learn."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from unrolled.baselines import (
    BaselineConfig,
    Tagged,
    TaggingBaseline,
    fit_tagging_baselines,
    load_baseline,
)
from unrolled.baselines.tagging import window_features
from unrolled.errors import DataError

WORDS = ["Ann", "Bob", "runs", "run", "home", "the", "The", "U.S.", "25", "x"]
TAGS = ["NAME", "VERB", "NOUN", "DET"]


def make(seed: int, n: int = 37) -> Tagged:
    generator = np.random.default_rng(seed)
    sentences, tags = [], []
    for length in [0, 1, *generator.integers(1, 8, n - 2)]:
        words = [WORDS[i] for i in generator.integers(0, len(WORDS), length)]
        noise = generator.integers(0, 9, length)
        sentences.append(words)
        tags.append(
            [TAGS[(WORDS.index(w) // 2 + (e == 0)) % 4] for w, e in zip(words, noise, strict=True)]
        )
    return Tagged(sentences, tags)


def share_right(truth, found) -> float:
    pairs = list(zip(chain(*truth), chain(*found), strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


@pytest.fixture(scope="module")
def fitted():
    return list(fit_tagging_baselines(make(1), make(2), share_right))


def test_the_frequent_tag_equals_a_count(fitted) -> None:
    train, valid, baseline = make(1), make(2), fitted[0].baseline
    counts: dict[str, Counter[str]] = {}
    for word, tag in zip(chain(*train.sentences), chain(*train.tags), strict=True):
        counts.setdefault(word, Counter())[tag] += 1
    overall = Counter(chain(*train.tags))
    n_tokens = sum(overall.values())

    def best(word: str) -> str:
        count = counts.get(word, overall)
        return max(overall, key=lambda tag: (count[tag], overall[tag]))

    sentences = [*valid.sentences, ["unseen", "Ann"]]
    assert baseline.predict(sentences) == [[best(word) for word in s] for s in sentences]
    assert fitted[0].score == share_right(valid.tags, baseline.predict(valid.sentences))
    assert (fitted[0].name, fitted[0].c, fitted[0].n_features) == ("frequent_tag", None, 10)
    unseen, ann = baseline.probabilities([["unseen", "Ann"]])[0]
    prior = np.array([overall[tag] / n_tokens for tag in baseline.labels])
    np.testing.assert_allclose(unseen, prior)
    said = np.array([counts["Ann"][tag] for tag in baseline.labels])
    np.testing.assert_allclose(ann, (said + prior / 2) / (said.sum() + 0.5))


def test_the_more_frequent_tag_breaks_a_tie() -> None:
    data = Tagged([["tie", "tie", "b", "b"]], [["A", "B", "B", "B"]])
    frequent, _ = fit_tagging_baselines(data, data, share_right)
    assert frequent.baseline.predict([["tie"]]) == [["B"]]


def test_logistic_regression_equals_scikit_learn(fitted) -> None:
    train, valid = make(1), make(2)

    def rows(data: Tagged) -> list[dict[str, int]]:
        return [dict.fromkeys(row, 1) for s in data.sentences for row in window_features(s)]

    n_tokens = Counter(chain.from_iterable(rows(train)))
    kept = {name for name, number in n_tokens.items() if number >= 2}
    learned, new = (
        [{name: 1 for name in row if name in kept} for row in rows(data)] for data in (train, valid)
    )
    vectorizer = DictVectorizer().fit(learned)
    model = LogisticRegression(C=fitted[1].c, max_iter=1000)
    model.fit(vectorizer.transform(learned), list(chain(*train.tags)))
    expected = model.predict_proba(vectorizer.transform(new))
    chances = fitted[1].baseline.probabilities(valid.sentences)
    assert [len(each) for each in chances] == [len(sentence) for sentence in valid.sentences]
    np.testing.assert_allclose(np.concatenate(chances), expected, atol=1e-5)
    assert [c for c, _ in fitted[1].tried] == [1.0, 10.0]
    assert fitted[1].score == max(score for _, score in fitted[1].tried)
    assert fitted[1].n_features == len(kept)
    assert fitted[1].n_train == 37


def test_the_context_of_a_word_is_used() -> None:
    sentences = [["to", "run"], ["a", "run"], ["to", "walk"], ["a", "walk"]]
    data = Tagged(sentences, [["P", "V"], ["D", "N"]] * 2)
    config = BaselineConfig(c_values=(10.0,), min_texts=1)
    frequent, logistic = fit_tagging_baselines(data, data, share_right, config)
    assert logistic.score == 1.0
    assert frequent.score == 0.75


def test_features_of_a_token() -> None:
    features = window_features(["In", "the", "U.S.", "2024-05"])
    assert features[2][:3] == ["word U.S.", "lower u.s.", "shape X.X."]
    assert {"starts u.s", "ends .s.", "starts u.s.", "-2 in", "-1 the", "+1 2024-05", "+2 "} <= {
        *features[2]
    }
    assert "shape 0-0" in features[3]
    assert {"starts i", "starts in", "ends n", "ends in"} == {
        each for each in features[0] if each.startswith(("starts", "ends"))
    }
    assert window_features([]) == []


def test_saving_and_loading_round_trips(tmp_path: Path, fitted) -> None:
    sentences = [*make(3).sentences, ["new", "words", "\ud800"]]
    for each in fitted:
        each.baseline.save(tmp_path / each.name, each.figures())
        loaded = load_baseline(tmp_path / each.name)
        assert isinstance(loaded, TaggingBaseline)
        assert loaded.name == each.name
        assert loaded.labels == tuple(sorted(TAGS))
        assert loaded.predict(sentences) == each.baseline.predict(sentences)
        for one, other in zip(
            loaded.probabilities(sentences), each.baseline.probabilities(sentences), strict=True
        ):
            assert (one == other).all()


def test_an_empty_list_of_sentences_is_accepted(fitted) -> None:
    for each in fitted:
        assert each.baseline.predict([]) == []
        assert each.baseline.probabilities([]) == []
        assert each.baseline.predict([[], ["Ann"], []])[::2] == [[], []]
        assert [len(c) for c in each.baseline.probabilities([[], ["Ann"], []])] == [0, 1, 0]


def test_invalid_data_are_named(fitted) -> None:
    with pytest.raises(ValueError, match="sentence 1 has 2 tokens and 1 tags"):
        Tagged([["a"], ["b", "c"]], [["A"], ["B"]])
    with pytest.raises(ValueError, match="tags of 1 sentences for 2 sentences"):
        Tagged([["a"], ["b"]], [["A"]])
    with pytest.raises(ValueError, match="sentence 0 is a string; pass a list of its tokens"):
        Tagged(["ab"], [["A", "B"]])
    nothing = Tagged([[]], [[]])
    with pytest.raises(DataError, match="need training tokens; there are none"):
        fit_tagging_baselines(nothing, make(1), share_right)
    with pytest.raises(DataError, match="need validation tokens; there are none"):
        fit_tagging_baselines(make(1), nothing, share_right)
    with pytest.raises(ValueError, match="sentence 1 is a string; pass a list of its tokens"):
        fitted[0].baseline.predict([["a"], "b c"])
