"""Run a recurrent module: all layers in one call of torch, or layer by layer with `unrolled.ops`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.nn.functional import dropout as drop
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled import ops
from unrolled.errors import UnavailableError
from unrolled.ops.access import are_readable
from unrolled.ops.cells import CELLS
from unrolled.ops.dispatch import check_lengths
from unrolled.ops.packing import Packing
from unrolled.ops.torch_native import lacks_bfloat16_lstm

if TYPE_CHECKING:
    Input: TypeAlias = Tensor | PackedSequence
    Lengths: TypeAlias = Tensor | Sequence[int] | None
    State: TypeAlias = Tensor | None
    LstmState: TypeAlias = tuple[Tensor, Tensor] | None
    Output: TypeAlias = tuple[Tensor | PackedSequence, Tensor]
    LstmOutput: TypeAlias = tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]
else:
    # While torch.fx traces a model, all of these are proxies.
    Input = Lengths = State = LstmState = Output = LstmOutput = Any

_KINDS: dict[str, ops.Kind] = {
    "RNN_TANH": "rnn_tanh",
    "RNN_RELU": "rnn_relu",
    "LSTM": "lstm",
    "GRU": "gru",
}


def forward(
    module: Any,
    torch_forward: Callable[..., Any],
    input: Input,
    hx: Any,
    lengths: Lengths,
) -> Any:
    """Choose between torch's call for the whole stack and ours, layer by layer.

    Torch's call does the same computation as `torch_native` at once (and lets cuDNN fuse it), so it is
    used wherever `torch_native` would run and no row is short. On the CPU, short rows are run layer by
    layer, because torch does not use oneDNN for a packed LSTM.
    """
    if (tracer := _tracer(input, hx, lengths)) is not None and tracer.root is not module:
        return _leave_to_the_graph(tracer, module, input, hx, lengths)
    if not isinstance(input, (Tensor, PackedSequence)):
        return torch_forward(input, hx)  # for torch's own error
    if module.mode == "LSTM" and lacks_bfloat16_lstm(_values(input)):
        with torch.autocast("cpu", enabled=False):
            state = None if hx is None else tuple(part.float() for part in hx)
            return forward(module, torch_forward, input.float(), state, lengths)
    if isinstance(input, PackedSequence):
        if lengths is not None:
            raise ValueError("a packed sequence contains its lengths; remove lengths=")
        if _torch_runs(module, _values(input).unsqueeze(0)) or not _fits(module, hx, 3):
            return torch_forward(input, hx)
        return _forward_packed_input(module, input, hx)
    if lengths is not None and input.dim() != 3:
        raise ValueError(
            f"lengths= needs a batch of rows, an input with 3 dimensions; this input has {input.dim()}"
        )
    if input.dim() not in (2, 3) or not _fits(module, hx, input.dim()):
        return torch_forward(input, hx)  # for torch's own error
    is_batched = input.dim() == 3
    rows = input if is_batched else input.unsqueeze(0 if module.batch_first else 1)
    x_TBD = rows.transpose(0, 1) if module.batch_first else rows
    lengths_B = None if lengths is None else _checked_lengths(lengths, x_TBD)
    torch_runs = _torch_runs(module, x_TBD)
    has_no_step = x_TBD.shape[0] == 0 and ops.pinned() is None  # torch's own error
    if lengths_B is None and (torch_runs or has_no_step):
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


def forward_by_layers(module: Any, input: Tensor, hx: Any, lengths: Lengths) -> Any:
    """Run a batch of rows through all layers of a module that `torch.nn` does not have.

    Raises:
        ValueError: the input is not a batch of rows, or the lengths do not match it.
        RuntimeError: widths do not match the weights.
    """
    if not isinstance(input, Tensor) or input.dim() != 3 or not _fits(module, hx, 3):
        raise ValueError("expected a batch of rows, [B, T, D] or [T, B, D], and a matching state")
    x_TBD = input.transpose(0, 1) if module.batch_first else input
    lengths_B = None if lengths is None else _checked_lengths(lengths, x_TBD)
    state = _checked_state(module, input, hx, is_batched=True)
    y_TBH, end = _run_layers(module, x_TBD, lengths_B, state)
    return (y_TBH.transpose(0, 1) if module.batch_first else y_TBH), _as_torch(module, end)


def _kind(module: Any) -> ops.Kind:
    return _KINDS.get(module.mode, module.mode)


def _n_states(module: Any) -> int:
    return CELLS[_kind(module)].n_states


def _tracer(input: Any, hx: Any, lengths: Any) -> Any:
    """The tracer of `torch.fx` if one of these is a proxy, else None."""
    for value in (input, *(hx if isinstance(hx, tuple) else (hx,)), lengths):
        if isinstance(value, Proxy):
            return value.tracer
    return None


def _leave_to_the_graph(tracer: Any, module: Any, input: Any, hx: Any, lengths: Any) -> Any:
    """Record the call of the module as one node of the graph, as for every module of `torch.nn`."""
    args = (input,) if hx is None else (input, hx)
    options = {} if lengths is None else {"lengths": lengths}
    return tracer.create_proxy("call_module", tracer.path_of_module(module), args, options)


def _fits(module: Any, hx: Any, n_dimensions: int) -> bool:
    """Whether the initial state has the right number of parts and dimensions."""
    if hx is None:
        return True
    if _n_states(module) == 1:
        return isinstance(hx, Tensor) and hx.dim() == n_dimensions
    return (
        isinstance(hx, (tuple, list))
        and len(hx) == 2
        and all(isinstance(part, Tensor) and part.dim() == n_dimensions for part in hx)
    )


def _values(input: Tensor | PackedSequence) -> Tensor:
    return input.data if isinstance(input, PackedSequence) else input


def _torch_runs(module: Any, x: Tensor) -> bool:
    """Whether torch's own implementation is the first choice for this input.

    Raises:
        UnavailableError: another implementation is pinned, and only torch supports projections.
    """
    chosen = ops.choose(_kind(module), x, weights=_weights(module, ""))
    if module.proj_size == 0 or chosen == "torch_native":
        return chosen == "torch_native"
    if ops.pinned() is None:
        return True
    raise UnavailableError(
        f"'{chosen or 'native'}' is pinned and does not support projections: set proj_size=0, or pin "
        f"'torch_native' or none"
    )


def _checked_lengths(lengths: Any, x_TBD: Tensor) -> Tensor | None:
    """The lengths as a tensor, or None if every row is as long as x."""
    n_steps, n_rows, _ = x_TBD.shape
    if not isinstance(lengths, Tensor):
        lengths = torch.tensor(lengths, dtype=torch.int64, device="cpu")
    check_lengths(lengths, n_rows, n_steps)
    if n_steps == 0 or not are_readable(lengths):
        return lengths
    return None if bool((lengths == n_steps).all()) else lengths


def _checked_state(module: Any, rows: Tensor, hx: Any, is_batched: bool) -> tuple[Tensor, ...]:
    """The initial state as a tuple of `[L·N, B, …]`; raises torch's own errors."""
    n_states = _n_states(module)
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
    return state if _n_states(module) > 1 else state[0]


def _weights(module: Any, suffix: str, layer: int = 0) -> ops.Weights:
    """The weights of one layer in one direction; read by name, so that replaced weights are used."""
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
    return ops.Weights(*(getattr(module, f"{name}_l{layer}{suffix}") for name in names))


def _run_layers(
    module: Any, x_TBD: Tensor, lengths_B: Tensor | None, state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run every layer and direction with `ops.unroll`, with torch's dropout between layers."""
    kind = _kind(module)
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
    """Run the whole stack with torch over packed rows, without the empty rows."""
    if not are_readable(lengths_B):
        raise UnavailableError(
            "projections with lengths= cannot be recorded or batched: set proj_size=0, or remove "
            "lengths="
        )
    n_steps, n_rows, _ = x_TBD.shape
    packing = Packing.of(lengths_B, x_TBD.device)
    if len(packing.order) == 0:
        width = (2 if module.bidirectional else 1) * state[0].shape[2]
        return x_TBD.new_zeros(n_steps, n_rows, width), state
    packed = PackedSequence(packing.gather(x_TBD), packing.batch_sizes)
    start = tuple(part.index_select(1, packing.order) for part in state)
    y, end = torch_forward(packed, _as_torch(module, start))
    ends = end if _n_states(module) > 1 else (end,)
    y_TBH = packing.scatter(y.data, n_steps, n_rows)
    return y_TBH, tuple(map(packing.put_back, ends, state))


def _forward_packed_input(module: Any, packed: PackedSequence, hx: Any) -> Any:
    """Run a packed sequence with an implementation that takes padded rows; the output is packed again."""
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
