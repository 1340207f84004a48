"""Read the schema of a database from a file: the database itself, or a description of it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unrolled import documents
from unrolled.errors import DataError
from unrolled.quoting import listed, quote
from unrolled.sql.database import Database
from unrolled.sql.schema import Column, ForeignKey, Place, Schema, Table
from unrolled.text.lines import read_lines

_MOST_BYTES = 50_000_000
_TEXT2SQL_COLUMNS = ("table name", "field name", "is primary key", "is foreign key", "type")


def is_schema_file(path: Path) -> bool:
    """Whether a file describes a schema and holds no data, by its ending."""
    return path.suffix in (".csv", ".json")


def read_schema(path: Path) -> Schema:
    """The schema of a database.

    Args:
        path: an SQLite file; a `.json` file in the form of `as_json`; or a `.csv` file with the columns
            Table Name, Field Name, Is Primary Key, Is Foreign Key and Type, as in the data of
            Finegan-Dollak et al. (2018).

    Raises:
        DataError: the file is missing or not of its form, or two names differ only in case.
    """
    if path.suffix == ".csv":
        schema = Schema(path.stem, tuple(_from_csv(path)))
    elif path.suffix == ".json":
        schema = _from_json(path)
    else:
        with Database(path) as database:
            return database.schema
    try:
        schema.check()
    except DataError as error:
        raise DataError(error.problem, path) from None
    return schema


def read_values(path: Path) -> dict[str, tuple[Place, ...]]:
    """The values that the description of a schema lists, each with its columns.

    Args:
        path: a file for which `is_schema_file` holds. In a `.json` file, a column may have a list
            `values` of texts; a `.csv` file lists none.

    Raises:
        DataError: the file is missing or not of its form.
    """
    if path.suffix != ".json":
        return {}
    values: dict[str, tuple[Place, ...]] = {}
    with _reading(path) as given:
        for table, each in enumerate(_list(given, "tables")):
            for column, described in enumerate(_list(each, "columns")):
                listed_values = described.get("values") or []
                if not isinstance(listed_values, list):
                    raise ValueError(f"{quote('values')} is not a list")
                for value in listed_values:
                    if not isinstance(value, str):
                        raise ValueError(f"{quote('values')} has {value!r}, which is not a text")
                    places = values.get(value, ())
                    if (table, column) not in places:
                        values[value] = (*places, (table, column))
    return values


def _from_csv(path: Path) -> Iterator[Table]:
    lines = read_lines(path)
    rows = csv.reader((line.text for line in lines), skipinitialspace=True)
    header = tuple(name.strip().lower() for name in next(rows, []))
    if header != _TEXT2SQL_COLUMNS:
        raise DataError(
            f"expected the columns {listed(_TEXT2SQL_COLUMNS)}, found {listed(header)}", path
        )
    tables: dict[str, list[Column]] = {}
    for row in rows:
        fields = [field.strip() for field in row]
        if not any(field.strip("-") for field in fields):
            continue  # tables are separated by lines without content
        if len(fields) != len(header):
            raise DataError(f"expected 5 fields, found {len(fields)}", path, rows.line_num)
        table, name, is_key, _, type_ = fields
        tables.setdefault(table, []).append(Column(name, type_, is_key.lower() == "y"))
    for table, columns in tables.items():
        yield Table(table, tuple(columns))


def _from_json(path: Path) -> Schema:
    with _reading(path) as given:
        tables = tuple(_table(table) for table in _list(given, "tables"))
        keys = tuple(_foreign_key(key) for key in _list(given, "foreign_keys"))
        return Schema(_text(given, "name"), tables, keys)


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """The content of a `.json` file; what is wrong in it is an error that names the file."""
    try:
        given = documents.parse_json(path, documents.read_text(path, _MOST_BYTES))
    except documents.DocumentError as error:
        raise DataError(error.problem, path) from None
    try:
        yield given
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"not a schema ({error}); write it with sql.schema.as_json", path) from None


def _table(given: Mapping[str, Any]) -> Table:
    columns = (
        Column(_text(column, "name"), _text(column, "type"), bool(column.get("key")))
        for column in _list(given, "columns")
    )
    return Table(_text(given, "name"), tuple(columns))


def _foreign_key(given: Sequence[Any]) -> ForeignKey:
    names = [name for name in given if isinstance(name, str)]
    if len(names) != 4 or len(given) != 4:
        raise ValueError("a foreign key has 4 names: table, column, other table, other column")
    return ForeignKey(*names)


def _list(given: Mapping[str, Any], name: str) -> list[Any]:
    value = given.get(name) if isinstance(given, Mapping) else None
    if not isinstance(value, list):
        raise ValueError(f"it has no list {quote(name)}")
    return value


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name) if isinstance(given, Mapping) else None
    if not isinstance(value, str):
        raise ValueError(f"it has no text {quote(name)}")
    return value
