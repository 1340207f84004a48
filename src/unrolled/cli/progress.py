"""Progress of long commands: at a terminal, lines that stay and one in place; in a log, few lines."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from unrolled.cli.screen import (
    command_for,
    default_console,
    duration,
    fitting,
    is_living,
    key_values,
    print_command,
    shown,
)
from unrolled.quoting import brief
from unrolled.reporting import Work, reported_to
from unrolled.training.config import TrainingConfig
from unrolled.training.events import Event

AnyEvent = TypeVar("AnyEvent", contravariant=True)

FIRST_LOG_AFTER, LOG_EVERY_N_SECONDS = 3.0, 10.0
"""Seconds before the first line of a log about a stage, and between two lines about passing events."""

_HANDLED = (signal.SIGINT, signal.SIGTERM)


class View(Protocol[AnyEvent]):
    """How the events of an operation are shown."""

    def take(self, event: AnyEvent) -> None:
        """Note what `living` shows."""

    def is_passing(self, event: AnyEvent) -> bool:
        """Whether an event is one of many, so that a log has few of its kind."""

    def log(self, event: AnyEvent) -> list[str]:
        """The lines of a log."""

    def print(self, event: AnyEvent, console: Console) -> None:
        """Print at a terminal what stays there."""

    def living(self, console: Console) -> RenderableType:
        """What is shown below the lines that stay, until the next event."""


def show(
    events: Generator[Event, None, None],
    out: Path,
    use: str,
    training: TrainingConfig | None = None,
    console: Console | None = None,
) -> None:
    """Run training to its end and show its progress with `follow`.

    Args:
        events: events from `unrolled.fit`.
        out: run folder, for the last lines.
        use: command to try the run, with `{run}` for the folder.
        training: settings of the run, for its limits and its metric.
        console: console to print to; standard output by default.
    """
    from unrolled.cli.training_view import TrainingView

    console = console or default_console()
    resume = f"unrolled train --resume --out {shlex.quote(str(out))}"
    view = TrainingView(training or TrainingConfig())
    follow(events, view, console=console, resume=(out / "config.toml", resume))
    commands = [command_for(use, out), command_for("evaluate {run}", out)]
    if not is_living(console):
        print_command(console, key_values("saved", {"run": out}))
        for command in commands:
            print_command(console, key_values("try", {"command": command}))
        return
    print_command(console, str(out), prefix="run: ")
    for prefix, command in zip(("try: ", "     "), commands, strict=True):
        print_command(console, command, prefix)


def follow(
    events: Generator[AnyEvent, None, None],
    view: View[AnyEvent],
    *,
    console: Console,
    resume: tuple[Path, str],
    log_every_n_seconds: float = LOG_EVERY_N_SECONDS,
    first_log_after: float = 0.0,
) -> None:
    """Show events; at a terminal, below the lines that stay, a part that is updated in place.

    After the first Ctrl-C or SIGTERM, the current step is finished and saved, and the last line says how
    to resume; a second one does not wait. Before the first event, nothing needs to be saved, and the
    first one ends the operation at once.

    Args:
        events: read to the end, and closed.
        view: how they are shown.
        console: console to print to.
        resume: a file that exists once there is something to resume, and the command to print then.
        log_every_n_seconds: minimum time between two lines about passing events in a log.
        first_log_after: seconds before the first of them.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    next_log = time.monotonic() + first_log_after
    stopped = Stopped()
    event: AnyEvent
    try:
        with ExitStack() as stack:
            work = stack.enter_context(reported(console, lambda: view.living(console), stopped))
            stack.enter_context(closing(events))
            stack.enter_context(deferred_signals(stopped))
            for event in events:
                work.current, work.may_end = None, False
                if stopped.by is not None:
                    work.current = Work("stopping: writing a checkpoint")
                    raise KeyboardInterrupt
                view.take(event)
                if is_living(console):
                    view.print(event, console)
                elif not view.is_passing(event) or time.monotonic() >= next_log:
                    if view.is_passing(event):
                        next_log = time.monotonic() + log_every_n_seconds
                    for line in view.log(event):
                        print_command(console, line)
    except KeyboardInterrupt:
        file, command = resume
        if file.exists():
            if is_living(console):
                print_command(console, command, prefix="resume with: ")
            else:
                print_command(console, key_values("stopped", {"resume_with": command}))
        if stopped.by == signal.SIGTERM:
            _die_of_sigterm()
        raise


class Reports:
    """Shows how far a stage of an operation has come, as `reporting` tells.

    Args:
        console: where lines of a log are printed.
        stopped: the signal that came, if any.

    Attributes:
        current: the current stage; None between stages.
        may_end: whether a signal ends the operation at the next report, as there is nothing to save.
    """

    def __init__(self, console: Console, stopped: Stopped) -> None:
        self.current: Work | None = None
        self.may_end = True
        self._console, self._stopped = console, stopped
        self._began = self._stage_began = time.monotonic()
        self._next_log = self._began + FIRST_LOG_AFTER

    def take(self, work: Work) -> None:
        """Take a report.

        Raises:
            KeyboardInterrupt: a signal came, and there is nothing to finish and save.
        """
        if self.may_end and self._stopped.by is not None:
            raise KeyboardInterrupt
        now = time.monotonic()
        if self.current is None or self.current.stage != work.stage:
            self._stage_began = now
        self.current = work
        is_long = self.may_end or now - self._stage_began >= FIRST_LOG_AFTER
        if not is_living(self._console) and now >= self._next_log and is_long:
            self._next_log = now + LOG_EVERY_N_SECONDS
            print_command(self._console, self._log(work, now - self._began))

    def _log(self, work: Work, seconds: float) -> str:
        values = {"stage": work.stage, "done": work.done, "total": work.total, "unit": work.unit}
        is_counted = bool(work.unit)
        return key_values(
            "working",
            {
                **{name: value for name, value in values.items() if is_counted or name == "stage"},
                "seconds": round(seconds),
            },
        )

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
        return f"{stage}: {min(1.0, work.done / work.total):.0%}"
    if work.unit == "bytes":
        return f"{stage}: {work.done / 1e6:,.0f} MB"
    return f"{stage}: {work.done:,} {work.unit}"


@contextmanager
def reported(
    console: Console,
    living: Callable[[], RenderableType] | None = None,
    stopped: Stopped | None = None,
) -> Iterator[Reports]:
    """Show how far the operations within have come.

    Args:
        console: a terminal shows the current stage in place, a log has a line every ten seconds.
        living: what a terminal shows between stages.
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


class Stopped:
    """The signal that came, if any."""

    def __init__(self) -> None:
        self.by: int | None = None


@contextmanager
def deferred_signals(stopped: Stopped) -> Iterator[None]:
    """Make the first Ctrl-C or SIGTERM set `stopped`; a second one acts as usual.

    An exception in the middle of an update would leave the weights partly updated.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _HANDLED}

    def note(number: int, frame: FrameType | None) -> None:
        stopped.by = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    signal.signal(signal.SIGINT, note)
    if before[signal.SIGTERM] is signal.SIG_DFL:  # otherwise it is ignored, or someone handles it
        signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        restore()


def _die_of_sigterm() -> None:
    """End this process as SIGTERM does, so that its parent sees why it ended."""
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
