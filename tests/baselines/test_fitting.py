"""Baselines equal scikit-learn's fits, are chosen on validation data, and ignore word order."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.svm import LinearSVC

from unrolled.baselines import BaselineConfig, FittedBaseline, Labelled, fit_baselines
from unrolled.baselines.config import FAMILIES
from unrolled.baselines.sklearn_models import log_count_ratios
from unrolled.config import from_mapping, to_mapping
from unrolled.errors import ConfigError, DataError, UnavailableError
from unrolled.metrics.multi_label import choose_thresholds
from unrolled.samples import order

WORDS = ("this", "phone", "film", "is", "was", "not", "no", "good", "bad", "great", "a", "the", ".")
LABELS = ("bad", "fair", "good")


def accuracy(truth: Sequence[object], found: Sequence[object]) -> float:
    return sum(a == b for a, b in zip(truth, found, strict=True)) / len(truth)


def make(n_labels: int, seed: int, n: int = 61, n_texts: int = 1) -> Labelled:
    """Texts whose words and word pairs determine their labels; one in five has a random label."""
    generator = np.random.default_rng(seed)
    examples, targets = [], []
    for _ in range(n):
        example = [
            [WORDS[i] for i in generator.integers(0, len(WORDS), generator.integers(0, 9))]
            for _ in range(n_texts)
        ]
        worth = sum(
            2 * text.count("good")
            - 2 * text.count("bad")
            + (("not", "good") in itertools.pairwise(text))
            for text in example
        )
        label = int(np.clip(worth + n_labels // 2, 0, n_labels - 1))
        if generator.random() < 0.2:
            label = int(generator.integers(0, n_labels))
        examples.append(example)
        targets.append(LABELS[label])
    return Labelled(examples, targets)


def make_sets(seed: int) -> Labelled:
    data = make(3, seed)
    targets = [
        frozenset(
            {label for label in (label, "long" * (len(text) > 4)) if label and label != "fair"}
        )
        for label, (text,) in zip(data.targets, data.texts, strict=True)
    ]
    return Labelled(data.texts, targets)


def fit(train: Labelled, valid: Labelled, family: str, **options: object) -> FittedBaseline:
    options = {"c_values": (1.0,), "min_texts": 2, **options}
    config = BaselineConfig(families=(family,), **options)  # type: ignore[arg-type]
    (fitted,) = fit_baselines(train, valid, accuracy, config)
    return fitted


def grams(text: list[str], longest: int) -> list[tuple[str, ...]]:
    return [
        tuple(text[start : start + n])
        for n in range(1, longest + 1)
        for start in range(len(text) - n + 1)
    ]


def theirs(kind: type, train: Labelled, valid: Labelled, n: int, **options: object):
    """Features of training and validation texts, concatenated over the texts of an example."""
    sides = []
    for side in range(len(train.texts[0])):
        vectorizer = kind(analyzer=lambda text: grams(text, n), min_df=2, **options)
        learned = vectorizer.fit_transform([example[side] for example in train.texts]).toarray()
        sides.append((learned, vectorizer.transform([e[side] for e in valid.texts]).toarray()))
    return np.hstack([a for a, _ in sides]), np.hstack([b for _, b in sides])


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("n_texts", [1, 2])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("family", ["unigrams", "bigrams", "trigrams"])
def test_ngram_predictions_equal_scikit_learn(
    family: str, class_weights: str, n_texts: int, n_labels: int
) -> None:
    train, valid = (make(n_labels, seed, n_texts=n_texts) for seed in (1, 2))
    fitted = fit(train, valid, family, class_weights=class_weights, c_values=(3.0,))
    n = FAMILIES[family].n  # type: ignore[union-attr]
    x, new = theirs(TfidfVectorizer, train, valid, n, sublinear_tf=True)
    weights = None if class_weights == "none" else "balanced"
    model = LogisticRegression(C=3.0, class_weight=weights, max_iter=1000).fit(x, train.targets)
    expected = model.predict_proba(new)
    assert fitted.baseline.labels == tuple(model.classes_)
    np.testing.assert_allclose(fitted.baseline.probabilities(valid.texts), expected, atol=1e-6)
    assert fitted.baseline.predict(valid.texts) == model.predict(new).tolist()
    assert fitted.score == accuracy(valid.targets, model.predict(new).tolist())
    assert fitted.n_features == x.shape[1]


@pytest.mark.parametrize("family", ["unigrams", "bigrams"])
def test_multiple_labels_use_one_vs_rest(family: str) -> None:
    train, valid = make_sets(1), make_sets(2)
    fitted = fit(train, valid, family, c_values=(10.0,))
    n = FAMILIES[family].n  # type: ignore[union-attr]
    x, new = theirs(TfidfVectorizer, train, valid, n, sublinear_tf=True)
    binarizer = MultiLabelBinarizer()
    model = OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=1000))
    model.fit(x, binarizer.fit_transform(train.targets))
    expected = model.predict_proba(new)
    assert fitted.baseline.labels == tuple(binarizer.classes_)
    np.testing.assert_allclose(fitted.baseline.probabilities(valid.texts), expected, atol=1e-6)
    is_so = expected >= fitted.baseline.thresholds
    sets = [frozenset(labels) for labels in binarizer.inverse_transform(is_so)]
    assert fitted.baseline.predict(valid.texts) == sets
    assert frozenset() in sets
    assert max(map(len, sets)) > 1


@pytest.mark.parametrize("family", ["bigrams", "nb_logistic", "nb_svm"])
def test_thresholds_are_tuned_on_validation_as_for_a_model(family: str) -> None:
    train, valid = make_sets(1), make_sets(2)
    baseline = fit(train, valid, family, c_values=(0.3,)).baseline
    gold = np.array([[label in target for label in baseline.labels] for target in valid.targets])
    chances = 1 / (1 + np.exp(-baseline.margins(valid.texts)))
    expected = choose_thresholds(gold, chances)
    np.testing.assert_allclose(baseline.thresholds, expected, rtol=0, atol=1e-12)
    assert (baseline.thresholds != 0.5).any()

    def f1(thresholds) -> list[float]:
        found = chances >= thresholds
        return [
            2 * (g & p).sum() / max(1, g.sum() + p.sum())
            for g, p in zip(gold.T, found.T, strict=True)
        ]

    chosen, half = f1(baseline.thresholds), f1(np.full(len(baseline.labels), 0.5))
    assert all(a >= b for a, b in zip(chosen, half, strict=True))
    assert sum(chosen) > sum(half)


def test_labels_only_in_validation_are_ignored() -> None:
    train, valid = make_sets(1), make_sets(2)
    more = Labelled(valid.texts, [*valid.targets[:-1], frozenset({"new"})])
    baseline = fit(train, more, "unigrams").baseline
    assert "new" not in baseline.labels
    assert len(baseline.thresholds) == len(baseline.labels)


def transcription(x, new, y, c: float, beta: float | None) -> np.ndarray:
    """Wang & Manning 2012, sections 2.1 to 2.3, directly; margins of new texts for label y."""
    alpha, n_features = 1.0, x.shape[1]
    p = [alpha + sum(x[i][f] for i in range(len(x)) if y[i]) for f in range(n_features)]
    q = [alpha + sum(x[i][f] for i in range(len(x)) if not y[i]) for f in range(n_features)]
    r = np.array([np.log((p[f] / sum(p)) / (q[f] / sum(q))) for f in range(n_features)])
    options = {"C": c, "max_iter": 1000}
    if beta is None:
        model = LogisticRegression(**options).fit(x * r, y)
        return (new * r) @ model.coef_[0] + model.intercept_[0]
    model = LinearSVC(dual=False, **options).fit(x * r, y)
    w, b = model.coef_[0], model.intercept_[0]
    w_bar = np.abs(w).sum() / n_features
    bias = np.log(sum(y) / (len(y) - sum(y)))
    return (new * r) @ ((1 - beta) * w_bar + beta * w) + (1 - beta) * w_bar * bias + beta * b


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("n_texts", [1, 2])
@pytest.mark.parametrize(
    ("family", "beta"), [("nb_logistic", None), ("nb_svm", 0.25), ("nb_svm", 1)]
)
def test_naive_bayes_features_are_those_of_the_paper(
    family: str, beta: float | None, n_texts: int, n_labels: int
) -> None:
    train, valid = (make(n_labels, seed, n_texts=n_texts) for seed in (1, 2))
    options = {} if beta is None else {"interpolation": beta}
    fitted = fit(train, valid, family, c_values=(0.3,), **options)
    x, new = theirs(CountVectorizer, train, valid, 2, binary=True)
    labels = sorted(set(train.targets))  # type: ignore[type-var]
    margins = np.stack(
        [
            transcription(x, new, [target == label for target in train.targets], 0.3, beta)
            for label in (labels if n_labels > 2 else labels[1:])
        ],
        axis=1,
    )
    ours = fitted.baseline.margins(valid.texts)
    if n_labels == 2:
        ours = ours[:, 1:] - ours[:, :1]
    # The paper's margins are the model's within the solvers' tolerance.
    np.testing.assert_allclose(ours, margins, atol=1e-5)
    best = (margins[:, 0] > 0).astype(int) if n_labels == 2 else margins.argmax(1)
    assert fitted.baseline.predict(valid.texts) == [labels[c] for c in best]
    assert fitted.baseline.has_probabilities == (beta is None)
    if beta is None:
        chances = 1 / (1 + np.exp(-margins))
        if n_labels == 2:
            chances = np.hstack([1 - chances, chances])
        chances /= chances.sum(1, keepdims=True)
        np.testing.assert_allclose(fitted.baseline.probabilities(valid.texts), chances, atol=1e-5)
    else:
        with pytest.raises(ConfigError, match="'nb_svm' has margins but no probabilities"):
            fitted.baseline.probabilities(valid.texts)


def test_several_labels_with_naive_bayes_features() -> None:
    train, valid = make_sets(1), make_sets(2)
    fitted = fit(train, valid, "nb_svm")
    x, new = theirs(CountVectorizer, train, valid, 2, binary=True)
    for c, label in enumerate(fitted.baseline.labels):
        is_so = [label in target for target in train.targets]
        expected = transcription(x, new, is_so, 1.0, 0.25)
        np.testing.assert_allclose(fitted.baseline.margins(valid.texts)[:, c], expected, atol=1e-5)
        answers = [label in answer for answer in fitted.baseline.predict(valid.texts)]
        chances = 1 / (1 + np.exp(-expected))
        assert answers == (chances >= fitted.baseline.thresholds[c]).tolist()


def test_interpolation_zero_is_naive_bayes() -> None:
    train, valid = make(2, 1), make(2, 2)
    fitted = fit(train, valid, "nb_svm", interpolation=0.0)
    x, new = theirs(CountVectorizer, train, valid, 2, binary=True)
    is_good = np.array([target == "fair" for target in train.targets])
    p, q = (1 + x[here].sum(0) for here in (is_good, ~is_good))
    # Multinomial naive Bayes, up to a factor: the log-odds of the counts.
    odds = new @ np.log((p / p.sum()) / (q / q.sum())) + np.log(is_good.sum() / (~is_good).sum())
    margins = fitted.baseline.margins(valid.texts)
    ratio = (margins[:, 1] - margins[:, 0]) / odds
    np.testing.assert_allclose(ratio, ratio[0])
    assert ratio[0] > 0


def test_log_count_ratios_are_against_the_rest() -> None:
    train = make(2, 1)
    baseline = fit(train, train, "nb_logistic").baseline
    features = baseline.features(train.texts)
    is_good = np.array([target == "fair" for target in train.targets])
    ratios = log_count_ratios(features, is_good, 0.5)
    np.testing.assert_allclose(ratios, -log_count_ratios(features, ~is_good, 0.5))


def test_the_majority_ignores_the_text() -> None:
    train = Labelled([[["a"]], [["b"]], [["c"]]], ["no", "yes", "yes"])
    (fitted,) = fit_baselines(train, train, accuracy, BaselineConfig(("majority",)))
    assert fitted.baseline.predict([[["a"]], [[]]]) == ["yes", "yes"]
    np.testing.assert_allclose(fitted.baseline.probabilities([[["z"]]]), [[1 / 3, 2 / 3]])
    assert (fitted.score, fitted.c, fitted.tried, fitted.n_features) == (2 / 3, None, (), 0)
    sets = Labelled(train.texts, [frozenset({"x", "y"}), frozenset({"x"}), frozenset({"x"})])
    (fitted,) = fit_baselines(sets, sets, accuracy, BaselineConfig(("majority",)))
    assert fitted.baseline.predict([[["a"]]]) == [frozenset({"x"})]
    np.testing.assert_allclose(fitted.baseline.probabilities([[[]]]), [[3.5 / 4, 1.5 / 4]])


# Selection


def test_the_best_validation_value_wins_ties_to_the_smallest() -> None:
    train, valid = make(3, 1), make(3, 2)
    values = (30.0, 0.001, 1.0, 1.0)
    fitted = fit(train, valid, "unigrams", c_values=values)
    assert [c for c, _ in fitted.tried] == [0.001, 1.0, 30.0]
    alone = {c: fit(train, valid, "unigrams", c_values=(c,)) for c in values}
    assert fitted.tried == tuple((c, alone[c].score) for c in sorted(set(values)))
    assert len({score for _, score in fitted.tried}) > 1
    best = max(score for _, score in fitted.tried)
    assert fitted.c == min(c for c, score in fitted.tried if score == best)
    assert fitted.score == best
    # One value among others is fitted as if it were alone.
    assert (fitted.baseline.weights == alone[fitted.c].baseline.weights).all()
    config = BaselineConfig(("unigrams",), c_values=values)
    (indifferent,) = fit_baselines(train, valid, lambda truth, found: 7.0, config)
    assert (indifferent.c, indifferent.score) == (0.001, 7.0)


@pytest.mark.parametrize("family", ["unigrams", "nb_logistic", "nb_svm"])
def test_families_have_their_own_c_values(family: str) -> None:
    fitted = fit(make(2, 1), make(2, 2), family, c_values=None)
    values = FAMILIES[family].c_values  # type: ignore[union-attr]
    assert tuple(c for c, _ in fitted.tried) == values == tuple(sorted(values))


def test_nan_scores_are_not_chosen() -> None:
    scores = iter([float("nan"), 0.25, float("nan")])
    config = BaselineConfig(("unigrams",), c_values=(0.1, 1.0, 10.0))
    data = make(2, 1)
    (fitted,) = fit_baselines(data, data, lambda truth, found: next(scores), config)
    assert (fitted.c, fitted.score) == (1.0, 0.25)


def test_controls_read_one_text_only() -> None:
    train, valid = (make(3, seed, n_texts=2) for seed in (1, 2))
    reads = ("all", "first", "second")
    config = BaselineConfig(("majority", "bigrams"), reads, (1.0,), min_texts=2)
    fitted = {each.name: each for each in fit_baselines(train, valid, accuracy, config)}
    assert list(fitted) == ["majority", "bigrams", "bigrams-first", "bigrams-second"]
    for side, name in enumerate(("bigrams-first", "bigrams-second")):
        alone = fit(
            *(Labelled([[e[side]] for e in data.texts], data.targets) for data in (train, valid)),
            "bigrams",
        )
        baseline = fitted[name].baseline
        assert (baseline.weights == alone.baseline.weights).all()
        assert fitted[name].score == alone.score
        other = [[e[0], ["good"]] if side == 0 else [["bad"], e[1]] for e in valid.texts]
        assert (baseline.margins(other) == baseline.margins(valid.texts)).all()


def test_the_same_data_give_the_same_baselines() -> None:
    train, valid = make(3, 1), make(3, 2)
    config = BaselineConfig(c_values=(0.3, 3.0))
    runs = [list(fit_baselines(train, valid, accuracy, config)) for _ in range(2)]
    assert [each.name for each in runs[0]] == list(FAMILIES)
    for one, other in zip(*runs, strict=True):
        assert (one.baseline.weights == other.baseline.weights).all()
        assert (one.baseline.bias == other.baseline.bias).all()
        assert {**one.figures(), "seconds": 0} == {**other.figures(), "seconds": 0}
        assert one.seconds > 0
        assert one.converged
        assert one.n_train == 61


def test_a_fit_that_does_not_converge_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.baselines.sklearn_models._MOST_ITERATIONS", 2)
    for family in ("unigrams", "nb_svm"):
        fitted = fit(make(3, 1), make(3, 2), family, c_values=(30.0,))
        assert fitted.converged is False
        assert fitted.figures()["converged"] is False


# Word order


def test_bags_of_words_are_at_chance_if_only_order_matters() -> None:
    sample = order.generate(n_train=1200, n_valid=100, n_test=400)
    train, valid, test = (
        Labelled([[s.text.split()] for s in part], [s.label for s in part])
        for part in (sample.train, sample.valid, sample.test)
    )
    config = BaselineConfig(("unigrams", "bigrams", "trigrams"), c_values=(10.0,))
    scores = {}
    for fitted in fit_baselines(train, valid, accuracy, config):
        answers = fitted.baseline.predict(test.texts)
        scores[fitted.name] = accuracy(test.targets, answers)
        n = FAMILIES[fitted.name].n  # type: ignore[union-attr]
        blind = [i for i, s in enumerate(sample.test) if s.n_shared >= n]
        right = [answers[i] == test.targets[i] for i in blind]
        assert np.mean(right) == 0.5
    assert scores["unigrams"] == 0.5
    assert 0.55 < scores["bigrams"] <= 0.63
    assert 0.65 < scores["trigrams"] <= 0.75


# Special cases and errors


def test_a_constant_label_is_accepted() -> None:
    texts = [[["a"]], [["b"]], [["a", "b"]]]
    sets = Labelled(texts, [frozenset({"all"}), frozenset({"all", "b"}), frozenset({"all", "b"})])
    for family in ("unigrams", "nb_logistic", "nb_svm"):
        fitted = fit(sets, sets, family, min_texts=1)
        assert all("all" in answer for answer in fitted.baseline.predict(texts))
        assert np.isfinite(fitted.baseline.margins(texts)).all()
    one = Labelled(texts, ["only"] * 3)
    for family in ("unigrams", "nb_svm"):
        fitted = fit(one, one, family)
        assert (fitted.score, fitted.c) == (1.0, None)
        assert fitted.baseline.predict([[["new"]]]) == ["only"]


def test_texts_without_a_known_word_get_the_bias() -> None:
    train, valid = make(3, 1), make(3, 2)
    fitted = fit(train, valid, "bigrams")
    margins = fitted.baseline.margins([[[]], [["unseen"]]])
    assert (margins == fitted.baseline.bias).all()
    nothing = fit(train, valid, "bigrams", min_texts=1000)
    assert (nothing.n_features, nothing.c) == (0, None)
    shares = [train.targets.count(label) / 61 for label in nothing.baseline.labels]
    np.testing.assert_allclose(nothing.baseline.probabilities(valid.texts[:1]), [shares])


def test_labels_only_in_validation_count_as_errors() -> None:
    train = make(2, 1)
    valid = Labelled(train.texts, ["unseen"] * len(train.texts))
    assert fit(train, valid, "unigrams").score == 0.0


def test_a_missing_scikit_learn_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(2, 1)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", None)
    with pytest.raises(
        UnavailableError, match=r"needs scikit-learn; run pip install 'unrolled\[base"
    ):
        fit_baselines(data, data, accuracy)
    (fitted,) = fit_baselines(data, data, accuracy, BaselineConfig(("majority",)))
    assert fitted.score > 0.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ("bigram",)}, "baselines.families: unknown 'bigram'; did you mean 'bigrams'"),
        ({"reads": ("third",)}, "baselines.reads must be one of all, first, second, got 'third'"),
        ({"c_values": ()}, "baselines.c_values must be one or more numbers above 0, or none, got"),
        (
            {"c_values": (1.0, 0.0)},
            "baselines.c_values must be one or more numbers above 0, or none, got",
        ),
        ({"class_weights": "some"}, "baselines.class_weights must be none or balanced"),
        ({"min_texts": 0}, "baselines.min_texts must be at least 1, got 0"),
        ({"smoothing": 0.0}, "baselines.smoothing must be above 0"),
        ({"interpolation": 1.5}, "baselines.interpolation must be 0 to 1, got 1.5"),
    ],
)
def test_invalid_settings_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BaselineConfig(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_settings_survive_a_recipe_round_trip() -> None:
    for config in (
        BaselineConfig(),
        BaselineConfig(("nb_svm",), ("second",), (0.1, 3.0), "balanced"),
    ):
        assert from_mapping(BaselineConfig, to_mapping(config), "baselines") == config


def test_invalid_data_are_named() -> None:
    data, sets = make(2, 1), make_sets(1)
    empty = Labelled([], [])
    with pytest.raises(DataError, match="need training examples; there are none"):
        fit_baselines(empty, data, accuracy)
    with pytest.raises(DataError, match="choose C on validation examples; there are none"):
        fit_baselines(data, empty, accuracy)
    with pytest.raises(DataError, match="no training example has any"):
        fit_baselines(Labelled([[["a"]]], [frozenset()]), sets, accuracy)
    with pytest.raises(ValueError, match="both be labels, or both sets"):
        fit_baselines(data, sets, accuracy)
    with pytest.raises(ValueError, match="got 2 targets for 1 examples"):
        Labelled([[["a"]]], ["x", "y"])
    with pytest.raises(ValueError, match="all labels or all sets"):
        Labelled([[["a"]], [["b"]]], ["x", frozenset({"y"})])
    pairs = make(2, 1, n_texts=2)
    with pytest.raises(ValueError, match="example 0 has 2 texts, expected 1"):
        fit_baselines(data, pairs, accuracy)
    with pytest.raises(ValueError, match="example 1 has a text that is a string; pass a list of"):
        fit_baselines(Labelled([[["a"]], ["a b"]], ["x", "y"]), data, accuracy)
    with pytest.raises(ConfigError, match=r"baselines.reads = 'second': examples have 1 text"):
        fit_baselines(data, data, accuracy, BaselineConfig(reads=("second",)))
