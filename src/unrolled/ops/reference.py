"""What recurrence means: one step as an equation, and the loop over time derived from it.

Every other implementation must equal this one in outputs, final states and every gradient.
W, U are `w_ih`, `w_hh`; b, b' are `b_ih`, `b_hh`; ⊙ multiplies element by element.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float


def rnn_tanh_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """h = tanh(W x + b + U h + b'). Elman, "Finding structure in time", 1990.

    Args:
        x: `[B, D]`, the input of this step.
        state: `(h_BH,)`.
        weights: `w_ih [H, D]`, `w_hh [H, H]`, biases `[H]`.

    Returns:
        The next `(h_BH,)`.

    >>> weights = Weights(torch.tensor([[1.0]]), torch.tensor([[0.5]]))
    >>> (h,) = rnn_tanh_step(torch.tensor([[0.5]]), (torch.tensor([[1.0]]),), weights)
    >>> round(h.item(), 4)
    0.7616
    """
    return (torch.tanh(_sum(x, state, weights)),)


def rnn_relu_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """h = max(0, W x + b + U h + b'). Le, Jaitly and Hinton, arXiv:1504.00941, section 3.

    Shapes as in `rnn_tanh_step`.

    >>> weights = Weights(torch.tensor([[1.0]]), torch.tensor([[0.5]]))
    >>> rnn_relu_step(torch.tensor([[-2.0]]), (torch.tensor([[1.0]]),), weights)
    (tensor([[0.]]),)
    """
    return (torch.relu(_sum(x, state, weights)),)


def rnn_sigmoid_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """h = σ(W x + b + U h + b'). Elman, 1990; σ' ≤ 1/4, so its gradient vanishes soonest.

    Shapes as in `rnn_tanh_step`.

    >>> weights = Weights(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    >>> rnn_sigmoid_step(torch.tensor([[-2.0]]), (torch.tensor([[1.0]]),), weights)
    (tensor([[0.5000]]),)
    """
    return (torch.sigmoid(_sum(x, state, weights)),)


def lstm_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """One step of the long short-term memory.

    i, f, o = σ(W x + b + U h + b') in their rows;  g = tanh(W x + b + U h + b') in its rows
    c = f ⊙ c + i ⊙ g
    h = o ⊙ tanh(c)

    Hochreiter and Schmidhuber, "Long short-term memory", 1997; the forget gate f is from Gers,
    Schmidhuber and Cummins, "Learning to forget", 2000.

    Args:
        x: `[B, D]`, the input of this step.
        state: `(h_BH, c_BH)`.
        weights: `w_ih [4·H, D]`, `w_hh [4·H, H]`, biases `[4·H]`; gates in the order i f g o.

    Returns:
        The next `(h_BH, c_BH)`.

    >>> weights = Weights(torch.zeros(4, 1), torch.zeros(4, 1))
    >>> h, c = lstm_step(torch.zeros(1, 1), (torch.zeros(1, 1), torch.ones(1, 1)), weights)
    >>> c.item()  # every gate is half open, so half of the cell is kept
    0.5
    """
    _, c_BH = state
    i_BH, f_BH, g_BH, o_BH = _sum(x, state, weights).chunk(4, dim=1)
    c_BH = torch.sigmoid(f_BH) * c_BH + torch.sigmoid(i_BH) * torch.tanh(g_BH)
    return torch.sigmoid(o_BH) * torch.tanh(c_BH), c_BH


def gru_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """One step of the gated recurrent unit, in the form that resets after the product.

    r, z = σ(W x + b + U h + b') in their rows
    n = tanh(W x + b + r ⊙ (U h + b')) in its rows
    h = (1 − z) ⊙ n + z ⊙ h

    Cho et al., arXiv:1406.1078, equations 5–8, reset before the product (U (r ⊙ h)); this is the
    reset-after form of cuDNN and torch. Lecture notes that write h = z ⊙ n + (1 − z) ⊙ h mean
    the same cell with 1 − z called z.

    Args:
        x: `[B, D]`, the input of this step.
        state: `(h_BH,)`.
        weights: `w_ih [3·H, D]`, `w_hh [3·H, H]`, biases `[3·H]`; gates in the order r z n.

    Returns:
        The next `(h_BH,)`.

    >>> weights = Weights(torch.zeros(3, 1), torch.zeros(3, 1))
    >>> gru_step(torch.zeros(1, 1), (torch.ones(1, 1),), weights)
    (tensor([[0.5000]]),)
    """
    (h_BH,) = state
    from_x = linear(x, weights.w_ih, weights.b_ih).chunk(3, dim=1)
    from_h = linear(h_BH, weights.w_hh, weights.b_hh).chunk(3, dim=1)
    r_BH = torch.sigmoid(from_x[0] + from_h[0])
    z_BH = torch.sigmoid(from_x[1] + from_h[1])
    n_BH = torch.tanh(from_x[2] + r_BH * from_h[2])
    return ((1 - z_BH) * n_BH + z_BH * h_BH,)


def _sum(x_BD: Tensor, state: State, weights: Weights) -> Tensor:
    """W x + b + U h + b', `[B, G·H]`."""
    from_x = linear(x_BD, weights.w_ih, weights.b_ih)
    return from_x + linear(state[0], weights.w_hh, weights.b_hh)


STEPS: dict[Kind, Callable[[Tensor, State, Weights], State]] = {
    "rnn_tanh": rnn_tanh_step,
    "rnn_relu": rnn_relu_step,
    "rnn_sigmoid": rnn_sigmoid_step,
    "lstm": lstm_step,
    "gru": gru_step,
}


def unroll(
    kind: Kind,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    state: State,
    weights: Weights,
    reverse: bool = False,
) -> tuple[Float[Tensor, "T B H"], State]:
    """Apply the step of `kind` to every real input, one after the other.

    The arguments and the result are those of `unrolled.ops.dispatch.unroll`. In reverse the loop walks
    from the last column to the first: a row waits in its initial state until its own end comes by.
    """
    step = STEPS[kind]
    n_steps, n_rows, _ = x.shape
    real_TB1 = None
    if lengths is not None:
        mask_TB = torch.arange(n_steps, device=lengths.device).unsqueeze(1) < lengths
        real_TB1 = mask_TB.to(x.device).unsqueeze(2)
        # NaN in the padding would reach the gradients through `where` below (0 × NaN is NaN),
        # so padding becomes zero before anything is computed from it.
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
    """None: the reference runs every kind, wherever torch runs."""
    return None
