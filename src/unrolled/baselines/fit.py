"""Fit baselines, one family after another, and choose their regularisation on validation data.

The families are in `config.py`, the equations in `sklearn_models.py`. With more than two labels, families
with log-count ratios use one-vs-rest. So do all families if an example may have several labels; the
thresholds of the labels are then chosen on validation data, too.
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
"""Gold labels, predictions → a score; larger is better."""


@dataclass(frozen=True)
class Labelled:
    """Examples with their labels.

    Args:
        texts: the texts of each example, one or two, as tokens.
        targets: the label of each example or, for all examples, a set of any number of labels.

    Raises:
        ValueError: there is not one target per example, or labels and sets are mixed.
    """

    texts: Sequence[Example]
    targets: Sequence[Target]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.targets):
            raise ValueError(
                f"there must be one target per example, got {len(self.targets)} targets for "
                f"{len(self.texts)} examples"
            )
        if len({isinstance(target, str) for target in self.targets}) > 1:
            raise ValueError("targets must be all labels or all sets of labels")

    @property
    def multi_label(self) -> bool:
        """Whether targets are sets."""
        return bool(self.targets) and not isinstance(self.targets[0], str)


@dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A baseline and how it was fitted.

    Args:
        baseline: the fitted baseline.
        score: score on validation data.
        c: the chosen value of C; None if there is nothing to choose.
        tried: each value of C with its score on validation data.
        n_features: number of n-grams; 0 for the majority.
        n_train: number of training examples.
        seconds: total time, including the values of C that were not chosen.
        converged: whether the chosen fit converged before the maximum number of iterations.
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
        """The name of the baseline."""
        return str(self.baseline.name)

    def figures(self) -> dict[str, object]:
        """All fields except the baseline itself, for a line of JSON."""
        return {
            "name": self.name,
            "score": self.score,
            "c": self.c,
            "tried": [list(pair) for pair in self.tried],
            "n_features": self.n_features,
            "n_train": self.n_train,
            "seconds": round(self.seconds, 3),
            "converged": self.converged,
        }


def fit_baselines(
    train: Labelled, valid: Labelled, score: Score, config: BaselineConfig | None = None
) -> Iterator[FittedBaseline]:
    """Fit one baseline after another; each is yielded as soon as it is fitted.

    The same data and configuration give the same baselines. Labels that no training example has are
    never predicted.

    Args:
        train: training data.
        valid: validation data, on which C is chosen: the value with the best score, and the smallest of
            several equally good ones. If examples may have several labels, the threshold of each label is
            also chosen, for each C, in the same way as for a model
            (`metrics.multi_label.choose_thresholds`).
        score: gold labels and predictions (labels, or sets of them) → a score; larger is better.
        config: which baselines are fitted; None for all families.

    Raises:
        ConfigError: the configuration names a text that the examples do not have.
        DataError: there are no training or no validation examples, or none with a label.
        UnavailableError: scikit-learn is not installed.
        ValueError: examples have different numbers of texts or are not tokenised, or one part has labels
            and the other sets.

    >>> train = Labelled([[text.split()] for text in ("so good", "so bad")] * 2, ["yes", "no"] * 2)
    >>> accuracy = lambda gold, predicted: sum(map(str.__eq__, gold, predicted)) / len(gold)
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
    """Name, family and texts of each baseline; the majority reads no text, so it is fitted only once."""
    plans: list[tuple[str, str, tuple[int, ...]]] = []
    for which in config.reads:
        reads = {"all": tuple(range(n_texts)), "first": (0,), "second": (1,)}[which]
        if max(reads) >= n_texts:
            raise ConfigError(
                f"baselines.reads = '{which}': examples have {n_texts} text; remove it"
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
    """Fit one baseline to data that have been checked.

    Args:
        name: name of the baseline.
        family: its family; None for the majority.
        reads: indices of the texts that it reads, from 0; none for the majority.
        train … config: as for `fit_baselines`.
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
        # The majority predicts the labels that most examples have, regardless of their F1.
        if train.multi_label and reads:
            gold_NC = _truth(valid, labels)
            candidate = replace(fresh, thresholds=choose_thresholds(gold_NC, sigmoid(margins_NC)))
        value = float(score(valid.targets, candidate.decide(margins_NC)))
        if c is not None:
            tried.append((c, value))
        # NaN counts as worse than any other score.
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
    """`[N, C]`, whether each example has each label; other labels are ignored."""
    index = {label: c for c, label in enumerate(labels)}
    truth_NC = np.zeros((len(data.targets), len(labels)), np.bool_)
    for n, target in enumerate(data.targets):
        truth_NC[n, [index[label] for label in _set(target) if label in index]] = True
    return truth_NC
