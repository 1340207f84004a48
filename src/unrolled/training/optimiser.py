"""The optimiser, its learning rate, clipping, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unrolled.training.config import TrainingConfig


def learning_rate(
    config: TrainingConfig, step: int, fraction_done: float = 0.0, n_reductions: int = 0
) -> float:
    """The rate of one update.

    With base rate r, step n counted from 1, w warm-up steps and a share d of training done before
    the step:

        constant      r · min(1, n / w)
        plateau       r · min(1, n / w) · factor^reductions
        linear        r · min(n / w, 1 − d)
        inverse_sqrt  r · min(n / w, √(w / n)), w at least 1      Vaswani et al. 2017, section 5.3

    Args:
        config: names the schedule and its numbers.
        step: the update about to be made, from 1.
        fraction_done: d, 0…1.
        n_reductions: how often the plateau schedule has cut the rate.

    >>> config = TrainingConfig(schedule="inverse_sqrt", learning_rate=0.5, warmup_steps=4)
    >>> [learning_rate(config, step) for step in (1, 4, 16)]
    [0.125, 0.5, 0.25]
    """
    warmup = config.warmup_steps
    rise = step / warmup if step < warmup else 1.0
    match config.schedule:
        case "plateau":
            factor = rise * config.plateau_factor**n_reductions
        case "linear":
            factor = min(rise, 1.0 - fraction_done)
        case "inverse_sqrt":
            factor = min(rise, math.sqrt(max(1, warmup) / step))
        case _:
            factor = rise
    return config.learning_rate * factor


def build_optimiser(config: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD over the model's parameters, in torch's fused form: one pass over the memory."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def scale_and_clip(parameters: Sequence[nn.Parameter], scale: float, clip_norm: float) -> float:
    """Multiply the gradients by `scale`, then clip them together to `clip_norm`; 0 = no clipping.

    Returns:
        The norm of the scaled gradient before clipping. Where it is not finite, the gradients are
        left as they are.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
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


def optimiser_tensors(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """What the optimiser remembers, as `<quantity>.<parameter name>`; views, not copies."""
    return {
        f"{quantity}.{name}": value
        for name, parameter in model.named_parameters()
        for quantity, value in optimiser.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Give a fresh optimiser the memory that `optimiser_tensors` returned."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    ordered = [names[id(p)] for group in optimiser.param_groups for p in group["params"]]
    index = {name: position for position, name in enumerate(ordered)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        quantity, _, name = key.partition(".")
        state.setdefault(index[name], {})[quantity] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


class WeightAverage:
    """An exponential moving average of the weights (Polyak & Juditsky 1992), off at decay 0.

    After update n, average ← d · average + (1 − d) · weights with d = min(decay, n / (n + 9)), so
    that the first weights, which are noise, are soon forgotten.

    Args:
        model: whose trainable parameters are averaged.
        decay: 0…1, below 1.

    >>> model = nn.Linear(2, 3)
    >>> average = WeightAverage(model, decay=0.5)
    >>> average.update(step=1)
    >>> with average.in_place():
    ...     output = model(torch.zeros(1, 2))
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(model.named_parameters()) if decay else {}
        self._values = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update `step`, from 1."""
        if self._parameters:
            share = 1.0 - min(self.decay, step / (step + 9))
            torch._foreach_lerp_(
                list(self._values.values()), list(self._parameters.values()), share
            )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with its averaged weights, inside the `with`; with its own again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def tensors(self) -> dict[str, Tensor]:
        """The averages by parameter name; empty when off."""
        return self._values

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the averages that `tensors` returned."""
        for name, value in self._values.items():
            value.copy_(tensors[name])

    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._values[name] = self._values[name], parameter.data
