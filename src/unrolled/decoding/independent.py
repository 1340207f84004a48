"""Extend paths that do not compete with each other: the loop shared by greedy decoding and sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unrolled.decoding.backpointers import Ending, History
from unrolled.decoding.constrained import allowed_next
from unrolled.decoding.types import Hypothesis, StepModel, StepState

Choose = Callable[[Tensor, int, list[int]], Tensor]
"""(log-probabilities `[B, Q, V]`, step, the sentence of each row) → tokens `[B, Q]`."""


def log_probabilities(
    logits: Tensor, barred: Tensor, eos_id: int, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Log-softmax with the barred tokens set to −∞, and the log-probability of the end, `[B, Q]`.

    Tokens that a mask does not allow are −∞ too, including the end. The other tokens are not
    renormalised: a score stays the model's own log-probability. Half precision is converted to float32
    first.
    """
    dtype = torch.float32 if logits.dtype in (torch.float16, torch.bfloat16) else logits.dtype
    log_probs_BQV = torch.log_softmax(logits, 2, dtype=dtype)
    if allowed is not None:
        log_probs_BQV = log_probs_BQV.masked_fill(~allowed, -torch.inf)
    ends_BQ = log_probs_BQV[:, :, eos_id].clone()
    return log_probs_BQV.index_fill_(2, barred, -torch.inf), ends_BQ


def follow(
    step_model: StepModel,
    state: StepState,
    limits: Sequence[int],
    choose: Choose,
    n_paths: int,
    *,
    alpha: float,
    bos_id: int,
    eos_id: int,
    barred: Tensor,
    with_attention: bool,
) -> list[list[Hypothesis]]:
    """Extend `n_paths` hypotheses per sentence with the tokens that `choose` returns, to end or limit.

    Limits are at least 1; `alpha` is that of the length penalty; `barred` holds the ids that are never
    chosen.
    """
    history = History(list(range(len(limits))), with_attention)
    endings: list[list[Ending]] = [[] for _ in limits]
    tokens_BQ = torch.full((len(limits), 1), bos_id, device=barred.device)
    totals_BQ: Tensor | float = 0.0
    open_BQ = torch.ones(len(limits), n_paths, dtype=torch.bool, device=barred.device)
    same_BQ = torch.arange(n_paths, device=barred.device).expand(len(limits), -1)
    step = 0
    while history.alive:
        logits, state, attention = step_model.step(tokens_BQ, state)
        log_probs_BQV, _ = log_probabilities(logits, barred, eos_id, allowed_next(state))
        if step == 0 and n_paths > 1:
            state = state.reorder(torch.zeros_like(same_BQ))
            log_probs_BQV = log_probs_BQV.expand(-1, n_paths, -1)
            attention = None if attention is None else attention.expand(-1, n_paths, -1)
        tokens_BQ = choose(log_probs_BQV, step, history.alive)
        gained_BQ = log_probs_BQV.gather(2, tokens_BQ.unsqueeze(2)).squeeze(2)
        totals_BQ = totals_BQ + gained_BQ.masked_fill_(~open_BQ, 0.0)
        history.append(tokens_BQ, same_BQ, attention)
        ending_BQ = open_BQ & (tokens_BQ == eos_id)
        open_BQ = open_BQ & ~ending_BQ

        staying = []
        is_ending, is_open = ending_BQ.tolist(), open_BQ.tolist()
        for row, sentence in enumerate(history.alive):
            cut = step + 1 == limits[sentence]
            for slot in range(n_paths):
                if is_ending[row][slot] or (cut and is_open[row][slot]):
                    total = totals_BQ[row, slot].item()
                    endings[sentence].append(
                        Ending.at(step, slot, total, alpha, is_ending[row][slot])
                    )
            if not cut and any(is_open[row]):
                staying.append(row)
        if len(staying) < len(history.alive):
            history.keep(staying)
            if staying:
                kept = torch.tensor(staying, device=barred.device)
                state = state.keep(kept)
                tokens_BQ, totals_BQ = tokens_BQ[kept], totals_BQ[kept]
                open_BQ, same_BQ = open_BQ[kept], same_BQ[kept]
        step += 1
    return history.hypotheses([sorted(ends, key=lambda end: -end.score) for ends in endings])
