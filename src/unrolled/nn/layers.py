"""The recurrent layers: drop-in replacements for those of `torch.nn`, and one for any other cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch

from unrolled.errors import ConfigError
from unrolled.nn import conversion
from unrolled.nn.running import (
    Input,
    Lengths,
    LstmOutput,
    LstmState,
    Output,
    State,
    forward,
    forward_by_layers,
)
from unrolled.ops.cells import CELLS
from unrolled.ops.types import Kind

RecurrentInit = Literal["uniform", "orthogonal", "identity"]


class RNN(torch.nn.RNN):
    """Elman's recurrent network: h_t = tanh(W x_t + b + U h_{t-1} + b'), or ReLU for tanh.

    Elman, "Finding structure in time", 1990.

    Args:
        input_size … dtype: as for `torch.nn.RNN`.
        recurrent_init: how U is initialised: "uniform", torch's U(−1/√H, 1/√H); "orthogonal" (Saxe,
            McClelland and Ganguli, arXiv:1312.6120, section 3), which preserves the norm of a
            back-propagated gradient; "identity" (Le, Jaitly and Hinton, arXiv:1504.00941,
            section 3, for ReLU), which initially preserves the whole state, with biases at zero.

    Raises:
        ConfigError: `recurrent_init` is unknown.

    Called as `rnn(x, h_0=None, lengths=None)`; see `LSTM` for shapes and `lengths`.

    >>> rnn = RNN(5, 3, nonlinearity="relu", recurrent_init="identity")
    >>> rnn.weight_hh_l0.detach()
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    >>> y, h = rnn(torch.zeros(7, 2, 5), torch.ones(1, 2, 3), lengths=[7, 4])
    >>> y.sum(2)[:, 1].tolist()
    [3.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_init: RecurrentInit = "uniform",
        **unknown: Any,
    ) -> None:
        _check_choice(recurrent_init, ("uniform", "orthogonal", "identity"))
        self.recurrent_init = recurrent_init
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            nonlinearity,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            **unknown,  # for torch's own error
        )

    def reset_parameters(self) -> None:
        """Draw new weights, as the constructor does."""
        super().reset_parameters()
        _start_recurrent(self, self.recurrent_init)

    def forward(  # type: ignore[override]
        self,
        input: Input,
        hx: State = None,
        lengths: Lengths = None,
    ) -> Output:
        """Run all layers and directions; shapes and errors as in `LSTM`."""
        return forward(self, super().forward, input, hx, lengths)

    def to_torch(self) -> torch.nn.RNN:
        """A `torch.nn.RNN` with the same parameters, which both share; see `unrolled.nn.to_torch`."""
        return conversion.counterpart(self, _TO_TORCH, _EXTRAS)

    def __prepare_scriptable__(self) -> torch.nn.RNN:
        return self.to_torch()  # `torch.jit.script` cannot compile `lengths=`

    def extra_repr(self) -> str:
        return super().extra_repr() + _init_repr(self.recurrent_init)


class LSTM(torch.nn.LSTM):
    """Long short-term memory; the step is `unrolled.ops.reference.lstm_step`.

    Hochreiter and Schmidhuber, 1997; forget gate: Gers, Schmidhuber and Cummins, 2000.

    Args:
        input_size … dtype: as for `torch.nn.LSTM`.
        recurrent_init: how the recurrent weights are initialised: "uniform", torch's U(−1/√H, 1/√H), or
            "orthogonal", separately for the H × H block of each gate (Saxe, McClelland and Ganguli,
            arXiv:1312.6120, section 3).
        forget_bias: the initial bias of the forget gate, the sum of `bias_ih` and `bias_hh`; None is
            torch's uniform initialisation. 1.0 is recommended by Jozefowicz, Zaremba and Sutskever, "An
            empirical exploration of recurrent network architectures", 2015, section 4.

    Raises:
        ConfigError: `recurrent_init` is unknown, or `forget_bias` is set without biases.

    Called as `lstm(x, (h_0, c_0), lengths=lengths)`, the last two optional:

        x         `[T, B, D]`, `[B, T, D]` with batch_first, `[T, D]` for one row, or packed
        h_0, c_0  `[L·N, B, H]`; zeros by default
        lengths   `[B]`, int64 on the CPU or a list, each in 0…T; by default every row has T steps

    and returns y, with the shape of x but width N·H, and `(h_n, c_n)`, with the shapes of h_0 and c_0.
    With `lengths`, padding in x is ignored (even NaN), padding in y is zeros, the backward direction
    starts at each row's own end, and h_n, c_n are the states at each row's true end. This equals what
    `torch.nn.LSTM` returns for packed rows, without sorting, packing and trimming; a row of length 0
    returns its initial state. `unrolled.ops.dispatch.using` also applies here to pin an implementation.

    Raises on a call:
        ValueError: lengths do not match x, or are given with packed or unbatched input.
        UnavailableError: the pinned implementation cannot run this call.
        RuntimeError, ValueError: raised by torch, for shapes and types that do not match the weights.

    >>> lstm = LSTM(5, 3, batch_first=True, bidirectional=True, forget_bias=1.0)
    >>> y, (h, c) = lstm(torch.randn(2, 7, 5), lengths=[7, 4])
    >>> y.shape, h.shape, bool((y[1, 4:] == 0).all()), bool((h[0, 1] == y[1, 3, :3]).all())
    (torch.Size([2, 7, 6]), torch.Size([2, 2, 3]), True, True)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_init: RecurrentInit = "uniform",
        forget_bias: float | None = None,
    ) -> None:
        _check_choice(recurrent_init, ("uniform", "orthogonal"))
        if forget_bias is not None and not bias:
            raise ConfigError("forget_bias needs biases: remove it or set bias=True")
        self.recurrent_init = recurrent_init
        self.forget_bias = forget_bias
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device=device,
            dtype=dtype,
        )

    def reset_parameters(self) -> None:
        """Draw new weights, as the constructor does."""
        super().reset_parameters()
        _start_recurrent(self, self.recurrent_init)
        if self.forget_bias is None:
            return
        forget = slice(self.hidden_size, 2 * self.hidden_size)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("bias_ih"):
                    parameter[forget] = self.forget_bias
                elif name.startswith("bias_hh"):
                    parameter[forget] = 0.0

    def forward(  # type: ignore[override]
        self,
        input: Input,
        hx: LstmState = None,
        lengths: Lengths = None,
    ) -> LstmOutput:
        """Run all layers and directions; shapes and errors as described for the class."""
        return forward(self, super().forward, input, hx, lengths)

    def to_torch(self) -> torch.nn.LSTM:
        """A `torch.nn.LSTM` with the same parameters, which both share; see `unrolled.nn.to_torch`."""
        return conversion.counterpart(self, _TO_TORCH, _EXTRAS)

    def __prepare_scriptable__(self) -> torch.nn.LSTM:
        return self.to_torch()  # `torch.jit.script` cannot compile `lengths=`

    def extra_repr(self) -> str:
        bias = "" if self.forget_bias is None else f", forget_bias={self.forget_bias}"
        return super().extra_repr() + _init_repr(self.recurrent_init) + bias


class GRU(torch.nn.GRU):
    """Gated recurrent unit, with the reset gate after the product; see `unrolled.ops.reference.gru_step`.

    Cho et al., arXiv:1406.1078, equations 5–8, in the form of cuDNN and torch.

    Args:
        input_size … dtype: as for `torch.nn.GRU`.
        recurrent_init: "uniform" or "orthogonal", as for `LSTM`.

    Raises:
        ConfigError: `recurrent_init` is unknown.

    Called as `gru(x, h_0=None, lengths=None)`; see `LSTM` for shapes and `lengths`.

    >>> gru = GRU(5, 3, recurrent_init="orthogonal")
    >>> y, h = gru(torch.randn(7, 2, 5), lengths=[7, 0])
    >>> y[:, 1].abs().sum().item(), h[0, 1].tolist()
    (0.0, [0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recurrent_init: RecurrentInit = "uniform",
        **unknown: Any,
    ) -> None:
        _check_choice(recurrent_init, ("uniform", "orthogonal"))
        self.recurrent_init = recurrent_init
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            **unknown,  # for torch's own error
        )

    def reset_parameters(self) -> None:
        """Draw new weights, as the constructor does."""
        super().reset_parameters()
        _start_recurrent(self, self.recurrent_init)

    def forward(  # type: ignore[override]
        self,
        input: Input,
        hx: State = None,
        lengths: Lengths = None,
    ) -> Output:
        """Run all layers and directions; shapes and errors as in `LSTM`."""
        return forward(self, super().forward, input, hx, lengths)

    def to_torch(self) -> torch.nn.GRU:
        """A `torch.nn.GRU` with the same parameters, which both share; see `unrolled.nn.to_torch`."""
        return conversion.counterpart(self, _TO_TORCH, _EXTRAS)

    def __prepare_scriptable__(self) -> torch.nn.GRU:
        return self.to_torch()  # `torch.jit.script` cannot compile `lengths=`

    def extra_repr(self) -> str:
        return super().extra_repr() + _init_repr(self.recurrent_init)


class Recurrent(torch.nn.Module):
    """Layers of any cell of `unrolled.ops.cells`, with the parameters and call signature of `torch.nn`.

    Args:
        kind: the cell, e.g. "rnn_sigmoid".
        input_size … bidirectional: as for `torch.nn.RNN`.
        recurrent_init: "uniform" or "orthogonal", as for `LSTM`.

    Raises:
        ConfigError: the cell or `recurrent_init` is unknown.

    Called as `layer(x, h_0=None, lengths=None)`, or with `(h_0, c_0)` for cells with two states; see
    `LSTM` for shapes and `lengths`.

    >>> layer = Recurrent("rnn_sigmoid", 5, 3, batch_first=True, bidirectional=True)
    >>> y, h = layer(torch.randn(2, 7, 5), lengths=[7, 4])
    >>> y.shape, h.shape, layer.weight_hh_l0_reverse.shape
    (torch.Size([2, 7, 6]), torch.Size([2, 2, 3]), torch.Size([3, 3]))
    """

    def __init__(
        self,
        kind: Kind,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        recurrent_init: RecurrentInit = "uniform",
    ) -> None:
        super().__init__()
        _check_choice(recurrent_init, ("uniform", "orthogonal"))
        if kind not in CELLS:
            raise ConfigError(f"kind is {kind!r}; choose from {', '.join(CELLS)}")
        self.mode, self.input_size, self.hidden_size = kind, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional, self.proj_size = dropout, bidirectional, 0
        self.recurrent_init = recurrent_init
        rows = CELLS[kind].n_gates * hidden_size
        width = input_size
        for layer in range(num_layers):
            for direction in ("", "_reverse") if bidirectional else ("",):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, width),
                    "weight_hh": (rows, hidden_size),
                }
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
                for name, shape in shapes.items():
                    parameter = torch.nn.Parameter(torch.empty(shape))
                    self.register_parameter(f"{name}_l{layer}{direction}", parameter)
            width = hidden_size * (2 if bidirectional else 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights, as `torch.nn` does: U(−1/√H, 1/√H)."""
        bound = self.hidden_size**-0.5 if self.hidden_size else 0.0
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound)
        _start_recurrent(self, self.recurrent_init)

    def check_forward_args(self, input: torch.Tensor, hidden: Any, batch_sizes: Any) -> None:
        """Check shapes, as `torch.nn` does.

        Raises:
            RuntimeError: the width of the input or the shape of the state is wrong.
        """
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                f"{input.shape[-1]}"
            )
        n_layers = self.num_layers * (2 if self.bidirectional else 1)
        wanted = (n_layers, input.shape[0 if self.batch_first else 1], self.hidden_size)
        for part in hidden if isinstance(hidden, tuple) else (hidden,):
            if tuple(part.shape) != wanted:
                raise RuntimeError(f"Expected hidden size {wanted}, got {list(part.shape)}")

    def forward(self, input: torch.Tensor, hx: Any = None, lengths: Lengths = None) -> Any:
        """Run all layers and directions; shapes and errors as in `LSTM`."""
        return forward_by_layers(self, input, hx, lengths)

    def extra_repr(self) -> str:
        return f"{self.mode}, {self.input_size}, {self.hidden_size}" + _init_repr(
            self.recurrent_init
        )


RecurrentLayers = RNN | LSTM | GRU | Recurrent
"""A module of recurrent layers."""


def layer_of(kind: Kind) -> Callable[..., RecurrentLayers]:
    """The class of layers for a cell: `RNN`, `LSTM` or `GRU` if there is one, otherwise `Recurrent`.

    >>> layer_of("gru")(5, 3)
    GRU(5, 3)
    """
    classes: dict[str, Callable[..., RecurrentLayers]] = {
        "rnn_tanh": RNN,
        "rnn_relu": partial(RNN, nonlinearity="relu"),
        "gru": GRU,
        "lstm": LSTM,
    }
    return classes[kind] if kind in classes else partial(Recurrent, kind)


_TO_TORCH: conversion.Kinds = {RNN: torch.nn.RNN, LSTM: torch.nn.LSTM, GRU: torch.nn.GRU}
_FROM_TORCH: conversion.Kinds = {theirs: ours for ours, theirs in _TO_TORCH.items()}
_EXTRAS: conversion.Extras = {
    RNN: {"recurrent_init": "uniform"},
    LSTM: {"recurrent_init": "uniform", "forget_bias": None},
    GRU: {"recurrent_init": "uniform"},
}


def from_torch(model: conversion.Model) -> conversion.Model:
    """Convert every `torch.nn.RNN`, `LSTM` and `GRU` of a model to ours, in place.

    The layers stay the same objects with the same parameters, so optimizers, hooks and checkpoints keep
    working. Subclasses of the three, including parametrized layers, are left unchanged.

    Args:
        model: any module, or one of the layers itself.

    Returns:
        The model.

    >>> model = torch.nn.Sequential(torch.nn.LSTM(5, 3))
    >>> type(from_torch(model)[0]).__module__
    'unrolled.nn.layers'
    """
    return conversion.change_kinds(model, _FROM_TORCH, _EXTRAS)


def to_torch(model: conversion.Model) -> conversion.Model:
    """Convert every RNN, LSTM and GRU of a model to `torch.nn`'s, in place; undoes `from_torch`.

    For tools that check for the class, such as `quantize_dynamic`. `lengths=` and the initialisation
    settings of `reset_parameters` are lost. A layer's own method `to_torch()` leaves the layer unchanged
    and returns a new one.

    Args:
        model: any module, or one of the layers itself.

    Returns:
        The model.

    >>> model = torch.nn.Sequential(LSTM(5, 3))
    >>> type(to_torch(model)[0]) is torch.nn.LSTM
    True
    """
    return conversion.change_kinds(model, _TO_TORCH, _EXTRAS)


def _check_choice(given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        listed = ", ".join(f"'{choice}'" for choice in choices)
        raise ConfigError(f"recurrent_init is '{given}'; choose from {listed}")


def _init_repr(recurrent_init: str) -> str:
    return "" if recurrent_init == "uniform" else f", recurrent_init={recurrent_init}"


def _start_recurrent(module: RecurrentLayers, recurrent_init: RecurrentInit) -> None:
    """Initialise the square block of recurrent weights of each gate separately."""
    if recurrent_init == "uniform":
        return
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith("weight_hh"):
                for block in parameter.split(module.hidden_size):
                    if recurrent_init == "orthogonal":
                        torch.nn.init.orthogonal_(block)
                    else:
                        torch.nn.init.eye_(block)
            elif name.startswith("bias") and recurrent_init == "identity":
                torch.nn.init.zeros_(parameter)
