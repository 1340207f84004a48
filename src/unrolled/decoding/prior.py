"""Shallow fusion: a language model of the output takes part in the search (Gulcehre et al. 2015).

At each step, a token has log p(y | x) + w log q(y), where p is the model, q the language model and w a
weight. Search normalises these sums over the tokens of a step. A token that is not in the vocabulary of
the language model has the probability 1 / V there, as it is never seen in training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.types import StepModel, StepState
from unrolled.shapes import Int
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, SPECIALS, UNK_ID
from unrolled.text.tokenizer import Tokenizer

Layers = tuple[tuple[Tensor, ...], ...]


@dataclass(frozen=True)
class PriorState:
    """The state of a model and of a language model that read the same tokens; a `StepState`.

    Args:
        state: of the model.
        layers: of the language model, tensors `[B, Q, H]`.
        ids_BW: `[B, W]`, the token of the language model for each id of a row.
    """

    state: StepState
    layers: Layers
    ids_BW: Tensor

    def reorder(self, hypotheses: Int[Tensor, "B K"]) -> PriorState:
        """As `StepState.reorder`."""
        rows_B1 = torch.arange(len(hypotheses), device=hypotheses.device).unsqueeze(1)
        layers = tuple(tuple(part[rows_B1, hypotheses] for part in each) for each in self.layers)
        return replace(self, state=self.state.reorder(hypotheses), layers=layers)

    def keep(self, sentences: Int[Tensor, " K"]) -> PriorState:
        """As `StepState.keep`."""
        layers = tuple(tuple(part[sentences] for part in each) for each in self.layers)
        return PriorState(self.state.keep(sentences), layers, self.ids_BW[sentences])


@dataclass(frozen=True)
class WithPrior:
    """A `StepModel` whose logits are log p + w log q; its state is a `PriorState`.

    Args:
        step_model: the model, p.
        language_model: the language model, q; see `text_session.LanguageModelLike`.
        weight: w.
    """

    step_model: StepModel
    language_model: Any
    weight: float

    def step(
        self, tokens: Int[Tensor, "B Q"], state: PriorState
    ) -> tuple[Tensor, PriorState, Tensor | None]:
        """See `StepModel.step`."""
        logits_BQW, inner, attention = self.step_model.step(tokens, state.state)
        B, Q, W = logits_BQW.shape
        model = self.language_model
        layers = tuple(tuple(part.flatten(0, 1) for part in each) for each in state.layers)
        hidden, layers = model.step(state.ids_BW.gather(1, tokens).flatten(), layers)
        log_q = model.head.logits(hidden).log_softmax(1).view(B, Q, -1)
        ids_BQW = state.ids_BW[:, None, :W].expand(B, Q, W)
        unknown = -math.log(log_q.shape[2])
        log_q = log_q.gather(2, ids_BQW).masked_fill(ids_BQW == UNK_ID, unknown)
        fused = logits_BQW.log_softmax(2) + self.weight * log_q
        layers = tuple(tuple(part.view(B, Q, -1) for part in each) for each in layers)
        return fused, PriorState(inner, layers, state.ids_BW), attention


@dataclass(frozen=True)
class Prior:
    """A language model as a prior of what another model writes.

    Args:
        model: the language model.
        tokenizer: its tokenizer.
        weight: the weight of its log-probabilities.
        line_end: the token that ends an output, and that stands before it; if it is not in the
            vocabulary, or "", the end of a document does.
    """

    model: Any
    tokenizer: Tokenizer
    weight: float
    line_end: str = ""

    @property
    def _end(self) -> int:
        known = self.tokenizer.id_of(self.line_end) if self.line_end else None
        return EOS_ID if known is None else known

    def ids_of(self, tokens: Sequence[str]) -> list[int]:
        """The tokens of the language model for tokens of a vocabulary, its special ones first."""
        ids = self.tokenizer.ids_of(tokens)
        for id_, token in (
            (PAD_ID, UNK_ID),
            (UNK_ID, UNK_ID),
            (BOS_ID, self._end),
            (EOS_ID, self._end),
        ):
            ids[id_] = token
        return ids

    def known(self, tokens: Sequence[str]) -> float:
        """The share of a vocabulary that the language model knows, 0…1."""
        ids = self.ids_of(tokens)[len(SPECIALS) :]
        return 1 - ids.count(UNK_ID) / max(1, len(ids))

    def fuse(
        self, step_model: StepModel, state: StepState, ids_BW: Int[Tensor, "B W"]
    ) -> tuple[WithPrior, PriorState]:
        """A model and its state with this prior.

        Args:
            step_model: the model.
            state: its state at the beginning of B sentences.
            ids_BW: the token of the language model for each id of a row, from `ids_of`.
        """
        B = len(ids_BW)
        layers = tuple(tuple(part.unsqueeze(1) for part in each) for each in self.model.start(B))
        return WithPrior(step_model, self.model, self.weight), PriorState(state, layers, ids_BW)
