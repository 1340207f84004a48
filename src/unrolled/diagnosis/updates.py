"""How much an update changes the weights, and whether it reduces the loss on the rows it was made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Updates:
    """What one or several updates did.

    Args:
        learning_rate: their learning rate.
        ratios: ‖Δw‖ / ‖w‖ of an update by group of parameters: the module that has them; of trial updates
            the largest.
        losses: mean loss on the same rows before the first and after each of some trial updates; empty
            if none were made.
        first_loss: mean loss of the first update of the run; None if it is not known.
        last_loss: mean loss of the last one.
        grad_norm: norm of the gradient before clipping, or None.
    """

    learning_rate: float
    ratios: Mapping[str, float] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    first_loss: float | None = None
    last_loss: float | None = None
    grad_norm: float | None = None

    @property
    def largest(self) -> tuple[str, float]:
        """The group that changed most, and its ratio; ("", 0.0) if there is none."""
        return max(self.ratios.items(), key=lambda item: item[1], default=("", 0.0))


def snapshot(model: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of the weights to compare with: those with two dimensions and more.

    Biases and gains begin at 0 or 1, so that their relative change says little.
    """
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.dim() > 1
    }


def update_ratios(before: Mapping[str, Tensor], model: torch.nn.Module) -> dict[str, float]:
    """‖Δw‖ / ‖w‖ by group, w the weights before.

    >>> layer = torch.nn.Linear(2, 2, bias=False)
    >>> before = snapshot(layer)
    >>> _ = layer.weight.data.mul_(1.5)
    >>> round(update_ratios(before, layer)[""], 4)
    0.5
    """
    sums: dict[str, list[float]] = {}
    for name, parameter in model.named_parameters():
        if name not in before:
            continue
        total = sums.setdefault(name.rpartition(".")[0], [0.0, 0.0])
        old = before[name]
        total[0] += float((parameter.detach() - old).double().square().sum())
        total[1] += float(old.double().square().sum())
    return {group: (changed / size) ** 0.5 for group, (changed, size) in sums.items() if size > 0.0}


def largest_of(ratios: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The largest ratio of each group over several updates; of the groups of the first.

    Weights that begin at 0 have no ratio in the first update, and one that says nothing in the second.
    """
    groups = ratios[0] if ratios else {}
    return {group: max(each.get(group, 0.0) for each in ratios) for group in groups}
