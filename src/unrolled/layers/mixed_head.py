"""A head whose scores are those of the network and those of counted n-grams, mixed."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.layers.label_head import LabelHead
from unrolled.metrics.multi_label import DEFAULT_THRESHOLD
from unrolled.shapes import Float

PARTS = ("network", "counts")
"""The parts of a mixed head, in order."""


class MixedHead(LabelHead):
    """A `LabelHead` that mixes the network's logits z with scores s of counted n-grams.

        logits = (1 − λ) z + λ s

    This is a weighted geometric mean of the two distributions, of which λ is chosen on validation data,
    as Mesnil, Mikolov, Ranzato & Bengio 2015, "Ensemble of generative and discriminative techniques for
    sentiment analysis of movie reviews", section 3, do for recurrent models and NB-SVM. The network is
    trained alone; λ is 0 until it is chosen.

    The scores stand behind the hidden vector: `[B, D + C]`. From a vector without them, `[B, D]`, the
    logits are those of the network alone.

    Attributes:
        share: λ, 0…1.
        counted_bias: `[C]`, the scores of a text without any counted n-gram.
        part_thresholds: `[2, C]`, thresholds of each part alone in multi-label classification.

    Args:
        scorer, n_labels, multi_label, label_smoothing: as for `LabelHead`.
        hidden_size: D.
        counted_bias: `[C]`; zeros if not given.

    >>> head = MixedHead(nn.Linear(3, 2), 2, hidden_size=3)
    >>> head.probabilities(torch.zeros(5, 3)).shape, head.probabilities(torch.zeros(5, 3 + 2)).shape
    (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    share: Tensor
    counted_bias: Tensor
    part_thresholds: Tensor

    def __init__(
        self,
        scorer: nn.Module,
        n_labels: int,
        *,
        hidden_size: int,
        counted_bias: NDArray[np.float64] | None = None,
        multi_label: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(scorer, n_labels, multi_label=multi_label, label_smoothing=label_smoothing)
        self.hidden_size = hidden_size
        self.register_buffer("share", torch.zeros((), dtype=torch.float64))
        bias = np.zeros(n_labels) if counted_bias is None else counted_bias
        self.register_buffer("counted_bias", torch.tensor(bias, dtype=torch.float64))
        thresholds = torch.full((2, n_labels), DEFAULT_THRESHOLD, dtype=torch.float64)
        self.register_buffer("part_thresholds", thresholds)

    def logits(self, hidden: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Compute the mixed scores, or those of the network alone; in at least float32."""
        if hidden.shape[1] == self.hidden_size:
            return super().logits(hidden)
        network_BC, counted_BC = self.parts(hidden)
        share = self.share.to(network_BC)
        return (1 - share) * network_BC + share * counted_BC

    def parts(
        self, hidden: Float[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """The scores of the network and those of the n-grams."""
        network_BC = super().logits(hidden[:, : self.hidden_size])
        return network_BC, hidden[:, self.hidden_size :].to(network_BC)


@runtime_checkable
class HeadSettings(Protocol):
    """The settings of a `[model]` section that determine its head.

    Args:
        ngrams: length of the longest n-grams of tokens that are counted; 0 for none.
        ngram_characters: the same for n-grams of characters.
        label_smoothing: see `LabelHead`.
    """

    @property
    def ngrams(self) -> int: ...

    @property
    def ngram_characters(self) -> int: ...

    @property
    def label_smoothing(self) -> float: ...


def counts(config: HeadSettings) -> bool:
    """Whether n-grams are counted beside the network."""
    return bool(config.ngrams or config.ngram_characters)


def label_head(
    config: HeadSettings,
    scorer: nn.Module,
    hidden_size: int,
    n_labels: int,
    *,
    multi_label: bool,
    counted_bias: NDArray[np.float64] | None = None,
) -> LabelHead:
    """The head that the settings ask for; the other arguments are those of `MixedHead`."""
    smoothing = config.label_smoothing
    if not counts(config):
        return LabelHead(scorer, n_labels, multi_label=multi_label, label_smoothing=smoothing)
    return MixedHead(
        scorer,
        n_labels,
        hidden_size=hidden_size,
        counted_bias=counted_bias,
        multi_label=multi_label,
        label_smoothing=smoothing,
    )


def best_share(
    network_NC: NDArray[np.float64],
    counted_NC: NDArray[np.float64],
    truth_NC: NDArray[np.bool_],
    multi_label: bool = False,
) -> float:
    """The λ of `MixedHead` with the lowest loss on labelled rows, of 0, 0.02, 0.04 … 1.

    The loss, −ln p of the labels, is convex in λ. Of several equally good ones, the one nearest to 1/2
    is chosen.

    Args:
        network_NC: logits of the network.
        counted_NC: scores of the n-grams.
        truth_NC: whether each row has each label.
        multi_label: whether a row may have several labels, or none.

    >>> right, wrong, truth = np.array([[0.0, 4.0]]), np.array([[4.0, 0.0]]), np.array([[False, True]])
    >>> best_share(right, wrong, truth), best_share(wrong, right, truth)
    (0.0, 1.0)
    """
    shares = sorted((number / 50 for number in range(51)), key=lambda share: abs(share - 0.5))

    def loss(share: float) -> float:
        logits_NC = (1 - share) * network_NC + share * counted_NC
        if multi_label:
            return float(np.logaddexp(0, np.where(truth_NC, -logits_NC, logits_NC)).sum())
        return float((np.logaddexp.reduce(logits_NC, axis=1) - logits_NC[truth_NC]).sum())

    return min(shares, key=loss)
