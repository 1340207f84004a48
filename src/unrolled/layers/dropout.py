"""Dropout of embeddings and of whole sequences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.config import require
from unrolled.shapes import Float, Int


class LockedDropout(torch.nn.Module):
    """Dropout with one mask per row, the same at every time step.

    What is dropped stays dropped for the whole window, so that a later step cannot read it off its
    neighbours. Gal & Ghahramani 2016, section 4; Merity et al. 2018, section 4.1. What is kept is
    divided by 1 − rate; in `eval` nothing happens.

    Args:
        rate: share of the units that is dropped, at least 0 and below 1.

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
        """x with the mask of each row."""
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
    """The embeddings of ids, some words dropped wherever they stand; the others over 1 − rate.

    One mask over the vocabulary per call: a dropped word is zeros at each of its places, so the model
    learns not to lean on single words. Gal & Ghahramani 2016, section 4.2; Merity et al. 2018,
    section 4.3.

    Args:
        ids: of any shape.
        weight: the table.
        rate: share of the words that is dropped, at least 0 and below 1.
        training: without it nothing is dropped.
        sparse: whether the table's gradient has only the rows of the ids that occurred.
        padding_idx: an id whose row has no gradient.

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
