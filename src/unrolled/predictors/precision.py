"""The precision of the recurrent weights in step-by-step inference."""

from __future__ import annotations

import torch

from unrolled.config import require
from unrolled.layers.decoder import AttentionalDecoder
from unrolled.layers.recurrent_stack import RecurrentStack
from unrolled.searching import PRECISIONS


def set_precision(model: torch.nn.Module, precision: str) -> None:
    """Set the precision of a model's recurrent weights in step-by-step inference.

    Raises:
        ConfigError: the precision is unknown.
    """
    wanted = f"one of {', '.join(PRECISIONS)}"
    require(precision in PRECISIONS, "precision", wanted, precision)
    for module in model.modules():
        if isinstance(module, (AttentionalDecoder, RecurrentStack)):
            module.precision = precision


def recurrent_precision(model: torch.nn.Module) -> str:
    """The precision of a model's recurrent weights in step-by-step inference."""
    for module in model.modules():
        if isinstance(module, (AttentionalDecoder, RecurrentStack)):
            return module.precision
    return "float32"
