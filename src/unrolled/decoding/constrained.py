"""Constrained decoding: a mask determines which tokens may come next.

A mask is queried once per step and advances by one token at a time, so a grammar or the names of a schema
can follow what each hypothesis has written so far. It is part of the state that decoding reorders and
filters. Decoding without a mask costs nothing extra.
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
    """Which tokens may follow each of Q hypotheses of B sentences; Q = 1 at the beginning.

    These methods do not change the mask; `advance`, `reorder` and `keep` return a new one.
    """

    def advance(self, tokens: Tensor) -> TokenMask:
        """The mask after reading `tokens`, `[B, Q]` int64; the first token is the begin of sentence."""
        ...

    def allowed(self, n_words: int, device: torch.device) -> Tensor:
        """The tokens that may come next: bool, `[B, Q, n_words]` or a shape that broadcasts to it.

        For a model that copies, `n_words` is V + S, and id V + s is the word at step s of the source.

        A hypothesis with no allowed token ends.
        """
        ...

    def reorder(self, hypotheses: Tensor) -> TokenMask:
        """As `StepState.reorder`."""
        ...

    def keep(self, sentences: Tensor) -> TokenMask:
        """As `StepState.keep`."""
        ...


MaskProvider = Callable[[Sequence[Any]], TokenMask]
"""Maps the encoded inputs of a batch, in order, to the initial mask of their outputs."""


@dataclass(frozen=True)
class Forbid:
    """A mask that always forbids some tokens.

    Args:
        tokens: their ids. Forbidding the end of sentence makes every output as long as its limit.

    >>> Forbid((1, 3)).allowed(5, torch.device("cpu"))
    tensor([[[ True, False,  True, False,  True]]])
    """

    tokens: tuple[int, ...]

    def advance(self, tokens: Tensor) -> Forbid:
        """Return this mask: it does not depend on the tokens written."""
        return self

    def allowed(self, n_words: int, device: torch.device) -> Tensor:
        """All tokens except the forbidden ones, `[1, 1, V]`."""
        allowed_V = torch.ones(n_words, dtype=torch.bool, device=device)
        allowed_V[list(self.tokens)] = False
        return allowed_V.view(1, 1, -1)

    def reorder(self, hypotheses: Tensor) -> Forbid:
        """Return this mask."""
        return self

    def keep(self, sentences: Tensor) -> Forbid:
        """Return this mask."""
        return self


@dataclass(frozen=True)
class ConstrainedState:
    """A model's state together with a mask; a `StepState`.

    Args:
        state: the state of the model.
        mask: the mask of the same hypotheses.
        allowed_BQV: the tokens that may come next; None before the first step.
    """

    state: StepState
    mask: TokenMask
    allowed_BQV: Tensor | None = None

    def reorder(self, hypotheses: Tensor) -> ConstrainedState:
        """Reorder both by the same hypotheses."""
        return ConstrainedState(self.state.reorder(hypotheses), self.mask.reorder(hypotheses))

    def keep(self, sentences: Tensor) -> ConstrainedState:
        """Keep the same sentences of both."""
        return ConstrainedState(self.state.keep(sentences), self.mask.keep(sentences))


@dataclass(frozen=True)
class Constrained:
    """A `StepModel` whose state carries a mask.

    Args:
        step_model: the model.
        eos_id: the end of sentence, the only token allowed where the mask allows none.
    """

    step_model: StepModel
    eos_id: int

    def step(
        self, tokens: Tensor, state: ConstrainedState
    ) -> tuple[Tensor, ConstrainedState, Tensor | None]:
        """Advance the model and the mask by one token; the logits are the model's own."""
        logits, inner, attention = self.step_model.step(tokens, state.state)
        mask = state.mask.advance(tokens)
        allowed = mask.allowed(logits.shape[2], logits.device)
        ends_V = torch.arange(logits.shape[2], device=logits.device) == self.eos_id
        allowed = allowed | (~allowed.any(2, keepdim=True) & ends_V)
        return logits, ConstrainedState(inner, mask, allowed), attention


def allowed_next(state: Any) -> Tensor | None:
    """The tokens that a state's mask allows, bool, broadcasting to `[B, Q, V]`; None without a mask."""
    return state.allowed_BQV if isinstance(state, ConstrainedState) else None
