"""Greedy decoding: the most probable token at each step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from unrolled.decoding.independent import follow
from unrolled.decoding.types import Hypothesis, StepModel, StepState


def greedy(
    step_model: StepModel,
    state: StepState,
    limits: Sequence[int],
    *,
    alpha: float,
    bos_id: int,
    eos_id: int,
    barred: Tensor,
    with_attention: bool = False,
) -> list[list[Hypothesis]]:
    """Return one hypothesis per sentence; arguments as in `follow`."""
    return follow(
        step_model,
        state,
        limits,
        lambda log_probs_BQV, step, sentences: log_probs_BQV.argmax(2),
        1,
        alpha=alpha,
        bos_id=bos_id,
        eos_id=eos_id,
        barred=barred,
        with_attention=with_attention,
    )
