"""Run folders: nothing is removed or overwritten but files of the run inside its folder."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from counting import COUNTING, recipe_for, write_data

from unrolled import storage
from unrolled.errors import RunError
from unrolled.training import checkpoint, run_folder
from unrolled.training.checkpoint import Progress
from unrolled.training.loop import fit, train
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import load_run

OLD_RUN = Path(__file__).parent / "old_run"
"""Of a version whose config.toml has no first line of its own, and whose state no checksum of metrics."""

posix = pytest.mark.skipif(os.name == "nt", reason="needs links of POSIX")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `numbers.tsv` and a `run` of six steps."""
    folder = tmp_path_factory.mktemp("trained")
    train(recipe(folder, 6), folder / "run", task=COUNTING)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copy(trained / "numbers.tsv", tmp_path)
    return tmp_path / "run"


def recipe(folder: Path, max_steps: int) -> Recipe:
    data = write_data(folder / "numbers.tsv")
    return recipe_for(
        data,
        max_steps=max_steps,
        checkpoint_every_n_steps=2,
        evaluate_every_n_steps=4,
        log_every_n_steps=1,
    )


def resume(run: Path, max_steps: int = 9) -> None:
    train(recipe(run.parent, max_steps), run, task=COUNTING, resume=True)


def content(folder: Path) -> dict[str, bytes | str]:
    """What stands in a folder: names, and the content of files and links."""
    return {
        str(path.relative_to(folder)): (
            os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else "folder"
        )
        for path in folder.rglob("*")
    }


def refused(call: Callable[[], object], folder: Path) -> str:
    """The sentence of a refusal that changes nothing in a folder."""
    before = content(folder)
    with pytest.raises(RunError) as caught:
        call()
    assert content(folder) == before
    return str(caught.value)


# The pointer


GOOD = "a" * 64
POINTERS: dict[str, object] = {
    "nulls": {"best": None, "last": None},
    "empty": {},
    "list": [],
    "number": 5,
    "null": None,
    **{
        f"folder {folder!r}": {"best": None, "last": {"folder": folder, "sha256": GOOD}}
        for folder in (
            *("", ".", "..", "../..", "/", "step-0000006/../..", "precious", "step-6", "\ud800"),
            *("step-0000006\0", "step-0000006\n", "step-٠٠٠٠٠٠٦", "step-" + "9" * 400),
            *(5, None, True, 1.5, [], {}),
        )
    },
    **{
        f"sha256 {digest!r}": {"best": None, "last": {"folder": "step-0000006", "sha256": digest}}
        for digest in ("", "x", GOOD.upper(), GOOD + "\n", 5, None, [], {})
    },
    "last 5": {"best": None, "last": 5},
    "last list": {"best": None, "last": ["step-0000006", GOOD]},
    "best wrong": {"best": {"folder": "..", "sha256": GOOD}, "last": None},
    "checkpoint of which nothing is there": {
        "best": None,
        "last": {"folder": "step-0000099", "sha256": GOOD},
    },
}


@pytest.mark.parametrize("pointer", POINTERS.values(), ids=POINTERS)
def test_a_wrong_pointer_removes_nothing(run: Path, pointer: object) -> None:
    path = run / "checkpoints" / "pointer.json"
    path.write_text(json.dumps(pointer), encoding="utf-8")
    (run / "checkpoints" / "precious").mkdir()
    (run / "checkpoints" / "precious" / "file").write_text("once", encoding="utf-8")
    sentence = refused(lambda: resume(run), run)
    assert sentence.startswith(str(run / "checkpoints"))


@pytest.mark.parametrize("harm", ["missing", "deep", "long", "folder", "not JSON"])
def test_a_pointer_that_cannot_be_read_removes_nothing(run: Path, harm: str) -> None:
    path = run / "checkpoints" / "pointer.json"
    path.unlink()
    match harm:
        case "deep":
            path.write_text("[" * 9999, encoding="utf-8")
        case "long":
            path.write_bytes(b" " * (2 << 20))
        case "folder":
            path.mkdir()
        case "not JSON":
            path.write_bytes(b"\xff")
    sentence = refused(lambda: resume(run), run)
    assert sentence.startswith(f"{path}: ")
    assert "step-0000006" in sentence, "it tells which checkpoints there are"
    assert sentence.endswith(
        "restore the file from a copy, or start another run from the best weights of this one (--from)"
    )
    train(recipe(run.parent, 3), run.with_name("b"), task=COUNTING, start_from=run)


@posix
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pointer_that_is_not_a_file_does_not_hang(run: Path, kind: str) -> None:
    path = run / "checkpoints" / "pointer.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(RunError, match=r"it is a (pipe|device), not a regular file"):
        resume(run)


def test_a_damaged_checkpoint_removes_nothing(run: Path) -> None:
    (run / "checkpoints" / "step-0000001").mkdir()
    entry = checkpoint.read_pointer(run)["last"]
    assert entry is not None
    path = run / "checkpoints" / entry["folder"] / "optimiser.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut short" in refused(lambda: resume(run), run)


def test_a_resumed_run_removes_only_what_it_wrote(run: Path) -> None:
    folder = run / "checkpoints"
    kept = ("notes.txt", "step-0000001/mine.txt", "my-best/model.safetensors", "step-01/state.json")
    gone = (
        "step-0000002/state.json",
        "step-0000003-2/model.safetensors",
        ".step-0000005.partial/model.safetensors",
        ".step-0000005.partial/.tmpAbC123",
        ".pointer.json.partial",
    )
    for name in (*kept, *gone):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x", encoding="utf-8")
    resume(run)
    assert all((folder / name).is_file() for name in kept)
    assert not any(os.path.lexists(folder / name) for name in gone)


def test_leftovers_of_the_safetensors_library_are_removed(run: Path) -> None:
    head = (OLD_RUN / "model.safetensors").read_bytes()[:200]
    (run / ".tmpAbC123").write_bytes(head)
    (run / ".tmpMINE99").write_bytes(b"my own notes, of more than a few bytes")
    (run / ".model.safetensors.partial").write_bytes(head)
    (run / ".notes").write_bytes(b"mine")
    resume(run)
    hidden = sorted(path.name for path in run.iterdir() if path.name.startswith("."))
    assert hidden == [".notes", ".tmpMINE99"]


# Links


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """Files and folders that no test may change."""
    folder = tmp_path / "precious"
    (folder / "step-0000001").mkdir(parents=True)
    for name in ("state.json", "model.safetensors", "step-0000001/state.json", "report.html"):
        (folder / name).write_text("once " * 999, encoding="utf-8")
    before = content(folder)
    yield folder
    assert content(folder) == before


@posix
def test_a_link_in_place_of_the_checkpoints_is_not_followed(run: Path, precious: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").symlink_to(precious)
    assert refused(lambda: resume(run), run) == (
        f"{run / 'checkpoints'} is a link to '{precious}'; nothing is written or removed through "
        "links, so replace it by the folder itself"
    )


@posix
@pytest.mark.parametrize("name", ["step-0000001", ".step-0000007.partial", "step-0000008"])
def test_a_link_among_the_checkpoints_is_not_followed(run: Path, precious: Path, name: str) -> None:
    (run / "checkpoints" / name).symlink_to(precious)
    resume(run)
    assert (run / "checkpoints" / name).is_symlink()


@posix
def test_a_checkpoint_that_is_a_link_is_refused(run: Path, precious: Path) -> None:
    (last,) = {entry["folder"] for entry in [checkpoint.read_pointer(run)["last"]] if entry}
    (run / "checkpoints" / last).rename(run.parent / "moved")
    (run / "checkpoints" / last).symlink_to(run.parent / "moved")
    assert "is a link to" in refused(lambda: resume(run), run)


@posix
@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl",
        "README.md",
        "config.toml",
        "model.safetensors",
        "checkpoints/pointer.json",
        ".config.toml.partial",
        ".model.safetensors.partial",
        "checkpoints/.pointer.json.partial",
    ],
)
def test_no_file_is_written_through_a_link(
    run: Path, name: str, link: Callable[[Path, Path], None]
) -> None:
    mine = run.parent / "mine"
    mine.write_bytes((run / name).read_bytes() if (run / name).exists() else b"once")
    before = mine.read_bytes()
    (run / name).unlink(missing_ok=True)
    link(mine, run / name)
    resume(run)
    assert mine.read_bytes() == before
    load_run(run, COUNTING)


@posix
def test_metrics_that_share_content_are_not_cut_in_both(run: Path) -> None:
    copy = run.parent / "copy.jsonl"
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "step"}\n')  # after the last checkpoint
    copy.hardlink_to(run / "metrics.jsonl")
    before = copy.read_bytes()
    resume(run)
    assert copy.read_bytes() == before
    assert b'{"event": "step"}\n' not in (run / "metrics.jsonl").read_bytes()


@posix
@pytest.mark.parametrize("name", [".new.partial", ".new.replaced"])
@pytest.mark.parametrize("kind", ["link", "folder", "file", "run with notes"])
def test_foreign_files_with_temporary_names_are_kept(
    run: Path, precious: Path, name: str, kind: str
) -> None:
    planted = run.parent / name
    match kind:
        case "link":
            planted.symlink_to(precious)
        case "folder":
            shutil.copytree(precious, planted)
        case "file":
            planted.write_text("once", encoding="utf-8")
        case "run with notes":
            shutil.copytree(run, planted)
            (planted / "notes.txt").write_text("once", encoding="utf-8")
    before = content(run.parent)
    new = run.with_name("new")
    with pytest.raises(RunError, match="is in the way and was not written by Unrolled"):
        train(recipe(run.parent, 1), new, task=COUNTING)
    assert content(run.parent) == before


# --force


FOREIGN = (
    "notes.txt",
    ".tmpMINE99",
    "checkpoints/mine.txt",
    "checkpoints/step-0000006/notes.txt",
    "evaluation-test/notes.txt",
    "baselines/unigrams/notes.txt",
    "src/main.rs",
    "tokenizer-source.json.bak",
)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_run_with_foreign_files_is_not_replaced(run: Path, name: str) -> None:
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"my own notes, of more than a few bytes")
    inner = path if (run / name).parent.exists() else path.parent
    new = recipe(run.parent, 1)
    sentence = refused(lambda: train(new, run, task=COUNTING, force=True), run)
    named = sentence.split(" does not belong to the run in ")[0]
    assert str(inner).startswith(named)
    assert sentence.endswith("; move it elsewhere, or choose another name (--out)")


@posix
def test_a_run_that_contains_a_link_is_not_replaced(run: Path, precious: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").symlink_to(precious)
    new = recipe(run.parent, 1)
    sentence = refused(lambda: train(new, run, task=COUNTING, force=True), run)
    assert sentence.startswith(f"{run / 'checkpoints'} does not belong to the run")


def test_all_files_of_a_run_may_be_replaced(run: Path) -> None:
    for name in (
        "evaluation-valid/report.html",
        "evaluation-valid/predictions.jsonl",
        "evaluation-valid/.report.html.partial",
        "baselines/unigrams/baseline.json",
        "baselines/.unigrams.partial/vocabulary.json",
        "labels.json",
        ".metrics.jsonl.partial",
        "checkpoints/.step-0000009.partial/state.json",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("x", encoding="utf-8")
    train(recipe(run.parent, 1), run, task=COUNTING, force=True)
    assert not (run / "baselines").exists()
    assert sorted(path.name for path in run.parent.iterdir()) == ["numbers.tsv", "run"]


@pytest.mark.parametrize(
    "text",
    [
        'title = "site"\n',
        'task = "translate"\n[data]\ntrain = ["a.tsv"]\n',
        "",
        "# Unrolled runs are listed here\n",
        f"{run_folder.END_OF_CONFIG}\nand more\n",
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_another_config_is_not_a_run(tmp_path: Path, text: str, force: bool) -> None:
    folder = tmp_path / "proj"
    folder.mkdir()
    (folder / "config.toml").write_text(text, encoding="utf-8")
    new = recipe(tmp_path, 1)
    sentence = refused(lambda: fit(new, folder, task=COUNTING, force=force), folder)
    assert sentence.startswith(f"{folder} exists and is not a run folder, so it is not replaced")


def test_a_run_of_an_older_version_is_recognized(tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(OLD_RUN, old)
    assert not (old / "config.toml").read_bytes().startswith(run_folder.BEGIN_OF_CONFIG.encode())
    before = checkpoint.load_tensors(old / "model.safetensors")
    assert checkpoint.load_checkpoint(old).progress.step == 6
    with pytest.raises(RunError, match="already holds a run"):
        train(recipe(tmp_path, 1), old, task=COUNTING)
    load_run(old, COUNTING)
    resume(old)
    assert checkpoint.load_checkpoint(old).progress.step == 9
    assert before.keys() == checkpoint.load_tensors(old / "model.safetensors").keys()
    assert len((old / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) > 9
    train(recipe(tmp_path, 1), old, task=COUNTING, force=True)


# Permissions


@posix
def test_files_have_default_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        train(recipe(tmp_path, 3), tmp_path / "run", task=COUNTING)
    finally:
        os.umask(before)
    paths = list((tmp_path / "run").rglob("*"))
    assert any(path.is_dir() for path in paths)
    for path in paths:
        expected = 0o750 if path.is_dir() else 0o640
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoints/pointer.json"])
def test_an_unreadable_file_is_not_called_missing(
    run: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def guard(inner: Callable[..., object]) -> Callable[..., object]:
        def guarded(path: object, *arguments: object, **options: object) -> object:
            if path == run / name:
                raise PermissionError(13, "Permission denied", str(path))
            return inner(path, *arguments, **options)

        return guarded

    monkeypatch.setattr("builtins.open", guard(open))
    monkeypatch.setattr(os, "open", guard(os.open))
    call = load_run if name == "model.safetensors" else lambda folder, _: resume(folder)
    with pytest.raises(RunError) as caught:
        call(run, COUNTING)
    assert str(caught.value) == (
        f"{run / name}: permission denied; make it readable (chmod a+r), or ask its owner"
    )


# Where training stands


def with_state(run: Path, **changes: object) -> None:
    """Change `state.json`, and the pointer with it."""
    pointer = checkpoint.read_pointer(run)
    entry = pointer["last"]
    assert entry is not None
    path = run / "checkpoints" / entry["folder"] / "state.json"
    state = {**json.loads(path.read_bytes()), **changes}
    path.write_text(json.dumps(state), encoding="utf-8")
    entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    pointer["last"] = entry
    (run / "checkpoints" / "pointer.json").write_text(json.dumps(pointer), encoding="utf-8")


BEST = {"step": 4, "metric": "loss", "value": 1.0, "loss": 1.0, "scores": {}}
STATES: dict[str, dict[str, object]] = {
    "best 5": {"best": 5},
    "best empty": {"best": {}},
    "best more": {"best": {**BEST, "more": 1}},
    "best step": {"best": {**BEST, "step": "4"}},
    "best value": {"best": {**BEST, "value": float("nan")}},
    "best scores": {"best": {**BEST, "scores": {"bleu": "high"}}},
    "extra": {"extra": 1},
    "NaN": {"seconds": float("nan")},
    "infinite": {"loss_sum": float("inf")},
    "negative step": {"step": -5},
    "negative time": {"seconds": -1.0},
    "huge": {"step": 10**400},
    "huge float": {"loss_sum": 10**400},
    "true": {"n_tokens": True},
    "text": {"epoch": "1"},
    "list": {"batch": []},
    "null": {"step": None},
    "object": {"scheduled_best": {}},
    "digest": {"metrics_sha256": 5},
    "batch": {"batch": 10_000},
}


@pytest.mark.parametrize("changes", STATES.values(), ids=STATES)
def test_a_state_of_wrong_values_is_refused(run: Path, changes: dict[str, object]) -> None:
    with_state(run, **changes)
    sentence = refused(lambda: resume(run), run)
    assert sentence.startswith(str(run / "checkpoints"))


def damaged(name: str, tensor: torch.Tensor | None, rest: dict[str, torch.Tensor]) -> None:
    rest.pop(name, None)
    if tensor is not None:
        rest[name] = tensor


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("optimiser.exp_avg.head.bias", torch.zeros(2)),
        ("optimiser.exp_avg.no.such", torch.zeros(2)),
        ("average.head.bias", torch.zeros(2)),
        ("average.head.bias", None),
        ("random.cpu", torch.zeros(3, dtype=torch.uint8)),
        ("random.cpu", torch.zeros(5056)),
        ("carried.0.0", torch.zeros(3)),
        ("carried.x.y", torch.zeros(3)),
        ("other.thing", torch.zeros(3)),
    ],
)
def test_optimizer_state_of_another_model_is_refused(
    run: Path, name: str, tensor: torch.Tensor | None
) -> None:
    averaged = recipe(run.parent, 6)
    averaged = replace(averaged, training=replace(averaged.training, average=0.5))
    train(averaged, run.with_name("averaged"), task=COUNTING)
    run = run.with_name("averaged")
    last = checkpoint.load_checkpoint(run)
    damaged(name, tensor, last.rest)
    checkpoint.save_checkpoint(run, last, is_best=False)
    longer = replace(averaged, training=replace(averaged.training, max_steps=9))
    sentence = refused(lambda: train(longer, run, task=COUNTING, resume=True), run)
    assert "its content does not fit this model and recipe" in sentence


def test_a_state_without_a_field_is_refused() -> None:
    whole = json.loads(json.dumps(vars(Progress())))
    assert Progress.from_mapping(whole) == Progress()
    newer = {"metrics_sha256", "improved_step", "threads", "seconds_one", "seconds_all"}
    assert Progress.from_mapping({n: v for n, v in whole.items() if n not in newer}) == Progress()
    for name in whole.keys() - newer:
        with pytest.raises(ValueError, match=f"'{name}' is missing"):
            Progress.from_mapping({key: value for key, value in whole.items() if key != name})


def test_every_byte_of_the_metrics_counts(run: Path) -> None:
    path = run / "metrics.jsonl"
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        sentence = refused(lambda: resume(run), run)
        assert sentence.startswith(f"{path}: its lines have changed since the last checkpoint")
    for cut in (b"", whole[:-1], whole[len(whole) // 2 :]):
        path.write_bytes(cut)
        assert str(path) in refused(lambda: resume(run), run)
    path.unlink()
    assert refused(lambda: resume(run), run).startswith(f"{path}: missing; ")


def test_metrics_that_another_program_changes_do_not_stop_a_run(run: Path) -> None:
    events = fit(recipe(run.parent, 12), run, task=COUNTING, resume=True)
    next(events)
    (run / "metrics.jsonl").write_text("", encoding="utf-8")
    assert [type(event).__name__ for event in events][-1] == "Finished"
    resume(run, 13)


# Durability


def test_a_new_run_is_flushed_before_it_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[int] = set()
    steps: list[str] = []
    inner, move, run = os.fsync, os.replace, tmp_path / "runs" / "run"

    def fsync(handle: int) -> None:
        flushed.add(os.fstat(handle).st_ino)
        inner(handle)
        if steps and os.path.samestat(os.fstat(handle), run.parent.stat()):
            steps.append("parent flushed")

    def replace(source: Path, target: Path) -> None:
        if target == run:
            files = {path.stat().st_ino for path in source.rglob("*")} | {source.stat().st_ino}
            assert files <= flushed
            assert run.parent.parent.stat().st_ino in flushed, "that there is a folder of runs"
            steps.append("appeared")
        move(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    events = fit(recipe(tmp_path, 3), run, task=COUNTING)
    next(events)
    assert steps[:2] == ["appeared", "parent flushed"]
    events.close()


def test_metrics_are_flushed_before_a_checkpoint_counts_them(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: dict[int, int] = {}
    inner = storage.flush

    def flush(stream: object) -> None:
        inner(stream)
        status = os.fstat(stream.fileno())  # type: ignore[attr-defined]
        lengths[status.st_ino] = status.st_size

    monkeypatch.setattr(storage, "flush", flush)
    resume(run)
    counted = checkpoint.load_checkpoint(run).progress.metrics_bytes
    assert lengths[(run / "metrics.jsonl").stat().st_ino] == counted


# A start that was killed


def test_a_killed_start_from_another_run_can_be_resumed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, again = run.with_name("new"), run.with_name("again")
    first = recipe(run.parent, 3)
    train(first, again, task=COUNTING, start_from=run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "commit", lambda *_: 1 / 0)
        patch.setattr(run_folder, "abandon", lambda *_: None)
        with pytest.raises(ZeroDivisionError):
            train(first, new, task=COUNTING, start_from=run)
    train(first, new, task=COUNTING, resume=True)
    found, expected = (checkpoint.load_tensors(each / "model.safetensors") for each in (new, again))
    assert all(found[name].equal(expected[name]) for name in expected)
    assert not (new / "started-from.txt").exists()


@pytest.mark.parametrize("number", [0, 1, 2, 3, 8, 13])
def test_a_killed_replacement_leaves_one_of_the_runs(run: Path, number: int) -> None:
    new, calls, inner = replace(recipe(run.parent, 1), seed=7), count(), storage.commit

    def commit(*arguments: object) -> None:
        for place, name in ((os, "replace"), (Path, "unlink"), (Path, "rmdir")):
            patch.setattr(place, name, dying(getattr(place, name), number, calls))
        inner(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "commit", commit)
        patch.setattr(run_folder, "abandon", lambda *_: None)
        with pytest.raises(Killed):
            train(new, run, task=COUNTING, force=True)
    if run.exists():
        assert load_run(run, COUNTING).recipe.seed == (7 if number > 1 else 3)
    else:
        assert load_run(storage.replaced(run), COUNTING).recipe.seed == 3
    train(new, run, task=COUNTING, force=True)
    assert load_run(run, COUNTING).recipe.seed == 7
    assert sorted(path.name for path in run.parent.iterdir()) == ["numbers.tsv", "run"]


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it to tidy up."""


def dying(inner: Callable[..., object], number: int, calls: Iterator[int]) -> Callable[..., object]:
    def operation(*arguments: object, **options: object) -> object:
        if next(calls) == number:
            raise Killed
        return inner(*arguments, **options)

    return operation


def test_abandoned_events_release_the_lock(run: Path) -> None:
    fit(recipe(run.parent, 9), run, task=COUNTING, resume=True)  # not even begun
    events = fit(recipe(run.parent, 9), run, task=COUNTING, resume=True)
    next(events)
    with pytest.raises(RunError, match="is being written by this process, since"):
        resume(run)
    del events
    gc.collect()
    resume(run)


@pytest.mark.parametrize("name", ["seconds", "update_seconds", "loss_sum", "grad_norm"])
@pytest.mark.parametrize("value", [1.5e308, -1.5e308])
def test_progress_near_the_float_limit_is_refused(name: str, value: float) -> None:
    whole = json.loads(json.dumps(vars(Progress())))
    with pytest.raises(ValueError, match=f"'{name}' is unknown or has a wrong value"):
        Progress.from_mapping({**whole, name: value})


def test_impossible_times_are_refused() -> None:
    whole = json.loads(json.dumps(vars(Progress())))
    with pytest.raises(ValueError, match="a time is below 0, or too large"):
        Progress.from_mapping({**whole, "seconds": 1e17})
