"""The graph of a tagger: word ids `[P, T]` and character ids `[P, T, K]` → scores of the tags.

With a CRF, the graph also returns its start, transition and end scores, which do not depend on the
input, so that a file has everything that decoding needs.
"""

from __future__ import annotations

from typing import Any

from unrolled.exports import parts
from unrolled.exports.graph import Graph, as_array
from unrolled.exports.recurrence import Rows
from unrolled.exports.rounding import Precision
from unrolled.layers.characters import CharConvolution
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
        spelled = _spelled(g, model, words_PT, letters_PTK)
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


def _spelled(g: Graph, model: Tagger, words_PT: str, letters_PTK: str) -> str:
    """The encoding of the characters of each word, `[T, P, D]`."""
    spelling = model.spelling
    assert spelling is not None
    n_letters = g("Slice", g("Shape", letters_PTK), g.integers(2), g.integers(3))
    flat = g("Reshape", letters_PTK, g("Concat", g.integers(-1), n_letters, axis=0))
    rows = Rows.of(g, flat)
    x_KWE = parts.embedded(g, spelling.embedding, rows)
    if isinstance(spelling, CharConvolution):
        spelled_WD = _convolved(g, spelling, x_KWE, rows)
    else:
        _, states = parts.encoded(g, spelling.encoder, model.config.cell, x_KWE, rows)
        spelled_WD = states[-1][0]
    shape = g("Concat", g("Shape", words_PT), g.integers(-1), axis=0)
    return g("Transpose", g("Reshape", spelled_WD, shape), perm=[1, 0, 2])


def _convolved(g: Graph, spelling: CharConvolution, x_KWE: str, rows: Rows) -> str:
    """The largest output of each filter over all windows of a word, `[W, D]`."""
    convolution: Any = renewed(spelling.convolution)
    weight, bias = (g.constant(as_array(each)) for each in (convolution.weight, convolution.bias))
    x_WEK = g("Transpose", x_KWE, perm=[1, 2, 0])
    y_WDK = g("Conv", x_WEK, weight, bias, pads=list(spelling.margins))
    return parts.largest(g, g("Transpose", y_WDK, perm=[2, 0, 1]), rows)
