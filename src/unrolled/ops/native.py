"""Our own CPU kernels: rows of different lengths at full speed, without sorting or packing.

A finished row costs nothing, padding is never read, and both directions of a layer run in parallel. The
kernels are written in C++ in `native/` and compiled for several instruction sets. The best one that the
machine supports is chosen on import, or the one in the environment variable `UNROLLED_INSTRUCTION_SET`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.kernels import kernels as kernels
from unrolled.kernels import missing_because as missing_because
from unrolled.ops import mixed, reference
from unrolled.ops.access import dense, why_no_memory, why_not_now
from unrolled.ops.calls import Biases, Direction, address, n_threads, rows, with_whole_rows
from unrolled.ops.cells import CELLS
from unrolled.ops.derivatives import by_definition_only, differentiate
from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float


def unroll(
    kind: Kind,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    state: State,
    weights: Weights,
    reverse: bool = False,
) -> tuple[Float[Tensor, "T B H"], State]:
    """The arguments and the result are those of `unrolled.ops.dispatch.unroll`."""
    y, ends = _run(kind, x, lengths, (bool(reverse),), (state,), (weights,))
    return y, ends[0]


def unroll_both(
    kind: Kind,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    states: tuple[State, State],
    weights: tuple[Weights, Weights],
) -> tuple[Float[Tensor, "T B NH"], tuple[State, State]]:
    """Run both directions at once, each on its own threads; y contains both outputs, concatenated."""
    y, ends = _run(kind, x, lengths, (False, True), states, weights)
    return y, (ends[0], ends[1])


def why_not(
    kind: Kind,
    x: Tensor,
    lengths: Tensor | None = None,
    state: State | None = None,
    weights: Weights | None = None,
    reverse: bool = False,
) -> str | None:
    """Why the kernels cannot run this, as one sentence, else None."""
    if kernels is not None and CELLS[kind].kernel is None:
        return f"there is no kernel for {kind}"
    if kernels is not None and why_not_now() is None and torch.is_autocast_enabled("cpu"):
        reason = mixed.why_not(x, state, weights)
    else:
        reason = why_not_with([x, *(state or ()), *(weights.tensors if weights else ())])
    if reason is None and lengths is not None:
        reason = why_no_memory(lengths)
    if reason is not None:
        return reason
    if x.shape[2] == 0:
        return "the kernels need inputs of width at least 1"
    if weights is not None:
        if weights.hidden_size == 0:
            return "the kernels need at least one hidden unit"
        if weights.w_ih.shape[0] != CELLS[kind].n_gates * weights.hidden_size:
            return "the kernels do not support projections"
    return None


def not_worth_it(kind: Kind, x: Tensor, lengths: Tensor | None) -> str | None:
    """Why another implementation is faster although this one could run, or None.

    Every call packs the weights again. Torch's fused LSTM does so, too; its other cells do not, and are
    faster if there are only few steps to share the cost.
    """
    if torch.is_autocast_enabled("cpu"):
        return mixed.not_worth_it()
    n_steps, n_rows, _ = x.shape
    if kind == "lstm" or lengths is not None or (n_steps >= 3 and n_steps * n_rows >= 8):
        return None
    return "too few steps to be worth packing the weights; unrolled.ops.stepping packs them once"


def why_not_with(tensors: Sequence[Tensor]) -> str | None:
    """Why no kernel can take these tensors at this point, as one sentence, else None."""
    if kernels is None:
        return missing_because
    if (reason := why_not_now()) is not None:
        return reason
    for tensor in tensors:
        if not tensor.is_cpu:
            return f"the kernels run on the CPU, but this is on {tensor.device}"
        if tensor.dtype is not torch.float32:
            return (
                f"the kernels are float32, but this is {str(tensor.dtype).removeprefix('torch.')}"
            )
        if (reason := why_no_memory(tensor)) is not None:
            return reason
    if torch.is_autocast_enabled("cpu"):
        return "autocast asks for a lower precision, but the kernels are float32"
    return None


def _run(
    kind: Kind,
    x: Tensor,
    lengths: Tensor | None,
    directions: tuple[bool, ...],
    states: Sequence[State],
    weights: Sequence[Weights],
) -> tuple[Tensor, tuple[State, ...]]:
    if torch.is_autocast_enabled("cpu"):
        return mixed.run(kind, x, lengths, directions, states, weights)
    tensors = [
        tensor
        for state, own in zip(states, weights, strict=True)
        for tensor in (*state, own.w_ih, own.w_hh, own.b_ih, own.b_hh)
    ]
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *tensors)):
        y, *ends = _Unroll.apply(kind, lengths, directions, x, *tensors)
    else:
        y, *ends = _forward(kind, lengths, directions, x, tensors, keep_record=False)[0]
    n = CELLS[kind].n_states
    return y, tuple(tuple(ends[i : i + n]) for i in range(0, len(ends), n))


def _forward(
    kind: Any, lengths: Any, directions: Any, x: Any, tensors: Any, keep_record: Any
) -> Any:
    """Return `(y, *final states)`, the record of each direction for backward, and the shapes."""
    x = with_whole_rows(x)
    lengths = None if lengths is None else dense(lengths, torch.int64)
    n_steps, n_rows, input_size = x.shape
    n_tensors = CELLS[kind].n_states + 4
    parts = [
        Direction(kind, tensors[i * n_tensors : (i + 1) * n_tensors])
        for i in range(len(directions))
    ]
    hidden_size = parts[0].weights[1].shape[1]
    y = x.new_empty(n_steps, n_rows, len(directions) * hidden_size)
    halves = y.chunk(len(directions), dim=2)
    ends, records, shapes, calls = [], [], [], []
    for reverse, part, half in zip(directions, parts, halves, strict=True):
        shape = kernels.Shape(
            CELLS[kind].kernel, reverse, n_steps, n_rows, input_size, hidden_size, address(lengths)
        )
        end = [x.new_empty(n_rows, hidden_size) for _ in part.state]
        record = x.new_empty(shape.record_floats) if keep_record and shape.record_floats else None
        call = part.call(shape, x)
        call.made(*rows(half), *map(address, (*end, None)[:2]), address(record))
        ends += end
        records.append(record)
        shapes.append(shape)
        calls.append(call)
    kernels.forward(calls, n_threads(kind, n_rows, input_size, hidden_size))
    return (y, *ends), records, shapes


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: Any, lengths: Any, directions: Any, x: Any, *tensors: Any) -> Any:
        # A copy of the lengths, because the caller may modify them in place.
        lengths = None if lengths is None else lengths.clone()
        results, records, shapes = _forward(kind, lengths, directions, x, tensors, keep_record=True)
        ctx.kind, ctx.lengths, ctx.directions, ctx.shapes = kind, lengths, directions, shapes
        ctx.output, ctx.biases = _Output(results[0]), Biases(tensors, CELLS[kind].n_states)
        ctx.sizes = [None if tensor is None else tensor.shape for tensor in tensors]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(ctx.output.to_save(), x, *records, *ctx.biases.others)
        return results

    @staticmethod
    def backward(ctx: Any, dy: Any, *d_ends: Any) -> Any:
        n = len(ctx.shapes)
        y, x, *rest = ctx.saved_tensors
        records, tensors = rest[:n], rest[n:]
        wanted = ctx.needs_input_grad[3:]
        y = ctx.output.restore(y)
        if by_definition_only([dy, *d_ends, x, *rest], torch.float32):
            tensors = ctx.biases.restore(tensors)
            found = differentiate(_definition(ctx), (x, *tensors), wanted, (dy, *d_ends))
        else:
            if y is None:
                all_tensors = ctx.biases.restore(tensors)
                y = _forward(ctx.kind, ctx.lengths, ctx.directions, x, all_tensors, False)[0][0]
            found = _backward(ctx, y, x, records, tensors, dy, d_ends)
        return None, None, None, *found


class _Output:
    """y between forward and backward, during which the caller may modify it in place.

    A tensor that autograd saves must not change, but torch's GRU and RNN allow y to be changed. Therefore
    a change is detected, and y is then computed again. If hooks receive the saved tensors (checkpointing,
    saving to another device), they get a copy instead.
    """

    def __init__(self, y: Tensor) -> None:
        self._copy = y.clone() if _hooks_take_what_is_saved() else None
        # An alias, because y itself would keep its own graph alive forever.
        self._alias = y.detach() if self._copy is None else None
        self._version = y._version

    def to_save(self) -> Tensor | None:
        copy, self._copy = self._copy, None
        return copy

    def restore(self, saved: Tensor | None) -> Tensor | None:
        """y as computed, or None if it was changed; it is released unless the graph is retained."""
        alias = self._alias
        if alias is None:
            return saved
        if not torch._C._autograd._get_current_graph_task_keep_graph():
            self._alias = None
        return alias if alias._version == self._version else None


def _hooks_take_what_is_saved() -> bool:
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def _definition(ctx: Any) -> Any:
    """The reference for all directions, as a function of x and the flat list of tensors."""
    kind, lengths, directions = ctx.kind, ctx.lengths, ctx.directions
    n_states = CELLS[kind].n_states

    def run(x: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
        outputs, ends = [], list[Tensor]()
        for i, reverse in enumerate(directions):
            own = tensors[i * (n_states + 4) :]
            state, weights = own[:n_states], Weights(*own[n_states : n_states + 4])
            y, end = reference.unroll(kind, x, lengths, state, weights, reverse)
            outputs.append(y)
            ends += end
        return torch.cat(outputs, 2), *ends

    return run


def _backward(ctx: Any, y: Any, x: Any, records: Any, tensors: Any, dy: Any, d_ends: Any) -> Any:
    """The kernel's gradients of x and of the flat list of tensors; None for those not wanted."""
    kind, shapes, wanted = ctx.kind, ctx.shapes, ctx.needs_input_grad[3:]
    n, n_states = len(shapes), CELLS[kind].n_states
    x, y = with_whole_rows(x), with_whole_rows(y)
    n_tensors = n_states + 4
    dy_halves = [None] * n if dy is None else with_whole_rows(dy).chunk(n, dim=2)
    d_inputs: list[Any] = []
    gradients: list[Tensor | None] = []
    calls, kept = [], []
    for i, (shape, half) in enumerate(zip(shapes, y.chunk(n, dim=2), strict=True)):
        own = slice(i * n_tensors, (i + 1) * n_tensors)
        part = Direction(kind, tensors[own])
        dx = torch.empty_like(x, memory_format=torch.contiguous_format) if wanted[0] else None
        new = [
            x.new_empty(size) if want else None
            for size, want in zip(ctx.sizes[own], wanted[1:][own], strict=True)
        ]
        if not half.numel() or not shape.n_cells:
            new[n_states:] = [None if g is None else g.zero_() for g in new[n_states:]]
        d_end = [
            None if d is None else d.contiguous() for d in d_ends[i * n_states : (i + 1) * n_states]
        ]
        record = None if records[i] is None else records[i].contiguous()
        call = part.call(shape, x)
        call.made(*rows(half), 0, 0, address(record))
        call.gradients_given(*rows(dy_halves[i]), *map(address, (*d_end, None)[:2]))
        d_state = (*new[:n_states], None)[:2]
        call.gradients_made(*rows(dx), *map(address, (*d_state, *new[n_states:])))
        kept += [part, d_end, record]  # the kernel reads their memory
        d_inputs.append(dx)
        gradients += new
        calls.append(call)
    kernels.backward(calls, n_threads(kind, x.shape[1], x.shape[2], y.shape[2] // n))
    dx = d_inputs[0] if n == 1 or not wanted[0] else d_inputs[0].add_(d_inputs[1])
    return dx, *gradients
