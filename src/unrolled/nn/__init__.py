"""`RNN`, `LSTM` and `GRU` for rows of different lengths; all other names are those of `torch.nn`.

    from unrolled import nn

    encoder = nn.LSTM(256, 512, batch_first=True, bidirectional=True, forget_bias=1.0)
    y, (h, c) = encoder(x, lengths=lengths)

The three are drop-in replacements for those of `torch.nn`: same constructor, parameters, state dict,
outputs and errors. They add `lengths=`, two ways to initialise the recurrent weights, and the choice of
implementation of `unrolled.ops`.

`Recurrent` is such a layer for any cell of `unrolled.ops.cells`, and `layer_of` returns the class for a
cell. `from_torch(model)` replaces the layers of `torch.nn` by ours; `to_torch(model)` does the opposite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from unrolled.nn import torch_names
from unrolled.nn.layers import (
    GRU,
    LSTM,
    RNN,
    Recurrent,
    RecurrentLayers,
    from_torch,
    layer_of,
    to_torch,
)

if TYPE_CHECKING:
    from torch.nn import *  # type: ignore[assignment]  # noqa: F403

torch_names.install()

_OURS = ("GRU", "LSTM", "RNN")

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Recurrent",
    "RecurrentLayers",
    "from_torch",
    "layer_of",
    "to_torch",
    *(name for name in dir(torch.nn) if not name.startswith("_") and name not in _OURS),
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # `__path__` and the like must not come from `torch.nn`
        raise AttributeError(f"module 'unrolled.nn' has no attribute '{name}'")
    return getattr(torch.nn, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
