"""A run that was interrupted anywhere ends like an uninterrupted one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from counting import COUNTING, CountingConfig, recipe_for

from unrolled.errors import ConfigError, DataError, RunError
from unrolled.training import checkpoint
from unrolled.training.events import Evaluated, Saved, Started, Step
from unrolled.training.loop import fit, train
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import load_run

SETTINGS = {
    "adam and dropout": {},
    "sgd": {"optimiser": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "accumulated": {"accumulate": 3, "max_steps": 17},
    "averaged": {"average": 0.9},
    "plateau": {
        "schedule": "plateau",
        "plateau_patience": 1,
        "learning_rate": 0.9,
        "evaluate_every_n_steps": 2,
        "patience": 5,
    },
    "warmed up, by epochs": {
        "schedule": "inverse_sqrt",
        "warmup_steps": 6,
        "max_steps": 0,
        "max_epochs": 2,
        "evaluate_every_n_steps": 0,
        "checkpoint_every_n_steps": 0,
    },
    "linear": {"schedule": "linear", "warmup_steps": 3, "reduction": "per_sequence"},
}


def content(run: Path) -> dict[str, object]:
    """All that must be equal of two runs: everything but times, and events in `metrics.jsonl`."""
    last = checkpoint.load_checkpoint(run)
    times = {"seconds": 0.0, "update_seconds": 0.0, "metrics_bytes": 0, "metrics_sha256": ""}
    times |= {"threads": 0, "seconds_one": 0.0, "seconds_all": 0.0}
    state = {**vars(last.progress), **times}
    tensors = {
        "weights": last.weights,
        "rest": last.rest,
        "model": checkpoint.load_tensors(run / "model.safetensors"),
    }
    plain = {
        f"{kind}.{name}": tensor.tolist()
        for kind, group in tensors.items()
        for name, tensor in group.items()
    }
    return {**state, **plain, "metrics": metrics(run)}


def metrics(run: Path) -> list[dict[str, object]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    timed = ("seconds", "eta_seconds", "tokens_per_second")
    return [
        {name: value for name, value in json.loads(line).items() if name not in timed}
        for line in lines
    ]


def ends_before(recipe: Recipe, run: Path, kind: type | None, number: int) -> bool:
    """Train until the event of this kind and number, and close; whether training ended before."""
    seen = 0
    events = fit(recipe, run, task=COUNTING, resume=run.exists())
    for event in events:
        seen += type(event) is kind
        if seen == number:
            events.close()
            return False
    return True


STOPS = ((Step, 2), (Step, 1), (Evaluated, 1), (Started, 1), (Step, 3), (Saved, 2), (Evaluated, 2))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path: Path, data: Path, settings: dict):
    recipe = recipe_for(data, **{"log_every_n_steps": 1, **settings})
    train(recipe, tmp_path / "whole", task=COUNTING)
    parts = tmp_path / "parts"
    for kind, number in (*STOPS, (None, 1)):
        torch.manual_seed(random.randrange(999))
        if ends_before(recipe, parts, kind, number):
            break
    assert content(parts) == content(tmp_path / "whole")


@pytest.mark.parametrize("name", ["adam and dropout", "sgd", "averaged", "plateau"])
def test_fifty_and_fifty_steps_equal_a_hundred(tmp_path: Path, data: Path, name: str):
    settings = {**SETTINGS[name], "max_steps": 100, "patience": 0, "log_every_n_steps": 9}
    recipe = recipe_for(data, **settings)
    half = replace(recipe, training=replace(recipe.training, max_steps=50))
    train(recipe, tmp_path / "whole", task=COUNTING)
    train(half, tmp_path / "halves", task=COUNTING)
    train(recipe, tmp_path / "halves", task=COUNTING, resume=True)
    whole, halves = content(tmp_path / "whole"), content(tmp_path / "halves")
    exact = [name for name in whole if name.startswith(("weights.", "rest."))]
    exact += ["step", "epoch", "batch", "n_reductions", "scheduled_best", "n_without_improvement"]
    assert {name: whole[name] for name in exact} == {name: halves[name] for name in exact}


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, data: Path):
    recipe = recipe_for(data)
    train(recipe, tmp_path / "run", task=COUNTING)
    before = content(tmp_path / "run")
    end = train(recipe, tmp_path / "run", task=COUNTING, resume=True)
    assert end.steps == 23
    assert end.reason == "max_steps"
    assert content(tmp_path / "run") == before


def test_random_numbers_of_the_reader_do_not_affect_training(tmp_path: Path, data: Path):
    recipe = recipe_for(data)
    torch.manual_seed(1)
    train(recipe, tmp_path / "quiet", task=COUNTING)
    for event in fit(recipe, tmp_path / "noisy", task=COUNTING):
        torch.manual_seed(hash(str(event)) % 999)
    assert content(tmp_path / "noisy") == content(tmp_path / "quiet")


def test_another_seed_is_another_run(tmp_path: Path, data: Path):
    recipe = recipe_for(data)
    train(recipe, tmp_path / "a", task=COUNTING)
    train(replace(recipe, seed=5), tmp_path / "b", task=COUNTING)
    assert content(tmp_path / "a") != content(tmp_path / "b")


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it to tidy up."""


FILE_OPERATIONS = [
    (os, "fsync"),
    (os, "replace"),
    (Path, "unlink"),
    (Path, "rmdir"),
    (Path, "mkdir"),
]


def kill_at_operation(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the process die instead of its file operation of this number."""
    calls = iter(range(10**6))

    def counted(operation: Callable) -> Callable:
        def counting(*args, **options):
            if next(calls) == number:
                raise Killed
            return operation(*args, **options)

        return counting

    for place, name in FILE_OPERATIONS:
        patch.setattr(place, name, counted(getattr(place, name)))


def test_a_kill_at_any_file_operation_loses_at_most_one_interval(tmp_path: Path, data: Path):
    recipe = recipe_for(data, max_steps=8, checkpoint_every_n_steps=3, evaluate_every_n_steps=4)
    train(recipe, tmp_path / "whole", task=COUNTING)
    expected, run = content(tmp_path / "whole"), tmp_path / "run"
    events = fit(recipe, tmp_path / "start", task=COUNTING)
    while not isinstance(next(events), Saved):
        pass
    begun = tmp_path / "begun"
    shutil.copytree(tmp_path / "start", begun)
    events.close()
    killed, number = True, 0
    while killed:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(begun, run)
        last_step = 0
        with pytest.MonkeyPatch.context() as patch:
            kill_at_operation(patch, number)
            try:
                for event in fit(recipe, run, task=COUNTING, resume=True):
                    last_step = getattr(event, "step", last_step)
                killed = False
            except Killed:
                pass
        load_run(run, COUNTING)
        assert checkpoint.load_checkpoint(run).progress.step >= last_step - 3
        train(recipe, run, task=COUNTING, resume=True)
        assert content(run) == expected, f"killed at operation {number}"
        number += 1
    assert number > 30


DRIVER = """
import os, random, signal, sys, time
import torch
from pathlib import Path
from counting import COUNTING, recipe_for
from unrolled.training.loop import train

torch.set_num_threads(1)
folder = Path(sys.argv[1])
recipe = recipe_for(
    folder / "numbers.tsv", max_steps=60, checkpoint_every_n_steps=4, evaluate_every_n_steps=6
)
train(recipe, folder / "whole", task=COUNTING)
run, draw, kills = folder / "run", random.Random(int(sys.argv[2])), 0
hidden = folder / ".run.partial"
while True:
    child = os.fork()
    if not child:
        resume = run.exists() or hidden.exists()
        train(recipe, run, task=COUNTING, resume=resume)
        os._exit(0)
    # Longer and longer, so that a slow machine gets to the end too.
    time.sleep(draw.uniform(0.0, 0.2) * 1.1**kills)
    os.kill(child, signal.SIGKILL)
    ended_by_itself = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    kills += not ended_by_itself
    if ended_by_itself:
        break
print(kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to kill often in little time")
def test_kills_at_random_moments_do_not_change_the_result(tmp_path: Path, data: Path):
    folders = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), "1"],
        env={**os.environ, "PYTHONPATH": folders, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    assert not list(tmp_path.glob("**/*.partial"))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk"
)
def test_a_run_that_filled_the_disk_can_be_resumed(tmp_path: Path, data: Path):
    recipe, disk = recipe_for(data), tmp_path / "disk"
    train(recipe, tmp_path / "whole", task=COUNTING)
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        events = fit(recipe, disk / "run", task=COUNTING)
        while not isinstance(next(events), Saved):
            pass
        with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1024)) == 1024:
                pass
        with pytest.raises(RunError, match=r"^disk full while writing .*; the last complete ch"):
            for _ in events:
                pass
        load_run(disk / "run", COUNTING)
        (disk / "filler").unlink()
        train(recipe, disk / "run", task=COUNTING, resume=True)
        assert content(disk / "run") == content(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path, data: Path):
    recipe, run = recipe_for(data), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        # Instead of the last operation, the move of the folder to its place.
        def replace_folder(source, target, inner=os.replace):
            if Path(target) == run:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            return inner(source, target)

        patch.setattr(os, "replace", replace_folder)
        patch.setattr("unrolled.training.run_folder.abandon", lambda partial, made: None)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run, task=COUNTING)
    assert not run.exists()
    assert train(recipe, run, task=COUNTING, resume=True).steps == 23
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_resume_without_a_run_starts_one_and_says_so(tmp_path: Path, data: Path):
    recipe, run = recipe_for(data, max_steps=1), tmp_path / "run"
    started, *_ = fit(recipe, run, task=COUNTING, resume=True)
    assert isinstance(started, Started)
    note = f"there was no run to resume in {run}, so training starts at step 0"
    assert started.notes[0] == note
    again, *_ = fit(recipe, run, task=COUNTING, resume=True)
    assert isinstance(again, Started)
    assert note not in again.notes


def test_a_folder_that_is_not_a_run_is_not_resumed(tmp_path: Path, data: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="is not a run folder"):
        fit(recipe_for(data), tmp_path / "notes", task=COUNTING, resume=True)
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["a.txt"]


def test_limits_and_intervals_may_change_when_resuming(tmp_path: Path, data: Path):
    recipe, run = recipe_for(data), tmp_path / "run"
    train(recipe, run, task=COUNTING)
    changed = recipe_for(
        data,
        max_steps=29,
        max_minutes=7.0,
        log_every_n_steps=1,
        evaluate_every_n_steps=6,
        checkpoint_every_n_steps=0,
    )
    assert train(changed, run, task=COUNTING, resume=True).steps == 29
    assert load_run(run, COUNTING).recipe == changed


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"learning_rate": 0.02},
            "training.learning_rate is 0.02, but {run} was started with 0.01",
        ),
        ({"model": CountingConfig(width=7)}, "model.width is 7, but {run} was started with 5"),
    ],
)
def test_nothing_else_may_change_when_resuming(tmp_path: Path, data: Path, change, text):
    run = tmp_path / "run"
    train(recipe_for(data, max_steps=1), run, task=COUNTING)
    with pytest.raises(ConfigError) as caught:
        fit(recipe_for(data, **change), run, task=COUNTING, resume=True)
    assert str(caught.value) == (
        f"{text.format(run=run)}; only limits and intervals can be changed when a run is resumed: "
        "restore this setting, or start another run from this one (--from)"
    )


def test_the_data_may_move_but_not_change_when_resuming(tmp_path: Path, data: Path):
    run = tmp_path / "run"
    train(recipe_for(data, max_steps=3), run, task=COUNTING)
    moved = data.rename(tmp_path / "moved.tsv")
    assert train(recipe_for(moved, max_steps=5), run, task=COUNTING, resume=True).steps == 5
    missing = recipe_for(tmp_path / "missing.tsv")
    with pytest.raises(DataError) as caught:
        fit(missing, run, task=COUNTING, resume=True)
    assert str(caught.value) == (
        f"{tmp_path / 'missing.tsv'}: no such file here or in a folder above {run}; run the command in "
        "the folder in which the run was trained, or name it: --data FILE to evaluate, --data.train "
        "FILE to resume"
    )
    moved.write_text(moved.read_text(encoding="utf-8") + "ten\tdiez\n", encoding="utf-8")
    with pytest.raises(RunError) as caught:
        fit(recipe_for(moved), run, task=COUNTING, resume=True)
    assert str(caught.value) == (
        f"{moved} is not a file that {run} was trained on, or its content has changed; give the same "
        "files, or start another run from this one (--from)"
    )


def test_minutes_are_counted_across_resumes(tmp_path: Path, data: Path):
    recipe, run = recipe_for(data, max_steps=5), tmp_path / "run"
    train(recipe, run, task=COUNTING)
    path = checkpoint.load_checkpoint(run)
    path.progress.seconds = 59.0 * 60
    path.progress.evaluated_step = 4
    checkpoint.save_checkpoint(run, path, is_best=False)
    changed = replace(recipe.training, max_steps=0, max_minutes=59.0)
    end = train(replace(recipe, training=changed), run, task=COUNTING, resume=True)
    assert (end.reason, end.steps) == ("max_minutes", 5)
