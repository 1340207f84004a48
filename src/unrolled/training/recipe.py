"""A recipe: everything that determines what a run learns, in one dataclass and one TOML file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from unrolled import config
from unrolled.decoding.config import DecodingConfig
from unrolled.errors import ConfigError, did_you_mean
from unrolled.tasks.embeddings import options_with_new_names, with_new_names
from unrolled.tasks.kind import LANGUAGE_MODEL
from unrolled.tasks.task import AnyTask, Task
from unrolled.text.config import TextConfig
from unrolled.text.splits import DataConfig
from unrolled.training.config import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """The description of a run. In TOML, each dataclass is the section named like its field.

    Args:
        task: name of the task; determines the keys of `[model]` and `[data]`.
        seed: random seed of training; the split has its own, `data.split_seed`.
        data: files and how they are split; an instance of the task's `Data`.
        text: tokenization.
        model: an instance of the task's `Config`; None stands for its defaults and is filled in by
            `from_mapping`.
        training: optimizer, schedule, stopping criteria, checkpoints.
        decoding: search settings of evaluation and prediction.

    Raises:
        ConfigError: the seed is negative.
    """

    task: str = "translate"
    seed: config.Seed = 1
    data: Any = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: object = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        config.check_fields(self, "")

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any],
        tasks: Mapping[str, AnyTask] | AnyTask,
        overrides: Iterable[tuple[str, str | None]] = (),
    ) -> Recipe:
        """Build a recipe from the tables of a TOML file.

        Args:
            mapping: values by section and key; missing keys have their defaults.
            tasks: the available tasks by name, or the one task the recipe must be for.
            overrides: (dotted name, value as typed) pairs from `config.split_options`.

        Raises:
            ConfigError: an unknown task or key, or a wrong value.
        """
        overrides = list(overrides)
        named = [(name, value) for name, value in overrides if name == "task"]
        task = _task_of(config.apply_overrides(mapping, named), tasks)
        if "model" in mapping:
            section = with_new_names(mapping["model"], task.Config, strict=True)
            mapping = {**mapping, "model": section}
        mapping = config.apply_overrides(mapping, options_with_new_names(overrides, task.Config))
        # Old names given as options are keys of the mapping by now.
        section = with_new_names(mapping.get("model", {}), task.Config)
        model: Any = config.from_mapping(task.Config, section, "model")
        _check_group(mapping.get("data"), task)
        data: Any = config.from_mapping(task.Data, mapping.get("data", {}), "data")
        decoding: Any = mapping.get("decoding", {})
        if isinstance(task, Task):
            decoding = config.from_mapping(task.Decoding, decoding, "decoding")
        training: Any = mapping.get("training", {})
        if isinstance(task, Task) and isinstance(training, Mapping):
            training = {**task.training, **training}
        text: Any = mapping.get("text", {})
        if _can_be_completed(model) and isinstance(text, Mapping):
            from unrolled.training.pretrained import followed

            given = config.from_mapping(TextConfig, {**task.text, **text}, "text")
            own = {name: getattr(given, name) for name in text}
            model, text = followed(task, model, own, section)
        if isinstance(text, Mapping):
            text = {**task.text, **text}
            if isinstance(task, Task):
                text = task.text_for(text, data)
        return config.from_mapping(
            cls,
            {
                **mapping,
                "task": task.name,
                "model": model,
                "data": data,
                "text": text,
                "training": training,
                "decoding": decoding,
            },
        )

    def to_toml(self) -> str:
        """The complete recipe as TOML, including defaults; `recipe_from_toml` reads back an equal one."""
        return config.to_toml(self)


def recipe_from_toml(
    path: str | PathLike[str],
    tasks: Mapping[str, AnyTask] | AnyTask,
    overrides: Iterable[tuple[str, str | None]] = (),
) -> Recipe:
    """Read a recipe file and apply command-line options to it.

    Args:
        path: the TOML file.
        tasks: the available tasks by name, or the one task the recipe must be for.
        overrides: (dotted name, value as typed) pairs from `config.split_options`.

    Raises:
        ConfigError: the file cannot be read, or the file or an override has an unknown key or a
            wrong value.
    """
    mapping = config.read_toml(path)
    overrides = list(overrides)
    try:
        recipe = Recipe.from_mapping(mapping, tasks)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return recipe if not overrides else Recipe.from_mapping(mapping, tasks, overrides)


def _can_be_completed(model: Any) -> bool:
    """Whether sizes follow from language models that exist; otherwise training refuses the recipe."""
    paths: tuple[str, ...] = getattr(model, "pretrained", ())
    return bool(paths) and not model.pretrained_sizes and all(map(os.path.isdir, paths))


def _check_group(data: object, task: AnyTask) -> None:
    if task.kind is LANGUAGE_MODEL and isinstance(data, Mapping) and "group" in data:
        raise ConfigError(
            f"data.group keeps rows of a table together, but task '{task.name}' reads running text; "
            "remove it, and give each document as a file of its own: whole files are held out if there "
            "are at least 20"
        )


def _task_of(mapping: Mapping[str, Any], tasks: Mapping[str, AnyTask] | AnyTask) -> AnyTask:
    name = mapping.get("task", None if not isinstance(tasks, Mapping) else Recipe.task)
    if not isinstance(tasks, Mapping):
        if name not in (None, tasks.name):
            raise ConfigError(f"the recipe is for task '{name}', but task '{tasks.name}' was given")
        return tasks
    if not isinstance(name, str) or name not in tasks:
        hint = (
            did_you_mean(name, tasks) if isinstance(name, str) else ""
        ) or f"; choose from {', '.join(tasks)}"
        raise ConfigError(f"unknown task '{name}'{hint}")
    return tasks[name]
