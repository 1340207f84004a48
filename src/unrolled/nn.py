"""`RNN`, `LSTM` and `GRU` for rows of any length; every other name is `torch.nn`'s own.

    from unrolled import nn

    encoder = nn.LSTM(256, 512, batch_first=True, bidirectional=True, forget_bias=1.0)
    y, (h, c) = encoder(x, lengths=lengths)

The three are drop-in for `torch.nn`: same constructor, parameters, state dict, outputs and errors.
What they add is `lengths=`, two ways to start the recurrent weights, and the choice of
implementation of `unrolled.ops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled import ops
from unrolled.errors import ConfigError, UnavailableError
from unrolled.ops.packing import Packing
from unrolled.ops.torch_native import lacks_bfloat16_lstm

if TYPE_CHECKING:
    from torch.nn import *  # noqa: F403

__all__ = ["GRU", "LSTM", "RNN"]

RecurrentInit = Literal["uniform", "orthogonal", "identity"]


def __getattr__(name: str) -> Any:
    return getattr(torch.nn, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(torch.nn)})


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
        )

    def reset_parameters(self) -> None:
        """Draw all weights anew, as the constructor does."""
        super().reset_parameters()
        _start_recurrent(self, self.recurrent_init)

    def forward(  # type: ignore[override]
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run all layers and directions; shapes and errors as in `LSTM`."""
        return _forward(self, super().forward, input, hx, lengths)

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
    state. `unrolled.ops.using` pins an implementation here too.

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
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Run all layers and directions; shapes and errors are in the class's description."""
        return _forward(self, super().forward, input, hx, lengths)

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
        )

    def reset_parameters(self) -> None:
        """Draw all weights anew, as the constructor does."""
        super().reset_parameters()
        _start_recurrent(self, self.recurrent_init)

    def forward(  # type: ignore[override]
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run all layers and directions; shapes and errors as in `LSTM`."""
        return _forward(self, super().forward, input, hx, lengths)

    def extra_repr(self) -> str:
        return super().extra_repr() + _init_repr(self.recurrent_init)


_KINDS: dict[str, ops.Kind] = {
    "RNN_TANH": "rnn_tanh",
    "RNN_RELU": "rnn_relu",
    "LSTM": "lstm",
    "GRU": "gru",
}


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


def _forward(
    module: Any,
    torch_forward: Any,
    input: Tensor | PackedSequence,
    hx: Any,
    lengths: Tensor | Sequence[int] | None,
) -> Any:
    """Choose between torch's call for the whole stack and ours, layer by layer.

    Torch's is the same computation as `torch_native` in one call (and all that cuDNN can fuse), so
    it is taken wherever `torch_native` would run and no row is short. On the CPU short rows go
    layer by layer, because torch's packed LSTM leaves oneDNN.
    """
    if module.mode == "LSTM" and lacks_bfloat16_lstm(_values(input)):
        with torch.autocast("cpu", enabled=False):
            state = None if hx is None else tuple(part.float() for part in hx)
            return _forward(module, torch_forward, input.float(), state, lengths)
    if isinstance(input, PackedSequence):
        if lengths is not None:
            raise ValueError("a packed sequence brings its own lengths; leave lengths= out")
        if _torch_runs(module, _values(input).unsqueeze(0)):
            return torch_forward(input, hx)
        return _forward_packed_input(module, input, hx)
    if lengths is not None and input.dim() != 3:
        raise ValueError(
            f"lengths= goes with a batch of rows, an input of 3 dimensions; this one has "
            f"{input.dim()}"
        )
    if input.dim() not in (2, 3):
        return torch_forward(input, hx)  # for torch's own error
    is_batched = input.dim() == 3
    rows = input if is_batched else input.unsqueeze(0 if module.batch_first else 1)
    x_TBD = rows.transpose(0, 1) if module.batch_first else rows
    lengths_B = None if lengths is None else _checked_lengths(lengths, x_TBD)
    torch_runs = _torch_runs(module, x_TBD)
    if lengths_B is None and torch_runs:
        return torch_forward(input, hx)
    state = _checked_state(module, rows, hx, is_batched)
    if torch_runs and lengths_B is not None and (module.proj_size > 0 or x_TBD.is_cuda):
        y_TBH, end = _run_packed(module, torch_forward, x_TBD, lengths_B, state)
    else:
        y_TBH, end = _run_layers(module, x_TBD, lengths_B, state)
    y = y_TBH.transpose(0, 1) if module.batch_first else y_TBH
    if not is_batched:
        y, end = y.squeeze(0 if module.batch_first else 1), tuple(part.squeeze(1) for part in end)
    return y, _as_torch(module, end)


def _values(input: Tensor | PackedSequence) -> Tensor:
    return input.data if isinstance(input, PackedSequence) else input


def _torch_runs(module: Any, x: Tensor) -> bool:
    """Whether the first choice for this input is torch's own.

    Raises:
        UnavailableError: another is pinned, and only torch has projections.
    """
    chosen = ops.choose(_KINDS[module.mode], x, weights=_weights(module, ""))
    if module.proj_size > 0 and chosen != "torch_native":
        raise UnavailableError(
            f"'{chosen or 'native'}' is pinned and has no projections: set proj_size=0 or pin "
            f"'torch_native' or none"
        )
    return chosen == "torch_native"


def _checked_lengths(lengths: Tensor | Sequence[int], x_TBD: Tensor) -> Tensor | None:
    """The lengths as a tensor, or None where every row is as long as x."""
    n_steps, n_rows, _ = x_TBD.shape
    if not isinstance(lengths, Tensor):
        lengths = torch.tensor(lengths, dtype=torch.int64)
    ops.check_lengths(lengths, n_rows, n_steps)
    return None if n_steps > 0 and bool((lengths == n_steps).all()) else lengths


def _checked_state(module: Any, rows: Tensor, hx: Any, is_batched: bool) -> tuple[Tensor, ...]:
    """The initial state as a tuple of `[L·N, B, …]`, refused in torch's own words."""
    n_states = 2 if module.mode == "LSTM" else 1
    if hx is None:
        n_rows = rows.shape[0] if module.batch_first else rows.shape[1]
        n_layers = module.num_layers * (2 if module.bidirectional else 1)
        widths = (module.proj_size or module.hidden_size, module.hidden_size)[:n_states]
        state = tuple(rows.new_zeros(n_layers, n_rows, width) for width in widths)
    else:
        state = tuple(hx) if n_states == 2 else (hx,)
        if not is_batched:
            state = tuple(part.unsqueeze(1) for part in state)
    module.check_forward_args(rows, _as_torch(module, state), None)
    return state


def _as_torch(module: Any, state: tuple[Tensor, ...]) -> Any:
    """`(h, c)` for the LSTM, else h."""
    return state if module.mode == "LSTM" else state[0]


def _weights(module: Any, suffix: str, layer: int = 0) -> ops.Weights:
    """The weights of one layer in one direction; read by name, so that replaced ones are seen."""
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
    return ops.Weights(*(getattr(module, f"{name}_l{layer}{suffix}") for name in names))


def _run_layers(
    module: Any, x_TBD: Tensor, lengths_B: Tensor | None, state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Every layer and direction by `ops.unroll`, with torch's dropout between layers."""
    kind = _KINDS[module.mode]
    ends: list[tuple[Tensor, ...]] = []
    for layer in range(module.num_layers):
        start = tuple(part[len(ends)] for part in state)
        weights = _weights(module, "", layer)
        if module.bidirectional:
            starts = (start, tuple(part[len(ends) + 1] for part in state))
            both = (weights, _weights(module, "_reverse", layer))
            x_TBD, layer_ends = ops.unroll_both(kind, x_TBD, lengths_B, starts, both)
            ends += layer_ends
        else:
            x_TBD, end = ops.unroll(kind, x_TBD, lengths_B, start, weights)
            ends.append(end)
        if layer < module.num_layers - 1:
            x_TBD = drop(x_TBD, module.dropout, module.training)
    return x_TBD, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))


def _run_packed(
    module: Any,
    torch_forward: Any,
    x_TBD: Tensor,
    lengths_B: Tensor,
    state: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The whole stack by torch over packed rows; empty rows are not shown to it."""
    n_steps, n_rows, _ = x_TBD.shape
    packing = Packing.of(lengths_B, x_TBD.device)
    if len(packing.order) == 0:
        width = (2 if module.bidirectional else 1) * state[0].shape[2]
        return x_TBD.new_zeros(n_steps, n_rows, width), state
    packed = PackedSequence(packing.gather(x_TBD), packing.batch_sizes)
    start = tuple(part.index_select(1, packing.order) for part in state)
    y, end = torch_forward(packed, _as_torch(module, start))
    ends = end if module.mode == "LSTM" else (end,)
    y_TBH = packing.scatter(y.data, n_steps, n_rows)
    return y_TBH, tuple(map(packing.put_back, ends, state))


def _forward_packed_input(module: Any, packed: PackedSequence, hx: Any) -> Any:
    """A packed sequence for an implementation that takes padded rows; the answer is packed too."""
    x_TBD, lengths_B = pad_packed_sequence(packed)
    rows = x_TBD.transpose(0, 1) if module.batch_first else x_TBD
    state = _checked_state(module, rows, hx, is_batched=True)
    y_TBH, end = _run_layers(module, x_TBD, lengths_B, state)
    order, sorted_lengths = packed.sorted_indices, lengths_B
    if order is not None:
        y_TBH, sorted_lengths = y_TBH.index_select(1, order), lengths_B[order.cpu()]
    data = pack_padded_sequence(y_TBH, sorted_lengths).data
    y = PackedSequence(data, packed.batch_sizes, order, packed.unsorted_indices)
    return y, _as_torch(module, end)
