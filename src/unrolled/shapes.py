"""The dictionary of dimensions, and the one container that crosses every boundary.

| letter | dimension                | letter | dimension                     |
|--------|--------------------------|--------|-------------------------------|
| B      | batch                    | V      | vocabulary                    |
| T      | time                     | C      | classes                       |
| S      | source time              | G      | gates (1, 3 or 4)             |
| Q      | query time               | L      | layers                        |
| E      | embedding width          | N      | directions (1 or 2)           |
| H      | hidden width, one direction | D   | any input width               |

A local variable carries its shape as a suffix: `x_BTE` is [batch, time, embedding].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ImportError:
        # Shapes in signatures are checked by the tests, which need jaxtyping; whoever only uses the
        # package does without it, and reads them as prose.
        class Float:
            """`Float[Tensor, "B T"]` is a tensor."""

            def __class_getitem__(cls, item):
                return item[0]

        Bool = Int = Float

__all__ = ["Bool", "Float", "Int", "Padded"]


@dataclass(frozen=True)
class Padded:
    """Rows of different lengths in one rectangle; batch first.

    Args:
        values: `[B, T]` ids or `[B, T, D]` numbers. What lies past a row's length is padding and
            must never be visible in any result, NaN included.
        lengths: `[B]`, int64, on the CPU, each in 0…T.

    Raises:
        ValueError: the lengths are not int64 on the CPU, not one per row, or out of range.

    >>> batch = Padded.from_rows([[5, 6, 7], [8]])
    >>> batch.values.tolist(), batch.lengths.tolist()
    ([[5, 6, 7], [8, 0, 0]], [3, 1])
    >>> batch.mask.tolist()
    [[True, True, True], [True, False, False]]
    """

    values: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        values, lengths = self.values, self.lengths
        if values.ndim < 2:
            raise ValueError(f"values must be [B, T] or [B, T, D], got shape {tuple(values.shape)}")
        if lengths.dtype != torch.int64 or lengths.device.type != "cpu":
            raise ValueError(
                f"lengths must be int64 on the CPU, got {lengths.dtype} on {lengths.device}"
            )
        if lengths.shape != values.shape[:1]:
            raise ValueError(
                f"one length per row: {tuple(lengths.shape)} lengths for {values.shape[0]} rows"
            )
        if len(lengths) and not (int(lengths.min()) >= 0 and int(lengths.max()) <= values.shape[1]):
            raise ValueError(f"each length must be in 0…{values.shape[1]}, got {lengths.tolist()}")

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]], pad_id: int = 0) -> Padded:
        """Pack lists of ids into a rectangle filled up with `pad_id`."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64, device="cpu")
        width = int(lengths.max()) if len(rows) else 0
        filled = [list(row) + [pad_id] * (width - len(row)) for row in rows]
        values = torch.tensor(filled, dtype=torch.int64).reshape(len(rows), width)
        return cls(values, lengths)

    @property
    def mask(self) -> Bool[Tensor, "B T"]:
        """True where a value is real, on the device of the values."""
        steps = torch.arange(self.values.shape[1], device=self.lengths.device)
        mask = steps < self.lengths.unsqueeze(1)
        return mask.to(self.values.device, non_blocking=True)

    def to(self, device: torch.device | str) -> Padded:
        """The same rows with their values on `device`; lengths stay on the CPU."""
        return Padded(self.values.to(device, non_blocking=True), self.lengths)
