"""How much a predicted query equals the gold query: exactly, and by its parts.

All compare queries after `canonical`: parsed, with every column qualified and tables named
alike, so that spelling, letter case and the names given by AS do not matter.

- **exact**: the queries are equal.
- **normalized**: equal after sorting what has no order: operands of AND, OR, =, <>, + and *, the
  values of IN; and after turning > into <.
- **parts** (`components`): F1 of the multisets of what each clause contains.
- **set match**: that of Spider (Yu et al. 2018, "Spider", section 5), as its published script computes
  it: values, DISTINCT and join conditions are ignored, and the conditions of WHERE are a set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unrolled.sql.parsing import QueryError, library
from unrolled.sql.schema import Schema
from unrolled.sql.target import to_tokens, to_tree

if TYPE_CHECKING:
    from sqlglot import exp

CLAUSES = ("select", "from", "where", "group", "having", "order")

Parts = Mapping[str, Counter[str]]
"""By clause: what it contains, as a multiset."""


@dataclass(frozen=True)
class Forms:
    """What is compared of a query; two queries match if their forms are equal.

    Args:
        exact: the query as text.
        normalized: the same, with what has no order sorted.
        sets: its parts as sets, by Spider's definition; see `is_set_match`.
        parts: what each clause contains.
        parts_without_values: the same, with all values equal.
    """

    exact: str
    normalized: str
    sets: Hashable
    parts: Parts
    parts_without_values: Parts


def forms(query: exp.Query, schema: Schema) -> Forms:
    """All that is compared of a canonical query, to be computed once.

    Raises:
        QueryError: it is nested too deeply.
    """
    try:
        return Forms(
            exact=query.sql(dialect="sqlite"),
            normalized=_normalized(query),
            sets=_as_sets(query, _linked(schema)),
            parts=_parts(query, with_values=True),
            parts_without_values=_parts(query, with_values=False),
        )
    except RecursionError:
        raise QueryError("the query is nested too deeply") from None


def canonical(query: str, schema: Schema, dialect: str = "sqlite") -> exp.Query:
    """The tree of a query with all names in their one form.

    Raises:
        QueryError: it is not one SELECT, or names what does not exist.
    """
    try:
        return to_tree(to_tokens(query, schema, dialect), schema)
    except RecursionError:
        raise QueryError("the query is nested too deeply") from None


def is_exact(gold: exp.Query, predicted: exp.Query) -> bool:
    """Whether two canonical queries are equal."""
    return gold.sql(dialect="sqlite") == predicted.sql(dialect="sqlite")


def is_normalized_match(gold: exp.Query, predicted: exp.Query) -> bool:
    """Whether two canonical queries are equal when what has no order is sorted."""
    return _normalized(gold) == _normalized(predicted)


def _normalized(query: exp.Query) -> str:
    return _sorted(_in_one_direction(query))


def _in_one_direction(query: exp.Query) -> Any:
    """A copy in which > is < and the values of IN are sorted."""
    kinds = library().exp

    def sort(node: Any) -> Any:
        if isinstance(node, (kinds.GT, kinds.GTE)):
            other = kinds.LT if isinstance(node, kinds.GT) else kinds.LTE
            return other(this=node.expression, expression=node.this)
        if isinstance(node, kinds.In) and node.expressions:
            node.set("expressions", sorted(node.expressions, key=_text))
        return node

    return query.transform(sort)


def _sorted(node: Any) -> str:
    """A node as text, with the operands of commutative operators sorted."""
    kinds = library().exp
    commutative = (kinds.And, kinds.Or, kinds.EQ, kinds.NEQ, kinds.Add, kinds.Mul)
    if isinstance(node, kinds.Paren):
        return _sorted(node.this)
    if isinstance(node, commutative):
        chained = isinstance(node, (kinds.And, kinds.Or, kinds.Add, kinds.Mul))
        operands = _operands(node, type(node)) if chained else [node.this, node.expression]
        return f"({node.key} {' '.join(sorted(map(_sorted, operands)))})"
    parts = []
    for name, value in sorted(node.args.items()):
        children = value if isinstance(value, list) else [value]
        texts = [_sorted(each) if isinstance(each, kinds.Expr) else str(each) for each in children]
        if any(each not in (None, False, []) for each in children):
            parts.append(f"{name}=[{' '.join(texts)}]")
    return f"({node.key} {' '.join(parts)})"


def _operands(node: Any, kind: Any) -> list[Any]:
    """The operands of a chain of one operator."""
    kinds = library().exp
    inner: Any = node.unnest() if isinstance(node, kinds.Paren) else node
    if type(inner) is kind:
        return [*_operands(inner.this, kind), *_operands(inner.expression, kind)]
    return [inner]


def _text(node: Any) -> str:
    return str(node.sql(dialect="sqlite"))


def components(
    gold: exp.Query, predicted: exp.Query | None, with_values: bool = True
) -> Mapping[str, tuple[int, int, int]]:
    """What two queries have in common, clause by clause.

    Args:
        gold: the canonical query that is right.
        predicted: the canonical query to judge; None if there is none.
        with_values: whether values must agree.

    Returns:
        By clause: the number of parts in both, in the gold query, and in the predicted one.
    """
    theirs = {} if predicted is None else _parts(predicted, with_values)
    return in_common(_parts(gold, with_values), theirs)


def in_common(gold: Parts, predicted: Parts) -> dict[str, tuple[int, int, int]]:
    """By clause: the number of parts in both queries, in the gold query, and in the predicted one."""
    nothing: Counter[str] = Counter()
    counts = {}
    for clause in CLAUSES:
        ours, theirs = gold.get(clause, nothing), predicted.get(clause, nothing)
        counts[clause] = ((ours & theirs).total(), ours.total(), theirs.total())
    return counts


def _parts(query: exp.Query, with_values: bool) -> dict[str, Counter[str]]:
    """The parts of the outermost SELECT, or of both sides of a UNION."""
    kinds = library().exp
    tree = _in_one_direction(query if with_values else _without_values(query))
    parts: dict[str, Counter[str]] = {clause: Counter() for clause in CLAUSES}
    for select in _outer_selects(tree):
        parts["select"].update(map(_sorted, select.expressions))
        parts["from"].update(_sorted(join.this) for join in select.args.get("joins") or ())
        if (from_ := select.args.get("from_")) is not None:
            parts["from"].update([_sorted(from_.this)])
        for clause in ("where", "having"):
            if (condition := select.args.get(clause)) is not None:
                parts[clause].update(map(_sorted, _operands(condition.this, kinds.And)))
        if (group := select.args.get("group")) is not None:
            parts["group"].update(map(_sorted, group.expressions))
    for node in (tree, *_outer_selects(tree)):
        if (order := node.args.get("order")) is not None:
            parts["order"].update(
                f"{i} {_sorted(each)}" for i, each in enumerate(order.expressions)
            )
        if (limit := node.args.get("limit")) is not None:
            parts["order"].update([_sorted(limit)])
        if not isinstance(node, kinds.SetOperation):
            break
    return parts


def _outer_selects(tree: Any) -> Iterator[Any]:
    kinds = library().exp
    node = tree.unnest() if isinstance(tree, (kinds.Subquery, kinds.Paren)) else tree
    if isinstance(node, kinds.SetOperation):
        yield from _outer_selects(node.left)
        yield from _outer_selects(node.right)
    else:
        yield node


def _without_values(query: exp.Query) -> Any:
    kinds = library().exp

    def hide(node: Any) -> Any:
        return kinds.Placeholder() if isinstance(node, kinds.Literal) else node

    return query.transform(hide)


def is_set_match(gold: exp.Query, predicted: exp.Query, schema: Schema) -> bool:
    """Whether two canonical queries match as sets of their parts, by Spider's definition.

    Values and DISTINCT are ignored, and of LIMIT only whether it is there counts; conditions are a set,
    and AND and OR a set of words; columns that a foreign key links are one; tables are compared without
    the conditions of their joins, and columns of GROUP BY by name alone.
    """
    links = _linked(schema)
    return _as_sets(gold, links) == _as_sets(predicted, links)


def _linked(schema: Schema) -> dict[tuple[str, str], str]:
    """For each column that a foreign key links: the name of its class."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def find(column: tuple[str, str]) -> tuple[str, str]:
        while parent.get(column, column) != column:
            column = parent[column]
        return column

    for key in schema.foreign_keys:
        one = find((key.table.casefold(), key.column.casefold()))
        other = find((key.other_table.casefold(), key.other_column.casefold()))
        parent.setdefault(one, one)
        parent[max(one, other)] = parent.setdefault(min(one, other), min(one, other))
    return {column: ".".join(find(column)) for column in parent}


def _as_sets(query: Any, links: Mapping[tuple[str, str], str]) -> Hashable:
    kinds = library().exp
    node = query.unnest() if isinstance(query, (kinds.Subquery, kinds.Paren)) else query
    if isinstance(node, kinds.SetOperation):
        sides = (_as_sets(node.left, links), _as_sets(node.right, links))
        return (node.key, sides, _order_of(node, links))
    names = _tables_by_name(node)

    def column(each: Any) -> str:
        table = names.get(each.table.casefold(), each.table.casefold())
        return links.get((table, each.name.casefold()), f"{table}.{each.name.casefold()}")

    def unit(each: Any) -> Hashable:
        """An expression, with its columns in their classes and its values left out."""
        if isinstance(each, kinds.Column):
            return column(each)
        if isinstance(each, kinds.Literal):
            return "value"
        if isinstance(each, (kinds.Select, kinds.Subquery, kinds.SetOperation)):
            return _as_sets(each, links)
        if isinstance(each, (kinds.Paren, kinds.Alias, kinds.Neg)):
            return unit(each.this)
        if isinstance(each, kinds.Distinct) and len(each.expressions) == 1:
            return unit(each.expressions[0])
        children = [unit(child) for child in each.iter_expressions()]
        if isinstance(each, kinds.In) and each.expressions:
            children = [unit(each.this), "value"]
        return (each.key, *children)

    where, where_words = _conditions(node.args.get("where"), unit)
    having, having_words = _conditions(node.args.get("having"), unit)
    group = node.args.get("group")
    derived = [each for each in _from_nodes(node) if isinstance(each, kinds.Subquery)]
    return (
        frozenset(Counter(map(unit, node.expressions)).items()),
        tuple(sorted(names.values())),
        tuple(_as_sets(each, links) for each in derived),
        (where, where_words),
        (having, having_words),
        frozenset(each.name.casefold() for each in group.expressions) if group else frozenset(),
        _order_of(node, links, unit),
    )


def _order_of(node: Any, links: Mapping[tuple[str, str], str], unit: Any = _text) -> Hashable:
    order = node.args.get("order")
    keys = (
        [(unit(each.this), bool(each.args.get("desc"))) for each in order.expressions]
        if order
        else []
    )
    return (tuple(keys), node.args.get("limit") is not None)


def _conditions(clause: Any, unit: Any) -> tuple[Hashable, frozenset[str]]:
    """The conditions of WHERE or HAVING as a multiset, and the words that join them."""
    kinds = library().exp
    words: set[str] = set()
    found: list[Hashable] = []

    def visit(node: Any) -> None:
        inner = node.unnest() if isinstance(node, kinds.Paren) else node
        if isinstance(inner, (kinds.And, kinds.Or)):
            words.add(inner.key)
            visit(inner.this)
            visit(inner.expression)
        else:
            found.append(unit(inner))

    if clause is not None:
        visit(clause.this)
    return frozenset(Counter(found).items()), frozenset(words)


def _from_nodes(select: Any) -> list[Any]:
    from_ = select.args.get("from_")
    first = [] if from_ is None else [from_.this]
    return [*first, *(join.this for join in select.args.get("joins") or ())]


def _tables_by_name(select: Any) -> dict[str, str]:
    """By the name of a table in FROM: the table."""
    kinds = library().exp
    return {
        each.alias_or_name.casefold(): each.name.casefold()
        for each in _from_nodes(select)
        if isinstance(each, kinds.Table)
    }
