"""Checkpoints that survive anything: a kill at any instant, a full disk, a damaged file.

    checkpoints/
      step-0000500/
        model.safetensors       the weights in training
        optimiser.safetensors   Adam's means, averaged weights, random streams
        state.json              where training stands
      pointer.json              {"best": …, "last": …}, with the checksum of each state.json

A checkpoint is written under a temporary name, every file is flushed to the disk, and only then is
the folder renamed and the pointer replaced. What the pointer does not name does not exist.
Every `.safetensors` file holds a checksum of its own content.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unrolled import tensor_files
from unrolled.documents import DocumentError
from unrolled.errors import RunError
from unrolled.training.events import Best

MODEL_FILE = "model.safetensors"
OPTIMISER_FILE = "optimiser.safetensors"
STATE_FILE = "state.json"
POINTER_FILE = "pointer.json"
PARTIAL = ".partial"

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass
class Progress:
    """Where training stands; with the tensors, all that an exact resume needs.

    Args:
        step: updates done.
        epoch: the pass over the data, from 1.
        batch: batches of this epoch already used.
        seconds: training time so far, evaluations and checkpoints included.
        metrics_bytes: length of `metrics.jsonl`.
        logged_step: step of the last `Step`; the five numbers below count from there.
        loss_sum: in nats.
        n_targets: what `loss_sum` is over.
        n_tokens: tokens of the batches.
        update_seconds: time spent on updates.
        grad_norm: of the last update.
        learning_rate: of the last update.
        evaluated_step: step of the last evaluation.
        best: the best evaluation.
        scheduled_best: best value of the metric in evaluations that were due; an extra one at the
            end of a session must not change how training goes on.
        n_without_improvement: evaluations that were due since then.
        n_reductions: cuts of the learning rate by the plateau schedule.
    """

    step: int = 0
    epoch: int = 1
    batch: int = 0
    seconds: float = 0.0
    metrics_bytes: int = 0
    logged_step: int = 0
    loss_sum: float = 0.0
    n_targets: int = 0
    n_tokens: int = 0
    update_seconds: float = 0.0
    grad_norm: float = 0.0
    learning_rate: float = 0.0
    evaluated_step: int = 0
    best: Best | None = None
    scheduled_best: float | None = None
    n_without_improvement: int = 0
    n_reductions: int = 0

    @property
    def last_epoch(self) -> int:
        """The epoch of the last update: at an epoch's end, not yet the next."""
        return self.epoch if self.batch or self.epoch == 1 else self.epoch - 1

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Progress:
        """What `dataclasses.asdict` gave."""
        best = mapping["best"]
        return cls(**{**mapping, "best": None if best is None else Best(**best)})


@dataclass(frozen=True)
class Checkpoint:
    """What stands in a checkpoint's folder.

    Args:
        weights: by name, as `weights_of` gives them.
        rest: everything else that is a tensor, by name.
        progress: where training stands.
    """

    weights: dict[str, Tensor]
    rest: dict[str, Tensor]
    progress: Progress


def save_checkpoint(run: Path, checkpoint: Checkpoint, is_best: bool) -> Path:
    """Write a checkpoint, move the pointer to it, and remove what the pointer no longer names.

    Args:
        run: the run folder.
        checkpoint: its content.
        is_best: whether the pointer's "best" moves too.

    Raises:
        RunError: the disk is full or the folder cannot be written; what was there before stands.
    """
    folder = run / "checkpoints"
    pointer = read_pointer(run)
    final = _free_name(folder, checkpoint.progress.step)
    partial = folder / f".{final.name}{PARTIAL}"
    with writing(final, run):
        remove(partial)
        partial.mkdir(parents=True)
        save_tensors(partial / MODEL_FILE, checkpoint.weights)
        save_tensors(partial / OPTIMISER_FILE, checkpoint.rest)
        state = json.dumps(asdict(checkpoint.progress), indent=1).encode()
        _write(partial / STATE_FILE, state)
        _flush_folder(partial)
        os.replace(partial, final)
        _flush_folder(folder)
        entry = {"folder": final.name, "sha256": hashlib.sha256(state).hexdigest()}
        pointer = {"best": entry if is_best else pointer["best"], "last": entry}
        write_whole(folder / POINTER_FILE, json.dumps(pointer, indent=1) + "\n")
    remove_leftovers(run)
    return final


def load_checkpoint(run: Path) -> Checkpoint:
    """The last complete checkpoint of a run, verified.

    Raises:
        RunError: a file is missing or damaged; it is named.
    """
    entry = read_pointer(run)["last"]
    if entry is None:
        raise damaged(run / "checkpoints" / POINTER_FILE, "missing, or names no checkpoint")
    folder = run / "checkpoints" / entry["folder"]
    try:
        state = (folder / STATE_FILE).read_bytes()
    except OSError as error:
        raise damaged(folder / STATE_FILE, error.strerror or str(error)) from None
    if hashlib.sha256(state).hexdigest() != entry["sha256"]:
        raise damaged(folder / STATE_FILE, "its checksum does not match")
    return Checkpoint(
        load_tensors(folder / MODEL_FILE),
        load_tensors(folder / OPTIMISER_FILE),
        Progress.from_mapping(json.loads(state)),
    )


def last_weights(run: Path) -> Path:
    """The file of the weights in the last complete checkpoint of a run, which may be damaged.

    Raises:
        RunError: the pointer is missing or damaged.
    """
    entry = read_pointer(run)["last"]
    if entry is None:
        raise damaged(run / "checkpoints" / POINTER_FILE, "missing, or names no checkpoint")
    return run / "checkpoints" / entry["folder"] / MODEL_FILE


def read_pointer(run: Path) -> dict[str, dict[str, str] | None]:
    """The folders of the best and the last checkpoint, each None where there is none.

    Raises:
        RunError: the pointer is damaged.
    """
    path = run / "checkpoints" / POINTER_FILE
    try:
        pointer = json.loads(path.read_bytes())
        for entry in (pointer["best"], pointer["last"]):
            if entry is not None:
                str(entry["folder"]), str(entry["sha256"])
    except FileNotFoundError:
        return {"best": None, "last": None}
    except (ValueError, KeyError, TypeError):
        raise damaged(path, "not the JSON object that names the checkpoints") from None
    return {"best": pointer["best"], "last": pointer["last"]}


def remove_leftovers(run: Path) -> None:
    """Remove checkpoints and temporary files that the pointer does not name."""
    kept = {entry["folder"] for entry in read_pointer(run).values() if entry} | {POINTER_FILE}
    folder = run / "checkpoints"
    found = [*(folder.iterdir() if folder.is_dir() else ()), *run.glob(f".*{PARTIAL}")]
    for path in found:
        if path.name not in kept:
            remove(path)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a `.safetensors` file with its checksum inside, and flush it to the disk."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, {"sha256": _checksum(plain)})
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file that `save_tensors` wrote.

    Raises:
        RunError: the file is missing, cut short, or its content is not what was written.
    """
    try:
        tensor_files.read_header(path)
    except DocumentError as error:
        raise damaged(path, error.problem) from None
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise damaged(path, "missing") from None
    except (SafetensorError, OSError, ValueError, UnicodeDecodeError) as error:
        raise damaged(path, f"cut short or overwritten: {error}") from None
    if written != _checksum(tensors):
        raise damaged(path, "its checksum does not match")
    return tensors


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; what is shared stands once, by its first name."""
    seen: set[int] = set()
    weights: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            weights[name] = tensor.detach()
    return weights


def set_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a model, where names and shapes agree.

    Args:
        model: of the same configuration and vocabularies.
        weights: as `weights_of` gives them.
        path: where they came from, for the message.

    Raises:
        RunError: a weight is missing, unknown, or of another shape.
    """
    own = weights_of(model)
    for name in sorted(own.keys() ^ weights.keys()):
        problem = "has no weight" if name in own else "has a weight unknown to the model,"
        raise RunError(
            f"{path} {problem} '{name}'; it belongs to another model than config.toml says"
        )
    for name, weight in weights.items():
        if weight.shape != own[name].shape:
            raise RunError(
                f"{path}: weight '{name}' is {list(weight.shape)}, expected "
                f"{list(own[name].shape)}; it belongs to another model than config.toml says"
            )
        with torch.no_grad():
            own[name].copy_(weight)


def write_whole(path: Path, text: str) -> None:
    """Replace a text file at once: whoever reads it sees the old text or the new, never half."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    _write(partial, text.encode("utf-8"))
    os.replace(partial, path)
    _flush_folder(path.parent)


def save_whole(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """`save_tensors`, replacing the file at once."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    save_tensors(partial, tensors)
    os.replace(partial, path)
    _flush_folder(path.parent)


@contextmanager
def writing(path: Path, run: Path) -> Iterator[None]:
    """Turn a failure to write `path` into one sentence, and remove what is half-written in `run`.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        remove_leftovers(run)
        last = read_pointer(run)["last"]
        stands = "nothing is saved"
        if last:
            stands = f"the last complete checkpoint is step {int(last['folder'].split('-')[1])}"
        if _is_disk_full(error):
            advice = (
                "free space and continue with --resume" if last else "free space and start again"
            )
            raise RunError(f"disk full while writing {path}; {stands}; {advice}") from error
        raise RunError(f"cannot write {path}: {error}; {stands}") from error


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def damaged(path: Path, problem: str) -> RunError:
    """The error for a file of a run that cannot be used."""
    return RunError(
        f"{path}: {problem}; restore the file from a copy, or train the run again (--force)"
    )


def _free_name(folder: Path, step: int) -> Path:
    # A step can be saved twice: before its evaluation, where training was interrupted, and after.
    name = f"step-{step:07d}"
    second = 2
    while (folder / name).exists():
        name = f"step-{step:07d}-{second}"
        second += 1
    return folder / name


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    # Windows cannot open a folder, and orders renames by itself.
    if os.name != "nt":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    # The safetensors library tells the system's error number in words.
    return any(f"(os error {number})" in str(error) for number in (*_DISK_FULL, 112))
