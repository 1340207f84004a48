"""Round the weight matrices of a model to the values that an export in a lower precision can store.

Every row of a matrix is rounded by itself. What a graph does with rows, such as bringing gates into
another order, does not change their rounding, so a graph in a lower precision computes what the rounded
model computes. That is how it is compared: with the rounded model, within the tolerance for float32.
"""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.layers.conditional import Start
from unrolled.layers.crf import LinearChainCRF

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")


def int8_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The integers from −127 to 127 and the scales `[rows]` whose products are nearest to a matrix.

    >>> values, scales = int8_rows(np.array([[0.5, -1.27], [0.0, 0.0]], np.float32))
    >>> values.tolist(), [f"{scale:.2f}" for scale in scales]
    ([[50, -127], [0, 0]], ['0.01', '1.00'])
    """
    largest = np.abs(matrix).max(axis=1)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    values = np.clip(np.rint(matrix / scales[:, None]), -127, 127).astype(np.int8)
    return values, scales


def rounded(model: torch.nn.Module, precision: Precision) -> torch.nn.Module:
    """A copy of a model whose matrices are rounded; the model itself for float32.

    Transition scores and initial states stay as they are, as in graphs.
    """
    if precision == "float32":
        return model
    model = copy.deepcopy(model)
    with torch.no_grad():
        kept = {
            id(parameter)
            for module in model.modules()
            if isinstance(module, (LinearChainCRF, Start))
            for parameter in module.parameters()
        }
        for parameter in dict.fromkeys(model.parameters()):
            if parameter.ndim == 2 and id(parameter) not in kept:
                parameter.copy_(torch.from_numpy(_rounded(parameter.float().numpy(), precision)))
    return model


def _rounded(matrix: NDArray[np.float32], precision: Precision) -> NDArray[np.float32]:
    if precision == "float16":
        return matrix.astype(np.float16).astype(np.float32)
    values, scales = int8_rows(matrix)
    return values * scales[:, None]
