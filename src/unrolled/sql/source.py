"""What a question is asked of: the schema of a database, its values, and the database itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from unrolled.errors import DataError
from unrolled.sql.database import Database
from unrolled.sql.parsing import QueryError
from unrolled.sql.schema import Schema
from unrolled.sql.schema_files import is_schema_file, read_schema
from unrolled.sql.target import to_tokens
from unrolled.sql.tokens import Token
from unrolled.sql.values import ValueIndex

_MOST_CACHED = 200


@dataclass(eq=False)
class Source:
    """A database, or the description of one.

    Args:
        path: its file.
        schema: its schema.
        values: its values; empty for a description.
        database: the open file; None for a description.
    """

    path: Path
    schema: Schema
    values: ValueIndex
    database: Database | None
    _tokens: dict[str, list[Token] | str] = field(default_factory=dict, repr=False)

    def tokens(self, query: str) -> list[Token]:
        """The tokens of a query, as of `target.to_tokens`, which is called once for each query.

        Raises:
            QueryError: the query cannot be written as tokens of this schema.
        """
        found = self._tokens.get(query)
        if found is None:
            try:
                found = to_tokens(query, self.schema)
            except QueryError as error:
                found = str(error)
            self._tokens[query] = found
        if isinstance(found, str):
            raise QueryError(found)
        return found


def open_source(path: Path | str) -> Source:
    """The source in a file; opened once in a thread, and again if the file has changed.

    Raises:
        DataError: the file is missing, or neither a database nor the description of one.
    """
    file = Path(path)
    try:
        state = file.stat()
    except (OSError, ValueError):  # ValueError: a NUL character in the name
        raise DataError("no such file; give the file of an SQLite database", file) from None
    return _opened(str(file), state.st_size, state.st_mtime_ns, threading.get_ident())


@lru_cache(maxsize=_MOST_CACHED)
def _opened(path: str, size: int, changed: int, thread: int) -> Source:
    file = Path(path)
    if is_schema_file(file):
        return Source(file, read_schema(file), ValueIndex(), None)
    database = Database(file)
    return Source(file, database.schema, ValueIndex.of(database), database)
