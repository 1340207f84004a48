"""The types that every implementation takes and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from unrolled.shapes import Float

Kind: TypeAlias = str
"""The name of a cell: a key of `unrolled.ops.cells.CELLS`."""

# `(h_BH,)`, and for the LSTM `(h_BH, c_BH)`.
State: TypeAlias = tuple[Tensor, ...]


@dataclass(frozen=True)
class Weights:
    """The weights of one layer in one direction, with the layout and names of `torch.nn`.

    Args:
        w_ih: `[G·H, D]`, applied to the input; the gates are stacked along the rows.
        w_hh: `[G·H, H]`, applied to the hidden state.
        b_ih: `[G·H]`, or None.
        b_hh: `[G·H]`, or None; both biases or neither.

    Raises:
        ValueError: only one of the two biases is given.

    >>> import torch
    >>> weights = Weights(torch.zeros(4 * 3, 5), torch.zeros(4 * 3, 3))
    >>> weights.hidden_size, weights.input_size, weights.b_ih is None
    (3, 5, True)
    """

    w_ih: Float[Tensor, "GH D"]
    w_hh: Float[Tensor, "GH H"]
    b_ih: Float[Tensor, " GH"] | None = None
    b_hh: Float[Tensor, " GH"] | None = None

    def __post_init__(self) -> None:
        if (self.b_ih is None) != (self.b_hh is None):
            given, absent = ("b_ih", "b_hh") if self.b_hh is None else ("b_hh", "b_ih")
            raise ValueError(f"{given} is given and {absent} is None: pass both biases or neither")

    @property
    def input_size(self) -> int:
        """D, the width of the input."""
        return self.w_ih.shape[1]

    @property
    def hidden_size(self) -> int:
        """H, the width of the hidden state."""
        return self.w_hh.shape[1]

    @property
    def tensors(self) -> list[Tensor]:
        """The two or four tensors, in `torch.nn`'s order."""
        return [w for w in (self.w_ih, self.w_hh, self.b_ih, self.b_hh) if w is not None]
