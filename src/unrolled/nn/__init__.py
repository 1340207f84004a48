"""`RNN`, `LSTM` and `GRU` for rows of any length; every other name is `torch.nn`'s own.

    from unrolled import nn

    encoder = nn.LSTM(256, 512, batch_first=True, bidirectional=True, forget_bias=1.0)
    y, (h, c) = encoder(x, lengths=lengths)

The three are drop-in for `torch.nn`: same constructor, parameters, state dict, outputs and errors.
What they add is `lengths=`, two ways to start the recurrent weights, and the choice of
implementation of `unrolled.ops`.

`from_torch(model)` puts them in the place of `torch.nn`'s layers, `to_torch(model)` does the opposite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from unrolled.errors import ConfigError
from unrolled.nn import conversion, torch_names
from unrolled.nn.running import Input, Lengths, LstmOutput, LstmState, Output, State, forward

if TYPE_CHECKING:
    from torch.nn import *  # noqa: F403

torch_names.install()

__all__ = [
    "from_torch",
    "to_torch",
    *(name for name in dir(torch.nn) if not name.startswith("_")),  # GRU, LSTM and RNN among them
]

RecurrentInit = Literal["uniform", "orthogonal", "identity"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # `__path__` and the like are this module's own or absent
        raise AttributeError(f"module 'unrolled.nn' has no attribute '{name}'")
    return getattr(torch.nn, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class RNN(torch.nn.RNN):  # type: ignore[no-redef]
    """Elman's recurrent network: h_t = tanh(W x_t + b + U h_{t-1} + b'), or ReLU for tanh.

    Elman, "Finding structure in time", 1990.

    Args:
        input_size … dtype: as for `torch.nn.RNN`.
        recurrent_init: how U starts: "uniform", torch's U(−1/√H, 1/√H); "orthogonal" (Saxe,
            McClelland and Ganguli, arXiv:1312.6120, section 3), which keeps the norm of a
            back-propagated gradient; "identity" (Le, Jaitly and Hinton, arXiv:1504.00941,
            section 3, for ReLU), which starts by remembering all, its biases at zero.

    Raises:
        ConfigError: an unknown `recurrent_init`.

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
        """Draw all weights anew, as the constructor does."""
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


class LSTM(torch.nn.LSTM):  # type: ignore[no-redef]
    """Long short-term memory; the step is `unrolled.ops.reference.lstm_step`.

    Hochreiter and Schmidhuber, 1997; forget gate: Gers, Schmidhuber and Cummins, 2000.

    Args:
        input_size … dtype: as for `torch.nn.LSTM`.
        recurrent_init: how the recurrent weights start: "uniform", torch's U(−1/√H, 1/√H), or
            "orthogonal", each gate's H × H block on its own (Saxe, McClelland and Ganguli,
            arXiv:1312.6120, section 3).
        forget_bias: where the forget gate's bias starts, `bias_ih + bias_hh` together; None is
            torch's own uniform start. 1.0 is advised by Jozefowicz, Zaremba and Sutskever, "An
            empirical exploration of recurrent network architectures", 2015, section 4.

    Raises:
        ConfigError: an unknown `recurrent_init`, or `forget_bias` without biases.

    Called as `lstm(x, (h_0, c_0), lengths=lengths)`, the last two optional:

        x         `[T, B, D]`, `[B, T, D]` with batch_first, `[T, D]` for one row, or packed
        h_0, c_0  `[L·N, B, H]`; zeros when absent
        lengths   `[B]`, int64 on the CPU or a list, each in 0…T; absent: every row has T steps

    and returns y, as x with width N·H, and `(h_n, c_n)`, as h_0 and c_0. With `lengths`, padding in
    x is never visible (NaN included), padding in y is zeros, the backward direction starts at
    each row's own end, and h_n, c_n are those of each row's true end: what `torch.nn.LSTM` gives
    for packed rows, without sorting, packing and trimming; a row of length 0 returns its initial
    state. `unrolled.ops.dispatch.using` pins an implementation here too.

    Raises on a call:
        ValueError: lengths that do not fit x, or together with packed or unbatched input.
        UnavailableError: the pinned implementation cannot run this.
        RuntimeError, ValueError: torch's own, for shapes and types that do not fit the weights.

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
            raise ConfigError("forget_bias needs biases: leave it out or set bias=True")
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
        """Draw all weights anew, as the constructor does."""
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
        """Run all layers and directions; shapes and errors are in the class's description."""
        return forward(self, super().forward, input, hx, lengths)

    def to_torch(self) -> torch.nn.LSTM:
        """A `torch.nn.LSTM` with the same parameters, which both share; see `unrolled.nn.to_torch`."""
        return conversion.counterpart(self, _TO_TORCH, _EXTRAS)

    def __prepare_scriptable__(self) -> torch.nn.LSTM:
        return self.to_torch()  # `torch.jit.script` cannot compile `lengths=`

    def extra_repr(self) -> str:
        bias = "" if self.forget_bias is None else f", forget_bias={self.forget_bias}"
        return super().extra_repr() + _init_repr(self.recurrent_init) + bias


class GRU(torch.nn.GRU):  # type: ignore[no-redef]
    """Gated recurrent unit, reset after the product; see `unrolled.ops.reference.gru_step`.

    Cho et al., arXiv:1406.1078, equations 5–8, in the form of cuDNN and torch.

    Args:
        input_size … dtype: as for `torch.nn.GRU`.
        recurrent_init: "uniform" or "orthogonal", as for `LSTM`.

    Raises:
        ConfigError: an unknown `recurrent_init`.

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
        """Draw all weights anew, as the constructor does."""
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


_TO_TORCH: conversion.Kinds = {RNN: torch.nn.RNN, LSTM: torch.nn.LSTM, GRU: torch.nn.GRU}
_FROM_TORCH: conversion.Kinds = {theirs: ours for ours, theirs in _TO_TORCH.items()}
_EXTRAS: conversion.Extras = {
    RNN: {"recurrent_init": "uniform"},
    LSTM: {"recurrent_init": "uniform", "forget_bias": None},
    GRU: {"recurrent_init": "uniform"},
}


def from_torch(model: conversion.Model) -> conversion.Model:
    """Make every `torch.nn.RNN`, `LSTM` and `GRU` of a model ours, in place.

    The layers stay the same objects with the same parameters: optimizers, hooks and checkpoints go on
    as before. Subclasses of the three, parametrized layers among them, stay as they are.

    Args:
        model: any module, or one of the layers itself.

    Returns:
        The model.

    >>> model = torch.nn.Sequential(torch.nn.LSTM(5, 3))
    >>> type(from_torch(model)[0]).__module__
    'unrolled.nn'
    """
    return conversion.change_kinds(model, _FROM_TORCH, _EXTRAS)


def to_torch(model: conversion.Model) -> conversion.Model:
    """Make every RNN, LSTM and GRU of a model `torch.nn`'s, in place: the opposite of `from_torch`.

    For tools that look for the class, as `quantize_dynamic`. What is lost are `lengths=` and how
    `reset_parameters` starts the weights. A layer's own method `to_torch()` leaves the layer as it
    is and returns another.

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


def _start_recurrent(module: torch.nn.RNNBase, recurrent_init: RecurrentInit) -> None:
    """Start each gate's square block of recurrent weights on its own."""
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
