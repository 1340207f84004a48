"""The end of training: its baselines, and the model beside the best of them."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from unrolled import storage
from unrolled.cli.screen import (
    default_console,
    duration,
    key_values,
    print_command,
    print_parts,
    print_text,
)
from unrolled.errors import ConfigError, UnrolledError
from unrolled.wording import count_of

if TYPE_CHECKING:
    from unrolled.baselines.fit import FittedBaseline
    from unrolled.predictors.closing import Closing
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.run_baselines import BaselinePlan

Names = tuple[str, ...] | None
Event = TypeVar("Event")

NO_BASELINES = ("none",)
"""The value of --baselines with which none are fitted."""


def check_baselines(task: Any, names: Names) -> None:
    """Refuse --baselines that cannot be fitted, before training.

    Args:
        task: the task.
        names: value of the option; None if it is not given.

    Raises:
        ConfigError: the task has no baselines, or a name is unknown.
        UnavailableError: scikit-learn is not installed.
    """
    if names is None:
        return
    if not task.kind.has_baselines:
        from unrolled.tasks import TASKS

        *others, last = (name for name, each in TASKS.items() if each.kind.has_baselines)
        raise ConfigError(
            f"--baselines is only available for {', '.join(others)} and {last}, not for '{task.name}'; "
            "remove it"
        )
    if names == NO_BASELINES:
        return
    from unrolled.baselines.sklearn_models import Scikit
    from unrolled.predictors.run_baselines import chosen_baselines

    chosen_baselines(task, names)
    Scikit.load()


def with_choice(
    events: Generator[Event, None, None], run: Path, names: Names
) -> Generator[Event, None, None]:
    """The events of training; from the first on, the run holds that it is to have no baselines.

    Args:
        events: events of `fit` or `fit_ensemble`, which create the run folder before the first one.
        run: the run folder.
        names: value of --baselines; None if it is not given.
    """
    with closing(events):
        for number, event in enumerate(events):
            if number == 0 and names == NO_BASELINES:
                from unrolled.predictors.run_baselines import remember_none

                remember_none(run)
            yield event


def close_training(run: Path, task: Any, names: Names) -> None:
    """Fit the baselines of a run, and print the model beside the best of them.

    Without --baselines, what prevents this is a note and not an error, as the run is complete.

    Args:
        run: the run folder.
        task: its task.
        names: value of --baselines; None if it is not given, which a resumed run takes to be what it was.
    """
    from unrolled.predictors.run_baselines import has_none_on_purpose

    if names == NO_BASELINES or (names is None and has_none_on_purpose(run)):
        return
    if names is not None:
        _close_labels(run, names)
        return
    try:
        if task.kind.name in _OF_TEXT:
            _print_text_closing(run)
        elif task.kind.has_baselines:
            _close_labels(run, None)
    except (UnrolledError, MemoryError) as error:
        problem = str(error) or "out of memory"
        _print_note(default_console(), f"no comparison with a baseline: {problem}")


def _close_labels(run: Path, names: Names) -> None:
    from unrolled.baselines.sklearn_models import Scikit
    from unrolled.predictors.load import load_labels
    from unrolled.predictors.run_baselines import saved_baselines

    Scikit.load()
    predictor = load_labels(run)
    parts = predictor.parts()
    if names is not None:
        print_baselines(predictor, names, parts=parts)
    elif not saved_baselines(run) or _was_killed(run):  # those of a resumed run are there
        print_baselines(predictor, parts=parts, is_automatic=True)
    print_closing(predictor, parts)


def _was_killed(run: Path) -> bool:
    """Whether a process was killed while it saved a baseline of a run."""
    from unrolled.predictors.run_baselines import BASELINES_FOLDER

    return any((run / BASELINES_FOLDER).glob(".*.partial"))


_OF_TEXT = ("seq2seq", "code")
"""Names of the kinds of task that are compared with the nearest training row."""


def _print_text_closing(run: Path) -> None:
    from unrolled.cli.work import reported_on_stderr
    from unrolled.predictors.closing import text_closing
    from unrolled.predictors.load import load

    predictor: Any = load(run)
    if not predictor.recipe.training.valid_sentences:
        return
    console = default_console()
    with reported_on_stderr():
        closing = text_closing(predictor)
    if console.is_terminal:
        print_text(console, closing.sentence())
        return
    values = {"metric": closing.score, "model": closing.model, "baseline": closing.baseline}
    values |= {"rows": closing.n_rows, "text": closing.sentence()}
    print_command(console, key_values("comparison", {**values, "name": "nearest"}))


def print_closing(predictor: LabelPredictor, parts: Mapping[str, Any]) -> None:
    """Print the model beside the best of the baselines of its run, if there are any."""
    from unrolled.predictors.closing import closing_of
    from unrolled.predictors.run_baselines import saved_baselines

    run = predictor.folder
    if run is None or not saved_baselines(run):
        return
    closing, console = closing_of(predictor, parts), default_console()
    if console.is_terminal:
        print_text(console, closing.sentence(run))
    else:
        print_command(console, key_values("comparison", _values(closing, run)))


def _values(closing: Closing, run: Path) -> dict[str, object]:
    found = closing.comparison
    return {
        "metric": found.score,
        "model": 100 * found.a,
        "baseline": 100 * found.b,
        "name": closing.baseline,
        "difference": 100 * found.difference,
        "low": 100 * found.low,
        "high": 100 * found.high,
        f"{closing.unit}s": closing.n_rows,
        "better": closing.verdict,
        "text": closing.sentence(run),
    }


def print_baselines(
    run: Path | LabelPredictor,
    names: Sequence[str] = (),
    *,
    parts: Mapping[str, Any] | None = None,
    is_automatic: bool = False,
) -> None:
    """Fit and save the baselines of a run, and print the validation score of each.

    In a log, the lines are `event=… key=value …`, like those of training.

    Args:
        run: the run folder, or the run that was loaded from it.
        names: which to fit, as for `chosen_baselines`; by default all.
        parts: its rows, if they have been read.
        is_automatic: whether to fit those that training fits unasked, in bounded time.
    """
    from unrolled.predictors.load import load_labels
    from unrolled.predictors.run_baselines import (
        AUTOMATIC_SECONDS,
        baseline_metric,
        fit_run_baselines,
    )

    predictor = load_labels(run) if isinstance(run, Path) else run
    assert predictor.folder is not None  # it was loaded from it
    console, metric = default_console(), baseline_metric(predictor)
    seconds = AUTOMATIC_SECONDS if is_automatic else 0.0

    def announce(plan: BaselinePlan) -> None:
        _announce(console, plan, predictor.task.unit)

    with storage.locked(Path(os.path.realpath(predictor.folder))):
        for fitted in fit_run_baselines(predictor, names, announce, parts=parts, seconds=seconds):
            _print_fitted(console, fitted, metric)


def _announce(console: Console, plan: BaselinePlan, unit: str) -> None:
    from unrolled.baselines.config import baseline_title

    if not plan.names:
        _print_note(
            console,
            f"no n-gram baseline: with these labels, fitting one on {count_of(plan.n_all, unit)} takes "
            "too long or too much memory; --baselines fits them all the same",
        )
        return
    seconds = max(1, sum(plan.seconds))
    if not console.is_terminal:
        values = {"fitting": ", ".join(plan.names), f"{unit}s": plan.n_rows}
        values |= {"of": plan.n_all} if plan.n_rows < plan.n_all else {}
        values |= {"tokens": plan.n_tokens, "expected_seconds": round(seconds)}
        print_command(console, key_values("baselines", values))
        return
    names = ", ".join(map(baseline_title, plan.names))
    rows = count_of(plan.n_rows, unit)
    if plan.n_rows < plan.n_all:
        rows = f"{plan.n_rows:,} of {count_of(plan.n_all, unit)} (all: --baselines)"
    rest = f"about {duration(seconds)} on an idle machine"
    print_text(console, f"baselines: fitting {names} on {rows}, {plan.n_tokens:,} tokens; {rest}")


def _print_fitted(console: Console, fitted: FittedBaseline, metric: str) -> None:
    from unrolled.baselines.config import baseline_title
    from unrolled.metrics.display import title

    percent = 100 * fitted.score
    if not console.is_terminal:
        scores = {"name": fitted.name, f"valid_{metric}": percent, "c": fitted.c}
        rest = {"features": fitted.n_features, "seconds": round(fitted.seconds, 1)}
        print_command(console, key_values("baseline", {**scores, **rest}))
        return
    parts = [f"baseline {baseline_title(fitted.name)}", f"valid {title(metric)} {percent:.2f}"]
    parts += [] if fitted.c is None else [f"C {fitted.c:g}"]
    print_parts(console, [*parts, f"{fitted.n_features:,} features", f"{fitted.seconds:.1f} s"])


def _print_note(console: Console, text: str) -> None:
    if console.is_terminal:
        print_text(console, text, prefix="note: ")
    else:
        print_command(console, key_values("note", {"text": text}))
