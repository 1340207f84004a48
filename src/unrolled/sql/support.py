"""Which SQL a decoder can write, and why it cannot write the rest.

The grammar of `unrolled.sql.syntax` is the definition; here the reasons are put into words, for rows of
training data that are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from unrolled.quoting import quote
from unrolled.sql.parsing import QueryError, library
from unrolled.sql.syntax import is_keyword
from unrolled.sql.tokens import Token

if TYPE_CHECKING:
    from sqlglot import exp

_REASONS = {
    "All Any": "SQLite has no ALL and ANY; compare with (SELECT MAX(…)) or (SELECT MIN(…))",
    "Window": "window functions (OVER) are not supported",
    "Filter": "FILTER is not supported; use CASE in the aggregate",
    "Collate": "COLLATE is not supported",
    "Glob RegexpLike Match": "GLOB, REGEXP and MATCH are not supported; use LIKE",
    "BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitwiseLeftShift BitwiseRightShift": (
        "operators on bits (&, |, ~, <<, >>) are not supported"
    ),
    "Tuple": "lists of columns in parentheses, such as (a, b) IN (…), are not supported",
    "Placeholder Parameter": "the query has a parameter; write the value",
    "HexString ByteString": "values of bytes (x'…') are not supported",
    "Extract": "SQLite has no EXTRACT; use STRFTIME",
}
_TYPE_NAMES = """
BIGINT CHAR DOUBLE FLOAT INT MEDIUMINT NCHAR NVARCHAR SMALLINT TEXT TINYINT VARCHAR
"""
_TYPES = frozenset(_TYPE_NAMES.split())
_CONDITIONS = "And Or Not In Between Like Is Exists"


def check_tree(tree: exp.Query) -> None:
    """Check that a query only has what a decoder can write, as far as its tree shows it.

    Raises:
        QueryError: it has anything else.
    """
    reasons, kinds = _reasons(), library().exp
    for node in tree.walk():
        reason = reasons.get(type(node))
        if reason is not None and (problem := reason(node)):
            raise QueryError(problem)
        if isinstance(node, kinds.SetOperation):
            _check_parts(node)
        elif isinstance(node, kinds.Select):
            _check_outputs(node)


def check_tokens(tokens: Sequence[Token]) -> None:
    """Check that the keywords of a query are those that a decoder can write.

    Raises:
        QueryError: one is not.
    """
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        if isinstance(token, str) and not is_keyword(token):
            what = "the function " if after == "(" else ""
            raise QueryError(f"{what}{quote(token)} is not supported")


@cache
def _reasons() -> dict[type, Callable[[Any], str]]:
    kinds = library().exp
    reasons: dict[type, Callable[[Any], str]] = {}
    for names, reason in _REASONS.items():
        for name in names.split():
            reasons[getattr(kinds, name)] = partial(_always, reason)
    reasons[kinds.Null] = _about_null
    reasons[kinds.Cast] = _about_cast
    reasons[kinds.Limit] = reasons[kinds.Offset] = _about_limit
    reasons[kinds.Distinct] = _about_distinct
    return reasons


def _always(reason: str, _: Any) -> str:
    return reason


def _about_null(node: Any) -> str:
    kinds = library().exp
    around = node.parent
    if isinstance(around, (kinds.Is, kinds.If, kinds.Case, kinds.Func)):
        return ""
    return "NULL can only stand after IS, THEN and ELSE, and in the arguments of functions"


def _about_cast(node: Any) -> str:
    name = node.to.this.name
    if name in _TYPES:
        return ""
    return f"CAST to {name} is not supported; use INTEGER, REAL or TEXT"


def _about_limit(node: Any) -> str:
    is_number = isinstance(node.expression, library().exp.Literal)
    return "" if is_number else "LIMIT and OFFSET need a number"


def _about_distinct(node: Any) -> str:
    if len(node.expressions) > 1 and not isinstance(node.parent, library().exp.Select):
        return "DISTINCT of several columns in an aggregate is not supported"
    return ""


def _check_parts(union: Any) -> None:
    for part in (union.left, union.right):
        if not isinstance(part, (library().exp.Select, library().exp.SetOperation)):
            raise QueryError("a UNION of queries in parentheses is not supported; remove these")
        if part.args.get("order") or part.args.get("limit"):
            raise QueryError("ORDER BY and LIMIT within a UNION are not supported")


def _check_outputs(select: Any) -> None:
    """SELECT may compare, but not combine conditions."""
    kinds = library().exp
    conditions = tuple(getattr(kinds, name) for name in _CONDITIONS.split())
    for output in select.selects:
        if isinstance(output.unalias(), conditions):
            raise QueryError(
                "a condition in SELECT is not supported; use CASE WHEN … THEN 1 ELSE 0 END"
            )
