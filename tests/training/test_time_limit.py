"""`training.max_minutes` limits the whole run, by a clock that only moves where the test says so."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from counting import COUNTING, CountingConfig, recipe_for

from unrolled.tasks.task import Task
from unrolled.training.events import Evaluated, Event, Finished, Started, Step
from unrolled.training.loop import fit
from unrolled.training.trainer import Trainer


class Clock:
    """A clock, and a task whose every part takes a known time.

    Args:
        reading: seconds until the tokenizers are trained.
        update: seconds of an update.
        scoring: seconds of scoring the validation part.
        saving: seconds of writing a checkpoint.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        reading: float = 20.0,
        update: float = 1.0,
        scoring: float = 10.0,
        saving: float = 2.0,
    ) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        self._seconds = reading, update, scoring
        save = Trainer.save

        def slow_save(trainer: Trainer) -> Any:
            path = save(trainer)
            if path is not None:
                self.now += saving
                trainer.ending.saving_seconds = saving
            return path

        monkeypatch.setattr(Trainer, "save", slow_save)

    def task(self) -> Task:
        reading, update, scoring = self._seconds
        return replace(
            COUNTING,
            train_tokenizers=self._after(COUNTING.train_tokenizers, reading),
            loss=self._after(COUNTING.loss, update),
            score=self._after(COUNTING.score, scoring),
        )

    def _after(self, function: Any, seconds: float) -> Any:
        def slow(*arguments: Any) -> Any:
            self.now += seconds
            return function(*arguments)

        return slow


def seconds_and_events(
    clock: Clock, data: Path, out: Path, **training: Any
) -> tuple[float, list[Event]]:
    settings = {"max_steps": 0, "metric": "accuracy", "max_minutes": 2.0, **training}
    recipe = recipe_for(data, CountingConfig(dropout_rate=0.0), **settings)
    began = clock.now
    events = list(fit(recipe, out, task=clock.task()))
    return clock.now - began, events


@pytest.mark.parametrize("evaluate_every_n_steps", [7, 10**6])
@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_whole_run_ends_close_to_the_limit(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data: Path,
    evaluate_every_n_steps: int,
    metric: str,
) -> None:
    clock = Clock(monkeypatch)
    seconds, events = seconds_and_events(
        clock,
        data,
        tmp_path / "run",
        evaluate_every_n_steps=evaluate_every_n_steps,
        checkpoint_every_n_steps=10**6,
        metric=metric,
    )
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason == "max_minutes"
    assert end.best is not None
    assert end.best.scores["accuracy"] >= 0
    # An evaluation and its checkpoint take 12 seconds, which may be due when less is left.
    assert 107 <= seconds <= 122
    assert end.seconds == pytest.approx(seconds, abs=3)


def test_the_schedule_covers_the_time_after_reading(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    clock = Clock(monkeypatch, reading=60.0, scoring=0.0, saving=0.0)
    _, events = seconds_and_events(
        clock, data, tmp_path / "run", schedule="linear", learning_rate=0.1, log_every_n_steps=1
    )
    steps = [event for event in events if isinstance(event, Step)]
    assert len(steps) == 60
    assert steps[0].learning_rate == pytest.approx(0.1)
    assert steps[-1].learning_rate == pytest.approx(0.1 / 60)
    assert [steps[14].fraction_done, steps[14].eta_seconds] == pytest.approx([0.25, 45.0])


def test_the_time_left_by_other_limits_does_not_count_reading(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    clock = Clock(monkeypatch, reading=600.0, scoring=0.0, saving=0.0)
    _, events = seconds_and_events(
        clock, data, tmp_path / "run", max_minutes=0.0, max_steps=12, log_every_n_steps=3
    )
    left = [event.eta_seconds for event in events if isinstance(event, Step)]
    assert left == pytest.approx([9.0, 6.0, 3.0, 0.0])
    first = next(event for event in events if isinstance(event, Evaluated))
    assert first.seconds == pytest.approx(605.0)


def test_a_run_whose_time_is_up_before_it_begins_makes_one_update_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    clock = Clock(monkeypatch, reading=300.0)
    _, events = seconds_and_events(clock, data, tmp_path / "run")
    started, end = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(end, Finished)
    assert started.notes[-1] == (
        "reading and preparing the data took 300 s, and the whole run may take 120 s, so that only one "
        "update is made; raise training.max_minutes"
    )
    assert (end.step, end.reason) == (1, "max_minutes")
    assert end.best is not None


def test_time_is_counted_across_sessions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    clock = Clock(monkeypatch, scoring=0.0, saving=0.0)
    settings = {"max_steps": 0, "max_minutes": 2.0, "log_every_n_steps": 1}
    recipe = recipe_for(data, CountingConfig(dropout_rate=0.0), **settings)
    events = fit(recipe, tmp_path / "run", task=clock.task())
    while not isinstance(event := next(events), Step) or event.step < 30:
        pass
    events.close()
    clock.now += 10_000
    *_, end = fit(recipe, tmp_path / "run", task=clock.task(), resume=True)
    assert isinstance(end, Finished)
    assert (end.step, end.seconds) == (
        100,
        pytest.approx(120.0),
    )  # tokenizers are not trained again
