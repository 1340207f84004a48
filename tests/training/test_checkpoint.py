"""Files with checksums, and checkpoints that are complete or absent after any failure."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from unrolled.errors import RunError
from unrolled.training import checkpoint
from unrolled.training.checkpoint import Checkpoint, Progress
from unrolled.training.events import Best

TENSORS = {
    "a": torch.arange(35, dtype=torch.float32).reshape(5, 7),
    "step": torch.tensor(3.0),
    "random": torch.arange(11, dtype=torch.uint8),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "none": torch.zeros(0, 3),
}


def some_checkpoint(step: int = 5) -> Checkpoint:
    best = Best(step, "loss", 0.1, 0.1, {"accuracy": 1 / 3})
    progress = Progress(step=step, seconds=0.1 + 0.2, best=best, loss_sum=1e-300)
    weights = {"weight": torch.full((3, 5), float(step))}
    return Checkpoint(weights, {"optimiser.step.weight": torch.tensor(float(step))}, progress)


def test_tensors_round_trip(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    checkpoint.save_tensors(path, TENSORS)
    back = checkpoint.load_tensors(path)
    assert back.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_every_truncation_is_detected(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    checkpoint.save_tensors(path, TENSORS)
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RunError, match=re.escape(f"{path}: cut short or overwritten")):
            checkpoint.load_tensors(path)


def test_a_flipped_bit_anywhere_is_detected(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    checkpoint.save_tensors(path, TENSORS)
    whole = path.read_bytes()
    spaces = set()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        try:
            checkpoint.load_tensors(path)
        except RunError:
            continue
        spaces.add(whole[position : position + 1])
    # The padding of the header means nothing.
    assert spaces <= {b" "}


def test_a_checkpoint_round_trips(tmp_path: Path):
    saved = some_checkpoint()
    path = checkpoint.save_checkpoint(tmp_path, saved, is_best=True)
    assert path == tmp_path / "checkpoints" / "step-0000005"
    assert sorted(p.name for p in path.iterdir()) == [
        "model.safetensors",
        "optimiser.safetensors",
        "state.json",
    ]
    back = checkpoint.load_checkpoint(tmp_path)
    assert back.progress == saved.progress
    assert torch.equal(back.weights["weight"], saved.weights["weight"])
    assert torch.equal(back.rest["optimiser.step.weight"], torch.tensor(5.0))


def test_only_the_best_and_the_last_are_kept(tmp_path: Path):
    for step, is_best in ((3, False), (5, True), (7, False), (11, False)):
        checkpoint.save_checkpoint(tmp_path, some_checkpoint(step), is_best)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "pointer.json",
        "step-0000005",
        "step-0000011",
    ]


def test_a_step_can_be_saved_twice(tmp_path: Path):
    checkpoint.save_checkpoint(tmp_path, some_checkpoint(), is_best=False)
    checkpoint.save_checkpoint(tmp_path, some_checkpoint(), is_best=True)
    pointer = checkpoint.read_pointer(tmp_path)
    assert pointer["best"] == pointer["last"]
    assert checkpoint.load_checkpoint(tmp_path).progress.step == 5


@pytest.mark.parametrize("name", ["model.safetensors", "optimiser.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, harm: str):
    path = checkpoint.save_checkpoint(tmp_path, some_checkpoint(), is_best=False) / name
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    else:
        path.unlink()
    with pytest.raises(RunError) as caught:
        checkpoint.load_checkpoint(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(
        "; restore the file from a copy, or train the run again (--force)"
    )


def test_a_damaged_pointer_is_named(tmp_path: Path):
    checkpoint.save_checkpoint(tmp_path, some_checkpoint(), is_best=False)
    path = tmp_path / "checkpoints" / "pointer.json"
    for content in (path.read_bytes()[:-20], b"", b"[]", b'{"best": null}'):
        path.write_bytes(content)
        with pytest.raises(
            RunError, match=rf"^{re.escape(str(path))}: (not valid JSON|it is not a JSON object)"
        ):
            checkpoint.load_checkpoint(tmp_path)


@pytest.mark.parametrize("failing_call", range(7))
def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int
):
    checkpoint.save_checkpoint(tmp_path, some_checkpoint(3), is_best=False)
    before = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    calls, flush = iter(range(99)), os.fsync

    def fail(handle: int) -> None:
        if next(calls) == failing_call:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError) as caught:
        checkpoint.save_checkpoint(tmp_path, some_checkpoint(5), is_best=False)
    assert str(caught.value).startswith("disk full while writing ")
    assert str(caught.value).endswith("; free space and continue with --resume")
    monkeypatch.undo()
    step = checkpoint.load_checkpoint(tmp_path).progress.step
    assert step in (3, 5)
    if step == 3:
        assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == before


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk"
)
def test_a_really_full_disk_gets_one_message(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        checkpoint.save_checkpoint(disk, some_checkpoint(3), is_best=True)
        before = sorted(str(path) for path in disk.rglob("*"))
        large = Checkpoint({"weight": torch.zeros(99_991)}, {}, Progress(step=5))
        with pytest.raises(RunError) as caught:
            checkpoint.save_checkpoint(disk, large, is_best=False)
        assert str(caught.value) == (
            f"disk full while writing {disk}/checkpoints/step-0000005; the last complete "
            "checkpoint is step 3; free space and continue with --resume"
        )
        assert sorted(str(path) for path in disk.rglob("*")) == before
        assert checkpoint.load_checkpoint(disk).progress.step == 3
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_leftovers_of_a_kill_are_removed(tmp_path: Path):
    checkpoint.save_checkpoint(tmp_path, some_checkpoint(3), is_best=False)
    folder = tmp_path / "checkpoints"
    (folder / ".step-0000005.partial").mkdir()
    (folder / ".step-0000005.partial" / "state.json").write_text("{", encoding="utf-8")
    (folder / "step-0000004").mkdir()
    (folder / ".pointer.json.partial").write_text("{", encoding="utf-8")
    checkpoint.remove_leftovers(tmp_path, checkpoint.read_pointer(tmp_path))
    assert sorted(path.name for path in folder.iterdir()) == ["pointer.json", "step-0000003"]


def test_shared_weights_are_stored_once_and_restored(tmp_path: Path):
    model, copy = (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2))
    for either in (model, copy):
        either[1].weight = either[0].weight
    path = tmp_path / "model.safetensors"
    checkpoint.save_whole(path, checkpoint.weights_of(model))
    assert sorted(checkpoint.load_tensors(path)) == ["0.bias", "0.weight", "1.bias"]
    checkpoint.set_weights(copy, checkpoint.load_tensors(path), path)
    assert torch.equal(copy[1].weight, model[1].weight)


def test_weights_of_another_model_are_refused():
    model, path = nn.Linear(3, 5), Path("model.safetensors")
    weights = checkpoint.weights_of(model)
    end = "; it belongs to another model than that of config.toml"
    for given, text in (
        ({"weight": weights["weight"]}, f"{path} has no weight 'bias'{end}"),
        (
            {**weights, "gate": weights["bias"]},
            f"{path} has a weight unknown to the model, 'gate'{end}",
        ),
        (
            {**weights, "bias": torch.zeros(7)},
            f"{path}: weight 'bias' is [7], expected [5]{end}",
        ),
    ):
        with pytest.raises(RunError) as caught:
            checkpoint.set_weights(model, given, path)
        assert str(caught.value) == text
