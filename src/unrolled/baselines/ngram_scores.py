"""Scores of labels that are sums over the n-grams of a text: the counting part of a label model.

The features are those of `nb_logistic`, the presence of each n-gram times its log-count ratio (Wang &
Manning 2012; equations in `sklearn_models.py`), and so is the model: logistic regression, with more than
two labels one against the rest. It is fitted on training examples alone: the value of C is the one with
the least log-loss on parts of them that were left out.

As all scores are linear, the score of a text is the bias plus a share for each of its tokens. An n-gram
counts once, however often it occurs, so its weight is divided by its number of occurrences and by n.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from unrolled import documents, storage
from unrolled.baselines.config import BaselineConfig, Family
from unrolled.baselines.features import Cells, Ngrams, beside, presence
from unrolled.baselines.model import Example, check_examples
from unrolled.baselines.sklearn_models import Problem, Scikit
from unrolled.errors import DataError, RunError
from unrolled.wording import count_of

C_VALUES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Values of scikit-learn's C to choose from, those of `nb_logistic`."""

_N_FOLDS = 5
_MANY_TOKENS = 1_000_000
"""With more training tokens, C is chosen on one part that is left out, and not on each in turn."""

_MOST_WEIGHTS = 1 << 27
_MOST_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class NgramScores:
    """A linear model of labels on the presence of n-grams.

    Args:
        ngrams: the vocabulary of each text of an example.
        weights: `[C, F]`, for each label and n-gram; the n-grams of the first text come first.
        bias: `[C]`.
        c: the chosen value of C.
    """

    ngrams: tuple[Ngrams, ...]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    c: float

    @staticmethod
    def check_available() -> Scikit:
        """The library that fits the scores.

        Raises:
            UnavailableError: scikit-learn is not installed.
        """
        return Scikit.load("counting n-grams (model.ngrams)", "set model.ngrams to 0")

    @classmethod
    def fit(
        cls,
        texts: Sequence[Example],
        truth_NC: NDArray[np.bool_],
        *,
        n: int,
        multi_label: bool = False,
        class_weights: Literal["none", "balanced"] = "none",
    ) -> NgramScores:
        """Fit the scores to training examples.

        Args:
            texts: the tokens of the texts of each example, one or two.
            truth_NC: whether each example has each label.
            n: length of the longest n-grams.
            multi_label: whether an example has any number of labels rather than one.
            class_weights: "balanced" weights each class by the inverse of its frequency.

        Raises:
            DataError: there are no examples, or too many labels and n-grams.
            UnavailableError: scikit-learn is not installed.
        """
        if not texts:
            raise DataError("n-grams are counted on training rows; there are none")
        check_examples(texts, len(texts[0]))
        scikit = cls.check_available()
        sides = list(zip(*texts, strict=True))
        ngrams = tuple(Ngrams.learn(side, n, min_texts=1) for side in sides)
        n_ngrams, n_labels = sum(map(len, ngrams)), truth_NC.shape[1]
        if n_ngrams * n_labels > _MOST_WEIGHTS:
            raise DataError(
                f"the {count_of(n_ngrams, 'n-gram')} of the training part have a weight for each of "
                f"{count_of(n_labels, 'label')}, which are too many; set model.ngrams to a smaller "
                "number, or to 0"
            )
        cells = [presence(each.count(side)) for each, side in zip(ngrams, sides, strict=True)]
        features = beside(cells, len(texts))
        family = Family(n, "presence", C_VALUES, has_ratios=True)
        config = BaselineConfig(class_weights=class_weights)

        def solve(rows: NDArray[np.int64], c: float) -> tuple[Any, Any]:
            part = _rows_of(features, rows)
            problem = Problem(scikit, part, truth_NC[rows], multi_label, family, config)
            weights, bias, _ = problem.solve(c)
            return _for_each_label(weights, bias, n_labels)

        def loss(c: float) -> float:
            return sum(
                _log_loss(_rows_of(features, others), solve(rows, c), truth_NC[others], multi_label)
                for rows, others in folds
            )

        folds = list(_folds(texts))
        c = min(C_VALUES, key=loss) if folds and features.n_columns else 1.0
        weights, bias = solve(np.arange(len(texts)), c)
        return cls(ngrams, weights, bias, c)

    @property
    def n_labels(self) -> int:
        """C."""
        return len(self.bias)

    def __len__(self) -> int:
        return sum(map(len, self.ngrams))

    def token_scores(self, side: int, rows: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
        """The share of each token in the scores of its text, `[T, C]` for each row.

        Args:
            side: index of the text in an example, from 0.
            rows: the tokens of each row by `Ngrams.indices_of`.
        """
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        tokens_P = np.fromiter((id_ for row in rows for id_ in row), np.int64, int(lengths.sum()))
        rows_P = np.repeat(np.arange(len(rows)), lengths)
        ngrams, start = self.ngrams[side], sum(map(len, self.ngrams[:side]))
        shares_PC = np.zeros((len(tokens_P), self.n_labels))
        for n, (at, grams) in enumerate(ngrams.occurrences(tokens_P, rows_P), start=1):
            keys = rows_P[at] * max(1, len(ngrams)) + grams
            _, which, number = np.unique(keys, return_inverse=True, return_counts=True)
            part = (self.weights[:, start + grams] / (n * number[which])).T
            for place in range(n):
                # No two n-grams of the same length begin at the same token.
                shares_PC[at + place] += part
        return np.split(shares_PC, np.cumsum(lengths)[:-1]) if len(rows) else []

    def scores(self, texts: Sequence[Example]) -> NDArray[np.float64]:
        """`[N, C]`, the scores of examples: log-odds of each label, of two labels half of them."""
        sides = zip(self.ngrams, zip(*texts, strict=True), strict=True) if texts else ()
        cells = [presence(ngrams.count(side)) for ngrams, side in sides]
        if not cells:
            return np.empty((0, self.n_labels))
        return beside(cells, len(texts)).times(self.weights) + self.bias

    def save(self, path: str | PathLike[str]) -> None:
        """Write the scores as one safetensors file."""
        arrays: dict[str, NDArray[Any]] = {
            "weights": self.weights,
            "bias": self.bias,
            "c": np.array([self.c]),
        }
        for side, ngrams in enumerate(self.ngrams):
            text = json.dumps(ngrams.tokens, ensure_ascii=False)
            # A token may contain half a surrogate pair, as in `model.write_folder`.
            arrays[f"tokens.{side}"] = np.frombuffer(
                text.encode("utf-8", "surrogatepass"), np.uint8
            )
            for n, keys in enumerate(ngrams.keys, start=2):
                arrays[f"keys.{side}.{n}"] = keys
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        storage.write_whole(Path(path), save(arrays), "try again")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> NgramScores:
        """Read a file written by `save`; scikit-learn is not needed.

        Raises:
            RunError: the file is missing or damaged, or was written by something else.
        """
        try:
            content = documents.read_bytes(path, _MOST_BYTES)
        except documents.DocumentError as error:
            reason = "missing" if error.is_missing else error.problem
            raise RunError(f"{path}: {reason}; restore it from a copy of the run") from None
        try:
            return _of_arrays(load(content), Path(path))
        except (KeyError, TypeError, ValueError, SafetensorError, documents.DocumentError) as error:
            raise RunError(
                f"{path}: the counts of n-grams are damaged ({str(error)[:100]}); restore the file from "
                "a copy of the run"
            ) from None


def _of_arrays(arrays: dict[str, NDArray[Any]], path: Path) -> NgramScores:
    """The scores of the arrays of a file, which are checked."""
    weights, bias = arrays["weights"], arrays["bias"]
    n_sides = sum(name.startswith("tokens.") for name in arrays)
    ngrams = []
    for side in range(n_sides):
        text = arrays[f"tokens.{side}"].tobytes().decode("utf-8", "surrogatepass")
        tokens = documents.parse_json(path, text, surrogates=True)
        if not isinstance(tokens, list) or not all(isinstance(each, str) for each in tokens):
            raise ValueError("the tokens are no list of texts")
        longest = sum(name.startswith(f"keys.{side}.") for name in arrays)
        keys = tuple(arrays[f"keys.{side}.{n}"] for n in range(2, longest + 2))
        if any(each.dtype != np.int64 or each.ndim != 1 for each in keys):
            raise ValueError("the keys of n-grams are no whole numbers")
        ngrams.append(Ngrams(tuple(tokens), keys))
    n_features = sum(map(len, ngrams))
    is_of_floats = weights.dtype == bias.dtype == np.float64
    if not (
        n_sides and is_of_floats and weights.shape == (len(bias), n_features) and bias.ndim == 1
    ):
        raise ValueError("the weights do not match the n-grams")
    return NgramScores(tuple(ngrams), weights, bias, float(arrays["c"][0]))


def _rows_of(features: Cells, rows: NDArray[np.int64]) -> Cells:
    """Some rows of a matrix, in increasing order."""
    new_N = np.full(features.n_rows, -1, np.int64)
    new_N[rows] = np.arange(len(rows))
    is_kept = new_N[features.rows] >= 0
    return Cells(
        new_N[features.rows[is_kept]],
        features.columns[is_kept],
        features.values[is_kept],
        len(rows),
        features.n_columns,
    )


def _folds(texts: Sequence[Example]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The rows to fit on and those left out, in turn; rows with the same texts are never in both.

    Which part a row is in depends on its texts alone, so that the order of the rows does not matter.
    """
    fold_N = np.array([_hash(example) % _N_FOLDS for example in texts])
    n_tokens = sum(len(text) for example in texts for text in example)
    for fold in range(1 if n_tokens > _MANY_TOKENS else _N_FOLDS):
        rows, others = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
        if len(rows) and len(others):
            yield rows, others


def _hash(example: Example) -> int:
    content = "\n".join(" ".join(text) for text in example).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def _for_each_label(
    weights: NDArray[np.float64], bias: NDArray[np.float64], n_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and bias with a row for each label; for two labels with one row, −m/2 and m/2."""
    if len(bias) == n_labels:
        return weights, bias
    return np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2


def _log_loss(
    features: Cells, solution: tuple[Any, Any], truth_NC: NDArray[np.bool_], multi_label: bool
) -> float:
    """The sum of −ln p of the labels, with a softmax, or a sigmoid for each label."""
    weights, bias = solution
    scores_NC = features.times(weights) + bias
    if multi_label:
        return float(np.logaddexp(0, np.where(truth_NC, -scores_NC, scores_NC)).sum())
    return float((np.logaddexp.reduce(scores_NC, axis=1) - scores_NC[truth_NC]).sum())
