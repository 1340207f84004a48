"""Fit baselines with scikit-learn, and choose how far to regularise them on validation data.

Families:

- `majority`: the most frequent label, whatever the text.
- `unigrams`, `bigrams`, `trigrams`: TF-IDF of n-grams up to that n, logistic regression.
- `nb_logistic`: presence of unigrams and bigrams times their log-count ratio r, logistic regression.
- `nb_svm`: the same with a support vector machine, interpolated with naive Bayes.

The last two are of Wang & Manning 2012, "Baselines and bigrams: simple, good sentiment and topic
classification". With f̂ the presence of the features and y the label, for or against,

    p = α + Σ_{i: for} f̂_i        q = α + Σ_{i: against} f̂_i        r = ln((p / ‖p‖₁) / (q / ‖q‖₁))

a linear model (w, b) is fitted on f̃ = r ∘ f̂. The support vector machine of the paper is interpolated with
multinomial naive Bayes (its section 2.3), whose weights on f̃ are all alike and whose bias is
ln(n_for / n_against):

    w' = (1 − β) w̄ + β w        w̄ = ‖w‖₁ / F

The bias goes the same way, which the paper leaves open: b' = (1 − β) w̄ ln(n_for / n_against) + β b. More
than two labels are taken one against all others, and so is each of several that an example may have.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from unrolled.baselines.features import Cells, Ngrams, beside, inverse_frequencies, presence, tfidf
from unrolled.baselines.linear import (
    Baseline,
    Example,
    Link,
    Target,
    Weighting,
    check_examples,
)
from unrolled.config import require
from unrolled.errors import ConfigError, DataError, UnavailableError, did_you_mean

Score: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], float]
"""Truth, predictions → a figure of which more is better."""

Reads = Literal["all", "first", "second"]

_MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class Family:
    """How the features of a baseline are made and weighed.

    Args:
        n: the longest n-grams.
        weighting: of a feature.
        c_values: tried where the configuration names none. Features of length 1 want a larger C than
            features that are present or not, and logistic regression a larger one than an SVM.
        has_ratios: whether features are scaled by their log-count ratios.
        is_svm: whether a support vector machine, interpolated with naive Bayes, takes the place of
            logistic regression.
    """

    n: int
    weighting: Weighting
    c_values: tuple[float, ...]
    has_ratios: bool = False
    is_svm: bool = False


_OF_TFIDF = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

FAMILIES: dict[str, Family | None] = {
    "majority": None,
    "unigrams": Family(1, "tfidf", _OF_TFIDF),
    "bigrams": Family(2, "tfidf", _OF_TFIDF),
    "trigrams": Family(3, "tfidf", _OF_TFIDF),
    "nb_logistic": Family(2, "presence", (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), has_ratios=True),
    "nb_svm": Family(
        2, "presence", (0.001, 0.003, 0.01, 0.03, 0.1, 0.3), has_ratios=True, is_svm=True
    ),
}


@dataclass(frozen=True)
class BaselineConfig:
    """What is fitted, and how.

    Args:
        families: names of `FAMILIES`.
        reads: which texts of an example are read: "all", or as controls only the "first" (the premise)
            or the "second" (the hypothesis); each family is fitted for each of them.
        c_values: scikit-learn's C, from which the best on validation is chosen: the larger, the less
            regularised. None: those of each family.
        class_weights: "balanced" weighs each class by the inverse of its frequency.
        min_texts: n-grams that fewer training texts hold are left out. With 2, large data take a
            fraction of the time, for a point or less.
        smoothing: α of the log-count ratios.
        interpolation: β, 0 (naive Bayes) … 1 (nothing but the support vector machine).

    Raises:
        ConfigError: a value that cannot be.
    """

    families: tuple[str, ...] = tuple(FAMILIES)
    reads: tuple[Reads, ...] = ("all",)
    c_values: tuple[float, ...] | None = None
    class_weights: Literal["none", "balanced"] = "none"
    min_texts: int = 1
    smoothing: float = 1.0
    interpolation: float = 0.25

    def __post_init__(self) -> None:
        for family in self.families:
            if family not in FAMILIES:
                raise ConfigError(
                    f"baselines.families: unknown '{family}'{did_you_mean(family, FAMILIES)}; there are "
                    f"{', '.join(FAMILIES)}"
                )
        values = self.c_values
        above = values is None or (bool(values) and all(c > 0 for c in values))
        require(above, "baselines.c_values", "one or more numbers above 0, or none", values)
        for read in self.reads:
            is_known = read in get_args(Reads)
            require(is_known, "baselines.reads", f"one of {', '.join(get_args(Reads))}", read)
        is_known = self.class_weights in ("none", "balanced")
        require(is_known, "baselines.class_weights", "none or balanced", self.class_weights)
        require(self.min_texts >= 1, "baselines.min_texts", "at least 1", self.min_texts)
        require(self.smoothing > 0, "baselines.smoothing", "above 0", self.smoothing)
        share = 0 <= self.interpolation <= 1
        require(share, "baselines.interpolation", "0 to 1", self.interpolation)


@dataclass(frozen=True)
class Labelled:
    """Examples and what they are labelled with.

    Args:
        texts: of each example its texts, one or two, in tokens.
        targets: of each example its label; or, all of them, sets of any number of labels.

    Raises:
        ValueError: not one target per example, or labels and sets mixed.
    """

    texts: Sequence[Example]
    targets: Sequence[Target]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.targets):
            raise ValueError(f"{len(self.targets)} targets for {len(self.texts)} examples")
        if len({isinstance(target, str) for target in self.targets}) > 1:
            raise ValueError("targets must be all labels or all sets of labels")

    @property
    def multi_label(self) -> bool:
        """Whether targets are sets."""
        return bool(self.targets) and not isinstance(self.targets[0], str)


@dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A baseline and how it came about.

    Args:
        baseline: that answers.
        score: on validation.
        c: the value chosen; None where there is nothing to choose.
        tried: each value with its score on validation.
        n_features: n-grams; 0 for the majority.
        n_train: training examples.
        seconds: that all of it took, the values not chosen included.
        converged: whether the chosen fit came to its end before the limit of iterations.
    """

    baseline: Any
    score: float
    c: float | None
    tried: tuple[tuple[float, float], ...]
    n_features: int
    n_train: int
    seconds: float
    converged: bool

    @property
    def name(self) -> str:
        """The baseline's."""
        return str(self.baseline.name)

    def figures(self) -> dict[str, object]:
        """All but the baseline itself, for a line of JSON."""
        return {
            "name": self.name,
            "score": self.score,
            "c": self.c,
            "tried": [list(each) for each in self.tried],
            "n_features": self.n_features,
            "n_train": self.n_train,
            "seconds": round(self.seconds, 3),
            "converged": self.converged,
        }


def fit_baselines(
    train: Labelled, valid: Labelled, score: Score, config: BaselineConfig | None = None
) -> Iterator[FittedBaseline]:
    """Fit one baseline after another; each is given as soon as it is there.

    The same data and configuration give the same baselines. Labels that no training example has are
    never answered.

    Args:
        train: what they learn from.
        valid: what C is chosen on: the value of the best score, of several the smallest.
        score: truth and predictions (labels, or sets of them) → a figure of which more is better.
        config: what is fitted; None for all families.

    Raises:
        ConfigError: a text is asked for that examples do not have.
        DataError: no training or no validation examples, or none with a label.
        UnavailableError: scikit-learn is not installed.
        ValueError: examples with different numbers of texts, or not in tokens; labels in one part and
            sets in the other.

    >>> train = Labelled([[text.split()] for text in ("so good", "so bad")] * 2, ["yes", "no"] * 2)
    >>> accuracy = lambda truth, found: sum(map(str.__eq__, truth, found)) / len(truth)
    >>> for fitted in fit_baselines(train, train, accuracy, BaselineConfig(("majority", "unigrams"))):
    ...     print(fitted.name, fitted.score, fitted.n_features)
    majority 0.5 0
    unigrams 1.0 3
    >>> fitted.baseline.predict([[["good"]]])
    ['yes']
    """
    config = BaselineConfig() if config is None else config
    if not train.texts:
        raise DataError("baselines need training examples; there are none")
    if not valid.texts:
        raise DataError("baselines choose C on validation examples; there are none")
    if train.multi_label != valid.multi_label:
        raise ValueError(
            "training and validation targets must both be labels, or both sets of them"
        )
    if not _labels(train):
        raise DataError("baselines need labels; no training example has any")
    n_texts = len(train.texts[0])
    check_examples(train.texts, n_texts)
    check_examples(valid.texts, n_texts)
    plans = _plans(config, n_texts)
    if any(FAMILIES[family] for _, family, _ in plans):
        Scikit.load()
    return (
        fit_one(name, FAMILIES[family], reads, train, valid, score, config)
        for name, family, reads in plans
    )


def _plans(config: BaselineConfig, n_texts: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, family and texts of each baseline; the majority reads nothing, so it is there once."""
    plans: list[tuple[str, str, tuple[int, ...]]] = []
    for which in config.reads:
        reads = {"all": tuple(range(n_texts)), "first": (0,), "second": (1,)}[which]
        if max(reads) >= n_texts:
            raise ConfigError(
                f"baselines.reads = '{which}': examples have {n_texts} text; leave it out"
            )
        ending = "" if which == "all" else f"-{which}"
        for family in config.families:
            if FAMILIES[family]:
                plans.append((family + ending, family, reads))
            elif not any(planned == family for _, planned, _ in plans):
                plans.append((family, family, ()))
    return plans


def _labels(data: Labelled) -> tuple[str, ...]:
    return tuple(sorted({label for target in data.targets for label in _set(target)}))


def _set(target: Target) -> Collection[str]:
    return [target] if isinstance(target, str) else target


def fit_one(
    name: str,
    family: Family | None,
    reads: tuple[int, ...],
    train: Labelled,
    valid: Labelled,
    score: Score,
    config: BaselineConfig,
) -> FittedBaseline:
    """One baseline, for data that were checked.

    Args:
        name: what it is called.
        family: None for the majority.
        reads: which texts, counted from 0; none for the majority.
        train … config: as `fit_baselines`.
    """
    start = time.perf_counter()
    weighting: Weighting = family.weighting if family else "presence"
    ngrams, idf, sides = list[Ngrams](), [np.empty(0)], list[Cells]()
    for which in reads:
        assert family is not None
        texts = [example[which] for example in train.texts]
        ngrams.append(Ngrams.learn(texts, family.n, config.min_texts))
        counts = ngrams[-1].count(texts)
        if weighting == "tfidf":
            idf.append(inverse_frequencies(counts))
            sides.append(tfidf(counts, idf[-1]))
        else:
            sides.append(presence(counts))
    features = beside(sides, len(train.texts))
    labels = _labels(train)
    truth_NC = _truth(train, labels)
    weights, bias, link = _prior(truth_NC, features.n_columns, train.multi_label)
    prior = Baseline(
        name=name,
        labels=labels,
        multi_label=train.multi_label,
        n_texts=len(train.texts[0]),
        reads=reads,
        ngrams=tuple(ngrams),
        weighting=weighting,
        idf=np.concatenate(idf),
        link=link,
        weights=weights,
        bias=bias,
    )
    candidates: Iterator[tuple[float | None, Baseline, bool]] = iter([(None, prior, True)])
    if family and features.n_columns and (len(labels) > 1 or train.multi_label):
        problem = _Problem(Scikit.load(), features, truth_NC, train.multi_label, family, config)
        candidates = (
            (c, replace(prior, link=problem.link, weights=weights, bias=bias), converged)
            for c in sorted({*(config.c_values or family.c_values)})
            for weights, bias, converged in [problem.solve(c)]
        )
    valid_features = prior.features(valid.texts)
    tried: list[tuple[float, float]] = []
    best: tuple[float, float | None, Baseline, bool] | None = None
    for c, candidate, converged in candidates:
        answers = candidate.decide(candidate.margins_of(valid_features))
        value = float(score(valid.targets, answers))
        if c is not None:
            tried.append((c, value))
        # A score that is not a number is below all others.
        if best is None or value > best[0] or (math.isnan(best[0]) and not math.isnan(value)):
            best = (value, c, candidate, converged)
    assert best is not None
    value, chosen, baseline, converged = best
    return FittedBaseline(
        baseline=baseline,
        score=value,
        c=chosen,
        tried=tuple(tried),
        n_features=features.n_columns,
        n_train=len(train.texts),
        seconds=time.perf_counter() - start,
        converged=converged,
    )


def _truth(data: Labelled, labels: tuple[str, ...]) -> NDArray[np.bool_]:
    """`[N, C]`, whether an example has a label."""
    index = {label: c for c, label in enumerate(labels)}
    truth_NC = np.zeros((len(data.targets), len(labels)), np.bool_)
    for n, target in enumerate(data.targets):
        for label in _set(target):
            truth_NC[n, index[label]] = True
    return truth_NC


Solution: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], bool]
"""Weights, bias, and whether the fit converged."""


def _prior(
    truth_NC: NDArray[np.bool_], n_features: int, multi_label: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], Link]:
    """Weights of 0, and a bias that knows how frequent the labels are."""
    n_labels = truth_NC.shape[1]
    if multi_label:
        return np.zeros((n_labels, n_features)), _log_odds(truth_NC), "sigmoid"
    return np.zeros((n_labels, n_features)), np.log(truth_NC.mean(axis=0)), "softmax"


def _log_odds(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each column, half a count added on either side, so that neither is ever certain."""
    n_for = truth.sum(axis=0)
    odds: NDArray[np.float64] = np.log((n_for + 0.5) / (len(truth) - n_for + 0.5))
    return odds


@dataclass(frozen=True, eq=False)
class _Problem:
    """Training data of one family, for one value of C after another."""

    scikit: Scikit
    features: Cells
    truth_NC: NDArray[np.bool_]
    multi_label: bool
    family: Family
    config: BaselineConfig

    @property
    def link(self) -> Link:
        if self.family.is_svm:
            return "margin"
        return "sigmoid" if self.is_one_against_all else "softmax"

    @property
    def is_one_against_all(self) -> bool:
        """Whether each label has a model of its own; of two labels, one model decides."""
        return self.multi_label or (self.family.has_ratios and self.truth_NC.shape[1] > 2)

    def solve(self, c: float) -> Solution:
        matrix = self.scikit.matrix(self.features)
        if self.is_one_against_all:
            parts = [self._binary(matrix, truth_N, c) for truth_N in self.truth_NC.T]
            weights, bias, converged = zip(*parts, strict=True)
            return np.concatenate(weights), np.concatenate(bias), all(converged)
        if self.truth_NC.shape[1] == 2:
            return self._binary(matrix, self.truth_NC[:, 1], c)
        return self.scikit.fit(matrix, self.truth_NC.argmax(axis=1), c, self.config, False)

    def _binary(self, matrix: Any, truth_N: NDArray[np.bool_], c: float) -> Solution:
        if truth_N.all() or not truth_N.any():
            return np.zeros((1, matrix.shape[1])), _log_odds(truth_N[:, np.newaxis]), True
        if not self.family.has_ratios:
            return self.scikit.fit(matrix, truth_N, c, self.config, False)
        ratios_F = log_count_ratios(self.features, truth_N, self.config.smoothing)
        scaled = matrix.copy()
        scaled.data = scaled.data * ratios_F[scaled.indices]
        is_svm = self.family.is_svm
        weights, bias, converged = self.scikit.fit(scaled, truth_N, c, self.config, is_svm)
        if is_svm:
            share = self.config.interpolation
            size = np.abs(weights).mean()
            is_weighed = self.config.class_weights == "balanced"
            prior = 0.0 if is_weighed else math.log(truth_N.sum() / (~truth_N).sum())
            weights = (1 - share) * size + share * weights
            bias = (1 - share) * size * prior + share * bias
        return weights * ratios_F, bias, converged


def log_count_ratios(
    features: Cells, truth_N: NDArray[np.bool_], smoothing: float
) -> NDArray[np.float64]:
    """r of each feature, `[F]`; see the top of this file."""
    is_for_K = truth_N[features.rows]
    p_F, q_F = (
        smoothing + np.bincount(features.columns[here], features.values[here], features.n_columns)
        for here in (is_for_K, ~is_for_K)
    )
    ratios: NDArray[np.float64] = np.log(p_F / p_F.sum()) - np.log(q_F / q_F.sum())
    return ratios


@dataclass(frozen=True)
class Scikit:
    """What is used of scikit-learn and SciPy."""

    csr_matrix: Any
    LogisticRegression: Any
    LinearSVC: Any
    ConvergenceWarning: Any

    @classmethod
    def load(cls) -> Scikit:
        try:
            from scipy.sparse import csr_matrix
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.linear_model import LogisticRegression
            from sklearn.svm import LinearSVC
        except ImportError:
            raise UnavailableError(
                "fitting baselines needs scikit-learn: pip install 'unrolled[baselines]', or leave the "
                "baselines out"
            ) from None
        return cls(csr_matrix, LogisticRegression, LinearSVC, ConvergenceWarning)

    def matrix(self, cells: Cells) -> Any:
        places = (cells.values, (cells.rows, cells.columns))
        return self.csr_matrix(places, (cells.n_rows, cells.n_columns))

    def fit(
        self, matrix: Any, truth: NDArray[Any], c: float, config: BaselineConfig, is_svm: bool
    ) -> Solution:
        options: dict[str, Any] = {
            "C": c,
            "max_iter": _MOST_ITERATIONS,
            "class_weight": None if config.class_weights == "none" else "balanced",
        }
        # The dual solver draws its order by chance and stops short where C is large.
        model = (
            self.LinearSVC(dual=False, **options) if is_svm else self.LogisticRegression(**options)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self.ConvergenceWarning)  # it is in the record
            model.fit(matrix, truth)
        converged = bool(np.max(model.n_iter_) < _MOST_ITERATIONS)
        return np.asarray(model.coef_), np.asarray(model.intercept_), converged
