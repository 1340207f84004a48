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
from unrolled.tasks.sql.recombination import exchanged, exchanges
from unrolled.tasks.sql.task import QueryData
from unrolled.tasks.task import Tokenizers
from unrolled.text.rows import Row
from unrolled.text.tokenizer import TextConfig

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


def _read(database: str, question: str, query: str) -> tuple[Row, QueryExample, Tokenizers]:
    row = Row((question, database, query), 2)
    tokenizers = TASK.train_tokenizers([row], TextConfig(kind="word"))
    return row, encode(row.texts, tokenizers), tokenizers


def _all(database: str, question: str, query: str) -> list[tuple[str, str]]:
    """All questions and queries that can be made of one."""
    _, example, tokenizers = _read(database, question, query)
    found = exchanges(example, example.source.tokens(query))
    made = [exchanged(question, query, example, each, tokenizers) for each in found]
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
    ((question, made),) = _all(database, "the largest area", query)
    assert question == "the largest population"
    assert made == (
        "FROM state SELECT state.population WHERE state.population = "
        "( FROM state SELECT MAX ( state.population ) )"
    )


@pytest.mark.parametrize(
    ("question", "query"),
    [
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
