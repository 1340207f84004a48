"""Adam that updates only the embedding rows of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unrolled.errors import ConfigError
from unrolled.training.config import TrainingConfig
from unrolled.training.layer_groups import in_groups


class LazyAdam:
    """Adam that does not update the rows of embedding tables that a batch did not look up.

    It is `torch.optim.SparseAdam` for tables with sparse gradients, and `torch.optim.AdamW` without
    weight decay for all other parameters. This is not equal to Adam: a row without a gradient keeps its
    value and its moments, while Adam would move it further by its momentum and let both moments decay.
    The cost of an update depends on the number of words in the batch, not on the size of the vocabulary.

    Args:
        config: sets learning rate and betas.
        model: model with modules that have a `weight` and a `sparse` attribute, such as `nn.Embedding`;
            `sparse` is set to True.

    Raises:
        ConfigError: there is no such module, or another module uses its weight without `sparse`.

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
            torch.optim.SparseAdam(in_groups(tables.values(), config, model), lr=rate, betas=betas)
        ]
        if others:
            groups = in_groups(others, config, model)
            self.parts.append(
                torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=0.0, fused=True)
            )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of both optimizers."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """The state of both optimizers, by parameter."""
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def step(self) -> None:
        """Update every parameter and table row that has a gradient."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)


def _make_sparse(model: nn.Module) -> dict[int, nn.Parameter]:
    """Enable sparse gradients for the tables of a model; returns the trainable tables by identity."""
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
            "whose gradient is dense; untie the two, or use 'adam'"
        )
    return tables
