"""Queries in lines for people."""

from __future__ import annotations

import pytest

from unrolled.sql.layout import clause_lines

LONG = (
    "SELECT DISTINCT a.x, COUNT(*) FROM a LEFT JOIN b ON a.id = b.id WHERE a.day BETWEEN '1' AND '2' AND "
    "a.id IN (SELECT c.id FROM c JOIN d ON c.id = d.id WHERE c.name = 'ñ 🙂 where') GROUP BY a.x "
    "HAVING COUNT(*) > 3 ORDER BY a.x DESC, COUNT(*) LIMIT 1"
)


def test_each_clause_has_a_line() -> None:
    assert clause_lines(LONG, 200) == [
        "SELECT DISTINCT a.x, COUNT(*)",
        "FROM a",
        "LEFT JOIN b ON a.id = b.id",
        "WHERE a.day BETWEEN '1' AND '2' AND a.id IN (SELECT c.id FROM c JOIN d ON c.id = d.id WHERE "
        "c.name = 'ñ 🙂 where')",
        "GROUP BY a.x",
        "HAVING COUNT(*) > 3",
        "ORDER BY a.x DESC, COUNT(*)",
        "LIMIT 1",
    ]


def test_long_clauses_are_broken_outside_of_values() -> None:
    assert clause_lines(LONG, 40)[3:9] == [
        "WHERE a.day BETWEEN '1' AND '2'",
        "  AND a.id IN (SELECT c.id FROM c",
        "    JOIN d ON c.id = d.id",
        "    WHERE c.name = 'ñ 🙂 where')",
        "GROUP BY a.x",
        "HAVING COUNT(*) > 3",
    ]


@pytest.mark.parametrize("width", [1, 20, 40, 80, 1000])
@pytest.mark.parametrize(
    "query",
    [
        LONG,
        "SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3",
        "SELECT a FROM (SELECT b AS a FROM c LIMIT 3) AS d",
        "SELECT name FROM t WHERE name = 'x FROM y WHERE ''z'' AND' OR \"select\" = 'AND'",
        "SELECT",
        "",
    ],
)
def test_lines_joined_by_blanks_are_the_query(query: str, width: int) -> None:
    assert " ".join(line.strip() for line in clause_lines(query, width)) == query


def test_what_is_not_sql_is_one_line() -> None:
    assert clause_lines("SELECT 'unfinished FROM t", 5) == ["SELECT 'unfinished FROM t"]
