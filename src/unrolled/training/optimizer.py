"""The optimizer, its state, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from unrolled.training.config import TrainingConfig
from unrolled.training.layer_groups import in_groups
from unrolled.training.lazy_adam import LazyAdam

Optimiser: TypeAlias = torch.optim.Optimizer | LazyAdam


def build_optimiser(config: TrainingConfig, model: nn.Module) -> Optimiser:
    """AdamW, SGD or `LazyAdam` for the parameters of a model; torch's fused implementation if possible.

    Raises:
        ConfigError: the model has no table for `LazyAdam`; see there.
    """
    if config.optimiser == "lazy_adam":
        return LazyAdam(config, model)
    parameters = in_groups([p for p in model.parameters() if p.requires_grad], config, model)
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            # The fused implementation needs all parameters to start their momentum at the same step.
            fused=config.momentum == 0,
        )
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def gradient_values(parameter: nn.Parameter) -> Tensor | None:
    """The values of a gradient, to read or modify in place; a sparse gradient is coalesced first."""
    gradient = parameter.grad
    if gradient is None or not gradient.is_sparse:
        return gradient
    if not gradient.is_coalesced():
        # A word that occurred twice has two entries; the norm must be that of their sum.
        parameter.grad = gradient = gradient.coalesce()
    return gradient.values()


def scale_and_clip(parameters: Sequence[nn.Parameter], scale: float, clip_norm: float) -> float:
    """Multiply the gradients by `scale`, then clip them together to `clip_norm`; 0 = no clipping.

    Returns:
        The norm of the scaled gradients before clipping, including sparse ones. If it is not finite,
        the gradients are left unchanged.
    """
    values = (gradient_values(parameter) for parameter in parameters)
    gradients = [gradient for gradient in values if gradient is not None]
    if not gradients:
        return 0.0
    norm = float(nn.utils.get_total_norm(gradients)) * scale
    if not math.isfinite(norm):
        return norm
    if clip_norm and norm > clip_norm:
        scale *= clip_norm / norm
    if scale != 1.0:
        torch._foreach_mul_(gradients, scale)
    return norm


def optimiser_tensors(optimiser: Optimiser, model: nn.Module) -> dict[str, Tensor]:
    """The state of the optimizer, as `<quantity>.<parameter name>`; views, not copies."""
    state = optimiser.state
    return {
        f"{quantity}.{name}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for quantity, value in state.get(parameter, {}).items()
        if isinstance(value, Tensor | int)
    }


def restore_optimiser(
    optimiser: Optimiser, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Restore the state that `optimiser_tensors` returned in a new optimizer.

    Raises:
        ValueError: the state does not fit the parameters of the model.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for key, value in tensors.items():
        name = key.partition(".")[2]
        if name not in shapes or (value.dim() and value.shape != shapes[name]):
            raise ValueError(f"{key[:80]} does not belong to a parameter")
    for part in optimiser.parts if isinstance(optimiser, LazyAdam) else [optimiser]:
        ordered = [names[id(p)] for group in part.param_groups for p in group["params"]]
        index = {name: position for position, name in enumerate(ordered)}
        state: dict[int, dict[str, Tensor | int]] = {}
        for key, value in tensors.items():
            quantity, _, name = key.partition(".")
            if name in index:
                # Only SparseAdam stores its step count as a plain number.
                is_plain = quantity == "step" and isinstance(part, torch.optim.SparseAdam)
                state.setdefault(index[name], {})[quantity] = int(value) if is_plain else value
        part.load_state_dict({**part.state_dict(), "state": state})
