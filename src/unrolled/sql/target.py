"""Queries as sequences of tokens for a decoder, and back.

A target begins with FROM, so that the tables are known before a column is named. It has one token for a
table and one for a qualified column; text values are written word by word, so that their words can be
copied. A table has a number only where a query needs it twice in one place:

    SELECT c.name FROM city AS c WHERE c.population = (SELECT MAX(d.population) FROM city AS d)
    FROM city SELECT city.name WHERE city.population = ( FROM city SELECT MAX ( city.population ) )
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from unrolled.sql.names import with_names, with_placeholders
from unrolled.sql.parsing import library, parse_select
from unrolled.sql.rewriting import plain_joins, rewritten
from unrolled.sql.schema import Schema
from unrolled.sql.tokens import Token, read_tokens, text_of

if TYPE_CHECKING:
    from sqlglot import exp


def to_tokens(query: str | exp.Query, schema: Schema, dialect: str = "sqlite") -> list[Token]:
    """The tokens of a query.

    Args:
        query: the query, or its tree.
        schema: schema of its database.
        dialect: the dialect of sqlglot it is written in; see `parse_select`.

    Raises:
        QueryError: it is not one SELECT, or names what does not exist.
    """
    tree = parse_select(query, dialect) if isinstance(query, str) else query.copy()
    renamed = with_placeholders(rewritten(tree, schema), schema)
    return list(read_tokens(_from_first(renamed)))


def to_tree(tokens: Sequence[Token], schema: Schema) -> exp.Query:
    """The query that tokens stand for, with every column qualified.

    A table without a number keeps its name; others are called `<name>_2` and so on.

    Raises:
        QueryError: the tokens are not a query, or name what is not in scope.
    """
    tree = parse_select(text_of(tokens))
    for select in list(tree.find_all(library().exp.Select)):
        plain_joins(select)
    return with_names(tree, schema)


def to_sql(tokens: Sequence[Token], schema: Schema) -> str:
    """The query that tokens stand for, in SQLite's dialect; see `to_tree`."""
    return render(to_tree(tokens, schema))


def render(tree: exp.Query) -> str:
    """The text of a tree in SQLite's dialect."""
    return str(_generators()[0].generate(tree))


def _from_first(tree: exp.Query) -> str:
    """The text of a tree, with FROM before SELECT."""
    return str(_generators()[1].generate(tree))


@cache
def _generators() -> tuple[Any, Any]:
    from sqlglot.dialects.sqlite import SQLite

    kinds = library().exp

    class Plain(SQLite.Generator):  # type: ignore[misc, valid-type]
        """Write NOT where people do: `x NOT IN (…)`, `x IS NOT NULL`."""

        def not_sql(self, expression: Any) -> str:
            inner = expression.this
            if isinstance(inner, kinds.Is) and isinstance(inner.expression, kinds.Null):
                return f"{self.sql(inner, 'this')} IS NOT NULL"
            if isinstance(inner, (kinds.In, kinds.Between)):
                before = self.sql(inner, "this")
                return f"{before} NOT {self.sql(inner)[len(before) + 1 :]}"
            return str(super().not_sql(expression))

    class FromFirst(Plain):
        """Write FROM and its joins before SELECT, as DuckDB allows and as sqlglot reads."""

        def select_sql(self, expression: Any) -> str:
            rest = expression.copy()
            parts = [rest.args.pop("from_", None), *(rest.args.pop("joins", None) or ())]
            before = "".join(self.sql(part) for part in parts if part is not None).strip()
            after = super().select_sql(rest).strip()
            return f"{before} {after}" if before else after

    options = {"dialect": "sqlite", "comments": False, "normalize_functions": "upper"}
    return Plain(**options), FromFirst(**options)
