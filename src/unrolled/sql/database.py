"""Run a query of unknown origin on an SQLite file without any way to change it or anything else.

Each defence alone has a gap: a file opened read-only still lets SQL create other files (`ATTACH`,
`VACUUM INTO`), and `PRAGMA query_only` can be undone by SQL. So all of these hold together: the statement
must be one SELECT; the file is opened read-only; an authorizer allows only reading the file's own tables
and a list of functions; limits bound text, depth, time, rows and memory.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote as percent_encoded

from unrolled.errors import DataError
from unrolled.quoting import quote
from unrolled.sql.parsing import LONGEST_QUERY, QueryError, parse_select
from unrolled.sql.schema import Column, ForeignKey, Schema, Table

Value = None | int | float | str | bytes

MOST_ROWS = 1_000
MOST_SECONDS = 5.0
_MOST_LOCK_SECONDS = 2.0
_HEAP_BYTES = 64 * 2**20
_INSTRUCTIONS_BETWEEN_CHECKS = 10_000

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: LONGEST_QUERY,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 10,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
}

_FUNCTION_NAMES = """
abs avg coalesce count date datetime group_concat ifnull iif instr julianday length like lower ltrim max
min nullif replace round rtrim sign strftime substr substring sum time total trim typeof unixepoch upper
"""
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
"""Functions that a query may call: they read only their arguments, and their results are small."""


@dataclass(frozen=True)
class Result:
    """The result of a query.

    Args:
        columns: names of the columns.
        rows: the rows, at most `most_rows` of the query.
        is_cut: whether there were more.
        seconds: how long it took.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    is_cut: bool
    seconds: float


class Database:
    """An SQLite file that can only be read.

    Use it as a context manager or call `close`. Use it in the thread that opened it.

    Args:
        path: the file.
        schema: its schema if it is known, which saves reading it.

    Raises:
        DataError: the file is missing, a folder, not an SQLite database, encrypted or damaged, locked, or
            has no tables.
    """

    def __init__(self, path: Path | str, schema: Schema | None = None) -> None:
        self.path = path = Path(path)
        self._state = file_state(path)
        if not path.is_file():
            what = "is a folder, not an SQLite file" if path.is_dir() else "no such file"
            if str(path) == ":memory:":
                what = "a database in memory cannot be read by another program"
            raise DataError(f"{what}; give the file of an SQLite database", path)
        with self._explained():
            self._connection = _opened(path)
        try:
            if schema is None:
                with self._explained():
                    schema = _schema_of(self._connection, path.stem)
                _check_schema(schema, path)
            self.schema = schema
        except BaseException:
            self.close()
            raise
        self._tables = {table.name.casefold() for table in self.schema.tables}
        self._connection.set_authorizer(self._allow)

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def required_columns(self) -> frozenset[tuple[str, str]]:
        """The columns that may not be NULL, as names of table and column."""
        self._connection.set_authorizer(None)
        try:
            return frozenset(_required_columns(self._connection, self.schema))
        finally:
            self._connection.set_authorizer(self._allow)

    def is_current(self) -> bool:
        """Whether the file is the one that was opened, and has not changed since."""
        return file_state(self.path) == self._state

    def run(
        self, query: str, most_rows: int = MOST_ROWS, most_seconds: float = MOST_SECONDS
    ) -> Result:
        """Run one SELECT.

        Args:
            query: the query, in SQLite's dialect.
            most_rows: maximum rows to return.
            most_seconds: maximum time; checked about every 0.1 ms of the query's work.

        Raises:
            QueryError: it is not one SELECT, names what does not exist or may not be read, calls a
                function that is not allowed, fails, or takes too long or too much memory.
        """
        parse_select(query)
        began = time.monotonic()
        deadline = began + most_seconds
        is_late = False

        def check() -> int:
            nonlocal is_late
            is_late = time.monotonic() > deadline
            return is_late

        self._connection.set_progress_handler(check, _INSTRUCTIONS_BETWEEN_CHECKS)
        try:
            cursor = self._connection.execute(query)
            rows = cursor.fetchmany(most_rows + 1)
            columns = tuple(column[0] for column in cursor.description or ())
            cursor.close()
        except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError, OverflowError) as error:
            if is_late:
                raise QueryError(f"the query took more than {most_seconds:g} s") from None
            if str(error) == "interrupted":  # sqlite3 replaces what a signal raises in `check`
                raise KeyboardInterrupt from None
            raise QueryError(_reason(error)) from None
        finally:
            self._connection.set_progress_handler(None, 0)
        seconds = time.monotonic() - began
        return Result(columns, tuple(rows[:most_rows]), len(rows) > most_rows, seconds)

    def _allow(
        self,
        action: int,
        first: str | None,
        second: str | None,
        schema: str | None,
        trigger: str | None,
    ) -> int:
        """SQLite's authorizer: called for everything that a statement would do when it is compiled."""
        if action == sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and first is not None:
            if schema is None and second == "":  # a subquery or a common table expression
                return sqlite3.SQLITE_OK
            is_known = schema == "main" and first.casefold() in self._tables
            return sqlite3.SQLITE_OK if is_known else sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION and second is not None:
            allowed = second.casefold() in FUNCTIONS
            return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_DENY

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of opening the file and reading the schema into one sentence about it."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                problem = "another process has locked it; try again when that one is done"
            elif "not a database" in text or "encrypted" in text:
                problem = "it is not an SQLite database, or it is encrypted; give an SQLite file"
            elif "unable to open" in text:
                problem = (
                    "it cannot be opened, or the files beside it that end in -wal or -journal; "
                    "allow reading them and their folder, or give a copy"
                )
            elif "readonly" in text:
                problem = (
                    "it cannot be read without writing: it is in WAL mode in a folder that you may not "
                    "write, or a program that wrote it did not finish; open it once with sqlite3, or "
                    "copy it, with the files beside it, to a folder of your own"
                )
            else:
                problem = f"it cannot be read ({quote(text)}); restore it from a copy"
            raise DataError(problem, self.path) from None


def file_state(path: Path) -> tuple[int, ...]:
    """What changes with the content of a database: which files it is in, their sizes and times.

    In WAL mode, SQLite writes changes to a file beside the database, whose own file stays as it is.
    """
    files = (path, path.with_name(f"{path.name}-wal"))
    return tuple(number for file in files for number in _state_of_file(file))


def _state_of_file(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except (OSError, ValueError):  # ValueError: a NUL character in the name
        return (0, 0, 0)
    if not status.st_size:  # any reader may leave an empty -wal file
        return (0, 0, 0)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check_schema(schema: Schema, path: Path) -> None:
    try:
        schema.check()
    except DataError as error:
        raise DataError(error.problem, path) from None


def _opened(path: Path) -> sqlite3.Connection:
    """A connection that can only read; the limits hold from its first statement on."""
    # A "?" or "#" in the name of a file would begin the options of the URI.
    name = percent_encoded(path.resolve().as_posix())
    uri = f"file:{name if name.startswith('/') else '/' + name}?mode=ro"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_MOST_LOCK_SECONDS, isolation_level=None, cached_statements=0
    )
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    connection.text_factory = lambda data: data.decode(errors="replace")
    for setting in (
        "query_only = 1",
        "trusted_schema = 0",
        "cell_size_check = 1",
        "temp_store = memory",
        f"hard_heap_limit = {_HEAP_BYTES}",
    ):
        connection.execute(f"PRAGMA {setting}").close()
    return connection


def _schema_of(connection: sqlite3.Connection, name: str) -> Schema:
    """The tables and views of a file; virtual tables, which run code of a module, are left out."""
    virtual = {
        table.casefold()
        for table, kind in _kinds_of_tables(connection)
        if kind not in ("table", "view")  # shadow tables hold the content of virtual ones
    }
    listed = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' "
        "ESCAPE '!' AND sql NOT LIKE 'create virtual%' ORDER BY rowid"
    ).fetchall()
    tables = []
    for (table,) in listed:
        if table.casefold() in virtual:
            continue
        columns = _table_columns(connection, table)
        if columns:
            tables.append(Table(table, columns))
    known = Schema(name, tuple(tables))
    keys = [key for table in tables for key in _foreign_keys(connection, known, table)]
    return Schema(name, known.tables, tuple(keys))


def _kinds_of_tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    try:
        return connection.execute(
            "SELECT name, type FROM pragma_table_list WHERE schema = 'main'"
        ).fetchall()
    except sqlite3.OperationalError:  # SQLite before 3.37
        return []


def _table_columns(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    try:
        rows = connection.execute(
            "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1", (table,)
        ).fetchall()
    except sqlite3.OperationalError:  # a view of a table that is gone
        return ()
    return tuple(Column(name, type.lower(), bool(key)) for name, type, key in rows)


def _required_columns(connection: sqlite3.Connection, schema: Schema) -> Iterator[tuple[str, str]]:
    for table in schema.tables:
        rows = connection.execute(
            'SELECT name FROM pragma_table_xinfo(?) WHERE "notnull" AND hidden <> 1', (table.name,)
        )
        yield from ((table.name, name) for (name,) in rows.fetchall())


def _foreign_keys(
    connection: sqlite3.Connection, schema: Schema, table: Table
) -> Iterator[ForeignKey]:
    rows = connection.execute(
        'SELECT "from", "table", "to", seq FROM pragma_foreign_key_list(?) ORDER BY id, seq',
        (table.name,),
    ).fetchall()
    for column_name, other_name, other_column_name, position in rows:
        other, column = schema.table(other_name), table.column(column_name)
        if other is None or column is None:
            continue
        keys = [each for each in other.columns if each.is_key]
        if other_column_name is None and position < len(keys):  # it points at the primary key
            other_column_name = keys[position].name
        other_column = other.column(other_column_name or "")
        if other_column is not None:
            yield ForeignKey(table.name, column.name, other.name, other_column.name)


def _reason(error: Exception) -> str:
    """An error of SQLite as a reason why the query has no result."""
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text:
        return "the query takes too much memory"
    if isinstance(error, sqlite3.DatabaseError) and ("prohibited" in text or "authorized" in text):
        return f"the query may not be run: {text}"
    if "locked" in text or "busy" in text:
        return "the database is locked by another process; try again when that one is done"
    if "too big" in text:
        return "the query makes a value that is too long"
    return f"the query fails: {text[:200]}"
