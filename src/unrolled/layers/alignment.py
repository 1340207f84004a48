"""What two texts have in common: words, and the difference and product of their encodings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unrolled.shapes import Float, Padded
from unrolled.text.config import SPECIALS

PairFeature = Literal["overlap", "difference", "product"]
"""A feature of a pair of texts; see `unrolled.tasks.pair.PairConfig`."""


def in_common(first: Padded, second: Padded) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B T"]]:
    """1 for each token that also occurs in the other text of its row, 0 for all others and in padding.

    The binary "exact match" of Chen, Fisch, Weston & Bordes 2017, "Reading Wikipedia to answer
    open-domain questions", section 3.2. Unknown words are in common with nothing.

    Args:
        first: `[B, S]` ids.
        second: `[B, T]` ids.

    >>> first, second = Padded.from_rows([[7, 4, 5], [1]]), Padded.from_rows([[5, 6, 7], [1, 4]])
    >>> [part.tolist() for part in in_common(first, second)]
    [[[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]
    """
    is_there = [text.mask & (text.values >= len(SPECIALS)) for text in (first, second)]
    same_BST = first.values.unsqueeze(2) == second.values.unsqueeze(1)
    same_BST &= is_there[0].unsqueeze(2) & is_there[1].unsqueeze(1)
    return same_BST.any(2).float(), same_BST.any(1).float()


class MatchingEncoder(nn.Module):
    """An encoder of two texts with features of the encodings of both behind its vector.

    Args:
        encoder: an encoder of `layers.conditional` with `encodings`.
        features: "difference", "product", or both.

    >>> from unrolled.layers.conditional import IndependentEncoder
    >>> encoder = MatchingEncoder(IndependentEncoder("lstm", 3, 5), ("difference", "product"))
    >>> first = Padded(torch.randn(2, 7, 3), torch.tensor([7, 4]))
    >>> encoder(first, first)[0].shape, encoder.output_size
    (torch.Size([2, 20]), 20)
    """

    def __init__(self, encoder: Any, features: Sequence[PairFeature]) -> None:
        super().__init__()
        self.encoder = encoder
        self.features = tuple(name for name in features if name != "overlap")
        self.output_size = encoder.output_size + len(set(self.features)) * encoder.encoding_size

    def forward(self, first: Padded, second: Padded) -> tuple[Tensor, Tensor | None]:
        """The vector of each pair and its features; attention weights as for the encoder."""
        values_BD, attention, first_BH, second_BH = self.encoder.encodings(first, second)
        return matched(values_BD, first_BH, second_BH, self.features), attention


def matched(
    values_BD: Float[Tensor, "B D"],
    first_BH: Float[Tensor, "B H"],
    second_BH: Float[Tensor, "B H"],
    features: Sequence[PairFeature],
) -> Float[Tensor, "B F"]:
    """Put |u − v| and u ∘ v of the encodings u and v of two texts behind the vector of the pair.

    The heuristics of Mou et al. 2016, "Natural language inference by tree-based convolution and heuristic
    matching", section 3.3; the difference is absolute, as in Conneau et al. 2017.

    >>> u, v = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.5]])
    >>> matched(torch.zeros(1, 1), u, v, ("difference", "product")).tolist()
    [[0.0, 2.0, 1.5, 3.0, 1.0]]
    """
    parts = [values_BD]
    if "difference" in features:
        parts.append((first_BH - second_BH).abs())
    if "product" in features:
        parts.append(first_BH * second_BH)
    return torch.cat(parts, dim=1)
