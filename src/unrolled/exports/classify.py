"""The graph of a text classifier: ids `[B, T]` → scores of the labels."""

from __future__ import annotations

from unrolled.exports import parts
from unrolled.exports.graph import Graph
from unrolled.exports.recurrence import Rows
from unrolled.exports.rounding import Precision
from unrolled.tasks.classify import Classifier


def graphs(model: Classifier, precision: Precision) -> dict[str, Graph]:
    """The graph, by the name of its file."""
    g = Graph("classify", precision)
    rows = Rows.of(g, g.input("text", "rows", "steps", kind="INT64"))
    x_TBE = parts.embedded(g, model.embedding, rows)
    y_TBD, states = parts.encoded(g, model.encoder, model.config.cell, x_TBE, rows)
    hidden_BD, weights_BT = parts.pooled(g, model.pooling, y_TBD, states[-1][0], rows)
    g.output(
        "logits", parts.label_logits(g, model.head, hidden_BD), "rows", len(model.head.thresholds)
    )
    if weights_BT:
        g.output("attention", weights_BT, "rows", "steps")
    return {"model.onnx": g}
