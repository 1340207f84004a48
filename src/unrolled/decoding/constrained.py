"""Constrained decoding: a mask says which tokens may come next.

A mask is asked once a step and moves on by one token at a time, so that a grammar or the names of a
schema can follow what each hypothesis has written so far. It belongs to the state that decoding reorders
and keeps, and costs nothing where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from unrolled.decoding.types import StepModel, StepState


@runtime_checkable
class TokenMask(Protocol):
    """Which tokens may follow each of Q hypotheses of B sentences; at the beginning, Q = 1.

    A mask is not changed by these methods: each returns another.
    """

    def advance(self, tokens: Tensor) -> TokenMask:
        """The mask after hypotheses read `tokens`, `[B, Q]` int64; first the begin of sentence."""
        ...

    def allowed(self, n_words: int, device: torch.device) -> Tensor:
        """What may come next: bool, `[B, Q, n_words]` or a shape that broadcasts to it.

        For a model that copies, `n_words` is V + S, and id V + s is the word at step s of the source.

        A hypothesis for which nothing is allowed ends.
        """
        ...

    def reorder(self, hypotheses: Tensor) -> TokenMask:
        """As `StepState.reorder`."""
        ...

    def keep(self, sentences: Tensor) -> TokenMask:
        """As `StepState.keep`."""
        ...


MaskProvider = Callable[[Sequence[Any]], TokenMask]
"""From the encoded inputs of a batch, in order, to the mask at the beginning of their answers."""


@dataclass(frozen=True)
class Forbid:
    """The mask that forbids some tokens everywhere.

    Args:
        tokens: their ids. Forbidding the end of sentence makes every answer as long as its limit.

    >>> Forbid((1, 3)).allowed(5, torch.device("cpu"))
    tensor([[[ True, False,  True, False,  True]]])
    """

    tokens: tuple[int, ...]

    def advance(self, tokens: Tensor) -> Forbid:
        """Itself: nothing depends on what was written."""
        return self

    def allowed(self, n_words: int, device: torch.device) -> Tensor:
        """All tokens but the forbidden ones, `[1, 1, V]`."""
        allowed_V = torch.ones(n_words, dtype=torch.bool, device=device)
        allowed_V[list(self.tokens)] = False
        return allowed_V.view(1, 1, -1)

    def reorder(self, hypotheses: Tensor) -> Forbid:
        """Itself."""
        return self

    def keep(self, sentences: Tensor) -> Forbid:
        """Itself."""
        return self


@dataclass(frozen=True)
class ConstrainedState:
    """A model's state and the mask beside it; a `StepState`.

    Args:
        state: of the model.
        mask: of the same hypotheses.
        allowed_BQV: what may come next, after a step; None before the first.
    """

    state: StepState
    mask: TokenMask
    allowed_BQV: Tensor | None = None

    def reorder(self, hypotheses: Tensor) -> ConstrainedState:
        """Both, by the same hypotheses."""
        return ConstrainedState(self.state.reorder(hypotheses), self.mask.reorder(hypotheses))

    def keep(self, sentences: Tensor) -> ConstrainedState:
        """Both, of the same sentences."""
        return ConstrainedState(self.state.keep(sentences), self.mask.keep(sentences))


@dataclass(frozen=True)
class Constrained:
    """A `StepModel` whose state carries a mask.

    Args:
        step_model: the model.
        eos_id: what ends a hypothesis for which nothing is allowed.
    """

    step_model: StepModel
    eos_id: int

    def step(
        self, tokens: Tensor, state: ConstrainedState
    ) -> tuple[Tensor, ConstrainedState, Tensor | None]:
        """One token further, model and mask; the logits are the model's own."""
        logits, inner, attention = self.step_model.step(tokens, state.state)
        mask = state.mask.advance(tokens)
        allowed = mask.allowed(logits.shape[2], logits.device)
        ends_V = torch.arange(logits.shape[2], device=logits.device) == self.eos_id
        allowed = allowed | (~allowed.any(2, keepdim=True) & ends_V)
        return logits, ConstrainedState(inner, mask, allowed), attention


def allowed_next(state: Any) -> Tensor | None:
    """What the mask of a state allows, bool, broadcasting to `[B, Q, V]`; None where there is no mask."""
    return state.allowed_BQV if isinstance(state, ConstrainedState) else None
