from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.errors import ConfigError
from unrolled.tasks import TASKS
from unrolled.text.config import TextConfig
from unrolled.training.config import TrainingConfig
from unrolled.training.recipe import Recipe, recipe_from_toml


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_recipe_is_the_default_translation() -> None:
    recipe = Recipe.from_mapping({}, TASKS)
    assert recipe.task == "translate"
    assert recipe.model == TASKS["translate"].Config()
    assert recipe.training == TrainingConfig(max_tokens=1_024, learning_rate=2e-3)


@pytest.mark.parametrize(
    ("task", "size"), [("classify", 30_000), ("pair", 30_000), ("tag", 50_000)]
)
def test_labelling_tasks_use_words_by_default(task: str, size: int) -> None:
    assert Recipe.from_mapping({"task": task}, TASKS).text == TextConfig("word", size)
    chosen = Recipe.from_mapping({"task": task, "text": {"kind": "space"}}, TASKS).text
    assert chosen == TextConfig("space", size)


def test_a_recipe_round_trips(tmp_path: Path) -> None:
    mapping = {
        "seed": 7,
        "data": {"train": ["ñ.en", "ñ.es"], "columns": []},
        "model": {"cell": "gru"},
        "training": {"learning_rate": 1e-7, "max_steps": 3},
        "decoding": {"beam_size": 3},
    }
    recipe = Recipe.from_mapping(mapping, TASKS)
    assert recipe_from_toml(write(tmp_path, recipe.to_toml()), TASKS) == recipe


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 3\n[model]\ncell = 'rnn'\n[data]\ntrain = 'a.tsv'\n")
    overrides = [("model.cell", "gru"), ("training.max_steps", "5"), ("seed", "4")]
    recipe = recipe_from_toml(path, TASKS, overrides)
    assert recipe == Recipe.from_mapping(
        {
            "seed": 4,
            "model": {"cell": "gru"},
            "data": {"train": ["a.tsv"]},
            "training": {"max_steps": 5},
        },
        TASKS,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = 'trnslate'", "unknown task 'trnslate'; did you mean 'translate'?"),
        ("task = 'x'", f"unknown task 'x'; choose from {', '.join(TASKS)}"),
        ("task = ['translate']", "unknown task '['translate']'; choose from "),
        ("[modl]", "unknown key 'modl'; did you mean 'model'?"),
        ("[model]\ncel = 'gru'", "unknown key 'cel' in [model]; did you mean 'cell'?"),
        ("model = 3", "model: expected a section with its own keys, got 3"),
        ("seed = -1", "seed must be at least 0, got -1"),
        ("seed = true", "seed: expected a whole number, got true"),
    ],
)
def test_an_error_in_a_recipe_file_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        recipe_from_toml(path, TASKS)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_an_error_in_an_override_does_not_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe_from_toml(write(tmp_path, "seed = 3"), TASKS, [("training.learning_rat", "1")])
    assert str(caught.value) == (
        "unknown key 'learning_rat' in [training]; did you mean 'learning_rate'?"
    )


def test_a_custom_task_needs_no_name_in_the_recipe() -> None:
    task = TASKS["translate"]
    assert Recipe.from_mapping({}, task).task == task.name
    with pytest.raises(ConfigError) as caught:
        Recipe.from_mapping({"task": "mine"}, task)
    assert str(caught.value) == "the recipe is for task 'mine', but task 'translate' was given"
