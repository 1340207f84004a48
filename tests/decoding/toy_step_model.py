"""A small recurrent model with a known distribution, and states that check how they are moved."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

PAD, BOS, EOS = 0, 2, 3


@dataclass(frozen=True)
class ToyState:
    """`h_BQH` moves with the hypotheses; `memory_BSH` belongs to the sentence."""

    h_BQH: Tensor
    memory_BSH: Tensor

    def reorder(self, hypotheses: Tensor) -> ToyState:
        assert hypotheses.dtype == torch.int64
        assert hypotheses.shape[0] == self.h_BQH.shape[0]
        index_BQH = hypotheses.unsqueeze(2).expand(-1, -1, self.h_BQH.shape[2])
        return replace(self, h_BQH=self.h_BQH.gather(1, index_BQH))

    def keep(self, sentences: Tensor) -> ToyState:
        assert sentences.tolist() == sorted(set(sentences.tolist()))
        return ToyState(self.h_BQH[sentences], self.memory_BSH[sentences])


class Toy:
    """h = tanh(A h + E[token] + attended memory), logits = W h; counts its steps and rows."""

    def __init__(self, V: int, dtype=torch.float64, seed: int = 5, end_bias: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        H = 11

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.H, self.V, self.dtype = H, V, dtype
        self.A, self.E, self.W = normal(H, H) / 2, normal(V, H), normal(V, H) / 2
        self.bias = torch.zeros(V, dtype=dtype)
        self.bias[EOS] = end_bias
        self.batch_sizes: list[tuple[int, int]] = []

    def start(self, B: int, S: int = 3) -> ToyState:
        generator = torch.Generator().manual_seed(97)
        memory = torch.randn(B, S, self.H, generator=generator, dtype=torch.float64)
        return ToyState(torch.zeros(B, 1, self.H, dtype=self.dtype), memory.to(self.dtype))

    def step(self, tokens: Tensor, state: ToyState):
        B, Q = tokens.shape
        assert state.h_BQH.shape == (B, Q, self.H)
        assert state.memory_BSH.shape[0] == B  # one memory per sentence, however many hypotheses
        self.batch_sizes.append((B, Q))
        attention_BQS = (state.h_BQH @ state.memory_BSH.transpose(1, 2)).softmax(2)
        context_BQH = attention_BQS @ state.memory_BSH
        h_BQH = torch.tanh(state.h_BQH @ self.A + self.E[tokens] + context_BQH)
        return h_BQH @ self.W.t() + self.bias, replace(state, h_BQH=h_BQH), attention_BQS


def rescore(toy: Toy, state: ToyState, sentence: int, tokens, finished: bool):
    """(log-probability, attention `[T, S]`) of one hypothesis, by reading it token by token."""
    state = state.keep(torch.tensor([sentence]))
    total, attentions = 0.0, []
    chosen = [*tokens, *([EOS] if finished else [])]
    for before, after in zip([BOS, *chosen], chosen, strict=False):
        logits, state, attention = toy.step(torch.tensor([[before]]), state)
        total += float(logits.double().log_softmax(2)[0, 0, after])
        attentions.append(attention[0, 0])
    return total, torch.stack(attentions) if attentions else None


def all_answers(toy: Toy, state: ToyState, sentence: int, limit: int):
    """(tokens, finished, log-probability) of every sequence that ends by the limit or is cut off."""
    words = [v for v in range(toy.V) if v not in (PAD, BOS, EOS)]
    return [
        (tokens, length < limit, rescore(toy, state, sentence, tokens, length < limit)[0])
        for length in range(limit + 1)
        for tokens in itertools.product(words, repeat=length)
    ]


@dataclass(frozen=True)
class ScriptState:
    """The tokens of each hypothesis so far."""

    said: tuple[tuple[tuple[int, ...], ...], ...]

    def reorder(self, hypotheses: Tensor) -> ScriptState:
        pairs = zip(self.said, hypotheses.tolist(), strict=True)
        return ScriptState(tuple(tuple(row[slot] for slot in chosen) for row, chosen in pairs))

    def keep(self, sentences: Tensor) -> ScriptState:
        return ScriptState(tuple(self.said[row] for row in sentences.tolist()))


class Script:
    """Probabilities by history: `next_token(said)` gives those of some tokens, others have 0."""

    def __init__(self, V: int, next_token: Callable[[tuple[int, ...]], dict[int, float]]) -> None:
        self.V, self.next_token = V, next_token
        self.n_steps = 0

    def start(self, B: int) -> ScriptState:
        return ScriptState((((),),) * B)

    def step(self, tokens: Tensor, state: ScriptState):
        self.n_steps += 1
        said = tuple(
            tuple((*before, token) if token != BOS else before for before, token in row)
            for row in map(zip, state.said, tokens.tolist())
        )
        logits = torch.full((*tokens.shape, self.V), -torch.inf, dtype=torch.float64)
        for row, hypotheses in enumerate(said):
            for slot, before in enumerate(hypotheses):
                for token, probability in self.next_token(before).items():
                    logits[row, slot, token] = math.log(probability)
        return logits, ScriptState(said), None
