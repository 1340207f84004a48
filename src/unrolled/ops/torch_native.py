"""Torch's fused cells: oneDNN on the CPU and cuDNN on the GPU, with rows of different lengths.

There are three ways to run one layer:

- every row has full length: the fused cell as it is;
- an LSTM on the CPU, with at least a third of the padded batch being real steps: the fused cell over the
  whole padded batch, with gates that keep the cell state constant during padding. oneDNN has no variable
  lengths, and torch does not use oneDNN for a packed LSTM, which is 2 times slower for a full batch,
  forward and backward;
- otherwise packed: torch's GRU and RNN lose nothing by it, and cuDNN supports it natively.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import pad

from unrolled.ops import reference
from unrolled.ops.access import are_readable
from unrolled.ops.cells import CELLS
from unrolled.ops.packing import Packing
from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float

# Added to a gate before its sigmoid, this makes the gate exactly 1 (and subtracted, exactly 0) in every
# floating-point type, and it is finite in the narrowest of them.
_SATURATED = 1e4
# Below this share of real steps, packed steps cost less than the whole padded batch: with 12 to 25
# steps, 8 to 64 rows and 128 to 512 units, both cost the same at a share between 0.25 and 0.35.
_LEAST_FILL = 1 / 3


def unroll(
    kind: Kind,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    state: State,
    weights: Weights,
    reverse: bool = False,
) -> tuple[Float[Tensor, "T B H"], State]:
    """The arguments and the result are those of `unrolled.ops.dispatch.unroll`."""
    n_steps, n_rows, _ = x.shape
    longest = n_steps if lengths is None else int(lengths.max()) if n_rows else 0
    if n_rows == 0 or longest == 0:
        # Torch's cells raise an error for a batch without steps; the definition handles it.
        return reference.unroll(kind, x, lengths, state, weights, reverse)
    x = x[:longest]
    if lengths is None or int(lengths.min()) == longest:
        y_TBH, state = _unroll_full(kind, x, state, weights, reverse)
    elif kind == "lstm" and _rectangle_pays(x, lengths):
        y_TBH, state = _unroll_rectangle(x, lengths, state, weights, reverse)
    else:
        y_TBH, state = _unroll_packed(kind, x, lengths, state, weights, reverse)
    return pad(y_TBH, (0, 0, 0, 0, 0, n_steps - longest)), state


def why_not(
    kind: Kind,
    x: Tensor,
    lengths: Tensor | None = None,
    state: State | None = None,
    weights: Weights | None = None,
    reverse: bool = False,
) -> str | None:
    """Why torch's fused cells cannot run this, as one sentence, else None."""
    if CELLS[kind].fused is None:
        return f"torch has no fused {kind}"
    if lengths is not None and not are_readable(lengths):
        return "the values of lengths cannot be read while operations are recorded or batched"
    if kind == "lstm" and x.is_cpu and forward_ad._current_level >= 0:
        return "torch's LSTM on the CPU has no forward-mode derivatives"
    return None


def _rectangle_pays(x_TBD: Tensor, lengths_B: Tensor) -> bool:
    n_cells = x_TBD.shape[0] * x_TBD.shape[1]
    return x_TBD.device.type == "cpu" and int(lengths_B.sum()) >= _LEAST_FILL * n_cells


def _unroll_full(
    kind: Kind, x_TBD: Tensor, state: State, weights: Weights, reverse: bool
) -> tuple[Tensor, State]:
    """Every row has full length, so reading from the end is one flip."""
    y_TBH, state = _fused(kind, x_TBD.flip(0) if reverse else x_TBD, None, state, weights)
    return (y_TBH.flip(0) if reverse else y_TBH), state


def _unroll_packed(
    kind: Kind, x_TBD: Tensor, lengths_B: Tensor, state: State, weights: Weights, reverse: bool
) -> tuple[Tensor, State]:
    packing = Packing.of(lengths_B, x_TBD.device, reverse)
    start = tuple(part.index_select(0, packing.order) for part in state)
    y_NH, end = _fused(kind, packing.gather(x_TBD), packing.batch_sizes, start, weights)
    y_TBH = packing.scatter(y_NH, x_TBD.shape[0], x_TBD.shape[1])
    return y_TBH, tuple(map(packing.put_back, end, state))


def _unroll_rectangle(
    x_TBD: Tensor, lengths_B: Tensor, state: State, weights: Weights, reverse: bool
) -> tuple[Tensor, State]:
    """Run the LSTM over the whole padded batch, keeping the cell state constant during padding.

    The input gets one more column, 1 in padding and 0 elsewhere, whose weights close the input gate
    and open the forget gate: c = 1 ⊙ c + 0 ⊙ g. Saturated gates have zero derivative, so padding adds
    nothing to any gradient. The final hidden state is the output at each row's last real step.
    """
    n_steps, n_rows, _ = x_TBD.shape
    lengths_B = lengths_B.to(x_TBD.device)
    steps_T1 = torch.arange(n_steps, device=x_TBD.device).unsqueeze(1)
    rows_B = torch.arange(n_rows, device=x_TBD.device)
    real_TB = steps_T1 < lengths_B
    real_TB1 = real_TB.unsqueeze(2)
    # Reverses the real part of each row; it is its own inverse.
    places_N = (torch.where(real_TB, lengths_B - 1 - steps_T1, steps_T1) * n_rows + rows_B).view(-1)
    if reverse:
        x_TBD = x_TBD.flatten(0, 1).index_select(0, places_N).view_as(x_TBD)
    x_TBD = torch.where(real_TB1, x_TBD, torch.zeros_like(x_TBD))
    padding_TB1 = real_TB1.logical_not().to(x_TBD.dtype)
    hold_G1 = weights.w_ih.new_zeros(len(weights.w_ih), 1)
    shut, opened = hold_G1.view(4, -1)[0], hold_G1.view(4, -1)[1]
    shut.fill_(-_SATURATED)
    opened.fill_(_SATURATED)
    holding = Weights(
        torch.cat([weights.w_ih, hold_G1], dim=1), weights.w_hh, weights.b_ih, weights.b_hh
    )
    y_TBH, (_, c_BH) = _fused("lstm", torch.cat([x_TBD, padding_TB1], 2), None, state, holding)
    y_TBH = torch.where(real_TB1, y_TBH, torch.zeros_like(y_TBH))
    last_B = (lengths_B - 1).clamp(min=0) * n_rows + rows_B
    h_BH = y_TBH.flatten(0, 1).index_select(0, last_B)
    h_BH = torch.where((lengths_B > 0).unsqueeze(1), h_BH, state[0].to(h_BH.dtype))
    if reverse:
        y_TBH = y_TBH.flatten(0, 1).index_select(0, places_N).view_as(y_TBH)
    return y_TBH, (h_BH, c_BH)


def _fused(
    kind: Kind, x: Tensor, batch_sizes: Tensor | None, state: State, weights: Weights
) -> tuple[Tensor, State]:
    """Call torch's cell once; x is `[T, B, D]`, or packed `[N, D]` if batch_sizes is given."""
    tensors, has_bias = weights.tensors, weights.b_ih is not None
    # One layer, no dropout, one direction. Torch only prepares for backward in training mode.
    options = (has_bias, 1, 0.0, torch.is_grad_enabled(), False)
    first = tuple(part.unsqueeze(0) for part in state)
    if kind == "lstm" and lacks_bfloat16_lstm(x):
        x, first = x.float(), tuple(part.float() for part in first)
        with torch.autocast("cpu", enabled=False):
            y, *end = _lstm(x, batch_sizes, first, tensors, options)
    elif kind == "lstm":
        y, *end = _lstm(x, batch_sizes, first, tensors, options)
    else:
        cell = CELLS[kind].fused
        if batch_sizes is None:
            y, *end = cell(x, first[0], tensors, *options, False)
        else:
            y, *end = cell(x, batch_sizes, first[0], tensors, *options)
    return y, tuple(part.squeeze(0) for part in end)


def _lstm(
    x: Tensor,
    batch_sizes: Tensor | None,
    state: State,
    tensors: list[Tensor],
    options: tuple[bool, int, float, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    if batch_sizes is None:
        return torch.lstm(x, state, tensors, *options, False)
    return torch.lstm(x, batch_sizes, state, tensors, *options)


def lacks_bfloat16_lstm(x: Tensor) -> bool:
    """Whether autocast would call oneDNN's bfloat16 LSTM on a processor without AVX-512, which it needs.

    Torch calls it on every processor; without AVX-512 it raises "could not create a primitive
    descriptor". We use float32 there.
    """
    if not torch.is_autocast_enabled("cpu") or x.device.type != "cpu":
        return False
    if x.dtype == torch.float64:  # autocast leaves it unchanged
        return False
    return torch.backends.cpu.get_cpu_capability() not in ("AVX512", "AMX")
