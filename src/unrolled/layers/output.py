"""The result of a model's forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unrolled.shapes import Float


@dataclass(frozen=True)
class Output:
    """The result of a model's forward pass; the head turns `hidden` into a loss or into words.

    Args:
        hidden: `[B, T, H]`, the input of the head.
        state: the state before the next step.
        attention: `[B, T, S]`, or None if the model has no attention.
    """

    hidden: Float[Tensor, "B T H"]
    state: Any
    attention: Float[Tensor, "B T S"] | None
