"""Matrix products by our own CPU kernels in mixed precision: bfloat16 operands, float32 results.

`unrolled.ops.bfloat16.linear` is the definition of `linear`. The weight's gradient is summed in float32
and not rounded, unlike that of PyTorch's product under autocast.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrolled.kernels import kernels
from unrolled.ops import bfloat16, mixed
from unrolled.ops.calls import address
from unrolled.ops.derivatives import by_definition_only, differentiate
from unrolled.shapes import Float

_TRANSPOSED, _PLAIN, _OF_ROWS = range(3)  # `MixedProduct::Kind` in native/mixed.h

LEAST_WORK = 1 << 20
"""Multiply-adds below which packing the operands takes longer than PyTorch's product."""

_LEAST_SHARED_WORK = 1 << 22
"""Multiply-adds below which a second thread costs more than it saves."""


def why_not(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    """Why the kernels should not compute `linear` under autocast, as one sentence, else None."""
    parameters = [weight] if bias is None else [weight, bias]
    if (reason := mixed.why_not_now([x], parameters)) is not None:
        return reason
    if x.numel() * len(weight) < LEAST_WORK:
        return "too few numbers to be worth packing the operands for the kernels"
    return mixed.not_worth_it()


def linear(
    x: Float[Tensor, "*batch K"], weight: Float[Tensor, "N K"], bias: Float[Tensor, " N"] | None
) -> Float[Tensor, "*batch N"]:
    """x Wᵀ + b in float32, with x and W rounded to bfloat16; `why_not` must be None.

    Args:
        x: float32 or bfloat16.
        weight, bias: float32.
    """
    rows = x.reshape(-1, x.shape[-1])
    with torch.autocast("cpu", enabled=False):
        y = _Linear.apply(rows, weight, bias)
    return y.view(*x.shape[:-1], len(weight))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
        ctx.save_for_backward(x, weight)
        y = times(x, weight, transposed=True)
        return y if bias is None else y.add_(bias)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        d_bias = dy.sum(0) if wants_bias else None
        if by_definition_only((dy, weight), torch.float32) or by_definition_only((x,)):
            inputs, wanted = (x, weight), (wants_x, wants_weight)

            def definition(x: Tensor, weight: Tensor) -> tuple[Tensor]:
                return (bfloat16.linear(x.float(), weight),)

            return *differentiate(definition, inputs, wanted, (dy,)), d_bias
        return (
            times(dy, weight, transposed=False).to(x.dtype) if wants_x else None,
            rows_product(dy, x) if wants_weight else None,
            d_bias,
        )


def times(
    x: Float[Tensor, "M K"], weight: Float[Tensor, "P Q"], *, transposed: bool
) -> Float[Tensor, "M N"]:
    """x Wᵀ, or x W, with rounded operands; the rows of both may be apart in memory."""
    x, weight = with_rows(x.bfloat16()), with_rows(weight)
    M, K = x.shape
    N = weight.shape[0 if transposed else 1]
    out = weight.new_empty(M, N)
    kernels.mixed_product(
        _TRANSPOSED if transposed else _PLAIN, M, N, K, *_rows(x), 0, 0, *_rows(weight),
        *_rows(out), _threads(M * N * K),
    )  # fmt: skip
    return out


def rows_product(y: Float[Tensor, "M N"], *xs: Float[Tensor, "M _"]) -> Float[Tensor, "N K"]:
    """yᵀ [x …] with rounded operands: the products with several x, side by side."""
    y = with_rows(y.bfloat16())
    M, N = y.shape
    out = torch.empty(N, sum(x.shape[1] for x in xs))
    parts = out.split([x.shape[1] for x in xs], 1)
    for x, part in zip(map(with_rows, xs), parts, strict=True):
        x, K = x.bfloat16(), x.shape[1]
        kernels.mixed_product(
            _OF_ROWS, M, N, K, *_rows(x), *_rows(y), 0, 0, *_rows(part), _threads(M * N * K)
        )
    return out


def with_rows(matrix: Tensor) -> Tensor:
    """The matrix with contiguous rows, which may be apart."""
    return matrix if matrix.stride(1) == 1 or matrix.shape[1] == 1 else matrix.contiguous()


def _rows(matrix: Tensor) -> tuple[int, int]:
    return address(matrix), matrix.stride(0)


def _threads(work: int) -> int:
    return torch.get_num_threads() if work >= _LEAST_SHARED_WORK else 1
