"""Scores of labels that are sums over the n-grams of a text: the counting part of a label model.

The model is logistic regression, with more than two labels one against the rest. The features of words
alone are those of `nb_logistic`, the presence of each n-gram times its log-count ratio (Wang & Manning
2012; equations in `sklearn_models.py`). If n-grams of characters are counted, all features are
TF-IDF. The scores are fitted on training examples alone: the value of C is the one with the least loss
on parts of them that were left out.

As all scores are linear, the score of a text is the bias plus a share for each of its tokens. The value
of an n-gram times its weight is divided by its number of occurrences and by its number of tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from unrolled import documents, storage
from unrolled.baselines.character_ngrams import CharacterNgrams
from unrolled.baselines.config import BaselineConfig, Family
from unrolled.baselines.counting import CountedText, Counting
from unrolled.baselines.features import Cells, Ngrams
from unrolled.baselines.model import Example, check_examples
from unrolled.baselines.sklearn_models import Problem, Scikit
from unrolled.errors import DataError, RunError
from unrolled.wording import count_of

C_VALUES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Values of scikit-learn's C to choose from, those of `nb_logistic`."""

TFIDF_C_VALUES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""The same for TF-IDF, those of `bigrams`."""

_N_FOLDS = 5
_MANY_TOKENS = 1_000_000
"""With more training tokens, C is chosen on one part that is left out, and not on each in turn."""

_MOST_WEIGHTS = 1 << 27
_MOST_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class NgramScores:
    """A linear model of labels on n-grams.

    Args:
        counting: what is counted.
        weights: `[C, F + K]`, for each label and feature.
        bias: `[C]`.
        c: the chosen value of C.
    """

    counting: Counting
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    c: float

    @staticmethod
    def check_available() -> Scikit:
        """The library that fits the scores.

        Raises:
            UnavailableError: scikit-learn is not installed.
        """
        return Scikit.load(
            "counting n-grams (model.ngrams, model.ngram_characters)", "set them to 0"
        )

    @classmethod
    def fit(
        cls,
        texts: Sequence[Example],
        truth_NC: NDArray[np.bool_],
        *,
        n: int,
        characters: int = 0,
        by_first: bool = False,
        multi_label: bool = False,
        class_weights: Literal["none", "balanced"] = "none",
    ) -> NgramScores:
        """Fit the scores to training examples.

        Args:
            texts: the tokens of the texts of each example, one or two.
            truth_NC: whether each example has each label.
            n, characters, by_first: what is counted; see `Counting.learn`.
            multi_label: whether an example has any number of labels rather than one.
            class_weights: "balanced" weights each class by the inverse of its frequency.

        Raises:
            DataError: there are no examples, or too many labels and n-grams, or too many first texts.
            UnavailableError: scikit-learn is not installed.
        """
        if not texts:
            raise DataError("n-grams are counted on training rows; there are none")
        check_examples(texts, len(texts[0]))
        scikit = cls.check_available()
        counting = Counting.learn(texts, n, characters, by_first)
        n_labels = truth_NC.shape[1]
        if len(counting) * n_labels > _MOST_WEIGHTS:
            raise DataError(
                f"the {count_of(len(counting), 'n-gram')} of the training part have a weight for each of "
                f"{count_of(n_labels, 'label')}, which are too many; set model.ngrams, or "
                "model.ngram_characters, to a smaller number, or to 0"
            )
        features = counting.features(texts)
        family = _family(counting)
        config = BaselineConfig(class_weights=class_weights)
        is_one_against_all = multi_label or n_labels > 2

        def solve(rows: NDArray[np.int64], c: float) -> tuple[Any, Any]:
            part = _rows_of(features, rows)
            problem = Problem(scikit, part, truth_NC[rows], is_one_against_all, family, config)
            weights, bias, _ = problem.solve(c)
            return _for_each_label(weights, bias, n_labels)

        def loss(c: float) -> float:
            return sum(
                _log_loss(_rows_of(features, others), solve(rows, c), truth_NC[others], multi_label)
                for rows, others in folds
            )

        folds = list(_folds(texts))
        c = _first_minimum(loss, family.c_values) if folds and len(counting) else 1.0
        weights, bias = solve(np.arange(len(texts)), c)
        return cls(counting, weights, bias, c)

    @property
    def n_labels(self) -> int:
        """C."""
        return len(self.bias)

    def __len__(self) -> int:
        return len(self.counting)

    def token_scores(self, side: int, rows: Sequence[CountedText]) -> list[NDArray[np.float64]]:
        """The share of each token in the scores of its text, `[T, C]` for each row.

        Args:
            side: index of the text in an example, from 0.
            rows: the tokens of each row.
        """
        if not rows:
            return []
        ends = np.cumsum([len(row.tokens) for row in rows])
        shares_PC = np.zeros((ends[-1], self.n_labels))
        n_shared = self.counting.n_shared
        for found in self.counting.occurrences(side, rows):
            part_CK = self.weights[:, found.features]
            if self.counting.firsts:
                own_K = self.counting.own_of(found, rows)
                part_CK = part_CK + np.where(own_K >= 0, self.weights[:, n_shared + own_K], 0.0)
            part_CK = part_CK * found.values
            for place in range(int(found.lengths.max(initial=0))):
                here = found.lengths > place
                at = found.tokens[here] + place
                for label, part_K in enumerate(part_CK[:, here]):
                    shares_PC[:, label] += np.bincount(at, part_K, minlength=len(shares_PC))
        return np.split(shares_PC, ends[:-1])

    def scores(self, texts: Sequence[Example]) -> NDArray[np.float64]:
        """`[N, C]`, the scores of examples: log-odds of each label, of two labels half of them."""
        if not texts:
            return np.empty((0, self.n_labels))
        return self.counting.features(texts).times(self.weights) + self.bias

    def save(self, path: str | PathLike[str]) -> None:
        """Write the scores as one safetensors file."""
        arrays: dict[str, NDArray[Any]] = {
            "weights": self.weights,
            "bias": self.bias,
            "c": np.array([self.c]),
        }
        counting = self.counting
        if counting.idf is not None:
            arrays["idf"] = counting.idf
        if counting.firsts:
            arrays |= {"firsts": _written(counting.firsts), "own": counting.own}
        for side, letters in enumerate(counting.characters):
            arrays[f"characters.{side}"] = _written(letters.grams)
            arrays[f"longest.{side}"] = np.array([letters.longest])
        for side, ngrams in enumerate(counting.ngrams):
            arrays[f"tokens.{side}"] = _written(ngrams.tokens)
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


def _written(texts: Sequence[str]) -> NDArray[np.uint8]:
    text = json.dumps(texts, ensure_ascii=False)
    # A token may contain half a surrogate pair, as in `model.write_folder`.
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _read(path: Path, array: NDArray[Any]) -> tuple[str, ...]:
    text = array.tobytes().decode("utf-8", "surrogatepass")
    texts = documents.parse_json(path, text, surrogates=True)
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ValueError("the tokens are no list of texts")
    return tuple(texts)


def _of_arrays(arrays: dict[str, NDArray[Any]], path: Path) -> NgramScores:
    """The scores of the arrays of a file, which are checked."""
    weights, bias, idf = arrays["weights"], arrays["bias"], arrays.get("idf")
    n_sides = sum(name.startswith("tokens.") for name in arrays)
    ngrams, letters = [], []
    for side in range(n_sides):
        longest = sum(name.startswith(f"keys.{side}.") for name in arrays)
        keys = tuple(arrays[f"keys.{side}.{n}"] for n in range(2, longest + 2))
        _check_keys(*keys)
        ngrams.append(Ngrams(_read(path, arrays[f"tokens.{side}"]), keys))
        if idf is not None:
            grams = _read(path, arrays[f"characters.{side}"])
            letters.append(CharacterNgrams(grams, int(arrays[f"longest.{side}"][0])))
    counting = Counting(tuple(ngrams), tuple(letters), idf)
    if "firsts" in arrays:
        firsts, own = _read(path, arrays["firsts"]), arrays["own"]
        _check_keys(own)
        counting = replace(counting, firsts=firsts, own=own)
    is_of_floats = weights.dtype == bias.dtype == np.float64
    if not (
        n_sides and is_of_floats and weights.shape == (len(bias), len(counting)) and bias.ndim == 1
    ):
        raise ValueError("the weights do not match the n-grams")
    if idf is not None and (idf.dtype != np.float64 or idf.shape != (counting.n_shared,)):
        raise ValueError("the document frequencies do not match the n-grams")
    return NgramScores(counting, weights, bias, float(arrays["c"][0]))


def _check_keys(*keys: NDArray[Any]) -> None:
    if any(each.dtype != np.int64 or each.ndim != 1 for each in keys):
        raise ValueError("the keys of n-grams are no whole numbers")


def _family(counting: Counting) -> Family:
    """How the features are weighted, and the values of C to choose from."""
    if counting.idf is None:
        return Family(1, "presence", C_VALUES, has_ratios=True)
    return Family(1, "tfidf", TFIDF_C_VALUES)


def _first_minimum(loss: Callable[[float], float], values: Sequence[float]) -> float:
    """The first of increasing values of C after which the loss rises; larger ones take longer to fit."""
    best, least = values[0], loss(values[0])
    for value in values[1:]:
        if (found := loss(value)) >= least:
            break
        best, least = value, found
    return best


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
