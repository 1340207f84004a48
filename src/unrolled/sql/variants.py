"""Variants of a database with other content, to tell queries apart that agree on the original by chance.

A variant is a new file with the tables of the original and rows that were drawn from its values: a column
gets values of its own, one with a foreign key values of the column it refers to, and a primary key stays
unique. Some rows are left out or repeated, some values are NULL where the column allows it, and some are
those that the gold queries compare with, or numbers one above or below. A variant is used if it tells a
gold query from one of its mutations that no variant before it does: a condition left out, >= for >,
another aggregate. The idea is that of Zhong et al. (2020), "Semantic evaluation for text-to-SQL with
distilled test suites".
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from unrolled.sql.database import Database, Value
from unrolled.sql.execution import expected_rows
from unrolled.sql.parsing import QueryError, library, parse_select
from unrolled.sql.schema import Schema, Table

MOST_ROWS_COPIED = 2_000
"""Maximum rows of a table of a variant that come from the original."""

_CANDIDATES = 4  # drawn for each variant asked for
_MOST_QUERIES = 60
_MOST_MUTATIONS = 12
_MOST_SECONDS = 0.5
_KEPT_SHARE = 0.8
_REPEATED_SHARE = 0.15
_NULL_SHARE = 0.05
_COMPARED_SHARE = 0.25

Rows = list[tuple[Value, ...]]
Content = Mapping[str, Rows]
"""By table: its rows."""


def write_variants(
    path: Path, queries: Sequence[str], n: int, folder: Path, seed: int = 1
) -> list[Path]:
    """Write variants of a database; the original is only read.

    Args:
        path: the original, an SQLite file.
        queries: gold queries in SQLite's dialect, of which the variants shall tell mutations.
        n: maximum number of variants; there are fewer if further ones tell nothing more.
        folder: where to write them.
        seed: random seed; the same seed gives the same content.

    Returns:
        The files.

    Raises:
        DataError: the database cannot be read.
    """
    random = Random(seed)
    distinct = sorted(set(queries))
    with Database(path) as database:
        source = _Source.read(database, distinct)
    asked = random.sample(distinct, min(len(distinct), _MOST_QUERIES))
    pairs = [(query, other) for query in asked for other in mutations(query)]
    kept: list[Path] = []
    told: set[tuple[str, str]] = set()
    for number in range(n * _CANDIDATES):
        if len(kept) == n:
            break
        file = folder / f"{path.stem}-{number}.sqlite"
        _write(file, source.schema, source.drawn(Random(f"{seed} {number}")))
        with Database(file) as database:
            here = _told(database, [pair for pair in pairs if pair not in told])
        if here:
            told |= here
            kept.append(file)
        else:
            file.unlink()
    return kept


def mutations(query: str) -> list[str]:
    """Queries that differ from a query in one place, and usually in what they mean.

    >>> sorted(mutations("SELECT MAX(a) FROM t WHERE b > 1"))
    ['SELECT MAX(a) FROM t', 'SELECT MAX(a) FROM t WHERE b >= 1', 'SELECT MIN(a) FROM t WHERE b > 1']
    """
    try:
        tree = parse_select(query)
        found: list[str] = []
        for index, node in enumerate(tree.walk()):
            for change in range(_n_changes(node)):
                if len(found) == _MOST_MUTATIONS:
                    return found
                changed = tree.copy()
                _change(next(islice(changed.walk(), index, None)), change)
                found.append(str(changed.sql(dialect="sqlite")))
        return found
    except (QueryError, RecursionError):
        return []


def _n_changes(node: Any) -> int:
    """The number of changes that can be made to a node of a query."""
    kinds = library().exp
    if isinstance(node, (kinds.And, kinds.Or)):
        return 2
    if isinstance(node, kinds.Where):
        return int(not isinstance(node.this, (kinds.And, kinds.Or)))
    if isinstance(node, kinds.Limit):
        return int(node.expression.is_int)
    return int(type(node) in (*_opposites(), kinds.Distinct, kinds.Ordered))


def _change(node: Any, number: int) -> None:
    """Make the change with this number to a node."""
    kinds = library().exp
    if isinstance(node, (kinds.And, kinds.Or)):
        node.replace(node.expression if number else node.this)
    elif isinstance(node, kinds.Where):
        node.pop()
    elif isinstance(node, kinds.Limit):
        node.set("expression", kinds.Literal.number(int(node.expression.name) + 1))
    elif isinstance(node, kinds.Distinct):  # of a SELECT, or of what is counted
        node.replace(node.expressions[0]) if node.expressions else node.pop()
    elif isinstance(node, kinds.Ordered):
        was_desc = bool(node.args.get("desc"))
        node.set("desc", None if was_desc else True)
        node.set("nulls_first", was_desc)  # as in SQLite: NULL is the smallest value
    else:
        node.replace(_opposites()[type(node)](**node.args))


@cache
def _opposites() -> dict[type, Any]:
    kinds = library().exp
    pairs = (
        (kinds.GT, kinds.GTE),
        (kinds.LT, kinds.LTE),
        (kinds.Max, kinds.Min),
        (kinds.Sum, kinds.Avg),
    )
    return dict(pairs) | {other: one for one, other in pairs}


@dataclass(frozen=True)
class _Source:
    """The content of a database, and what is drawn from it.

    Args:
        schema: its schema.
        content: its rows, at most `MOST_ROWS_COPIED` of a table.
        required: the columns, as table and column, that may not be NULL.
        compared: by the name of a column: values that queries compare it with, and those beside them.
    """

    schema: Schema
    content: Content
    required: frozenset[tuple[str, str]]
    compared: Mapping[str, Sequence[Value]]

    @classmethod
    def read(cls, database: Database, queries: Sequence[str]) -> _Source:
        content: dict[str, Rows] = {}
        for table in database.schema.tables:
            query = f"SELECT * FROM {_quoted(table.name)}"
            try:
                content[table.name] = list(database.run(query, MOST_ROWS_COPIED).rows)
            except QueryError:  # such as a view of a table that is gone
                content[table.name] = []
        return cls(database.schema, content, database.required_columns(), _compared_values(queries))

    def drawn(self, random: Random) -> Content:
        """The content of a variant."""
        return {table.name: self._rows(table, random) for table in self.schema.tables}

    def _rows(self, table: Table, random: Random) -> Rows:
        rows = self.content[table.name]
        columns = [self._column(table, i, random) for i in range(len(table.columns))]
        drawn = list(zip(*columns, strict=True)) if rows else []
        if not any(key.other_table == table.name for key in self.schema.foreign_keys):
            drawn = [row for row in drawn if random.random() < _KEPT_SHARE] or drawn[:1]
        keys = [i for i, column in enumerate(table.columns) if column.is_key]
        if not keys:
            return drawn + [row for row in drawn if random.random() < _REPEATED_SHARE]
        unique = {tuple(row[i] for i in keys): row for row in drawn}
        return list(unique.values())

    def _column(self, table: Table, index: int, random: Random) -> list[Value]:
        """New values of a column, one for each row of the original."""
        column = table.columns[index]
        old = [row[index] for row in self.content[table.name]]
        place = (table.name, column.name)
        keys = self.schema.foreign_keys
        if any((key.other_table, key.other_column) == place for key in keys):
            return old  # others refer to it
        pool: Sequence[Value] = old
        compared: Sequence[Value] = self.compared.get(column.name.casefold(), ())
        key = next((key for key in keys if (key.table, key.column) == place), None)
        if key is not None:
            pool, compared = self._values(key.other_table, key.other_column) or old, ()
        elif column.is_key:
            return old
        may_be_null = not column.is_key and place not in self.required
        return [self._value(pool, compared, may_be_null, random) for _ in old]

    def _value(
        self, pool: Sequence[Value], compared: Sequence[Value], may_be_null: bool, random: Random
    ) -> Value:
        if may_be_null and random.random() < _NULL_SHARE:
            return None
        if compared and random.random() < _COMPARED_SHARE:
            return random.choice(compared)
        return random.choice(pool)

    def _values(self, table: str, column: str) -> list[Value]:
        names = [
            each.name for each in next(t for t in self.schema.tables if t.name == table).columns
        ]
        index = names.index(column)
        return [row[index] for row in self.content[table] if row[index] is not None]


def _compared_values(queries: Sequence[str]) -> dict[str, list[Value]]:
    """By the name of a column: the values in its comparisons, numbers also with their neighbours."""
    kinds = library().exp
    found: dict[str, set[Value]] = defaultdict(set)
    for query in queries:
        try:
            tree = parse_select(query)
        except QueryError:
            continue
        for node in tree.find_all(kinds.Predicate):
            columns = [each for each in node.iter_expressions() if isinstance(each, kinds.Column)]
            literals = [each for each in node.iter_expressions() if isinstance(each, kinds.Literal)]
            for column in columns:
                for literal in literals:
                    found[column.name.casefold()].update(_beside(literal))
    return {name: sorted(values, key=repr) for name, values in found.items()}


def _beside(literal: Any) -> Iterator[Value]:
    """The value of a literal, and the numbers one below and one above."""
    if literal.is_string:
        yield literal.name.strip("%")
    elif literal.is_int:
        number = int(literal.name)
        if abs(number) < 2**62:
            yield from (number - 1, number, number + 1)
    else:
        value = float(literal.name)
        yield from (value - 1, value, value + 1)


def _write(file: Path, schema: Schema, content: Content) -> None:
    """Write a new database that has only tables, without keys, defaults and triggers."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = 0").close()
        connection.execute("BEGIN").close()
        for table in schema.tables:
            columns = ", ".join(f"{_quoted(c.name)} {_quoted(c.type)}" for c in table.columns)
            connection.execute(f"CREATE TABLE {_quoted(table.name)} ({columns})").close()
            marks = ", ".join("?" * len(table.columns))
            insert = f"INSERT INTO {_quoted(table.name)} VALUES ({marks})"
            connection.executemany(insert, content[table.name]).close()
        connection.execute("COMMIT").close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _told(database: Database, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs of a query and its mutation that return other rows on a database."""
    told = set()
    by_query: dict[str, list[str]] = defaultdict(list)
    for query, other in pairs:
        by_query[query].append(other)
    for query, others in by_query.items():
        try:
            expected = expected_rows(query, database, most_seconds=_MOST_SECONDS)
        except QueryError:
            continue
        for other in others:
            try:
                found = database.run(other, len(expected.result.rows) + 1, _MOST_SECONDS)
            except QueryError:
                continue
            if not expected.equals(found):
                told.add((query, other))
    return told
