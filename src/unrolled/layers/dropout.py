"""Dropout for embeddings and for whole sequences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.config import require
from unrolled.shapes import Float, Int


class LockedDropout(torch.nn.Module):
    """Dropout with one mask per row, the same at every time step.

    A dropped unit stays dropped for the whole window, so it cannot be inferred from neighbouring steps.
    Gal & Ghahramani 2016, section 4; Merity et al. 2018, section 4.1. The other units are divided by
    1 − rate. Has no effect in evaluation mode.

    Args:
        rate: fraction of the units that are dropped, at least 0 and below 1.

    Raises:
        ConfigError: the rate is out of range.

    >>> dropped = LockedDropout(0.5)(torch.ones(2, 3, 5))
    >>> bool((dropped == dropped[:, :1]).all()), dropped.unique().tolist()
    (True, [0.0, 2.0])
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = checked_rate(rate, "rate")

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Apply one mask per row to x."""
        if not self.training or not self.rate:
            return x
        kept = x.new_empty(x.shape[0], 1, x.shape[2]).bernoulli_(1 - self.rate)
        return x * kept.div_(1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def dropped_embedding(
    ids: Int[Tensor, "*batch"],
    weight: Float[Tensor, "V E"],
    rate: float,
    training: bool = True,
    sparse: bool = False,
    padding_idx: int | None = None,
) -> Float[Tensor, "*batch E"]:
    """Look up embeddings with word dropout: a dropped word is dropped at all of its positions.

    One mask over the vocabulary is drawn per call. The embeddings of dropped words are zeros, so the
    model learns not to depend on single words; the others are divided by 1 − rate. Gal & Ghahramani 2016,
    section 4.2; Merity et al. 2018, section 4.3.

    Args:
        ids: ids of any shape.
        weight: the embedding table.
        rate: fraction of the words that are dropped, at least 0 and below 1.
        training: if False, nothing is dropped.
        sparse: whether the gradient of the table only has the rows of the ids that occur.
        padding_idx: an id whose row gets no gradient.

    Raises:
        ConfigError: the rate is out of range.

    >>> embedded = dropped_embedding(torch.tensor([1, 0, 1]), torch.ones(2, 3), 0.5)
    >>> torch.equal(embedded[0], embedded[2])
    True
    """
    checked_rate(rate, "rate")
    embedded = F.embedding(ids, weight, padding_idx, sparse=sparse)
    if not training or not rate:
        return embedded
    kept = weight.new_empty(len(weight)).bernoulli_(1 - rate).div_(1 - rate)
    return embedded * kept[ids].unsqueeze(-1)


def checked_rate(rate: float, name: str) -> float:
    require(0 <= rate < 1, name, "at least 0 and below 1", rate)
    return rate
