"""Rewrite SQL that tokens do not have into SQL that they have, with the same result.

WITH becomes subqueries in FROM, USING and NATURAL become ON, the ORDER BY of a UNION names a position,
joins in parentheses at the start of FROM lose these, CROSS JOIN becomes a comma, and types lose their
length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unrolled.quoting import quote
from unrolled.sql.parsing import QueryError, library
from unrolled.sql.schema import Schema

if TYPE_CHECKING:
    from sqlglot import exp

_MOST_COPIES = 50


def rewritten(tree: exp.Query, schema: Schema) -> exp.Query:
    """A query without what tokens do not have; the tree is changed.

    Raises:
        QueryError: it cannot be rewritten: WITH is recursive, or USING and NATURAL merge columns of `*`
            or of an outer join.
    """
    kinds = library().exp
    root = kinds.Paren(this=tree)
    _inline(root, {}, [0])
    for select in list(root.find_all(kinds.Select)):
        _open_parentheses(select)
        plain_joins(select)
        _join_by_on(select, schema)
    for union in list(root.find_all(kinds.SetOperation)):
        _order_by_position(union)
    for cast in list(root.find_all(kinds.Cast)):
        if cast.to.expressions:  # SQLite ignores the length of VARCHAR(10)
            cast.to.set("expressions", None)
    result: exp.Query = root.this
    return result


def _inline(node: Any, known: Mapping[str, Any], n_copies: list[int]) -> None:
    """Put the queries that WITH names where their names stand in FROM."""
    kinds = library().exp
    with_ = node.args.get("with_") if isinstance(node, kinds.Query) else None
    if with_ is not None:
        node.set("with_", None)
        names = dict(known)
        for table in with_.expressions:
            name, body = table.alias.casefold(), table.this
            if any(each.name.casefold() == name for each in body.find_all(kinds.Table)):
                raise QueryError(
                    f"WITH is recursive ({quote(table.alias)}), which is not supported"
                )
            _inline(kinds.Paren(this=body), names, n_copies)
            _name_outputs(body, [each.name for each in table.args["alias"].columns])
            names[name] = body
        known = names
    for child in list(node.iter_expressions()):
        body = known.get(child.name.casefold()) if isinstance(child, kinds.Table) else None
        if body is None or child.args.get("db"):
            _inline(child, known, n_copies)
            continue
        n_copies[0] += 1 + sum(1 for _ in body.find_all(kinds.Subquery))
        if n_copies[0] > _MOST_COPIES:
            raise QueryError(
                f"WITH stands for more than {_MOST_COPIES} subqueries, which is too many"
            )
        alias = kinds.TableAlias(this=kinds.to_identifier(child.alias_or_name, quoted=True))
        joins = child.args.get("joins")
        child.replace(kinds.Subquery(this=body.copy(), alias=alias, joins=joins))
        for join in joins or ():
            _inline(join, known, n_copies)


def _name_outputs(body: Any, names: Sequence[str]) -> None:
    """Give the columns of a query the names in `WITH x(a, b) AS …`."""
    kinds = library().exp
    if not names:
        return
    select = _first_select(body)
    if len(names) != len(select.selects):
        raise QueryError("WITH names another number of columns than its query has")
    for output, name in zip(list(select.selects), names, strict=True):
        value = output.this if isinstance(output, kinds.Alias) else output
        alias = kinds.Alias(this=value.copy(), alias=kinds.to_identifier(name, quoted=True))
        output.replace(alias)


def _first_select(query: Any) -> Any:
    while hasattr(query, "left"):
        query = query.left
    return query.unnest()


def output_names(query: exp.Expr) -> tuple[str, ...]:
    """Names of the columns that a query returns: those of the first SELECT of a UNION."""
    return tuple(each.alias_or_name for each in _first_select(query).selects)


def _open_parentheses(select: Any) -> None:
    """Write FROM (a JOIN b ON …) JOIN c as FROM a JOIN b ON … JOIN c."""
    kinds = library().exp
    from_ = select.args.get("from_")
    while from_ is not None:
        outer = from_.this
        if not isinstance(outer, kinds.Subquery) or not isinstance(outer.this, kinds.Table):
            return
        if outer.alias:
            return
        inner = outer.this
        joins = [*(inner.args.get("joins") or ()), *(outer.args.get("joins") or ())]
        inner.set("joins", joins or None)
        from_.set("this", inner)


def plain_joins(select: exp.Select) -> None:
    """Write joins as those of the SELECT, and CROSS JOIN, which joins as a comma does, as a comma."""
    joins: list[exp.Join] = []
    from_ = select.args.get("from_")
    nodes = [] if from_ is None else [from_.this]
    nodes += [join.this for join in select.args.get("joins") or ()]
    for index, node in enumerate(nodes):
        if index:
            joins.append(select.args["joins"][index - 1])
        joins += node.args.pop("joins", None) or ()
    for join in joins:
        if join.kind == "CROSS" and not join.args.get("on"):
            join.set("kind", None)
    select.set("joins", joins or None)


def _join_by_on(select: Any, schema: Schema) -> None:
    """Write USING and NATURAL as conditions of ON."""
    kinds = library().exp
    from_ = select.args.get("from_")
    before = [] if from_ is None else [from_.this]
    for join in select.args.get("joins") or ():
        names = [each.name for each in join.args.get("using") or ()]
        if join.method == "NATURAL":
            there = {name.casefold() for each in before for name in _columns(each, schema)}
            names = [name for name in _columns(join.this, schema) if name.casefold() in there]
        if join.method == "NATURAL" or names:
            if any(isinstance(each, kinds.Star) for each in select.selects):
                raise QueryError(
                    "SELECT * with USING or NATURAL is not supported; name the columns"
                )
            if join.side in ("RIGHT", "FULL"):
                raise QueryError(f"{join.side} JOIN with USING or NATURAL is not supported; use ON")
            join.set("using", None)
            join.set("method", None)
            tests = [
                kinds.EQ(this=_column(each, before, schema), expression=_of(join.this, each))
                for each in names
            ]
            if tests:
                join.set("on", kinds.and_(*tests))
        before.append(join.this)


def _column(name: str, sources: Sequence[Any], schema: Schema) -> Any:
    for source in sources:
        if name.casefold() in (each.casefold() for each in _columns(source, schema)):
            return _of(source, name)
    raise QueryError(f"no table in FROM has a column {quote(name)}")


def _of(source: Any, name: str) -> Any:
    return library().exp.column(name, source.alias_or_name, quoted=True)


def _columns(source: Any, schema: Schema) -> Iterator[str]:
    table = schema.table(source.name) if isinstance(source, library().exp.Table) else None
    if table is not None:
        yield from (column.name for column in table.columns)
    elif isinstance(source, library().exp.Subquery):
        yield from output_names(source.this)


def _order_by_position(union: Any) -> None:
    """Write ORDER BY the name of a column of a UNION as its position."""
    kinds = library().exp
    order = union.args.get("order")
    if order is None:
        return
    names = [name.casefold() for name in output_names(union)]
    for ordered in order.expressions:
        column = ordered.this
        if not isinstance(column, kinds.Column):
            continue
        if column.name.casefold() not in names:
            raise QueryError(
                f"ORDER BY after a UNION must name a column of its first SELECT; it has no "
                f"{quote(column.name)}"
            )
        column.replace(kinds.Literal.number(names.index(column.name.casefold()) + 1))
