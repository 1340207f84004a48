"""The values that queries compare columns with."""

from __future__ import annotations

from unrolled.sql.compared import compared_values
from unrolled.sql.schema import Column, Schema, Table

FLIGHTS = Schema(
    "flights",
    (
        Table("flight", (Column("id", "int"), Column("start", "text"), Column("airline", "text"))),
        Table("airport", (Column("code", "text"), Column("city", "text"))),
    ),
)


def named(*queries: str, dialect: str = "sqlite", least: int = 1) -> dict[str, list[str]]:
    found = compared_values(queries, FLIGHTS, dialect, least)
    return {FLIGHTS.tables[t].columns[c].name: values for (t, c), values in found.items()}


def test_texts_that_a_column_equals_are_its_values() -> None:
    query = (
        "SELECT id FROM flight WHERE airline = 'DL' OR 'AA' <> airline OR airline IN ('CO', 'DL')"
    )
    assert named(query) == {"airline": ["AA", "CO", "DL"]}


def test_columns_that_are_joined_share_their_values() -> None:
    join = "SELECT id FROM flight, airport AS a WHERE flight.start = a.code"
    assert named(join, "SELECT city FROM airport WHERE code = 'BOS'") == {
        "start": ["BOS"],
        "code": ["BOS"],
    }


def test_values_that_few_queries_name_are_left_out() -> None:
    """Queries that name a value in any column of a group count, each text of a query once."""
    queries = (
        "SELECT id FROM flight, airport AS a WHERE flight.start = a.code AND code = 'BOS'",
        "SELECT id FROM flight WHERE start = 'BOS'",
        "SELECT id FROM flight WHERE start = 'BOS'",
        "SELECT id FROM flight WHERE start = 'DAL' OR start = 'DAL' OR start IN ('DAL', 'BOS')",
        "SELECT id FROM flight WHERE airline = 'DL'",
    )
    assert named(*queries, least=3) == {"start": ["BOS"], "code": ["BOS"]}
    assert named(*queries, least=4) == {}


def test_values_are_found_in_inner_queries() -> None:
    inner = "(SELECT code FROM airport WHERE city = 'OAKLAND')"
    assert named(f"SELECT id FROM flight WHERE start IN {inner}") == {"city": ["OAKLAND"]}


def test_numbers_patterns_and_ranges_are_no_values() -> None:
    assert (
        named(
            "SELECT id FROM flight WHERE id = 7",
            "SELECT id FROM flight WHERE airline LIKE 'D%' AND start BETWEEN 'A' AND 'C'",
        )
        == {}
    )


def test_queries_that_cannot_be_read_are_left_out() -> None:
    good = "SELECT id FROM flight WHERE airline = 'DL'"
    assert named("DROP TABLE flight", "SELECT id FROM gone WHERE a = 'b'", good) == {
        "airline": ["DL"]
    }


def test_the_dialect_decides_what_a_text_is() -> None:
    query = 'SELECT id FROM flight WHERE airline = "DL"'
    assert named(query, dialect="mysql") == {"airline": ["DL"]}
    assert named(query) == {}
