"""Greedy and beam search with a decoder in one call of the native kernels, on NumPy arrays.

The rules are those of `unrolled.decoding.beam` and `unrolled.decoding.greedy`, and the steps those of
`unrolled.layers.decoder`, in float32. A sentence is left to the search step by step if its answer depends
on the order of equally probable continuations, or if a probability is not a number.

`ops.searching` does the same for tensors. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from unrolled.kernels import kernels

PRECISIONS = ("float32", "bfloat16", "int8")
"""In which the weights of recurrent layers can be stored, by their numbers in the kernels."""

_SCORES = {None: 0, "additive": 1, "dot": 2, "general": 2}
# Hypotheses from which packing the weights takes less time than it saves.
_LEAST_ROWS = 64
# Sentences per thread from which waking it is worthwhile.
_SENTENCES_PER_THREAD = 4

Array = Any
"""An array of NumPy or a tensor; `search` takes those of NumPy."""


class Cell(NamedTuple):
    """A cell: its number in `native/cells.h`, and how many gates and parts of its state it has."""

    kernel: int
    n_gates: int
    n_states: int


class LayerWeights(NamedTuple):
    """The weights of one layer, with the layout and names of `torch.nn`; None for no biases."""

    w_ih: Array
    w_hh: Array
    b_ih: Array
    b_hh: Array


@dataclass(frozen=True)
class DecoderWeights:
    """The weights of a decoder.

    Args:
        cell: the cell.
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

    cell: Cell
    embedding: Array
    scale: float
    layers: tuple[LayerWeights, ...]
    precision: str
    score: Literal["additive", "dot", "general"] | None
    query: Array | None
    energy: Array | None
    combine: Array | None
    feeds: bool
    head: Array
    bias: Array

    @property
    def arrays(self) -> list[Array]:
        """All that there are."""
        others = (self.query, self.energy, self.combine)
        layers = [w for layer in self.layers for w in layer if w is not None]
        return [
            self.embedding,
            *layers,
            *(w for w in others if w is not None),
            self.head,
            self.bias,
        ]

    def converted(self, convert: Callable[[Array], Array]) -> DecoderWeights:
        """The same with other arrays."""
        layers = (LayerWeights(*(_if_any(convert, w) for w in each)) for each in self.layers)
        names = ("embedding", "query", "energy", "combine", "head", "bias")
        others: dict[str, Any] = {name: _if_any(convert, getattr(self, name)) for name in names}
        return replace(self, layers=tuple(layers), **others)


@dataclass(frozen=True)
class Start:
    """What a search of B sentences begins with.

    Args:
        layers: the state of each layer, `(h,)` or `(h, c)`, each `[B, H]`.
        feed: `[B, O]`, o_0; None without input feeding.
        keys, values: `[B, S, A]`, `[B, S, M]`, the memory; None without attention.
        lengths: `[B]`, number of real steps in each row's memory, at least 1; None without attention.
    """

    layers: tuple[tuple[Array, ...], ...]
    feed: Array | None
    keys: Array | None
    values: Array | None
    lengths: Array | None

    @property
    def states(self) -> list[Array]:
        """The parts of the state in the order of the kernels."""
        parts = [part for layer in self.layers for part in layer]
        return parts if self.feed is None else [*parts, self.feed]

    @property
    def arrays(self) -> list[Array]:
        """All that have numbers."""
        memory = [] if self.keys is None or self.values is None else [self.keys, self.values]
        return [*self.states, *memory]

    def converted(self, convert: Callable[[Array], Array]) -> Start:
        """The same with other arrays."""
        return Start(
            tuple(tuple(map(convert, layer)) for layer in self.layers),
            *(_if_any(convert, each) for each in (self.feed, self.keys, self.values, self.lengths)),
        )


def _if_any(convert: Callable[[Array], Array], array: Array | None) -> Array | None:
    return None if array is None else convert(array)


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
    """A hypothesis: its words, score, log-probability, `[T, S]` attention and whether it has ended.

    The attention is an array, and of `ops.searching` a tensor.
    """

    words: tuple[int, ...]
    score: float
    log_prob: float
    attention: Array | None
    finished: bool


def search(
    weights: DecoderWeights, start: Start, rules: Rules, n_threads: int = 1
) -> list[list[Found] | None]:
    """Find the hypotheses of each sentence, best first.

    None for a sentence that only the search step by step can answer.

    Args:
        weights, start: arrays of NumPy.
        rules: the rules.
        n_threads: at most so many threads take part.

    Raises:
        ValueError: shapes do not match, or an id or a number of hypotheses is out of range.
    """
    B = _check(weights, start, rules)
    decoder, kept = _decoder(weights, start)
    if B * rules.beam_size >= _LEAST_ROWS:
        decoder.pack()

    S = 0 if start.keys is None else start.keys.shape[1]
    found = decoder.search(
        B, S, address_of(start.lengths, kept, np.int64), address_of(start.keys, kept),
        address_of(start.values, kept), [address_of(part, kept) for part in start.states],
        list(rules.limits), rules.alpha, rules.beam_size, rules.n_best, rules.begin, rules.end,
        list(rules.barred), rules.with_attention and start.keys is not None, _n_threads(B, n_threads),
    )  # fmt: skip
    del kept  # until here, the decoder has read their memory
    return [[_found(S, *each) for each in sentence] or None for sentence in found]


def _n_threads(n_sentences: int, most: int) -> int:
    return max(1, min(most, n_sentences // _SENTENCES_PER_THREAD))


def _found(
    S: int, words: list[int], log_prob: float, score: float, finished: bool, looked: bytes
) -> Found:
    attention = None
    if looked:
        attention = np.frombuffer(bytearray(looked), np.float32).reshape(-1, S)
    return Found(tuple(words), score, log_prob, attention, finished)


def address_of(array: Array | None, kept: list[Array], dtype: type = np.float32) -> int:
    """The address of a contiguous array, which is kept alive; 0 for None."""
    if array is None:
        return 0
    if array.dtype != dtype:
        raise ValueError(f"a search takes {np.dtype(dtype)}, got {array.dtype}")
    kept.append(np.ascontiguousarray(array))
    found: int = kept[-1].ctypes.data
    return found


def _decoder(weights: DecoderWeights, start: Start) -> tuple[Any, list[Array]]:
    """The decoder of the kernels, and the arrays whose memory it reads."""
    kept: list[Array] = []

    def address(array: Array | None) -> int:
        return address_of(array, kept)

    V, E = weights.embedding.shape
    H, n_outputs = weights.layers[0].w_hh.shape[1], weights.head.shape[1]
    A, M = (0 if part is None else part.shape[2] for part in (start.keys, start.values))
    kernel, score = weights.cell.kernel, _SCORES[weights.score]
    decoder = kernels.Decoder(kernel, score, weights.feeds, E, H, n_outputs, M, A, V)
    decoder.embed(address(weights.embedding), weights.scale)
    stored = PRECISIONS.index(weights.precision)
    for layer in weights.layers:
        decoder.add_layer(layer.w_ih.shape[1], *map(address, layer), stored)
    if weights.score == "additive":
        decoder.attend(address(weights.query), address(weights.energy))
    if weights.combine is not None:
        decoder.combine(address(weights.combine))
    decoder.head(address(weights.head), address(weights.bias))
    return decoder, kept


def _check(weights: DecoderWeights, start: Start, rules: Rules) -> int:
    """Check all that the kernels rely on, because they read memory according to it; return B."""
    B, H = len(rules.limits), weights.layers[0].w_hh.shape[1]
    V, n_outputs = weights.head.shape
    E, fed = weights.embedding.shape[1], n_outputs if weights.feeds else 0
    rows = weights.cell.n_gates * H
    wanted: list[tuple[Array | None, tuple[int, ...]]] = [
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
    for array, shape in wanted:
        if array is not None and tuple(array.shape) != shape:
            raise ValueError(f"a search takes an array of {shape}, got {tuple(array.shape)}")
    n_parts = len(weights.layers) * weights.cell.n_states
    if len(start.states) != n_parts + weights.feeds:
        raise ValueError(f"the state has {n_parts + weights.feeds} parts, got {len(start.states)}")
    if weights.combine is None and (weights.score is not None or n_outputs != H):
        raise ValueError("an output that is not h needs the weight `combine`")
    if not all(0 <= id_ < V for id_ in (rules.begin, rules.end, *rules.barred)):
        raise ValueError(f"ids must be below {V}, got {[rules.begin, rules.end, *rules.barred]}")
    if not 1 <= rules.n_best <= rules.beam_size or min(rules.limits, default=1) < 1:
        raise ValueError(f"n_best must be 1…beam_size and limits at least 1, got {rules}")
    return B
