"""A comparison from its plan to its results, as a generator of events.

Each result is written as soon as it is there, so that the files of the comparison are always complete for
the runs that are finished. Closing the generator stops the runs that are being made, with checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled import storage
from unrolled.comparison import report
from unrolled.comparison.plan import Plan, Sizing, continued, write_plan
from unrolled.comparison.results import (
    COMPARE_FILE,
    COSTS_FILE,
    compared,
    costs_of,
    write_json,
)
from unrolled.comparison.runners import Runner
from unrolled.comparison.schedule import Grid, RunEnded, Waiting, make_runs
from unrolled.comparison.sizing import check_data, check_plan, sized, write_sizes
from unrolled.errors import ConfigError
from unrolled.quoting import listed
from unrolled.tasks import TASKS
from unrolled.tasks.kind import LANGUAGE_MODEL
from unrolled.tasks.task import AnyTask

CSV_FILE, PAGE_FILE = "compare.csv", "report.html"


@dataclass(frozen=True)
class Begun:
    """The variants are sized; runs that are missing will be made.

    Args:
        plan: the plan, as it is continued.
        sizing: the variants.
        n_done: number of runs that are finished already.
        n_runs: number of runs in all.
        data: the content of `compare.json` so far.
        costs: the content of `costs.json` so far.
    """

    plan: Plan
    sizing: Sizing
    n_done: int
    n_runs: int
    data: dict[str, Any]
    costs: dict[str, Any]


@dataclass(frozen=True)
class Updated:
    """A run has ended, and the results are written.

    Args:
        ended: the run.
        data: the content of `compare.json`.
        costs: the content of `costs.json`.
    """

    ended: RunEnded
    data: dict[str, Any]
    costs: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """All runs have ended.

    Args:
        data: the content of `compare.json`.
        costs: the content of `costs.json`.
        failed: why runs have no result, by key; such runs are made by the next command.
    """

    data: dict[str, Any]
    costs: dict[str, Any]
    failed: dict[str, str]


Event = Begun | Waiting | Updated | Compared


def compare(plan: Plan, out: Path, runner: Runner) -> Generator[Event, None, None]:
    """Make the runs of a comparison that are missing, and write its results.

    The data are read only if runs are missing.

    Args:
        plan: what is compared.
        out: folder of the comparison, new or with some of its runs.
        runner: what makes the runs; it is closed at the end.

    Raises:
        ConfigError: the plan contradicts itself, or the folder holds something else.
        DataError: runs are missing, and the data cannot be read.
        RunError: the folder cannot be written, or another process is writing it.
        UnavailableError: the connection to a cluster is lost.
    """
    with closing(runner), storage.locked(Path(os.path.realpath(out))):
        check_plan(plan)
        check_score(plan)
        plan = continued(plan, out)
        sizing = sized(plan, out)
        grid = Grid(plan, sizing, out)
        if grid.n_done < grid.n_runs:
            check_data(plan)
        write_plan(out, plan)
        write_sizes(sizing, out)
        data, costs = _write(grid)
        yield Begun(plan, sizing, grid.n_done, grid.n_runs, data, costs)
        if grid.n_done < grid.n_runs:
            for event in make_runs(grid, runner):
                if isinstance(event, RunEnded):
                    data, costs = _write(grid)
                    yield Updated(event, data, costs)
                else:
                    yield event
        yield Compared(data, costs, grid.failed)


def check_score(plan: Plan) -> None:
    """Refuse a score that the task does not have.

    Raises:
        ConfigError: it does not have it.
    """
    names = scores_of(TASKS[plan.base.task])
    if plan.score and plan.score not in names:
        raise ConfigError(
            f"--score {plan.score} is not a score of task '{plan.base.task}'; choose from "
            f"{listed(names, most=20)}"
        )


def scores_of(task: AnyTask) -> list[str]:
    """The names of the scores by which runs of a task can be compared."""
    if task.kind is LANGUAGE_MODEL:
        return ["perplexity", "bits_per_character", "loss"]
    return [name for name in task.metrics if name != "loss"]


def _write(grid: Grid) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write all results."""
    data, costs = compared(grid), costs_of(grid)
    texts = {
        CSV_FILE: report.csv_of(data, costs),
        PAGE_FILE: report.page_of(data, costs, grid.plan.command),
    }
    for name, text in texts.items():
        storage.write_whole(
            grid.folder / name, text.encode("utf-8"), "start the same command again"
        )
    write_json(grid.folder / COSTS_FILE, costs)
    write_json(grid.folder / COMPARE_FILE, data)
    return data, costs
