"""A recipe: everything that decides what a run learns, in one record and one TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from unrolled import config
from unrolled.decoding.config import DecodingConfig
from unrolled.errors import ConfigError
from unrolled.tasks.embeddings import options_with_new_names, with_new_names
from unrolled.tasks.task import AnyTask
from unrolled.text.splits import DataConfig
from unrolled.text.tokenizer import TextConfig
from unrolled.training.config import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """One run, before it runs. In TOML, each record is a section of its own name.

    Args:
        task: name of the task; decides what `[model]` may hold.
        seed: start of every random choice in training; the split has its own, `data.split_seed`.
        data: which files, and how they are split; an instance of the task's `Data`.
        text: how text becomes ids.
        model: an instance of the task's `Config`; None stands for its defaults and is filled in by
            `from_mapping`.
        training: optimiser, schedule, stopping, checkpoints.
        decoding: how answers are searched for in evaluation and prediction.

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
        """The recipe that the tables of a TOML file describe.

        Args:
            mapping: values by section and key; what is absent keeps its default.
            tasks: the tasks it may name, by name; or the one task it must be for.
            overrides: dotted names and what was typed for them, as `config.split_options` gives them.

        Raises:
            ConfigError: an unknown task or key, or a wrong value.
        """
        overrides = list(overrides)
        named = [each for each in overrides if each[0] == "task"]
        task = _task_of(config.apply_overrides(mapping, named), tasks)
        if "model" in mapping:
            section = with_new_names(mapping["model"], task.Config, strict=True)
            mapping = {**mapping, "model": section}
        mapping = config.apply_overrides(mapping, options_with_new_names(overrides, task.Config))
        # Old names among the options have become keys by now.
        section = with_new_names(mapping.get("model", {}), task.Config)
        model: Any = config.from_mapping(task.Config, section, "model")
        data: Any = config.from_mapping(task.Data, mapping.get("data", {}), "data")
        text: Any = mapping.get("text", {})
        if isinstance(text, Mapping):
            text = {**task.text, **text}
        return config.from_mapping(
            cls, {**mapping, "task": task.name, "model": model, "data": data, "text": text}
        )

    def to_toml(self) -> str:
        """The whole recipe, defaults included; `recipe_from_toml` reads it back to an equal one."""
        return config.to_toml(self)


def recipe_from_toml(
    path: str | PathLike[str],
    tasks: Mapping[str, AnyTask] | AnyTask,
    overrides: Iterable[tuple[str, str | None]] = (),
) -> Recipe:
    """Read a recipe file, then put options of the command line over it.

    Args:
        path: the TOML file.
        tasks: the tasks it may name, by name; or the one task it must be for.
        overrides: dotted names and what was typed for them, as `config.split_options` gives them.

    Raises:
        ConfigError: the file cannot be read, or an unknown key or a wrong value stands in it or in
            an override.
    """
    mapping = config.read_toml(path)
    overrides = list(overrides)
    try:
        recipe = Recipe.from_mapping(mapping, tasks)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return recipe if not overrides else Recipe.from_mapping(mapping, tasks, overrides)


def _task_of(mapping: Mapping[str, Any], tasks: Mapping[str, AnyTask] | AnyTask) -> AnyTask:
    name = mapping.get("task", None if not isinstance(tasks, Mapping) else Recipe.task)
    if not isinstance(tasks, Mapping):
        if name not in (None, tasks.name):
            raise ConfigError(f"the recipe is for task '{name}', but task '{tasks.name}' was given")
        return tasks
    if not isinstance(name, str) or name not in tasks:
        raise ConfigError(f"unknown task '{name}'; choose from {', '.join(tasks)}")
    return tasks[name]
