"""The definitions of what is computed in mixed precision, in operations of torch; they run everywhere.

Every matrix product takes operands rounded to bfloat16 (to nearest, ties to even) and is summed in
float32: the products of the steps, and those of their gradients, for which a gate's gradient is rounded
as well. Weights, gates, states and the gradients of weights, biases and initial states stay in
float32. A product of two bfloat16 numbers is exact in float32, so implementations differ in the order of
summation only. Inputs and outputs of a layer, and their gradients, are bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrolled.ops.cells import CELLS, Step
from unrolled.ops.reference import unroll_step
from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float, Int


def rounded(values: Tensor) -> Tensor:
    """The nearest numbers of bfloat16, in the same type; of two that are equally near, the even one.

    >>> rounded(torch.tensor([257.0, 259.0, 1.0])).tolist()
    [256.0, 260.0, 1.0]
    """
    return values.bfloat16().to(values.dtype)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any) -> Any:
        x, weight = rounded(x), rounded(weight)
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, weight = ctx.saved_tensors
        dy = rounded(dy)
        return dy @ weight, dy.t() @ x


def product(x: Float[Tensor, "M K"], weight: Float[Tensor, "N K"]) -> Float[Tensor, "M N"]:
    """x Wᵀ with rounded operands, in the forward and the backward pass.

    >>> product(torch.tensor([[257.0, 1.0]]), torch.tensor([[1.0, 2.0]]))
    tensor([[258.]])
    """
    return _Product.apply(x, weight)


def linear(
    x: Float[Tensor, "M K"], weight: Float[Tensor, "N K"], bias: Float[Tensor, " N"] | None = None
) -> Float[Tensor, "M N"]:
    """x Wᵀ + b with rounded x and W.

    >>> linear(torch.tensor([[257.0]]), torch.tensor([[1.0]]), torch.tensor([257.0]))
    tensor([[513.]])
    """
    y = product(x, weight)
    return y if bias is None else y + bias


def softmax_cross_entropy(
    hidden: Float[Tensor, "M H"],
    weight: Float[Tensor, "V H"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " M"],
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """The definition of `unrolled.ops.cross_entropy.softmax_cross_entropy` in mixed precision.

    The logits are W h with rounded operands plus b; the softmax and the sums are in the type of the
    weights. The gradients of the logits are rounded where they enter the products for W and h, but not
    for b.

    >>> softmax_cross_entropy(torch.ones(1, 1), torch.ones(2, 1), None, torch.tensor([0]))
    tensor(0.6931)
    """
    logits = linear(hidden.to(weight.dtype), weight, bias)
    return torch.nn.functional.cross_entropy(
        logits, targets, reduction="sum", label_smoothing=smoothing
    )


def step_of(kind: Kind) -> Step | None:
    """The step of a cell with rounded products; None for a cell whose products are not apart.

    >>> step_of("gru") is None
    False
    """
    gates = CELLS[kind].gates
    if gates is None:
        return None

    def step(x: Tensor, state: State, weights: Weights) -> State:
        from_x, from_h = product(x, weights.w_ih), product(state[0], weights.w_hh)
        if weights.b_ih is not None and weights.b_hh is not None:
            from_x, from_h = from_x + weights.b_ih, from_h + weights.b_hh
        return gates(from_x, from_h, state)

    return step


def unroll(
    kind: Kind,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    state: State,
    weights: Weights,
    reverse: bool = False,
) -> tuple[Float[Tensor, "T B H"], State]:
    """The arguments are those of `unrolled.ops.dispatch.unroll`; its types may be any.

    Returns:
        y in bfloat16, and the state at each row's end in the type of the weights.

    Raises:
        ValueError: the products of this cell cannot be rounded, because it does not name them.

    >>> weights = Weights(torch.ones(1, 1), torch.ones(1, 1))
    >>> state = (torch.zeros(1, 1),)
    >>> unroll("rnn_relu", torch.full((1, 1, 1), 257.0), None, state, weights)
    (tensor([[[256.]]], dtype=torch.bfloat16), (tensor([[256.]]),))
    """
    step = step_of(kind)
    if step is None:
        raise ValueError(f"the products of {kind} cannot be rounded: its cell has no gates apart")
    dtype = weights.w_hh.dtype
    with torch.autocast("cpu", enabled=False):
        x, state = x.bfloat16().to(dtype), tuple(part.to(dtype) for part in state)
        y, end = unroll_step(step, x, lengths, state, weights, reverse)
        return y.bfloat16(), end
