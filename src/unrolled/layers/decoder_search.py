"""Greedy and beam search with an `AttentionalDecoder` in one call of the native kernels."""

from __future__ import annotations

from torch import Tensor

from unrolled.layers.decoder import AttentionalDecoder, DecoderState
from unrolled.layers.head import SoftmaxHead
from unrolled.layers.recurrent import layer_weights
from unrolled.layers.renewal import renewed
from unrolled.ops.cells import cell_named
from unrolled.ops.searching import kernel_cell
from unrolled.searching import DecoderWeights, LayerWeights, Start
from unrolled.shapes import Float


def decoder_weights(
    decoder: AttentionalDecoder, head: SoftmaxHead, embedding: Float[Tensor, "V E"], scale: float
) -> DecoderWeights:
    """The current weights of a decoder between an embedding, which is scaled, and an output layer."""
    attention = decoder.attention
    is_additive = attention is not None and attention.score == "additive"
    if attention is not None:
        renewed(attention)
    return DecoderWeights(
        cell=kernel_cell(cell_named(decoder.cell).kind),
        embedding=embedding,
        scale=scale,
        layers=tuple(
            LayerWeights(w.w_ih, w.w_hh, w.b_ih, w.b_hh)
            for w in (
                layer_weights(decoder.recurrent, n) for n in range(decoder.recurrent.num_layers)
            )
        ),
        precision=decoder.precision,
        score=None if attention is None else attention.score,
        query=attention.query_weight if attention is not None and is_additive else None,
        energy=attention.energy_weight if attention is not None and is_additive else None,
        combine=None if decoder.combine is None else renewed(decoder.combine).weight,
        feeds=decoder.input_feeding,
        head=renewed(head).weight,
        bias=head.bias,
    )


def start_of(state: DecoderState) -> Start | None:
    """What a search begins with; None if a row has several hypotheses."""
    if state.layers[0][0].shape[1] != 1:
        return None
    memory = state.memory
    return Start(
        layers=tuple(tuple(part[:, 0] for part in layer) for layer in state.layers),
        feed=None if state.feed is None else state.feed[:, 0],
        keys=None if memory is None else memory.keys,
        values=None if memory is None else memory.values,
        lengths=None if memory is None else memory.mask.sum(2).squeeze(1),
    )
