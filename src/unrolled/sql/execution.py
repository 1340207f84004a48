"""Whether two queries return the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from unrolled.sql.database import MOST_SECONDS, Database, Result, Value
from unrolled.sql.parsing import QueryError, library, parse_select

MOST_ROWS_COMPARED = 10_000
"""Maximum rows of queries whose rows are compared."""


@dataclass(frozen=True)
class Expected:
    """The rows of a gold query.

    Args:
        result: its result, not cut.
        blocks: numbers of successive rows among which the order is free.
    """

    result: Result
    blocks: tuple[int, ...]

    def equals(self, found: Result) -> bool:
        """Whether another query returned the same rows; see `same_rows`."""
        if found.is_cut or len(self.result.columns) != len(found.columns):
            return False
        if len(self.result.rows) != len(found.rows):
            return False
        start = 0
        for size in self.blocks:
            block = slice(start, start + size)
            if not _equal_multisets(self.result.rows[block], found.rows[block]):
                return False
            start += size
        return True


def expected_rows(
    gold: str,
    database: Database,
    most_rows: int = MOST_ROWS_COMPARED,
    most_seconds: float = MOST_SECONDS,
) -> Expected:
    """The rows of a gold query, to compare others with.

    Args:
        gold: the query, in SQLite's dialect.
        database: the database to run it on.
        most_rows: maximum rows.
        most_seconds: maximum time.

    Raises:
        QueryError: the query fails or returns more than `most_rows` rows.
    """
    result = database.run(gold, most_rows, most_seconds)
    if result.is_cut:
        raise QueryError(f"the query returns more than {most_rows:,} rows")
    return Expected(result, tuple(_blocks(gold, result, database, most_rows)))


def same_rows(
    gold: str, predicted: str, database: Database, most_rows: int = MOST_ROWS_COMPARED
) -> bool | None:
    """Whether two queries in SQLite's dialect return the same rows.

    Rows are compared as multisets; in their order only where the outermost gold query has ORDER BY, and
    then rows with equal keys may be in any order. Columns are compared in their order. Numbers are equal
    within a relative 1e-6; a number is not equal to its text.

    Args:
        gold: the query that is right.
        predicted: the query to judge.
        database: the database to run them on.
        most_rows: maximum rows of either query.

    Returns:
        None if the gold query fails or returns more than `most_rows` rows, so that nothing can be said.
    """
    try:
        expected = expected_rows(gold, database, most_rows)
    except QueryError:
        return None
    try:
        found = database.run(predicted, most_rows)
    except QueryError:
        return False
    return expected.equals(found)


def _blocks(gold: str, expected: Result, database: Database, most_rows: int) -> list[int]:
    """Numbers of rows among which the order is free: those with equal keys of ORDER BY, or all."""
    tree: Any = parse_select(gold)
    if tree.args.get("order") is None:
        return [len(expected.rows)]
    try:
        with_keys = database.run(_with_keys(tree), most_rows).rows if tree.key == "select" else ()
    except QueryError:
        with_keys = ()
    n_columns = len(expected.columns)
    if [row[:n_columns] for row in with_keys] != list(expected.rows):
        return [1] * len(expected.rows)  # the keys cannot be told, so the order counts
    return [len(list(block)) for _, block in groupby(with_keys, key=lambda row: row[n_columns:])]


def _with_keys(tree: Any) -> str:
    """A SELECT with its keys of ORDER BY as further columns; with DISTINCT, rows may differ."""
    kinds = library().exp
    selects = tree.selects
    by_name = {each.alias: each.this for each in selects if isinstance(each, kinds.Alias)}
    keys = []
    for each in tree.args["order"].expressions:
        key = each.this
        if isinstance(key, kinds.Column) and not key.table:
            key = by_name.get(key.name, key)
        if isinstance(key, kinds.Literal) and key.is_int and 0 < int(key.name) <= len(selects):
            key = selects[int(key.name) - 1].unalias()
        keys.append(key.copy())
    tree.args["expressions"].extend(keys)
    return str(tree.sql(dialect="sqlite"))


def _equal_multisets(gold: Sequence[Sequence[Value]], found: Sequence[Sequence[Value]]) -> bool:
    # In sorted order the match of a row stands near, unless rounding moved it.
    left = sorted(found, key=_by_type)
    for row in sorted(gold, key=_by_type):
        match = next((i for i, other in enumerate(left) if _equal_rows(row, other)), None)
        if match is None:
            return False
        left.pop(match)
    return True


def _equal_rows(one: Sequence[Value], other: Sequence[Value]) -> bool:
    return all(_equal_values(a, b) for a, b in zip(one, other, strict=True))


def _equal_values(one: Value, other: Value) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or math.isclose(one, other, rel_tol=1e-6)
    return type(one) is type(other) and one == other


def _by_type(row: Sequence[Value]) -> list[tuple[str, Any]]:
    return [
        ("number", value)
        if isinstance(value, (int, float))
        else (type(value).__name__, "" if value is None else value)
        for value in row
    ]
