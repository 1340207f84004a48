"""Beam search: the few most probable hypotheses of each sentence, extended together.

At each step a sentence's K live hypotheses propose all their continuations. Of these, counting ends
of sentence, the K most probable are the beam: an end among them finishes its hypothesis. The K most
probable continuations that are not an end stay live.

A sentence is done, and leaves the batch, when

- K hypotheses have finished (the usual rule, an approximation: a longer one might still have scored
  higher; with K = 1 it makes the search equal to greedy decoding), or
- n_best have finished and no live one can enter the n best. This loses nothing: log-probabilities
  only fall, so that what goes on from log-probability s scores at most s / lp(limit), or
- its limit is reached. What is live then is cut off, and scored as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.decoding.history import Ending, History
from unrolled.decoding.paths import log_probabilities
from unrolled.decoding.records import (
    DecodingConfig,
    Hypothesis,
    Stepper,
    StepState,
    length_penalty,
)
from unrolled.shapes import Float, Int

BLOCK = 128
"""Tokens per block in `best_continuations`: a multiple of any vector width: reduces fast."""


def best_continuations(
    log_probs: Float[Tensor, "B Q V"], totals: Float[Tensor, "B Q"], k: int
) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"]]:
    """The k largest `totals[b, q] + log_probs[b, q, v]` of each b, best first, and their q·V + v.

    Where there are fewer than k, −∞ at index 0 fills up. Exact, in two stages: the k largest lie in
    the k blocks of tokens with the largest maxima, and finding those is one pass over memory, an
    order of magnitude cheaper than `topk` over all tokens.

    >>> log_probs = torch.tensor([[[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]]]).log()
    >>> values, places = best_continuations(log_probs, torch.tensor([[0.6, 0.4]]).log(), 3)
    >>> values.exp(), places
    (tensor([[0.3600, 0.3000, 0.1800]]), tensor([[3, 0, 1]]))
    """
    _, Q, V = log_probs.shape
    if V < 8 * BLOCK:
        all_BC = (log_probs + totals.unsqueeze(2)).flatten(1)
        values_BK, places_BK = all_BC.topk(min(k, Q * V), 1)
    else:
        starts_BN, within_BNC = _best_blocks(log_probs, totals, k)
        places_BNC = starts_BN.unsqueeze(2) + torch.arange(BLOCK, device=log_probs.device)
        places_BC = places_BNC.clamp_(max=Q * V - 1).flatten(1)
        found_BC = log_probs.flatten(1).gather(1, places_BC)
        found_BC += totals.gather(1, starts_BN // V).repeat_interleave(BLOCK, 1)
        if within_BNC is not None:
            found_BC.masked_fill_(~within_BNC.flatten(1), -torch.inf)
        values_BK, at_BK = found_BC.topk(k, 1)
        places_BK = places_BC.gather(1, at_BK)
    missing = k - values_BK.shape[1]
    if missing:
        values_BK = torch.nn.functional.pad(values_BK, (0, missing), value=-torch.inf)
        places_BK = torch.nn.functional.pad(places_BK, (0, missing))
    return values_BK, places_BK


def _best_blocks(log_probs_BQV, totals_BQ, k):
    """Where the best blocks start, and which of their places are tokens of theirs (None: all)."""
    V = log_probs_BQV.shape[2]
    n_whole, n_left = divmod(V, BLOCK)
    maxima = log_probs_BQV[:, :, : n_whole * BLOCK].unflatten(2, (n_whole, BLOCK)).amax(3)
    if n_left:
        maxima = torch.cat([maxima, log_probs_BQV[:, :, -n_left:].amax(2, keepdim=True)], 2)
    n_blocks = maxima.shape[2]
    maxima = (maxima + totals_BQ.unsqueeze(2)).flatten(1)
    blocks_BN = maxima.topk(min(k, maxima.shape[1]), 1, sorted=False).indices
    first_BN = blocks_BN % n_blocks * BLOCK
    starts_BN = blocks_BN // n_blocks * V + first_BN
    if not n_left:
        return starts_BN, None
    return starts_BN, first_BN.unsqueeze(2) + torch.arange(BLOCK, device=maxima.device) < V


def beam(
    stepper: Stepper,
    state: StepState,
    limits: Sequence[int],
    *,
    config: DecodingConfig,
    bos_id: int,
    eos_id: int,
    barred: Tensor,
    with_attention: bool = False,
) -> list[list[Hypothesis]]:
    """The `config.n_best` best hypotheses found per sentence, best first; fewer if there are fewer.

    Arguments as in `follow`.
    """
    K, alpha, device = config.beam_size, config.length_penalty, barred.device
    history = History(list(range(len(limits))), with_attention)
    endings: list[list[Ending]] = [[] for _ in limits]
    tokens_BQ = torch.full((len(limits), 1), bos_id, device=device)
    totals_BQ = torch.zeros(len(limits), 1, device=device)
    never_continue = torch.cat([barred, barred.new_tensor([eos_id])])
    step = 0
    while history.alive:
        logits, state, attention = stepper.step(tokens_BQ, state)
        V = logits.shape[2]
        log_probs_BQV, ends_BQ = log_probabilities(logits, never_continue, eos_id)
        totals_BQ = totals_BQ.to(ends_BQ.dtype)
        ends_BQ += totals_BQ
        totals_BQ, places_BQ = best_continuations(log_probs_BQV, totals_BQ, K)
        parents_BQ, tokens_BQ = places_BQ // V, places_BQ % V
        history.append(tokens_BQ, parents_BQ, attention)

        for row, slot, log_prob in _finished(ends_BQ, totals_BQ):
            ending = Ending.at(step, slot, log_prob, alpha, finished=True)
            endings[history.alive[row]].append(ending)
        best = totals_BQ[:, 0].tolist()
        staying = []
        for row, sentence in enumerate(history.alive):
            limit = limits[sentence]
            if step + 1 == limit:
                for slot, log_prob in enumerate(totals_BQ[row].tolist()):
                    if log_prob > -torch.inf:
                        ending = Ending.at(step, slot, log_prob, alpha, finished=False)
                        endings[sentence].append(ending)
            elif not _is_done(endings[sentence], best[row], limit, config):
                staying.append(row)
        if len(staying) < len(history.alive):
            history.keep(staying)
            if not staying:
                break
            kept = torch.tensor(staying, device=device)
            state = state.keep(kept)
            totals_BQ, tokens_BQ, parents_BQ = totals_BQ[kept], tokens_BQ[kept], parents_BQ[kept]
        state = state.reorder(parents_BQ)
        step += 1
    return history.hypotheses(
        [sorted(its, key=lambda end: -end.score)[: config.n_best] for its in endings]
    )


def _finished(ends_BQ: Tensor, totals_BK: Tensor) -> list[tuple[int, int, float]]:
    """(row, slot, log-probability) of each end among the K best of ends and continuations."""
    is_in_BQ = ends_BQ > totals_BK[:, -1:]
    if not is_in_BQ.any():
        return []
    both_BC = torch.cat([totals_BK, ends_BQ], 1)
    worst_B1 = both_BC.topk(totals_BK.shape[1], 1).values[:, -1:]
    is_in_BQ &= ends_BQ >= worst_B1
    places = is_in_BQ.nonzero().tolist()
    values = ends_BQ[is_in_BQ].tolist()
    return [(row, slot, value) for (row, slot), value in zip(places, values, strict=True)]


def _is_done(endings: list[Ending], best: float, limit: int, config: DecodingConfig) -> bool:
    if len(endings) >= config.beam_size or best == -torch.inf:
        return True
    if len(endings) < config.n_best:
        return False
    worst_kept = sorted((ending.score for ending in endings), reverse=True)[config.n_best - 1]
    return best / length_penalty(limit, config.length_penalty) <= worst_kept
