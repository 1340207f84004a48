"""The position of each real step of a padded batch after packing its rows, longest first.

Packed data is the format of torch's and cuDNN's variable-length cells: the first step of every row,
then the second step of every row that has one, and so on. One index gathers it from the padded batch
and, used the other way, puts results back: this sorts, packs and reverses rows at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.shapes import Int


@dataclass(frozen=True)
class Packing:
    """The packing plan of one batch; rows of length 0 are left out.

    Args:
        order: `[R]`, the non-empty rows, longest first.
        batch_sizes: for each step the number of rows that reach it, on the CPU.
        places: one index per real step into the `[T·B]` rows of the flattened batch.
    """

    order: Int[Tensor, " R"]
    batch_sizes: Int[Tensor, " T"]
    places: Int[Tensor, " N"]

    @classmethod
    def of(cls, lengths: Int[Tensor, " B"], device: torch.device, reverse: bool = False) -> Packing:
        """The plan for rows of these lengths; with `reverse`, each row is read from its own end.

        >>> plan = Packing.of(torch.tensor([1, 0, 2]), torch.device("cpu"))
        >>> plan.order.tolist(), plan.batch_sizes.tolist(), plan.places.tolist()
        ([2, 0], [2, 1], [2, 0, 5])
        """
        order_R = lengths.argsort(descending=True, stable=True)[: int((lengths > 0).sum())]
        sorted_R = lengths[order_R]
        longest = int(sorted_R[0]) if len(sorted_R) else 0
        steps_T1 = torch.arange(longest, device=lengths.device).unsqueeze(1)
        real_TR = steps_T1 < sorted_R
        read_TR = sorted_R - 1 - steps_T1 if reverse else steps_T1.expand_as(real_TR)
        places_N = (read_TR * len(lengths) + order_R)[real_TR]
        return cls(order_R.to(device), real_TR.sum(1), places_N.to(device))

    def gather(self, x: Tensor) -> Tensor:
        """`[T, B, D]` to packed `[N, D]`; padding is not read."""
        return x.flatten(0, 1).index_select(0, self.places)

    def scatter(self, packed: Tensor, n_steps: int, n_rows: int) -> Tensor:
        """Packed `[N, D]` to `[T, B, D]`; padding is zeros."""
        empty = packed.new_zeros(n_steps * n_rows, packed.shape[-1])
        return empty.index_copy(0, self.places, packed).view(n_steps, n_rows, -1)

    def put_back(self, state: Tensor, initial: Tensor) -> Tensor:
        """States `[…, R, H]` to `[…, B, H]`, where an empty row keeps its initial state."""
        return initial.to(state.dtype).index_copy(-2, self.order, state)
