"""Whether queries return the same rows: multisets, order, ties, rounding, failures."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from unrolled.sql.database import Database
from unrolled.sql.execution import same_rows


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "create table t (a, b, c);"
            "insert into t values (1, 'x', 0.1), (2, 'x', 0.2), (3, 'y', 0.3), (3, 'y', NULL)"
        )
    with Database(path) as database:
        yield database


@pytest.mark.parametrize(
    ("gold", "predicted", "same"),
    [
        ("select a from t", "select a from t order by a desc", True),
        ("select a from t order by a", "select a from t order by a desc", False),
        ("select a from t", "select distinct a from t", False),
        ("select b from t order by b", "select b from t order by b, a desc", True),
        ("select a, b from t order by b", "select a, b from t order by b, a desc", True),
        ("select a, b from t order by b", "select a, b from t order by b desc", False),
        ("select a, b from t order by b", "select a, b from t order by a desc", False),
        (
            "select a from t where a in (select a from t order by a)",
            "select a from t order by -a",
            True,
        ),
        ("select c from t", "select c + 1e-9 from t", True),
        ("select c from t", "select c + 1e-3 from t", False),
        ("select sum(c) from t", "select 0.6", True),
        ("select a from t", "select cast(a as text) from t", False),
        ("select a, b from t", "select b, a from t", False),
        ("select a from t where a > 9", "select b from t where a > 9", True),
        ("select a from t where a > 9", "select a, b from t where a > 9", False),
        ("select null", "select null", True),
        (
            "select x'01' union all select x'' union all select null",
            "select null union all select x'' union all select x'01'",
            True,
        ),
        ("select null", "select 0", False),
        ("select a from t", "select nosuch from t", False),
        ("select a from t", "delete from t", False),
        (
            "select count(*) as n, b from t group by b order by n",
            "select 2, 'y' union select 2, 'x'",
            True,
        ),
        ("select distinct b from t order by b", "select distinct b from t order by b desc", False),
        ("select a from t union select 9 order by 1", "select a from t union select 9", True),
        ("select a from t union select 9 order by 1", "select distinct a from t order by 1", False),
        (
            "select a from t union select 9 order by 1",
            "select 9 union select a from t order by -a",
            False,
        ),
        ("select b from t order by 1", "select b from t order by b, c", True),
        ("select nosuch from t", "select a from t", None),
    ],
)
def test_same_rows(database: Database, gold: str, predicted: str, same: bool | None) -> None:
    assert same_rows(gold, predicted, database) is same


def test_too_many_rows_say_nothing(database: Database) -> None:
    assert same_rows("select a from t", "select a from t", database, most_rows=3) is None
    assert same_rows("select a from t limit 1", "select a from t", database, most_rows=3) is False
    assert same_rows("select a from t limit 3", "select a from t", database, most_rows=3) is False
