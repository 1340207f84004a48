"""What a language model expects after each token of a text, and which token came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

N_BEST = 5
"""Number of most probable tokens of each step."""

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class NextToken:
    """The distribution of a token, given those before it.

    Args:
        before: the token that was read last.
        came: the token that came; "" after the end of the text.
        rank: its place among all tokens, 1 for the most probable; 0 after the end of the text.
        bits: −log₂ of its probability; NaN after the end of the text.
        best: the most probable tokens with their probabilities.
    """

    before: str
    came: str
    rank: int
    bits: float
    best: tuple[tuple[str, float], ...]


def next_tokens(predictor: Any, ids: Sequence[int], tokens: Sequence[str]) -> tuple[NextToken, ...]:
    """The distribution of the token after each token of a text.

    Args:
        predictor: a trained language model.
        ids: the ids that it reads, with the mark that begins a document.
        tokens: the same, as text.
    """
    model, tokenizer = predictor.model, next(iter(predictor.tokenizers.values()))
    hidden = []
    with torch.inference_mode():
        state = model.start(1)
        device = next(model.parameters()).device
        packed = [model.packed()] if hasattr(model, "packed") else []
        for id_ in ids:
            row, state = model.step(torch.tensor([id_], device=device), state, *packed)
            hidden.append(row)
        found: list[NextToken] = []
        came = [*ids[1:], None]
        for first in range(0, len(ids), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            logits = model.head.logits(torch.cat(hidden[rows]))
            log_probs = logits.float().log_softmax(1).cpu()
            found += [
                _next_token(log_probs_V, id_, tokens, first + place, tokenizer)
                for place, (log_probs_V, id_) in enumerate(zip(log_probs, came[rows], strict=True))
            ]
    return tuple(found)


def _next_token(
    log_probs_V: Tensor, id_: int | None, tokens: Sequence[str], place: int, tokenizer: Any
) -> NextToken:
    values, ids = log_probs_V.topk(min(N_BEST, len(log_probs_V)))
    pieces = tokenizer.pieces(ids.tolist())
    best = tuple(zip(pieces, values.exp().tolist(), strict=True))
    if id_ is None:
        return NextToken(tokens[place], "", 0, math.nan, best)
    own = log_probs_V[id_]
    rank = int((log_probs_V > own).sum()) + 1
    return NextToken(tokens[place], tokens[place + 1], rank, float(own) / -math.log(2), best)
