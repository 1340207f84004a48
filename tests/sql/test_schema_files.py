"""Schemas from databases, from the tables of text2sql and from JSON; damaged files get one sentence."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.sql.schema import Column, ForeignKey, Schema, Table, as_json
from unrolled.sql.schema_files import read_schema, read_values

SCHEMA = Schema(
    "places",
    (
        Table(
            "city", (Column("id", "integer", True), Column("a name", "text"), Column("state_id"))
        ),
        Table("state", (Column("id", "integer", True),)),
    ),
    (ForeignKey("city", "state_id", "state", "id"),),
)


def test_a_database_and_its_json_give_the_same_schema(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            'create table city (id integer primary key, "a name" text, state_id references state);'
            "create table state (id integer primary key)"
        )
    assert read_schema(path) == SCHEMA
    file = tmp_path / "places.json"
    file.write_text(json.dumps(as_json(SCHEMA)), encoding="utf-8")
    assert read_schema(file) == SCHEMA


def test_listed_values_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "places.json"
    values = {(0, 1): ["Oslo", "Bergen"], (0, 2): ["Oslo"], (1, 0): []}
    file.write_text(json.dumps(as_json(SCHEMA, values)), encoding="utf-8")
    assert read_schema(file) == SCHEMA
    assert read_values(file) == {"Oslo": ((0, 1), (0, 2)), "Bergen": ((0, 1),)}
    file.write_text(json.dumps(as_json(SCHEMA)), encoding="utf-8")
    assert read_values(file) == {}
    assert read_values(tmp_path / "places.csv") == {}


@pytest.mark.parametrize("values", ["Oslo", ["Oslo", 7], {"Oslo": 1}])
def test_values_that_are_no_list_of_texts_are_refused(tmp_path: Path, values: object) -> None:
    described = as_json(SCHEMA)
    described["tables"][0]["columns"][1]["values"] = values  # type: ignore[index]
    path = tmp_path / "places.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(DataError, match=r"not a schema \('values'") as caught:
        read_values(path)
    assert str(path) in str(caught.value)


def test_the_tables_of_text2sql_are_read(tmp_path: Path) -> None:
    path = tmp_path / "geography-schema.csv"
    path.write_text(
        "Table Name, Field Name, Is Primary Key, Is Foreign Key, Type\n"
        "STATE, STATE_NAME, y, n, varchar(255)\nSTATE, AREA, n, n, double\n"
        "-, -, -, -, -\nRIVER, LENGTH, n, n, int(11)\n",
        encoding="utf-8",
    )
    schema = read_schema(path)
    assert schema == Schema(
        "geography-schema",
        (
            Table("STATE", (Column("STATE_NAME", "varchar(255)", True), Column("AREA", "double"))),
            Table("RIVER", (Column("LENGTH", "int(11)"),)),
        ),
    )
    assert [column.kind for table in schema.tables for column in table.columns] == [
        "text",
        "number",
        "number",
    ]
    assert schema.n_columns == 3


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "table,column\n", "expected the columns table name, field name, "),
        (
            "a.csv",
            "Table Name, Field Name, Is Primary Key, Is Foreign Key, Type\nA, B, y\n",
            "a.csv, line 2: expected 5 fields, found 3",
        ),
        (
            "a.csv",
            "Table Name, Field Name, Is Primary Key, Is Foreign Key, Type\n"
            "A, B, y, n, t\nA, b, n, n, t\n",
            "whose names differ only in case: 'B' and 'b'",
        ),
        ("a.csv", "", "expected the columns"),
        ("a.json", "[", "not JSON|JSON"),
        ("a.json", "[]", "not a schema .it has no list 'tables'"),
        (
            "a.json",
            '{"name": "x", "tables": [{"name": 3, "columns": []}], "foreign_keys": []}',
            "no text 'name'",
        ),
        ("a.json", '{"name": "x", "tables": [], "foreign_keys": []}', "has no tables"),
        (
            "a.json",
            '{"name": "x", "tables": [], "foreign_keys": [["a", 1]]}',
            "a foreign key has 4 names",
        ),
        (
            "a.json",
            '{"name": "x", "tables": [{"name": "t", "columns": []}], "foreign_keys": []}',
            "table 't' has no columns",
        ),
        *(
            (
                "a.json",
                '{"name": "x", "tables": [{"name": "t", "columns": [{"name": "a", "type": ""}]}], '
                f'"foreign_keys": [{json.dumps(key)}]}}',
                f"a foreign key names '{problem}', which is no column of database 'x'",
            )
            for key, problem in (
                (["t", "a", "gone", "a"], "gone.a"),
                (["t", "b", "t", "a"], "t.b"),
            )
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem) as caught:
        read_schema(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("none.csv", "none.json", "none.sqlite"):
        with pytest.raises(DataError, match=name):
            read_schema(tmp_path / name)
