"""From a model that can go one token further to whole sentences: beam search, greedy, sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.types import Hypothesis, StepModel, StepState, length_penalty

if TYPE_CHECKING:
    from unrolled.decoding.search import decode

__all__ = ["DecodingConfig", "Hypothesis", "StepModel", "StepState", "decode", "length_penalty"]


def __getattr__(name: str) -> Any:
    # Late, because it brings torch: reading a recipe needs the records only.
    if name == "decode":
        from unrolled.decoding.search import decode

        return decode
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
