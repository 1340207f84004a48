"""Coordinates of charts in pixels: lines, intervals, and calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from unrolled.inspect.axes import Scale, Tick, numbers_around
from unrolled.inspect.run_facts import LearningCurve
from unrolled.metrics.calibration import Calibration, ReliabilityBin
from unrolled.metrics.display import title
from unrolled.metrics.intervals import Interval
from unrolled.wording import percent

_WIDTH, _HEIGHT = 350, 220  # of a chart of lines; two of them fit side by side, one on a phone
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 40  # its margins
_MOST_DOTS = 40
_TRACK, _TRACK_MARGIN = 180, 18  # of the scale of intervals; its first and last numbers need room
_COLUMN = 36  # of a bin of the calibration
_Z = 1.959964  # of 95%


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name ("" if it is the only one), CSS class, and points as `x,y x,y`."""

    name: str
    kind: str
    points: str


@dataclass(frozen=True)
class Dot:
    """A marked point of a chart, with its text and, if it is named in the chart, that name."""

    x: float
    y: float
    text: str
    name: str = ""


@dataclass(frozen=True)
class LineChart:
    """Lines over the number of updates."""

    title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[Line]
    dots: Sequence[Dot]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


_Points = Sequence[tuple[int, float]]


def learning_charts(curve: LearningCurve) -> Iterator[LineChart]:
    """The losses, and the score on the validation part, over the number of updates."""
    valid = [(each.step, each.loss) for each in curve.evaluations]
    lines = {"validation": valid, **({"training": curve.losses} if curve.losses else {})}
    best = curve.best
    yield _line_chart(
        "Loss, nats per target", lines, None if best is None else (best.step, best.loss), "{:.3g}"
    )
    scores = [(each.step, each.score) for each in curve.evaluations if each.score is not None]
    if scores:
        name = f"{title(curve.score)}, validation"
        marked = None if best is None or best.score is None else (best.step, best.score)
        heading = f"{name[:1].upper()}{name[1:]}"
        yield _line_chart(heading, {"validation": scores}, marked, "{:g}%", limits=(0, 100))


def _line_chart(
    heading: str,
    lines: Mapping[str, _Points],
    best: tuple[int, float] | None,
    shown: str,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> LineChart:
    values = [value for points in lines.values() for _, value in points]
    steps = [step for points in lines.values() for step, _ in points]
    ticks = [
        tick for tick in numbers_around(min(values), max(values)) if limits[0] <= tick <= limits[1]
    ]
    y = Scale(ticks[0], ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    x = Scale(0, max(1, *steps), _LEFT, _WIDTH - _RIGHT)
    drawn = [
        Line(
            name if len(lines) > 1 else "",
            f"line-{place}",
            " ".join(f"{x.at(step)},{y.at(value)}" for step, value in points),
        )
        for place, (name, points) in enumerate(lines.items())
    ]
    dots = []
    valid = lines["validation"]
    if len(valid) <= _MOST_DOTS:
        dots = [
            Dot(x.at(step), y.at(value), f"update {step:,}: {shown.format(round(value, 4))}")
            for step, value in valid
        ]
    if best is not None:
        text = f"best, update {best[0]:,}: {shown.format(round(best[1], 4))}"
        dots.append(Dot(x.at(best[0]), y.at(best[1]), text, "best"))
    return LineChart(
        heading,
        x.ticks(
            (
                value
                for value in numbers_around(0, x.high, 5)
                if value <= x.high and value == int(value)
            ),
            "{:,.0f}".format,
        ),
        y.ticks(ticks, shown.format),
        drawn,
        dots,
    )


@dataclass(frozen=True)
class IntervalScale:
    """The scale on which the intervals of a table are drawn.

    Args:
        scale: the shares that it shows.
        ticks: its numbers.
        reference: place of the value that all are compared with; None if there is none.
        width: width in pixels.
    """

    scale: Scale
    ticks: Sequence[Tick]
    reference: float | None
    width: int = _TRACK + 2 * _TRACK_MARGIN

    @classmethod
    def of(cls, intervals: Sequence[Interval], reference: float | None = None) -> IntervalScale:
        """A scale that shows all of these intervals as large as possible."""
        ends = [end for each in intervals for end in (each.low, each.value, each.high)]
        ends += [] if reference is None else [reference]
        values = _shares(numbers_around(min(ends), max(ends), 4))
        scale = Scale(values[0], values[-1], _TRACK_MARGIN, _TRACK_MARGIN + _TRACK)
        return cls(
            scale,
            scale.ticks(values, _in_percent),
            None if reference is None else scale.at(reference),
        )


@dataclass(frozen=True)
class Column:
    """A bin of the calibration: a column with the mean confidence, and the frequency as an interval."""

    x: float
    confidence: float
    accuracy: float
    low: float
    high: float
    text: str
    label: str


@dataclass(frozen=True)
class CalibrationChart:
    """Mean confidence and observed frequency of each bin, side by side, so that none covers another."""

    of: str
    bins: Sequence[ReliabilityBin]
    columns: Sequence[Column]
    ticks: Sequence[Tick]
    width: int
    left: int = _LEFT
    top: int = _TOP
    bottom: int = _HEIGHT
    height: int = _HEIGHT + 46


def calibration_chart(calibration: Calibration) -> CalibrationChart:
    """Draw the bins of a calibration from the least to the most confident."""
    bins = calibration.bins
    bounds = [wilson(each.n_right, each.n) for each in bins]
    low = min(min(each.confidence for each in bins), min(low for low, _ in bounds))
    high = max(max(each.confidence for each in bins), max(high for _, high in bounds))
    values = _shares(numbers_around(low, high))
    y = Scale(values[0], values[-1], _HEIGHT, _TOP)
    columns = [
        Column(
            _LEFT + _COLUMN * (place + 0.5),
            y.at(each.confidence),
            y.at(each.accuracy),
            y.at(bound[0]),
            y.at(bound[1]),
            f"{each.n:,} predictions, mean confidence {percent(each.confidence)}, observed frequency "
            f"{percent(each.accuracy)} ({percent(bound[0])} – {percent(bound[1])})",
            _short(each.confidence),
        )
        for place, (each, bound) in enumerate(zip(bins, bounds, strict=True))
    ]
    width = _LEFT + _COLUMN * len(bins) + _RIGHT
    return CalibrationChart(calibration.of, bins, columns, y.ticks(values, _in_percent), width)


def _in_percent(share: float) -> str:
    """A share as a percentage with the decimals that it has."""
    return percent(share, None)


def _shares(values: Sequence[float]) -> list[float]:
    """Those of 0…1."""
    return [value for value in values if 0 <= value <= 1]


def _short(share: float) -> str:
    """A percentage of at most four characters, for the label of a column."""
    shown = f"{100 * share:.0f}"
    return shown if 1 <= 100 * share <= 99 else f"{100 * share:.1f}"


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share by Wilson (1927), which stays within 0…1 and has a width at the ends.

    >>> [round(bound, 3) for bound in wilson(8, 10)], [round(bound, 3) for bound in wilson(5, 5)]
    ([0.49, 0.943], [0.566, 1.0])
    """
    share, square = n_right / n, _Z * _Z / n
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
