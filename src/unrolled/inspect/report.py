"""A self-contained HTML page about one text: diagnosis, gradient flow, gates, states and attention.

What has words is SVG from here. The maps of all units are int8 numbers in base64 that a script of the
page paints, because a table cell for each of 200 × 512 values would take fifty times as much.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unrolled import storage
from unrolled.diagnosis.flow import GradientFlow
from unrolled.diagnosis.verdict import NAMES
from unrolled.inspect import page
from unrolled.inspect.attention import heatmap_rows
from unrolled.inspect.gradient_flow import EXPLAINED, Inspection, flow_rows
from unrolled.inspect.trace import MEANINGS, Numbers, Trace, TracedLayer
from unrolled.quoting import shorten
from unrolled.wording import count_of

MOST_LAYERS = 12
"""Layers whose gates are drawn; a model that reads many words by their characters has hundreds."""

_STEP, _HEIGHT, _LEFT, _RIGHT, _BOTTOM = 26, 130, 56, 120, 90
_KINDS = 6
_LEAST_LOG = -12.0


@dataclass(frozen=True)
class _Tick:
    y: float
    text: str


@dataclass(frozen=True)
class _Word:
    x: float
    text: str


@dataclass(frozen=True)
class _Line:
    name: str
    kind: str
    label: str
    points: str
    y: float


@dataclass(frozen=True)
class _Chart:
    """Lines over the words, with their numbers."""

    title: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    ticks: Sequence[_Tick]
    lines: Sequence[_Line]
    words: Sequence[_Word]
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class _Map:
    """One internal of all units as signed bytes, `[units, steps]`."""

    title: str
    rows: int
    columns: int
    values: str
    scale: float
    low: float
    high: float
    mean: float
    names: str


@dataclass(frozen=True)
class _Layer:
    name: str
    chart: _Chart | None
    maps: Sequence[_Map]


def write_report(trace: Trace, inspection: Inspection, path: str | Path, command: str = "") -> Path:
    """Write the page.

    Args:
        trace: the gates and states.
        inspection: the diagnosis, of the same text.
        path: the file, which ends in `.html`.
        command: the command that creates the page, for its footer.

    Returns:
        The path.

    Raises:
        RunError: the file cannot be written.
    """
    path = Path(path)
    text = report_page(trace, inspection, command)
    storage.write_whole(path, text.encode("utf-8"), "try again")
    return path


def report_page(trace: Trace, inspection: Inspection, command: str = "") -> str:
    """The page as text; see `write_report`."""
    shown = trace.layers[:MOST_LAYERS]
    notes = list(inspection.notes)
    if len(trace.layers) > len(shown):
        n = len(trace.layers) - len(shown)
        notes.append(f"{count_of(n, 'further layer')} not drawn; --csv has all of them")
    return page.render(
        "report.html",
        title="Inside the model",
        command=command,
        script="heatmap.js",
        answer=trace.answer,
        inspection=Inspection(
            inspection.flow, inspection.verdict, inspection.updates, inspection.about, tuple(notes)
        ),
        names=NAMES,
        explained=EXPLAINED,
        flow_table=flow_rows(inspection.flow),
        flow_charts=list(_flow_charts(inspection.flow, trace)),
        attention=[
            {
                "name": each.name,
                "tokens": each.tokens,
                "rows": heatmap_rows(each.queries, each.weights.tolist()),
            }
            for each in trace.attention
        ],
        layers=[_layer(layer) for layer in shown],
    )


def _flow_charts(flow: GradientFlow, trace: Trace) -> Iterator[_Chart]:
    """‖∂L/∂h_t‖ and what is left of the last step's gradient, on a logarithmic scale."""
    traced = {layer.name: layer for layer in trace.layers}
    for layer in flow.layers[:MOST_LAYERS]:
        tokens = traced[layer.name].tokens if layer.name in traced else None
        if tokens is None or layer.span < 1 or len(layer.loss[0]) != len(tokens):
            continue
        order = slice(None, None, -1) if layer.reverse else slice(None)
        left = np.full(len(tokens), math.nan)
        reach = layer.reach[0]
        left[: len(reach)] = reach[::-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            lines = {
                "∂L/∂h": np.log10(layer.loss[0])[order],
                "last step": np.log10(left)[order],
            }
        title = f"{layer.name}: log10 of ‖∂L/∂h_t‖, and of what is left of the last step's gradient"
        yield _chart(title, tokens, lines, is_log=True)


def _chart(
    title: str, tokens: Sequence[str], lines: Mapping[str, Numbers], is_log: bool = False
) -> _Chart:
    finite = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
    low, high = (0.0, 1.0) if not is_log else (0.0, 0.0)
    if finite.size:
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if is_log:
        low, high = max(math.floor(low), _LEAST_LOG), math.ceil(high)
    high = high if high > low else low + 1
    top, right = 12, _LEFT + _STEP * max(1, len(tokens) - 1)

    def y_of(value: float) -> float:
        return round(top + (_HEIGHT - top) * (high - max(low, min(high, value))) / (high - low), 1)

    drawn, taken = [], list[float]()
    for place, (name, values) in enumerate(lines.items()):
        points = " ".join(
            f"{_LEFT + _STEP * step},{y_of(float(value))}"
            for step, value in enumerate(values)
            if not math.isnan(value)
        )
        known = [float(value) for value in values if not math.isnan(value)]
        color = place % _KINDS
        y = y_of(known[-1]) + 4 if known else 0.0
        while any(abs(y - other) < 13 for other in taken):
            y += 13
        taken.append(y)
        drawn.append(_Line(name, f"line line-{color}", f"label-{color}", points, y))
    return _Chart(
        title,
        right + _RIGHT,
        _HEIGHT + _BOTTOM,
        _LEFT,
        right,
        _HEIGHT,
        [_Tick(y_of(value), f"{value:.3g}") for value in np.linspace(low, high, 3)],
        drawn,
        [_Word(_LEFT + _STEP * step - 3, shorten(word, 12)) for step, word in enumerate(tokens)],
        ["token", *lines],
        [
            [token, *(f"{float(values[step]):.3g}" for values in lines.values())]
            for step, token in enumerate(tokens)
        ],
    )


def _layer(layer: TracedLayer) -> _Layer:
    gates = {
        f"{name} {MEANINGS.get(name, '')}".strip(): values.mean(1)
        for name, values in layer.values.items()
        if layer.functions.get(name) == "sigmoid"
    }
    title = f"{layer.name}: mean of each gate"
    chart = _chart(title, layer.tokens, gates) if gates else None
    return _Layer(
        layer.name, chart, [_map(name, values, layer) for name, values in layer.values.items()]
    )


def _map(name: str, values_TH: Numbers, layer: TracedLayer) -> _Map:
    low, high = float(values_TH.min()), float(values_TH.max())
    scale = max(1.0, abs(low), abs(high)) if math.isfinite(low + high) else 1.0
    bounded = np.nan_to_num(values_TH.T / scale, nan=0.0, posinf=1.0, neginf=-1.0)
    levels = np.clip(np.rint(127 * bounded), -127, 127).astype(np.int8)
    rows, columns = levels.shape
    return _Map(
        f"{name} {MEANINGS.get(name, '')}".strip(),
        rows,
        columns,
        base64.b64encode(levels.tobytes()).decode("ascii"),
        scale,
        low,
        high,
        float(values_TH.mean()),
        json.dumps([shorten(token, 40) for token in layer.tokens], ensure_ascii=False),
    )
