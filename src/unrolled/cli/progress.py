"""Progress of long commands: at a terminal, lines that stay and one in place; in a log, few lines."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

from rich.console import Console, RenderableType

from unrolled.cli.screen import (
    command_for,
    default_console,
    is_living,
    key_values,
    print_command,
    shown,
)
from unrolled.cli.work import LOG_EVERY_N_SECONDS, Stopped, reported
from unrolled.quoting import shell_command
from unrolled.reporting import Work
from unrolled.training.config import TrainingConfig
from unrolled.training.events import Event

AnyEvent = TypeVar("AnyEvent", contravariant=True)

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
    resume = shell_command("unrolled", "train", "--resume", "--out", out)
    view = TrainingView(training or TrainingConfig())
    follow(events, view, console=console, resume=(out / "config.toml", resume))
    print_commands(console, out, use)


def print_commands(console: Console, out: Path, use: str) -> None:
    """Print the folder of a run, and commands to try it."""
    commands = [command_for(shown(use, console), out), command_for("evaluate {run}", out)]
    if not console.is_terminal:
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
    to resume; a second one does not wait. Before the first event there is nothing to save, so that the
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
    stopped, has_begun = Stopped(), False
    event: AnyEvent
    try:
        with ExitStack() as stack:
            work = stack.enter_context(reported(console, lambda: view.living(console), stopped))
            stack.enter_context(closing(events))
            stack.enter_context(deferred_signals(stopped, lambda: work.may_end))
            for event in events:
                work.current, work.may_end, has_begun = None, False, True
                if stopped.by is not None:
                    work.current = Work("stopping: writing a checkpoint")
                    raise KeyboardInterrupt
                view.take(event)
                if console.is_terminal:
                    view.print(event, console)
                if view.is_passing(event):
                    if is_living(console) or time.monotonic() < next_log:
                        continue
                    next_log = time.monotonic() + log_every_n_seconds
                    if console.is_terminal:  # one that cannot move its cursor
                        console.print(view.living(console))
                if not console.is_terminal:
                    for line in view.log(event):
                        print_command(console, line)
    except KeyboardInterrupt:
        file, command = resume
        if has_begun and file.exists():  # with --force, an earlier run may still be there
            if console.is_terminal:
                print_command(console, command, prefix="resume with: ")
            else:
                print_command(console, key_values("stopped", {"resume_with": command}))
        if stopped.by == signal.SIGTERM:
            _die_of_sigterm()
        raise


@contextmanager
def deferred_signals(stopped: Stopped, may_end: Callable[[], bool]) -> Iterator[None]:
    """Make the first Ctrl-C or SIGTERM set `stopped`; a second one acts as usual.

    An exception in the middle of an update would leave the weights partly updated.

    Args:
        stopped: where the signal is noted.
        may_end: whether the first one may raise `KeyboardInterrupt` at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _HANDLED}

    def note(number: int, frame: FrameType | None) -> None:
        stopped.by = number
        restore()
        if may_end():
            raise KeyboardInterrupt

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
