"""The steps of a translator, and its search in one call of the native kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.types import Hypothesis
from unrolled.layers.decoder import DecoderState, StepWeights
from unrolled.layers.decoder_search import decoder_weights, start_of
from unrolled.layers.head import SoftmaxHead
from unrolled.layers.renewal import renewed
from unrolled.ops.searching import search, why_not
from unrolled.searching import Rules
from unrolled.shapes import Float, Int


class TranslatorSteps:
    """A `StepModel` that can also search; its weights are fixed by the first step or search.

    Args:
        model: a `Translator`.
        scale: the factor of its target embedding.
    """

    def __init__(self, model: Any, scale: float) -> None:
        self.model, self.scale = model, scale

    @cached_property
    def weights(self) -> StepWeights:
        """The decoder's weights, rearranged once."""
        arranged: StepWeights = self.model.decoder.arrange()
        return arranged

    def step(
        self, tokens: Int[Tensor, "B Q"], state: DecoderState
    ) -> tuple[Float[Tensor, "B Q V"], DecoderState, Float[Tensor, "B Q S"] | None]:
        """See `Translator.step`."""
        stepped: tuple[Tensor, DecoderState, Tensor | None] = self.model.step(
            tokens, state, self.weights
        )
        return stepped

    def search(
        self,
        state: DecoderState,
        limits: Sequence[int],
        config: DecodingConfig,
        bos_id: int,
        eos_id: int,
        barred: Sequence[int],
        with_attention: bool = False,
    ) -> list[list[Hypothesis] | None] | None:
        """See `decoding.types.SearchingModel`."""
        start = start_of(state)
        if start is None or config.method == "sample" or self._why_step_by_step() is not None:
            return None
        model = self.model
        embedding = renewed(model.target_embedding).weight
        weights = decoder_weights(model.decoder, model.head, embedding, self.scale)
        if why_not(weights, start) is not None:
            return None
        beam_size = 1 if config.method == "greedy" else config.beam_size
        rules = Rules(
            limits=limits,
            alpha=config.length_penalty,
            beam_size=beam_size,
            n_best=config.n_best,
            begin=bos_id,
            end=eos_id,
            barred=barred,
            with_attention=with_attention,
        )
        return [
            None
            if found is None
            else [Hypothesis(e.words, e.score, e.log_prob, e.attention, e.finished) for e in found]
            for found in search(weights, start, rules)
        ]

    def _why_step_by_step(self) -> str | None:
        """Why only `step` computes what the model does, as one sentence, else None."""
        model = self.model
        if type(model.head) is not SoftmaxHead:
            return f"the kernels have no {type(model.head).__name__}"
        if model.training:
            return "the model is in training mode, with dropout"
        parts = (model, model.target_embedding, *model.decoder.modules(), model.head)
        if any(part._forward_hooks or part._forward_pre_hooks for part in parts):
            return "hooks would not see the steps"
        return None
