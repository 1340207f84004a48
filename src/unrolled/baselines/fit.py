"""Fit baselines, one family after another, and choose how far to regularise them on validation data.

The families are in `config.py`, their equations and solvers in `sklearn_models.py`. Families with
log-count ratios treat more than two labels one-vs-rest, as do all families if an example may have several
labels; the thresholds of several labels are also tuned on validation data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled.baselines.config import FAMILIES, BaselineConfig, Family
from unrolled.baselines.features import Cells, Ngrams, beside, inverse_frequencies, presence, tfidf
from unrolled.baselines.model import (
    Baseline,
    Example,
    Target,
    Weighting,
    check_examples,
    sigmoid,
)
from unrolled.baselines.sklearn_models import Problem, Scikit, prior
from unrolled.errors import ConfigError, DataError
from unrolled.metrics.multi_label import DEFAULT_THRESHOLD, choose_thresholds

Score: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], float]
"""Truth, predictions → a figure of which more is better."""


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
        valid: what C is chosen on: the value of the best score, of several the smallest. Where there may
            be several labels, each one's threshold too, for each C, as a model's is chosen
            (`metrics.multi_label.choose_thresholds`).
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
    weights, bias, link = prior(truth_NC, features.n_columns, train.multi_label)
    fallback = Baseline(
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
        thresholds=np.full(len(labels) if train.multi_label else 0, DEFAULT_THRESHOLD),
    )
    candidates: Iterator[tuple[float | None, Baseline, bool]] = iter([(None, fallback, True)])
    if family and features.n_columns and (len(labels) > 1 or train.multi_label):
        problem = Problem(Scikit.load(), features, truth_NC, train.multi_label, family, config)
        candidates = (
            (c, replace(fallback, link=problem.link, weights=weights, bias=bias), converged)
            for c in sorted({*(config.c_values or family.c_values)})
            for weights, bias, converged in [problem.solve(c)]
        )
    valid_features = fallback.features(valid.texts)
    tried: list[tuple[float, float]] = []
    best: tuple[float, float | None, Baseline, bool] | None = None
    for c, fresh, converged in candidates:
        margins_NC = fresh.margins_of(valid_features)
        candidate = fresh
        # The majority's labels are those of most examples, whatever their F1.
        if train.multi_label and reads:
            gold_NC = _truth(valid, labels)
            candidate = replace(fresh, thresholds=choose_thresholds(gold_NC, sigmoid(margins_NC)))
        value = float(score(valid.targets, candidate.decide(margins_NC)))
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
    """`[N, C]`, whether an example has a label; others than these do not count."""
    index = {label: c for c, label in enumerate(labels)}
    truth_NC = np.zeros((len(data.targets), len(labels)), np.bool_)
    for n, target in enumerate(data.targets):
        truth_NC[n, [index[label] for label in _set(target) if label in index]] = True
    return truth_NC
