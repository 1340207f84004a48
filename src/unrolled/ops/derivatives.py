"""Derivatives of a kernel's result, computed from the torch operations that define it.

A kernel only has first derivatives. If its gradients are differentiated again, or are needed where no
kernel may run, the definition is computed again and differentiated by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.ops.access import why_opaque

Differentiable = Callable[..., Sequence[Any]]


def by_definition_only(tensors: Sequence[Tensor | None], dtype: torch.dtype | None = None) -> bool:
    """Whether a backward pass must use the definition: it is recorded, or no kernel can read the tensors.

    Args:
        tensors: the incoming gradients and, if a kernel will read them, the tensors saved by autograd.
        dtype: the type that a kernel reads, on the CPU; None if only operations of torch follow.
    """
    if torch.is_grad_enabled():
        return True
    present = [tensor for tensor in tensors if tensor is not None]
    if dtype is not None and any(t.dtype is not dtype or not t.is_cpu for t in present):
        return True  # hooks on saved tensors may return anything
    return why_opaque(present) is not None


def differentiate(
    definition: Differentiable,
    inputs: Sequence[Tensor | None],
    wanted: Sequence[bool],
    gradients: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Return the gradient of each wanted input; it has its own graph if autograd is recording.

    Args:
        definition: computes the outputs from the inputs with operations of torch.
        inputs: the inputs that autograd saved.
        wanted: `ctx.needs_input_grad` of these inputs.
        gradients: the gradients of the outputs; None means zero.
    """
    is_recorded = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        # Views, because one input may depend on another, but partial derivatives are wanted.
        seen = [
            tensor
            if tensor is None or not want
            else tensor.view_as(tensor)
            if is_recorded
            else tensor.detach().requires_grad_()
            for tensor, want in zip(inputs, wanted, strict=True)
        ]
        outputs = definition(*seen)
        pairs = [
            (output, gradient)
            for output, gradient in zip(outputs, gradients, strict=True)
            if gradient is not None and output.requires_grad
        ]
        asked = [tensor for tensor, want in zip(seen, wanted, strict=True) if want]
        if not pairs or not asked:
            return [None] * len(inputs)
        results = iter(
            torch.autograd.grad(
                [output for output, _ in pairs],
                asked,  # type: ignore[arg-type]
                [gradient for _, gradient in pairs],
                create_graph=is_recorded,
                allow_unused=True,
            )
        )
    return [next(results) if want else None for want in wanted]
