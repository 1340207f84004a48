"""Output layers for labels: scores, losses and class weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.metrics.multi_label import (
    DEFAULT_THRESHOLD,
)
from unrolled.shapes import Float


class LabelHead(nn.Module):
    """From `[B, D]` to labels: one of C (softmax), or yes or no to each (sigmoid).

    Attributes:
        class_weights: `[C]`, what a row of each class counts in the training loss.
        thresholds: `[C]`, from which probability on a label is given, where there may be several.

    Args:
        scorer: `[B, D]` → `[B, C]`, unnormalised scores.
        n_labels: C.
        multi_label: whether a row may have several labels, or none.
        label_smoothing: share of the target that is spread over all classes; of several labels over yes
            and no of each.

    >>> head = LabelHead(nn.Linear(3, 5), 5, multi_label=True)
    >>> head.probabilities(torch.zeros(2, 3)).shape
    torch.Size([2, 5])
    """

    class_weights: Tensor
    thresholds: Tensor

    def __init__(
        self,
        scorer: nn.Module,
        n_labels: int,
        *,
        multi_label: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.scorer = scorer
        self.multi_label, self.label_smoothing = multi_label, label_smoothing
        self.register_buffer("class_weights", torch.ones(n_labels))
        # Rounded to float32, the middle between two neighbours could be the lower one.
        thresholds = torch.full((n_labels,), DEFAULT_THRESHOLD, dtype=torch.float64)
        self.register_buffer("thresholds", thresholds)

    def logits(self, hidden: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Unnormalised scores."""
        logits: Tensor = self.scorer(hidden)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def probabilities(self, hidden: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Of each label; of one label they sum to 1."""
        logits = self.logits(hidden)
        return logits.sigmoid() if self.multi_label else logits.softmax(1)

    def loss(self, hidden: Float[Tensor, "B D"], targets: Tensor) -> tuple[Tensor, int]:
        """The loss in training: weighted by class, with smoothed labels. In nats, summed over rows."""
        return self._loss(hidden, targets, self.class_weights, self.label_smoothing)

    def plain_loss(self, hidden: Float[Tensor, "B D"], targets: Tensor) -> tuple[Tensor, int]:
        """Without weights and smoothing."""
        return self._loss(hidden, targets, torch.ones_like(self.class_weights), 0.0)

    def _loss(
        self, hidden: Tensor, targets: Tensor, weights: Tensor, smoothing: float
    ) -> tuple[Tensor, int]:
        logits_BC = self.logits(hidden)
        if not self.multi_label:
            total = F.cross_entropy(
                logits_BC, targets[:, 0], weights, reduction="sum", label_smoothing=smoothing
            )
            return total, len(targets)
        right_BC = several_hot(targets, logits_BC.shape[1]).to(logits_BC)
        right_BC = (1 - smoothing) * right_BC + smoothing / 2
        total = F.binary_cross_entropy_with_logits(
            logits_BC, right_BC, pos_weight=weights, reduction="sum"
        )
        return total, len(targets)


def linear_scorer(input_size: int, n_labels: int) -> nn.Linear:
    """One layer, whose labels begin alike."""
    layer = nn.Linear(input_size, n_labels)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def several_hot(targets: Tensor, n_labels: int) -> Tensor:
    """`[B, K]` ids, those below 0 being none → `[B, C]` of False and True.

    >>> several_hot(torch.tensor([[2, 0], [-1, -1]]), 3).tolist()
    [[True, False, True], [False, False, False]]
    """
    hot = torch.zeros(len(targets), n_labels + 1, dtype=torch.bool, device=targets.device)
    hot.scatter_(1, targets.where(targets >= 0, n_labels), True)
    return hot[:, :n_labels]
