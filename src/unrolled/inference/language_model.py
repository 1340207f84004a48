"""The weights of the task `language_model` for the kernels; see `tasks.language_model`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from unrolled.generating import LanguageWeights
from unrolled.inference.recurrence import CELLS, Layer
from unrolled.inference.refusal import Refused
from unrolled.inference.translate import kernel_cell
from unrolled.inference.weights import Weights
from unrolled.kernels import kernels
from unrolled.searching import LayerWeights


def language_weights(
    config: Any, weights: Weights, n_words: int, precision: str
) -> LanguageWeights:
    """The weights of a run.

    Args:
        config: the `[model]` section.
        weights: of the module.
        n_words: size of the vocabulary.
        precision: in which recurrent weights are stored.

    Raises:
        Refused: the kernels are missing, or do not know the model.
    """
    if kernels is None or config.cell not in CELLS or config.direction != "forward":
        raise Refused("no kernels, an unknown cell, or a model that reads from right to left")
    if config.head not in ("full", "sampled") or config.embedding not in ("learned", "one_hot"):
        raise Refused(f"the output layer '{config.head}' or the embedding '{config.embedding}'")
    E, H, n_layers = config.embedding_size, config.hidden_size, config.n_layers
    last = E if config.tied else H
    embedding, read = None, n_words
    if config.embedding == "learned":
        embedding, read = weights.take("embedding.weight", n_words, E), E
    layers = [
        Layer(config.cell, weights.of(f"layers.layers.{depth}"), "l0", width, size)
        for depth, (width, size) in enumerate(pairwise([read, *[H] * (n_layers - 1), last]))
    ]
    head = embedding if config.tied else weights.take("head.weight", n_words, last)
    if head is None:
        raise Refused("tied weights of one-hot vectors")
    return LanguageWeights(
        cell=kernel_cell(config.cell),
        embedding=embedding,
        scale=E**0.5 if config.tied else 1.0,
        layers=tuple(LayerWeights(w.w_ih, w.w_hh, w.b_ih, w.b_hh) for w in layers),
        precision=precision,
        head=head,
        bias=weights.take("head.bias", n_words),
    )
