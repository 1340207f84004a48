"""The graph of a language model: ids `[B, T]` and a state → scores and the next state.

One graph reads a text at once (T steps), and generates step by step (T = 1). In a row that ends early
(padding), the state stays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unrolled.exports import parts
from unrolled.exports.graph import Graph
from unrolled.exports.recurrence import Rows, directions_of, read
from unrolled.exports.rounding import Precision
from unrolled.tasks.language_model import LanguageModel


def state_names(cell: str, n_layers: int) -> list[list[str]]:
    """The names of the parts of each layer's state, h and, for the LSTM, c.

    >>> state_names("lstm", 1)
    [['h0', 'c0']]
    """
    parts = ("h", "c") if cell == "lstm" else ("h",)
    return [[f"{part}{layer}" for part in parts] for layer in range(n_layers)]


def graphs(model: LanguageModel, precision: Precision) -> dict[str, Graph]:
    """The graph, by the name of its file."""
    g = Graph("language_model", precision)
    rows = Rows.of(g, g.input("tokens", "rows", "steps", kind="INT64"))
    n_words = len(model.unknown_shares)
    x = _embedded(g, model, rows, n_words)
    stack, kind = model.layers, parts.kind_of(model.layers.cell)
    names = state_names(stack.cell, len(stack.sizes))
    ends = []
    for layer, size, own in zip(stack.layers, stack.sizes, names, strict=True):
        initial = tuple(g.input(f"state_{name}", "rows", size) for name in own)
        x, (end,) = read(g, kind, x, rows, [replace(directions_of(layer)[0], initial=initial)])
        ends.append(end)
    logits = parts.word_logits(g, model.head, parts.batch_first(g, x))
    g.output("logits", logits, "rows", "steps", n_words)
    for own, end, size in zip(names, ends, stack.sizes, strict=True):
        for name, part in zip(own, end, strict=True):
            g.output(f"next_{name}", part, "rows", size)
    return {"model.onnx": g}


def _embedded(g: Graph, model: LanguageModel, rows: Rows, n_words: int) -> str:
    if model.embedding is None:
        values = g.constant([0, 1])
        one_hot = g("OneHot", rows.ids, g.constant(n_words, np.int64), values, axis=-1)
        return rows.cleared(g, one_hot)
    return parts.embedded(g, model.embedding, rows, model._scale)
