"""Check whether a recipe is compatible with a run, to resume it or to start from its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled import config
from unrolled.errors import ConfigError
from unrolled.quoting import brief
from unrolled.tasks.embeddings import TRAINING_ONLY, sections
from unrolled.tasks.pretraining import following
from unrolled.tasks.task import AnyTask
from unrolled.text.config import TextConfig
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import UNNAMED, flat, read_config, settings_of
from unrolled.training.split_file import check_data

CHANGEABLE = frozenset(
    f"training.{name}"
    for name in (
        "max_steps",
        "max_epochs",
        "max_minutes",
        "patience",
        "log_every_n_steps",
        "evaluate_every_n_steps",
        "checkpoint_every_n_steps",
        "threads",
    )
) | {
    "data.train",
    "data.valid",
    "data.test",
    "decoding.min_length_limit",
    "training.teacher",
    "training.unlabelled",
}
"""Settings that may change when a run is resumed: limits, intervals, and paths of the same files."""


def with_unnamed(folder: Path, recipe: Recipe) -> Recipe:
    """The recipe for resuming a run of an older version, which does not name the newest settings.

    A setting outside `model` that the run does not name and the recipe leaves at its default has the
    value with which the run was started. An automatic size of the vocabulary is that of the run, whose
    vocabulary is kept.
    """
    named = flat(read_config(folder))
    size = named.get("text.vocab_size")
    if recipe.text.vocab_size < 0 and isinstance(size, int):
        recipe = dataclasses.replace(recipe, text=dataclasses.replace(recipe.text, vocab_size=size))
    recipe = _with_sizes(recipe, named)
    for name, value in UNNAMED.items():
        section, key = name.split(".")
        part = getattr(recipe, section)
        defaults = {field.name: field.default for field in dataclasses.fields(part)}
        if (
            section != "model"
            and name not in named
            and key in defaults
            and getattr(part, key) == defaults[key]
        ):
            changed = dataclasses.replace(part, **{key: value})
            recipe = dataclasses.replace(recipe, **{section: changed})
    return recipe


def _with_sizes(recipe: Recipe, named: Mapping[str, Any]) -> Recipe:
    """The recipe with the sizes of the language models in `model.pretrained`, which may be gone."""
    model: Any = recipe.model
    paths = list(getattr(model, "pretrained", ()))
    is_same = named.get("model.pretrained") == paths and "model.pretrained_sizes" in named
    if not paths or model.pretrained_sizes or not is_same:
        return recipe
    sizes = {
        name: named[f"model.{name}"] for name in following(recipe.task) if f"model.{name}" in named
    }
    sizes["pretrained_sizes"] = tuple(sizes["pretrained_sizes"])
    text = {
        name.removeprefix("text."): value for name, value in named.items() if name[:5] == "text."
    }
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(model, **sizes),
        text=config.from_mapping(TextConfig, text, "text"),
    )


def check_changes(folder: Path, recipe: Recipe) -> None:
    """Check that a run can be resumed with a recipe.

    Raises:
        ConfigError: it differs in other settings than limits and intervals; the setting is named.
        RunError: the data files are not those that the run was trained on.
    """
    check_settings(folder, recipe)
    check_data(folder, recipe.data)


def check_settings(folder: Path, recipe: Recipe) -> None:
    """The part of `check_changes` that looks at the recipe alone.

    Raises:
        ConfigError: it differs in other settings than limits and intervals; the setting is named.
    """
    old, new = settings_of(folder, recipe), flat(config.to_mapping(recipe))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name) and name not in CHANGEABLE:
            raise ConfigError(
                f"{name} is {_shown(new.get(name))}, but {folder} was started with "
                f"{_shown(old.get(name))}; only limits and intervals can be changed when a run is "
                "resumed: restore this setting, or start another run from this one (--from)"
            )


def check_same_model(folder: Path, recipe: Recipe, task: AnyTask) -> None:
    """Check that a run's weights fit a recipe.

    Settings that only affect training may differ (`task.training_only`), and a file of pretrained
    vectors, which only initializes a new model, need not be named again.

    Raises:
        ConfigError: task or model differ; the setting is named.
    """
    old, new = settings_of(folder, recipe), flat(config.to_mapping(recipe))
    embeddings = [f"model.{name}" for name in sections(task.Config)]
    free = {f"model.{name}" for name in task.training_only}
    free |= {f"{table}.{name}" for table in embeddings for name in TRAINING_ONLY}
    free |= {f"{table}.file" for table in embeddings} - new.keys()
    for name in sorted((old.keys() | new.keys()) - free):
        if (name == "task" or name.startswith("model.")) and old.get(name) != new.get(name):
            raise ConfigError(
                f"{name} is {_shown(new.get(name))}, but {folder} was trained with "
                f"{_shown(old.get(name))}; a run that starts from another must keep its model settings"
            )


def _shown(value: object) -> str:
    return "not set" if value is None else brief(repr(value))
