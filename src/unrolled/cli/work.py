"""How far the stages of a long operation have come: one line in place, or few lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from unrolled.cli.screen import (
    TerminalConsole,
    duration,
    fitting,
    is_living,
    key_values,
    print_command,
    shown,
)
from unrolled.quoting import brief
from unrolled.reporting import Work, reported_to
from unrolled.wording import percent

FIRST_LOG_AFTER, LOG_EVERY_N_SECONDS = 3.0, 10.0
"""Seconds before the first line of a log, and between two lines."""

_ON_STDERR_AFTER, _LOG_ON_STDERR_EVERY_N_SECONDS = 0.5, 30.0

_CLEAR_LINE = "\r\x1b[2K"


class Stopped:
    """The signal that came, if any."""

    def __init__(self) -> None:
        self.by: int | None = None


class Reports:
    """Shows the reports of an operation.

    Args:
        console: where lines of a log are printed.
        stopped: the signal that came, if any.

    Attributes:
        current: the current stage; None between stages.
        may_end: whether a signal ends the operation at once, as there is nothing to save yet.
    """

    def __init__(self, console: Console, stopped: Stopped) -> None:
        self.current: Work | None = None
        self.may_end = True
        self._console, self._stopped = console, stopped
        self._began = self._stage_began = time.monotonic()
        self._next_log = self._began + FIRST_LOG_AFTER

    def take(self, work: Work) -> None:
        """Take a report."""
        now = time.monotonic()
        if self.current is None or self.current.stage != work.stage:
            self._stage_began = now
        self.current = work
        is_long = self.may_end or now - self._stage_began >= FIRST_LOG_AFTER
        if not is_living(self._console) and now >= self._next_log and is_long:
            self._next_log = now + LOG_EVERY_N_SECONDS
            if self._console.is_terminal:
                self._console.print(self.line(self._console))
            else:
                print_command(self._console, _log(work, now - self._began))

    def line(self, console: Console) -> Text:
        """The stage, how far it has come, and its time if that is long."""
        if self.current is None:
            return Text("")
        seconds = time.monotonic() - self._stage_began
        parts = [_stage(self.current), *([duration(seconds)] if seconds >= FIRST_LOG_AFTER else [])]
        if self._stopped.by is not None:
            parts.append("stopping after it; Ctrl-C stops at once")
        line = shown(fitting(parts, console.width), console)
        return Text(line, overflow="ellipsis", no_wrap=True, style="dim")


@contextmanager
def reported(
    console: Console,
    living: Callable[[], RenderableType] | None = None,
    stopped: Stopped | None = None,
) -> Iterator[Reports]:
    """Show how far the operations within have come.

    Args:
        console: a terminal shows the current stage in place, a log has a line every ten seconds.
        living: what a terminal shows above it.
        stopped: the signal that came, if any.
    """
    reports = Reports(console, stopped or Stopped())

    def current() -> RenderableType:
        if living is None:
            return reports.line(console)
        return Group(living(), reports.line(console)) if reports.current else living()

    with reported_to(reports.take):
        if not is_living(console):
            yield reports
            return
        with Live(console=console, transient=True, get_renderable=current, refresh_per_second=8):
            console.show_cursor(True)  # a killed process could not show it again
            yield reports


@contextmanager
def reported_on_stderr() -> Iterator[None]:
    """Show how far the operations within have come on standard error, while they print elsewhere.

    A terminal shows a stage that takes long, until it is over; a log has a line every half minute.
    """
    console = TerminalConsole(stderr=True, force_terminal=sys.stderr.isatty(), highlight=False)
    stage, began = "", time.monotonic()
    next_log = began + _LOG_ON_STDERR_EVERY_N_SECONDS

    def take(work: Work) -> None:
        nonlocal stage, began, next_log
        now = time.monotonic()
        if work.stage != stage:
            stage, began = work.stage, now
        if is_living(console):
            if work.is_over:
                console.file.write(_CLEAR_LINE)
                stage = ""  # the next one may have the same name
            elif work.unit and now - began >= _ON_STDERR_AFTER:
                text = Text(shown(_stage(work), console))
                text.truncate(console.width - 1, overflow="ellipsis")
                console.file.write(_CLEAR_LINE + text.plain)
            console.file.flush()
        elif now >= next_log:
            next_log = now + _LOG_ON_STDERR_EVERY_N_SECONDS
            print_command(console, _log(work, now - began))

    with reported_to(take):
        yield


def _log(work: Work, seconds: float) -> str:
    count = {"done": work.done, "total": work.total, "unit": work.unit} if work.unit else {}
    return key_values("working", {"stage": work.stage, **count, "seconds": round(seconds)})


def _stage(work: Work) -> str:
    """A stage in words.

    >>> _stage(Work("reading a.tsv", "rows", 340000)), _stage(Work("encoding", "rows", 45, 100))
    ('reading a.tsv: 340,000 rows', 'encoding: 45%')
    >>> _stage(Work("reading play.txt.gz", "bytes", 120_500_000)), _stage(Work("splitting"))
    ('reading play.txt.gz: 120 MB', 'splitting…')
    """
    stage = brief(work.stage)
    if not work.unit:
        return f"{stage}…"
    if work.total:
        return f"{stage}: {percent(min(1.0, work.done / work.total), 0)}"
    if work.unit == "bytes":
        return f"{stage}: {work.done / 1e6:,.0f} MB"
    return f"{stage}: {work.done:,} {work.unit}"
