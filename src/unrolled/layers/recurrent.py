"""Recurrent layers by name, started as the literature advises."""

from __future__ import annotations

from typing import Any

from unrolled import nn
from unrolled.layers.renewal import renewed
from unrolled.ops.types import Weights


def recurrent_layers(
    cell: str, input_size: int, hidden_size: int, n_layers: int, **options: Any
) -> nn.RNN | nn.GRU | nn.LSTM:
    """Batch-first layers with orthogonal recurrent weights and, in an LSTM, a forget bias of 1.

    Orthogonal: Saxe, McClelland & Ganguli 2014; forget bias: Jozefowicz, Zaremba & Sutskever 2015.

    Args:
        cell: "rnn", "gru" or "lstm".
        input_size: width of the inputs.
        hidden_size: width of one direction.
        n_layers: how many.
        **options: as `torch.nn.LSTM` takes them, e.g. `bidirectional`.

    >>> recurrent_layers("gru", 3, 5, n_layers=2, bidirectional=True).weight_hh_l1.shape
    torch.Size([15, 5])
    """
    shared: dict[str, Any] = {"batch_first": True, "recurrent_init": "orthogonal", **options}
    if cell == "lstm":
        return nn.LSTM(input_size, hidden_size, n_layers, forget_bias=1.0, **shared)
    layers = {"rnn": nn.RNN, "gru": nn.GRU}[cell]
    return layers(input_size, hidden_size, n_layers, **shared)


def layer_weights(layer: Any, depth: int = 0) -> Weights:
    """The weights of one layer of a recurrent module of one direction, as they are now."""
    renewed(layer)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return Weights(*(getattr(layer, f"{name}_l{depth}") for name in names))
