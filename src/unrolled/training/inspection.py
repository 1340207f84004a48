"""Diagnose a model on its training data: at once for a recipe, and at intervals while it is trained."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unrolled import config
from unrolled.diagnosis.flow import GradientFlow, LossOf, measure_flow
from unrolled.diagnosis.updates import Updates, largest_of, snapshot, update_ratios
from unrolled.diagnosis.verdict import JUMPED, judge
from unrolled.layers.replay import in_type_of
from unrolled.training.config import TrainingConfig
from unrolled.training.events import Inspected, Warned
from unrolled.training.optimizer import build_optimiser, scale_and_clip

_N_TRIALS = 10

N_ROWS = 8
"""The rows of a sample on which gradients are measured."""

LEAST_JUMP = 1.0
"""The least rise of the loss, in nats per target, that counts as a jump; batches differ, too."""

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
        given = in_type_of(batch.to(device), model)
        total, count, _ = loader.loss(model, given, start(model))
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


class Inspector:
    """The inspections of a run, and its warning when the loss jumps.

    Args:
        every_n_steps: number of updates between inspections; 0 = none.
        settings: the settings of the recipe, see `settings_of`.
    """

    def __init__(self, every_n_steps: int, settings: Mapping[str, Any]) -> None:
        self.every_n_steps, self.settings = every_n_steps, settings
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self._before: dict[str, Tensor] = {}
        self._spent = self._last = self._training = 0.0
        self._warned = 0.0

    def is_due_at(self, step: int) -> bool:
        """Whether the update that leads to this step is to be inspected."""
        if not self.every_n_steps or step % self.every_n_steps:
            return False
        return self._spent + self._last <= LARGEST_SHARE * self._training or not self._spent

    def prepare(self, model: torch.nn.Module) -> None:
        """Copy the weights before an update that is to be inspected."""
        self._before = snapshot(model)

    def note(self, seconds: float, loss: float) -> None:
        """An update took so long, and its mean loss was this."""
        self._training += seconds
        self.last_loss = loss
        if self.first_loss is None:
            self.first_loss = loss

    def inspect(
        self, model: torch.nn.Module, loader: Any, step: int, loss: float, rate: float, norm: float
    ) -> Inspected:
        """Diagnose the model after the update that `prepare` was called for."""
        began = time.perf_counter()
        ratios = update_ratios(self._before, model)
        self._before = {}
        updates = Updates(rate, ratios, (), self.first_loss, loss, norm)
        verdict = judge(quick_flow(model, loader), updates, self.settings)
        self._last = time.perf_counter() - began
        self._spent += self._last
        return Inspected(step, verdict, ratios, self._last)

    def warning(
        self, model: torch.nn.Module, loader: Any, step: int, loss: float, rate: float, norm: float
    ) -> Warned | None:
        """A warning if the loss of an update is far above that of the first.

        Once, and again whenever it is ten times larger.
        """
        first = self.first_loss
        if first is None or loss <= max(JUMPED * first, first + LEAST_JUMP, 10 * self._warned):
            return None
        self._warned = loss
        try:
            flow = quick_flow(model, loader)
        except RuntimeError:  # such as too little memory for a copy
            flow = GradientFlow(0.0)
        verdict = judge(flow, Updates(rate, {}, (), first, loss, norm), self.settings)
        return Warned(step, f"the loss has jumped. {verdict}")


def diagnosis(
    model: torch.nn.Module, loader: Any, updates: Updates, settings: Mapping[str, Any]
) -> str:
    """The diagnosis of a model whose loss or gradient is not finite, for the message about it.

    Empty if there is none: if the model cannot be copied, or has no recurrent layer.
    """
    try:
        flow = quick_flow(model, loader)
    except RuntimeError:
        return ""
    if not flow.layers and math.isfinite(flow.loss):
        return ""
    verdict = judge(flow, updates, settings)
    if verdict.kind == "healthy":
        return f"diagnosis on {N_ROWS} other rows: {verdict}"
    return f"diagnosis: {verdict}"


def quick_flow(model: torch.nn.Module, loader: Any) -> GradientFlow:
    """The gradient flow on a few training rows, without what takes long."""
    return measure_flow(model, loss_of_sample(loader), detailed=False)
