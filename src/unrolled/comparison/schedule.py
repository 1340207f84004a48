"""Make the runs of a comparison: what is missing, in an order that fills the table evenly.

A run is finished if its file in `results/` is there. The missing runs are listed anew after each one that
ends, because the seeds of a tuned variant start when all its trials are known.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unrolled import config, documents
from unrolled.comparison.grid import Override
from unrolled.comparison.job import Job
from unrolled.comparison.plan import (
    COSTS,
    LOGS,
    RESULTS,
    RUNS,
    Plan,
    PlannedRun,
    SizedVariant,
    Sizing,
    runs_of,
)
from unrolled.comparison.runners import Runner
from unrolled.errors import RunError

_WAIT = 0.5
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Waiting:
    """Nothing has changed for a moment.

    Args:
        running: keys of the runs that are being made.
    """

    running: tuple[str, ...]


@dataclass(frozen=True)
class RunEnded:
    """A run has ended.

    Args:
        run: the run.
        result: its result; None if it has none.
        problem: why it has no result; "" if it has one.
        n_done: number of runs that have ended.
        n_runs: number of runs in all.
    """

    run: PlannedRun
    result: Mapping[str, Any] | None
    problem: str
    n_done: int
    n_runs: int


Event = Waiting | RunEnded


@dataclass
class Grid:
    """The runs of a comparison, and those that are finished.

    Args:
        plan: the plan.
        sizing: its variants.
        folder: folder of the comparison.

    Attributes:
        results: result by key of the run.
        failed: why a run has no result, by key; such runs are tried again by the next command.
    """

    plan: Plan
    sizing: Sizing
    folder: Path
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._runs = {each.key: runs_of(self.plan, each) for each in self.sizing.variants}
        for runs in self._runs.values():
            for run in runs.values():
                result = self.read(run)
                if result is not None:
                    self.results[run.key] = result
                    self.file(LOGS, run).unlink(
                        missing_ok=True
                    )  # left by a command that was killed

    def read(self, run: PlannedRun) -> dict[str, Any] | None:
        """The stored result of a run; None if there is none."""
        try:
            result = documents.read_json(self.file(RESULTS, run), _MOST_BYTES)
        except RunError:
            return None
        return result if isinstance(result, dict) else None

    def file(self, kind: str, run: PlannedRun) -> Path:
        """The file of a run in one of the folders; absolute, as workers have other working folders."""
        return self.folder.absolute() / kind / f"{run.key}{'.log' if kind == LOGS else '.json'}"

    def trials(self, variant: SizedVariant) -> list[PlannedRun]:
        """The runs by which the tuned values of a variant are chosen: one for each, the first seed."""
        first = self.plan.seed_numbers[0]
        return [self._runs[variant.key][values, first] for values in self.plan.trials]

    def chosen(self, variant: SizedVariant) -> tuple[Override, ...] | None:
        """The tuned values of a variant; None until all its trials are finished."""
        trials = self.trials(variant)
        if len(trials) == 1:
            return trials[0].tuned
        if not all(run.key in self.results or run.key in self.failed for run in trials):
            return None
        best = min(trials, key=self._badness)
        return best.tuned if best.key in self.results else None

    def _badness(self, run: PlannedRun) -> float:
        """The metric on validation data, such that less is better; a run without one comes last."""
        result = self.results.get(run.key, {})
        value = result.get("value")
        if value is None:
            return float("inf")
        return float(value) if result["metric"] == "loss" else -float(value)

    def seeds(self, variant: SizedVariant) -> list[PlannedRun]:
        """The runs that are compared, in the order of seeds; [] until the tuned values are chosen."""
        values = self.chosen(variant)
        if values is None:
            return []
        return [self._runs[variant.key][values, seed] for seed in self.plan.seed_numbers]

    def wanted(self) -> list[PlannedRun]:
        """All runs that are known to be needed: trials first, then seed by seed."""
        by_variant = [self.seeds(variant) for variant in self.sizing.variants]
        runs: list[PlannedRun] = []
        if len(self.plan.trials) > 1:
            for trials in zip(*map(self.trials, self.sizing.variants), strict=True):
                runs += trials
        for index in range(self.plan.seeds):
            runs += [seeds[index] for seeds in by_variant if seeds]
        return list({run.key: run for run in runs}.values())

    @property
    def n_runs(self) -> int:
        """Number of runs in the end: the first seed of the chosen values is one of the trials."""
        return len(self.sizing.variants) * (self.plan.seeds + len(self.plan.trials) - 1)

    @property
    def n_done(self) -> int:
        """Number of runs that have a result."""
        return sum(run.key in self.results for run in self.wanted())


def make_runs(grid: Grid, runner: Runner) -> Generator[Event, None, None]:
    """Make all runs that are missing; closing the runner stops those that are being made.

    Args:
        grid: the runs; its results are added as they come.
        runner: what makes them.
    """
    running: dict[str, PlannedRun] = {}
    while True:
        for run in _startable(grid, running):
            if runner.n_free <= 0:
                break
            runner.start(run.key, _job(grid, run), grid.file(LOGS, run))
            running[run.key] = run
        if not running:
            return
        ended = runner.wait(_WAIT)
        for one in ended:
            yield _take(grid, running.pop(one.key), one.problem)
        if not ended:
            yield Waiting(tuple(running))


def _startable(grid: Grid, running: Mapping[str, PlannedRun]) -> Sequence[PlannedRun]:
    return [
        run
        for run in grid.wanted()
        if run.key not in grid.results and run.key not in grid.failed and run.key not in running
    ]


def _take(grid: Grid, run: PlannedRun, problem: str) -> RunEnded:
    result = None if problem else grid.read(run)
    if result is None:
        grid.failed[run.key] = problem or "its result is missing; start the same command again"
    else:
        grid.results[run.key] = result
    n_done = grid.n_done + len(grid.failed)
    return RunEnded(run, result, grid.failed.get(run.key, ""), n_done, grid.n_runs)


def _job(grid: Grid, run: PlannedRun) -> Job:
    return Job(
        recipe=config.to_mapping(run.recipe),
        run=str(grid.folder.absolute() / RUNS / run.key),
        result=str(grid.file(RESULTS, run)),
        costs=str(grid.file(COSTS, run)),
        part=grid.sizing.part,
        threads=grid.plan.threads,
        folder=os.getcwd(),
    )
