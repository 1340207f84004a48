"""Checkpoints that survive a kill at any instant, a full disk, or a damaged file.

    checkpoints/
      step-0000500/
        model.safetensors       the current weights
        optimiser.safetensors   Adam's moments, averaged weights, random streams
        state.json              the progress of training
      pointer.json              {"best": …, "last": …}, with the checksum of each state.json

A checkpoint is written under a temporary name and every file is flushed to the disk; only then is the
folder renamed and the pointer replaced. Every `.safetensors` file contains a checksum of its content.
Checkpoints that the pointer does not name are removed, but only once the checkpoint that it names has
been written, or read and verified, and only if they have the expected names. Without a pointer, nothing
is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unrolled import documents, storage, tensor_files
from unrolled.documents import DocumentError
from unrolled.errors import RunError
from unrolled.training.damage import damaged as damaged
from unrolled.training.events import Best

MODEL_FILE = "model.safetensors"
OPTIMISER_FILE = "optimiser.safetensors"
STATE_FILE = "state.json"
POINTER_FILE = "pointer.json"
FOLDER = "checkpoints"

_NAME = r"step-\d{7,15}(-\d{1,6})?"
_PARTS: storage.Holds = {
    # The last pattern matches what the safetensors library, used by older versions, left after a kill.
    r"model\.safetensors|optimiser\.safetensors|state\.json|\.tmp\w{6}": None
}
HOLDS: storage.Holds = {r"pointer\.json": None, _NAME: _PARTS}
"""The content of the folder of checkpoints."""


_ADDED = {"metrics_sha256", "improved_step", "threads", "seconds_one", "seconds_all"}
"""Fields of the progress that older versions do not write."""


@dataclass
class Progress:
    """The progress of training; with the tensors, everything needed to resume exactly.

    Args:
        step: number of updates done.
        epoch: current pass over the data, from 1.
        batch: number of batches of this epoch already used.
        seconds: time so far, with reading the data, evaluations and checkpoints.
        metrics_bytes: size of `metrics.jsonl`.
        metrics_sha256: checksum of that content; empty in checkpoints of older versions.
        logged_step: step of the last `Step`; the next four sums start there.
        loss_sum: total loss in nats.
        n_targets: number of targets in `loss_sum`.
        n_tokens: number of tokens of the batches.
        update_seconds: time spent on updates.
        grad_norm: gradient norm of the last update.
        learning_rate: learning rate of the last update.
        evaluated_step: step of the last evaluation.
        best: the best evaluation.
        scheduled_best: best value of the metric in scheduled evaluations; an extra evaluation at the
            end of a session must not affect how training continues.
        n_without_improvement: number of scheduled evaluations since then.
        improved_step: step of that evaluation.
        n_reductions: number of reductions of the learning rate by the plateau schedule.
        threads: number of threads that was chosen by measuring; 0 if none was.
        seconds_one: seconds per token with one thread, in the last comparison.
        seconds_all: the same with all threads.
    """

    step: int = 0
    epoch: int = 1
    batch: int = 0
    seconds: float = 0.0
    metrics_bytes: int = 0
    metrics_sha256: str = ""
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
    improved_step: int = 0
    n_reductions: int = 0
    threads: int = 0
    seconds_one: float = 0.0
    seconds_all: float = 0.0

    @property
    def last_epoch(self) -> int:
        """The epoch of the last update; at the end of an epoch, still that epoch."""
        return self.epoch if self.batch or self.epoch == 1 else self.epoch - 1

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Progress:
        """Rebuild from the result of `dataclasses.asdict`; fields that older versions lack have defaults.

        Raises:
            ValueError: a field is unknown, missing or invalid; it is named.
        """
        if not isinstance(mapping, Mapping):
            raise ValueError("expected an object")
        known = {field.name: field.type for field in fields(cls)}
        for name, value in mapping.items():
            if name not in known or not _is_right(value, str(known[name])):
                raise ValueError(f"'{str(name)[:40]}' is unknown or has a wrong value")
        if missing := known.keys() - mapping.keys() - _ADDED:
            raise ValueError(f"'{min(missing)}' is missing")
        if not all(0 <= mapping[name] < _MOST for name in ("seconds", "update_seconds")):
            raise ValueError("a time is below 0, or too large")
        best = mapping["best"]
        return cls(**{**mapping, "best": None if best is None else _best(best)})


_MOST = 1 << 53
"""Upper limit of counts in a training."""

_LARGEST = 1e200
"""Upper limit of sums, rates and norms; low enough that nothing overflows soon."""


def _is_right(value: Any, kind: str) -> bool:
    """Whether a value read from JSON is valid for a field of this type."""
    if value is None:
        return kind.endswith("None")
    if kind.startswith("Best"):
        return isinstance(value, Mapping)
    if kind.startswith("str"):
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, int) or kind.startswith("int"):
        return isinstance(value, int) and 0 <= value < _MOST
    return abs(value) < _LARGEST


def _best(mapping: Mapping[str, Any]) -> Best:
    """Rebuild an evaluation; only its scores may be any numbers, including NaN.

    Raises:
        ValueError: it is not an evaluation.
    """
    scores, known = mapping.get("scores"), {field.name: str(field.type) for field in fields(Best)}
    is_good = (
        mapping.keys() == known.keys()
        and all(_is_right(mapping[name], known[name]) for name in ("step", "metric", "value"))
        and isinstance(mapping["loss"], float)
        and isinstance(scores, Mapping)
        and all(isinstance(score, int | float) for score in scores.values())
    )
    if not is_good:
        raise ValueError("'best' is not an evaluation")
    return Best(**mapping)


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Args:
        weights: weights by name, from `weights_of`.
        rest: all other tensors, by name.
        progress: the progress of training.
    """

    weights: dict[str, Tensor]
    rest: dict[str, Tensor]
    progress: Progress


def save_checkpoint(run: Path, checkpoint: Checkpoint, is_best: bool) -> Path:
    """Write a checkpoint, set the pointer to it, and remove checkpoints that are no longer named.

    Args:
        run: the run folder.
        checkpoint: content of the checkpoint.
        is_best: whether to set "best" in the pointer too.

    Raises:
        RunError: the disk is full or the folder cannot be written, and the previous checkpoints are
            unchanged; or the pointer is damaged.
    """
    folder = _folder_of(run)
    before = read_pointer(run)
    final = _free_name(folder, checkpoint.progress.step)
    with writing(final, run):
        try:
            entry = {"folder": final.name, "sha256": _write(final, checkpoint)}
            pointer = {"best": entry if is_best else before["best"], "last": entry}
            _write_file(folder / POINTER_FILE, (json.dumps(pointer, indent=1) + "\n").encode())
        except Exception:
            storage.remove(storage.partial(final), _PARTS)
            if read_pointer(run)["last"] == before["last"]:
                storage.remove(final, _PARTS)
            raise
        _remove_others(folder, pointer)
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> str:
    """Write the folder of a checkpoint; returns the checksum of `state.json`."""
    partial = storage.partial(folder)
    storage.new_folder(partial)
    save_tensors(partial / MODEL_FILE, checkpoint.weights)
    save_tensors(partial / OPTIMISER_FILE, checkpoint.rest)
    state = json.dumps(asdict(checkpoint.progress), indent=1).encode()
    _write_file(partial / STATE_FILE, state)
    os.replace(partial, folder)
    storage.flush_folder(folder.parent)
    return hashlib.sha256(state).hexdigest()


def _write_file(path: Path, content: bytes) -> None:
    with storage.whole(path) as stream:
        stream.write(content)


def load_checkpoint(run: Path) -> Checkpoint:
    """Load and verify the last complete checkpoint of a run.

    Raises:
        RunError: a file is missing or damaged; it is named.
    """
    entry = read_pointer(run)["last"]
    if entry is None:
        raise damaged(run / FOLDER / POINTER_FILE, "it is missing, or does not name a checkpoint")
    folder = _folder_of(run) / entry["folder"]
    storage.require_own_folder(folder)
    path = folder / STATE_FILE
    try:
        state = documents.read_bytes(path)
    except DocumentError as error:
        raise damaged(path, error.problem) from None
    if hashlib.sha256(state).hexdigest() != entry["sha256"]:
        raise damaged(path, "its checksum does not match")
    try:
        progress = Progress.from_mapping(json.loads(state))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not the progress of a training ({error})") from None
    weights, rest = load_tensors(folder / MODEL_FILE), load_tensors(folder / OPTIMISER_FILE)
    return Checkpoint(weights, rest, progress)


def last_weights(run: Path) -> Path:
    """The file of weights in the last complete checkpoint of a run, not verified.

    Raises:
        RunError: the pointer is missing or damaged.
    """
    entry = read_pointer(run)["last"]
    if entry is None:
        raise damaged(run / FOLDER / POINTER_FILE, "it is missing, or does not name a checkpoint")
    return _folder_of(run) / entry["folder"] / MODEL_FILE


def read_pointer(run: Path) -> dict[str, dict[str, str] | None]:
    """The folders of the best and the last checkpoint; None if there is none.

    Raises:
        RunError: the pointer is damaged, or missing although there are checkpoints.
    """
    folder = _folder_of(run)
    path = folder / POINTER_FILE
    try:
        pointer = documents.read_json(path)
        return {name: _entry(pointer[name]) for name in ("best", "last")}
    except DocumentError as error:
        if error.is_missing and not _checkpoints_in(folder):
            return {"best": None, "last": None}
        problem = error.problem
    except (ValueError, KeyError, TypeError):
        problem = "it is not a JSON object that names checkpoints"
    raise RunError(f"{path}: {problem}; {_without_pointer(folder)}")


def _entry(value: Any) -> dict[str, str] | None:
    """One entry of the pointer.

    Raises:
        ValueError, KeyError, TypeError: the entry is invalid.
    """
    if value is None:
        return None
    folder, digest = value["folder"], value["sha256"]
    if not re.fullmatch(_NAME, folder, re.ASCII) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError
    return {"folder": folder, "sha256": digest}


def _without_pointer(folder: Path) -> str:
    """What to do if the pointer is unusable; all checkpoints are kept."""
    names = _checkpoints_in(folder)
    kept = f"the checkpoints are kept ({', '.join(names[-3:])}); " if names else ""
    return (
        f"{kept}restore the file from a copy, or start another run from the best weights of this one "
        "(--from)"
    )


def _checkpoints_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if re.fullmatch(_NAME, path.name))


def remove_leftovers(run: Path, verified: Mapping[str, Mapping[str, str] | None]) -> None:
    """Remove checkpoints that the pointer does not name, and incomplete ones left by a kill.

    Args:
        run: the run folder.
        verified: the pointer, whose last checkpoint has just been read and verified, or written.

    Raises:
        RunError: a file cannot be removed.
    """
    folder = _folder_of(run)
    with writing(folder, run):
        _remove_others(folder, verified)


def _remove_others(folder: Path, pointer: Mapping[str, Mapping[str, str] | None]) -> None:
    names = {POINTER_FILE, *(entry["folder"] for entry in pointer.values() if entry)}
    storage.remove_in(folder, HOLDS, kept=names)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a `.safetensors` file that includes a checksum of its content, and flush it to the disk.

    Raises:
        OSError: the file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Wide types first, as the library does, so that every tensor is aligned.
    names = sorted(plain, key=lambda name: (-plain[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"sha256": _checksum(plain)}}
    end = 0
    for name in names:
        tensor = plain[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    with storage.new_file(path) as file:
        file.write(storage.safetensors_header(header))
        for name in names:
            file.write(_bytes_of(plain[name]))
        storage.flush(file)


_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file that `save_tensors` wrote.

    Raises:
        RunError: the file is missing, may not be read, is cut short, or does not match its checksum.
    """
    try:
        tensor_files.require_known_types(path, tensor_files.read_header(path))
    except DocumentError as error:
        raise damaged(path, error.problem) from None
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, UnicodeDecodeError) as error:
        raise damaged(path, f"cut short or overwritten: {str(error)[:200]}") from None
    if written != _checksum(tensors):
        raise damaged(path, "its checksum does not match")
    return tensors


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; shared ones only once, by their first name."""
    seen: set[int] = set()
    weights: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            weights[name] = tensor.detach()
    return weights


def set_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a model.

    Args:
        model: model with the same configuration and vocabularies.
        weights: weights by name, from `weights_of`.
        path: file they came from, for the message.

    Raises:
        RunError: a weight is missing, unknown, or of another shape.
    """
    own = weights_of(model)
    for name in sorted(own.keys() ^ weights.keys()):
        problem = "has no weight" if name in own else "has a weight unknown to the model,"
        raise RunError(
            f"{path} {problem} '{name}'; it belongs to another model than that of config.toml"
        )
    for name, weight in weights.items():
        if weight.shape != own[name].shape:
            raise RunError(
                f"{path}: weight '{name}' is {list(weight.shape)}, expected "
                f"{list(own[name].shape)}; it belongs to another model than that of config.toml"
            )
        with torch.no_grad():
            own[name].copy_(weight)


def save_whole(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Like `save_tensors`, but replaces the file atomically.

    Raises:
        OSError: the file cannot be written; the old file is unchanged.
    """
    partial = storage.partial(path)
    try:
        save_tensors(partial, tensors)
        os.replace(partial, path)
    except Exception:
        with suppress(OSError):
            partial.unlink()
        raise
    storage.flush_folder(path.parent)


@contextmanager
def writing(path: Path, run: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into a RunError that says what has been saved.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        step = _last_step(run)
        saved, advice = "nothing is saved", "free space and start again"
        if step is not None:
            saved = f"the last complete checkpoint is step {step}"
            advice = "free space and continue with --resume"
        if storage.is_disk_full(error):
            raise RunError(f"disk full while writing {path}; {saved}; {advice}") from error
        raise RunError(f"cannot write {path}: {error}; {saved}") from error


def _last_step(run: Path) -> int | None:
    try:
        last = read_pointer(run)["last"]
    except RunError:
        return None
    return None if last is None else int(last["folder"].split("-")[1])


def _folder_of(run: Path) -> Path:
    """The folder of checkpoints, which may not exist.

    Raises:
        RunError: it is a link, or not a folder.
    """
    folder = run / FOLDER
    storage.require_own_folder(folder)
    return folder


def _free_name(folder: Path, step: int) -> Path:
    # A step may be saved twice: before its evaluation, if training was interrupted there, and after it.
    name = f"step-{step:07d}"
    second = 2
    while any(map(os.path.lexists, (folder / name, storage.partial(folder / name)))):
        name = f"step-{step:07d}-{second}"
        second += 1
    return folder / name


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data
