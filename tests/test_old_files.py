"""Files of version 0.1.0 can still be read, and give the same answers; see `old_files/README.md`."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import answers
import numpy as np
import pytest
import torch

import unrolled
from unrolled import WordVectors, config

FILES = Path(answers.__file__).parent
RUNS = sorted(path.parent.name for path in FILES.glob("*/recipe.toml"))
WHOLE_RECIPES = ("translate", "words", "classify", "pair", "tag")
"""Of every task one, with a line for every setting."""
VECTORS = ("native", "glove.txt", "word2vec.vec", "word2vec.bin", "vectors.safetensors")

TOLERANCE = 1e-4
AFTER_TRAINING = 1e-3
"""Of losses: a last bit that a processor rounds otherwise grows with every step."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.(\d+))?%?")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all files, so that none of them is changed."""
    return shutil.copytree(FILES, tmp_path_factory.mktemp("old") / "files")


@pytest.fixture
def enter(files: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Name of a folder → the folder, as the working directory, and what is expected there."""

    def enter(name: str) -> tuple[Path, dict[str, Any]]:
        monkeypatch.chdir(files / name)
        return files / name, json.loads((files / name / "expected.json").read_text("utf-8"))

    return enter


def assert_same(found: Any, expected: Any, tolerance: float = TOLERANCE, at: str = "") -> None:
    """Numbers to the tolerance, printed ones to one unit of their last digit, all else exactly.

    Mappings may have gained names.
    """
    if isinstance(expected, Mapping):
        missing = expected.keys() - found.keys()
        assert not missing, f"{at}: {sorted(missing)} are missing"
        for name, one in expected.items():
            assert_same(found[name], one, tolerance, f"{at}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), f"{at}: {found} instead of {expected}"
        for place, one in enumerate(expected):
            assert_same(found[place], one, tolerance, f"{at}[{place}]")
    elif isinstance(expected, str) and (number := _NUMBER.fullmatch(expected)):
        unit = 10.0 ** -len(number[1]) if number[1] else 0
        assert _value(found) == pytest.approx(_value(expected), rel=0, abs=1.01 * unit), at
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), at
    else:
        assert found == expected, at


def _value(printed: str) -> float:
    return float(printed.replace(",", "").rstrip("%"))


@pytest.mark.parametrize("name", RUNS)
def test_old_run_gives_same_answers_in_python(name: str, enter: Any) -> None:
    folder, expected = enter(name)
    assert_same(answers.of_run(folder / "run", expected["inputs"]), expected["python"])


@pytest.mark.parametrize("name", RUNS)
def test_old_run_prints_same_answers(name: str, enter: Any) -> None:
    folder, expected = enter(name)
    found = answers.at_command_line(folder, expected["inputs"])
    assert_same(found, expected["command_line"])


@pytest.mark.parametrize("name", RUNS)
def test_old_run_can_be_fine_tuned(name: str, enter: Any, tmp_path: Path) -> None:
    folder, _ = enter(name)
    before = unrolled.load(folder / "run").model.state_dict()
    steps = ("--training.max_steps", "1")
    answers.printed("train", "recipe.toml", "--from", "run", "--out", str(tmp_path / "run"), *steps)
    after = unrolled.load(tmp_path / "run").model.state_dict()
    assert {name: one.shape for name, one in before.items()} == {
        name: one.shape for name, one in after.items()
    }


@pytest.mark.parametrize("name", RUNS)
def test_old_recipe_trains_the_same_model(name: str, enter: Any, tmp_path: Path) -> None:
    """Up to the first evaluation, or to the end where the learning rate depends on when that is."""
    _, expected = enter(name)
    expected = expected.get("resumed", expected)["training"]
    steps = []
    if name != "classify":
        first, loss = next(iter(expected["losses"].items()))
        expected["losses"] = {first: loss}
        steps = ["--training.max_steps", first]
    answers.printed("train", "recipe.toml", "--out", str(tmp_path / "run"), *steps)
    found = answers.of_training(tmp_path / "run")
    assert found["numbers"] == expected["numbers"]
    if torch.backends.mkl.is_available():  # another library draws other dropout masks
        assert_same(found, expected, AFTER_TRAINING)


@pytest.mark.parametrize("file", ["recipe.toml", "run/config.toml"])
@pytest.mark.parametrize("name", WHOLE_RECIPES)
def test_no_setting_of_an_old_recipe_is_lost(name: str, file: str, enter: Any) -> None:
    enter(name)
    given = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    recipe = unrolled.recipe_from_toml(file, unrolled.TASKS)
    lost = Counter(_leaves(given)) - Counter(_leaves(config.to_mapping(recipe)))
    assert not lost


@pytest.mark.parametrize("name", RUNS)
def test_old_recipe_is_rewritten_unchanged(name: str, enter: Any, tmp_path: Path) -> None:
    enter(name)
    recipe = unrolled.recipe_from_toml("recipe.toml", unrolled.TASKS)
    (tmp_path / "new.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert unrolled.recipe_from_toml(tmp_path / "new.toml", unrolled.TASKS) == recipe


def _leaves(value: Any) -> Iterator[str]:
    """Numbers and texts of a mapping, whatever their names."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    elif not isinstance(value, bool):
        yield str(value)


@pytest.mark.parametrize("name", WHOLE_RECIPES)
def test_pretrained_vectors_of_an_old_run_are_read(name: str, enter: Any, tmp_path: Path) -> None:
    """The table that training began with has the vectors, whatever it is called."""
    enter(name)
    steps = ("--training.max_steps", "1", "--training.learning_rate", "1e-12")
    answers.printed("train", "recipe.toml", "--out", str(tmp_path / "run"), *steps)
    tables = [
        one.numpy()
        for one in unrolled.load(tmp_path / "run").model.state_dict().values()
        if one.ndim == 2 and one.shape[1] == 6
    ]
    vectors = WordVectors.load("../vectors/native")
    word = "is" if name == "classify" else "i" if name in ("translate", "pair") else "the"
    assert any(np.abs(table - vectors[word]).max(1).min() < 1e-6 for table in tables)


def test_old_interrupted_run_can_be_resumed(enter: Any, tmp_path: Path, files: Path) -> None:
    folder, expected = enter("interrupted")
    run = shutil.copytree(folder / "run", tmp_path / "run")
    answers.printed("train", "--resume", "--out", str(run))
    assert_same(answers.of_training(run), expected["resumed"]["training"], AFTER_TRAINING)
    found = answers.of_run(run, expected["inputs"])
    assert_same(found, expected["resumed"]["python"], AFTER_TRAINING)


@pytest.mark.parametrize("file", VECTORS)
def test_old_vectors_give_same_answers(file: str, enter: Any) -> None:
    folder, expected = enter("vectors")
    found = answers.of_vectors(folder / file)
    if file != "native":
        del expected["vectors"]["word"], expected["vectors"]["context"]
    assert_same(found, expected["vectors"])


@pytest.mark.parametrize("file", VECTORS)
def test_old_vectors_print_same_neighbours(file: str, enter: Any) -> None:
    _, expected = enter("vectors")
    cells = answers.printed("vectors", "nearest", file, "dogs", "--k", "3").split()
    for word, cosine in expected["vectors"]["nearest"]:
        assert word in cells
        assert any(abs(_value(cell) - cosine) < 1e-2 for cell in cells if _NUMBER.fullmatch(cell))


def test_old_counts_give_same_ratios(enter: Any) -> None:
    folder, expected = enter("vectors")
    assert_same(answers.ratios(folder / "native"), expected["ratios"])


def test_old_counts_train_the_same_vectors(enter: Any, tmp_path: Path) -> None:
    _, expected = enter("vectors")
    settings = ("--size", "6", "--epochs", "12", "--x-max", "20")
    out = tmp_path / "again"
    answers.printed("vectors", "train", "--counts", "native", "--out", str(out), *settings)
    assert_same(answers.of_vectors(out), expected["vectors"], AFTER_TRAINING)
