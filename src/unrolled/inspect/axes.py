"""Axes of the charts on pages: linear scales, and round numbers to mark on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A value of an axis: its place in pixels, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """A linear scale, on which values outside are drawn at its ends.

    Args:
        low, high: the values at the ends.
        start, end: their places in pixels.

    >>> Scale(0.5, 1.0, 0, 100).at(0.75), Scale(0.5, 1.0, 100, 0).at(0.4)
    (50.0, 100.0)
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value in pixels."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, values: Iterable[float], shown: Callable[[float], str]) -> list[Tick]:
        """Values with their places, as text."""
        return [Tick(self.at(value), shown(value)) for value in values]


def numbers_around(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers at equal distances, the first at most `low` and the last at least `high`.

    >>> numbers_around(0.12, 0.87), numbers_around(3, 3), numbers_around(0, 1340)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [2.0, 2.5, 3.0, 3.5, 4.0], [0.0, 500.0, 1000.0, 1500.0])
    """
    if not high > low:
        low, high = (low - 1, high + 1) if abs(low) >= 1 else (low - 0.1, high + 0.1)
    power = math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20, 50):
        step = factor * 10.0**power
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    digits = max(0, 1 - power)
    return [round(number * step, digits) for number in range(first, last + 1)]


def numbers_within(low: float, high: float, n: int = 5) -> list[float]:
    """About n round numbers in a range.

    >>> numbers_within(0.2, 9.7), numbers_within(92.13, 92.61)
    ([2.0, 4.0, 6.0, 8.0], [92.2, 92.3, 92.4, 92.5, 92.6])
    """
    rough = (high - low) / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    numbers = []
    while first * step <= high * (1 + 1e-12):
        numbers.append(round(first * step, 12))
        first += 1
    return numbers
