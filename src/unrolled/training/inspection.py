"""Diagnose a model on its training data: at once for a recipe, and at intervals while it is trained."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch

from unrolled import config
from unrolled.diagnosis.flow import GradientFlow, LossOf, measure_flow
from unrolled.diagnosis.updates import Updates, largest_of, snapshot, update_ratios
from unrolled.training.config import TrainingConfig
from unrolled.training.optimizer import build_optimiser, scale_and_clip

_N_TRIALS = 10

N_ROWS = 8
"""The rows of a sample on which gradients are measured."""

LARGEST_SHARE = 0.04
"""The share of the time of training that inspections may take; they are put off until they take less."""


def settings_of(recipe: Any) -> dict[str, Any]:
    """The settings of a recipe by dotted name.

    >>> from unrolled.training.recipe import Recipe
    >>> settings_of(Recipe())["training.clip_norm"]
    1.0
    """
    return dict(_flat(config.to_mapping(recipe), ""))


def _flat(mapping: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found = []
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def loss_of_sample(loader: Any, n_rows: int = N_ROWS) -> LossOf:
    """The loss of a model on a few training rows.

    Args:
        loader: a `training.loaders.Loader`.
        n_rows: number of rows.
    """
    batch, start = loader.sample(n_rows)

    def loss(model: Any) -> Any:
        device = next(model.parameters()).device
        total, count, _ = loader.loss(model, batch.to(device), start(model))
        return total, count

    return loss


def try_updates(model: torch.nn.Module, loss_of: LossOf, training: TrainingConfig) -> Updates:
    """Update a copy of a model some times on the same rows, at the full learning rate.

    Args:
        model: the model; it does not change.
        loss_of: its loss on the rows.
        training: optimizer, learning rate and clipping.
    """
    trial = copy.deepcopy(model).eval()
    optimiser = build_optimiser(training, trial)
    parameters = [each for each in trial.parameters() if each.requires_grad]
    losses: list[float] = []
    ratios: list[dict[str, float]] = []
    norm = 0.0
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(_N_TRIALS):
            total, count = loss_of(trial)
            mean = total / max(1, count)
            losses.append(float(mean.detach()))
            if not math.isfinite(losses[-1]) or not mean.requires_grad:
                break
            mean.backward()
            before = snapshot(trial)
            norm = scale_and_clip(parameters, 1.0, training.clip_norm)
            for group in optimiser.param_groups:
                group["lr"] = training.learning_rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            ratios.append(update_ratios(before, trial))
        else:
            with torch.no_grad():
                total, count = loss_of(trial)
                losses.append(float(total) / max(1, count))
    return Updates(
        training.learning_rate, largest_of(ratios), tuple(losses), losses[0], losses[0], norm
    )


def quick_flow(model: torch.nn.Module, loader: Any) -> GradientFlow:
    """The gradient flow on a few rows, without what takes long."""
    return measure_flow(model, loss_of_sample(loader), detailed=False)
