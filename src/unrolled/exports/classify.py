"""The graph of a text classifier: ids `[B, T]` → scores of the labels."""

from __future__ import annotations

from unrolled.exports import parts
from unrolled.exports.graph import Graph
from unrolled.exports.recurrence import Rows
from unrolled.exports.rounding import Precision
from unrolled.layers.lm_encoder import LanguageModelEncoder
from unrolled.tasks.classify import Classifier


def graphs(model: Classifier, precision: Precision) -> dict[str, Graph]:
    """The graph, by the name of its file."""
    g = Graph("classify", precision)
    rows = Rows.of(g, g.input("text", "rows", "text steps", kind="INT64"))
    x_TBE = parts.embedded(g, model.embedding, rows)
    x_TBE = parts.with_facts(g, model, "text", x_TBE, rows)
    y_TBD, states = parts.encoded(g, model.encoder, model.config.cell, x_TBE, rows)
    last_BD = states[-1][0]
    encoder = model.encoder
    if isinstance(encoder, LanguageModelEncoder) and encoder.n_columns:
        # A language model's layers do not read the columns of the characters.
        width = encoder.output_size
        others_TBD = parts.columns(g, y_TBD, width - encoder.n_columns, width)
        last_BD = parts.joined(g, [last_BD, rows.at_end(g, others_TBD)])
    hidden_BD, weights_BT = parts.pooled(g, model.pooling, y_TBD, last_BD, rows)
    g.output(
        "logits", parts.label_logits(g, model.head, hidden_BD), "rows", len(model.head.thresholds)
    )
    if weights_BT:
        g.output("attention", weights_BT, "rows", "text steps")
    return {"model.onnx": g}
