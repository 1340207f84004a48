"""Tagging baselines, which predict the tag of each token independently.

- `frequent_tag`: the most frequent tag of the word in training, or of all words for an unknown word. Its
  probabilities are (n(word, tag) + ½ p(tag)) / (n(word) + ½), so the more frequent tag breaks a tie.
- `token_logistic`: logistic regression on the word, its prefixes and suffixes, its shape, and the two
  words before and after it. It does not use the tags of neighbouring tokens.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.baselines.config import BaselineConfig, Family
from unrolled.baselines.features import Ngrams, Text
from unrolled.baselines.fit import FittedBaseline, Labelled, Score, fit_one
from unrolled.baselines.model import Baseline, read_folder
from unrolled.baselines.sklearn_models import Scikit
from unrolled.errors import DataError

_LONGEST_AFFIX = 4
_NEIGHBOURS = (-2, -1, 1, 2)
_PRIOR = 0.5
_C_VALUES = (1.0, 10.0)


def word_features(sentence: Text) -> list[list[str]]:
    """The features of each token: its word.

    >>> word_features(["Ann", "runs"])
    [['Ann'], ['runs']]
    """
    return [[token] for token in sentence]


def window_features(sentence: Text) -> list[list[str]]:
    """The features of each token: its word, affixes and shape, and the words around it.

    >>> window_features(["Ann", "runs"])[0][:6]
    ['word Ann', 'lower ann', 'shape Xx', 'starts a', 'ends n', 'starts an']
    >>> window_features(["Ann", "runs"])[0][-4:]
    ['-2 ', '-1 ', '+1 runs', '+2 ']
    """
    lower = [token.lower() for token in sentence]
    features: list[list[str]] = []
    for t, token in enumerate(sentence):
        row = [f"word {token}", f"lower {lower[t]}", f"shape {_shape(token)}"]
        for n in range(1, min(_LONGEST_AFFIX, len(token)) + 1):
            row += [f"starts {lower[t][:n]}", f"ends {lower[t][-n:]}"]
        for step in _NEIGHBOURS:
            word = lower[t + step] if 0 <= t + step < len(lower) else ""
            row.append(f"{step:+d} {word}")
        features.append(row)
    return features


def _shape(token: str) -> str:
    kinds = (
        "X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in token
    )
    return re.sub(r"(.)\1+", r"\1", "".join(kinds), flags=re.DOTALL)


FEATURES: dict[str, Callable[[Text], list[list[str]]]] = {
    "frequent_tag": word_features,
    "token_logistic": window_features,
}
"""The features that each family reads of a token."""


@dataclass(frozen=True)
class Tagged:
    """Sentences and their tags.

    Args:
        sentences: the tokens of each sentence.
        tags: the tags of each sentence, one per token.

    Raises:
        ValueError: a sentence is not tokenised, or does not have one tag per token.
    """

    sentences: Sequence[Text]
    tags: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        if len(self.sentences) != len(self.tags):
            raise ValueError(
                f"there are tags of {len(self.tags)} sentences for {len(self.sentences)} sentences"
            )
        _check_sentences(self.sentences)
        for number, (sentence, tags) in enumerate(zip(self.sentences, self.tags, strict=True)):
            if len(sentence) != len(tags):
                raise ValueError(
                    f"sentence {number} has {len(sentence)} tokens and {len(tags)} tags"
                )


@dataclass(frozen=True, eq=False)
class TaggingBaseline:
    """A baseline that predicts one tag per token.

    Args:
        of_token: the baseline that reads a token's features.
    """

    of_token: Baseline

    @property
    def name(self) -> str:
        """The name of its family."""
        return self.of_token.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags, by code point."""
        return self.of_token.labels

    def probabilities(self, sentences: Sequence[Text]) -> list[NDArray[np.float64]]:
        """`[T, C]` for each sentence; each row sums to 1.

        Raises:
            ValueError: a sentence is not tokenised.
        """
        chances_PC = self.of_token.probabilities(_examples(sentences, self.name))
        ends = np.cumsum([len(sentence) for sentence in sentences])
        return np.split(chances_PC, ends[:-1]) if len(sentences) else []

    def predict(self, sentences: Sequence[Text]) -> list[list[str]]:
        """Predict the tags of each sentence, one per token.

        Raises:
            ValueError: a sentence is not tokenised.
        """
        return _by_sentence(self.of_token.predict(_examples(sentences, self.name)), sentences)

    def save(self, folder: str | PathLike[str], fitted: Mapping[str, object] | None = None) -> None:
        """Write the folder, like `Baseline.save`."""
        self.of_token.save(folder, fitted)


def load_baseline(folder: str | PathLike[str]) -> Baseline | TaggingBaseline:
    """Read a baseline of either type, according to its record. Does not need scikit-learn.

    Raises:
        RunError: there is no such folder, it is not a baseline, or it is damaged.
    """
    baseline, _ = read_folder(Path(folder))
    return TaggingBaseline(baseline) if baseline.name in FEATURES else baseline


def fit_tagging_baselines(
    train: Tagged,
    valid: Tagged,
    score: Score,
    config: BaselineConfig | None = None,
    families: Collection[str] = ("frequent_tag", "token_logistic"),
) -> Iterator[FittedBaseline]:
    """Fit `frequent_tag`, then `token_logistic`; each is yielded as soon as it is fitted.

    Args:
        train: training data.
        valid: validation data, on which C is chosen.
        score: gold and predicted tags, one list per sentence → a score; larger is better.
        config: values of C, class weights, and the minimum number of tokens with a feature
            (`min_texts`); the other settings only apply to whole texts. None means two values of C and
            features of at least two tokens, because fitting many tokens takes a long time.
        families: which of the two to fit.

    Raises:
        DataError: there are no training or no validation tokens.
        UnavailableError: scikit-learn is not installed.

    >>> sentences = Tagged([["Ann", "runs"], ["Bob", "runs"]], [["NAME", "VERB"]] * 2)
    >>> def n_correct(gold, predicted):
    ...     return sum(a == b for rows in zip(gold, predicted) for a, b in zip(*rows))
    >>> frequent, logistic = fit_tagging_baselines(sentences, sentences, n_correct)
    >>> frequent.score, frequent.baseline.predict([["Ann", "runs"], []])
    (4.0, [['NAME', 'VERB'], []])
    """
    config = BaselineConfig(min_texts=2) if config is None else config
    for name, part in (("training", train), ("validation", valid)):
        if not any(part.tags):
            raise DataError(f"tagging baselines need {name} tokens; there are none")
    Scikit.load()
    fits = {"frequent_tag": _fit_frequent, "token_logistic": _fit_logistic}
    return (fit(train, valid, score, config) for name, fit in fits.items() if name in families)


def _fit_frequent(
    train: Tagged, valid: Tagged, score: Score, config: BaselineConfig
) -> FittedBaseline:
    start = time.perf_counter()
    frequent = TaggingBaseline(_frequent_tag(train))
    return FittedBaseline(
        baseline=frequent,
        score=float(score(valid.tags, frequent.predict(valid.sentences))),
        c=None,
        tried=(),
        n_features=len(frequent.of_token.ngrams[0]),
        n_train=len(train.sentences),
        seconds=time.perf_counter() - start,
        converged=True,
    )


def _fit_logistic(
    train: Tagged, valid: Tagged, score: Score, config: BaselineConfig
) -> FittedBaseline:
    def score_tokens(truth: Sequence[Any], found: Sequence[Any]) -> float:
        return score(valid.tags, _by_sentence(found, valid.sentences))

    start = time.perf_counter()
    name = "token_logistic"
    learned, chosen_on = (
        Labelled(_examples(part.sentences, name), list(chain.from_iterable(part.tags)))
        for part in (train, valid)
    )
    family = Family(1, "presence", _C_VALUES)
    fitted = fit_one(name, family, (0,), learned, chosen_on, score_tokens, config)
    return replace(
        fitted,
        baseline=TaggingBaseline(fitted.baseline),
        n_train=len(train.sentences),
        seconds=time.perf_counter() - start,
    )


def _frequent_tag(train: Tagged) -> Baseline:
    """A baseline with ln p(tag) as bias and ln p(tag | word) − ln p(tag) as weight of the word."""
    words = Ngrams.learn(train.sentences, n=1, min_texts=1)
    tags = sorted(set(chain.from_iterable(train.tags)))
    index = {tag: c for c, tag in enumerate(tags)}
    places = {word: f for f, word in enumerate(words.tokens)}
    counts_CF = np.zeros((len(tags), len(words)))
    for sentence, sentence_tags in zip(train.sentences, train.tags, strict=True):
        for word, tag in zip(sentence, sentence_tags, strict=True):
            counts_CF[index[tag], places[word]] += 1
    prior_C1 = counts_CF.sum(axis=1, keepdims=True) / counts_CF.sum()
    chances_CF = (counts_CF + _PRIOR * prior_C1) / (counts_CF.sum(axis=0) + _PRIOR)
    return Baseline(
        name="frequent_tag",
        labels=tuple(tags),
        multi_label=False,
        n_texts=1,
        reads=(0,),
        ngrams=(words,),
        weighting="presence",
        idf=np.empty(0),
        link="softmax",
        weights=np.log(chances_CF) - np.log(prior_C1),
        bias=np.log(prior_C1[:, 0]),
        thresholds=np.empty(0),
    )


def _examples(sentences: Sequence[Text], family: str) -> list[tuple[list[str]]]:
    """Each token as an example of one text, whose tokens are its features."""
    _check_sentences(sentences)
    return [(features,) for sentence in sentences for features in FEATURES[family](sentence)]


def _check_sentences(sentences: Sequence[Text]) -> None:
    for number, sentence in enumerate(sentences):
        if isinstance(sentence, str):
            raise ValueError(f"sentence {number} is a string; pass a list of its tokens")


def _by_sentence(tags: Sequence[Any], sentences: Sequence[Text]) -> list[list[str]]:
    left = iter(tags)
    return [[next(left) for _ in sentence] for sentence in sentences]
