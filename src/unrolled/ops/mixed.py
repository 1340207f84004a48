"""Our own CPU kernels in mixed precision, for `torch.autocast("cpu", torch.bfloat16)`.

They compute what `unrolled.ops.bfloat16` defines, with the instructions for products in bfloat16 that the
processor has: AMX or AVX512_BF16. Rows of different lengths cost as little as in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.kernels import kernels, missing_because
from unrolled.ops import access, bfloat16
from unrolled.ops.access import dense, why_no_memory
from unrolled.ops.calls import Biases, Direction, address, n_threads, rows, with_whole_rows
from unrolled.ops.cells import CELLS
from unrolled.ops.derivatives import by_definition_only, differentiate
from unrolled.ops.types import Kind, State, Weights


def why_not_here() -> str | None:
    """Why this machine has no kernels for products in bfloat16, as one sentence, else None."""
    if kernels.mixed_sets():
        return None
    if kernels.instruction_set() != "avx512":
        used = kernels.instruction_set()
        return f"the kernels for bfloat16 need AVX-512, and those of {used} are in use"
    return "this processor, or the build of the kernels, has neither AVX512_BF16 nor AMX"


def why_not(x: Tensor, state: State | None, weights: Weights | None) -> str | None:
    """Why the kernels cannot run this under autocast, as one sentence, else None."""
    return why_not_with((x, *(state or ())), weights.tensors if weights else ())


def why_not_with(values: Iterable[Tensor], parameters: Iterable[Tensor]) -> str | None:
    """Why the kernels cannot take these under autocast, as one sentence, else None.

    Args:
        values: may be float32 or bfloat16.
        parameters: must be float32.
    """
    if (dtype := torch.get_autocast_dtype("cpu")) is not torch.bfloat16:
        return (
            f"autocast asks for {str(dtype).removeprefix('torch.')}, but the kernels are bfloat16"
        )
    if (reason := why_not_here()) is not None:
        return reason
    given: list[tuple[Tensor, tuple[torch.dtype, ...]]] = [
        (value, (torch.float32, torch.bfloat16)) for value in values
    ]
    given += [(parameter, (torch.float32,)) for parameter in parameters]
    for tensor, types in given:
        if not tensor.is_cpu:
            return f"the kernels run on the CPU, but this is on {tensor.device}"
        if tensor.dtype not in types:
            wanted = " or ".join(str(each).removeprefix("torch.") for each in types)
            return f"the kernels read {wanted} here, but this is {str(tensor.dtype)[6:]}"
        if (reason := why_no_memory(tensor)) is not None:
            return reason
    return None


def why_not_now(values: Iterable[Tensor], parameters: Iterable[Tensor]) -> str | None:
    """The same where the kernels, autocast, or anything but operations of torch may be absent."""
    if kernels is None:
        return missing_because
    if not torch.is_autocast_enabled("cpu"):
        return "autocast is off"
    return access.why_not_now() or why_not_with(values, parameters)


def not_worth_it() -> str | None:
    """Why torch should run under autocast although the kernels can, as one sentence, else None."""
    if kernels.mixed_set() == "amx":
        return None
    return "the kernels with AVX512_BF16 have not been shown to be faster than torch; pin 'native' to try"


def run(
    kind: Kind,
    x: Tensor,
    lengths: Tensor | None,
    directions: tuple[bool, ...],
    states: Sequence[State],
    weights: Sequence[Weights],
) -> tuple[Tensor, tuple[State, ...]]:
    """Run one layer in one or both directions; y is bfloat16, and the final states are float32."""
    with torch.autocast("cpu", enabled=False):
        x = x.bfloat16()
        tensors = [
            tensor
            for state, own in zip(states, weights, strict=True)
            for tensor in (*map(Tensor.float, state), own.w_ih, own.w_hh, own.b_ih, own.b_hh)
        ]
        if torch.is_grad_enabled() and any(
            t is not None and t.requires_grad for t in (x, *tensors)
        ):
            y, *ends = _Unroll.apply(kind, lengths, directions, x, *tensors)
        else:
            y, *ends = _forward(kind, lengths, directions, x, tensors, keep=False)[0]
    n = CELLS[kind].n_states
    return y, tuple(tuple(ends[i : i + n]) for i in range(0, len(ends), n))


def _forward(kind: Any, lengths: Any, directions: Any, x: Any, tensors: Any, keep: bool) -> Any:
    """Return `(y, *final states)`, the record of each direction for backward, and the shapes."""
    x = with_whole_rows(x)
    lengths = None if lengths is None else dense(lengths, torch.int64)
    n_steps, n_rows, input_size = x.shape
    n = CELLS[kind].n_states + 4
    parts = [Direction(kind, tensors[i : i + n]) for i in range(0, len(tensors), n)]
    hidden_size = parts[0].weights[1].shape[1]
    y = x.new_empty(n_steps, n_rows, len(directions) * hidden_size)
    ends, records, shapes, calls = [], [], [], []
    halves = y.chunk(len(directions), dim=2)
    for reverse, part, half in zip(directions, parts, halves, strict=True):
        shape = kernels.Shape(
            CELLS[kind].kernel, reverse, n_steps, n_rows, input_size, hidden_size, address(lengths)
        )
        end = [part.new_empty(n_rows, hidden_size) for part in part.state]
        record = _memory(shape) if keep else None
        call = _call(part, shape, x, record)
        call.layer.made(0, 0, 0, *map(address, (*end, None)[:2]), 0)
        call.y(*rows(half))
        ends += end
        records.append(record)
        shapes.append(shape)
        calls.append(call)
    kernels.mixed_forward(calls, n_threads(kind, n_rows, input_size, hidden_size))
    return (y, *ends), records, shapes


def _memory(shape: Any) -> Tensor:
    """For what backward needs: gates and states in float32, then operands in bfloat16.

    The memory is recycled: for a large batch, page faults of new memory took half of the forward pass.
    """
    return torch.from_numpy(
        kernels.recycled(shape.mixed_record_floats + (shape.operand_halves + 1) // 2)
    )


def _call(part: Direction, shape: Any, x: Tensor, record: Tensor | None) -> Any:
    call = kernels.Mixed(shape)
    h, c = (*part.state, None)[:2]
    call.layer.given(0, 0, 0, address(h), address(c), *map(address, part.weights))
    call.x(*rows(x))
    call.keep(address(record), shape.mixed_record_floats)
    return call


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: Any, lengths: Any, directions: Any, x: Any, *tensors: Any) -> Any:
        # A copy of the lengths, because the caller may modify them in place.
        lengths = None if lengths is None else lengths.clone()
        results, records, shapes = _forward(kind, lengths, directions, x, tensors, keep=True)
        ctx.kind, ctx.lengths, ctx.directions, ctx.shapes = kind, lengths, directions, shapes
        ctx.biases = Biases(tensors, CELLS[kind].n_states)
        ctx.sizes = [None if tensor is None else tensor.shape for tensor in tensors]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *records, *ctx.biases.others)
        return results

    @staticmethod
    def backward(ctx: Any, dy: Any, *d_ends: Any) -> Any:
        x, *rest = ctx.saved_tensors
        n = len(ctx.shapes)
        records, tensors = rest[:n], rest[n:]
        wanted = ctx.needs_input_grad[3:]
        in_float32 = [*d_ends, *records, *tensors]
        if by_definition_only([x, dy], torch.bfloat16) or by_definition_only(
            in_float32, torch.float32
        ):
            tensors = ctx.biases.restore(tensors)
            found = differentiate(_definition(ctx), (x, *tensors), wanted, (dy, *d_ends))
        else:
            found = _backward(ctx, x, records, tensors, dy, d_ends)
        return None, None, None, *found


def _definition(ctx: Any) -> Any:
    """The definition for all directions, as a function of x and the flat list of tensors."""
    kind, lengths, directions = ctx.kind, ctx.lengths, ctx.directions
    n_states = CELLS[kind].n_states

    def run(x: Tensor, *tensors: Any) -> tuple[Tensor, ...]:
        outputs, ends = [], list[Tensor]()
        for i, reverse in enumerate(directions):
            own = tensors[i * (n_states + 4) :]
            weights = Weights(*own[n_states : n_states + 4])
            y, end = bfloat16.unroll(kind, x, lengths, own[:n_states], weights, reverse)
            outputs.append(y)
            ends += end
        return torch.cat(outputs, 2), *ends

    return run


def _backward(ctx: Any, x: Any, records: Any, tensors: Any, dy: Any, d_ends: Any) -> Any:
    """The kernel's gradients of x and of the flat list of tensors; None for those not wanted."""
    kind, shapes, wanted = ctx.kind, ctx.shapes, ctx.needs_input_grad[3:]
    n, n_states = len(shapes), CELLS[kind].n_states
    n_tensors = n_states + 4
    hidden_size = tensors[n_states + 1].shape[1]
    halves = [None] * n if dy is None else with_whole_rows(dy).chunk(n, dim=2)
    d_inputs: list[Any] = []
    gradients: list[Tensor | None] = []
    calls, kept = [], []
    for i, (shape, half) in enumerate(zip(shapes, halves, strict=True)):
        own = slice(i * n_tensors, (i + 1) * n_tensors)
        part = Direction(kind, tensors[own])
        dx = torch.empty_like(x, memory_format=torch.contiguous_format) if wanted[0] else None
        new = [
            part.state[0].new_empty(size) if want else None
            for size, want in zip(ctx.sizes[own], wanted[1:][own], strict=True)
        ]
        if not shape.n_cells:
            new[n_states:] = [None if g is None else g.zero_() for g in new[n_states:]]
        d_end = [
            None if d is None else d.contiguous() for d in d_ends[i * n_states : (i + 1) * n_states]
        ]
        record = records[i].contiguous()
        call = _call(part, shape, x, record)
        call.layer.gradients_given(0, 0, 0, *map(address, (*d_end, None)[:2]))
        d_state = (*new[:n_states], None)[:2]
        call.layer.gradients_made(0, 0, 0, *map(address, (*d_state, *new[n_states:])))
        call.dy(*rows(half))
        call.dx(*rows(dx))
        kept += [part, d_end, record]  # the kernel reads their memory
        d_inputs.append(dx)
        gradients += new
        calls.append(call)
    kernels.mixed_backward(calls, n_threads(kind, x.shape[1], x.shape[2], hidden_size))
    dx = d_inputs[0] if n == 1 or not wanted[0] else d_inputs[0].add_(d_inputs[1])
    return dx, *gradients
