"""The families of baselines, and their settings.

- `majority`: the most frequent label, regardless of the text.
- `unigrams`, `bigrams`, `trigrams`: logistic regression on TF-IDF of n-grams up to that n.
- `nb_logistic`: logistic regression on the presence of uni- and bigrams times their log-count ratio r.
- `nb_svm`: the same with a support vector machine, interpolated with naive Bayes.

The last two are from Wang & Manning 2012; their equations are in `sklearn_models.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from unrolled.baselines.model import Weighting
from unrolled.config import require
from unrolled.errors import ConfigError, did_you_mean

Reads = Literal["all", "first", "second"]


@dataclass(frozen=True)
class Family:
    """How a baseline computes and weights its features.

    Args:
        n: length of the longest n-grams.
        weighting: weighting of the features.
        c_values: values of C to try by default. Features normalised to length 1 need a larger C than
            binary features, and logistic regression a larger one than an SVM.
        has_ratios: whether features are scaled by their log-count ratios.
        is_svm: whether to use a support vector machine, interpolated with naive Bayes, instead of
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


_TITLES = {
    "nb_logistic": "NB logistic",
    "nb_svm": "NB-SVM",
    "frequent_tag": "most frequent tag",
    "token_logistic": "token logistic",
}


def baseline_title(name: str) -> str:
    """The name of a baseline as people write it.

    >>> baseline_title("nb_svm"), baseline_title("bigrams-first")
    ('NB-SVM', 'bigrams, first text')
    """
    family, _, reads = name.partition("-")
    title = _TITLES.get(family, family.replace("_", " "))
    return f"{title}, {reads} text" if reads else title


@dataclass(frozen=True)
class BaselineConfig:
    """Which baselines are fitted, and how.

    Args:
        families: names of `FAMILIES`.
        reads: which texts of an example are read: "all", or, as a control, only the "first" (the premise)
            or the "second" (the hypothesis); each family is fitted for each of them.
        c_values: values of scikit-learn's C, of which the best on validation data is chosen; a larger C
            means less regularisation. None: those of each family.
        class_weights: "balanced" weights each class by the inverse of its frequency.
        min_texts: n-grams that occur in fewer training texts are left out. With 2, large data take a
            fraction of the time and lose one point or less.
        smoothing: α of the log-count ratios.
        interpolation: β, 0 (naive Bayes) … 1 (only the support vector machine).

    Raises:
        ConfigError: a value is out of range or unknown.
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
