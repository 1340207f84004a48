"""Divide a query into lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unrolled.sql.parsing import library

_JOIN_WORDS = frozenset({"NATURAL", "LEFT", "RIGHT", "FULL", "INNER", "OUTER", "CROSS", "JOIN"})
_CLAUSES = _JOIN_WORDS | {
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP_BY",
    "HAVING",
    "ORDER_BY",
    "LIMIT",
    "UNION",
    "INTERSECT",
    "EXCEPT",
}
_INDENT = "  "


def clause_lines(query: str, width: int = 80) -> list[str]:
    """A query with a line for each clause; a clause that is too long is broken, if it can be.

    Without their indents and joined by spaces, the lines are the query. What is not SQL is one line.

    Args:
        query: the query.
        width: width of a line, in characters; a line is broken before AND, OR and subqueries, between
            the clauses of subqueries, and after commas.

    >>> clause_lines("SELECT name, price FROM product WHERE price > 5 AND stock = 1", 24)
    ['SELECT name, price', 'FROM product', 'WHERE price > 5', '  AND stock = 1']
    """
    sqlglot = library()
    try:
        tokens = sqlglot.tokenize(query, read="sqlite")
    except sqlglot.errors.SqlglotError:
        return [query]
    lines: list[str] = []
    for clause in _clauses(query, tokens):
        line = ""
        for part, depth in clause:
            if line and len(line) + 1 + len(part) > width:
                lines.append(line)
                line = _INDENT * (1 + depth) + part
            else:
                line = f"{line} {part}" if line else part
        lines.append(line)
    return lines


_Part = tuple[str, int]
"""Words that are not divided, and how deep in parentheses they stand."""


def _clauses(query: str, tokens: list[Any]) -> Iterator[list[_Part]]:
    """The clauses, each as parts between which a line can be broken."""
    kinds = [token.token_type.name for token in tokens]
    parts: list[_Part] = []
    start = depth = depth_of_part = 0
    is_between = False
    for index, kind in enumerate(kinds):
        last = kinds[index - 1] if index else ""
        begins = kind in _CLAUSES and last != "L_PAREN" and not {kind, last} <= _JOIN_WORDS
        if (
            begins
            or last == "COMMA"
            or (kind in ("AND", "OR") and not is_between)
            or kinds[index : index + 2] == ["L_PAREN", "SELECT"]
        ):
            if part := query[start : tokens[index].start].strip():
                parts.append((part, depth_of_part))
            start, depth_of_part = tokens[index].start, depth
        if begins and depth == 0 and parts:
            yield parts
            parts = []
        is_between = kind == "BETWEEN" or (is_between and kind != "AND")
        depth += (kind == "L_PAREN") - (kind == "R_PAREN")
    if part := query[start:].strip():
        parts.append((part, depth_of_part))
    if parts:
        yield parts
