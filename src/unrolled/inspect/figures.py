"""The figures of a text: what they show, and their numbers as a table.

A figure knows neither HTML nor matplotlib: `report` shows it in a page, and `drawing` in a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.diagnosis.flow import GradientFlow
from unrolled.inspect.beam_tree import BeamTree
from unrolled.inspect.next_tokens import N_BEST, NextToken
from unrolled.inspect.saliency import Saliency
from unrolled.inspect.trace import MEANINGS, Trace, TracedAttention, TracedLayer

Numbers = NDArray[np.floating[Any]]
Row = Sequence[object]


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines over the words.

    Args:
        name: name of its files.
        title: what it shows.
        tokens: the words.
        lines: `[T]` by name; NaN where there is no value.
        is_log: whether the values are logarithms to the base 10; otherwise they are shares, 0…1.
    """

    name: str
    title: str
    tokens: Sequence[str]
    lines: Mapping[str, Numbers]
    is_log: bool = False

    def table(self) -> Iterator[Row]:
        """The numbers, with a row of headings."""
        yield ["token", *self.lines]
        for step, token in enumerate(self.tokens):
            yield [token, *(float(values[step]) for values in self.lines.values())]


@dataclass(frozen=True, eq=False)
class Bars:
    """A number for each word, as bars up and down, and colours of the words.

    Args:
        name: name of its files.
        title: what it shows.
        tokens: the words.
        values: `[T]`, what the bars show.
        heading: name of these values.
        others: further numbers of each word, by name.
    """

    name: str
    title: str
    tokens: Sequence[str]
    values: Numbers
    heading: str
    others: Mapping[str, Sequence[float]]

    def table(self) -> Iterator[Row]:
        """The numbers, with a row of headings."""
        yield ["token", self.heading, *self.others]
        for step, token in enumerate(self.tokens):
            others = (values[step] for values in self.others.values())
            yield [token, float(self.values[step]), *others]


@dataclass(frozen=True, eq=False)
class Weights:
    """Attention weights.

    Args:
        name: name of its files.
        title: what it shows.
        rows: the word of each row.
        columns: the words that are attended to.
        values: `[rows, columns]`, 0…1.
    """

    name: str
    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Numbers

    def table(self) -> Iterator[Row]:
        """The numbers, with a row of headings."""
        yield ["reading", *self.columns]
        for row, values in zip(self.rows, self.values.tolist(), strict=True):
            yield [row, *values]


@dataclass(frozen=True, eq=False)
class Units:
    """All units of a layer: its gates and states.

    Args:
        name: name of its files.
        title: what it shows.
        tokens: the words.
        parts: `[T, H]` by name.
    """

    name: str
    title: str
    tokens: Sequence[str]
    parts: Mapping[str, Numbers]

    def table(self) -> Iterator[Row]:
        """The numbers, with a row of headings."""
        yield ["internal", "unit", *self.tokens]
        for part, values_TH in self.parts.items():
            for unit, values_T in enumerate(values_TH.T.tolist()):
                yield [part, unit, *values_T]


@dataclass(frozen=True, eq=False)
class Beam:
    """A beam search.

    Args:
        name: name of its files.
        title: what it shows.
        tree: the search.
    """

    name: str
    title: str
    tree: BeamTree

    def table(self) -> Iterator[Row]:
        """The numbers, with a row of headings."""
        yield ["step", "rank", "token", "hypothesis", "log-probability", "score", "extends", "state",
               "answer"]  # fmt: skip
        nodes = self.tree.nodes
        for node in nodes:
            above = "" if node.parent is None else nodes[node.parent].rank
            answer = "yes" if node.is_answer else ""
            yield [node.step, node.rank, node.token, node.text, node.log_prob, node.score, above,
                   node.state, answer]  # fmt: skip


@dataclass(frozen=True, eq=False)
class NextTokens:
    """The distributions of a language model over a text.

    Args:
        name: name of its files.
        title: what it shows.
        steps: the distribution after each token.
    """

    name: str
    title: str
    steps: Sequence[NextToken]

    def table(self) -> Iterator[Row]:
        """The numbers, with a row of headings."""
        best = [f"{what} {place}" for place in range(1, N_BEST + 1) for what in ("token", "p")]
        yield ["after", "came", "rank", "bits", *best]
        for step in self.steps:
            rank = step.rank or ""
            bits = "" if math.isnan(step.bits) else step.bits
            yield [
                step.before,
                step.came,
                rank,
                bits,
                *(each for pair in step.best for each in pair),
            ]


Figure = Lines | Bars | Weights | Units | Beam | NextTokens


def flow_figures(flow: GradientFlow, tokens: Mapping[str, Sequence[str]]) -> Iterator[Lines]:
    """‖∂L/∂h_t‖ and what is left of the last step's gradient, on a logarithmic scale."""
    for layer in flow.layers:
        words = tokens.get(layer.name)
        if words is None or layer.span < 1 or len(layer.loss[0]) != len(words):
            continue
        order = slice(None, None, -1) if layer.reverse else slice(None)
        left = np.full(len(words), math.nan)
        reach = layer.reach[0]
        left[: len(reach)] = reach[::-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            lines: dict[str, Numbers] = {
                "∂L/∂h": np.log10(layer.loss[0])[order],
                "last step": np.log10(left)[order],
            }
        title = f"{layer.name}: log10 of ‖∂L/∂h_t‖, and of what is left of the last step's gradient"
        yield Lines(_slug("gradient", layer.name), title, words, lines, is_log=True)


def saliency_figures(saliency: Sequence[Saliency]) -> Iterator[Bars]:
    """The contribution of each word of each text."""
    for number, each in enumerate(saliency, start=1):
        of = f" of text {number}" if len(saliency) > 1 else ""
        name = "saliency" if len(saliency) == 1 else f"saliency-{number}"
        yield Bars(
            name,
            f"contribution{of} to the log-probability of the answer, in nats: gradient × input",
            each.tokens,
            each.contributions,
            "contribution",
            {"gradient norm": each.norms.tolist()},
        )


def attention_figure(attention: TracedAttention) -> Weights:
    """The weights of an attention."""
    return Weights(
        _slug("attention", attention.name),
        attention.name,
        attention.queries,
        attention.tokens,
        attention.weights,
    )


def gates_figure(layer: TracedLayer) -> Lines | None:
    """The mean of each gate of a layer; None if it has none."""
    gates = {
        part_title(name): values.mean(1)
        for name, values in layer.values.items()
        if layer.functions.get(name) == "sigmoid"
    }
    if not gates:
        return None
    return Lines(
        _slug("gates", layer.name), f"{layer.name}: mean of each gate", layer.tokens, gates
    )


def units_figure(layer: TracedLayer) -> Units:
    """All gates and states of a layer."""
    return Units(_slug("units", layer.name), layer.name, layer.tokens, layer.values)


_VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})


def visible(token: str) -> str:
    """A token as it is shown: without blanks around it; one of blanks alone with signs for them.

    >>> visible(" the"), visible(" "), visible("\\n")
    ('the', '␣', '⏎')
    """
    return token.strip() or token.translate(_VISIBLE)


def part_title(name: str) -> str:
    """The name of an internal with its meaning, such as "f forget gate"."""
    return f"{name} {MEANINGS.get(name, '')}".strip()


def trace_figures(trace: Trace) -> Iterator[Figure]:
    """The attention, then gates and units of each layer."""
    yield from map(attention_figure, trace.attention)
    for layer in trace.layers:
        gates = gates_figure(layer)
        if gates is not None:
            yield gates
        yield units_figure(layer)


def _slug(kind: str, name: str) -> str:
    """A file name without surprises.

    >>> _slug("gates", "encoder.recurrent layer 0 forward")
    'gates-encoder.recurrent-0-forward'
    """
    words = re.sub(r"[^\w.]+", "-", name.replace(" layer ", " ")).strip("-.")
    return f"{kind}-{words}" if words else kind
