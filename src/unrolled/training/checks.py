"""Checks of a recipe before its data are read, the same in `unrolled train` and `unrolled config`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled import config
from unrolled.errors import ConfigError, DataError
from unrolled.tasks.kind import LANGUAGE_MODEL
from unrolled.tasks.roles import LABELS
from unrolled.tasks.task import AnyTask, LabelTask, StreamTask, Task
from unrolled.text.corpus.files import expand
from unrolled.text.files import opened
from unrolled.text.labels import Labels
from unrolled.text.readers import read_rows
from unrolled.text.rows import Grouping
from unrolled.text.splits import LabelData, Reading
from unrolled.training.recipe import Recipe


def check_recipe(recipe: Recipe, task: AnyTask) -> None:
    """Refuse settings that contradict each other or the task.

    Raises:
        ConfigError: the settings cannot be trained with.
    """
    training = recipe.training
    if recipe.task != task.name:
        raise ConfigError(
            f"the recipe is for task '{recipe.task}', but task '{task.name}' was given"
        )
    if not training.has_limit:
        raise ConfigError(
            "training has no stopping criterion; set training.max_minutes, max_epochs, "
            "max_steps or patience"
        )
    if training.schedule in ("linear", "slanted") and not training.has_fixed_limit:
        raise ConfigError(
            f"training.schedule '{training.schedule}' needs a training length; set training.max_minutes, "
            "max_epochs or max_steps"
        )
    if training.unfreeze_every_n_epochs and not training.has_fixed_limit:
        raise ConfigError(
            "training.unfreeze_every_n_epochs needs a training length, as patience begins once all "
            "layers are trained; set training.max_minutes, max_epochs or max_steps"
        )
    if not isinstance(recipe.data, task.Data):
        raise ConfigError(
            f"Recipe.data must be a {task.Data.__name__} for task '{task.name}', "
            f"got {type(recipe.data).__name__}"
        )
    _check_teacher(recipe, task)
    if isinstance(task, Task):
        _check_fixed(recipe, task)
    wanted = f"one of {', '.join(task.metrics)}"
    config.require(training.metric in task.metrics, "training.metric", wanted, training.metric)
    if isinstance(task, LabelTask) and not task.by_token and isinstance(recipe.data, LabelData):
        check_metric(training.metric, _scores(task, recipe.data))


def _check_teacher(recipe: Recipe, task: AnyTask) -> None:
    """Refuse settings of distillation that contradict each other or the task.

    Raises:
        ConfigError: they do.
    """
    training = recipe.training
    if not training.teacher:
        if training.unlabelled:
            raise ConfigError(
                "training.unlabelled: unlabelled texts are learned from a teacher; set training.teacher "
                "(--distill RUN), or remove them"
            )
        return
    if not isinstance(task, LabelTask) or task.by_token:
        raise ConfigError(
            "training.teacher: models that label whole texts can be distilled (classify and pair), not "
            f"those of task '{task.name}'; remove it"
        )


def _check_fixed(recipe: Recipe, task: Task) -> None:
    """Refuse settings that would have no effect for this task."""
    for name, wanted in task.fixed.items():
        section, _, key = name.partition(".")
        value = getattr(getattr(recipe, section), key)
        shown = str(wanted).lower() if isinstance(wanted, bool) else repr(wanted)
        config.require(value == wanted, name, f"{shown} for task '{task.name}'", value)


def check_metric(metric: str, scores: Sequence[str]) -> None:
    """Refuse a metric that does not exist for these labels.

    Raises:
        ConfigError: the scores do not include it.
    """
    if metric not in ("loss", *scores):
        raise ConfigError(
            f"training.metric is '{metric}', which is not available for these labels; choose from loss, "
            f"{', '.join(scores)}"
        )


def _scores(task: LabelTask, data: LabelData) -> tuple[str, ...]:
    """The scores of a task, which depend on its settings and not on what the labels are."""
    labels = Labels.of(
        [*data.averaged, "one", "two"],
        multi_label=bool(data.label_separator),
        averaged=data.averaged,
    )
    return task.scores({LABELS: labels})


def check_files(data: Any, task: AnyTask) -> None:
    """Read the first row of each file, or find the files of running text.

    Raises:
        DataError: a file cannot be read with these settings.
        ConfigError: a pattern names no file.
    """
    parts = {part: getattr(data, part) for part in ("train", "valid", "test")}
    columns: list[str] = []  # of the training part, which comes first
    for part, paths in parts.items():
        if not paths:
            continue
        if task.kind is LANGUAGE_MODEL:
            for path in expand(paths, data.suffixes):
                if not path.exists():
                    with opened(path, str):
                        pass
        elif all(_can_be_read_again(path) for path in paths):
            found = _check_first_row(paths, data, task, columns, part)
            columns = columns or found


def _check_first_row(
    paths: Sequence[str], data: Any, task: Any, trained: Sequence[str], part: str
) -> list[str]:
    """Read the first row; returns the names of its columns."""
    found = list[str]()
    reading: Reading = Reading() if isinstance(task, StreamTask) else task.reading
    if reading.read is not None:
        reading.read(data, paths, part, None)
        return found
    # The last sentence of a column file may have the first group.
    by_column = reading.by_token
    grouping = Grouping("" if by_column else data.group, is_needed=part == "train")
    rows = read_rows(
        paths,
        data.columns or None,
        None if by_column and data.group else len(task.columns),
        names=reading.names,
        lists=reading.lists,
        by_token=reading.by_token,
        header=data.header,
        labels=None if reading.labels is None else (),
        grouping=grouping,
        trained=trained,
        found=found,
    )
    if next(rows, None) is None:
        raise DataError("the file has no rows", paths[0])
    return found


def _can_be_read_again(path: str) -> bool:
    """Whether reading a file takes nothing from it, as it does from a pipe; a missing file is none."""
    try:
        return Path(path).is_file() or not Path(path).exists() or Path(path).is_dir()
    except (OSError, ValueError):
        return True
