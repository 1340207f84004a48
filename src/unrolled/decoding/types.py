"""The types that decoding takes and returns. Does not import torch, so that reading a recipe is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from unrolled.decoding.config import DecodingConfig


@dataclass(frozen=True)
class Hypothesis:
    """One result of decoding.

    Args:
        tokens: ids without begin and end of sentence.
        score: `log_prob` divided by the length penalty; see `length_penalty`.
        log_prob: the model's log-probability of the tokens and, if finished, of the end, in nats.
        attention: `[T, S]`, one row per token and, if finished, one for the end; None if the model has
            no attention or it was not requested.
        finished: whether the model ended the sequence itself; False if the limit cut it off.
    """

    tokens: tuple[int, ...]
    score: float
    log_prob: float
    attention: Tensor | None
    finished: bool


def length_penalty(length: int, alpha: float) -> float:
    """lp(Y) = ((5 + |Y|) / 6)^alpha, Wu et al. 2016, eq. 14; a score is log P(Y) / lp(Y).

    `length` counts the end of sentence, if reached. With alpha 0 there is no penalty.

    >>> length_penalty(1, 0.6), length_penalty(7, 1.0)
    (1.0, 2.0)
    """
    return ((5 + length) / 6) ** alpha


@runtime_checkable
class StepState(Protocol):
    """The state of a step model: small states per hypothesis, and a memory per sentence.

    A state describes Q hypotheses for each of B sentences; a new one has Q = 1.
    """

    def reorder(self, hypotheses: Tensor) -> StepState:
        """Return a state in which hypothesis q of sentence b is the old hypothesis `hypotheses[b, q]`.

        `hypotheses` is `[B, Q2]`, int64; Q2 may differ from Q. Only the small states move, because the
        hypotheses of a sentence share its memory.
        """
        ...

    def keep(self, sentences: Tensor) -> StepState:
        """Return only the sentences at these positions, `[B2]` int64, ascending, with their memory."""
        ...


@runtime_checkable
class StepModel(Protocol):
    """A model that can be advanced by one token."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any, Tensor | None]:
        """Read `tokens`, `[B, Q]` int64 → (logits `[B, Q, V]`, state, attention `[B, Q, S]`).

        A model that copies has `[B, Q, V + S]` logits: id V + s is the word at step s of the source.

        Attention may be None. S may shrink when sentences leave, but never below the length of a
        remaining sentence.
        """
        ...


@runtime_checkable
class SearchingModel(StepModel, Protocol):
    """A step model that can run whole searches, with the answers of a search step by step."""

    def search(
        self,
        state: Any,
        limits: Sequence[int],
        config: DecodingConfig,
        bos_id: int,
        eos_id: int,
        barred: Sequence[int],
        with_attention: bool,
    ) -> list[list[Hypothesis] | None] | None:
        """Return the hypotheses of each sentence, or None for one that must be searched step by step.

        None altogether if the model cannot search with these settings. The arguments are those of
        `decode`; each limit is at least 1, and no word of `barred` is ever chosen.
        """
        ...
