"""The graph of a classifier of pairs: ids of both texts → scores of the labels.

Encoders that read only one text, or both as one, have one input, `text`; the others have `first` and
`second`. Word-by-word attention is a loop over the steps of a text (Scan).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from unrolled.exports import parts
from unrolled.exports.graph import LOWEST, Graph
from unrolled.exports.recurrence import Direction, Rows, directions_of, read
from unrolled.exports.rounding import Precision
from unrolled.layers.aligned import AlignedEncoder
from unrolled.layers.alignment import MatchingEncoder
from unrolled.layers.conditional import (
    AttentiveEncoder,
    BidirectionalConditionalEncoder,
    ConditionalEncoder,
    IndependentEncoder,
    Reader,
    SingleEncoder,
    Start,
    WordByWordEncoder,
)
from unrolled.layers.renewal import renewed
from unrolled.tasks.pair import PairClassifier

Ends = list[tuple[str, ...]]
"""The final state of each direction."""


def graphs(model: PairClassifier, precision: Precision) -> dict[str, Graph]:
    """The graph, by the name of its file."""
    parts.kind_of(model.config.cell)  # raises an error for a cell without a node
    g, encoder = Graph("pair", precision), model.encoder
    if isinstance(encoder, SingleEncoder):
        x, rows = _text(g, model, "text")
        _, ends = _read(g, encoder.reader, x, rows, _starts(g, encoder.start, rows))
        hidden, weights = _last(g, ends), ""
    else:
        texts = [_text(g, model, name) for name in ("first", "second")]
        if model.config.condition == "second":
            texts.reverse()
        features: Sequence[str] = ()
        if isinstance(encoder, MatchingEncoder):
            encoder, features = encoder.encoder, encoder.features
        hidden, weights, one, other = _ENCODERS[type(encoder)](g, encoder, *texts)
        hidden = _matched(g, hidden, one, other, features)
    n_labels = len(model.head.thresholds)
    g.output("logits", parts.label_logits(g, model.head, hidden), "rows", n_labels)
    if weights:
        g.output("attention", weights, "rows", "attended steps")
    return {"model.onnx": g}


Encoded = tuple[str, str, str, str]
"""The vector of a pair, attention weights or "", and the encodings of both texts."""

Text = tuple[str, Rows]
"""Embedded steps `[T, B, E]` with zeros in the padding, and the lengths of the rows."""


def _text(g: Graph, model: PairClassifier, name: str) -> Text:
    rows = Rows.of(g, g.input(name, "rows", f"{name} steps", kind="INT64"))
    x_TBE = parts.embedded(g, model.embedding, rows)
    if model.context is not None:
        x_TBE = parts.with_facts(g, model, name, x_TBE, rows)
        x_TBE, _ = parts.encoded(g, model.context, model.config.cell, x_TBE, rows)
        return _projected(g, model, x_TBE, rows), rows
    x_TBE = _projected(g, model, x_TBE, rows)
    return parts.with_facts(g, model, name, x_TBE, rows), rows


def _projected(g: Graph, model: PairClassifier, x_TBE: str, rows: Rows) -> str:
    if model.projection is None:
        return x_TBE
    renewed(model.projection)
    return rows.cleared(g, g.linear(x_TBE, model.projection.weight, model.projection.bias))


def _matched(g: Graph, hidden: str, first: str, second: str, features: Sequence[str]) -> str:
    """|u − v| and u ∘ v of the encodings of both texts behind a vector; see `alignment.matched`."""
    found = [hidden]
    if "difference" in features:
        found.append(g("Abs", g("Sub", first, second)))
    if "product" in features:
        found.append(g("Mul", first, second))
    return parts.joined(g, found)


def _starts(g: Graph, start: Start, rows: Rows) -> list[tuple[str, ...]]:
    """The initial state of each direction; () for zeros."""
    n_directions = len(getattr(start, start.names[0]))
    if not any(True for _ in start.parameters()):
        return [()] * n_directions
    return [
        parts.repeated(g, [getattr(start, name)[n] for name in start.names], rows)
        for n in range(n_directions)
    ]


def _read(
    g: Graph,
    reader: Reader,
    x_TBE: str,
    rows: Rows,
    starts: Sequence[tuple[str, ...]],
    starts_empty: bool = False,
) -> tuple[str, Ends]:
    module = reader.recurrent
    directions: list[Direction] = [
        replace(direction, initial=initial, starts_empty=starts_empty)
        for direction, initial in zip(directions_of(module), starts, strict=False)
    ]
    return read(g, parts.kind_of(_cell_of(module)), x_TBE, rows, directions)


def _cell_of(module: Any) -> str:
    """The name of a layer's cell in recipes."""
    names = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn", "RNN_RELU": "rnn_relu"}
    return names[module.mode]


def _last(g: Graph, ends: Ends) -> str:
    """The last hidden states of all directions, `[B, N·H]`."""
    return parts.joined(g, [end[0] for end in ends])


def _crossed(g: Graph, starts: Sequence[tuple[str, ...]], ends: Ends, rows: Rows) -> Ends:
    """The state with which each direction of the second text begins; see `layers.conditional.crossed`."""
    crossed: Ends = []
    for n, start in enumerate(starts):
        end = ends[min(n, len(ends) - 1)]
        if len(end) == 1:
            crossed.append(end)
        else:
            first = start[0] if start else g("Mul", end[1], g.constant(0.0))
            crossed.append((first, end[1]))
    return crossed


def _independent(g: Graph, encoder: IndependentEncoder, first: Text, second: Text) -> Encoded:
    hidden = []
    for reader, (x, rows) in ((encoder.first, first), (encoder.second, second)):
        _, ends = _read(g, reader, x, rows, _starts(g, encoder.start, rows))
        hidden.append(_last(g, ends))
    return parts.joined(g, hidden), "", hidden[0], hidden[1]


def _one_after_other(
    g: Graph,
    encoder: ConditionalEncoder | BidirectionalConditionalEncoder,
    first: Text,
    second: Text,
) -> tuple[str, str, str, str]:
    """Outputs of both layers, `[S, B, H]` and `[T, B, H]`, and the last states of both."""
    starts = _starts(g, encoder.start, first[1])
    y, ends = _read(g, encoder.first, *first, starts)
    begins = _crossed(g, starts, ends, second[1])
    h, last = _read(g, encoder.second, *second, begins, starts_empty=not starts[0])
    return y, h, _last(g, ends), _last(g, last)


def _conditional(g: Graph, encoder: Any, first: Text, second: Text) -> Encoded:
    _, _, end, last = _one_after_other(g, encoder, first, second)
    return last, "", end, last


def _attentive(g: Graph, encoder: AttentiveEncoder, first: Text, second: Text) -> Encoded:
    y, _, end, last = _one_after_other(g, encoder.conditional, first, second)
    values, is_real = parts.batch_first(g, y), g("Transpose", first[1].is_real, perm=[1, 2, 0])
    keys = parts.attention_keys(g, encoder.attention, values)
    bias = g("Where", is_real, g.constant(0.0), g.constant(LOWEST))
    query = g("Unsqueeze", last, g.integers(1))
    seen, weights = parts.attended(g, encoder.attention, query, keys, values, bias)
    weights = g("Where", is_real, weights, g.constant(0.0))
    one = g.integers(1)
    vector = _joined(g, encoder, g("Squeeze", seen, one), last)
    return vector, g("Squeeze", weights, one), end, last


def _joined(g: Graph, encoder: Any, seen: str, last: str) -> str:
    """h* = tanh(W^p r + W^x h)."""
    return g(
        "Tanh", g("Add", g.linear(seen, encoder.seen_weight), g.linear(last, encoder.last_weight))
    )


def _word_by_word(g: Graph, encoder: WordByWordEncoder, first: Text, second: Text) -> Encoded:
    y, h, end, last = _one_after_other(g, encoder.conditional, first, second)
    values, is_real = parts.batch_first(g, y), g("Transpose", first[1].is_real, perm=[1, 2, 0])
    keys = g.linear(values, encoder.key_weight)
    known = g.linear(h, encoder.query_weight)
    seen = g("Mul", last, g.constant(0.0))
    outer = (
        keys,
        values,
        is_real,
        *map(g.transposed, (encoder.next_weight, encoder.seen_query_weight)),
    )
    body = _attention_step(outer, encoder.energy_weight)
    seen, weights_TBS = g.several(
        "Scan", seen, known, second[1].is_real, n_outputs=2, body=body, num_scan_inputs=2
    )
    return _joined(g, encoder, seen, last), parts.mean(g, weights_TBS, second[1]), end, last


def _attention_step(outer: tuple[str, ...], energy: Tensor) -> Graph:
    """r_t and the attention of step t, from r_t−1, W^h h_t and whether the step is real.

    The equations are those of `WordByWordEncoder`. Keys, values, which steps of the first text are real,
    and two weights are values of the outer graph.
    """
    keys, values, is_real, next_weight, seen_weight = outer
    g = Graph("attention", prefix="step_")
    r = g.input("step_r", "rows", "width")
    known = g.input("step_known", "rows", "width")
    real_B1 = g.input("step_real", "rows", 1, kind="BOOL")
    one = g.integers(1)
    query = g("Unsqueeze", g("Add", known, g("MatMul", r, seen_weight)), one)
    hidden = g("Tanh", g("Add", keys, query))
    energies = g("MatMul", hidden, g.vector(energy.unsqueeze(1)))
    energies = g("Transpose", energies, perm=[0, 2, 1])
    weights_B1S = g("Softmax", g("Where", is_real, energies, g.constant(LOWEST / 2)), axis=2)
    seen = g("Squeeze", g("MatMul", weights_B1S, values), one)
    following = g("Add", seen, g("Tanh", g("MatMul", r, next_weight)))
    zero = g.constant(0.0)
    weights = g("Where", real_B1, g("Squeeze", g("Where", is_real, weights_B1S, zero), one), zero)
    g.output("step_next", g("Where", real_B1, following, r), "rows", "width")
    g.output("step_weights", weights, "rows", "attended steps")
    return g


def _aligned(g: Graph, encoder: AlignedEncoder, first: Text, second: Text) -> Encoded:
    """The equations of `AlignedEncoder`."""
    starts = _starts(g, encoder.start, first[1])
    a, b = (
        parts.batch_first(g, _read(g, encoder.reader, *text, starts)[0]) for text in (first, second)
    )
    energies = g("MatMul", a, g("Transpose", b, perm=[0, 2, 1]))
    are_first, are_second = (
        g("Transpose", rows.is_real, perm=[1, 2, 0]) for _, rows in (first, second)
    )
    to_second = parts.masked_softmax(g, energies, are_second, axis=2)
    to_first = parts.masked_softmax(g, g("Transpose", energies, perm=[0, 2, 1]), are_first, axis=2)
    one = _composed(g, encoder, a, g("MatMul", to_second, b), first[1], starts)
    other = _composed(g, encoder, b, g("MatMul", to_first, a), second[1], starts)
    weights_TBS = second[1].cleared(g, g("Transpose", to_first, perm=[1, 0, 2]))
    return parts.joined(g, [one, other]), parts.mean(g, weights_TBS, second[1]), one, other


def _composed(
    g: Graph,
    encoder: AlignedEncoder,
    own: str,
    other: str,
    rows: Rows,
    starts: Sequence[tuple[str, ...]],
) -> str:
    """[mean; max] over the second layer's outputs for a text and what its steps are aligned with."""
    compared = g("Concat", own, other, g("Sub", own, other), g("Mul", own, other), axis=2)
    projection = renewed(encoder.projection)
    m_BTH = g("Relu", g.linear(compared, projection.weight, projection.bias))
    m_TBH = rows.cleared(g, g("Transpose", m_BTH, perm=[1, 0, 2]))
    v_TBD, _ = _read(g, encoder.composition, m_TBH, rows, starts)
    return parts.joined(g, [parts.mean(g, v_TBD, rows), parts.largest(g, v_TBD, rows)])


_ENCODERS: dict[type, Any] = {
    IndependentEncoder: _independent,
    ConditionalEncoder: _conditional,
    BidirectionalConditionalEncoder: _conditional,
    AttentiveEncoder: _attentive,
    WordByWordEncoder: _word_by_word,
    AlignedEncoder: _aligned,
}
