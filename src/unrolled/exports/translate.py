"""The two graphs of an encoder–decoder: the encoder of the source, and one step of the decoder.

    encoder   source [B, S] → state_*, and with attention values [B, S, D], keys [B, S, A], bias [B, 1, S]
    step      token [B, Q], state_* [B, Q, H], [feed], [keys], [values, bias]
              → logits [B, Q, V], next_*, [next_feed], [attention]

A step reads Q hypotheses for each of B sentences, which share the memory of their sentence. What is in
brackets depends on the model: input feeding, and attention; for the score "dot", the values are the keys.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from unrolled.errors import ConfigError
from unrolled.exports import parts
from unrolled.exports.graph import LOWEST, Graph
from unrolled.exports.language_model import state_names
from unrolled.exports.recurrence import Rows, step
from unrolled.exports.rounding import Precision
from unrolled.layers.recurrent import layer_weights
from unrolled.layers.renewal import renewed
from unrolled.tasks.seq2seq import Translator


def why_not(model: Translator) -> str | None:
    """Why a model cannot be exported, in words; None if it can."""
    if model.config.copying != "none":
        return f"model.copying = '{model.config.copying}' has no graph yet"
    return None


def graphs(model: Translator, precision: Precision) -> dict[str, Any]:
    """Both graphs, by the names of their files.

    Raises:
        ConfigError: the model cannot be exported; the message says why.
    """
    if (reason := why_not(model)) is not None:
        raise ConfigError(f"this run cannot be exported to ONNX: {reason}")
    return {"encoder.onnx": _encoder(model, precision), "step.onnx": _step(model, precision)}


def names_of(model: Translator) -> list[list[str]]:
    """The names of the parts of the decoder's state, by layer."""
    return state_names(model.config.cell, model.config.decoder_layers)


def _encoder(model: Translator, precision: Precision) -> Any:
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
    return g.model()


def _step(model: Translator, precision: Precision) -> Any:
    g, decoder = Graph("step", precision), model.decoder
    names, size = names_of(model), model.config.hidden_size
    token = g.input("token", "rows", "hypotheses", kind="INT64")
    states = [
        [g.input(f"state_{name}", "rows", "hypotheses", size) for name in own] for own in names
    ]
    x = _embedded_token(g, model, token)
    if decoder.input_feeding:
        feed = g.input("feed", "rows", "hypotheses", decoder.output_size)
        x = g("Concat", x, feed, axis=2)
    ends = []
    for layer, state in enumerate(states):
        weights = layer_weights(decoder.recurrent, layer)
        ends.append(step(g, parts.kind_of(decoder.cell), x, state, weights))
        x = ends[-1][0]
    output, weights_BQS = _output(g, model, x)
    logits = parts.word_logits(g, model.head, output)
    g.output("logits", logits, "rows", "hypotheses", len(model.head.bias))
    for own, end in zip(names, ends, strict=True):
        for name, part in zip(own, end, strict=True):
            g.output(f"next_{name}", part, "rows", "hypotheses", size)
    if decoder.input_feeding:
        g.output("next_feed", output, "rows", "hypotheses", decoder.output_size)
    if weights_BQS:
        g.output("attention", weights_BQS, "rows", "hypotheses", "steps")
    return g.model()


def _embedded_token(g: Graph, model: Translator, token: str) -> str:
    table, scale = model.target_embedding, model._scale(model.target_embedding)
    embedded = g("Gather", g.matrix(renewed(table).weight), token, axis=0)
    return embedded if scale == 1 else g("Mul", embedded, g.constant(scale))


def _output(g: Graph, model: Translator, h_BQH: str) -> tuple[str, str]:
    """The output of the decoder, `[B, Q, O]`, and its attention, or ""."""
    decoder, weights = model.decoder, ""
    if (attention := decoder.attention) is not None:
        width = model.encoder.output_size
        values = g.input("values", "rows", "steps", width)
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
