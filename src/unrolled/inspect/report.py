"""A self-contained HTML page about one text: diagnosis, gradient flow, saliency, search, gates, states.

What has words is SVG from here. The maps of all units are int8 numbers in base64 that a script of the
page paints, because a table cell for each of 200 × 512 values would take fifty times as much. Two models
are shown side by side.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, ClassVar

import numpy as np

from unrolled.diagnosis.tables import EXPLAINED, flow_rows
from unrolled.diagnosis.verdict import NAMES, Finding
from unrolled.inspect import page
from unrolled.inspect.attention import heatmap_rows
from unrolled.inspect.charts import (
    MOST_RANKS,
    MOST_STEPS,
    Panel,
    TreePanel,
    bar_panels,
    line_panels,
    tree_panels,
)
from unrolled.inspect.figures import (
    Bars,
    Beam,
    Lines,
    NextTokens,
    Numbers,
    Units,
    Weights,
    attention_figure,
    flow_figures,
    gates_figure,
    part_title,
    units_figure,
    visible,
)
from unrolled.inspect.gradient_flow import Inspection
from unrolled.inspect.next_tokens import N_BEST, NextToken
from unrolled.inspect.page import HeatmapRow
from unrolled.inspect.trace import Trace
from unrolled.quoting import shorten
from unrolled.wording import count_of

MOST_LAYERS = 12
"""Layers that are drawn of a short text; a model that reads words by their characters has hundreds."""

_LAYER_STEPS = 1200  # layers × steps that are drawn
_CELLS_OF_MAPS = 800_000
_LARGE_TABLE = 30  # columns of a table of attention weights; wider ones are maps


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        title: its heading; "" for none.
        views: what it shows, of any class here with a `kind`.
        intro: how to read it.
    """

    title: str
    views: Sequence[Any]
    intro: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str
    name: str = ""
    is_soft: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Table:
    """A table; the first row has its headings."""

    kind: ClassVar[str] = "table"
    title: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class DiagnosisView:
    """Findings with their cures."""

    kind: ClassVar[str] = "diagnosis"
    findings: Sequence[Finding]
    names = NAMES


@dataclass(frozen=True)
class ChartView:
    """Lines or bars over the words, with their numbers; `words` are those of a text with −1…1."""

    kind: str
    title: str
    panels: Sequence[Panel]
    rows: Sequence[Sequence[str]]
    words: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class BeamView:
    """The tree of a beam search, with its numbers."""

    kind: ClassVar[str] = "beam"
    title: str
    panels: Sequence[TreePanel]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class NextView:
    """The distributions of a language model."""

    kind: ClassVar[str] = "next"
    title: str
    steps: Sequence[NextToken]
    n_best: int = N_BEST


@dataclass(frozen=True)
class Map:
    """Numbers as signed bytes, `[rows, columns]`, in base64; names are JSON."""

    title: str
    size: str
    rows: int
    columns: int
    values: str
    scale: float
    low: float
    high: float
    mean: float
    names: str
    row_names: str = ""


@dataclass(frozen=True)
class UnitsView:
    """The maps of a layer."""

    kind: ClassVar[str] = "units"
    title: str
    maps: Sequence[Map]


@dataclass(frozen=True)
class WeightsView:
    """Attention weights, as a table or as a map."""

    kind: ClassVar[str] = "weights"
    title: str
    columns: Sequence[str] = ()
    rows: Sequence[HeatmapRow] = ()
    map: Map | None = None
    size: str = ""


def report_page(
    models: Sequence[tuple[str, Sequence[Section]]], title: str, command: str = ""
) -> str:
    """The page as text.

    Args:
        models: the name and the sections of one model, or of several to show side by side.
        title: heading of the page.
        command: the command that creates the page, for its footer.
    """
    titles = list(dict.fromkeys(section.title for _, sections in models for section in sections))
    found = [{section.title: section for section in sections} for _, sections in models]
    rows = [
        {
            "title": each,
            "intro": next(of[each].intro for of in found if each in of),
            "columns": [of[each].views if each in of else () for of in found],
        }
        for each in _in_order(titles)
    ]
    return page.render(
        "report.html",
        title=title,
        command=command,
        script="heatmap.js",
        names=[name for name, _ in models],
        sections=rows,
    )


_ORDER = ("", "Diagnosis", "Saliency", "Next tokens", "Beam search", "Attention", "Gradient flow",
          "Gates and states")  # fmt: skip


def _in_order(titles: Sequence[str]) -> list[str]:
    return sorted(titles, key=lambda title: _ORDER.index(title) if title in _ORDER else len(_ORDER))


TITLE = "Inside the model"


def in_notebook(sections: Sequence[Section]) -> str:
    """Sections of one model as a frame for a notebook, whose styles and script stay in it."""
    text = report_page([("", sections)], TITLE)
    return (
        f'<iframe title="{TITLE}" sandbox="allow-scripts" srcdoc="{escape(text)}" '
        'style="width: 100%; height: 40rem; border: 0"></iframe>'
    )


def sections_of_answer(answer: str, inspection: Inspection) -> Iterator[Section]:
    """The answer, and what was measured and cut."""
    views: list[Text] = [Text(answer, "Answer:")] if answer else []
    views.append(Text(f"{inspection.about[:1].upper()}{inspection.about[1:]}."))
    views += [Text(f"Note: {note}.", is_soft=True) for note in inspection.notes]
    yield Section("", views)


def sections_of_inspection(inspection: Inspection) -> list[Section]:
    """The diagnosis and the gradient flow."""
    flow = inspection.flow
    steps = max((len(words) for words in inspection.tokens.values()), default=1)
    charts = list(flow_figures(flow, inspection.tokens))[: n_layers_drawn(steps)]
    return [
        Section("Diagnosis", [DiagnosisView(inspection.verdict.findings)]),
        Section(
            "Gradient flow",
            [Table("Gradient flow", flow_rows(flow)), *map(_lines_view, charts)],
            f"{EXPLAINED[:1].upper()}{EXPLAINED[1:].rstrip(':')}.",
        ),
    ]


def sections_of_saliency(figures: Sequence[Bars]) -> Iterator[Section]:
    """The contribution of each word."""
    if figures:
        yield Section(
            "Saliency",
            [_bars_view(figure) for figure in figures],
            "Words in blue, with bars up, speak for the answer; words in orange, with bars down, against "
            "it. Colours are relative to the largest contribution.",
        )


def sections_of_search(figure: Beam | None) -> Iterator[Section]:
    """The tree of a beam search."""
    if figure is None:
        return
    tree = figure.tree
    left_out = ""
    if tree.n_steps > MOST_STEPS or tree.beam_size > MOST_RANKS:
        left_out = (
            f" At most {MOST_STEPS} steps and {MOST_RANKS} hypotheses of each are drawn; "
            "the numbers have all of them."
        )
    has_answer = any(node.is_answer for node in tree.nodes)
    answer = "Blue is the answer." if has_answer else "None of them became the answer."
    view = BeamView(figure.title, tree_panels(tree), _rows_of(figure))
    yield Section(
        "Beam search",
        [view],
        "Each column has the hypotheses after one more token, the most probable first: their last token, "
        f"and their log-probability. {answer} × was dropped, ■ has ended and ✂ was cut off at "
        f"the maximum length, with the score that counts.{left_out}",
    )


def sections_of_next(figure: NextTokens | None) -> Iterator[Section]:
    """The distributions of a language model."""
    if figure is None:
        return
    came = figure.steps[:-1]
    bars = Bars(
        "bits",
        "bits of each token: −log₂ of its probability",
        [step.came for step in came],
        np.array([step.bits for step in came]),
        "bits",
        {"rank": [step.rank for step in came]},
    )
    yield Section(
        "Next tokens",
        [_bars_view(bars), NextView(figure.title, list(map(_visible_step, figure.steps)))],
        "After each token: the one that came, its rank and its bits, and the most probable ones; the one "
        "that came is in a frame.",
    )


def _visible_step(step: NextToken) -> NextToken:
    best = tuple((visible(token), share) for token, share in step.best)
    return replace(step, before=visible(step.before), came=visible(step.came), best=best)


def sections_of_trace(trace: Trace) -> list[Section]:
    """The attention, the gates and the states."""
    sections = []
    if trace.attention:
        views = [_weights_view(attention_figure(each)) for each in trace.attention[:MOST_LAYERS]]
        intro = "How much each step, a row, looks at each token; the weights of a row sum to 1."
        sections.append(Section("Attention", views, intro))
    steps = max((len(layer.tokens) for layer in trace.layers), default=1)
    shown = trace.layers[: n_layers_drawn(steps)]
    n_cells = sum(values.size for layer in shown for values in layer.values.values())
    share = min(1.0, _CELLS_OF_MAPS / max(1, n_cells))
    of_layers: list[Any] = []
    for layer in shown:
        of_layers.append(Heading(layer.name))
        gates = gates_figure(layer)
        if gates is not None:
            of_layers.append(_lines_view(gates))
        of_layers.append(_units_view(units_figure(layer), share))
    if len(trace.layers) > len(shown):
        n = len(trace.layers) - len(shown)
        note = f"{count_of(n, 'further layer')} not drawn; --csv has all of them."
        of_layers.append(Text(note, is_soft=True))
    intro = (
        "Lines are means over the units of a layer; below them all units, blue above 0 and orange below. "
        "Move the pointer over a map, or select it and use the arrow keys, to read its values."
    )
    sections.append(Section("Gates and states", of_layers, intro))
    return sections


def n_layers_drawn(steps: int) -> int:
    """How many layers a page shows of a text with so many steps, so that it stays small."""
    return max(2, min(MOST_LAYERS, _LAYER_STEPS // max(1, steps)))


def _rows_of(figure: Lines | Bars | Beam) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in figure.table()]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return shorten(str(value), 80)


def _lines_view(figure: Lines) -> ChartView:
    return ChartView("lines", figure.title, line_panels(figure), _rows_of(figure))


def _bars_view(figure: Bars) -> ChartView:
    largest = float(np.abs(figure.values).max(initial=0.0))
    shares = figure.values / largest if largest > 0 else figure.values
    words = list(zip(map(visible, figure.tokens), shares.tolist(), strict=True))
    return ChartView("bars", figure.title, bar_panels(figure), _rows_of(figure), words)


def _weights_view(figure: Weights) -> WeightsView:
    if len(figure.columns) <= _LARGE_TABLE and len(figure.rows) <= 2 * _LARGE_TABLE:
        rows = heatmap_rows(list(map(visible, figure.rows)), figure.values.tolist())
        return WeightsView(figure.title, list(map(visible, figure.columns)), rows)
    size = f"{count_of(len(figure.rows), 'row')} × {count_of(len(figure.columns), 'token')}"
    drawn = _map(figure.title, size, figure.values, figure.columns, _json(figure.rows))
    return WeightsView(figure.title, map=drawn, size=size)


def _units_view(figure: Units, share: float) -> UnitsView:
    maps = []
    for name, values_TH in figure.parts.items():
        T, H = values_TH.shape
        chosen = _most_varying(values_TH, max(1, int(share * H)))
        size = f"{count_of(H, 'unit')} × {count_of(T, 'step')}"
        names = ""
        if len(chosen) < H:
            size = f"the {len(chosen):,} of {size} that vary most"
            names = _json([f"unit {unit}" for unit in chosen])
        maps.append(_map(part_title(name), size, values_TH[:, chosen].T, figure.tokens, names))
    return UnitsView(figure.title, maps)


def _most_varying(values_TH: Numbers, n: int) -> list[int]:
    """The n units with the largest variance over the steps, in their order."""
    if n >= values_TH.shape[1]:
        return list(range(values_TH.shape[1]))
    with np.errstate(invalid="ignore"):
        variance = np.nan_to_num(values_TH.var(0), nan=np.inf)
    return sorted(np.argsort(-variance, kind="stable")[:n].tolist())


def _map(
    title: str, size: str, values_RC: Numbers, names: Sequence[str], row_names: str = ""
) -> Map:
    finite = values_RC[np.isfinite(values_RC)]
    low, high, mean = (
        (float(finite.min()), float(finite.max()), float(finite.mean()))
        if finite.size
        else (math.nan, math.nan, math.nan)
    )
    scale = max(1.0, abs(low), abs(high)) if finite.size else 1.0
    bounded = np.nan_to_num(values_RC / scale, nan=0.0, posinf=1.0, neginf=-1.0)
    levels = np.clip(np.rint(127 * bounded), -127, 127).astype(np.int8)
    rows, columns = levels.shape
    values = base64.b64encode(levels.tobytes()).decode("ascii")
    return Map(title, size, rows, columns, values, scale, low, high, mean, _json(names), row_names)


def _json(names: Sequence[str]) -> str:
    return json.dumps([shorten(visible(name), 40) for name in names], ensure_ascii=False)
