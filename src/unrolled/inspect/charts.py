"""Where the parts of a figure stand on a page: lines and bars over words, and the tree of a beam search.

Long texts are broken into panels, one below the other, as music is into staves: they can then be read
without scrolling, and printed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.inspect.axes import Scale, Tick
from unrolled.inspect.beam_tree import CONTINUED, CUT_OFF, DROPPED, ENDED, BeamTree, Node
from unrolled.inspect.figures import Bars, Lines, visible
from unrolled.quoting import shorten
from unrolled.wording import with_minus

Numbers = NDArray[np.floating[Any]]

WORDS_PER_PANEL = 36
_STEP, _HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 26, 130, 80, 120, 90, 12
_KINDS = 6
_LEAST_LOG = -12.0
_LINE = 13


@dataclass(frozen=True)
class Word:
    """A word below the steps."""

    x: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line with its name at its right end."""

    name: str
    kind: str
    label: str
    points: str
    y: float


@dataclass(frozen=True)
class Bar:
    """A bar from the zero line up or down."""

    x: float
    y: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Panel:
    """Some steps of a chart."""

    width: int
    height: int
    left: int
    right: int
    bottom: int
    ticks: Sequence[Tick]
    words: Sequence[Word]
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()


def _scale(arrays: Sequence[Numbers], low: float, high: float, is_log: bool = False) -> Scale:
    """A vertical scale that has `low` and `high`, and all values."""
    finite = np.concatenate([values[np.isfinite(values)] for values in arrays])
    if finite.size:
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if is_log:
        low, high = max(math.floor(low), _LEAST_LOG), math.ceil(high)
    return Scale(low, high if high > low else low + 1, _HEIGHT, _TOP)


def _ticks(scale: Scale) -> list[Tick]:
    """Both ends and the middle, or 0 if it is between them."""
    middle = 0.0 if scale.low < 0 < scale.high else (scale.low + scale.high) / 2
    values = [scale.low, middle, scale.high]
    near = 0.12 * (scale.high - scale.low)
    if middle == 0.0:  # an end next to 0 would cover its number
        values = [value for value in values if value == 0.0 or abs(value) > near]
    return scale.ticks(values, lambda value: with_minus(f"{value:.2g}"))


def line_panels(figure: Lines) -> list[Panel]:
    """Lines over the words."""
    low, high = (0.0, 0.0) if figure.is_log else (0.0, 1.0)
    scale = _scale(list(figure.lines.values()), low, high, figure.is_log)
    return [
        _panel(figure.tokens[start:end], scale, lines=_lines(figure.lines, scale, start, end))
        for start, end in _parts(len(figure.tokens), WORDS_PER_PANEL)
    ]


def bar_panels(figure: Bars) -> list[Panel]:
    """Bars over the words."""
    scale = _scale([figure.values], 0.0, 0.0)
    return [
        _panel(figure.tokens[start:end], scale, bars=_bars(figure, scale, start, end))
        for start, end in _parts(len(figure.tokens), WORDS_PER_PANEL)
    ]


def _parts(n: int, most: int) -> Iterator[tuple[int, int]]:
    """The first and the last step of each panel; at least one."""
    for start in range(0, max(1, n), most):
        yield start, min(n, start + most)


def _panel(
    tokens: Sequence[str],
    scale: Scale,
    lines: Sequence[Line] = (),
    bars: Sequence[Bar] = (),
) -> Panel:
    right = _LEFT + _STEP * max(1, len(tokens) - 1)
    if bars:
        right += _STEP // 2
    words = [
        Word(_LEFT + _STEP * step - 3, shorten(visible(word), 12))
        for step, word in enumerate(tokens)
    ]
    margin = _RIGHT if lines else 50
    return Panel(
        right + margin,
        _HEIGHT + _BOTTOM,
        _LEFT - (_STEP // 2 if bars else 0),
        right,
        _HEIGHT,
        _ticks(scale),
        words,
        lines,
        bars,
    )


def _lines(lines: Mapping[str, Numbers], scale: Scale, start: int, end: int) -> list[Line]:
    drawn, taken = [], list[float]()
    for place, (name, whole) in enumerate(lines.items()):
        values = [float(value) for value in whole[start:end]]
        points = " ".join(
            f"{_LEFT + _STEP * step},{scale.at(value)}"
            for step, value in enumerate(values)
            if not math.isnan(value)
        )
        known = [value for value in values if not math.isnan(value)]
        if not known:
            continue
        y = scale.at(known[-1]) + 4
        while any(abs(y - other) < _LINE for other in taken):
            y += _LINE
        taken.append(y)
        color = place % _KINDS
        drawn.append(Line(name, f"line line-{color}", f"label-{color}", points, y))
    return drawn


def _bars(figure: Bars, scale: Scale, start: int, end: int) -> list[Bar]:
    bars, zero = [], scale.at(0.0)
    for step, place in enumerate(range(start, end)):
        value = float(figure.values[place])
        if not math.isfinite(value):
            continue
        y = scale.at(value)
        title = f"{shorten(visible(figure.tokens[place]), 40)}: {with_minus(f'{value:.3g}')}"
        kind = "plus" if value >= 0 else "minus"
        bars.append(
            Bar(_LEFT + _STEP * step - 8, min(y, zero), round(abs(y - zero), 1), kind, title)
        )
    return bars


# The tree of a beam search

STEPS_PER_PANEL = 8
MOST_STEPS, MOST_RANKS = 100, 10
"""The steps and hypotheses of each that are drawn; and the path of the answer."""
_COLUMN, _ROW, _HEAD, _LETTER, _BOLD_LETTER = 120, 38, 34, 7.5, 8.5


@dataclass(frozen=True)
class Box:
    """A hypothesis."""

    x: float
    y: float
    text: str
    number: str
    kind: str
    title: str


@dataclass(frozen=True)
class Edge:
    """A curve from a hypothesis to one that extends it: the points of a cubic Bézier curve."""

    points: Sequence[tuple[float, float]]
    kind: str

    @property
    def path(self) -> str:
        """The curve as the path of an SVG."""
        (x, y), *rest = self.points
        return f"M{x:g} {y:g}C{' '.join(f'{x:g} {y:g}' for x, y in rest)}"


@dataclass(frozen=True)
class TreePanel:
    """Some steps of a tree."""

    width: int
    height: int
    steps: Sequence[Word]
    edges: Sequence[Edge] = field(default_factory=list)
    boxes: Sequence[Box] = field(default_factory=list)


def tree_panels(tree: BeamTree) -> list[TreePanel]:
    """The hypotheses of each step from the most probable one down, in one column per step."""
    shown = [
        index
        for index, node in enumerate(tree.nodes)
        if node.step <= MOST_STEPS
        and (node.rank <= MOST_RANKS or node.is_answer or node.state in (ENDED, CUT_OFF))
    ]
    return [
        _tree_panel(tree, shown, start + 1, end)
        for start, end in _parts(min(tree.n_steps, MOST_STEPS), STEPS_PER_PANEL)
        if end
    ]


def _tree_panel(tree: BeamTree, shown: Sequence[int], first: int, last: int) -> TreePanel:
    """The steps from `first` to `last`, after the step before, so that lines begin somewhere."""
    begin = max(1, first - 1)
    place: dict[int, tuple[float, float]] = {}
    heights: dict[int, int] = {}
    for index in shown:
        node = tree.nodes[index]
        if begin <= node.step <= last:
            row = heights.get(node.step, 0)
            heights[node.step] = row + 1
            place[index] = (8.0 + _COLUMN * (node.step - begin), _HEAD + _ROW * row)
    edges, boxes = [], []
    for index, (x, y) in place.items():
        node = tree.nodes[index]
        if node.parent in place and node.step >= first:
            edges.append(_edge(tree.nodes[node.parent], place[node.parent], node, (x, y)))
        boxes.append(_box(node, x, y, is_repeated=node.step < first))
    edges.sort(key=lambda edge: edge.kind == "edge-answer")  # drawn last, above the others
    width = 8 + _COLUMN * (last - begin + 1)
    steps = [Word(8 + _COLUMN * (step - begin), str(step)) for step in range(begin, last + 1)]
    return TreePanel(width, _HEAD + _ROW * max(heights.values(), default=1), steps, edges, boxes)


def _edge(parent: Node, start: tuple[float, float], node: Node, end: tuple[float, float]) -> Edge:
    """From the end of a token to the beginning of the next."""
    letter = _BOLD_LETTER if parent.is_answer else _LETTER
    x1 = start[0] + 8 + letter * len(_token(parent))
    x2, middle = end[0] - 5, (end[0] - 5 + max(x1, start[0] + _COLUMN - 45)) / 2
    kind = "answer" if node.is_answer else "also"
    return Edge(
        ((x1, start[1]), (middle, start[1]), (middle, end[1]), (x2, end[1])), f"edge-{kind}"
    )


def _token(node: Node) -> str:
    return shorten(visible(node.token), 11)


_MARKS = {CONTINUED: "", DROPPED: " ×", ENDED: " ■", CUT_OFF: " ✂"}


def _box(node: Node, x: float, y: float, is_repeated: bool) -> Box:
    """A hypothesis: its last token, and below it its log-probability or, of an ending, its score."""
    is_end = node.state in (ENDED, CUT_OFF)
    kind = "answer" if node.is_answer else "dropped" if node.state == DROPPED else "also"
    number = with_minus(f"{node.score if is_end else node.log_prob:.2f}")
    number = f"score {number}" if is_end else number
    title = (
        f"{shorten(node.text, 80)}: {node.state}, log-probability {with_minus(f'{node.log_prob:.3f}')}, "
        f"score {with_minus(f'{node.score:.3f}')}"
    )
    token = _token(node) + ("" if is_repeated else _MARKS[node.state])
    return Box(x, y, token, number, f"box-{kind}", title)
