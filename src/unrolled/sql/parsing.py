"""Queries as trees of `sqlglot`, which is imported only when a query is parsed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from unrolled.errors import ConfigError, UnrolledError, missing_package
from unrolled.quoting import quote

if TYPE_CHECKING:
    from sqlglot import exp

LONGEST_QUERY = 20_000
"""Maximum characters of a query."""


class QueryError(UnrolledError):
    """A query was refused, failed, or exceeded a limit; the message says which."""


@cache
def library() -> Any:
    """The module `sqlglot`.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        import logging

        import sqlglot
    except ImportError:
        raise missing_package("SQL", "sqlglot", "sql") from None
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    return sqlglot


def parse_select(query: str, dialect: str = "sqlite") -> exp.Query:
    """Parse one SELECT, with or without WITH, or a UNION, INTERSECT or EXCEPT of several.

    Args:
        query: the query.
        dialect: a dialect of sqlglot. In "mysql", a text in double quotes is a string; in "sqlite" it is
            a name.

    Raises:
        QueryError: it cannot be parsed, or it is anything else.
        UnavailableError: sqlglot is not installed.
    """
    sqlglot = library()
    if len(query) > LONGEST_QUERY:
        raise QueryError(f"the query is longer than {LONGEST_QUERY:,} characters")
    if "\0" in query:
        raise QueryError("the query contains a NUL character")
    try:
        statements = [tree for tree in sqlglot.parse(query, read=dialect) if tree is not None]
    except sqlglot.errors.SqlglotError as error:
        raise QueryError(f"the query is not SQL: {_first_line(error)}") from None
    except RecursionError:
        raise QueryError("the query is nested too deeply") from None
    if len(statements) != 1:
        found = "no statement" if not statements else f"{len(statements)} statements"
        raise QueryError(f"expected one SELECT, found {found}")
    (tree,) = statements
    if not isinstance(tree, sqlglot.exp.Query) or isinstance(tree, sqlglot.exp.Table):
        raise QueryError(f"expected a SELECT, found {quote(_first_word(query))}")
    for node in tree.walk():
        if isinstance(
            node, (sqlglot.exp.DML, sqlglot.exp.DDL, sqlglot.exp.Into)
        ) and not isinstance(node, sqlglot.exp.Query):
            raise QueryError(f"a query may only read; found {quote(node.key.upper())}")
    return tree


def check_dialect(dialect: str) -> None:
    """Check the name of a dialect.

    Raises:
        ConfigError: sqlglot does not know it.
        UnavailableError: sqlglot is not installed.
    """
    sqlglot = library()
    try:
        sqlglot.Dialect.get_or_raise(dialect)
    except ValueError:
        raise ConfigError(
            f"data.dialect: sqlglot has no dialect {quote(dialect)}; use one such as sqlite, mysql or "
            "postgres"
        ) from None


def _first_word(query: str) -> str:
    return query.split(maxsplit=1)[0][:20].upper()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200].rstrip(".")
