"""Progress of training: one line that is updated at a terminal, occasional lines in a log."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text

from unrolled.quoting import escape, one_message, shell_command
from unrolled.training.events import Evaluated, Event, Finished, Saved, Started, Step

AnyEvent = TypeVar("AnyEvent")

LOG_EVERY_N_SECONDS = 10.0
"""Minimum time between two lines about transient events in a log."""


def show(
    events: Generator[Event, None, None], out: Path, use: str, console: Console | None = None
) -> None:
    """Run training to its end and print its progress with `follow`.

    Args:
        events: events from `unrolled.fit`.
        out: run folder, for the last line.
        use: command to try the run, with `{run}` for the folder.
        console: console to print to; standard output by default.
    """
    console = console or default_console()

    def printed() -> Generator[Event, None, None]:
        with closing(events):
            for event in events:
                if isinstance(event, Started):
                    for note in event.notes:
                        console.print(f"note: {one_message(note)}", markup=False)
                yield event

    follow(
        printed(),
        lambda event: None if isinstance(event, Saved) else line_of(event),
        is_passing=lambda event: isinstance(event, Step),
        console=console,
        resume=(
            out / "config.toml",
            f"resume with: {shell_command('unrolled', 'train', '--resume', '--out', out)}",
        ),
    )
    console.print(f"run: {out} · try: unrolled {use.format(run=shell_command(out))}", markup=False)


def default_console() -> Console:
    """Standard output, without wrapping lines or coloring them by their content."""
    return Console(soft_wrap=True, highlight=False, emoji=False)


def follow(
    events: Generator[AnyEvent, None, None],
    describe: Callable[[AnyEvent], str | None],
    *,
    is_passing: Callable[[AnyEvent], bool],
    console: Console,
    resume: tuple[Path, str],
    first_log_after: float = 0.0,
) -> None:
    """Print a line for each event; transient lines replace each other at a terminal, and logs have few.

    After the first Ctrl-C, the current step is finished and saved, and the last line says how to resume;
    a second Ctrl-C does not wait.

    Args:
        events: read to the end, and closed.
        describe: event → its line; None for no line.
        is_passing: whether an event is transient, so that the next one replaces its line.
        console: console to print to.
        resume: a file that exists once there is something to resume, and the line to print then.
        first_log_after: seconds before the first line about a transient event in a log.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    next_log = time.monotonic() + first_log_after
    try:
        with ExitStack() as stack:
            live = None
            if console.is_terminal:
                live = stack.enter_context(Live(console=console, transient=True))
            stack.enter_context(closing(events))
            interrupted = stack.enter_context(deferred_sigint())
            for event in events:
                if interrupted.is_set():
                    raise KeyboardInterrupt
                line = describe(event)
                if line is None:
                    continue
                if not is_passing(event):
                    console.print(escape(line), markup=False)
                elif live is not None:
                    live.update(Text(line, overflow="ellipsis", no_wrap=True))
                elif time.monotonic() >= next_log:
                    next_log = time.monotonic() + LOG_EVERY_N_SECONDS
                    console.print(escape(line), markup=False)
    except KeyboardInterrupt:
        file, hint = resume
        if file.exists():
            console.print(hint, markup=False)
        raise


@contextmanager
def deferred_sigint() -> Iterator[threading.Event]:
    """Make the first Ctrl-C set the event; the second raises `KeyboardInterrupt`.

    An exception in the middle of an update would leave the weights partly updated.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def line_of(event: Started | Step | Evaluated | Finished) -> str:
    """An event as one line.

    >>> line_of(Evaluated(step=1500, epoch=2, loss=1.25, scores={"bleu": 31.4}, is_best=True,
    ...                   seconds=252.4))
    'step 1,500 · epoch 2 · valid loss 1.250 · bleu 31.40 · 4:12 · best so far'
    """
    match event:
        case Started():
            sizes = ", ".join(f"{name} {size:,}" for name, size in event.sizes.items())
            skipped = sum(event.skipped.values())
            parts = [
                f"{event.unit}: {sizes}",
                *([f"{skipped:,} left out"] if skipped else []),
                *(
                    f"{n:,} labels" if role == "labels" else f"{role} vocabulary {n:,}"
                    for role, n in event.vocabulary_sizes.items()
                ),
                f"{event.parameters:,} parameters",
                f"{event.steps_per_epoch:,} steps per epoch",
                event.device,
                *([f"resuming from step {event.step:,}"] if event.step else []),
            ]
        case Step():
            parts = [
                f"step {event.step:,}",
                f"epoch {event.epoch}",
                f"loss {event.loss:.3f}",
                f"{event.tokens_per_second:,.0f} tokens/s",
            ]
            if event.eta_seconds is not None:
                parts += [f"{event.fraction_done:.0%}", f"{duration(event.eta_seconds)} left"]
        case Evaluated():
            parts = [
                f"step {event.step:,}",
                f"epoch {event.epoch}",
                f"valid loss {event.loss:.3f}",
                *(f"{name} {value:.2f}" for name, value in event.scores.items()),
                duration(event.seconds),
                *(["best so far"] if event.is_best else []),
            ]
        case Finished():
            parts = [
                f"finished at step {event.step:,} after {duration(event.seconds)}",
                f"stopped by {event.reason}",
            ]
            if event.best is not None:
                parts.append(
                    f"best {event.best.metric} {event.best.value:.3f} at step {event.best.step:,}"
                )
    return " · ".join(parts)


_LONGEST_SHOWN = 100 * 365.25 * 86_400


def duration(seconds: float) -> str:
    """Format seconds for people.

    >>> duration(7), duration(252.4), duration(3725), duration(float("inf"))
    ('7 s', '4:12', '1:02:05', 'over 100 years')
    """
    if not seconds < _LONGEST_SHOWN:  # limits may be as large as a float can be
        return "over 100 years"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
