"""Output layers for labels: scores, losses and class weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.metrics.multi_label import (
    DEFAULT_THRESHOLD,
)
from unrolled.shapes import Float


@dataclass(frozen=True)
class SoftTargets:
    """What a teacher says of a batch.

    Args:
        probabilities: `[B, C]`, the teacher's.
        is_labelled: `[B]`, whether a row has labels, too.
        weight: w, share of the teacher in the loss.
        temperature: T.
    """

    probabilities: Tensor
    is_labelled: Tensor
    weight: float
    temperature: float

    def to(self, device: torch.device | str) -> SoftTargets:
        """The same on another device."""
        probabilities, is_labelled = self.probabilities.to(device), self.is_labelled.to(device)
        return SoftTargets(probabilities, is_labelled, self.weight, self.temperature)


class LabelHead(nn.Module):
    """Label scores from `[B, D]`: one of C classes (softmax), or yes or no for each label (sigmoid).

    Attributes:
        class_weights: `[C]`, the weight of each class in the training loss.
        thresholds: `[C]`, the probability from which a label is predicted in multi-label classification.

    Args:
        scorer: `[B, D]` → `[B, C]`, unnormalised scores.
        n_labels: C.
        multi_label: whether a row may have several labels, or none.
        label_smoothing: share of the target probability that is spread evenly over all classes; with
            `multi_label`, over yes and no for each label.

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
        # float64: rounded to float32, the midpoint between two neighbours could be the lower one.
        thresholds = torch.full((n_labels,), DEFAULT_THRESHOLD, dtype=torch.float64)
        self.register_buffer("thresholds", thresholds)

    def logits(self, hidden: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Compute unnormalised scores, in at least float32."""
        logits: Tensor = self.scorer(hidden)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def probabilities(self, hidden: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Compute the probability of each label; unless `multi_label`, they sum to 1."""
        logits = self.logits(hidden)
        return logits.sigmoid() if self.multi_label else logits.softmax(1)

    def loss(self, hidden: Float[Tensor, "B D"], targets: Tensor) -> tuple[Tensor, int]:
        """The training loss: weighted by class, with label smoothing; in nats, summed over the rows."""
        return self._loss(hidden, targets, self.class_weights, self.label_smoothing)

    def distillation_loss(
        self, hidden: Float[Tensor, "B D"], targets: Tensor, soft: SoftTargets
    ) -> tuple[Tensor, int]:
        """The training loss with a teacher (Hinton et al. 2015, section 2), summed over the rows.

        With logits z, the teacher's probabilities p, and q its probabilities at temperature T, which are
        in proportion to p^(1/T), a row has the loss

            w T² H(q, softmax(z / T)) + (1 − w) · loss of its labels

        and one without labels only the first term. Its gradient is w T (softmax(z / T) − q) and that of
        the labels; T² keeps its size for any T. With `multi_label`, each label is a decision with a
        sigmoid and logits log p / (1 − p) of the teacher.

        Args:
            hidden: as for `loss`.
            targets: as for `loss`; ignored where there are no labels.
            soft: what the teacher says.
        """
        logits_BC, T = self.logits(hidden), soft.temperature
        p_BC = soft.probabilities.to(logits_BC)
        if self.multi_label:
            q_BC = torch.logit(p_BC, eps=1e-6).div(T).sigmoid()
            total = F.binary_cross_entropy_with_logits(logits_BC / T, q_BC, reduction="sum")
        else:
            q_BC = p_BC.log().div(T).softmax(1)
            total = F.cross_entropy(logits_BC / T, q_BC, reduction="sum")
        total = soft.weight * T**2 * total
        if soft.weight < 1 and soft.is_labelled.any():
            of_labels, _ = self.loss(hidden[soft.is_labelled], targets[soft.is_labelled])
            total = total + (1 - soft.weight) * of_labels
        return total, len(hidden)

    def plain_loss(self, hidden: Float[Tensor, "B D"], targets: Tensor) -> tuple[Tensor, int]:
        """The loss without class weights and label smoothing."""
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
        gold_BC = several_hot(targets, logits_BC.shape[1]).to(logits_BC)
        gold_BC = (1 - smoothing) * gold_BC + smoothing / 2
        total = F.binary_cross_entropy_with_logits(
            logits_BC, gold_BC, pos_weight=weights, reduction="sum"
        )
        return total, len(targets)


def linear_scorer(input_size: int, n_labels: int) -> nn.Linear:
    """A linear layer with Glorot-uniform weights and zero biases, so no label is preferred at first."""
    layer = nn.Linear(input_size, n_labels)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def several_hot(targets: Tensor, n_labels: int) -> Tensor:
    """Convert label ids `[B, K]`, where ids below 0 stand for none, to booleans `[B, C]` (multi-hot).

    >>> several_hot(torch.tensor([[2, 0], [-1, -1]]), 3).tolist()
    [[True, False, True], [False, False, False]]
    """
    hot = torch.zeros(len(targets), n_labels + 1, dtype=torch.bool, device=targets.device)
    hot.scatter_(1, targets.where(targets >= 0, n_labels), True)
    return hot[:, :n_labels]
