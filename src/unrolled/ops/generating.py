"""The weights and the state of a language model in torch as `unrolled.generating` takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.generating import LanguageWeights
from unrolled.ops import native
from unrolled.ops.access import dense
from unrolled.ops.dispatch import pinned

Layers = tuple[tuple[Tensor, ...], ...]


def why_not(weights: LanguageWeights, state: Layers) -> str | None:
    """Why the kernels cannot take the steps of a model of tensors, as one sentence, else None."""
    if pinned() not in (None, "native"):
        return f"'{pinned()}' is pinned"
    if native.kernels is not None and weights.cell.kernel < 0:
        return "there is no kernel for this cell"
    tensors = [*weights.arrays, *(part for layer in state for part in layer)]
    return native.why_not_with(tensors)


def arrays_of(weights: LanguageWeights) -> LanguageWeights:
    """The same weights as arrays of NumPy, which share memory with dense tensors of float32."""
    return weights.converted(_array)


def row_of(state: Layers) -> Any:
    """A state of one row as `generating.LanguageKernels` takes it, `[1, width]`."""
    return np.concatenate([_array(part) for layer in state for part in layer], axis=1)


def _array(tensor: Tensor) -> Any:
    return dense(tensor.detach(), torch.float32).numpy()
