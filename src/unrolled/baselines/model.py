"""A fitted baseline: n-grams, weights, and predictions. Only needs NumPy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from unrolled import documents, storage
from unrolled.baselines.features import Cells, Ngrams, Text, beside, presence, tfidf
from unrolled.errors import ConfigError, RunError, did_you_mean
from unrolled.metrics.multi_label import apply_thresholds
from unrolled.quoting import quote

Example: TypeAlias = Sequence[Text]
"""The texts of an example, one or two, each a list of tokens."""

Target: TypeAlias = str | frozenset[str]
"""A label or, if an example may have several or none, a set of labels."""

Weighting = Literal["tfidf", "presence"]
Link = Literal["softmax", "sigmoid", "margin"]

RECORD_FILE, VOCABULARY_FILE, WEIGHTS_FILE = (
    "baseline.json",
    "vocabulary.json",
    "weights.safetensors",
)

HOLDS: storage.Holds = {r"baseline\.json": None, r"vocabulary\.json|weights\.safetensors": None}
"""The files in the folder of a baseline."""

_TOGETHER = 1024  # examples processed at once, to limit memory
_N_SHOWN = 15  # n-grams of each label listed in the record


@dataclass(frozen=True, eq=False)
class Baseline:
    """A linear model on n-grams that predicts labels from margins m = W x + b.

    Args:
        name: name of the family and, unless it reads all texts, the text that it reads:
            "bigrams-second".
        labels: the labels of the training examples, by code point.
        multi_label: whether an example has any number of labels rather than one.
        n_texts: number of texts of an example.
        reads: indices of the texts that are read, from 0; each has separate features.
        ngrams: the vocabulary of each text that is read.
        weighting: "tfidf" (each text's features have length 1) or "presence" (1 where a feature occurs).
        idf: inverse document frequency of each feature; empty for "presence".
        link: how to interpret the margins. "softmax": log-probabilities up to a constant, so that
            p = softmax(m). "sigmoid": log-odds of each label against all others, p = σ(m), normalised
            to a sum of 1 if an example has one label. "margin": the margins of a support vector machine,
            of which only the order is meaningful.
        weights: `[C, F]`, or `[1, F]` for two labels: positive for the second, negative for the first.
        bias: `[C]` or `[1]`.
        thresholds: `[C]` if an example may have several labels, otherwise empty: a label with margin m
            is predicted if σ(m) is at least its threshold, as for a model (`metrics.multi_label`).
    """

    name: str
    labels: tuple[str, ...]
    multi_label: bool
    n_texts: int
    reads: tuple[int, ...]
    ngrams: tuple[Ngrams, ...]
    weighting: Weighting
    idf: NDArray[np.float64]
    link: Link
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def has_probabilities(self) -> bool:
        """Whether it has probabilities; a support vector machine does not."""
        return self.link != "margin"

    def margins(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """`[N, C]`: the larger the margin, the stronger the evidence for a label.

        Raises:
            ValueError: an example has the wrong number of texts, or a text is not tokenised.
        """
        parts = [
            self.margins_of(self.features(examples[start : start + _TOGETHER]))
            for start in range(0, len(examples), _TOGETHER)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.labels)))

    def probabilities(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """`[N, C]`, 0…1; if an example has one label, each row sums to 1.

        Raises:
            ConfigError: it only has margins (`has_probabilities`).
            ValueError: as for `margins`.
        """
        if not self.has_probabilities:
            raise ConfigError(
                f"baseline '{self.name}' has margins but no probabilities; call margins, or use a "
                "baseline with logistic regression"
            )
        margins_NC = self.margins(examples)
        if self.link == "softmax":
            exp_NC = np.exp(margins_NC - margins_NC.max(axis=1, keepdims=True, initial=-np.inf))
            return exp_NC / exp_NC.sum(axis=1, keepdims=True)
        chances_NC = sigmoid(margins_NC)
        return (
            chances_NC if self.multi_label else chances_NC / chances_NC.sum(axis=1, keepdims=True)
        )

    def predict(self, examples: Sequence[Example]) -> list[Target]:
        """Predict the label of each example or, if it may have several, the set of its labels.

        A single label is the one with the largest margin, and the first of several equal ones. Several
        labels are those that reach their thresholds.

        Raises:
            ValueError: as for `margins`.
        """
        return self.decide(self.margins(examples))

    def decide(self, margins_NC: NDArray[np.float64]) -> list[Target]:
        """Convert margins to predictions."""
        if self.multi_label:
            given_NC = apply_thresholds(sigmoid(margins_NC), self.thresholds)
            return [
                frozenset(label for label, is_so in zip(self.labels, row, strict=True) if is_so)
                for row in given_NC.tolist()
            ]
        return [self.labels[c] for c in margins_NC.argmax(axis=1).tolist()]

    def features(self, examples: Sequence[Example]) -> Cells:
        """Compute the features with which the weights are multiplied."""
        check_examples(examples, self.n_texts)
        sides: list[Cells] = []
        start = 0
        for which, ngrams in zip(self.reads, self.ngrams, strict=True):
            counts = ngrams.count([example[which] for example in examples])
            end = start + len(ngrams)
            is_tfidf = self.weighting == "tfidf"
            sides.append(tfidf(counts, self.idf[start:end]) if is_tfidf else presence(counts))
            start = end
        return beside(sides, len(examples))

    def margins_of(self, features: Cells) -> NDArray[np.float64]:
        """W x + b, `[N, C]`; for two labels −m/2 and m/2, so that the softmax equals σ(m)."""
        margins_NC = features.times(self.weights) + self.bias
        if len(self.bias) < len(self.labels):
            return np.concatenate([-margins_NC / 2, margins_NC / 2], axis=1)
        return margins_NC

    def strongest(self, label: str, n: int = _N_SHOWN) -> list[tuple[str, float]]:
        """The n-grams with the largest positive weights for a label, largest first.

        Tokens are joined by spaces. If two texts are read, "1:" or "2:" names the text.

        Raises:
            ConfigError: there is no such label.
        """
        if label not in self.labels:
            raise ConfigError(
                f"baseline '{self.name}' has no label {quote(label)}{did_you_mean(label, self.labels)}"
            )
        at = self.labels.index(label)
        alone = len(self.bias) < len(self.labels)
        weights_F = self.weights[0] * (1 if at else -1) if alone else self.weights[at]
        order = np.argsort(-weights_F, kind="stable")[:n]
        return [(self._name(int(f)), float(weights_F[f])) for f in order if weights_F[f] > 0]

    def _name(self, feature: int) -> str:
        for which, ngrams in zip(self.reads, self.ngrams, strict=True):
            if feature < len(ngrams):
                side = f"{which + 1}:" if len(self.reads) > 1 else ""
                return side + " ".join(ngrams.name(feature))
            feature -= len(ngrams)
        raise AssertionError

    def save(self, folder: str | PathLike[str], fitted: Mapping[str, object] | None = None) -> None:
        """Write the folder atomically; replaces an older baseline.

            baseline.json         settings, and the strongest n-grams
            vocabulary.json       the tokens of each text that is read
            weights.safetensors   weights, bias, idf, thresholds; the keys of longer n-grams

        Args:
            folder: where to write; its parent is created if necessary.
            fitted: how it was fitted, to be recorded in baseline.json.

        Raises:
            RunError: the folder contains something else, or it cannot be written.
        """
        write_folder(Path(folder), self, {} if fitted is None else dict(fitted))

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Baseline:
        """Read a baseline written by `save`. Does not need scikit-learn.

        Raises:
            RunError: there is no such folder, it is not a baseline, or it is damaged.
        """
        return read_folder(Path(folder))[0]


def check_examples(examples: Sequence[Example], n_texts: int) -> None:
    """Raise ValueError unless each example has `n_texts` texts, each a sequence of tokens."""
    for number, example in enumerate(examples):
        if isinstance(example, str) or any(isinstance(text, str) for text in example):
            raise ValueError(
                f"example {number} has a text that is a string; pass a list of tokens for each text"
            )
        if len(example) != n_texts:
            raise ValueError(f"example {number} has {len(example)} texts, expected {n_texts}")


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """σ(x) = 1 / (1 + e^−x)."""
    # The exponential of −|x| cannot overflow.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


_FORMAT = "unrolled baseline 2"
_MOST_BYTES = 1 << 30


def write_folder(folder: Path, baseline: Baseline, fitted: dict[str, object]) -> None:
    """Write a baseline; `fitted` is stored in its record."""
    vocabulary = json.dumps([ngrams.tokens for ngrams in baseline.ngrams], ensure_ascii=False)
    arrays: dict[str, NDArray[Any]] = {
        "weights": baseline.weights,
        "bias": baseline.bias,
        "idf": baseline.idf,
        "thresholds": baseline.thresholds,
    }
    for side, ngrams in enumerate(baseline.ngrams):
        for n, keys in enumerate(ngrams.keys, start=2):
            arrays[f"keys.{side}.{n}"] = keys
    contents = {
        # A token may contain half a surrogate pair: not if we read the text, but a caller may pass one.
        VOCABULARY_FILE: vocabulary.encode("utf-8", "surrogatepass"),
        WEIGHTS_FILE: save({name: np.ascontiguousarray(array) for name, array in arrays.items()}),
    }
    record = {
        "format": _FORMAT,
        "name": baseline.name,
        "labels": baseline.labels,
        "multi_label": baseline.multi_label,
        "n_texts": baseline.n_texts,
        "reads": baseline.reads,
        "longest": [len(ngrams.keys) + 1 for ngrams in baseline.ngrams],
        "weighting": baseline.weighting,
        "link": baseline.link,
        "thresholds": dict(
            zip(baseline.labels, baseline.thresholds.round(4).tolist(), strict=False)
        ),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        "fitted": fitted,
        "strongest": {
            label: {name: round(weight, 4) for name, weight in baseline.strongest(label)}
            for label in baseline.labels
        },
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    contents[RECORD_FILE] = text.encode("utf-8", "surrogatepass")
    storage.require_own_folder(folder)
    if folder.exists() and not (folder / RECORD_FILE).is_file():
        raise RunError(f"{folder} exists and is not the folder of a baseline; choose a new folder")
    partial = storage.partial(folder)
    try:
        storage.remove(partial, HOLDS)
        storage.new_folder(partial)
        for name, content in contents.items():
            with storage.whole(partial / name) as stream:
                stream.write(content)
        storage.commit(folder, HOLDS)
    except OSError as error:
        raise RunError(
            f"cannot write {folder} ({error.strerror or error}); choose another folder"
        ) from error


def read_folder(folder: Path) -> tuple[Baseline, dict[str, Any]]:
    """Read a baseline and the record of how it was fitted."""
    try:
        contents = {
            name: documents.read_bytes(folder / name, _MOST_BYTES)
            for name in (RECORD_FILE, VOCABULARY_FILE, WEIGHTS_FILE)
        }
        record = _parsed(folder / RECORD_FILE, contents.pop(RECORD_FILE))
    except documents.DocumentError as error:
        problem = "not a complete baseline"
        if not error.is_missing:
            problem = f"cannot be read ({error.problem})"
        raise RunError(
            f"{folder}: {problem}; name a folder with {RECORD_FILE}, {VOCABULARY_FILE} and {WEIGHTS_FILE}"
        ) from error
    damaged = RunError(f"{folder}: the baseline is damaged; copy the folder again or fit a new one")
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise RunError(
            f'{folder / RECORD_FILE}: expected "format": "{_FORMAT}"; it was written by something else'
        )
    try:
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != record["sha256"][name]:
                raise damaged
        vocabulary = _parsed(folder / VOCABULARY_FILE, contents[VOCABULARY_FILE])
        arrays = load(contents[WEIGHTS_FILE])
        ngrams = tuple(
            Ngrams(tuple(tokens), tuple(arrays[f"keys.{side}.{n}"] for n in range(2, longest + 1)))
            for side, (tokens, longest) in enumerate(
                zip(vocabulary, record["longest"], strict=True)
            )
        )
        baseline = Baseline(
            name=record["name"],
            labels=tuple(record["labels"]),
            multi_label=record["multi_label"],
            n_texts=record["n_texts"],
            reads=tuple(record["reads"]),
            ngrams=ngrams,
            weighting=record["weighting"],
            idf=arrays["idf"],
            link=record["link"],
            weights=arrays["weights"],
            bias=arrays["bias"],
            thresholds=arrays["thresholds"],
        )
        if not _fits(baseline) or not isinstance(record["fitted"], dict):
            raise damaged
        return baseline, record["fitted"]
    except (KeyError, TypeError, ValueError, SafetensorError, documents.DocumentError) as error:
        raise damaged from error


def _parsed(path: Path, content: bytes) -> Any:
    # A token may contain half a surrogate pair; see `write_folder`.
    text = content.decode("utf-8", "surrogatepass")
    return documents.parse_json(path, text, surrogates=True)


def _fits(baseline: Baseline) -> bool:
    """Whether all parts of a baseline are valid and match each other."""
    ngrams, labels = baseline.ngrams, baseline.labels
    n_labels, n_features = len(labels), sum(map(len, ngrams))
    texts = (baseline.name, *labels, *(token for side in ngrams for token in side.tokens))
    keys = [array for side in ngrams for array in side.keys]
    arrays = (baseline.weights, baseline.bias, baseline.idf, baseline.thresholds)
    is_binary = n_labels == 2 and not baseline.multi_label
    return (
        all(isinstance(text, str) for text in texts)
        and len(set(labels)) == n_labels >= 1
        and type(baseline.multi_label) is bool
        and type(baseline.n_texts) is int
        and all(type(side) is int and 0 <= side < baseline.n_texts for side in baseline.reads)
        and len(baseline.reads) == len(ngrams)
        and baseline.weighting in get_args(Weighting)
        and baseline.link in get_args(Link)
        and all(array.dtype == np.float64 for array in arrays)
        and all(array.ndim == 1 and array.dtype.kind == "i" for array in keys)
        and baseline.weights.shape
        in {(1 if is_binary else n_labels, n_features), (n_labels, n_features)}
        and baseline.bias.shape == baseline.weights.shape[:1]
        and baseline.idf.shape == (n_features if baseline.weighting == "tfidf" else 0,)
        and baseline.thresholds.shape == (n_labels if baseline.multi_label else 0,)
    )
