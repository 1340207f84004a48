"""Matrix products for layers, with the fastest exact routine that PyTorch contains.

On x86 processors, `x @ w.T` in float32 calls MKL, which uses only half of the vector width on AMD; the
oneDNN library in the same PyTorch uses all of it. `product` passes float32 products on the CPU to oneDNN
(2.2–2.5 times as fast on AVX-512 AMD, see NOTES.md) and all others to `torch.matmul`. The two round
differently in the last bits, but neither reduces the precision.

`linear` is `torch.nn.functional.linear` with that product. `StepLinear` is the same map applied at
every step of a loop, with the weight's gradient computed once for all steps.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from unrolled.ops import mixed_linear
from unrolled.ops.access import why_opaque
from unrolled.ops.derivatives import by_definition_only
from unrolled.shapes import Float


@cache
def _onednn_linear() -> Any:
    """The oneDNN product `(x_MK, w_NK) → x @ w.T`, or None if it is absent or gives other results."""
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        routine = torch.ops.mkldnn._linear_pointwise.default
        # Integers small enough to give exact sums in every order of summation.
        x, w = (
            torch.arange(7 * n, dtype=torch.float32, device="cpu").reshape(n, 7) for n in (5, 3)
        )
        agrees = torch.equal(routine(x, w, None, "none", [], ""), x @ w.t())
        agrees &= torch.equal(routine(x.t(), x.t(), None, "none", [], ""), x.t() @ x)
    except (AttributeError, RuntimeError, TypeError):
        return None
    return routine if agrees else None


def why_not_onednn() -> str | None:
    """Why float32 products on this CPU do not use oneDNN; None if they do."""
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch was built without oneDNN"
    return None if _onednn_linear() else "this PyTorch does not offer oneDNN's product as expected"


def product(a: Float[Tensor, "M K"], b: Float[Tensor, "N K"]) -> Float[Tensor, "M N"]:
    """`a @ b.T`, without gradients, for tensors with any strides.

    >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([[11., 17.]])
    """
    on_cpu = a.dtype is torch.float32 and b.dtype is torch.float32 and a.is_cpu
    if on_cpu and a.numel() and b.numel() and (routine := _onednn_linear()):
        return routine(_dense(a), _dense(b), None, "none", [], "")
    return a @ b.t()


def _dense(matrix: Tensor) -> Tensor:
    """The matrix without gaps between rows or columns; with gaps, oneDNN falls back to a plain loop."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def _product_of_torch(a: Tensor, b: Tensor) -> Tensor:
    """`product` with derivatives of any order."""
    return a @ b.t()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
        ctx.save_for_backward(x, weight)
        y = product(x, weight)
        return y if bias is None else y.add_(bias)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        times = _product_of_torch if by_definition_only((dy,)) else product
        return (
            times(dy, weight.t()) if needs_x else None,
            times(dy.t(), x.t()) if needs_weight else None,
            dy.sum(0) if needs_bias else None,
        )


def _goes_to_torch(*tensors: Tensor | None) -> bool:
    """Whether to use PyTorch's own product: under autocast, and for other devices, types and tensors."""
    return (
        any(t is not None and (t.dtype is not torch.float32 or not t.is_cpu) for t in tensors)
        or torch.is_autocast_enabled("cpu")
        or why_opaque(tensors) is not None
        or _onednn_linear() is None
    )


def linear(
    x: Float[Tensor, "*batch K"],
    weight: Float[Tensor, "N K"],
    bias: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, "*batch N"]:
    """y = x Wᵀ + b, as `torch.nn.functional.linear`.

    Under autocast with bfloat16, where the kernels have AMX, `unrolled.ops.bfloat16.linear`, rounded.

    >>> linear(torch.ones(2, 3), torch.ones(4, 3)).tolist()
    [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]
    """
    if mixed_linear.why_not(x, weight, bias) is None:
        return mixed_linear.linear(x, weight, bias).bfloat16()
    if _goes_to_torch(x, weight, bias):
        return torch.nn.functional.linear(x, weight, bias)
    y = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return y.view(*x.shape[:-1], weight.shape[0])


def linear_in_float32(
    x: Float[Tensor, "*batch K"], weight: Float[Tensor, "N K"], bias: Float[Tensor, " N"] | None
) -> Float[Tensor, "*batch N"]:
    """The same, but where our kernels compute it under autocast, the result is not rounded."""
    if mixed_linear.why_not(x, weight, bias) is None:
        return mixed_linear.linear(x, weight, bias)
    return linear(x, weight, bias)


class _Collect(torch.autograd.Function):
    """The root of all steps: runs last in the backward pass and computes the weight's gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Any, pairs: Any) -> Any:
        ctx.pairs = pairs
        ctx.set_materialize_grads(False)
        return weight.new_zeros(())

    @staticmethod
    def backward(ctx: Any, n_steps: Any) -> Any:
        if n_steps is None:  # every step computed its part of the weight's gradient itself
            return None, None
        # Each step of this pass sent a 1. Earlier pairs in the list are from a pass that did not get
        # here, because it only computed the gradient of an input.
        inputs, gradients = zip(*ctx.pairs[-int(n_steps) :], strict=True)
        ctx.pairs.clear()
        x, dy = torch.cat(inputs), torch.cat(gradients)
        return product(dy.t(), x.t()), None


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, root: Any, weight: Any, pairs: Any) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        return product(x, weight)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, weight = ctx.saved_tensors
        if by_definition_only((dy,)):
            dx = dy @ weight if ctx.needs_input_grad[0] else None
            return dx, None, dy.t() @ x, None
        ctx.pairs.append((x, dy))
        dx = product(dy, weight.t()) if ctx.needs_input_grad[0] else None
        return dx, dy.new_ones(()), None, None


class StepLinear:
    """y_t = W x_t for the steps of one loop, with the gradient of W computed once for all steps.

    With autograd alone, every step writes a whole dW and adds it to the sum; with a batch of 64 rows,
    that is more memory traffic than arithmetic. Here the backward pass of each step stores (x_t, dy_t),
    and one product over all steps follows. Create a new object for each loop.

    >>> weight = torch.ones(3, 2, requires_grad=True)
    >>> step = StepLinear(weight)
    >>> (step(torch.ones(1, 2)) + step(torch.ones(1, 2))).sum().backward()
    >>> weight.grad[0].tolist()
    [2.0, 2.0]
    """

    def __init__(self, weight: Float[Tensor, "N K"]) -> None:
        self._weight = weight
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._deferred = (
            torch.is_grad_enabled() and weight.requires_grad and not _goes_to_torch(weight)
        )
        if self._deferred:
            self._root = _Collect.apply(weight, self._pairs)

    def __call__(self, x: Float[Tensor, "B K"]) -> Float[Tensor, "B N"]:
        if self._deferred:
            return _Apply.apply(x, self._root, self._weight, self._pairs)
        return linear(x, self._weight)
