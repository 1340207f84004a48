"""`decode`: the common entry point of beam search, greedy decoding and sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.beam import beam
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import Constrained, ConstrainedState, TokenMask
from unrolled.decoding.greedy import greedy
from unrolled.decoding.record import is_recording
from unrolled.decoding.sampling import sample
from unrolled.decoding.types import Hypothesis, SearchingModel
from unrolled.shapes import Int


@torch.inference_mode()
def decode(
    step_model: Any,
    state: Any,
    limits: Int[Tensor, " B"],
    config: DecodingConfig,
    bos_id: int,
    eos_id: int,
    with_attention: bool = False,
    *,
    forbidden: Sequence[int] = (),
    keys: Sequence[int] | None = None,
    mask: TokenMask | None = None,
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """Return the hypotheses of each sentence of a batch, best score first.

    The result of a sentence does not depend on the others in the batch. Sentences leave the batch when
    they are done, and the state's per-sentence memory is never repeated per hypothesis.

    Args:
        step_model: a `StepModel`: reads one token per hypothesis.
        state: a `StepState` for the B sentences, one hypothesis each (Q = 1).
        limits: `[B]`, maximum length of each hypothesis in tokens, including the end of sentence. A
            sentence with limit 0 gets one empty, unfinished hypothesis.
        config: the method and its options.
        bos_id: begins each sentence; never chosen.
        eos_id: ends a sentence; not part of a hypothesis's tokens.
        with_attention: whether to return the attention of each hypothesis.
        forbidden: more ids that are never chosen, e.g. padding. The probabilities of the other tokens
            are not renormalised.
        keys: one number ≥ 0 per sentence that distinguishes sentences in sampling, e.g. a hash of
            the source; sentences with equal keys (by default all) draw with the same random numbers.
        mask: which tokens may come next in each of the B sentences; see `decoding.constrained`. Scores
            are not renormalised.
        device: the device of the model.

    Raises:
        ValueError: a limit is negative, or there is not one key per sentence.

    >>> class Counting:  # each token is one more than the last, modulo 6; 0 ends
    ...     def step(self, tokens, state):
    ...         logits = torch.nn.functional.one_hot((tokens + 1) % 6, 6) * 4.0
    ...         return logits, state, None
    >>> class Nothing:
    ...     def reorder(self, hypotheses): return self
    ...     def keep(self, sentences): return self
    >>> limits = torch.tensor([10, 2])
    >>> answers = decode(Counting(), Nothing(), limits, DecodingConfig(), bos_id=2, eos_id=0)
    >>> [(best.tokens, best.finished) for best, in answers]
    [((3, 4, 5), True), ((3, 4), False)]
    """
    max_lengths = [int(limit) for limit in limits]
    if any(limit < 0 for limit in max_lengths):
        raise ValueError(f"a limit must be at least 0, got {min(max_lengths)}")
    if keys is not None and len(keys) != len(max_lengths):
        raise ValueError(
            f"there must be one key per sentence, got {len(keys)} keys for {len(max_lengths)} sentences"
        )
    answers = [[Hypothesis((), 0.0, 0.0, None, False)] for _ in max_lengths]
    if mask is not None:
        step_model, state = Constrained(step_model, eos_id), ConstrainedState(state, mask)
    asked = [sentence for sentence, limit in enumerate(max_lengths) if limit]
    if not asked:
        return answers
    if len(asked) < len(max_lengths):
        state = state.keep(torch.tensor(asked, device=device))
    asked_limits = [max_lengths[sentence] for sentence in asked]
    barred = [bos_id, *forbidden]
    if isinstance(step_model, SearchingModel) and not is_recording():
        searched = step_model.search(
            state, asked_limits, config, bos_id, eos_id, barred, with_attention
        )
        rest = []
        for row, hypotheses in enumerate(searched or [None] * len(asked)):
            if hypotheses is None:
                rest.append(row)
            else:
                answers[asked[row]] = hypotheses
        if not rest:
            return answers
        if len(rest) < len(asked):
            state = state.keep(torch.tensor(rest, device=device))
            asked, asked_limits = [asked[row] for row in rest], [asked_limits[row] for row in rest]
    common: dict[str, Any] = {
        "bos_id": bos_id,
        "eos_id": eos_id,
        "barred": torch.tensor(barred, device=device),
        "with_attention": with_attention,
    }
    if config.method == "sample":
        asked_keys = [0 if keys is None else keys[sentence] for sentence in asked]
        results = sample(step_model, state, asked_limits, config=config, keys=asked_keys, **common)
    elif config.method == "greedy":
        results = greedy(step_model, state, asked_limits, alpha=config.length_penalty, **common)
    else:
        results = beam(step_model, state, asked_limits, config=config, **common)
    for sentence, hypotheses in zip(asked, results, strict=True):
        answers[sentence] = hypotheses
    return answers
