"""Generate whole sentences with a model that predicts one token at a time: beam, greedy, sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.types import Hypothesis, StepModel, StepState, length_penalty

if TYPE_CHECKING:
    from unrolled.decoding.search import decode

__all__ = ["DecodingConfig", "Hypothesis", "StepModel", "StepState", "decode", "length_penalty"]


def __getattr__(name: str) -> Any:
    # Imported late because it imports torch, and reading a recipe only needs the dataclasses.
    if name == "decode":
        from unrolled.decoding.search import decode

        return decode
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
