"""The optimiser, its learning rate, clipping, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from unrolled.errors import ConfigError
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


class LazyAdam:
    """Adam that leaves alone the rows of embedding tables that a batch did not look up.

    `torch.optim.SparseAdam` for the tables whose gradients are sparse, `torch.optim.AdamW` without weight
    decay for everything else. This is not Adam: a row without gradient keeps its value and its moments,
    where Adam would go on moving it by its momentum and let both moments decay. An update costs as many
    rows as the batch has words, not the whole vocabulary.

    Args:
        config: names rate and betas.
        model: of which some modules have a `weight` and a `sparse`, as `nn.Embedding` has; it is set.

    Raises:
        ConfigError: no such module, or one whose weight another module uses without `sparse`.

    >>> model = nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 5))
    >>> optimiser = LazyAdam(TrainingConfig(optimiser="lazy_adam"), model)
    >>> model(torch.tensor([2, 4])).sum().backward()
    >>> before = model[0].weight.detach().clone()
    >>> optimiser.step()
    >>> (model[0].weight != before).any(1).nonzero().squeeze(1).tolist()
    [2, 4]
    """

    def __init__(self, config: TrainingConfig, model: nn.Module) -> None:
        tables = _make_sparse(model)
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in tables]
        rate, betas = config.learning_rate, (config.beta1, config.beta2)
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.SparseAdam(tables.values(), lr=rate, betas=betas)
        ]
        if others:
            self.parts.append(
                torch.optim.AdamW(others, lr=rate, betas=betas, weight_decay=0.0, fused=True)
            )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of both parts."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """What both parts remember, by parameter."""
        return {parameter: kept for part in self.parts for parameter, kept in part.state.items()}

    def step(self) -> None:
        """One update of every parameter, and table row, that has a gradient."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)


Optimiser: TypeAlias = torch.optim.Optimizer | LazyAdam


def _make_sparse(model: nn.Module) -> dict[int, nn.Parameter]:
    """Let the tables of a model have sparse gradients; the trainable ones, by identity."""
    tables: dict[int, nn.Parameter] = {}
    dense: dict[int, str] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if name == "weight" and hasattr(module, "sparse"):
                module.sparse = True
                tables[id(parameter)] = parameter
            else:
                dense[id(parameter)] = f"{path}.{name}".lstrip(".")
    if not tables:
        raise ConfigError(
            "training.optimiser is 'lazy_adam', but the model has no embedding to be lazy about; "
            "use 'adam'"
        )
    for shared in tables.keys() & dense.keys():
        raise ConfigError(
            f"training.optimiser is 'lazy_adam', but an embedding's weight is also {dense[shared]}, "
            "whose gradient has every row; untie the two or use 'adam'"
        )
    return tables


def build_optimiser(config: TrainingConfig, model: nn.Module) -> Optimiser:
    """AdamW, SGD or `LazyAdam` over the model's parameters, in torch's fused form where it has one.

    Raises:
        ConfigError: the model has nothing to be lazy about; see `LazyAdam`.
    """
    if config.optimiser == "lazy_adam":
        return LazyAdam(config, model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            # The fused form cannot begin one parameter's momentum after another's.
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
    """The numbers of a gradient, to read or change in place; of a sparse one, each row once."""
    gradient = parameter.grad
    if gradient is None or not gradient.is_sparse:
        return gradient
    if not gradient.is_coalesced():
        # A word that occurred twice has two entries; a norm is that of their sum.
        parameter.grad = gradient = gradient.coalesce()
    return gradient.values()


def scale_and_clip(parameters: Sequence[nn.Parameter], scale: float, clip_norm: float) -> float:
    """Multiply the gradients by `scale`, then clip them together to `clip_norm`; 0 = no clipping.

    Returns:
        The norm of the scaled gradient before clipping, sparse ones included. Where it is not finite,
        the gradients are left as they are.
    """
    found = (gradient_values(parameter) for parameter in parameters)
    gradients = [gradient for gradient in found if gradient is not None]
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
    """What the optimiser remembers, as `<quantity>.<parameter name>`; views, not copies."""
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
    """Give a fresh optimiser the memory that `optimiser_tensors` returned.

    Raises:
        ValueError: it is not of the model's parameters.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for key, value in tensors.items():
        name = key.partition(".")[2]
        if name not in shapes or (value.dim() and value.shape != shapes[name]):
            raise ValueError(f"{key[:80]} is of no parameter")
    for part in optimiser.parts if isinstance(optimiser, LazyAdam) else [optimiser]:
        ordered = [names[id(p)] for group in part.param_groups for p in group["params"]]
        index = {name: position for position, name in enumerate(ordered)}
        state: dict[int, dict[str, Tensor | int]] = {}
        for key, value in tensors.items():
            quantity, _, name = key.partition(".")
            if name in index:
                # SparseAdam alone counts its steps in a plain number.
                is_plain = quantity == "step" and isinstance(part, torch.optim.SparseAdam)
                state.setdefault(index[name], {})[quantity] = int(value) if is_plain else value
        part.load_state_dict({**part.state_dict(), "state": state})


class WeightAverage:
    """An average of the weights over the updates, to evaluate and save in their place.

    Exponential (Polyak & Juditsky 1992), with a decay above 0: after update n,
    average ← d · average + (1 − d) · weights with d = min(decay, n / (n + 9)), so that the first weights,
    which are noise, are soon forgotten.

    Uniform, from the call of `begin` on: the mean of the weights of that moment and of every later
    update. Begun when the validation metric stalls, under SGD with a constant learning rate, this is
    NT-ASGD (Merity, Keskar & Socher 2018, algorithm 1).

    Until then, at decay 0, it is off: it holds nothing, and the weights are the model's own.

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
        self._model = model
        self._n_averaged = 0  # above 0: uniform, over so many weights
        self._parameters: dict[str, nn.Parameter] = {}
        self._values: dict[str, Tensor] = {}
        if decay:
            self._start()

    def begin(self) -> None:
        """Average all weights alike from now on, the present ones included.

        Where averaging has begun, of either kind, nothing changes.
        """
        if not self._parameters:
            self._start()
            self._n_averaged = 1

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update `step`, from 1."""
        if not self._parameters:
            return
        if self._n_averaged:
            self._n_averaged += 1
            share = 1.0 / self._n_averaged
        else:
            share = 1.0 - min(self.decay, step / (step + 9))
        torch._foreach_lerp_(list(self._values.values()), list(self._parameters.values()), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with its averaged weights, inside the `with`; with its own again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def tensors(self) -> dict[str, Tensor]:
        """The averages by parameter name, a uniform one's count beside them; empty when off."""
        if not self._n_averaged:
            return self._values
        return {**self._values, _COUNT: torch.tensor(self._n_averaged)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the averages that `tensors` returned, begun if they were begun."""
        if _COUNT in tensors:
            self.begin()
            self._n_averaged = int(tensors[_COUNT])
        for name, value in self._values.items():
            value.copy_(tensors[name])

    def _start(self) -> None:
        self._parameters = dict(self._model.named_parameters())
        self._values = {name: p.detach().clone() for name, p in self._parameters.items()}

    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._values[name] = self._values[name], parameter.data


# Beside parameter names, of which none has a space.
_COUNT = "weights averaged"
