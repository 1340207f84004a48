"""The graph of a tagger: word ids `[P, T]` and character ids `[P, T, K]` → scores of the tags.

With a CRF, the graph also returns its start, transition and end scores, which do not depend on the
input, so that a file has everything that decoding needs.
"""

from __future__ import annotations

from unrolled.exports import parts
from unrolled.exports.graph import Graph
from unrolled.exports.recurrence import Rows
from unrolled.exports.rounding import Precision
from unrolled.layers.renewal import renewed
from unrolled.tasks.tag.model import Tagger

FORBIDDEN = -1e30
"""The score of a transition that is not allowed; finite, and below any sum of other scores."""


def graphs(model: Tagger, precision: Precision) -> dict[str, Graph]:
    """The graph, by the name of its file."""
    g = Graph("tag", precision)
    words_PT = g.input("words", "rows", "steps", kind="INT64")
    rows = Rows.of(g, words_PT)
    x_TBE = parts.embedded(g, model.embedding, rows)
    if model.spelling is not None:
        letters_PTK = g.input("letters", "rows", "steps", "letters", kind="INT64")
        spelled = parts.spelled(g, model.spelling, model.config.cell, letters_PTK)
        x_TBE = g("Concat", x_TBE, rows.cleared(g, spelled), axis=2)
    if model.context is not None:
        x_TBE, _ = parts.encoded(g, model.context, model.config.cell, x_TBE, rows)
    y_TBD, _ = parts.encoded(g, model.encoder, model.config.cell, x_TBE, rows)
    renewed(model.scorer)
    scores_TBC = g.linear(y_TBD, model.scorer.weight, model.scorer.bias)
    n_labels = len(model.scorer.bias)
    g.output("logits", parts.batch_first(g, scores_TBC), "rows", "steps", n_labels)
    if model.crf is not None:
        start, step, end = (score.clamp(min=FORBIDDEN) for score in model.crf._scores())
        g.output("start", g.vector(start), n_labels)
        g.output("transition", g.vector(step), n_labels, n_labels)
        g.output("end", g.vector(end), n_labels)
    return {"model.onnx": g}
