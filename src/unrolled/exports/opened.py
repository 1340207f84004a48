"""Open an export in Python, as if it were the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled import documents
from unrolled.errors import ConfigError
from unrolled.exports import folder as files
from unrolled.exports.ensembles import restored
from unrolled.exports.graph import check_installed
from unrolled.exports.runtime import Session
from unrolled.tasks.task import AnyTask
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import SavedRun, load_tokenizers


def read_task(folder: Path) -> tuple[Recipe, AnyTask]:
    """The recipe and the task of an export.

    Raises:
        RunError: the recipe is missing or damaged.
    """
    from unrolled.tasks import TASKS

    path = folder / files.RECIPE_FILE
    try:
        recipe = Recipe.from_mapping(documents.parse_toml(path, documents.read_text(path)), TASKS)
    except documents.DocumentError as error:
        raise files.damaged(path, error.problem) from None
    except ConfigError as error:
        raise files.damaged(path, str(error)) from None
    return recipe, TASKS[recipe.task]


def opened(folder: Path, device: Any = "cpu", precision: str = "float32") -> SavedRun:
    """Read an export; its model runs in ONNX Runtime.

    Args:
        folder: the export.
        device: must be the CPU.
        precision: must be "float32", which stands for the precision of the export.

    Raises:
        ConfigError: another device or precision.
        RunError: a file is missing or damaged; it is named.
        UnavailableError: onnxruntime is not installed.
    """
    check_installed("onnxruntime")
    record = files.read_record(folder)
    if str(device) != "cpu":
        raise ConfigError(f"an export runs on the CPU, got device '{device}'; leave it out")
    if precision != "float32":
        raise ConfigError(
            f"{folder} was exported in {record['precision']}; to change that, export the run again with "
            "--precision"
        )
    recipe, _ = read_task(folder)
    tokenizers = load_tokenizers(folder)
    settings = files.read_json(folder, files.SETTINGS_FILE)
    sessions = sessions_of(
        {
            name: files.read_graph(folder, name)
            for name in sorted(record["files"])
            if name.endswith(".onnx")
        }
    )
    try:
        task, model = restored(recipe, tokenizers, settings, sessions, record["parameters"])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        problem = f"it does not fit the other files ({error})"
        raise files.damaged(folder / files.SETTINGS_FILE, problem) from None
    return SavedRun(folder, recipe, task, tokenizers, model.eval())


def sessions_of(contents: Mapping[str, bytes]) -> dict[str, Session]:
    """Graphs that are ready to run, by the names of their files.

    Raises:
        RunError: one is not a graph that ONNX Runtime can read.
    """
    return {name: Session(content, name) for name, content in contents.items()}
