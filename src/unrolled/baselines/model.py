"""A fitted baseline: n-grams, weights, and what is made of their products. NumPy is all it needs."""

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
"""A label; where an example may have several, or none, the set of them."""

Weighting = Literal["tfidf", "presence"]
Link = Literal["softmax", "sigmoid", "margin"]

RECORD_FILE, VOCABULARY_FILE, WEIGHTS_FILE = (
    "baseline.json",
    "vocabulary.json",
    "weights.safetensors",
)

HOLDS: storage.Holds = {r"baseline\.json": None, r"vocabulary\.json|weights\.safetensors": None}
"""What the folder of a baseline holds."""

_TOGETHER = 1024  # examples; bounds the memory of their cells
_N_SHOWN = 15  # n-grams of each label that the record names


@dataclass(frozen=True, eq=False)
class Baseline:
    """A linear model on n-grams: margins m = W x + b, and labels by margins.

    Args:
        name: of the family, and which text it reads where it does not read all: "bigrams-second".
        labels: by code point; those that training examples had.
        multi_label: whether an example has any number of labels rather than one.
        n_texts: how many texts an example has.
        reads: which of them are read, counted from 0; each has features of its own.
        ngrams: the vocabulary of each text read.
        weighting: "tfidf" (each text's features have length 1) or "presence" (1 where a feature occurs).
        idf: of each feature; empty for "presence".
        link: what the margins are. "softmax": log-probabilities but for a constant, so p = softmax(m).
            "sigmoid": log-odds of each label against all others, p = σ(m), divided by their sum where
            an example has one label. "margin": a support vector machine's, of which the order counts.
        weights: `[C, F]`, or `[1, F]` for one label of two: for the second, against the first.
        bias: `[C]` or `[1]`.
        thresholds: where an example may have several labels, `[C]`: a label of margin m is given where
            σ(m) is at least its threshold, as a model's is (`metrics.multi_label`). Else empty.
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
        """Whether there are any; a support vector machine has none."""
        return self.link != "margin"

    def margins(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """`[N, C]`: the larger, the more a label is meant.

        Raises:
            ValueError: an example with another number of texts, or a text that is not in tokens.
        """
        parts = [
            self.margins_of(self.features(examples[start : start + _TOGETHER]))
            for start in range(0, len(examples), _TOGETHER)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.labels)))

    def probabilities(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """`[N, C]`, 0…1; where an example has one label, each row sums to 1.

        Raises:
            ConfigError: it has margins only (`has_probabilities`).
            ValueError: as `margins`.
        """
        if not self.has_probabilities:
            raise ConfigError(
                f"baseline '{self.name}' has margins and no probabilities; ask for margins, or take a "
                "baseline of logistic regression"
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
        """The label of each example; the set of its labels where there may be several.

        One label is that of the largest margin, the first of several that are equal. Several are those
        that reach their thresholds.

        Raises:
            ValueError: as `margins`.
        """
        return self.decide(self.margins(examples))

    def decide(self, margins_NC: NDArray[np.float64]) -> list[Target]:
        """The answers that margins mean."""
        if self.multi_label:
            given_NC = apply_thresholds(sigmoid(margins_NC), self.thresholds)
            return [
                frozenset(label for label, is_so in zip(self.labels, row, strict=True) if is_so)
                for row in given_NC.tolist()
            ]
        return [self.labels[c] for c in margins_NC.argmax(axis=1).tolist()]

    def features(self, examples: Sequence[Example]) -> Cells:
        """What the weights are multiplied with."""
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
        """W x + b, `[N, C]`; of one label of two half of it, against and for, so that softmax is σ."""
        margins_NC = features.times(self.weights) + self.bias
        if len(self.bias) < len(self.labels):
            return np.concatenate([-margins_NC / 2, margins_NC / 2], axis=1)
        return margins_NC

    def strongest(self, label: str, n: int = _N_SHOWN) -> list[tuple[str, float]]:
        """The n-grams with the largest weights for a label, largest first; none that speak against it.

        Tokens are joined by spaces. Where two texts are read, "1:" or "2:" tells which.

        Raises:
            ConfigError: no such label.
        """
        if label not in self.labels:
            raise ConfigError(
                f"baseline '{self.name}' knows no label {quote(label)}{did_you_mean(label, self.labels)}"
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
        """Write the folder, which appears whole or not at all and replaces an older baseline.

            baseline.json         what it is, and its strongest n-grams
            vocabulary.json       the tokens of each text read
            weights.safetensors   weights, bias, idf, thresholds; longer n-grams as numbers of tokens

        Args:
            folder: where; its parent is made if need be.
            fitted: how it was fitted, for whoever reads baseline.json.

        Raises:
            RunError: something else stands there, or it cannot be written.
        """
        write_folder(Path(folder), self, {} if fitted is None else dict(fitted))

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Baseline:
        """Read what `save` wrote. Needs no scikit-learn.

        Raises:
            RunError: no such folder, not a baseline, or damaged.
        """
        return read_folder(Path(folder))[0]


def check_examples(examples: Sequence[Example], n_texts: int) -> None:
    """Raise ValueError unless each example has so many texts, each a sequence of tokens."""
    for number, example in enumerate(examples):
        if isinstance(example, str) or any(isinstance(text, str) for text in example):
            raise ValueError(
                f"example {number} has a text in one piece; give a list of its tokens for each text"
            )
        if len(example) != n_texts:
            raise ValueError(f"example {number} has {len(example)} texts, expected {n_texts}")


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """σ(x) = 1 / (1 + e^−x)."""
    # Of −|x|, so that nothing overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


# --- the folder

_FORMAT = "unrolled baseline 2"
_MOST_BYTES = 1 << 30


def write_folder(folder: Path, baseline: Baseline, fitted: dict[str, object]) -> None:
    """Write a baseline; `fitted` goes into its record."""
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
        # A token may hold half a surrogate pair, which no text of ours does but a caller's may.
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
        "sha256": {name: hashlib.sha256(each).hexdigest() for name, each in contents.items()},
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
        raise RunError(f"{folder} is not a baseline's folder; name one that does not exist yet")
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
    """A baseline and how it was fitted."""
    try:
        contents = {
            name: documents.read_bytes(folder / name, _MOST_BYTES)
            for name in (RECORD_FILE, VOCABULARY_FILE, WEIGHTS_FILE)
        }
        record = _parsed(folder / RECORD_FILE, contents.pop(RECORD_FILE))
    except documents.DocumentError as error:
        problem = "no baseline, or not all of it"
        if not error.is_missing:
            problem = f"cannot be read ({error.problem})"
        raise RunError(
            f"{folder}: {problem}; name a folder with {RECORD_FILE}, {VOCABULARY_FILE} and {WEIGHTS_FILE}"
        ) from error
    damaged = RunError(f"{folder}: damaged baseline; copy the folder again or fit it anew")
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
    # A token may hold half a surrogate pair; see `write_folder`.
    text = content.decode("utf-8", "surrogatepass")
    return documents.parse_json(path, text, surrogates=True)


def _fits(baseline: Baseline) -> bool:
    """Whether all parts of a baseline are such as were written, and belong together."""
    ngrams, labels = baseline.ngrams, baseline.labels
    n_labels, n_features = len(labels), sum(map(len, ngrams))
    texts = (baseline.name, *labels, *(token for each in ngrams for token in each.tokens))
    keys = [each for of in ngrams for each in of.keys]
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
        and all(each.ndim == 1 and each.dtype.kind == "i" for each in keys)
        and baseline.weights.shape
        in {(1 if is_binary else n_labels, n_features), (n_labels, n_features)}
        and baseline.bias.shape == baseline.weights.shape[:1]
        and baseline.idf.shape == (n_features if baseline.weighting == "tfidf" else 0,)
        and baseline.thresholds.shape == (n_labels if baseline.multi_label else 0,)
    )
