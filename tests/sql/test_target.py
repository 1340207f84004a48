"""Queries as tokens and back: nothing is lost, and only what exists has a token."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from unrolled.sql.database import Database
from unrolled.sql.parsing import QueryError
from unrolled.sql.schema import Column, Schema, Table
from unrolled.sql.target import to_sql, to_tokens
from unrolled.sql.tokens import Item, Word, describe

SCHEMA = Schema(
    "places",
    (
        Table("city", (Column("name", "text"), Column("state"), Column("people", "int"))),
        Table("state", (Column("name"), Column("area"), Column("order"))),
        Table("select", (Column("a b"), Column('q"uote'))),
    ),
)

ROUND_TRIPS = [
    ("SELECT name FROM city", "FROM city SELECT city.name"),
    ("select COUNT(*) from City as c", "FROM city SELECT COUNT ( * )"),
    (
        "SELECT c.name FROM city AS c WHERE c.people = (SELECT MAX(d.people) FROM city AS d)",
        "FROM city SELECT city.name WHERE city.people = ( FROM city SELECT MAX ( city.people ) )",
    ),
    (
        "SELECT c.name FROM city c WHERE EXISTS "
        "(SELECT 1 FROM city d WHERE d.state = c.state AND d.people > c.people)",
        "FROM city SELECT city.name WHERE EXISTS ( FROM city#2 SELECT 1 "
        "WHERE city#2.state = city.state AND city#2.people > city.people )",
    ),
    (
        "SELECT a.name, b.name FROM city a, city b WHERE a.people < b.people",
        "FROM city , city#2 SELECT city.name , city#2.name WHERE city.people < city#2.people",
    ),
    (
        "SELECT city.name FROM city JOIN state ON city.state = state.name ORDER BY area DESC LIMIT 1",
        "FROM city JOIN state ON city.state = state.name SELECT city.name "
        "ORDER BY state.area DESC LIMIT 1",
    ),
    (
        "SELECT people FROM city JOIN state ON state = state.name",
        "FROM city JOIN state ON city.state = state.name SELECT city.people",
    ),
    (
        "SELECT MAX(n) FROM (SELECT COUNT(*) AS n, state FROM city GROUP BY state) q "
        "WHERE q.state <> 'x'",
        "FROM ( FROM city SELECT COUNT ( * ) AS a0 , city.state GROUP BY city.state ) AS d0 "
        "SELECT MAX ( d0.o0 ) WHERE d0.o1 <> ' x '",
    ),
    (
        "SELECT name, people * 2 AS twice FROM city ORDER BY twice",
        "FROM city SELECT city.name , city.people * 2 AS a0 ORDER BY a0",
    ),
    (
        "SELECT name FROM city UNION SELECT name FROM state",
        "FROM city SELECT city.name UNION FROM state SELECT state.name",
    ),
    (
        "SELECT name FROM city WHERE people BETWEEN 1 AND 2.5 AND name NOT LIKE '%san  jose%'",
        "FROM city SELECT city.name WHERE city.people BETWEEN 1 AND 2.5 AND "
        "city.name NOT LIKE ' % san \x20 \x20 jose % '",
    ),
    ('SELECT "order" FROM state', "FROM state SELECT state.order"),
    ('SELECT "a b", "q""uote" FROM "select"', 'FROM select SELECT select.a b , select.q"uote'),
    ("SELECT c.* FROM city c, state", "FROM city , state SELECT city . *"),
    ("SELECT 1", "SELECT 1"),
]


@pytest.mark.parametrize(("query", "target"), ROUND_TRIPS)
def test_a_query_becomes_its_tokens_and_comes_back(query: str, target: str) -> None:
    tokens = to_tokens(query, SCHEMA)
    assert " ".join(describe(tokens, SCHEMA)) == target
    assert to_tokens(to_sql(tokens, SCHEMA), SCHEMA) == tokens


def test_names_are_quoted_where_sqlite_needs_it() -> None:
    query = 'SELECT "a b" FROM "select" WHERE "q""uote" = \'it\'\'s\''
    assert to_sql(to_tokens(query, SCHEMA), SCHEMA) == (
        'SELECT "select"."a b" FROM "select" WHERE "select"."q""uote" = \'it\'\'s\''
    )
    query = 'SELECT "order" FROM state'
    assert to_sql(to_tokens(query, SCHEMA), SCHEMA) == 'SELECT state."order" FROM state'


def test_columns_and_tables_are_items_and_values_are_words() -> None:
    tokens = to_tokens("SELECT name FROM state WHERE name = 'new york-2' LIMIT 3", SCHEMA)
    assert tokens == [
        "FROM",
        Item(1),
        "SELECT",
        Item(1, 0),
        "WHERE",
        Item(1, 0),
        "=",
        "'",
        Word("new", is_glued=True),
        Word("york"),
        Word("-", is_glued=True),
        Word("2", is_glued=True),
        "'",
        "LIMIT",
        Word("3"),
    ]


@pytest.mark.parametrize(
    "value", ["", " ", "a", " a", "a ", "a  b", "a\tb", "'", "a ' b", "¿qué?", "x%_", "\n"]
)
def test_text_values_keep_every_character(value: str) -> None:
    query = "SELECT name FROM city WHERE name = '" + value.replace("'", "''") + "'"
    sql = to_sql(to_tokens(query, SCHEMA), SCHEMA)
    assert sql.endswith("'" + value.replace("'", "''") + "'")


def test_random_text_values_keep_every_character() -> None:
    source = random.Random(5)
    for _ in range(300):
        value = "".join(source.choice(" ab'%-é1\t") for _ in range(source.randrange(12)))
        query = "SELECT name FROM city WHERE name = '" + value.replace("'", "''") + "'"
        assert to_sql(to_tokens(query, SCHEMA), SCHEMA).endswith(
            "'" + value.replace("'", "''") + "'"
        )


def test_a_double_quoted_text_is_a_value_in_the_mysql_dialect() -> None:
    query = 'SELECT Calias0.NAME FROM CITY AS Calias0 WHERE Calias0.STATE = "new york" ;'
    assert to_sql(to_tokens(query, SCHEMA, "mysql"), SCHEMA) == (
        "SELECT city.name FROM city WHERE city.state = 'new york'"
    )


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("SELECT nosuch FROM city", "no table in FROM has a column 'nosuch'"),
        ("SELECT name FROM nosuch", "there is no table 'nosuch'"),
        ("SELECT state.name FROM city", "no table in FROM is called 'state'"),
        ("SELECT c.nosuch FROM city c", "table 'c' has no column 'nosuch'"),
        ("SELECT name FROM city, city", "FROM has two tables called 'city'"),
        ("WITH x AS (SELECT 1 UNION SELECT 2 FROM x) SELECT * FROM x", "WITH is recursive"),
        ('SELECT name FROM city WHERE name = "nosuch"', "no table in FROM has a column 'nosuch'"),
        ("DELETE FROM city", "expected a SELECT, found 'DELETE'"),
        ("selec city", "expected a SELECT, found 'SELEC'"),
        ("5", "expected a SELECT, found '5'"),
    ],
)
def test_what_does_not_exist_has_no_tokens(query: str, problem: str) -> None:
    with pytest.raises(QueryError, match=problem):
        to_tokens(query, SCHEMA)


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        (
            ["FROM", Item(0), "SELECT", Item(1, 0)],
            "column of table 'state' is used, which is not in FROM",
        ),
        (["FROM", Item(0), ",", Item(0), "SELECT", Item(0, 0)], "FROM has table 'city' twice"),
        (["FROM", Item(7), "SELECT", "*"], "there is no table 't7x1'"),
        (["FROM", Item(0), "SELECT", Item(0, 9)], "table 'city' has no such column"),
        (["FROM", Item(0), "SELECT", "d0.o0"], "a column of 'd0' is used, which is not in FROM"),
        (["FROM", Item(0), "SELECT", Word("drop")], "expected a number, found 'drop'"),
        (["FROM", Item(0), "SELECT", "'", Word("x")], "a text value does not end"),
        (["FROM", Item(0), "SELECT", "'", "FROM", "'"], "holds something that is not a word"),
        (["FROM", Item(0), "SELECT"], "a SELECT has no columns"),
        ([], "found no statement"),
        (["SELECT", "NAME"], "'NAME' is not a column of the schema"),
    ],
)
def test_tokens_that_are_no_query_are_refused(tokens: list[object], problem: str) -> None:
    with pytest.raises(QueryError, match=problem):
        to_sql(tokens, SCHEMA)  # type: ignore[arg-type]


def test_the_query_that_comes_back_gives_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            'create table city (name, state, people); create table state (name, area, "order");'
            'create table "select" ("a b", \'q"uote\');'
            "insert into city values ('rome', 'x', 3), ('oslo', 'y', 2), ('bern', 'y', 1);"
            "insert into state values ('x', 10, 1), ('y', 20, 2);"
        )
    with Database(path) as database:
        for query, _ in ROUND_TRIPS:
            back = to_sql(to_tokens(query, database.schema), database.schema)
            assert database.run(back).rows == database.run(query).rows
