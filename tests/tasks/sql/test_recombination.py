"""Training examples with another column in question and query."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from unrolled.sql.pieces import from_pieces
from unrolled.sql.tokens import describe
from unrolled.tasks.sql import TASK, recombination
from unrolled.tasks.sql.examples import TARGET, QueryExample, encode, written
from unrolled.tasks.sql.recombination import OPPOSITES, exchanged, of_columns, of_superlatives
from unrolled.tasks.sql.task import QueryData
from unrolled.tasks.task import Tokenizers
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.training.kinds import build_loader, prepare
from unrolled.training.recipe import Recipe

SCRIPT = """
create table state (name text, area integer, population integer, capital text);
create table city (name text, state text, population integer);
insert into state values ('Ohio', 1, 2, 'Columbus');
"""
QUESTION = "what is the Area of ohio?"
QUERY = "SELECT area FROM state WHERE name = 'Ohio'"


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "geo.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCRIPT)
    return str(path)


def _read(
    database: str, question: str, query: str, other: str = "SELECT MIN(area) FROM state"
) -> tuple[Row, QueryExample, Tokenizers]:
    """A row, and the vocabularies of it and of another query."""
    row = Row((question, database, query), 2)
    others = [Row(("", database, other), 3)]
    tokenizers = TASK.train_tokenizers([row, *others], TextConfig(kind="word"))
    return row, encode(row.texts, tokenizers), tokenizers


def _all(database: str, question: str, query: str) -> list[tuple[str, str]]:
    """All questions and queries that can be made of one."""
    _, example, tokenizers = _read(database, question, query)
    tokens = example.source.tokens(query)
    found = [*of_columns(example, tokens), *of_superlatives(example, tokens)]
    made = [exchanged(question, example, each, tokenizers) for each in found]
    return [(" ".join(each.words), _query(each, tokenizers)) for each in made]


def _query(example: QueryExample, tokenizers: Tokenizers) -> str:
    tokens = from_pieces(written(example.target, example, tokenizers[TARGET]))
    return " ".join(describe(tokens, example.source.schema))


def test_a_column_is_exchanged_in_question_and_query(database: str) -> None:
    assert _all(database, QUESTION, QUERY) == [
        (
            "what is the population of ohio ?",
            "FROM state SELECT state.population WHERE state.name = ' Ohio '",
        )
    ]


def test_all_uses_of_a_column_are_exchanged(database: str) -> None:
    query = "SELECT area FROM state WHERE area = (SELECT MAX(s.area) FROM state AS s)"
    ((question, made),) = _all(database, "the top area", query)
    assert question == "the top population"
    assert made == (
        "FROM state SELECT state.population WHERE state.population = "
        "( FROM state SELECT MAX ( state.population ) )"
    )


def test_a_superlative_becomes_its_opposite(database: str) -> None:
    query = "SELECT name FROM state WHERE area = (SELECT MAX(area) FROM state)"
    assert _all(database, "Largest state?", query) == [
        (
            "smallest state ?",
            "FROM state SELECT state.name WHERE state.area = ( FROM state SELECT MIN ( state.area ) )",
        )
    ]
    assert all(OPPOSITES[other] in OPPOSITES for other in OPPOSITES.values())


MAX = "SELECT capital FROM state WHERE population = (SELECT MAX(population) FROM state)"


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("the largest and the oldest", MAX),  # two superlatives
        ("the state with most people", "SELECT MAX(area), MIN(area) FROM state"),
        ("the state with most people", f"{MAX} ORDER BY area DESC"),
        ("the largest state", "SELECT name FROM state ORDER BY area DESC LIMIT 1"),
        ("how large is ohio", QUERY),  # not named
        ("the area, the area of ohio", QUERY),  # named twice
        ("area and population of ohio", "SELECT area, population FROM state WHERE name = 'Ohio'"),
        ("the area, not the population", QUERY),  # the other one is named
        (
            "states by capital",
            "SELECT state.area FROM state JOIN city ON state.capital = city.name",
        ),  # joins tables
    ],
)
def test_what_cannot_be_exchanged_stays(database: str, question: str, query: str) -> None:
    assert _all(database, question, query) == []
    row, example, tokenizers = _read(database, question, query)
    assert recombination.vary(row, example, tokenizers, np.random.default_rng(1)) is example


def _varied(rate: float, database: str, seeds: Iterable[int]) -> list[str]:
    row, example, tokenizers = _read(database, QUESTION, QUERY)
    data = QueryData(exchange_rate=rate)
    assert TASK.vary is not None
    return [
        " ".join(TASK.vary(data, row, example, tokenizers, np.random.default_rng([seed])).words)
        for seed in seeds
    ]


def test_the_rate_is_the_share_of_questions(database: str) -> None:
    assert set(_varied(0.0, database, range(20))) == {"what is the Area of ohio ?"}
    n_changed = sum("population" in each for each in _varied(0.3, database, range(200)))
    assert 40 <= n_changed <= 80


def test_the_same_seed_gives_the_same_example(database: str) -> None:
    assert _varied(0.5, database, range(30)) == _varied(0.5, database, range(30))


def test_what_cannot_be_written_is_not_trained_on(database: str) -> None:
    """No training query has MIN, so it is not in the vocabulary."""
    row, example, tokenizers = _read(database, "the largest one", MAX, other=QUERY)
    assert of_superlatives(example, example.source.tokens(MAX))
    assert recombination.vary(row, example, tokenizers, np.random.default_rng(1)) is example


def test_every_epoch_has_new_examples_that_can_be_made_again(database: str) -> None:
    table = Path(database).with_name("train.tsv")
    lines = [f"the area of ohio number {number}\t{QUERY}" for number in range(20)]
    table.write_text("\n".join(["question\tquery", *lines]) + "\n", encoding="utf-8")
    files = {part: [str(table)] for part in ("train", "valid", "test")}
    data = {**files, "database": database, "exchange_rate": 0.5}
    recipe = Recipe.from_mapping({"task": "sql", "data": data}, TASK)
    loader = build_loader(recipe, TASK, prepare(recipe, TASK))

    def ids(epoch: int) -> list[list[int]]:
        batch, _ = loader.batch(epoch, 0)
        return batch.target.values.tolist()

    one = ids(1)
    assert len({str(sorted(ids(epoch))) for epoch in range(1, 6)}) > 1
    assert ids(1) == one
