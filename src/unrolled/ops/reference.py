"""The definition of a recurrent layer: a cell's step, applied to one time step after another.

Every other implementation must equal this one in outputs, final states and every gradient. The steps
themselves are in `ops/cells.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unrolled.ops.cells import (
    CELLS,
    Step,
    gru_step,
    lstm_step,
    rnn_relu_step,
    rnn_sigmoid_step,
    rnn_tanh_step,
)
from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float

__all__ = [
    "gru_step",
    "lstm_step",
    "rnn_relu_step",
    "rnn_sigmoid_step",
    "rnn_tanh_step",
    "unroll",
    "unroll_step",
    "why_not",
]


def unroll(
    kind: Kind,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    state: State,
    weights: Weights,
    reverse: bool = False,
) -> tuple[Float[Tensor, "T B H"], State]:
    """Apply the step of `kind` to every real input, one after another.

    The arguments and the result are those of `unrolled.ops.dispatch.unroll`. In reverse, the loop runs
    from the last column to the first, and a row keeps its initial state until the loop reaches its end.
    """
    return unroll_step(CELLS[kind].step, x, lengths, state, weights, reverse)


def unroll_step(
    step: Step,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    state: State,
    weights: Weights,
    reverse: bool = False,
) -> tuple[Float[Tensor, "T B H"], State]:
    """`unroll` with a step of the caller's; other arguments and the result as there."""
    n_steps, n_rows, _ = x.shape
    real_TB1 = None
    if lengths is not None:
        mask_TB = torch.arange(n_steps, device=lengths.device).unsqueeze(1) < lengths
        real_TB1 = mask_TB.to(x.device).unsqueeze(2)
        # NaN in the padding would reach the gradients through `where` below (0 × NaN is NaN),
        # so padding is set to zero before anything is computed from it.
        x = torch.where(real_TB1, x, torch.zeros_like(x))
    if n_steps == 0:
        return x.new_zeros(0, n_rows, weights.hidden_size), state
    outputs: list[Tensor] = []
    for t in reversed(range(n_steps)) if reverse else range(n_steps):
        after = step(x[t], state, weights)
        if real_TB1 is None:
            state = after
            outputs.append(after[0])
            continue
        real_B1 = real_TB1[t]
        state = tuple(torch.where(real_B1, new, old) for new, old in zip(after, state, strict=True))
        outputs.append(torch.where(real_B1, after[0], torch.zeros_like(after[0])))
    if reverse:
        outputs.reverse()
    return torch.stack(outputs), state


def why_not(
    kind: Kind,
    x: Tensor,
    lengths: Tensor | None = None,
    state: State | None = None,
    weights: Weights | None = None,
    reverse: bool = False,
) -> str | None:
    """Always None: the reference runs every kind, wherever torch runs."""
    return None
