"""Training the layers of a language model with rates of their own, and one after another.

Howard & Ruder 2018, "Universal language model fine-tuning for text classification": discriminative
fine-tuning (section 3.2) and gradual unfreezing (section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from unrolled.layers.lm_encoder import groups_below
from unrolled.training.config import TrainingConfig

_SHARE = "share_of_rate"


def in_groups(
    parameters: Iterable[nn.Parameter], config: TrainingConfig, model: nn.Module
) -> list[Any]:
    """Parameters for an optimizer, in groups if they have different learning rates.

    The group at depth k below the head has the rate r / d^k, with d `training.layer_divisor`; it is set
    by `set_rate`.

    Args:
        parameters: some parameters of the model.
        config: the divisor.
        model: the model, which determines the depth of each parameter.
    """
    if config.layer_divisor == 1.0:
        return list(parameters)
    depths = {
        id(p): depth for depth, group in enumerate(groups_below(model), start=1) for p in group
    }
    by_depth: dict[int, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_depth.setdefault(depths.get(id(parameter), 0), []).append(parameter)
    return [
        {"params": by_depth[depth], _SHARE: config.layer_divisor**-depth}
        for depth in sorted(by_depth)
    ]


def set_rate(groups: Sequence[dict[str, Any]], rate: float) -> None:
    """Set the learning rate of an optimizer's groups, lower for deeper layers (`in_groups`)."""
    for group in groups:
        group["lr"] = rate * group.get(_SHARE, 1.0)


class Unfreezing:
    """Which layers are trained in an epoch; the others have no gradient, so that optimizers skip them.

    Args:
        every_n_epochs: number of epochs after which the next lower layer is trained; 0 = all are trained
            from the start.
        model: the model.

    >>> from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
    >>> model = LanguageModel(LanguageModelConfig(embedding_size=3, hidden_size=5), 11)
    >>> unfreezing = Unfreezing(2, model)
    >>> for n_epochs in (1, 2, 4):
    ...     unfreezing.at(n_epochs)
    ...     print(sum(p.requires_grad for p in model.parameters()), unfreezing.is_waiting_at(n_epochs))
    2 True
    6 True
    7 False
    """

    def __init__(self, every_n_epochs: int, model: nn.Module) -> None:
        self._every_n_epochs = every_n_epochs
        self._groups = groups_below(model) if every_n_epochs else []

    def at(self, n_epochs: int) -> None:
        """Freeze the layers that are not yet trained after n complete epochs, and train the others.

        This depends on the number of epochs alone, so a resumed run continues unchanged.
        """
        for depth, group in enumerate(self._groups, start=1):
            for parameter in group:
                parameter.requires_grad_(n_epochs >= depth * self._every_n_epochs)

    def note(self, config: TrainingConfig) -> str | None:
        """When all layers are trained, for the user; None if they are from the start."""
        n_epochs = len(self._groups) * self._every_n_epochs
        if not n_epochs:
            return None
        ends = f", but training ends after epoch {config.max_epochs}"
        too_late = ends if 0 < config.max_epochs <= n_epochs else ""
        return (
            f"the layers of the language model are trained one after another, all of them from epoch "
            f"{n_epochs + 1} on (training.unfreeze_every_n_epochs){too_late}"
        )

    def is_waiting_at(self, n_epochs: int) -> bool:
        """Whether some layers are not yet trained after n complete epochs."""
        return n_epochs < len(self._groups) * self._every_n_epochs
