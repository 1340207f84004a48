"""Greedy and beam search with a decoder in one call of the native kernels.

The rules are those of `unrolled.decoding.beam` and `unrolled.decoding.greedy`, and the steps those of
`unrolled.layers.decoder`, in float32. In a search step by step, most of the time goes into some fifty
operations of torch per step, each on a few rows. A sentence is left to that search if its answer depends
on the order of equally probable continuations, or if a probability is not a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from unrolled.ops import native
from unrolled.ops.access import dense
from unrolled.ops.cells import CELLS
from unrolled.ops.dispatch import pinned
from unrolled.ops.stepping import PRECISIONS
from unrolled.ops.types import Kind, Weights
from unrolled.shapes import Float, Int

_SCORES = {None: 0, "additive": 1, "dot": 2, "general": 2}
# Hypotheses from which packing the weights takes less time than it saves.
_LEAST_ROWS = 64
# Sentences per thread from which waking it is worthwhile.
_SENTENCES_PER_THREAD = 4


@dataclass(frozen=True)
class DecoderWeights:
    """The weights of a decoder.

    Args:
        kind: the cell.
        embedding: `[V, E]`, the words.
        scale: factor of the embedding on input.
        layers: the recurrent layers; the first reads `[word; last output]` with input feeding.
        precision: in which the weights of the layers are stored: see `ops.stepping.PackedStep`.
        score: of the attention; None for no attention.
        query, energy: `[A, H]`, `[A]`, of the additive score.
        combine: `[O, H + M]`, or `[O, H]` without attention; None if the output is h.
        feeds: whether the last output is an input.
        head, bias: `[V, O]`, `[V]`, the output layer.
    """

    kind: Kind
    embedding: Float[Tensor, "V E"]
    scale: float
    layers: tuple[Weights, ...]
    precision: str
    score: Literal["additive", "dot", "general"] | None
    query: Float[Tensor, "A H"] | None
    energy: Float[Tensor, " A"] | None
    combine: Float[Tensor, "O J"] | None
    feeds: bool
    head: Float[Tensor, "V O"]
    bias: Float[Tensor, " V"]

    @property
    def tensors(self) -> list[Tensor]:
        """All that there are."""
        others = (self.query, self.energy, self.combine)
        layers = [w for layer in self.layers for w in layer.tensors]
        return [
            self.embedding,
            *layers,
            *(w for w in others if w is not None),
            self.head,
            self.bias,
        ]


@dataclass(frozen=True)
class Start:
    """What a search of B sentences begins with.

    Args:
        layers: the state of each layer, `(h,)` or `(h, c)`, each `[B, H]`.
        feed: `[B, O]`, o_0; None without input feeding.
        keys, values: the memory; None without attention.
        lengths: number of real steps in each row's memory, each at least 1; None without attention.
    """

    layers: tuple[tuple[Float[Tensor, "B H"], ...], ...]
    feed: Float[Tensor, "B O"] | None
    keys: Float[Tensor, "B S A"] | None
    values: Float[Tensor, "B S M"] | None
    lengths: Int[Tensor, " B"] | None

    @property
    def states(self) -> list[Tensor]:
        """The parts of the state in the order of the kernels."""
        parts = [part for layer in self.layers for part in layer]
        return parts if self.feed is None else [*parts, self.feed]

    @property
    def tensors(self) -> list[Tensor]:
        """All that have numbers."""
        memory = [] if self.keys is None or self.values is None else [self.keys, self.values]
        return [*self.states, *memory]


@dataclass(frozen=True)
class Rules:
    """The rules of a search; see `decoding.DecodingConfig`.

    Args:
        limits: the maximum length of each sentence's hypotheses, each at least 1.
        alpha: of the length penalty.
        beam_size: 1 is greedy search.
        n_best: at most `beam_size`.
        begin, end: ids that begin and end a sentence.
        barred: ids that are never chosen.
        with_attention: whether to return the attention.
    """

    limits: Sequence[int]
    alpha: float
    beam_size: int
    n_best: int
    begin: int
    end: int
    barred: Sequence[int]
    with_attention: bool


@dataclass(frozen=True)
class Found:
    """A hypothesis: its words, score, log-probability, `[T, S]` attention and whether it has ended."""

    words: tuple[int, ...]
    score: float
    log_prob: float
    attention: Float[Tensor, "T S"] | None
    finished: bool


def why_not(weights: DecoderWeights, start: Start) -> str | None:
    """Why the kernels cannot run this search, as one sentence, else None."""
    if pinned() not in (None, "native"):
        return f"'{pinned()}' is pinned"
    if native.kernels is not None and CELLS[weights.kind].kernel is None:
        return f"there is no kernel for {weights.kind}"
    if (reason := native.why_not_with([*weights.tensors, *start.tensors])) is not None:
        return reason
    if any(0 in tensor.shape for tensor in (*weights.tensors, *start.tensors)):
        return "the kernels need at least one number in each weight and state"
    if start.lengths is not None and int(start.lengths.min()) < 1:
        return "a sentence has no steps to attend to"
    return None


def search(weights: DecoderWeights, start: Start, rules: Rules) -> list[list[Found] | None]:
    """Find the hypotheses of each sentence, best first; `why_not` must be None.

    None for a sentence that only the search step by step can answer.

    Raises:
        ValueError: shapes do not match, or an id or a number of hypotheses is out of range.
        UnavailableError: the kernels cannot run this; see `why_not`.
    """
    B = _check(weights, start, rules)
    decoder, kept = _decoder(weights, start)
    if B * rules.beam_size >= _LEAST_ROWS:
        decoder.pack()
    memory = [start.keys, start.values]
    keys, values = (None if part is None else dense(part, torch.float32) for part in memory)
    lengths = None if start.lengths is None else dense(start.lengths.cpu(), torch.int64)
    S = 0 if keys is None else keys.shape[1]
    states = [dense(part, torch.float32) for part in start.states]
    found = decoder.search(
        B, S, _address(lengths), _address(keys), _address(values),
        [part.data_ptr() for part in states], list(rules.limits), rules.alpha, rules.beam_size,
        rules.n_best, rules.begin, rules.end, list(rules.barred),
        rules.with_attention and keys is not None, _n_threads(B),
    )  # fmt: skip
    del kept  # until here, the decoder has read their memory
    return [[_found(S, *each) for each in sentence] or None for sentence in found]


def _found(
    S: int, words: list[int], log_prob: float, score: float, finished: bool, looked: bytes
) -> Found:
    attention = None
    if looked:
        attention = torch.frombuffer(bytearray(looked), dtype=torch.float32).view(-1, S)
    return Found(tuple(words), score, log_prob, attention, finished)


def _decoder(weights: DecoderWeights, start: Start) -> tuple[Any, list[Tensor]]:
    """The decoder of the kernels, and the tensors whose memory it reads."""
    kept: list[Tensor] = []

    def address(tensor: Tensor | None) -> int:
        if tensor is None:
            return 0
        kept.append(dense(tensor.detach(), torch.float32))
        return kept[-1].data_ptr()

    V, E = weights.embedding.shape
    H, n_outputs = weights.layers[0].hidden_size, weights.head.shape[1]
    A, M = (0 if part is None else part.shape[2] for part in (start.keys, start.values))
    kernel, score = CELLS[weights.kind].kernel, _SCORES[weights.score]
    decoder = native.kernels.Decoder(kernel, score, weights.feeds, E, H, n_outputs, M, A, V)
    decoder.embed(address(weights.embedding), weights.scale)
    stored = PRECISIONS.index(weights.precision)
    for layer in weights.layers:
        four = (layer.w_ih, layer.w_hh, layer.b_ih, layer.b_hh)
        decoder.add_layer(layer.input_size, *map(address, four), stored)
    if weights.score == "additive":
        decoder.attend(address(weights.query), address(weights.energy))
    if weights.combine is not None:
        decoder.combine(address(weights.combine))
    decoder.head(address(weights.head), address(weights.bias))
    return decoder, kept


def _check(weights: DecoderWeights, start: Start, rules: Rules) -> int:
    """Check all that the kernels rely on, because they read memory according to it; return B."""
    B, H = len(rules.limits), weights.layers[0].hidden_size
    V, n_outputs = weights.head.shape
    E, fed = weights.embedding.shape[1], n_outputs if weights.feeds else 0
    rows = CELLS[weights.kind].n_gates * H
    wanted: list[tuple[Tensor | None, tuple[int, ...]]] = [
        (weights.embedding, (V, E)),
        (weights.bias, (V,)),
        (start.feed, (B, n_outputs)),
    ]
    for depth, layer in enumerate(weights.layers):
        wanted += [
            (layer.w_ih, (rows, H if depth else E + fed)),
            (layer.w_hh, (rows, H)),
            (layer.b_ih, (rows,)),
            (layer.b_hh, (rows,)),
        ]
    wanted += [(part, (B, H)) for layer in start.layers for part in layer]
    M = 0
    if weights.score is not None:
        if start.keys is None or start.values is None or start.lengths is None:
            raise ValueError("a decoder with attention needs keys, values and lengths")
        S, (M, A) = start.keys.shape[1], (part.shape[2] for part in (start.values, start.keys))
        if weights.score != "additive" and A != H:
            raise ValueError(f"keys and h must have the same width, got {A} and {H}")
        wanted += [(start.keys, (B, S, A)), (start.values, (B, S, M)), (start.lengths, (B,))]
        wanted += [(weights.query, (A, H)), (weights.energy, (A,))]
        if not bool(((start.lengths >= 1) & (start.lengths <= S)).all()):
            raise ValueError(f"each length must be 1…{S}, got {start.lengths.tolist()}")
    wanted.append((weights.combine, (n_outputs, H + M)))
    for tensor, shape in wanted:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"a search takes a tensor of {shape}, got {tuple(tensor.shape)}")
    n_parts = len(weights.layers) * CELLS[weights.kind].n_states
    if len(start.states) != n_parts + weights.feeds:
        raise ValueError(f"the state has {n_parts + weights.feeds} parts, got {len(start.states)}")
    if weights.combine is None and (weights.score is not None or n_outputs != H):
        raise ValueError("an output that is not h needs the weight `combine`")
    if not all(0 <= id_ < V for id_ in (rules.begin, rules.end, *rules.barred)):
        raise ValueError(f"ids must be below {V}, got {[rules.begin, rules.end, *rules.barred]}")
    if not 1 <= rules.n_best <= rules.beam_size or min(rules.limits, default=1) < 1:
        raise ValueError(f"n_best must be 1…beam_size and limits at least 1, got {rules}")
    return B


def _n_threads(n_sentences: int) -> int:
    return max(1, min(torch.get_num_threads(), n_sentences // _SENTENCES_PER_THREAD))


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
