"""The schema of a database: tables, columns, types and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from unrolled.errors import DataError
from unrolled.quoting import quote

Place = tuple[int, int]
"""A column: index of its table in the schema, and its own index in the table."""

Kind = Literal["text", "number", "time", "boolean", "other"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: its name, as the database spells it.
        type: its declared type, in lower case if read from a database; may be empty.
        is_key: whether it belongs to the primary key.
    """

    name: str
    type: str = ""
    is_key: bool = False

    @property
    def kind(self) -> Kind:
        """What its values are, by SQLite's rules of affinity (section 3.1 of "Datatypes in SQLite").

        >>> [Column("a", type).kind for type in ("VARCHAR(20)", "int(11)", "DATETIME", "bool", "")]
        ['text', 'number', 'time', 'boolean', 'other']
        """
        declared = self.type.lower()
        for kind, words in _KINDS:
            if any(word in declared for word in words):
                return kind
        return "other"


_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("time", ("date", "time", "year")),
    ("boolean", ("bool",)),
    ("text", ("char", "clob", "text", "string")),
    ("number", ("int", "real", "floa", "doub", "num", "dec", "money")),
)


@dataclass(frozen=True)
class Table:
    """A table or view and its columns, in the order of the database."""

    name: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column | None:
        """The column with this name, whatever its case."""
        return self._by_name.get(name.casefold())

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name.casefold(): column for column in self.columns}


@dataclass(frozen=True)
class ForeignKey:
    """A column whose values are those of a column of another table, as (table, column) twice."""

    table: str
    column: str
    other_table: str
    other_column: str


@dataclass(frozen=True)
class Schema:
    """The tables of a database, in its order, and the foreign keys between them.

    Args:
        name: name of the database, for messages.
        tables: tables with at least one column; names differ in more than case.
        foreign_keys: foreign keys whose tables and columns are all here.
    """

    name: str
    tables: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...] = field(default=())

    def table(self, name: str) -> Table | None:
        """The table with this name, whatever its case."""
        return self._by_name.get(name.casefold())

    @cached_property
    def _by_name(self) -> dict[str, Table]:
        return {table.name.casefold(): table for table in self.tables}

    @property
    def n_columns(self) -> int:
        """Number of columns of all tables."""
        return sum(len(table.columns) for table in self.tables)

    def check(self) -> None:
        """Check that names are unique, and that foreign keys name what is here.

        Raises:
            DataError: the schema has no table, a table no column, a foreign key names what is not here,
                or two names differ only in case.
        """
        if not self.tables:
            raise DataError(f"database {quote(self.name)} has no tables; give one that has")
        _check_unique(self.name, "tables", [table.name for table in self.tables])
        for table in self.tables:
            if not table.columns:
                raise DataError(
                    f"table {quote(table.name)} has no columns; give it one, or remove it"
                )
            names = [column.name for column in table.columns]
            _check_unique(self.name, f"columns of table {quote(table.name)}", names)
        known = {(table.name, column.name) for table in self.tables for column in table.columns}
        for key in self.foreign_keys:
            for name in ((key.table, key.column), (key.other_table, key.other_column)):
                if name not in known:
                    raise DataError(
                        f"a foreign key names {quote('.'.join(name))}, which is no column of database "
                        f"{quote(self.name)}; correct or remove it"
                    )


def _check_unique(database: str, what: str, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            raise DataError(
                f"database {quote(database)} has two {what} whose names differ only in case: "
                f"{quote(other)} and {quote(name)}; rename one"
            )


def as_json(
    schema: Schema, values: Mapping[Place, Sequence[str]] | None = None
) -> dict[str, object]:
    """A schema as a JSON object, which `schema_files.read_schema` reads back.

    Args:
        schema: the schema.
        values: known values of columns, for a schema without data; `schema_files.read_values` reads them
            back.
    """
    known = values or {}
    return {
        "name": schema.name,
        "tables": [
            {
                "name": table.name,
                "columns": [
                    {"name": column.name, "type": column.type, "key": column.is_key}
                    | ({"values": list(known[t, c])} if known.get((t, c)) else {})
                    for c, column in enumerate(table.columns)
                ],
            }
            for t, table in enumerate(schema.tables)
        ],
        "foreign_keys": [
            [key.table, key.column, key.other_table, key.other_column]
            for key in schema.foreign_keys
        ],
    }
