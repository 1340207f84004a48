"""Create recurrent layers by name, initialised as the literature recommends."""

from __future__ import annotations

from typing import Annotated, Any, Protocol, runtime_checkable

import torch

from unrolled import nn
from unrolled.config import Range
from unrolled.errors import ConfigError
from unrolled.layers.renewal import renewed
from unrolled.nn.layers import RecurrentInit
from unrolled.ops.cells import cell_named
from unrolled.ops.types import Weights

ForgetBias = Annotated[float, Range(-100, 100)]
"""The initial bias of the forget gate."""

INITIAL_ONLY = frozenset({"recurrent_init", "forget_bias"})
"""Settings of `[model]` that only affect its initial weights."""

_ONE_MATRIX = ("rnn_tanh", "rnn_relu")
_INPUT_DEVIATION = 1e-3  # of the input weights beside an identity


@runtime_checkable
class InitialSettings(Protocol):
    """The settings of a `[model]` section that determine the initial weights of its recurrent layers.

    Args:
        cell: the recurrent cell.
        recurrent_init: "orthogonal", for each gate (Saxe, McClelland and Ganguli 2014); "identity", for
            the cells "rnn" and "rnn_relu", with biases of 0 and input weights of standard deviation 0.001
            (Le, Jaitly and Hinton 2015, section 4); or "uniform", as in `torch.nn`.
        forget_bias: the bias of an LSTM's forget gate.
    """

    @property
    def cell(self) -> str: ...

    @property
    def recurrent_init(self) -> RecurrentInit: ...

    @property
    def forget_bias(self) -> float: ...


def check_initial(config: InitialSettings) -> None:
    """Check that a cell can be initialised as its settings say.

    Raises:
        ConfigError: the cell has several matrices instead of one, or no forget gate.
    """
    kind = cell_named(config.cell).kind
    if config.recurrent_init == "identity" and kind not in _ONE_MATRIX:
        raise ConfigError(
            "model.recurrent_init: 'identity' is for the cells 'rnn' and 'rnn_relu', got cell "
            f"'{config.cell}'; choose 'orthogonal', or set model.cell = 'rnn_relu'"
        )
    if config.forget_bias != 1.0 and kind != "lstm":
        raise ConfigError(
            f"model.forget_bias only applies to the cell 'lstm', got cell '{config.cell}'; remove "
            "it, or set model.cell = 'lstm'"
        )


def initialize(model: torch.nn.Module, config: InitialSettings) -> None:
    """Draw the weights of all recurrent layers of a model again if they are to start in another way.

    Args:
        model: the model; its layers were created by `recurrent_layers`.
        config: its settings, which `check_initial` has accepted.

    >>> from unrolled.tasks.classify import Classifier, ClassifyConfig
    >>> config = ClassifyConfig("rnn_relu", hidden_size=2, bidirectional=False, recurrent_init="identity")
    >>> Classifier(config, n_words=5, n_labels=2).encoder.recurrent.weight_hh_l0.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if (config.recurrent_init, config.forget_bias) == ("orthogonal", 1.0):
        return
    for layer in model.modules():
        if not isinstance(layer, nn.RecurrentLayers):
            continue
        layer.recurrent_init = config.recurrent_init
        if isinstance(layer, nn.LSTM):
            layer.forget_bias = config.forget_bias
        layer.reset_parameters()
        if config.recurrent_init == "identity":
            for name, weight in layer.named_parameters():
                if name.startswith("weight_ih"):
                    nn.init.normal_(weight, std=_INPUT_DEVIATION)


def recurrent_layers(
    cell: str, input_size: int, hidden_size: int, n_layers: int, **options: Any
) -> nn.RecurrentLayers:
    """Create batch-first layers with orthogonal recurrent weights and, in an LSTM, a forget bias of 1.

    Orthogonal: Saxe, McClelland & Ganguli 2014; forget bias: Jozefowicz, Zaremba & Sutskever 2015.

    Args:
        cell: the name used in recipes: "rnn", "rnn_relu", "gru", "lstm" or another cell of
            `ops.cells.CELLS`.
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
