"""Inputs of a model that predicts labels, its answers, and how these are written; without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from unrolled.errors import ConfigError, DataError
from unrolled.predictors.unknown import as_written
from unrolled.tasks.facts import truncate
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.roles import LABELS, TEXT, Tokenizers
from unrolled.text.labels import Labels
from unrolled.text.rows import Field, as_text
from unrolled.wording import count_of

Input = str | Sequence[str]
"""A text, or the texts of a pair; in tagging, a text or the tokens of a sentence."""


class LabelAnswers(ABC):
    """What predicts labels, whatever computes them.

    Attributes:
        recipe: the recipe of the run.
        task: its task.
        tokenizers: tokenizers by role, and the labels.
    """

    recipe: Any
    task: Any
    tokenizers: Tokenizers
    _noun = "model"

    @abstractmethod
    def _predict(self, examples: Sequence[Any]) -> list[LabelPrediction]:
        """The predictions for encoded inputs."""

    @property
    def labels(self) -> Labels:
        """The labels that the model chooses from."""
        labels: Labels = self.tokenizers[LABELS]
        return labels

    @property
    def n_texts(self) -> int:
        """The number of texts in an input."""
        return len(self.task.columns) - 1

    @overload
    def __call__(self, *texts: str) -> str | tuple[str, ...]: ...
    @overload
    def __call__(self, texts: Iterable[Any], /) -> list[str | tuple[str, ...]]: ...
    def __call__(self, *texts: Any) -> Any:
        """The label of one input, passed text by text, or the labels of a batch of inputs.

        A batch is any sequence but a string: a list, a NumPy array, a column of a table. A tuple is a
        batch of texts for a model of single texts; for others it is one input: the texts of a pair, the
        tokens of a sentence. Each prediction is a label, or a tuple of labels
        if there may be several, and in tagging.
        """
        if len(texts) == 1 and self._is_batch(texts[0]):
            return [self._plain(prediction) for prediction in self.predict(texts[0])]
        one: Input = texts[0] if len(texts) == 1 else texts
        return self._plain(self.predict([one])[0])

    def _is_batch(self, given: Any) -> bool:
        if isinstance(given, tuple):
            return self.n_texts == 1 and not self.task.by_token
        return isinstance(given, Iterable) and not isinstance(given, str | bytes)

    def _plain(self, prediction: LabelPrediction) -> str | tuple[str, ...]:
        is_one = not self.labels.multi_label and prediction.probabilities.ndim == 1
        return prediction.labels[0] if is_one else prediction.labels

    def predict(self, inputs: Iterable[Input]) -> list[LabelPrediction]:
        """The predictions of the model for a batch of inputs, in order; texts may be empty.

        Raises:
            ConfigError: an input is not text, or has the wrong number of texts.
            DataError: a token is empty, in tagging.
        """
        if isinstance(inputs, str):
            raise ConfigError(
                f"predict takes a list of inputs; for a single input, call the {self._noun} instead"
            )
        inputs = list(inputs)
        return self._answers(inputs, [self.encode(one) for one in inputs])

    def _answers(self, inputs: Sequence[Input], examples: Sequence[Any]) -> list[LabelPrediction]:
        """The predictions for inputs and what `encode` made of them."""
        predictions = self._predict(examples)
        if self.task.by_token:
            return predictions
        return [self._with_words(each, one) for each, one in zip(predictions, inputs, strict=True)]

    def _with_words(self, prediction: LabelPrediction, one: Input) -> LabelPrediction:
        texts = zip(self._fields_of(one), prediction.pieces, strict=True)
        tokenizer, data = self.tokenizers.get(TEXT), self.recipe.data
        words = tuple(
            as_written(tokenizer, as_text(text), pieces, lambda words: truncate(words, data))
            for text, pieces in texts
        )
        names = self.labels.names
        return replace(prediction, names=names, words=() if words == prediction.pieces else words)

    def encode(self, one: Input) -> Any:
        """Encode an input, truncated as in training.

        Raises:
            ConfigError: the input is not text, or has the wrong number of texts.
            DataError: a token is empty.
        """
        fields = self._fields_of(one)
        if len(fields) != self.n_texts:
            wanted = " and ".join(self.task.columns[:-1])
            given = count_of(len(fields), "text")
            raise ConfigError(f"this model reads {wanted}, got {given}")
        try:
            example = self.task.encode(fields, self.tokenizers, self.recipe.data)
        except DataError as error:
            if error.line is None:
                raise
            # The line is the number of the token; there is no file.
            raise DataError(f"token {error.line}: {error.problem}") from None
        return self.task.cut(example, self.recipe.data)

    def _fields_of(self, one: Input) -> Sequence[Field]:
        if isinstance(one, str):
            return [one]
        texts: list[Any] = list(one) if isinstance(one, Iterable) else [one]
        for text in texts:
            if not isinstance(text, str):
                wanted = "a text or a list of tokens" if self.task.by_token else "a text"
                if self.n_texts > 1:
                    wanted = f"{self.n_texts} texts"
                raise ConfigError(
                    f"an input must be {wanted}; found {type(text).__name__} {text!r:.40}"
                )
        return [tuple(texts)] if self.task.by_token else texts


def probability_fields(prediction: LabelPrediction, labels: Labels) -> dict[str, Any]:
    """The probabilities of a prediction, for a line of JSON.

    Returns:
        `probabilities`: by label name, of the most probable labels if only a digest is known; in tagging,
        the probability of each token's tag, and also `spans` if the tags encode spans.
    """
    if (digest := prediction.digest) is not None:
        names = [labels.names[id_] for id_ in digest.ids]
        best = zip(names, digest.probabilities.tolist(), strict=True)
        return {"probabilities": {name: round(p, 6) for name, p in best}}
    if prediction.probabilities.ndim == 1:
        pairs = zip(labels.names, prediction.probabilities.tolist(), strict=True)
        return {"probabilities": {name: round(p, 6) for name, p in pairs}}
    # Imported here, because a classifier does not need the tagger.
    from unrolled.tasks.tagged import probabilities_of, spans_of

    tag_probabilities = probabilities_of(prediction, labels)
    fields: dict[str, Any] = {"probabilities": [round(p, 6) for p in tag_probabilities]}
    if labels.scheme:
        spans = [vars(span) for span in spans_of(prediction, labels)]
        fields["spans"] = [{**span, "probability": round(span["probability"], 6)} for span in spans]
    return fields


def given_labels(prediction: LabelPrediction) -> str:
    """The predicted labels as text, separated by commas, in tagging by spaces."""
    return (", " if prediction.probabilities.ndim == 1 else " ").join(prediction.labels)


def probability_of(prediction: LabelPrediction, labels: Labels) -> float:
    """The probability of the predicted label; of several labels the lowest; of no label, Π (1 − p)."""
    if not prediction.labels:
        return float(np.prod(1 - prediction.probabilities.astype(np.float64)))
    return float(min(prediction.probabilities[labels.id_of(name)] for name in prediction.labels))
