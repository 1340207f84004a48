"""How far long operations have come, for the code that shows it; by default nothing is reported.

Operations pass what they work through to `counted`. Whoever wants to show progress calls them within
`reported_to`; without it, `counted` costs nothing.

>>> with reported_to(lambda work: print(work.stage, work.done, work.unit)):
...     rows = list(counted("abc", "reading letters.txt", "rows"))
reading letters.txt 0 rows
reading letters.txt 3 rows
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")

_SECONDS_BETWEEN = 0.1


@dataclass(frozen=True)
class Work:
    """A stage of an operation, and how far it has come.

    Args:
        stage: what is done, e.g. "reading pairs.tsv".
        unit: what is counted, e.g. "rows".
        done: how many are done.
        total: how many there are; None if that is not known.
        is_over: whether this is the last report of the stage.
    """

    stage: str
    unit: str = ""
    done: int = 0
    total: int | None = None
    is_over: bool = False


_READER: ContextVar[Callable[[Work], None] | None] = ContextVar("reader of progress", default=None)


@contextmanager
def reported_to(reader: Callable[[Work], None]) -> Iterator[None]:
    """Report to a function: at the start and end of each stage, and about every tenth of a second.

    What the function raises ends the operation.
    """
    token = _READER.set(reader)
    try:
        yield
    finally:
        _READER.reset(token)


def begun(stage: str) -> None:
    """Report that a stage begins whose length is not known."""
    if (reader := _READER.get()) is not None:
        reader(Work(stage))


def counted(
    values: Iterable[Value],
    stage: str,
    unit: str,
    total: int | None = None,
    size: Callable[[Value], int] | None = None,
) -> Iterator[Value]:
    """Pass values on, and report how many were taken.

    Args:
        values: what is worked through.
        stage, unit, total: as in `Work`.
        size: value → its number of units; by default 1.
    """
    reader = _READER.get()
    if reader is None:
        return iter(values)
    return _reporting(values, reader, Work(stage, unit, 0, total), size)


def _reporting(
    values: Iterable[Value],
    reader: Callable[[Work], None],
    work: Work,
    size: Callable[[Value], int] | None,
) -> Iterator[Value]:
    reader(work)
    done, n_values, next_look, stride = 0, 0, 1, 1
    looked = time.monotonic()
    try:
        for value in values:
            yield value
            done += 1 if size is None else size(value)
            n_values += 1
            if n_values < next_look:
                continue
            # The clock is read about every tenth of a second, however long a value takes.
            seconds = time.monotonic() - looked
            if seconds >= _SECONDS_BETWEEN:
                reader(Work(work.stage, work.unit, done, work.total))
                looked += seconds
                stride = max(1, stride // 2)
            elif seconds < _SECONDS_BETWEEN / 4:
                stride = min(2 * stride, 1 << 16)
            next_look = n_values + stride
    finally:
        reader(Work(work.stage, work.unit, done, work.total, is_over=True))
