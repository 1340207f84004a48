"""The steps of a decoder whose weights are arranged once for many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from unrolled.layers.decoder import DecoderState, StepWeights
from unrolled.shapes import Float, Int


@runtime_checkable
class SteppedModel(Protocol):
    """A decoder whose weights can be arranged for many steps."""

    def step(
        self, tokens: Int[Tensor, "B Q"], state: DecoderState, weights: StepWeights | None = None
    ) -> tuple[Float[Tensor, "B Q V"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """Advance Q hypotheses per sentence by one word."""
        ...


@dataclass(frozen=True)
class FixedSteps:
    """The steps of a model with fixed weights; only valid until the weights change.

    Args:
        model: the model.
        weights: the decoder's weights, rearranged once.
    """

    model: SteppedModel
    weights: StepWeights

    def step(
        self, tokens: Int[Tensor, "B Q"], state: DecoderState
    ) -> tuple[Float[Tensor, "B Q V"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """See `SteppedModel.step`."""
        return self.model.step(tokens, state, self.weights)
