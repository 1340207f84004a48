"""Comparisons that are made in the process of a test."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from unrolled.comparison.compare import Compared, compare
from unrolled.comparison.job import Job, Lifeline, make_run
from unrolled.comparison.plan import Plan
from unrolled.comparison.runners import Ended
from unrolled.config import to_mapping
from unrolled.errors import UnrolledError
from unrolled.tasks import TASKS
from unrolled.training.recipe import Recipe, recipe_from_toml


class HereRunner:
    """Makes runs in this process, one at a time."""

    n_free = 1

    def __init__(self) -> None:
        self.made: list[str] = []
        self._ended: list[Ended] = []

    def start(self, key: str, job: Job, log: Path) -> None:
        self.made.append(key)
        self.n_free = 0
        problem = ""
        try:
            make_run(job, Lifeline())
        except UnrolledError as error:
            problem = str(error)
        self._ended.append(Ended(key, problem))

    def wait(self, seconds: float) -> list[Ended]:
        ended, self._ended, self.n_free = self._ended, [], 1
        return ended

    def close(self) -> None:
        pass


def plan_of(recipe: Path, *over: str, **options: Any) -> Plan:
    """A plan to compare variants of a recipe."""
    settings = [("training.threads", "1"), *options.pop("settings", ())]
    found: Recipe = recipe_from_toml(recipe, TASKS, settings)
    return Plan(recipe=to_mapping(found), over=over, **{"seeds": 2, **options})


def made(plan: Plan, out: Path, runner: Any = None) -> Compared:
    """The end of a comparison that is made in this process."""
    runner = runner or HereRunner()
    *_, end = compare(plan, out, runner)
    assert isinstance(end, Compared)
    return end


@dataclasses.dataclass(frozen=True)
class Made:
    """A finished comparison.

    Args:
        folder: its folder.
        plan: its plan.
        end: its last event.
    """

    folder: Path
    plan: Plan
    end: Compared
