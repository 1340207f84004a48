"""The precision of the recurrent weights of single steps."""

from __future__ import annotations

import torch

from unrolled.config import require
from unrolled.layers.decoder import AttentionalDecoder
from unrolled.layers.recurrent_stack import RecurrentStack
from unrolled.ops.stepping import PRECISIONS


def set_precision(model: torch.nn.Module, precision: str) -> None:
    """Let the single steps of a model's recurrent layers keep their weights as `precision`.

    Raises:
        ConfigError: an unknown precision.
    """
    wanted = f"one of {', '.join(PRECISIONS)}"
    require(precision in PRECISIONS, "precision", wanted, precision)
    for module in model.modules():
        if isinstance(module, (AttentionalDecoder, RecurrentStack)):
            module.precision = precision


def recurrent_precision(model: torch.nn.Module) -> str:
    """What the single steps of a model keep their recurrent weights as."""
    for module in model.modules():
        if isinstance(module, (AttentionalDecoder, RecurrentStack)):
            return module.precision
    return "float32"
