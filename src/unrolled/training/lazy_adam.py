"""Adam that updates only the embedding rows of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unrolled.errors import ConfigError
from unrolled.training.config import TrainingConfig


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
            "training.optimiser is 'lazy_adam', which needs a sparse embedding table; use 'adam'"
        )
    for shared in tables.keys() & dense.keys():
        raise ConfigError(
            f"training.optimiser is 'lazy_adam', but an embedding's weight is also {dense[shared]}, "
            "whose gradient has every row; untie the two or use 'adam'"
        )
    return tables
