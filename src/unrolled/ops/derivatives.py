"""Derivatives of what a kernel computed, by the operations of torch that define it.

A kernel has first derivatives only. Where its gradients are to be differentiated again, or are asked
for where no kernel may run, the definition is computed anew and differentiated by autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.ops.access import why_opaque

Differentiable = Callable[..., Sequence[Any]]


def by_definition_only(tensors: Sequence[Tensor | None], dtype: torch.dtype | None = None) -> bool:
    """Whether a backward pass must be the definition's: it is recorded, or these are no plain numbers.

    Args:
        tensors: the gradients that came, and what autograd saved, where a kernel will read it.
        dtype: what a kernel reads, on the CPU; None where only operations of torch follow.
    """
    if torch.is_grad_enabled():
        return True
    there = [tensor for tensor in tensors if tensor is not None]
    if dtype is not None and any(t.dtype is not dtype or not t.is_cpu for t in there):
        return True  # hooks on what is saved may give back anything
    return why_opaque(there) is not None


def differentiate(
    definition: Differentiable,
    inputs: Sequence[Tensor | None],
    wanted: Sequence[bool],
    gradients: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradient of each wanted input, with a graph of its own where autograd records.

    Args:
        definition: takes the inputs and returns the outputs, in operations of torch.
        inputs: as autograd saved them.
        wanted: `ctx.needs_input_grad` of these inputs.
        gradients: of the outputs; None is zero.
    """
    is_recorded = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        # Views, because one input may be made of another, and each is to count as if it were not.
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
        found = iter(
            torch.autograd.grad(
                [output for output, _ in pairs],
                asked,  # type: ignore[arg-type]
                [gradient for _, gradient in pairs],
                create_graph=is_recorded,
                allow_unused=True,
            )
        )
    return [next(found) if want else None for want in wanted]
