"""What models read of a text in NumPy: the vectors of its words, and of their characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.inference.recurrence import Floats, Layers, joined
from unrolled.inference.refusal import Refused
from unrolled.inference.weights import Weights


class Spelling:
    """Vectors of words from their characters; see `layers.characters`.

    Args:
        config: the `[model]` section.
        weights: of the module.
        n_characters: size of the vocabulary of characters.
    """

    def __init__(self, config: Any, weights: Weights, n_characters: int) -> None:
        size = config.char_size
        self.embedding = weights.take("embedding.weight", n_characters, size)
        self.is_recurrent = config.characters == "recurrent"
        if self.is_recurrent:
            inner = weights.of("encoder.recurrent")
            self.layers = Layers(config.cell, inner, size, size)
            self.output_size = self.layers.output_size
            return
        F, k = config.char_filters, config.char_window
        self.filters = weights.take("convolution.weight", F, size, k).reshape(F, -1)
        self.bias = weights.take("convolution.bias", F)
        self.margins, self.output_size = ((k - 1) // 2, k // 2), F

    def __call__(self, words: Sequence[Sequence[int]]) -> Floats:
        """The characters of each word → `[T, D]`; zeros for a word without characters."""
        found = np.zeros((len(words), self.output_size), np.float32)
        known: dict[tuple[int, ...], Floats] = {}
        for place, letters in enumerate(words):
            if letters:
                key = tuple(letters)
                if key not in known:
                    known[key] = self._spelled(self.embedding[list(letters)])
                found[place] = known[key]
        return found

    def _spelled(self, x_KE: Floats) -> Floats:
        if self.is_recurrent:
            return joined(self.layers(x_KE)[1][-1])[0]
        padded = np.pad(x_KE, (self.margins, (0, 0)))
        width = len(self.filters[0]) // x_KE.shape[1]
        windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)  # [K, E, k]
        y_KF: Floats = windows.reshape(len(x_KE), -1) @ self.filters.T + self.bias
        found: Floats = y_KF.max(0)
        return found


def spelling_of(config: Any, weights: Weights, n_characters: int) -> Spelling | None:
    """What reads the characters of words; None if nothing does."""
    if config.characters == "none" or not config.char_size:
        return None
    if config.characters not in ("recurrent", "convolution"):
        raise Refused(f"model.characters '{config.characters}'")
    return Spelling(config, weights, n_characters)


def linear(weights: Weights, n_outputs: int, n_inputs: int) -> tuple[Floats, Floats]:
    """Weight and bias of a linear layer."""
    return weights.take("weight", n_outputs, n_inputs), weights.take("bias", n_outputs)
