"""Widths that are solved for equal parameters: for every task and cell, and against all widths."""

from __future__ import annotations

import dataclasses
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from unrolled.comparison.matching import (
    TOLERANCE,
    Solver,
    build,
    count_embedding_parameters,
    count_parameters,
    solve,
)
from unrolled.errors import ConfigError
from unrolled.ops.cells import cell_names
from unrolled.samples.shop.generator import generate, write
from unrolled.tasks import TASKS
from unrolled.tasks.kind import LABELLING, LANGUAGE_MODEL
from unrolled.tasks.sql.task import QueryData
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import rows_of
from unrolled.training.dataset import ROLE
from unrolled.training.recipe import Recipe

FIELDS: dict[str, tuple[Any, ...]] = {
    "classify": ("two red cats", "yes"),
    "pair": ("two red cats", "cats", "yes"),
    "tag": (("two", "red", "cats"), ("O", "O", "B-X")),
    "translate": ("two red cats", "dos gatos rojos"),
    "code": ("print two", "print(2)", "python", ""),
}
OTHER = {"tag": ("B-X", "O", "O"), "code": "", "translate": "dos gatos"}
"""The last field of another row."""

WIDTHS = {"hidden_size": 96, "encoder_size": 48}


@cache
def recipe_and_tokenizers(task: str) -> tuple[Any, Any]:
    recipe: Any = Recipe.from_mapping({"task": task}, TASKS)
    names = {field.name for field in dataclasses.fields(recipe.model)}
    widths = {name: width for name, width in WIDTHS.items() if name in names}
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **widths))
    about = TASKS[task]
    if about.kind is LANGUAGE_MODEL:
        return recipe, {ROLE: about.train_tokenizer(["two red cats"], TextConfig(kind="word"))}
    if task == "sql":
        return recipe, _tokenizers_of_questions()
    rows = [Row(FIELDS[task], line=1), Row((*FIELDS[task][:-1], OTHER.get(task, "no")), line=2)]
    if about.kind is LABELLING:
        return recipe, about.train_tokenizers(rows, recipe.text, recipe.data)
    return recipe, about.train_tokenizers(rows, recipe.text)


def _tokenizers_of_questions() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), generate(n=60))
        data = QueryData(train=(f"{folder}/train.tsv",))
        rows = rows_of(data, data.train, 3, TASKS["sql"].reading, part="valid")[:20]
        return TASKS["sql"].train_tokenizers(rows, TextConfig(kind="word"))


def solver_of(task: str, **settings: Any) -> Solver:
    recipe, tokenizers = recipe_and_tokenizers(task)
    model = dataclasses.replace(recipe.model, **settings)
    return Solver(dataclasses.replace(recipe, model=model), TASKS[task], tokenizers)


TASK_NAMES = [*FIELDS, "language_model", "sql"]


@pytest.mark.parametrize("cell", cell_names())
@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_cell_matches_in_every_task(task: str, cell: str) -> None:
    recipe, tokenizers = recipe_and_tokenizers(task)
    target = count_parameters(build(recipe, TASKS[task], tokenizers))
    solution = solve(solver_of(task, cell=cell), target, cell, str)
    assert abs(solution.parameters / target - 1) <= TOLERANCE
    # The model that is trained has as many weights as the one that was counted.
    fields = {name.removeprefix("model."): width for name, width in solution.widths.items()}
    model = TASKS[task].build(dataclasses.replace(recipe.model, cell=cell, **fields), tokenizers)
    assert count_parameters(model) == solution.parameters


def test_the_recipe_itself_keeps_its_widths() -> None:
    solver = solver_of("translate")
    target = solver.at(96, 48)
    assert solver.nearest(target).widths == {"model.hidden_size": 96, "model.encoder_size": 48}


def test_the_nearest_of_all_widths_is_found() -> None:
    solver = solver_of("language_model", cell="gru")
    target = solver_of("language_model").at(96)
    best = min(range(60, 180), key=lambda width: abs(solver.at(width) - target))
    assert solver.nearest(target).widths == {"model.hidden_size": best}


def test_the_count_is_that_of_the_equations() -> None:
    recipe, tokenizers = recipe_and_tokenizers("language_model")
    config, n_words = recipe.model, len(tokenizers[ROLE])
    E, H = config.embedding_size, config.hidden_size
    model = build(recipe, TASKS["language_model"], tokenizers)
    lstm, head = 4 * H * (E + H + 2), n_words * (H + 1)
    assert count_parameters(model) == n_words * E + lstm + head
    assert count_embedding_parameters(model) == n_words * E


def test_the_widths_of_an_encoder_keep_their_ratio() -> None:
    target = solver_of("translate").at(96, 48)
    hidden, encoder = solver_of("translate", cell="rnn").nearest(target).widths.values()
    assert hidden > 96
    assert abs(encoder - hidden / 2) <= 1.5


def test_attention_that_compares_widths_can_match() -> None:
    target = solver_of("translate").at(96, 48)
    solution = solve(solver_of("translate", attention="dot"), target, "dot", str)
    hidden, encoder = solution.widths.values()
    assert hidden == 2 * encoder


def test_what_cannot_match_is_refused_with_the_nearest() -> None:
    base = solver_of("language_model", hidden_size=3, embedding_size=2)
    others = [
        solver_of("language_model", cell=cell, hidden_size=3, embedding_size=2)
        for cell in ("rnn", "gru")
    ]
    target = base.at(3)
    with pytest.raises(ConfigError) as refused:
        solve(others[1], target, "GRU", lambda: base.suggestion(others))
    message = str(refused.value)
    assert f"variant 'GRU' cannot have {target:,} parameters, as the recipe" in message
    assert "with model.hidden_size = 4 it has 145 (+15.08%)" in message
    assert "all variants match with --model.hidden_size " in message
    # What is suggested is true.
    width = int(message.partition("--model.hidden_size ")[2].partition(",")[0])
    assert all(
        abs(each.nearest(base.at(width)).mismatch(base.at(width))) <= TOLERANCE for each in others
    )


def test_a_width_without_effect_is_refused() -> None:
    tied = {"tied": True, "n_layers": 1}
    target = solver_of("language_model", **tied).at(96)
    solver = solver_of("language_model", cell="gru", **tied)
    with pytest.raises(ConfigError, match="cannot have"):
        solve(solver, target, "GRU", str)
