"""Lists run folders and what is known of them, from small files alone, without loading torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unrolled import documents, storage
from unrolled.errors import ConfigError, RunError
from unrolled.metrics.display import title

FIRST_LINE, LAST_LINE = b"# Unrolled run, format 1", b"# end of the recipe"
"""How `config.toml` begins in a run folder, and how it ends in those of older versions, too."""

_PARAMETERS = re.compile(r"^([\d,]+) parameters\.", re.MULTILINE)
_DEEPEST = 3
_MOST_BYTES = 4 << 20
_MOST_METRICS = 256 << 20


@dataclass(frozen=True)
class RunFacts:
    """What the files of a run say.

    Args:
        folder: the run folder.
        task: its task.
        cell: its cell; "" if the model has no such setting.
        parameters: number of trained weights; None if it is not known.
        steps: number of updates; None without a checkpoint.
        best: the best evaluation, such as "accuracy 93.20"; "" if there is none.
        changed: time of the last checkpoint, in seconds since 1970.
        problem: what cannot be read; "" if nothing.
    """

    folder: Path
    task: str
    cell: str
    parameters: int | None
    steps: int | None
    best: str
    changed: float
    problem: str = ""

    @property
    def date(self) -> str:
        """The time of the last checkpoint."""
        return datetime.fromtimestamp(self.changed).strftime("%Y-%m-%d %H:%M")


def run_folders(folder: Path) -> Iterator[Path]:
    """The run folders in a folder and in the folders below it, by name; or the folder itself.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the folder that contains the runs")
    yield from _below(folder, _DEEPEST)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if is_run(folder):
        yield folder
        return
    if depth == 0:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # not ours to read
        return
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _below(Path(entry.path), depth - 1)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run, as `training.run_folder.is_run`."""
    path = folder / "config.toml"
    if storage.is_link(path):
        return False
    try:
        content = documents.read_bytes(path, _MOST_BYTES)
    except RunError:
        return False
    return content.startswith(FIRST_LINE) or content.rstrip().rpartition(b"\n")[2].startswith(
        LAST_LINE
    )


def facts_of(folder: Path) -> RunFacts:
    """What the files of a run say; what cannot be read is left out, with the reason."""
    problems: list[str] = []
    settings = _read(problems, lambda: settings_of(folder), {})
    state, changed = _read(problems, lambda: _state(folder), ({}, 0.0))
    parameters = _read(problems, lambda: _parameters(folder), None)
    best = state.get("best") if isinstance(state, Mapping) else None
    return RunFacts(
        folder,
        str(settings.get("task", "?")),
        str(settings.get("model.cell", "")),
        parameters,
        state.get("step") if isinstance(state, Mapping) else None,
        _shown(best) if isinstance(best, Mapping) else "",
        changed or (folder / "config.toml").stat().st_mtime,
        "; ".join(problems),
    )


def _read(problems: list[str], call: Any, instead: Any) -> Any:
    try:
        return call()
    except RunError as error:
        problems.append(str(error))
    except (KeyError, TypeError, ValueError, OSError) as error:
        problems.append(f"unexpected content ({type(error).__name__})")
    return instead


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings of a run by dotted name.

    Raises:
        ConfigError: the folder is not a run.
        RunError: its settings cannot be read.
    """
    if not is_run(folder):
        raise ConfigError(f"{folder} is not a run folder")
    return dict(_flat(documents.read_toml(folder / "config.toml", _MOST_BYTES), ""))


def _flat(mapping: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _state(folder: Path) -> tuple[Any, float]:
    """The progress in the last checkpoint, and its time; of a copy without any, from the metrics."""
    ensemble = folder / "ensemble.json"
    if ensemble.exists():
        return _of_ensemble(folder, ensemble), ensemble.stat().st_mtime
    checkpoints = folder / "checkpoints"
    if not checkpoints.exists():
        return _logged(folder), (folder / "metrics.jsonl").stat().st_mtime
    name = documents.read_json(checkpoints / "pointer.json")["last"]["folder"]
    if Path(name).name != name:
        raise ValueError
    path = checkpoints / name / "state.json"
    # Scores may be NaN, which such files of ours can contain.
    text = documents.read_text(path).replace("NaN", "null").replace("-Infinity", "null")
    return documents.parse_json(path, text.replace("Infinity", "null")), path.stat().st_mtime


def _of_ensemble(folder: Path, path: Path) -> dict[str, Any]:
    """The validation scores of the mean of an ensemble, once it is complete."""
    scores = documents.read_json(path)["scores"] or {}
    metric = documents.read_toml(folder / "config.toml", _MOST_BYTES)["training"]["metric"]
    return {"step": None, "best": {"metric": metric, "value": scores.get(metric), "scores": scores}}


def _logged(folder: Path) -> dict[str, Any]:
    """The progress that the log of metrics tells."""
    lines = documents.read_bytes(folder / "metrics.jsonl", _MOST_METRICS).splitlines()
    best = [line for line in lines if b'"is_best": true' in line]
    metric = documents.read_toml(folder / "config.toml", _MOST_BYTES)["training"].get(
        "metric", "loss"
    )
    state: dict[str, Any] = {"step": json.loads(lines[-1])["step"] if lines else 0, "best": None}
    if best:
        event = json.loads(best[-1])
        value = event["loss"] if metric == "loss" else event["scores"][metric]
        state["best"] = {"metric": metric, "value": value, "scores": event["scores"]}
    return state


def _parameters(folder: Path) -> int | None:
    """The number of trained weights, as the model card says."""
    found = _PARAMETERS.search(documents.read_text(folder / "README.md"))
    return int(found[1].replace(",", "")) if found else None


def _shown(best: Mapping[str, Any]) -> str:
    """The value of the metric by which the best weights were chosen, or the first score with the loss."""
    metric, value = str(best.get("metric", "")), best.get("value")
    scores = best.get("scores")
    if metric == "loss" and isinstance(scores, Mapping) and scores:
        metric, value = next(iter(scores.items()))
    return f"{title(metric)} {value:.4g}" if isinstance(value, int | float) else ""


def differing(first: Path, second: Path) -> list[tuple[str, str, str]]:
    """The settings in which two runs differ: name, and the value of each as text.

    Raises:
        ConfigError: a folder is not a run.
        RunError: its settings cannot be read.
    """
    a, b = settings_of(first), settings_of(second)
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return [(name, _text(a, name), _text(b, name)) for name in names]


def _text(settings: Mapping[str, Any], name: str) -> str:
    if name not in settings:
        return "not set"
    value = settings[name]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
