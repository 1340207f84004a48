"""The model of the task `translate` in NumPy, and its search in the kernels; see `tasks.seq2seq`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.types import Hypothesis
from unrolled.inference.recurrence import CELLS, Layer, Layers, State, joined
from unrolled.inference.refusal import Refused
from unrolled.inference.weights import Array, Weights
from unrolled.inference.words import linear
from unrolled.kernels import kernels
from unrolled.searching import Cell, DecoderWeights, LayerWeights, Rules, Start, search
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID

_KERNELS = {"rnn": 0, "rnn_relu": 1, "gru": 2, "lstm": 3}
"""The numbers of cells in `native/cells.h`."""


def kernel_cell(name: str) -> Cell:
    """What the kernels know of a cell, by its name in recipes."""
    cell = CELLS[name]
    return Cell(_KERNELS[name], cell.n_gates, cell.n_states)


class Translator:
    """Embeddings, recurrent encoder, bridge, and a decoder that searches.

    Args:
        config: the `[model]` section.
        weights: of the module.
        n_source_words, n_target_words: sizes of the vocabularies.
    """

    def __init__(
        self, config: Any, weights: Weights, n_source_words: int, n_target_words: int
    ) -> None:
        if kernels is None or config.pretrained or config.copying != "none":
            raise Refused("a translator that copies or starts from language models, or no kernels")
        self.config, E, H = config, config.embedding_size, config.hidden_size
        tied = config.tied_embeddings
        self.source = weights.take("source_embedding.weight", n_source_words, E)
        self.encoder = Layers(
            config.cell,
            weights.of("encoder.recurrent"),
            E,
            config.encoder_size,
            config.encoder_layers,
            bidirectional=config.bidirectional,
        )
        M = self.encoder.output_size
        self.bridge = [
            [
                linear(weights.of(f"bridge.projections.{layer}.{part}"), H, M)
                for part in range(CELLS[config.cell].n_states)
            ]
            for layer in range(config.decoder_layers)
        ]
        self.key_weight: Array | None = None
        target = head = self.source
        if tied != "all":
            target = weights.take("target_embedding.weight", n_target_words, E)
            head = target
        if tied == "none":
            head = weights.take("head.weight", n_target_words, H)
        self.source_scale = E**0.5 if tied == "all" else 1.0
        scale = 1.0 if tied == "none" else E**0.5
        bias = weights.take("head.bias", n_target_words)
        self.decoder = self._decoder(weights.of("decoder"), target, scale, head, bias)

    def _decoder(
        self, weights: Weights, target: Array, scale: float, head: Array, bias: Array
    ) -> DecoderWeights:
        config = self.config
        E, H, M = config.embedding_size, config.hidden_size, self.encoder.output_size
        score = None if config.attention == "none" else config.attention
        n_outputs = head.shape[1]
        feeds = bool(config.input_feeding) and score is not None
        query = energy = combine = None
        if score == "additive":
            query = weights.take("attention.query_weight", H, H)
            energy = weights.take("attention.energy_weight", H)
        if score in ("additive", "general"):
            self.key_weight = weights.take("attention.key_weight", H, M)
        elif score not in (None, "dot"):
            raise Refused(f"the attention '{score}'")
        if score is not None or n_outputs != H:
            combine = weights.take("combine.weight", n_outputs, H + (M if score else 0))
        layers = [
            Layer(config.cell, weights.of("recurrent"), f"l{depth}", width, H)
            for depth, width in enumerate(
                [E + (n_outputs if feeds else 0), *[H] * (config.decoder_layers - 1)]
            )
        ]
        return DecoderWeights(
            cell=kernel_cell(config.cell),
            embedding=target,
            scale=scale,
            layers=tuple(LayerWeights(w.w_ih, w.w_hh, w.b_ih, w.b_hh) for w in layers),
            precision="float32",
            score=score,
            query=query,
            energy=energy,
            combine=combine,
            feeds=feeds,
            head=head,
            bias=bias,
        )

    def decode(self, source: Sequence[int], config: DecodingConfig) -> list[Hypothesis]:
        """The hypotheses for the ids of a sentence with </s>, best first.

        Raises:
            Refused: only the search step by step can answer.
        """
        # As in `tasks.seq2seq_decoding`, the product is a float32.
        length = int(np.float32(len(source)) * np.float32(config.max_length_ratio))
        limit = max(length + config.max_length_extra, config.min_length_limit, 0)
        if config.method == "sample" or not limit:
            raise Refused("sampling, or a limit of no words")
        rules = Rules(
            limits=[limit],
            alpha=config.length_penalty,
            beam_size=1 if config.method == "greedy" else config.beam_size,
            n_best=config.n_best,
            begin=BOS_ID,
            end=EOS_ID,
            barred=[BOS_ID, PAD_ID],
            with_attention=False,
        )
        (found,) = search(self.decoder, self._start(source), rules)
        if found is None:
            raise Refused("equally probable words")
        return [Hypothesis(e.words, e.score, e.log_prob, None, e.finished) for e in found]

    def _start(self, source: Sequence[int]) -> Start:
        """The state of the decoder before the first word."""
        y_SD, ends = self.encoder(self.source[list(source)] * np.float32(self.source_scale))
        states = [joined(directions) for directions in ends]
        layers = tuple(
            _bridged(states[min(depth, len(states) - 1)], projections)
            for depth, projections in enumerate(self.bridge)
        )
        feed = keys = values = lengths = None
        if self.decoder.feeds:
            feed = np.zeros((1, self.decoder.head.shape[1]), np.float32)
        if self.decoder.score is not None:
            values, lengths = y_SD[None], np.array([len(source)])
            keys = values if self.key_weight is None else (y_SD @ self.key_weight.T)[None]
        return Start(layers, feed, keys, values, lengths)


def _bridged(state: State, projections: Sequence[tuple[Array, Array]]) -> State:
    """s_0 = tanh(W s + b) of each part, `[1, H]`; see `layers.encoder.Bridge`."""
    return tuple(
        np.tanh(weight @ part + bias)[None]
        for part, (weight, bias) in zip(state, projections, strict=True)
    )
