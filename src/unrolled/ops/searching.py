"""Greedy and beam search with a decoder in one call of the native kernels, on tensors.

In a search step by step, most of the time goes into some fifty operations of torch per step, each on a
few rows. What is searched, and how, is in `unrolled.searching`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unrolled import searching
from unrolled.ops import native
from unrolled.ops.access import dense
from unrolled.ops.cells import CELLS
from unrolled.ops.dispatch import pinned
from unrolled.ops.types import Kind
from unrolled.searching import Cell, DecoderWeights, Found, Rules, Start


def kernel_cell(kind: Kind) -> Cell:
    """What the kernels know of a cell; the number −1 for one without a kernel."""
    cell = CELLS[kind]
    return Cell(-1 if cell.kernel is None else cell.kernel, cell.n_gates, cell.n_states)


def why_not(weights: DecoderWeights, start: Start) -> str | None:
    """Why the kernels cannot run this search of tensors, as one sentence, else None."""
    if pinned() not in (None, "native"):
        return f"'{pinned()}' is pinned"
    if native.kernels is not None and weights.cell.kernel < 0:
        return "there is no kernel for this cell"
    if (reason := native.why_not_with([*weights.arrays, *start.arrays])) is not None:
        return reason
    if any(0 in tensor.shape for tensor in (*weights.arrays, *start.arrays)):
        return "the kernels need at least one number in each weight and state"
    if start.lengths is not None and int(start.lengths.min()) < 1:
        return "a sentence has no steps to attend to"
    return None


def search(weights: DecoderWeights, start: Start, rules: Rules) -> list[list[Found] | None]:
    """Find the hypotheses of each sentence, best first; `why_not` must be None.

    None for a sentence that only the search step by step can answer. The attention of the others is a
    tensor.

    Raises:
        ValueError: shapes do not match, or an id or a number of hypotheses is out of range.
        UnavailableError: the kernels cannot run this; see `why_not`.
    """
    found = searching.search(
        weights.converted(_array), start.converted(_array), rules, torch.get_num_threads()
    )
    return [None if each is None else [_as_tensor(one) for one in each] for each in found]


def _as_tensor(found: Found) -> Found:
    if found.attention is None:
        return found
    return replace(found, attention=torch.from_numpy(found.attention))


def _array(tensor: Tensor) -> object:
    """The array of NumPy that shares the memory of a tensor."""
    if not tensor.is_floating_point():
        return tensor.cpu().numpy()
    return dense(tensor.detach(), torch.float32).numpy()
