"""Beam search: extend the most probable hypotheses of each sentence together.

At each step, the live hypotheses of a sentence, at most K, are extended by one token. Each of them that
chooses the end of sentence becomes a finished hypothesis. Finished hypotheses compete by score and do
not take up beam slots: the K most probable continuations other than the end of sentence stay live. The
greedy path is always among them, so the best result never scores below the greedy one, except by
rounding.

A sentence is done, and leaves the batch, when

- no live hypothesis can still become one of the n best. Log-probabilities only decrease, and the length
  penalty grows with the length, so a continuation of a hypothesis with log-probability s scores at most
  s / lp(limit). Stopping then loses nothing, and neither does dropping single hypotheses by the same
  bound; or when
- its length limit is reached. Live hypotheses are then cut off and scored as they are.

Stopping as soon as K hypotheses have finished, a common rule, is not enough: every step offers K ends of
sentence, and with a small vocabulary, improbable ones are soon among the best continuations.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.backpointers import Ending, History
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.constrained import allowed_next
from unrolled.decoding.greedy import greedy
from unrolled.decoding.independent import log_probabilities
from unrolled.decoding.record import SearchRecord, new_record
from unrolled.decoding.types import Hypothesis, StepModel, StepState, length_penalty
from unrolled.shapes import Float, Int

BLOCK = 128
"""Tokens per block in `best_continuations`: a multiple of every vector width, so reductions are fast."""


_NOTHING = Hypothesis((), -math.inf, -math.inf, None, False)


def best_continuations(
    log_probs: Float[Tensor, "B Q V"], totals: Float[Tensor, "B Q"], k: int
) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"]]:
    """The k largest `totals[b, q] + log_probs[b, q, v]` of each b, best first, and their q·V + v.

    If there are fewer than k, the rest is filled with −∞ at index 0. The result is exact, computed in
    two stages: the k largest lie in the k blocks of tokens with the largest maxima, and finding those
    blocks takes one pass over memory, an order of magnitude cheaper than `topk` over all tokens.

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
        candidates_BC = log_probs.flatten(1).gather(1, places_BC)
        candidates_BC += totals.gather(1, starts_BN // V).repeat_interleave(BLOCK, 1)
        if within_BNC is not None:
            candidates_BC.masked_fill_(~within_BNC.flatten(1), -torch.inf)
        values_BK, at_BK = candidates_BC.topk(k, 1)
        places_BK = places_BC.gather(1, at_BK)
    missing = k - values_BK.shape[1]
    if missing:
        values_BK = torch.nn.functional.pad(values_BK, (0, missing), value=-torch.inf)
        places_BK = torch.nn.functional.pad(places_BK, (0, missing))
    return values_BK, places_BK


def _best_blocks(log_probs_BQV: Any, totals_BQ: Any, k: Any) -> Any:
    """The starts of the best blocks, and a mask of positions inside the vocabulary (None: all are)."""
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
    step_model: StepModel,
    state: StepState,
    limits: Sequence[int],
    *,
    config: DecodingConfig,
    bos_id: int,
    eos_id: int,
    barred: Tensor,
    with_attention: bool = False,
) -> list[list[Hypothesis]]:
    """Return the `config.n_best` best hypotheses per sentence, best first; fewer if there are fewer.

    There is always at least one: if the model gives no token a probability, an empty, unfinished
    hypothesis with score −∞. A beam size of 1 is greedy decoding. Arguments as in `follow`.
    """
    if config.beam_size == 1:
        return greedy(
            step_model,
            state,
            limits,
            alpha=config.length_penalty,
            bos_id=bos_id,
            eos_id=eos_id,
            barred=barred,
            with_attention=with_attention,
        )
    history = History(list(range(len(limits))), with_attention)
    record = new_record(len(limits), config.length_penalty)
    answers = _Answers(limits, config, record)
    live = _Live.start(len(limits), bos_id, barred.device)
    never_continue = torch.cat([barred, barred.new_tensor([eos_id])])
    step = 0
    while history.alive:  # empty from the start if there are no sentences
        logits, state, attention = step_model.step(live.tokens_BQ, state)
        log_probs_BQV, ends_BQ = log_probabilities(
            logits, never_continue, eos_id, allowed_next(state)
        )
        live, ended = live.extended(log_probs_BQV, ends_BQ, config.beam_size, eos_id)
        history.append(live.tokens_BQ, live.parents_BQ, attention)
        answers.add_ends(history.alive, step, ended)
        n_useful = answers.n_useful(history.alive, step, live.totals_BQ.tolist())
        if record is not None:
            chosen = (live.tokens_BQ, live.parents_BQ, live.totals_BQ)
            record.add_step(history.alive, *chosen, n_useful)
        staying = [row for row, n_slots in enumerate(n_useful) if n_slots]
        if not staying:
            break
        if len(staying) < len(history.alive):
            history.keep(staying)
            state = state.keep(torch.tensor(staying, device=barred.device))
            live = live.keep(staying)
        live = live.first([n_useful[row] for row in staying])
        state = state.reorder(live.parents_BQ)
        step += 1
    if record is not None:
        for sentence, best in zip(record.sentences, answers.best, strict=True):
            sentence.best = best
    return [hypotheses or [_NOTHING] for hypotheses in history.hypotheses(answers.best)]


@dataclass(frozen=True)
class _Live:
    """The live hypotheses of each sentence, the most probable first.

    Args:
        tokens_BQ: their last tokens.
        parents_BQ: the slots of the previous step that they extend.
        totals_BQ: their log-probabilities; −∞ in an empty slot.
        greedy: the slot of each sentence's greedy path; −1 if it has ended or was dropped.
    """

    tokens_BQ: Tensor
    parents_BQ: Tensor
    totals_BQ: Tensor
    greedy: list[int]

    @classmethod
    def start(cls, n_sentences: int, bos_id: int, device: torch.device) -> _Live:
        """Start with one hypothesis per sentence, which has read the begin of sentence."""
        zeros_B1 = torch.zeros(n_sentences, 1, dtype=torch.int64, device=device)
        return cls(zeros_B1 + bos_id, zeros_B1, zeros_B1.float(), [0] * n_sentences)

    def extended(
        self, log_probs_BQV: Tensor, ends_BQ: Tensor, k: int, eos_id: int
    ) -> tuple[_Live, list[list[float]]]:
        """Return the k most probable continuations of each sentence, including the greedy path.

        The second result is the log-probability of each hypothesis if it ends here. `log_probs_BQV`
        does not contain the end of sentence; `ends_BQ` does.
        """
        V, totals_BQ = log_probs_BQV.shape[2], self.totals_BQ.to(ends_BQ.dtype)
        totals_BK, places_BK = best_continuations(log_probs_BQV, totals_BQ, k)
        live = _Live(places_BK % V, places_BK // V, totals_BK, [])
        ended = (totals_BQ + ends_BQ).tolist()
        rows = zip(self.greedy, live.parents_BQ.tolist(), totals_BK.tolist(), ended, strict=True)
        slots = [_next_slot(*row) for row in rows]
        live.greedy.extend(-1 if slot is None else slot for slot in slots)
        if None in slots:
            open_N = torch.tensor([row for row, slot in enumerate(slots) if slot is None])
            open_N = open_N.to(ends_BQ.device)
            parents_N = torch.tensor(self.greedy, device=ends_BQ.device)[open_N]
            own_NV = log_probs_BQV[open_N, parents_N]
            own_NV[:, eos_id] = ends_BQ[open_N, parents_N]
            live._put_in(open_N, parents_N, own_NV, totals_BQ[open_N, parents_N], eos_id)
        return live, ended

    def _put_in(
        self, rows_N: Tensor, parents_N: Tensor, own_NV: Tensor, totals_N: Tensor, eos_id: int
    ) -> None:
        """Keep greedy paths live: in the slot that already holds them, or else in the last one.

        `own_NV` holds the log-probabilities of their next tokens, including the end of sentence.
        """
        tokens_N = own_NV.argmax(1)
        goes_on_N = (tokens_N != eos_id) & (own_NV.amax(1) > -torch.inf)
        rows, parents, tokens = rows_N[goes_on_N], parents_N[goes_on_N], tokens_N[goes_on_N]
        is_it_MK = (self.parents_BQ[rows] == parents[:, None]) & (
            self.tokens_BQ[rows] == tokens[:, None]
        )
        last = self.totals_BQ.shape[1] - 1
        slots = is_it_MK.int().argmax(1).where(is_it_MK.any(1), last)
        self.tokens_BQ[rows, slots] = tokens
        self.parents_BQ[rows, slots] = parents
        self.totals_BQ[rows, slots] = (totals_N + own_NV.amax(1))[goes_on_N]
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
            self.greedy[row] = slot

    def keep(self, rows: Sequence[int]) -> _Live:
        """Return only these rows."""
        kept = torch.tensor(rows, device=self.tokens_BQ.device)
        tokens_BQ, parents_BQ, totals_BQ = (
            tensor[kept] for tensor in (self.tokens_BQ, self.parents_BQ, self.totals_BQ)
        )
        return _Live(tokens_BQ, parents_BQ, totals_BQ, [self.greedy[row] for row in rows])

    def first(self, n_useful: Sequence[int]) -> _Live:
        """Return only so many hypotheses of each sentence, the most probable; more if others have more.

        The greedy path is followed only while it is useful, whatever other sentences are in the batch.
        """
        n = max(n_useful)
        greedy = [
            slot if slot < useful else -1
            for slot, useful in zip(self.greedy, n_useful, strict=True)
        ]
        return _Live(self.tokens_BQ[:, :n], self.parents_BQ[:, :n], self.totals_BQ[:, :n], greedy)


def _next_slot(
    slot: int, parents: Sequence[int], totals: Sequence[float], ended: Sequence[float]
) -> int | None:
    """The new slot of a sentence's greedy path; −1 if the path ends.

    None if the arguments do not tell: the path was pushed out, or two tokens are equally probable.

    Args:
        slot: the old slot of the path.
        parents: the parents of the new slots, the most probable first.
        totals: the log-probabilities of the new slots.
        ended: the log-probabilities of the old slots if they end.
    """
    if slot < 0:
        return -1
    first = parents.index(slot) if slot in parents else -1
    if first < 0 or totals[first] in (ended[slot], totals[-1], *totals[first + 1 : first + 2]):
        return None
    return first if totals[first] > ended[slot] else -1


class _Answers:
    """The n best endings of each sentence so far, best first, and bounds on what can still join them."""

    def __init__(
        self, limits: Sequence[int], config: DecodingConfig, record: SearchRecord | None = None
    ) -> None:
        self._record = record
        self._limits, self._n_best, self._alpha = limits, config.n_best, config.length_penalty
        self._longest = [length_penalty(limit, self._alpha) for limit in limits]
        self.best: list[list[Ending]] = [[] for _ in limits]

    def add_ends(
        self, sentences: Sequence[int], step: int, ended: Sequence[Sequence[float]]
    ) -> None:
        """Add the hypotheses that end at a step, given their log-probabilities by sentence and slot."""
        penalty = length_penalty(step + 1, self._alpha)
        for sentence, log_probs in zip(sentences, ended, strict=True):
            if max(log_probs) > self._least(sentence) * penalty:
                self._add(sentence, step, log_probs, finished=True)

    def n_useful(
        self, sentences: Sequence[int], step: int, totals: Sequence[Sequence[float]]
    ) -> list[int]:
        """How many hypotheses of each sentence, counted from the first, may still be among the n best.

        Where the length limit is reached, they are cut off and added now, and none is extended.
        """
        for sentence, log_probs in zip(sentences, totals, strict=True):
            if step + 1 == self._limits[sentence]:
                self._add(sentence, step, log_probs, finished=False)
        least = [self._to_enter(sentence, step) for sentence in sentences]
        rows = zip(totals, least, strict=True)
        return [sum(total > bound for total in row_totals) for row_totals, bound in rows]

    def _to_enter(self, sentence: int, step: int) -> float:
        """The log-probability that a hypothesis must exceed to have a chance to be among the n best."""
        if step + 1 == self._limits[sentence]:
            return math.inf
        return self._least(sentence) * self._longest[sentence]

    def _least(self, sentence: int) -> float:
        """The score that an ending must exceed to be among the n best."""
        best = self.best[sentence]
        return best[-1].score if len(best) == self._n_best else -math.inf

    def _add(self, sentence: int, step: int, log_probs: Sequence[float], finished: bool) -> None:
        for slot, log_prob in enumerate(log_probs):
            ending = Ending.at(step, slot, log_prob, self._alpha, finished)
            if ending.score > self._least(sentence):
                insort(self.best[sentence], ending, key=lambda entry: -entry.score)
                if self._record is not None:
                    self._record.sentences[sentence].endings.append(ending)
                del self.best[sentence][self._n_best :]
