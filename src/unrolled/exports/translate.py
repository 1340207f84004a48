"""The two graphs of an encoder–decoder: the encoder of the source, and one step of the decoder.

    encoder   source [B, S] → state_*, and with attention values [B, S, D], keys [B, S, A], bias [B, 1, S]
    step      token [B, Q], state_* [B, Q, H], [feed], [keys], [values, bias], [writes [B, S]]
              → logits [B, Q, V], next_*, [next_feed], [attention]

A step reads Q hypotheses for each of B sentences, which share the memory of their sentence. What is in
brackets depends on the model: input feeding, and attention; for the score "dot", the values are the keys.
A model that copies has the log-probabilities of V words and of S steps of the source as scores; `writes`
is the word that copying each step writes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from unrolled.exports import parts
from unrolled.exports.graph import LOWEST, Graph
from unrolled.exports.language_model import state_names
from unrolled.exports.recurrence import Rows, step
from unrolled.exports.rounding import Precision
from unrolled.layers.head import CopyHead
from unrolled.layers.recurrent import layer_weights
from unrolled.layers.renewal import renewed
from unrolled.tasks.seq2seq import Translator
from unrolled.text.config import UNK_ID

NO_CHANCE = LOWEST / 4
"""The logarithm of a probability of 0 in a graph, in place of −∞, is below this number."""


def graphs(model: Translator, precision: Precision) -> dict[str, Graph]:
    """Both graphs, by the names of their files."""
    return {"encoder.onnx": _encoder(model, precision), "step.onnx": _step(model, precision)}


def names_of(model: Translator) -> list[list[str]]:
    """The names of the parts of the decoder's state, by layer."""
    return state_names(model.config.cell, model.config.decoder_layers)


def _encoder(model: Translator, precision: Precision) -> Graph:
    g, config = Graph("encoder", precision), model.config
    source = g.input("source", "rows", "steps", kind="INT64")
    rows = Rows.of(g, source)
    x_TBE = parts.embedded(g, model.source_embedding, rows, model._scale(model.source_embedding))
    y_TBD, states = parts.encoded(g, model.encoder, config.cell, x_TBE, rows)
    for layer, names in enumerate(names_of(model)):
        projections: Any = model.bridge.projections[layer]
        ends = states[min(layer, len(states) - 1)]
        for name, end, projection in zip(names, ends, projections, strict=True):
            renewed(projection)
            first = g("Tanh", g.linear(end, projection.weight, projection.bias))
            g.output(f"state_{name}", first, "rows", config.hidden_size)
    attention = model.decoder.attention
    if attention is not None:
        values, width = parts.batch_first(g, y_TBD), model.encoder.output_size
        g.output("values", values, "rows", "steps", width)
        if attention.score != "dot":
            keys = parts.attention_keys(g, attention, values)
            g.output("keys", keys, "rows", "steps", len(attention.key_weight))
        is_real = g("Transpose", rows.is_real, perm=[1, 2, 0])
        bias = g("Where", is_real, g.constant(0.0), g.constant(LOWEST))
        g.output("bias", bias, "rows", 1, "steps")
    return g


def _step(model: Translator, precision: Precision) -> Graph:
    g, decoder = Graph("step", precision), model.decoder
    names, size = names_of(model), model.config.hidden_size
    token = g.input("token", "rows", "hypotheses", kind="INT64")
    states = [
        [g.input(f"state_{name}", "rows", "hypotheses", size) for name in own] for own in names
    ]
    attention = decoder.attention
    values = g.input("values", "rows", "steps", model.encoder.output_size) if attention else ""
    x = _embedded_token(g, model, token, values)
    if decoder.input_feeding:
        feed = g.input("feed", "rows", "hypotheses", decoder.output_size)
        x = g("Concat", x, feed, axis=2)
    ends = []
    for layer, state in enumerate(states):
        weights = layer_weights(decoder.recurrent, layer)
        ends.append(step(g, parts.kind_of(decoder.cell), x, state, weights))
        x = ends[-1][0]
    output, weights_BQS = _output(g, model, x, values)
    n_words = len(model.head.bias)
    if isinstance(model.head, CopyHead):
        logits = _copied_or_generated(g, model.head, output, weights_BQS)
        g.output("logits", logits, "rows", "hypotheses", "words and steps")
    else:
        logits = parts.word_logits(g, model.head, output)
        g.output("logits", logits, "rows", "hypotheses", n_words)
    for own, end in zip(names, ends, strict=True):
        for name, part in zip(own, end, strict=True):
            g.output(f"next_{name}", part, "rows", "hypotheses", size)
    if decoder.input_feeding:
        g.output("next_feed", output, "rows", "hypotheses", decoder.output_size)
    if weights_BQS:
        g.output("attention", weights_BQS, "rows", "hypotheses", "steps")
    return g


def _embedded_token(g: Graph, model: Translator, token: str, values: str) -> str:
    """The words, `[B, Q, E]`; id V + s is the word at step s of the source, embedded by its encoding."""
    table, scale = model.target_embedding, model._scale(model.target_embedding)
    words, copied = token, ""
    if model.embed_copied is not None:
        n_words = g.constant(table.num_embeddings, np.int64)
        copied = g("GreaterOrEqual", token, n_words)
        words = g("Where", copied, g.constant(UNK_ID, np.int64), token)
    embedded = g("Gather", g.matrix(renewed(table).weight), words, axis=0)
    if scale != 1:
        embedded = g("Mul", embedded, g.constant(scale))
    if model.embed_copied is None:
        return embedded
    last = g.integers(2)
    step = g("Max", g("Sub", token, n_words), g.constant(0, np.int64))
    value = g("GatherND", values, g("Unsqueeze", step, last), batch_dims=1)
    own = g.linear(value, renewed(model.embed_copied).weight)
    return g("Where", g("Unsqueeze", copied, last), own, embedded)


def _copied_or_generated(g: Graph, head: CopyHead, hidden: str, looked_BQS: str) -> str:
    """The log-probabilities of a `CopyHead`, `[B, Q, V + S]`."""
    renewed(head)
    writes_BS = g.input("writes", "rows", "steps", kind="INT64")
    shape = g("Shape", looked_BQS)
    ids = g("Expand", g("Unsqueeze", writes_BS, g.integers(1)), shape)
    generated = g("LogSoftmax", g.linear(hidden, head.weight, head.bias), axis=2)
    nothing = g("Expand", g.constant(LOWEST / 2), shape)
    generated = g("Concat", generated, nothing, axis=2)
    none = g("Mul", g("Exp", generated), g.constant(0.0))
    copied = g("Log", g("ScatterElements", none, ids, looked_BQS, axis=2, reduction="add"))
    copied = g("Max", copied, g.constant(LOWEST / 2))
    gate = g.linear(hidden, head.gate_weight, head.gate_bias)
    # log σ(x) = −log(1 + e^−x), and log (1 − σ(x)) = −log(1 + e^x)
    generated = g("Sub", generated, g("Softplus", g("Neg", gate)))
    copied = g("Sub", copied, g("Softplus", gate))
    largest = g("Max", generated, copied)
    total = g("Add", g("Exp", g("Sub", generated, largest)), g("Exp", g("Sub", copied, largest)))
    return g("Add", largest, g("Log", total))


def _output(g: Graph, model: Translator, h_BQH: str, values: str) -> tuple[str, str]:
    """The output of the decoder, `[B, Q, O]`, and its attention, or ""."""
    decoder, weights = model.decoder, ""
    if (attention := decoder.attention) is not None:
        keys = values
        if attention.score != "dot":
            keys = g.input("keys", "rows", "steps", len(attention.key_weight))
        bias = g.input("bias", "rows", 1, "steps")
        context, weights = parts.attended(g, attention, h_BQH, keys, values, bias)
        h_BQH = g("Concat", h_BQH, context, axis=2)
    if decoder.combine is None:
        return h_BQH, weights
    combine: nn.Linear = renewed(decoder.combine)
    return g("Tanh", g.linear(h_BQH, combine.weight)), weights
