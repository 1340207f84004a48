"""What a report says about a run: its model, data files and versions, its recipe, and how it learned."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from unrolled import documents
from unrolled.errors import RunError
from unrolled.metrics.display import title
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.run_baselines import baseline_metric
from unrolled.quoting import listed_paths
from unrolled.training.checkpoint import MODEL_FILE
from unrolled.training.run_folder import METRICS_FILE
from unrolled.training.split_file import SPLIT_FILE, SplitRecord
from unrolled.wording import count_of

_PARTS = {"train": "training", "valid": "validation", "test": "test"}
_MOST_METRICS = 256 << 20  # bytes
_MOST_POINTS = 400  # of a curve
_DIGEST = 12  # characters of a checksum


@dataclass(frozen=True)
class DataPart:
    """A part of the data.

    Args:
        name: "training", "validation", "test", or what was evaluated.
        n_rows: number of rows; None if unknown.
        files: the paths.
        sha256: the beginnings of their checksums; "" if unknown.
    """

    name: str
    n_rows: int | None
    files: str
    sha256: str = ""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation on the validation part during training.

    Args:
        step: number of updates done.
        epoch: pass over the data, from 1.
        loss: nats per target.
        score: the score that is shown, a percentage; None if it is unknown.
        is_best: whether the weights of this step are those of the run.
    """

    step: int
    epoch: int
    loss: float
    score: float | None
    is_best: bool


@dataclass(frozen=True)
class LearningCurve:
    """How a run learned, from its log.

    Args:
        metric: the metric that chose the best model, perhaps "loss".
        score: name of the score of the evaluations.
        evaluations: on the validation part, by step.
        losses: step and training loss in nats per target, by step.
        seconds: duration of training up to the last entry.
    """

    metric: str
    score: str
    evaluations: Sequence[Evaluation]
    losses: Sequence[tuple[int, float]]
    seconds: float

    @property
    def best(self) -> Evaluation | None:
        """The evaluation whose weights are those of the run."""
        return next((each for each in reversed(self.evaluations) if each.is_best), None)


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run and of an evaluation of it.

    Args:
        facts: name and text of each fact.
        parts: the parts of the data, and what was evaluated.
        recipe: the complete recipe as TOML.
        curve: how the run learned; None if it has no log of it.
    """

    facts: Sequence[tuple[str, str]]
    parts: Sequence[DataPart]
    recipe: str = ""
    curve: LearningCurve | None = None


def facts_of(
    predictor: LabelPredictor, evaluated: DataPart, now: datetime | None = None
) -> RunFacts:
    """Collect the facts of a run.

    Args:
        predictor: the model of the run.
        evaluated: the rows that were evaluated.
        now: time of the report; by default, the present.
    """
    folder, recipe = predictor.folder, predictor.recipe
    curve = None
    if folder is not None:
        curve = learning_curve(folder, recipe.training.metric, baseline_metric(predictor))
    facts = dict(_facts(predictor, curve, now or datetime.now(UTC)))
    parts = [] if folder is None else list(_parts(folder))
    return RunFacts(tuple(facts.items()), (*parts, evaluated), recipe.to_toml(), curve)


def _facts(
    predictor: LabelPredictor, curve: LearningCurve | None, now: datetime
) -> Iterator[tuple[str, str]]:
    recipe, folder = predictor.recipe, predictor.folder
    yield "date", _minute(now)
    if folder is not None:
        yield "run", str(folder)
        with suppress(OSError):
            saved = (folder / MODEL_FILE).stat().st_mtime
            yield "weights saved", _minute(datetime.fromtimestamp(saved, UTC))
    yield "task", predictor.task.name
    yield "model", ", ".join(_model(recipe.model))
    n_parameters = sum(parameter.numel() for parameter in predictor.model.parameters())
    yield "parameters", f"{n_parameters:,}"
    sizes = (f"{role} {len(words):,}" for role, words in predictor.tokenizers.items())
    yield "vocabulary", f"{', '.join(sizes)} ({recipe.text.kind} tokens)"
    if curve is not None:
        yield "training", _training(curve)
    yield "random seed", f"{recipe.seed}; of the split {recipe.data.split_seed}"
    yield "versions", ", ".join(_versions())


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_SHOWN_OF_MODEL = {
    "cell": "{}",
    "encoder": "{} encoder",
    "bidirectional": "bidirectional",
    "hidden_size": "hidden size {}",
    "embedding_size": "embedding size {}",
    "pooling": "{} pooling",
    "head": "{} output",
}


def _model(config: Any) -> Iterator[str]:
    """The settings of a model that matter most."""
    for name, shown in _SHOWN_OF_MODEL.items():
        value = getattr(config, name, None)
        if value not in (None, False, ""):
            yield shown.format(value.upper() if name == "cell" else value)
    if n_layers := getattr(config, "n_layers", None):
        yield count_of(n_layers, "layer")


def _training(curve: LearningCurve) -> str:
    last = curve.evaluations[-1]
    duration = (
        count_of(round(curve.seconds), "second")
        if curve.seconds < 120
        else count_of(round(curve.seconds / 60), "minute")
    )
    text = f"{count_of(last.step, 'update')}, {count_of(last.epoch, 'epoch')}, {duration}"
    best = curve.best
    return (
        text
        if best is None
        else f"{text}; best by {title(curve.metric)} after update {best.step:,}"
    )


def _versions() -> Iterator[str]:
    for package in ("unrolled", "torch"):
        with suppress(metadata.PackageNotFoundError):
            yield f"{package} {metadata.version(package)}"
    yield f"Python {platform.python_version()}"


def _parts(folder: Path) -> Iterator[DataPart]:
    """The parts of the data that a run was trained with."""
    if not (folder / SPLIT_FILE).exists():
        return
    record = SplitRecord.load(folder)
    train = record.of_part("train").files
    for part, name in _PARTS.items():
        n_rows = record.sizes.get(part)
        files = record.of_part(part).files
        if not files and not n_rows:
            continue
        shown = listed_paths(file["path"] for file in files or train)
        yield DataPart(
            name,
            n_rows,
            shown if files else f"held out of {shown}",
            ", ".join(file["sha256"][:_DIGEST] for file in files),
        )


def learning_curve(folder: Path, metric: str, score: str) -> LearningCurve | None:
    """Read how a run learned from its `metrics.jsonl`; None if there is no evaluation in it.

    The file is only a log: what cannot be read in it is left out.

    Args:
        folder: the run folder.
        metric: the metric that chose the best model.
        score: name of the score to read.
    """
    evaluations: dict[int, Evaluation] = {}
    losses: dict[int, float] = {}
    seconds = 0.0
    for event in _events(folder / METRICS_FILE):
        step, loss = _number(event.get("step")), _number(event.get("loss"))
        if step is None or loss is None:
            continue
        seconds = max(seconds, _number(event.get("seconds")) or 0.0)
        if event.get("event") == "step":
            losses[int(step)] = loss
        elif event.get("event") == "evaluated":
            scores = event.get("scores")
            value = _number(scores.get(score)) if isinstance(scores, Mapping) else None
            epoch = int(_number(event.get("epoch")) or 0)
            is_best = event.get("is_best") is True
            evaluations[int(step)] = Evaluation(int(step), epoch, loss, value, is_best)
    if not evaluations:
        return None
    by_step = [evaluations[step] for step in sorted(evaluations)]
    return LearningCurve(
        metric, score, _thinned_evaluations(by_step), _thinned(sorted(losses.items())), seconds
    )


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        lines = documents.read_bytes(path, _MOST_METRICS).splitlines()
    except RunError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, Mapping):
            yield event


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _thinned(points: Sequence[Any]) -> list[Any]:
    """At most `_MOST_POINTS`, evenly, with the last one."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    last = len(points) - 1
    return [points[index * last // (_MOST_POINTS - 1)] for index in range(_MOST_POINTS)]


def _thinned_evaluations(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Thinned, but with the best one, whose weights are those of the run."""
    kept = {each.step: each for each in _thinned(evaluations)}
    best = next((each for each in reversed(evaluations) if each.is_best), None)
    if best is not None:
        kept[best.step] = best
    return [kept[step] for step in sorted(kept)]
