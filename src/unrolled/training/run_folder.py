"""A run folder: the files of a run, readable with `ls` and `cat`.

    config.toml               the complete recipe, including defaults
    tokenizer-<role>.json     one per role of the task
    labels.json               labels, for classify, pair and tag
    ngrams.safetensors        counted n-grams, with model.ngrams
    model.safetensors         the best weights so far
    metrics.jsonl             one line per event
    split.json                sizes of the parts, checksums of the data files, notes on initial weights
    README.md                 the model card
    checkpoints/              for exact resume, see checkpoint.py
    baselines/                bag-of-words models
    no-baselines.txt          with --baselines none, in place of them
    evaluation-<name>/        reports of `unrolled evaluate`

An ensemble (`ensemble.py`) has `ensemble.json` and `members/` in place of the files of one model.

A new folder is prepared next to its final place under a temporary name, and renamed once it is complete.
A folder is a run if `config.toml` has the expected first line, and only what is listed here is removed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unrolled import config, documents, storage
from unrolled.baselines.model import HOLDS as BASELINE
from unrolled.errors import ConfigError, RunError
from unrolled.quoting import one_message
from unrolled.tasks.embeddings import with_new_names
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import AnyTask
from unrolled.training import checkpoint
from unrolled.training.events import Evaluated, Step
from unrolled.training.kinds import Prepared
from unrolled.training.recipe import Recipe
from unrolled.training.run_files import BEGIN_OF_CONFIG as BEGIN_OF_CONFIG
from unrolled.training.run_files import CONFIG_FILE as CONFIG_FILE
from unrolled.training.run_files import END_OF_CONFIG as END_OF_CONFIG
from unrolled.training.run_files import ENSEMBLE_FILE as ENSEMBLE_FILE
from unrolled.training.run_files import LABELS_FILE as LABELS_FILE
from unrolled.training.run_files import NGRAMS_FILE as NGRAMS_FILE
from unrolled.training.run_files import file_of as file_of
from unrolled.training.run_files import load_tokenizers as load_tokenizers
from unrolled.training.run_files import read_config as read_config
from unrolled.training.split_file import (
    SPLIT_FILE,
    SplitRecord,
    contents_of,
)
from unrolled.training.weights import check_weights

METRICS_FILE = "metrics.jsonl"
SOURCE_FILE = "started-from.txt"
MEMBERS = "members"


def _is_of_safetensors(path: Path) -> bool:
    """Whether a file is the beginning of a safetensors file that a killed process left behind."""
    start = b'{"__metadata__":{"sha256":"'
    with path.open("rb") as stream:
        content = stream.read(8 + len(start))
    return not content or (len(content) > 8 and start.startswith(content[8:]))


_HOLDS: storage.Holds = {
    r"config\.toml": None,
    r"labels\.json|metrics\.jsonl|split\.json|README\.md|model\.safetensors": None,
    r"tokenizer-[\w-]+\.json|ngrams\.safetensors|(started-from|no-baselines)\.txt": None,
    r"\.tmp\w{6}": _is_of_safetensors,
    checkpoint.FOLDER: checkpoint.HOLDS,
    "baselines": {r".+": BASELINE},
    r"evaluation-.+": {r"report\.html|predictions\.jsonl": None},
}

HOLDS: storage.Holds = {
    **_HOLDS,
    r"ensemble\.json": None,
    MEMBERS: {r"seed-\d+": _HOLDS, r"\.seed-\d+\.lock": None},
}
"""The content of a run folder; nothing else in it is ever removed."""


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A loaded run.

    Args:
        folder: the run folder.
        recipe: the complete recipe.
        task: the task.
        tokenizers: tokenizers by role.
        model: the model with the best weights, in evaluation mode.
    """

    folder: Path
    recipe: Recipe
    task: AnyTask
    tokenizers: Tokenizers
    model: nn.Module


def load_run(
    path: str | os.PathLike[str], task: AnyTask | None = None, device: torch.device | str = "cpu"
) -> SavedRun:
    """Read a run folder.

    Args:
        path: the folder.
        task: the task it was trained for, if it is not one of `TASKS`.
        device: device for the model.

    Raises:
        RunError: the folder is missing, or a file in it is missing or damaged.
    """
    folder = Path(path)
    if is_ensemble(folder):
        from unrolled.training.ensemble import load_ensemble

        return load_ensemble(folder, task, device)
    recipe, task = read_recipe(folder, task)
    tokenizers = load_tokenizers(folder)
    check_weights(recipe, task, tokenizers, folder / checkpoint.MODEL_FILE)
    model = task.build(recipe.model, tokenizers)
    set_best_weights(model, folder)
    return SavedRun(folder, recipe, task, tokenizers, model.to(device).eval())


def is_ensemble(path: Path) -> bool:
    """Whether a folder is an ensemble of runs."""
    return is_run(path) and (path / ENSEMBLE_FILE).is_file()


def check_single(path: Path, use: str) -> None:
    """Refuse an ensemble where a single run is needed.

    Args:
        path: folder of a run.
        use: what needs it, for the message.

    Raises:
        ConfigError: it is an ensemble.
    """
    if is_ensemble(path):
        raise ConfigError(
            f"{path} is an ensemble, and {use} one run; name one of its members, such as "
            f"{next(iter(sorted((path / MEMBERS).glob('seed-*'))), path / MEMBERS)}"
        )


def is_run(path: Path) -> bool:
    """Whether a folder is a run, by the first line of `config.toml`; in older runs, by its last."""
    file = path / CONFIG_FILE
    if storage.is_link(file):
        return False
    try:
        lines = documents.read_bytes(file).rstrip().split(b"\n")
    except RunError:
        return False
    return lines[0] == BEGIN_OF_CONFIG.encode() or lines[-1] == END_OF_CONFIG.encode()


def check_free(path: Path, force: bool) -> None:
    """Check that a new run can be written to a path.

    Raises:
        RunError: the path is a run and `force` is False, is something else, or a run with foreign files.
    """
    for temporary in (storage.partial(path), storage.replaced(path)):
        if os.path.lexists(temporary):
            _check_leftover(temporary)
    if is_run(path):
        if not force:
            raise RunError(
                f"{path} already holds a run; resume it (--resume), replace it (--force), or choose "
                "another name (--out)"
            )
        foreign = storage.first_foreign(path, HOLDS)
        if foreign is not None:
            raise RunError(
                f"{foreign} does not belong to the run in {path}, which would be removed as a whole; "
                "move it elsewhere, or choose another name (--out)"
            )
    elif is_there(path):
        raise RunError(
            f"{path} exists and is not a run folder, so it is not replaced; choose another name "
            "(--out)"
        )


def _check_leftover(path: Path) -> None:
    """Check that a path with the temporary name of a run is the remains of one."""
    is_folder = path.is_dir() and not storage.is_link(path)
    foreign = storage.first_foreign(path, HOLDS) if is_folder else path
    if foreign is not None or not (is_run(path) or _has_nothing_yet(path)):
        raise RunError(
            f"{foreign or path} is in the way and was not written by Unrolled; move it elsewhere, or "
            "choose another name (--out)"
        )


def _has_nothing_yet(path: Path) -> bool:
    """Whether a start was killed before its first file was complete, or a removal before its last."""
    first = (Path(SOURCE_FILE), Path(CONFIG_FILE))
    names = {SOURCE_FILE, *(storage.partial(file).name for file in first)}
    return {entry.name for entry in path.iterdir()} <= names


@contextmanager
def beginning(
    path: Path, recipe: Recipe, lock: storage.Lock, source: Path | None = None
) -> Iterator[Path]:
    """Create the temporary folder of a new run, without the remains of a killed start.

    If the run cannot start, nothing is left behind.

    Args:
        path: final path of the run; `check_free` has accepted it.
        recipe: recipe of the run.
        lock: lock on the final folder, extended to the temporary one.
        source: run whose weights it starts from; recorded in case the start is killed.
    """
    partial = storage.partial(path)
    made = [folder for folder in partial.parents if not folder.exists()]
    try:
        with checkpoint.writing(partial, partial):
            lock.hold(partial)
            storage.remove(partial, HOLDS)
            storage.new_folder(partial)
            lock.hold(partial)
            if source is not None:
                write_file(partial / SOURCE_FILE, os.path.abspath(source))
            write_recipe(partial, recipe)
        yield partial
    except BaseException:
        abandon(partial, made)
        raise


def begun_recipe(path: Path) -> Path:
    """The recipe file of a run, or of one whose start was killed before it was complete."""
    return (storage.partial(path) if was_begun(path) else path) / CONFIG_FILE


def begun_from(path: Path) -> Path | None:
    """The run that a killed start took its weights from; None if it had new weights.

    Raises:
        RunError: the record of it cannot be read.
    """
    file = storage.partial(path) / SOURCE_FILE
    if not (was_begun(path) and file.exists()):
        return None
    return Path(documents.read_text(file, 9999))


def is_there(path: Path) -> bool:
    """Whether a path exists and is not an empty folder."""
    return os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))


def unnamed_settings(path: Path) -> list[tuple[str, str]]:
    """Settings missing in the recipe of an older run, with the values it was trained with, as typed.

    Raises:
        ConfigError: the recipe is missing or damaged.
    """
    from unrolled.tasks import TASKS

    mapping = config.read_toml(begun_recipe(path))
    task = TASKS.get(str(mapping.get("task")))
    own = _settings_of_task(task) if task else set()
    return [
        (name, str(value))
        for name, value in UNNAMED.items()
        if name not in flat(mapping) and (name in own or not name.startswith(("model.", "data.")))
    ]


def _settings_of_task(task: AnyTask) -> set[str]:
    """The names of the settings in the sections that each task has its own form of."""
    sections = {"model": task.Config, "data": task.Data}
    return {
        f"{name}.{field.name}"
        for name, section in sections.items()
        for field in dataclasses.fields(section)
    }


def was_begun(path: Path) -> bool:
    """Whether a start of this run was killed before it could be resumed."""
    return not path.exists() and is_run(storage.partial(path))


def fill(
    partial: Path,
    prepared: Prepared,
    data: Any,
    notes: Iterable[str] = (),
) -> None:
    """Write the files that stay the same throughout the run to its temporary folder.

    Args:
        partial: the temporary folder.
        prepared: the prepared data.
        data: the `[data]` section of the recipe.
        notes: notes on the initial weights of the model.
    """
    record: dict[str, Any] = {**prepared.record(data), "begins_with": list(notes)}
    with checkpoint.writing(partial, partial):
        for role, vocabulary in prepared.tokenizers.items():
            vocabulary.save(partial / file_of(role))
        record["contents"] = contents_of(partial, map(file_of, prepared.tokenizers))
        write_file(partial / SPLIT_FILE, json.dumps(record, indent=1) + "\n")
        write_file(partial / METRICS_FILE, "")


def abandon(partial: Path, made: Iterable[Path]) -> None:
    """Remove the temporary folder of a run that could not start, and the folders created for it.

    Args:
        partial: the temporary folder.
        made: folders created for it, the innermost first; a folder that is no longer empty is kept,
            with its parents.
    """
    with suppress(OSError):
        storage.remove(partial, HOLDS)
        for folder in made:
            folder.rmdir()


def commit(partial: Path, path: Path) -> None:
    """Move a complete new run to its final path, replacing the run that `check_free` accepted."""
    with checkpoint.writing(partial, partial):
        (partial / SOURCE_FILE).unlink(missing_ok=True)
        storage.commit(path, HOLDS)


def read_recipe(folder: Path, task: AnyTask | None = None) -> tuple[Recipe, AnyTask]:
    """The complete recipe of a run, and its task.

    Raises:
        ConfigError: the task is not a task, but its name.
        RunError: there is no run, its `config.toml` is damaged, or its task is unknown.
    """
    from unrolled.tasks import TASKS

    if isinstance(task, str):
        raise ConfigError(
            f"task must be a task of your own, not the name '{one_message(task)}'; leave it out, as the "
            "run knows its task"
        )
    mapping = read_config(folder)
    name = mapping.get("task")
    if task is None and (not isinstance(name, str) or name not in TASKS):
        shown = repr(name[:40]) if isinstance(name, str) else "(without a name)"
        raise RunError(
            f"{folder} is a run of the task {shown}, which is not one of {', '.join(TASKS)}; "
            "pass the task: task=MY_TASK"
        )
    try:
        mapping = _as_read_then(mapping, task or TASKS[str(name)])
        recipe = Recipe.from_mapping(mapping, task or TASKS)
    except ConfigError as error:
        raise RunError(f"{folder / CONFIG_FILE}: {error}") from None
    return recipe, task or TASKS[recipe.task]


def _as_read_then(mapping: dict[str, Any], task: AnyTask) -> dict[str, Any]:
    """The tables of a recipe with `data.header`: older versions took every first line for the header."""
    model = mapping.get("model", {})
    if isinstance(model, dict) and model.get("pretrained") and not model.get("pretrained_sizes"):
        # Otherwise they would be looked up in other runs, which this file names.
        raise ConfigError("model.pretrained_sizes is missing; restore the file from a copy")
    data = mapping.get("data", {})
    if "data.header" not in _settings_of_task(task) or not isinstance(data, dict):
        return mapping
    return {**mapping, "data": {"header": UNNAMED["data.header"], **data}}


def set_best_weights(model: nn.Module, folder: Path) -> None:
    """Give a model the best weights of a run.

    Raises:
        RunError: the file is missing, damaged, or belongs to another model.
    """
    path = folder / checkpoint.MODEL_FILE
    checkpoint.set_weights(model, checkpoint.load_tensors(path), path)


def remove_leftovers(folder: Path, verified: Mapping[str, Mapping[str, str] | None]) -> None:
    """Remove files that a killed process left incomplete, once the run is resumed.

    Args:
        folder: the run.
        verified: the pointer, whose last checkpoint has been read and verified.
    """
    checkpoint.remove_leftovers(folder, verified)
    with checkpoint.writing(folder, folder):
        storage.remove_leftovers(folder, HOLDS)


def read_notes(folder: Path) -> tuple[str, ...]:
    """Notes on the initial weights of a run.

    Raises:
        RunError: the record is damaged.
    """
    return SplitRecord.load(folder).begins_with


class Metrics:
    """`metrics.jsonl`: one line per event, and the checksum of all lines.

    Attributes:
        n_bytes: size of the file.
    """

    def __init__(self) -> None:
        self.n_bytes = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Checksum of the file."""
        return self._digest.hexdigest()

    def go_on(self, folder: Path, n_bytes: int, sha256: str) -> None:
        """Remove the lines that were written after a checkpoint.

        Args:
            folder: the run.
            n_bytes: size of the file at the checkpoint.
            sha256: checksum of the file at the checkpoint; empty in older versions.

        Raises:
            RunError: the lines before the checkpoint have changed, or the file cannot be written.
        """
        path = folder / METRICS_FILE
        try:
            content = documents.read_bytes(path, _MOST_METRICS)
        except documents.DocumentError as error:
            raise checkpoint.damaged(path, error.problem) from None
        counted = content[:n_bytes]
        self.n_bytes, self._digest = len(counted), hashlib.sha256(counted)
        if len(counted) < n_bytes or (
            self.sha256 != sha256 if sha256 else not _are_events(counted)
        ):
            raise checkpoint.damaged(path, "its lines have changed since the last checkpoint")
        if counted != content or storage.is_shared(path):
            with checkpoint.writing(path, folder):
                write_file(path, counted)

    def append(self, folder: Path, event: Step | Evaluated) -> None:
        """Add an event.

        Raises:
            RunError: the file cannot be written.
        """
        line = {"event": type(event).__name__.lower(), **dataclasses.asdict(event)}
        content = json.dumps(line).encode() + b"\n"
        path = folder / METRICS_FILE
        with checkpoint.writing(path, folder), storage.appending(path) as file:
            if (
                file.tell() != self.n_bytes
            ):  # changed by someone else; tolerated, as it is only a log
                self._read_again(path)
            file.write(content)
        self.n_bytes += len(content)
        self._digest.update(content)

    def flush(self, folder: Path) -> None:
        """Flush the file to the disk.

        Raises:
            RunError: the file cannot be written.
        """
        path = folder / METRICS_FILE
        with checkpoint.writing(path, folder), storage.appending(path) as file:
            storage.flush(file)

    def _read_again(self, path: Path) -> None:
        with path.open("rb") as file:
            self._digest = hashlib.file_digest(file, "sha256")
            self.n_bytes = file.tell()


_MOST_METRICS = 1 << 32  # bytes; a line has some hundred


def _are_events(lines: bytes) -> bool:
    """Whether all lines are complete JSON objects with the name of an event."""
    if lines and not lines.endswith(b"\n"):
        return False
    try:
        events = [json.loads(line) for line in lines.splitlines()]
        return all(event["event"] in ("step", "evaluated") for event in events)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def write_recipe(folder: Path, recipe: Recipe) -> None:
    text = f"{BEGIN_OF_CONFIG}\n\n{recipe.to_toml()}\n{END_OF_CONFIG}\n"
    write_file(folder / CONFIG_FILE, text)


def write_file(path: Path, content: str | bytes) -> None:
    with storage.whole(path) as stream:
        stream.write(content if isinstance(content, bytes) else content.encode("utf-8"))


def settings_of(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """The settings of a run by full names; settings unknown to its version have their defaults."""
    sections = {
        name: type(getattr(recipe, name))()
        for name in ("data", "text", "model", "training", "decoding")
    }
    defaults = flat(config.to_mapping(dataclasses.replace(recipe, **sections)))
    defaults |= {name: value for name, value in UNNAMED.items() if name in defaults}
    given = read_config(folder)
    given["model"] = with_new_names(given.get("model", {}), type(recipe.model))
    return defaults | flat(given)


UNNAMED: dict[str, Any] = {
    "data.header": "yes",
    "decoding.min_length_limit": 0,
    "model.unknown_rate": 0.0,
    "training.bleu_tokenizer": "13a",
}
"""Settings that recipes of older runs lack, and the values that those runs were trained with."""


def accept_changes(folder: Path, recipe: Recipe) -> None:
    """Write a recipe that `check_changes` has accepted, once the run is resumed."""
    with checkpoint.writing(folder / CONFIG_FILE, folder):
        write_recipe(folder, recipe)


def flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by full names: `{"model": {"size": 3}}` becomes `{"model.size": 3}`."""
    by_name: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            by_name.update({f"{name}.{key}": inner for key, inner in flat(value).items()})
        else:
            by_name[name] = value
    return by_name
