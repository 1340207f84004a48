"""Fit the weights of a linear model on n-grams with scikit-learn.

Log-count ratios, and a support vector machine interpolated with naive Bayes, are from Wang & Manning
2012, "Baselines and bigrams: simple, good sentiment and topic classification". With f̂ the presence of the
features and y the label, for or against,

    p = α + Σ_{i: for} f̂_i        q = α + Σ_{i: against} f̂_i        r = ln((p / ‖p‖₁) / (q / ‖q‖₁))

a linear model (w, b) is fitted on f̃ = r ∘ f̂. The support vector machine of the paper is interpolated with
multinomial naive Bayes (its section 2.3), whose weights on f̃ are all equal and whose bias is
ln(n_for / n_against):

    w' = (1 − β) w̄ + β w        w̄ = ‖w‖₁ / F

We interpolate the bias in the same way, which the paper leaves open:
b' = (1 − β) w̄ ln(n_for / n_against) + β b. These families use one-vs-rest for more than two labels, and
all families do so if an example may have several labels.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled.baselines.config import BaselineConfig, Family
from unrolled.baselines.features import Cells
from unrolled.baselines.model import Link
from unrolled.errors import missing_package

_MOST_ITERATIONS = 1000

Solution: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], bool]
"""Weights, bias, and whether the fit converged."""


def prior(
    truth_NC: NDArray[np.bool_], n_features: int, multi_label: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], Link]:
    """Weights of 0, and a bias that reflects the frequencies of the labels."""
    n_labels = truth_NC.shape[1]
    if multi_label:
        return np.zeros((n_labels, n_features)), _log_odds(truth_NC), "sigmoid"
    return np.zeros((n_labels, n_features)), np.log(truth_NC.mean(axis=0)), "softmax"


def _log_odds(truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The log-odds of each column, with half a count added on either side, so that they are finite."""
    n_for = truth.sum(axis=0)
    odds: NDArray[np.float64] = np.log((n_for + 0.5) / (len(truth) - n_for + 0.5))
    return odds


@dataclass(frozen=True, eq=False)
class Problem:
    """The training data of one family, to be solved for several values of C."""

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
        """Whether each label has a separate model (one-vs-rest); two labels need only one model."""
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
    """The log-count ratio r of each feature, `[F]`; see the docstring of this module."""
    is_for_K = truth_N[features.rows]
    p_F, q_F = (
        smoothing + np.bincount(features.columns[here], features.values[here], features.n_columns)
        for here in (is_for_K, ~is_for_K)
    )
    ratios: NDArray[np.float64] = np.log(p_F / p_F.sum()) - np.log(q_F / q_F.sum())
    return ratios


@dataclass(frozen=True)
class Scikit:
    """The parts of scikit-learn and SciPy that are used."""

    csr_matrix: Any
    LogisticRegression: Any
    LinearSVC: Any
    ConvergenceWarning: Any
    threadpool_limits: Any

    @classmethod
    def load(
        cls, use: str = "fitting baselines", otherwise: str = "leave out the baselines"
    ) -> Scikit:
        """Import them.

        Args:
            use, otherwise: for the message if it is missing: what for, and what to do without it.

        Raises:
            UnavailableError: scikit-learn is not installed.
        """
        try:
            from scipy.sparse import csr_matrix
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.linear_model import LogisticRegression
            from sklearn.svm import LinearSVC
            from threadpoolctl import threadpool_limits
        except ImportError:
            raise missing_package(use, "scikit-learn", "baselines", otherwise) from None
        return cls(csr_matrix, LogisticRegression, LinearSVC, ConvergenceWarning, threadpool_limits)

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
        # The dual solver visits examples in random order and stops early if C is large.
        model = (
            self.LinearSVC(dual=False, **options) if is_svm else self.LogisticRegression(**options)
        )
        # Products of vectors: further threads gain little, and wait for each other on a busy machine.
        with warnings.catch_warnings(), self.threadpool_limits(limits=1, user_api="blas"):
            warnings.simplefilter("ignore", self.ConvergenceWarning)  # recorded as `converged`
            warnings.filterwarnings("ignore", "The number of unique classes")  # few rows of each
            model.fit(matrix, truth)
        converged = bool(np.max(model.n_iter_) < _MOST_ITERATIONS)
        return np.asarray(model.coef_), np.asarray(model.intercept_), converged
