"""The model of the task `classify` in NumPy; see `tasks.classify.Classifier`."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.inference.recurrence import Floats, encoder_of, joined
from unrolled.inference.refusal import Refused
from unrolled.inference.softmax import softmax
from unrolled.inference.weights import Weights
from unrolled.inference.words import linear, spelling_of
from unrolled.tasks.examples import LabelledExample

_POOLINGS = ("final", "mean", "max", "attentive", "concat")


class Classifier:
    """Embedding, recurrent layers, pooling, scores.

    Args:
        config: the `[model]` section.
        weights: of the module.
        n_words, n_labels, n_characters: sizes of the vocabularies.
    """

    sides = slice(None)

    def __init__(
        self, config: Any, weights: Weights, n_words: int, n_labels: int, n_characters: int
    ) -> None:
        if config.pooling not in _POOLINGS:
            raise Refused("a pooling of another kind")
        E, self.pooling = config.embedding_size, config.pooling
        self.embedding = weights.take("embedding.weight", n_words, E)
        self.spelling = spelling_of(config, weights.of("spelling"), n_characters)
        n_columns = self.spelling.output_size if self.spelling else 0
        self.encoder = encoder_of(config, weights.of("encoder"), n_columns)
        D = self.encoder.output_size
        if self.pooling == "attentive":
            self.attentive = linear(weights.of("pooling.attentive"), D, D)
            self.query = weights.take("pooling.attentive.query", D)
        width = 3 * D if self.pooling == "concat" else D
        self.weight, self.bias = linear(weights.of("head.scorer"), n_labels, width)

    def logits(self, example: LabelledExample) -> Floats:
        """The scores of the labels."""
        (ids,) = example.texts
        x_TE = self.embedding[ids]
        if self.spelling is not None:
            assert example.facts is not None
            x_TE = np.concatenate([x_TE, self.spelling(example.facts.spellings[0])], axis=1)
        y_TD, ends = self.encoder(x_TE)
        scores_C: Floats = self.weight @ self._pooled(y_TD, joined(ends[-1])[0]) + self.bias
        return scores_C

    def _pooled(self, y_TD: Floats, last_D: Floats) -> Floats:
        if not len(y_TD):
            return np.zeros(self.weight.shape[1], np.float32)
        if self.pooling == "attentive":
            weight, bias = self.attentive
            pooled_D: Floats = softmax(np.tanh(y_TD @ weight.T + bias) @ self.query) @ y_TD
            return pooled_D
        kinds = ("final", "max", "mean") if self.pooling == "concat" else (self.pooling,)
        # A language model's layers do not read the columns of the characters.
        last_D = np.concatenate([last_D, y_TD[-1, len(last_D) :]])
        parts = {"final": last_D, "max": y_TD.max(0), "mean": y_TD.mean(0)}
        return np.concatenate([parts[kind] for kind in kinds])
