"""The encoder of an encoder–decoder, and the bridge that passes its final states to the decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from unrolled import nn
from unrolled.layers.recurrent import recurrent_layers
from unrolled.layers.renewal import renewed
from unrolled.ops.cells import cell_named
from unrolled.ops.linear import linear
from unrolled.shapes import Float, Padded

State = tuple[tuple[Float[Tensor, "B H"], ...], ...]
"""The final state of each layer, `(h,)` or `(h, c)`."""


class RecurrentEncoder(nn.Module):
    """Stacked recurrent layers, uni- or bidirectional, over rows of different lengths.

    Args:
        cell: "rnn", "gru" or "lstm".
        input_size: width of the inputs.
        hidden_size: width of one direction.
        n_layers: number of layers.
        bidirectional: whether each layer also reads backwards.
        dropout_rate: between layers.

    >>> encoder = RecurrentEncoder("lstm", 3, 5, n_layers=2)
    >>> encoded, state = encoder(Padded(torch.randn(2, 7, 3), torch.tensor([7, 4])))
    >>> encoded.values.shape, len(state), state[0][1].shape
    (torch.Size([2, 7, 10]), 2, torch.Size([2, 10]))
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        n_layers: int = 1,
        bidirectional: bool = True,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.recurrent = recurrent_layers(
            cell,
            input_size,
            hidden_size,
            n_layers,
            bidirectional=bidirectional,
            dropout=dropout_rate if n_layers > 1 else 0.0,
        )
        self.output_size = hidden_size * (2 if bidirectional else 1)

    def forward(self, inputs: Padded) -> tuple[Padded, State]:
        """Return (outputs `[B, S, N·H]`, final states per layer with the directions concatenated)."""
        y_BSH, final = self.recurrent(inputs.values, lengths=inputs.lengths)
        parts = final if isinstance(final, tuple) else (final,)
        n_layers, B = self.recurrent.num_layers, y_BSH.shape[0]
        by_layer = [part.view(n_layers, -1, B, part.shape[2]) for part in parts]
        state = tuple(
            tuple(part[layer].transpose(0, 1).reshape(B, -1) for part in by_layer)
            for layer in range(n_layers)
        )
        return Padded(y_BSH, inputs.lengths), state


class Bridge(nn.Module):
    """Compute the decoder's initial state from the encoder's final one: s_0 = tanh(W s + b).

    Decoder layer l reads encoder layer l, or the last one if the encoder has fewer layers. Bahdanau et
    al. 2015, appendix A.2.2, uses the backward state alone; here both directions are used.

    Args:
        cell: "rnn", "gru" or "lstm"; an LSTM's h and c have separate projections.
        encoder_size: width of the encoder's states.
        decoder_size: H of the decoder.
        n_layers: layers of the decoder.
    """

    def __init__(self, cell: str, encoder_size: int, decoder_size: int, n_layers: int) -> None:
        super().__init__()
        n_parts = cell_named(cell).n_states
        self.projections = nn.ModuleList(
            nn.ModuleList(nn.Linear(encoder_size, decoder_size) for _ in range(n_parts))
            for _ in range(n_layers)
        )

    def forward(self, state: tuple[tuple[Float[Tensor, "B D"], ...], ...]) -> State:
        """Return the initial state of each decoder layer."""
        initial = []
        for layer, projections in enumerate(self.projections):
            parts = state[min(layer, len(state) - 1)]
            assert isinstance(projections, nn.ModuleList)
            states = []
            for part, projection in zip(parts, projections, strict=True):
                assert isinstance(projection, nn.Linear)
                renewed(projection)
                states.append(torch.tanh(linear(part, projection.weight, projection.bias)))
            initial.append(tuple(states))
        return tuple(initial)
