"""Create recurrent layers by name, initialised as the literature recommends."""

from __future__ import annotations

from typing import Any

from unrolled import nn
from unrolled.layers.renewal import renewed
from unrolled.ops.cells import cell_named
from unrolled.ops.types import Weights


def recurrent_layers(
    cell: str, input_size: int, hidden_size: int, n_layers: int, **options: Any
) -> nn.RecurrentLayers:
    """Create batch-first layers with orthogonal recurrent weights and, in an LSTM, a forget bias of 1.

    Orthogonal: Saxe, McClelland & Ganguli 2014; forget bias: Jozefowicz, Zaremba & Sutskever 2015.

    Args:
        cell: the name used in recipes: "rnn", "gru", "lstm" or another cell of `ops.cells.CELLS`.
        input_size: width of the inputs.
        hidden_size: width of one direction.
        n_layers: number of layers.
        **options: further options of `torch.nn.LSTM`, e.g. `bidirectional`.

    >>> recurrent_layers("gru", 3, 5, n_layers=2, bidirectional=True).weight_hh_l1.shape
    torch.Size([15, 5])
    """
    shared: dict[str, Any] = {"batch_first": True, "recurrent_init": "orthogonal", **options}
    known = cell_named(cell)
    return nn.layer_of(known.kind)(input_size, hidden_size, n_layers, **known.options, **shared)


def layer_weights(layer: Any, depth: int = 0) -> Weights:
    """The current weights of one layer of a unidirectional recurrent module."""
    renewed(layer)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return Weights(*(getattr(layer, f"{name}_l{depth}") for name in names))
