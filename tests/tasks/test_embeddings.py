"""The settings of embeddings, and their old names."""

from __future__ import annotations

from typing import Any

import pytest

from unrolled import Recipe
from unrolled.errors import ConfigError
from unrolled.tasks import TASKS
from unrolled.tasks.embeddings import (
    OLD_NAMES,
    EmbeddingsConfig,
    check_sections,
    sections,
    with_new_names,
)
from unrolled.tasks.tag import TagConfig

OLD_VALUES = {
    "embeddings_missing": ("mean", "mean"),
    "embeddings_tuning": ("frozen", "frozen"),
    "embeddings_frozen": (True, "frozen"),
    "embeddings_frozen_epochs": (3, 3),
    "embeddings_extra_words": (7, 7),
}
"""By old key a value, and what it is now."""


def model_of(task: str, model: dict[str, Any], *options: tuple[str, str | None]) -> Any:
    return Recipe.from_mapping({"task": task, "model": model}, TASKS, options).model


def test_every_old_key_has_its_new_one() -> None:
    assert OLD_VALUES.keys() == OLD_NAMES.keys()
    for key, (old, new) in OLD_VALUES.items():
        changed = with_new_names({"embeddings": "v.txt", key: old}, TagConfig)
        assert changed == {"embeddings": {"file": "v.txt", OLD_NAMES[key]: new}}


@pytest.mark.parametrize("task", ["classify", "pair", "tag"])
def test_old_recipe_of_a_label_task_is_read(task: str) -> None:
    old = {
        "embeddings": "v.txt",
        "embeddings_missing": "zero",
        "embeddings_tuning": "thawed",
        "embeddings_frozen_epochs": 2,
        "embeddings_extra_words": 5,
    }
    assert model_of(task, old).embeddings == EmbeddingsConfig("v.txt", "zero", "thawed", 2, 5)


def test_old_translation_recipe_freezes_only_what_has_a_file() -> None:
    old = {"source_embeddings": "v.txt", "embeddings_missing": "mean", "embeddings_frozen": True}
    model = model_of("translate", {**old, "tied_embeddings": "target"})
    assert model.source_embeddings == EmbeddingsConfig("v.txt", "mean", "frozen")
    assert model.target_embeddings == EmbeddingsConfig(None, "mean", "trained")


@pytest.mark.parametrize(
    "model", [{"embeddings": {"file": "a.txt"}}, {"embeddings": "a.txt"}, {}], ids=str
)
def test_old_options_are_read_over_old_and_new_recipes(model: dict[str, Any]) -> None:
    options = [("model.embeddings", "b.txt"), ("model.embeddings_frozen", None)]
    model = model_of("language_model", model, *options)
    assert model.embeddings == EmbeddingsConfig("b.txt", tuning="frozen")
    again = [("model.embeddings", "b.txt"), ("model.embeddings_frozen", "false")]
    assert model_of("language_model", {}, *again).embeddings == EmbeddingsConfig("b.txt")


def test_new_options_are_read_over_an_old_recipe() -> None:
    old = {"embeddings": "a.txt", "embeddings_missing": "zero"}
    model = model_of("tag", old, ("model.embeddings.missing", "mean"))
    assert model.embeddings == EmbeddingsConfig("a.txt", "mean")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            {"embeddings": {"missing": "zero"}, "embeddings_missing": "mean"},
            "model.embeddings_missing and model.embeddings.missing set the same field; use the latter",
        ),
        (
            {"embeddings_missing": "nil"},
            "model.embeddings.missing: expected one of 'random', 'mean', 'zero', got 'nil'",
        ),
        (
            {"embeddings_frozen": "perhaps"},
            "model.embeddings_frozen: expected true or false, got 'perhaps'; use "
            "model.embeddings.tuning, which is 'trained' or 'frozen'",
        ),
    ],
)
def test_messages_name_the_new_key(model: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        model_of("tag", model)
    assert str(raised.value) == sentence


def test_sections_are_the_embeddings_config_fields() -> None:
    assert sections(TASKS["translate"].Config) == ("source_embeddings", "target_embeddings")
    assert sections(TagConfig) == ("embeddings",)
    assert sections(int) == ()


def test_a_file_name_instead_of_a_config_is_refused() -> None:
    config = TagConfig()
    object.__setattr__(config, "embeddings", "v.txt")
    message = r"model.embeddings is 'v.txt', expected an EmbeddingsConfig; pass"
    with pytest.raises(ConfigError, match=message):
        check_sections(config)
