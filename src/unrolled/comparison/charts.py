"""The geometry of charts: curves with bands, and points with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from unrolled.inspect.axes import Scale, Tick, numbers_within

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 12, 44
N_COLOURS = 6
_LINE_HEIGHT = 15.0


@dataclass(frozen=True)
class Label:
    """A name beside a chart.

    Args:
        y: its height.
        text: the name.
        colour: number of the colour.
    """

    y: float
    text: str
    colour: int


@dataclass(frozen=True)
class Curve:
    """A line with its band, as lists of points for SVG.

    Args:
        name: what it shows.
        colour: number of the colour.
        line: points of the means.
        band: outline of the intervals; "" if there are none.
    """

    name: str
    colour: int
    line: str
    band: str


@dataclass(frozen=True)
class Dot:
    """A point with its intervals.

    Args:
        name: what it shows, for the tooltip.
        colour: number of the colour.
        x: position.
        y: position.
        left: start of the horizontal interval.
        right: end of it.
        top: end of the vertical interval.
        bottom: start of it.
    """

    name: str
    colour: int
    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Chart:
    """A chart with two axes.

    Args:
        title: what it shows.
        x_title: title of the horizontal axis.
        y_title: title of the vertical axis.
        x_ticks: marks of the horizontal axis.
        y_ticks: marks of the vertical axis.
        curves: lines.
        dots: points.
        labels: names of the variants, at the right.
    """

    title: str
    x_title: str
    y_title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    curves: Sequence[Curve] = ()
    dots: Sequence[Dot] = ()
    labels: Sequence[Label] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Value:
    """A number with its interval, which is a point for a single run.

    Args:
        mean: the number.
        low: lower bound.
        high: upper bound.
    """

    mean: float
    low: float
    high: float


Series = Sequence[tuple[float, Value]]
"""Values over steps."""


def _scale(values: Sequence[float], start: float, end: float, *, from_zero: bool) -> Scale:
    """A scale with room at both ends."""
    low, high = 0.0 if from_zero else min(values), max(values)
    if low == high:
        low, high = low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9
    room = 0.06 * (high - low)
    return Scale(low if from_zero else low - room, high + room, start, end)


def _ticks(scale: Scale, shown: Callable[[float], str]) -> list[Tick]:
    return scale.ticks(numbers_within(scale.low, scale.high), shown)


def curves_chart(
    series: dict[str, Series], title: str, x_title: str, y_title: str, shown: Callable[[float], str]
) -> Chart | None:
    """Lines with bands over steps, by name; None if there are no two steps to connect."""
    colours = _colours(series)
    series = {name: values for name, values in series.items() if len(values) > 1}
    if not series:
        return None
    x = _scale(
        [step for values in series.values() for step, _ in values],
        LEFT,
        WIDTH - RIGHT,
        from_zero=True,
    )
    bounds = [bound for each in series.values() for _, v in each for bound in (v.low, v.high)]
    means = [v.mean for each in series.values() for _, v in each]
    low, high = _limits(means, bounds)
    y = _scale([low, high], HEIGHT - BOTTOM, TOP, from_zero=False)

    def height(value: float) -> float:
        return y.at(min(max(value, low), high))

    curves = []
    for name, values in series.items():
        line = " ".join(f"{x.at(step)},{height(v.mean)}" for step, v in values)
        upper = [f"{x.at(step)},{height(v.high)}" for step, v in values]
        lower = [f"{x.at(step)},{height(v.low)}" for step, v in reversed(values)]
        has_band = any(v.low < v.high for _, v in values)
        curves.append(Curve(name, colours[name], line, " ".join(upper + lower) * has_band))
    ends = {name: height(values[-1][1].mean) for name, values in series.items()}
    return Chart(
        title,
        x_title,
        y_title,
        _ticks(x, "{:,.0f}".format),
        _ticks(y, shown),
        curves=curves,
        labels=_labels(ends, colours),
    )


def _limits(means: Sequence[float], bounds: Sequence[float]) -> tuple[float, float]:
    """The range to draw: intervals of few seeds may be many times as wide as all means."""
    low, high = min(means), max(means)
    room = max(high - low, 1e-9)
    return max(min(bounds), low - room), min(max(bounds), high + room)


def dots_chart(
    given: dict[str, tuple[Value, Value] | None],
    title: str,
    x_title: str,
    y_title: str,
    shown_x: Callable[[float], str],
    shown_y: Callable[[float], str],
) -> Chart | None:
    """Points with intervals, x and y of each by name, if known; None if there are none."""
    colours = _colours(given)
    points = {name: point for name, point in given.items() if point is not None}
    if not points:
        return None
    across = [bound for x, _ in points.values() for bound in (x.low, x.high)]
    along = [bound for _, y in points.values() for bound in (y.low, y.high)]
    x_scale = _scale([max(0.0, each) for each in across], LEFT, WIDTH - RIGHT, from_zero=True)
    y_scale = _scale(along, HEIGHT - BOTTOM, TOP, from_zero=False)
    dots = [
        Dot(
            f"{name}: {shown_y(y.mean)}, {shown_x(x.mean)}",
            colours[name],
            x_scale.at(x.mean),
            y_scale.at(y.mean),
            x_scale.at(max(0.0, x.low)),
            x_scale.at(x.high),
            y_scale.at(y.high),
            y_scale.at(y.low),
        )
        for name, (x, y) in points.items()
    ]
    labels = _labels({name: y_scale.at(y.mean) for name, (_, y) in points.items()}, colours)
    return Chart(
        title,
        x_title,
        y_title,
        _ticks(x_scale, shown_x),
        _ticks(y_scale, shown_y),
        dots=dots,
        labels=labels,
    )


def _colours(names: Iterable[str]) -> dict[str, int]:
    """The number of the colour of each name, so that it is the same in all charts."""
    return {name: index % N_COLOURS for index, name in enumerate(names)}


def _labels(ends: Mapping[str, float], colours: Mapping[str, int]) -> list[Label]:
    """Names at given heights, moved apart where they would overlap."""
    placed: list[tuple[float, str]] = []
    for name in sorted(ends, key=lambda name: ends[name]):
        y = ends[name]
        if placed:
            y = max(y, placed[-1][0] + _LINE_HEIGHT)
        placed.append((y, name))
    over = max(0.0, placed[-1][0] - (HEIGHT - BOTTOM)) if placed else 0.0
    return [Label(round(y - over + 4, 1), name, colours[name]) for y, name in placed]
