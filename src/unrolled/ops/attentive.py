"""Run all steps of a decoder with attention and input feeding in one call of the native kernels.

With known inputs (teacher forcing), only the state, the attention and the output depend on earlier steps:

    gates = known_t + W_f o_{t−1} + U h_{t−1} (+ b' in the GRU);  h_t, c_t = cell(gates)
    additive: e_s = v · tanh(W_q h_t + k_s);  else e_s = h_t · k_s
    a = softmax(e) over the row's sources;  o_t = tanh(W_c [h_t; Σ_s a_s m_s])

(Luong et al. 2015, sections 3 and 3.3; additive score: Bahdanau et al. 2015, appendix A.1.2.) With
autograd, each step would take about fifteen operations forward and thirty backward. Here each weight's
gradient is one product over all steps.

Under autocast with bfloat16, where the kernels have AMX, the operands of all products with weights are
rounded (`unrolled.ops.bfloat16.linear`); states, attention and results are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.ops import bfloat16, mixed, mixed_linear, native
from unrolled.ops.access import dense, why_no_memory
from unrolled.ops.cells import CELLS
from unrolled.ops.derivatives import by_definition_only, differentiate
from unrolled.ops.dispatch import check_lengths
from unrolled.ops.linear import product
from unrolled.ops.types import Kind, State
from unrolled.shapes import Float, Int


@dataclass(frozen=True)
class AttentiveWeights:
    """The weights that are used inside the loop.

    Args:
        w_feed: `[G·H, O]`, from the last output; the row stride may be larger than O (a slice of columns
            of `w_ih`).
        w_hh: `[G·H, H]`.
        b_hh: `[G·H]`, for the GRU, whose reset gate scales it; None for other cells.
        w_query: `[A, H]`, and energy `[A]`: for the additive score; None for multiplicative scores.
        w_combine: `[O, H + M]`.
    """

    w_feed: Float[Tensor, "GH O"]
    w_hh: Float[Tensor, "GH H"]
    b_hh: Float[Tensor, " GH"] | None
    w_query: Float[Tensor, "A H"] | None
    energy: Float[Tensor, " A"] | None
    w_combine: Float[Tensor, "O J"]

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All six, in the order of the fields."""
        return (self.w_feed, self.w_hh, self.b_hh, self.w_query, self.energy, self.w_combine)


def why_not(known: Tensor, weights: AttentiveWeights, *others: Tensor) -> str | None:
    """Why the kernels cannot run this, as one sentence, else None; `others` are the other inputs."""
    if known.shape[0] == 0 or known.shape[1] == 0:
        return "there are no steps"
    own = [w for w in weights.tensors if w is not None]
    if native.kernels is not None and torch.is_autocast_enabled("cpu"):
        return mixed.why_not_now([known, *others], own) or mixed.not_worth_it()
    return native.why_not_with([known, *others, *own])


def attentive_unroll(
    kind: Kind,
    known: Float[Tensor, "T B GH"],
    feed: Float[Tensor, "B O"],
    state: State,
    keys: Float[Tensor, "B S A"],
    values: Float[Tensor, "B S M"],
    lengths: Int[Tensor, " B"],
    weights: AttentiveWeights,
) -> tuple[Float[Tensor, "T B O"], Float[Tensor, "T B S"], State]:
    """Return outputs, attention and the final state; `why_not` must be None.

    Args:
        kind: the cell.
        known: the contribution of each step's known input to the gates, including biases (except b_hh of
            the GRU).
        feed: o_0.
        state: `(h,)` or `(h, c)`, each `[B, H]`.
        keys, values: the memory; A = H without `w_query`.
        lengths: number of real steps in each row's memory, int64; a row with 0 attends to nothing.
        weights: see `AttentiveWeights`.

    Raises:
        ValueError: the shapes do not match, or the lengths are out of range.
        UnavailableError: the kernels cannot run this; see `why_not`.
    """
    _check(kind, known, feed, state, keys, values, lengths, weights)
    is_mixed = torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", enabled=False):
        if is_mixed:
            known, feed, keys, values = (t.float() for t in (known, feed, keys, values))
            state = tuple(part.float() for part in state)
        inputs = (known, feed, keys, values, *weights.tensors, *state)
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
            output, attention, *end = _Attentive.apply(kind, lengths, is_mixed, *inputs)
        else:
            output, attention, *end = _forward(kind, lengths, inputs, is_mixed, False)[0]
    return output, attention, tuple(end)


def _check(
    kind: Kind,
    known: Tensor,
    feed: Tensor,
    state: State,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    weights: AttentiveWeights,
) -> None:
    """Check all shapes, because the kernels read memory according to them."""
    T, B, _ = known.shape
    S, H, (n_outputs, J) = keys.shape[1], weights.w_hh.shape[1], weights.w_combine.shape
    A = H if weights.w_query is None else len(weights.w_query)
    GH = CELLS[kind].n_gates * H
    wanted = {
        "known": (T, B, GH), "feed": (B, n_outputs), "keys": (B, S, A),
        "values": (B, S, J - H), "w_feed": (GH, n_outputs), "w_hh": (GH, H),
        "b_hh": (GH,), "w_query": (A, H), "energy": (A,),
    }  # fmt: skip
    given = {"known": known, "feed": feed, "keys": keys, "values": values} | vars(weights)
    for name, shape in wanted.items():
        if given[name] is not None and tuple(given[name].shape) != shape:
            raise ValueError(f"{name} must be {list(shape)}, got {list(given[name].shape)}")
    shapes = [tuple(part.shape) for part in state]
    if shapes != [(B, H)] * CELLS[kind].n_states:
        raise ValueError(f"the state must be {[(B, H)] * CELLS[kind].n_states}, got {shapes}")
    if (weights.w_query is None) != (weights.energy is None):
        raise ValueError(
            "an additive score needs both w_query and energy, other scores take neither"
        )
    check_lengths(lengths, B, S)


def _describe(kind: Any, lengths: Any, inputs: Any) -> Any:
    """The kernel's call with all its inputs, and the tensors whose memory it reads."""
    known, feed, keys, values, w_feed, w_hh, b_hh, w_query, energy, w_combine, *state = inputs
    entering = (known, feed, keys, values, w_hh, b_hh, w_query, energy, w_combine, lengths)
    types = [torch.float32] * 9 + [torch.int64]
    read = [None if t is None else dense(t, k) for t, k in zip(entering, types, strict=True)]
    read += [dense(part, torch.float32) for part in state]
    is_read_as_it_is = w_feed.stride(1) == 1 and why_no_memory(w_feed) is None
    w_feed = w_feed if is_read_as_it_is else dense(w_feed, torch.float32)
    call = native.kernels.Attentive()
    call.cell, call.is_additive = CELLS[kind].kernel, w_query is not None
    call.T, call.B, _ = known.shape
    call.H, call.O = w_hh.shape[1], w_combine.shape[0]
    _, call.S, call.A = keys.shape
    call.M = values.shape[2]
    names = ("known", "feed0", "keys", "values", "w_hh", "b_hh", "w_query", "energy", "w_combine",
             "lengths", "h0", "c0")  # fmt: skip
    for name, tensor in zip(names, read, strict=False):
        setattr(call, name, 0 if tensor is None else tensor.data_ptr())
    call.w_feed, call.w_feed_row = w_feed.data_ptr(), w_feed.stride(0)
    return call, [*read, w_feed]


def _forward(kind: Any, lengths: Any, inputs: Any, is_mixed: bool, keep_record: bool) -> Any:
    call, kept = _describe(kind, lengths, inputs)
    known, state = inputs[0], inputs[10:]
    T, B, H = call.T, call.B, call.H
    new = known.new_empty
    h, output, context = new(T, B, H), new(T, B, call.O), new(T, B, call.M)
    attention = new(T, B, call.S)
    query = new(T, B, call.A) if call.is_additive else None
    record: Any = _Operands.memory(call) if is_mixed else None
    if not is_mixed and keep_record and call.record_floats:
        record = new(call.record_floats)
    packed = None if is_mixed else new(call.packed_floats)
    c_end = new(B, H) if len(state) == 2 else None
    for name, tensor in {
        "h": h, "output": output, "context": context, "attention": attention, "query": query,
        "record": record, "packed": packed, "c_end": c_end,
    }.items():  # fmt: skip
        setattr(call, name, 0 if tensor is None else tensor.data_ptr())
    threads = min(torch.get_num_threads(), max(1, B // 4))
    if is_mixed:
        _Operands(call, record).describe(call)
        native.kernels.mixed_attentive_forward(call, threads)
    else:
        native.kernels.attentive_pack(call, threads)
        native.kernels.attentive_forward(call, threads)
    del kept
    end = (h[-1].clone(),) if c_end is None else (h[-1].clone(), c_end)
    return (output, attention, *end), (h, query, context, record)


class _Operands:
    """The operands of the products of all steps, in bfloat16: what the weights' gradients need.

    Args:
        call: the kernel's call.
        memory: the record of all steps, followed by the operands.

    Attributes:
        fed, before: o and h before each step, `[T·B, O]` and `[T·B, H]`.
        h, context: of each step, `[T·B, H]` and `[T·B, M]`.
    """

    def __init__(self, call: Any, memory: Tensor) -> None:
        n_record, width, state, joined_width, context, n_spare = call.mixed_layout()
        n_rows = call.T * call.B
        halves = memory[n_record:].view(torch.bfloat16)
        n_operands = (n_rows + call.B + n_spare) * width
        operands = halves[: n_rows * width].view(n_rows, width)
        joined = halves[n_operands:][: n_rows * joined_width].view(n_rows, joined_width)
        self.fed, self.before = operands[:, : call.O], operands[:, state : state + call.H]
        self.h, self.context = joined[:, : call.H], joined[:, context : context + call.M]

    @staticmethod
    def memory(call: Any) -> Tensor:
        """Recycled memory for them."""
        n_record, width, _, joined_width, _, n_spare = call.mixed_layout()
        n_rows = call.T * call.B + n_spare
        n_halves = (n_rows + call.B) * width + n_rows * joined_width
        return torch.from_numpy(native.kernels.recycled(n_record + (n_halves + 1) // 2))

    def describe(self, call: Any) -> None:
        """Let the call write to them."""
        call.operands, call.joined = self.fed.data_ptr(), self.h.data_ptr()


def _definition(kind: Any, lengths: Any, is_mixed: bool) -> Any:
    """The equations, step by step, as a function of all inputs."""
    linear = bfloat16.linear if is_mixed else torch.nn.functional.linear
    gates = CELLS[kind].gates
    assert gates is not None  # `why_not` requires a kernel, and every cell with a kernel has gates

    def run(
        known: Any,
        feed: Any,
        keys: Any,
        values: Any,
        w_feed: Any,
        w_hh: Any,
        b_hh: Any,
        w_query: Any,
        energy: Any,
        w_combine: Any,
        *state: Any,
    ) -> Any:
        mask_BS = torch.arange(keys.shape[1], device=lengths.device) < lengths.unsqueeze(1)
        keys, values = (torch.where(mask_BS.unsqueeze(2), part, 0.0) for part in (keys, values))
        outputs, attentions = [], []
        for known_BG in known.unbind(0):
            from_x = known_BG + linear(feed, w_feed)
            state = gates(from_x, linear(state[0], w_hh, b_hh), state)
            h_BH = state[0]
            if w_query is None:
                e_BS = (keys @ h_BH.unsqueeze(2)).squeeze(2)
            else:
                e_BS = torch.tanh(linear(h_BH, w_query).unsqueeze(1) + keys) @ energy
            lowest = torch.finfo(e_BS.dtype).min / 2
            a_BS = torch.softmax(e_BS.masked_fill(~mask_BS, lowest), 1)
            a_BS = torch.where(mask_BS, a_BS, 0.0)
            context_BM = (a_BS.unsqueeze(1) @ values).squeeze(1)
            feed = torch.tanh(linear(torch.cat([h_BH, context_BM], 1), w_combine))
            outputs.append(feed)
            attentions.append(a_BS)
        return torch.stack(outputs), torch.stack(attentions), *state

    return run


class _Attentive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: Any, lengths: Any, is_mixed: Any, *inputs: Any) -> Any:
        lengths = lengths.clone()  # the caller may modify it in place
        results, made = _forward(kind, lengths, inputs, is_mixed, keep_record=True)
        ctx.kind, ctx.lengths, ctx.is_mixed = kind, lengths, is_mixed
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *results[:2], *made)
        return results

    @staticmethod
    def backward(ctx: Any, d_output: Any, d_attention: Any, *d_end: Any) -> Any:
        saved = ctx.saved_tensors
        *inputs, output, attention, h, query, context, record = saved
        d_results = (d_output, d_attention, *d_end)
        if by_definition_only((*d_results, *saved), torch.float32):
            definition = _definition(ctx.kind, ctx.lengths, ctx.is_mixed)
            wanted = ctx.needs_input_grad[3:]
            return None, None, None, *differentiate(definition, inputs, wanted, d_results)
        known, feed, keys, values, _, _, b_hh, w_query, energy, _, *state = inputs
        kind = ctx.kind
        call, kept = _describe(kind, ctx.lengths, inputs)
        T, B, H = call.T, call.B, call.H
        new = known.new_empty
        gradients = {
            "d_known": new(T, B, CELLS[kind].n_gates * H),
            "d_state": new(T, B, CELLS[kind].n_gates * H) if not CELLS[kind].adds_up else None,
            "d_query": new(T, B, call.A),
            "d_combined": new(T, B, call.O),
            "d_keys": torch.zeros_like(keys, memory_format=torch.contiguous_format),
            "d_values": torch.zeros_like(values, memory_format=torch.contiguous_format),
            "d_energy": None if energy is None else energy.new_zeros(energy.shape),
            "dh0": new(B, H),
            "dc0": new(B, H) if len(state) == 2 else None,
            "dfeed0": new(B, call.O),
        }
        given = [None if d is None else d.contiguous() for d in d_results]
        output, attention, h, context = (t.contiguous() for t in (output, attention, h, context))
        query, record = (None if t is None else t.contiguous() for t in (query, record))
        known_names = ("d_output", "d_attention", "dh_end", "dc_end")
        made = {"h": h, "query": query, "context": context, "record": record, "output": output,
                "attention": attention}  # fmt: skip
        for name, tensor in (
            made | gradients | dict(zip(known_names, given, strict=False))
        ).items():
            setattr(call, name, 0 if tensor is None else tensor.data_ptr())
        threads = min(torch.get_num_threads(), max(1, B // 4))
        if ctx.is_mixed:
            native.kernels.mixed_attentive_backward(call, threads)
        else:
            native.kernels.attentive_backward(call, threads)
        del kept
        from_known = gradients["d_known"].flatten(0, 1)
        from_query = gradients["d_query"].flatten(0, 1)
        from_state = from_known if CELLS[kind].adds_up else gradients["d_state"].flatten(0, 1)
        combined = gradients["d_combined"].flatten(0, 1)
        if ctx.is_mixed:
            assert record is not None
            operands = _Operands(call, record)
            fed, before, flat_h = operands.fed, operands.before, operands.h
            joined: tuple[Tensor, ...] = (operands.h, operands.context)
            times: Any = mixed_linear.rows_product
        else:
            fed = torch.cat([feed.unsqueeze(0), output[:-1]]).flatten(0, 1)
            before = torch.cat([state[0].unsqueeze(0), h[:-1]]).flatten(0, 1)
            flat_h = h.flatten(0, 1)
            joined = (torch.cat([flat_h, context.flatten(0, 1)], 1),)
            times = _rows_product
        found = (
            gradients["d_known"],
            gradients["dfeed0"],
            gradients["d_keys"],
            gradients["d_values"],
            times(from_known, fed),
            times(from_state, before),
            None if b_hh is None else from_state.sum(0),
            None if w_query is None else times(from_query, flat_h),
            gradients["d_energy"],
            times(combined, *joined),
            gradients["dh0"],
            *([gradients["dc0"]] if len(state) == 2 else []),
        )
        return None, None, None, *found


def _rows_product(y: Tensor, x: Tensor) -> Tensor:
    return product(y.t(), x.t())
