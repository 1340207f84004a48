"""Parts of models that several graphs share: embeddings, stacked layers, attention, output layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import ConfigError
from unrolled.exports.graph import FLOAT, LOWEST, Graph, as_array
from unrolled.exports.recurrence import NODES, Rows, directions_of, read
from unrolled.layers.attention import Attention
from unrolled.layers.characters import CharConvolution, CharEncoder
from unrolled.layers.conditional import TanhScorer
from unrolled.layers.encoder import RecurrentEncoder
from unrolled.layers.head import AdaptiveHead, CopyHead, SoftmaxHead
from unrolled.layers.label_head import LabelHead
from unrolled.layers.lm_encoder import LanguageModelEncoder
from unrolled.layers.pooling import Pooling
from unrolled.layers.renewal import renewed
from unrolled.ops.cells import cell_named


def kind_of(cell: str) -> str:
    """The kind of a cell that a recipe names.

    Raises:
        ConfigError: there is no node for it.
    """
    kind = cell_named(cell).kind
    if kind not in NODES:
        raise ConfigError(
            f"cell '{cell}' cannot be exported, because ONNX has no node for it; it has RNN (tanh or "
            "ReLU), GRU and LSTM"
        )
    return kind


def embedded(g: Graph, table: torch.nn.Embedding, rows: Rows, scale: float = 1.0) -> str:
    """`[T, B, E]`, zeros in the padding."""
    x = g("Gather", g.matrix(renewed(table).weight), rows.ids, axis=0)
    if scale != 1:
        x = g("Mul", x, g.constant(scale))
    return rows.cleared(g, x)


def with_facts(g: Graph, model: Any, name: str, x_TBE: str, rows: Rows) -> str:
    """Words with what a classifier reads beside them: characters, and whether the other text has them.

    Args:
        g: the graph, which gets an input for each.
        model: the classifier.
        name: name of the input with the ids of the text.
        x_TBE: the vectors of the words.
        rows: the lengths.
    """
    if model.spelling is not None:
        letters_BTK = g.input(
            f"{name}_letters", "rows", f"{name} steps", f"{name} letters", kind="INT64"
        )
        spelled_TBD = spelled(g, model.spelling, model.config.cell, letters_BTK)
        x_TBE = g("Concat", x_TBE, rows.cleared(g, spelled_TBD), axis=2)
    if "overlap" in getattr(model.config, "features", ()):
        common_BT = g.input(f"{name}_common", "rows", f"{name} steps")
        common_TB1 = g("Unsqueeze", g("Transpose", common_BT, perm=[1, 0]), g.integers(2))
        x_TBE = g("Concat", x_TBE, rows.cleared(g, common_TB1), axis=2)
    return x_TBE


def spelled(g: Graph, spelling: CharEncoder | CharConvolution, cell: str, letters_BTK: str) -> str:
    """The encoding of the characters of each word, `[T, B, D]`."""
    n_letters = g("Slice", g("Shape", letters_BTK), g.integers(2), g.integers(3))
    flat = g("Reshape", letters_BTK, g("Concat", g.integers(-1), n_letters, axis=0))
    rows = Rows.of(g, flat)
    x_KWE = embedded(g, spelling.embedding, rows)
    if isinstance(spelling, CharConvolution):
        spelled_WD = _convolved(g, spelling, x_KWE, rows)
    else:
        _, states = encoded(g, spelling.encoder, cell, x_KWE, rows)
        spelled_WD = states[-1][0]
    n_words = g("Slice", g("Shape", letters_BTK), g.integers(0), g.integers(2))
    shape = g("Concat", n_words, g.integers(-1), axis=0)
    return g("Transpose", g("Reshape", spelled_WD, shape), perm=[1, 0, 2])


def _convolved(g: Graph, spelling: CharConvolution, x_KWE: str, rows: Rows) -> str:
    """The largest output of each filter over all windows of a word, `[W, D]`."""
    convolution: Any = renewed(spelling.convolution)
    weight, bias = (g.constant(as_array(each)) for each in (convolution.weight, convolution.bias))
    x_WEK = g("Transpose", x_KWE, perm=[1, 2, 0])
    y_WDK = g("Conv", x_WEK, weight, bias, pads=list(spelling.margins))
    return largest(g, g("Transpose", y_WDK, perm=[2, 0, 1]), rows)


def encoded(
    g: Graph, encoder: RecurrentEncoder | LanguageModelEncoder, cell: str, x_TBE: str, rows: Rows
) -> tuple[str, list[tuple[str, ...]]]:
    """An encoder: outputs `[T, B, N·H]`, and final states by layer, `[B, N·H]` each."""
    if isinstance(encoder, LanguageModelEncoder):
        return _in_context(g, encoder, x_TBE, rows)
    states = []
    for depth in range(encoder.recurrent.num_layers):
        directions = directions_of(encoder.recurrent, depth)
        x_TBE, ends = read(g, kind_of(cell), x_TBE, rows, directions)
        states.append(tuple(joined(g, parts) for parts in zip(*ends, strict=True)))
    return x_TBE, states


def _in_context(
    g: Graph, encoder: LanguageModelEncoder, x_TBE: str, rows: Rows
) -> tuple[str, list[tuple[str, ...]]]:
    """A `LanguageModelEncoder`: outputs `[T, B, D]`, and the final state of the last layer."""
    stacks: Any = encoder.stacks
    width = encoder.input_size // len(stacks)
    outputs, ends = [], []
    for place, stack in enumerate(stacks):
        y_TBH = columns(g, x_TBE, place * width, (place + 1) * width)
        for depth, layer in enumerate(stack.layers):
            (direction,) = directions_of(layer)
            start = repeated(g, encoder.starts_of(place, depth), rows)
            direction = replace(direction, is_reverse=place == 1, initial=start)
            y_TBH, (end,) = read(g, kind_of(stack.cell), y_TBH, rows, [direction])
        outputs.append(y_TBH)
        ends.append(end)
    if encoder.n_columns:
        first = encoder.input_size
        outputs.append(columns(g, x_TBE, first, first + encoder.n_columns))
    last = tuple(joined(g, parts) for parts in zip(*ends, strict=True))
    return outputs[0] if len(outputs) == 1 else g("Concat", *outputs, axis=2), [last]


def repeated(g: Graph, vectors: Sequence[Tensor], rows: Rows) -> tuple[str, ...]:
    """Vectors `[D]` for every row: `[B, D]` each."""
    first = g("Shape", rows.lengths)
    return tuple(
        g("Expand", g.vector(each[None]), g("Concat", first, g.integers(len(each)), axis=0))
        for each in vectors
    )


def columns(g: Graph, x_TBD: str, start: int, end: int) -> str:
    """Some of the columns of `[T, B, D]`."""
    return g("Slice", x_TBD, g.integers(start), g.integers(end), g.integers(2))


def joined(g: Graph, parts: Sequence[str]) -> str:
    """Parts `[B, D]` side by side."""
    return parts[0] if len(parts) == 1 else g("Concat", *parts, axis=1)


def batch_first(g: Graph, x_TBD: str) -> str:
    """`[B, T, D]`."""
    return g("Transpose", x_TBD, perm=[1, 0, 2])


def pooled(g: Graph, pooling: Pooling, y_TBD: str, last_BD: str, rows: Rows) -> tuple[str, str]:
    """A `Pooling`: vectors `[B, D]`, and attention weights `[B, T]`, or ""."""
    if pooling.kind != "attentive":
        kinds = ("final", "max", "mean") if pooling.kind == "concat" else (pooling.kind,)
        found = [_pooled_as(g, kind, y_TBD, last_BD, rows) for kind in kinds]
        return joined(g, found), ""
    attentive = pooling.attentive
    assert attentive is not None
    hidden = g("Tanh", g.linear(y_TBD, attentive.weight, attentive.bias))
    energies = g("MatMul", hidden, g.vector(attentive.query.unsqueeze(1)))
    weights = masked_softmax(g, energies, rows.is_real, axis=0)
    pooled_BD = g("ReduceSum", g("Mul", weights, y_TBD), g.integers(0), keepdims=0)
    return pooled_BD, g("Transpose", g("Squeeze", weights, g.integers(2)), perm=[1, 0])


def _pooled_as(g: Graph, kind: str, y_TBD: str, last_BD: str, rows: Rows) -> str:
    """A pooling without weights: "final", "max" or "mean"."""
    if kind == "final":
        return g("Where", rows.has_steps, last_BD, g.constant(0.0))
    if kind == "max":
        return largest(g, y_TBD, rows)
    return mean(g, y_TBD, rows)


def mean(g: Graph, y_TBD: str, rows: Rows) -> str:
    """The mean over the real steps, `[B, D]`; zeros for a row without steps."""
    n_steps = g("Cast", g("Max", rows.lengths, g.constant(1, np.int64)), to=FLOAT)
    total = g("ReduceSum", y_TBD, g.integers(0), keepdims=0)
    return g("Div", total, g("Unsqueeze", n_steps, g.integers(1)))


def largest(g: Graph, y_TBD: str, rows: Rows) -> str:
    """The maximum over the real steps, `[B, D]`; zeros for a row without steps."""
    lowest = g("Where", rows.is_real, y_TBD, g.constant(LOWEST))
    maxima = g("ReduceMax", lowest, axes=[0], keepdims=0)
    return g("Where", rows.has_steps, maxima, g.constant(0.0))


def masked_softmax(g: Graph, energies: str, is_real: str, axis: int) -> str:
    """Softmax over real steps; zeros elsewhere, and in a row without steps."""
    weights = g("Softmax", g("Where", is_real, energies, g.constant(LOWEST)), axis=axis)
    return g("Where", is_real, weights, g.constant(0.0))


def attention_keys(g: Graph, attention: Attention, values: str) -> str:
    """What the queries of an attention are compared with; the values themselves for "dot"."""
    return values if attention.score == "dot" else g.linear(values, renewed(attention).key_weight)


def attended(
    g: Graph, attention: Attention, query_BQH: str, keys: str, values: str, bias: str
) -> tuple[str, str]:
    """An `Attention`: the context `[B, Q, D]` and the weights `[B, Q, S]`.

    Args:
        g: the graph.
        attention: the module.
        query_BQH: queries.
        keys, values: `[B, S, A]` and `[B, S, D]`.
        bias: `[B, 1, S]`, added to the energies: 0 for real steps, the lowest number in the padding.
    """
    if attention.score == "additive":
        renewed(attention)
        query = g("Unsqueeze", g.linear(query_BQH, attention.query_weight), g.integers(2))
        hidden = g("Tanh", g("Add", query, g("Unsqueeze", keys, g.integers(1))))
        energy = g.vector(attention.energy_weight.unsqueeze(1))
        energies = g("Squeeze", g("MatMul", hidden, energy), g.integers(3))
    else:
        energies = g("MatMul", query_BQH, g("Transpose", keys, perm=[0, 2, 1]))
    weights = g("Softmax", g("Add", energies, bias), axis=2)
    return g("MatMul", weights, values), weights


def label_logits(g: Graph, head: LabelHead, hidden_BD: str) -> str:
    """The scores of a `LabelHead`, `[B, C]`."""
    scorer: Any = renewed(head.scorer)
    if not isinstance(scorer, TanhScorer):
        return g.linear(hidden_BD, scorer.weight, scorer.bias)
    inner = g("Tanh", g.linear(hidden_BD, scorer.weight))
    if scorer.output is None:
        return inner
    renewed(scorer.output)
    return g.linear(inner, scorer.output.weight, scorer.output.bias)


def word_logits(g: Graph, head: torch.nn.Module, hidden: str) -> str:
    """The scores of the words, `[…, V]`; log-probabilities of an `AdaptiveHead`.

    Raises:
        ConfigError: there is no graph for this head.
    """
    if isinstance(head, AdaptiveHead):
        return _adaptive(g, head, hidden)
    if isinstance(head, CopyHead) or not isinstance(head, SoftmaxHead):
        raise ConfigError(f"the output layer {type(head).__name__} cannot be exported to ONNX yet")
    renewed(head)
    return g.linear(hidden, head.weight, head.bias)


def _adaptive(g: Graph, head: AdaptiveHead, hidden: str) -> str:
    layers = head.layers
    n_frequent = layers.shortlist_size
    first = g("LogSoftmax", g.linear(hidden, renewed(layers.head).weight), axis=-1)
    last_axis = g.integers(-1)
    parts = [g("Slice", first, g.integers(0), g.integers(n_frequent), last_axis)]
    for cluster, (narrow, words) in enumerate(_tail(layers)):
        inside = g("LogSoftmax", g.linear(g.linear(hidden, narrow), words), axis=-1)
        place = n_frequent + cluster
        own = g("Slice", first, g.integers(place), g.integers(place + 1), last_axis)
        parts.append(g("Add", inside, own))
    return g("Concat", *parts, axis=-1)


def _tail(layers: Any) -> list[tuple[Tensor, Tensor]]:
    return [(renewed(narrow).weight, renewed(words).weight) for narrow, words in layers.tail]
