"""Replace the names of tables and columns in a query by placeholders, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unrolled.quoting import quote
from unrolled.sql.parsing import QueryError, library
from unrolled.sql.rewriting import output_names
from unrolled.sql.schema import Schema
from unrolled.sql.tokens import ALIAS, COLUMN, OUTPUT, PLACEHOLDER

if TYPE_CHECKING:
    from sqlglot import exp


@dataclass
class _Source:
    """A table or a subquery in FROM."""

    name: str
    table: int | None
    outputs: tuple[str, ...] = ()
    placeholder: str = ""
    users: list[_Scope] = field(default_factory=list)


@dataclass
class _Scope:
    """A SELECT: its sources by name, and what it stands in."""

    select: exp.Select
    outer: _Scope | None
    sources: dict[str, _Source] = field(default_factory=dict)

    def chain(self) -> Iterator[_Scope]:
        """This scope and those around it."""
        scope: _Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer


def _selects(node: exp.Expr) -> Iterator[exp.Select]:
    """The SELECTs directly below a node, without those inside them."""
    kinds = library().exp
    for child in node.iter_expressions():
        if isinstance(child, kinds.Select):
            yield child
        else:
            yield from _selects(child)


def _own_nodes(node: exp.Expr) -> Iterator[exp.Expr]:
    """All nodes below a SELECT that do not belong to a SELECT inside it."""
    kinds = library().exp
    for child in node.iter_expressions():
        if not isinstance(child, kinds.Select):
            yield child
            yield from _own_nodes(child)


def _sources_of(select: exp.Select) -> Iterator[exp.Expr]:
    """The tables and subqueries in FROM, in their order."""
    kinds = library().exp
    from_ = select.args.get("from_")
    nodes = [] if from_ is None else [from_.this]
    for node in [*nodes, *(join.this for join in select.args.get("joins") or ())]:
        is_table = isinstance(node, kinds.Table) and isinstance(node.this, kinds.Identifier)
        if not is_table and not isinstance(node, kinds.Subquery):
            raise QueryError(f"FROM needs tables or subqueries, found {quote(node.sql()[:60])}")
        yield node


class _Renaming:
    """Replace names of tables and columns by placeholders that need no quotes: t0x1.c2, d0.o1, a0."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.aliases: dict[str, str] = {}
        self.n_derived = 0
        self.scopes: list[_Scope] = []
        self.uses: list[tuple[exp.Column, _Source, int]] = []
        self.alias_uses: list[exp.Column] = []

    def collect(self, select: exp.Select, outer: _Scope | None) -> None:
        """Find the sources of a SELECT and of all inside it, and what each column refers to."""
        kinds = library().exp
        scope = _Scope(select, outer)
        derived = []
        for node in _sources_of(select):
            if isinstance(node, kinds.Table):
                index = self._table(node.name)
                source = _Source(node.alias_or_name, index)
            else:
                derived.append(node)
                source = _Source(node.alias, None, output_names(node.this))
            key = source.name.casefold()
            if key in scope.sources:
                raise QueryError(
                    f"FROM has two tables called {quote(source.name)}; name one with AS"
                )
            scope.sources[key] = source
        self.scopes.append(scope)
        of_sources = {id(each) for node in derived for each in _selects(node)}
        for inner in list(_selects(select)):
            self.collect(inner, scope.outer if id(inner) in of_sources else scope)
        for node in list(_own_nodes(select)):
            if isinstance(node, kinds.Column) and not isinstance(node.this, kinds.Star):
                self._resolve(node, scope)
            elif isinstance(node, kinds.Column):
                self.uses.append((node, self._named(node.table, scope), -1))

    def _table(self, name: str) -> int:
        for index, table in enumerate(self.schema.tables):
            if table.name.casefold() == name.casefold():
                return index
        raise QueryError(f"there is no table {quote(name)}")

    def _named(self, name: str, scope: _Scope) -> _Source:
        for around in scope.chain():
            source = around.sources.get(name.casefold())
            if source is not None:
                source.users.append(scope)
                return source
        raise QueryError(f"no table in FROM is called {quote(name)}")

    def _position(self, source: _Source, name: str) -> int | None:
        if source.table is None:
            names: Sequence[str] = source.outputs
        else:
            names = [column.name for column in self.schema.tables[source.table].columns]
        matches = [i for i, each in enumerate(names) if each.casefold() == name.casefold()]
        return matches[0] if matches else None

    def _resolve(self, column: exp.Column, scope: _Scope) -> None:
        if column.table:
            source = self._named(column.table, scope)
            position = self._position(source, column.name)
            if position is None:
                raise QueryError(f"table {quote(column.table)} has no column {quote(column.name)}")
            self.uses.append((column, source, position))
            return
        outputs = {each.alias for each in scope.select.selects if each.alias}
        for around in scope.chain():
            for source in around.sources.values():
                position = self._position(source, column.name)
                if position is not None:
                    source.users.append(scope)
                    self.uses.append((column, source, position))
                    return
            if around is scope and column.name in outputs:  # ORDER BY the name given by AS
                self.alias_uses.append(column)
                return
        raise QueryError(f"no table in FROM has a column {quote(column.name)}")

    def name_sources(self) -> None:
        """Choose placeholders: an inner table hides an outer one unless that is used inside."""
        for scope in self.scopes:
            for source in scope.sources.values():
                if source.table is None:
                    source.placeholder = f"d{self.n_derived}"
                    self.n_derived += 1
                    continue
                taken = {each.placeholder for each in scope.sources.values()}
                for around in scope.chain():
                    if around is not scope:
                        taken |= {
                            each.placeholder
                            for each in around.sources.values()
                            if any(scope in user.chain() for user in each.users)
                        }
                instance = 1
                while f"t{source.table}x{instance}" in taken:
                    instance += 1
                source.placeholder = f"t{source.table}x{instance}"

    def rename(self) -> None:
        """Put the placeholders into the tree."""
        kinds = library().exp
        for column, source, position in self.uses:
            letter = "o" if source.table is None else "c"
            name = kinds.Star() if position < 0 else kinds.to_identifier(f"{letter}{position}")
            column.set("this", name)
            column.set("table", kinds.to_identifier(source.placeholder))
            for part in ("db", "catalog"):
                column.set(part, None)
        for column in self.alias_uses:
            column.set("this", kinds.to_identifier(self._alias(column.name)))
        for scope in self.scopes:
            for node, source in zip(_sources_of(scope.select), scope.sources.values(), strict=True):
                if isinstance(node, kinds.Table):
                    node.set("this", kinds.to_identifier(source.placeholder))
                    node.set("alias", None)
                    for part in ("db", "catalog"):
                        node.set(part, None)
                else:
                    node.set(
                        "alias", kinds.TableAlias(this=kinds.to_identifier(source.placeholder))
                    )
            for output in scope.select.selects:
                if isinstance(output, kinds.Alias):
                    output.set("alias", kinds.to_identifier(self._alias(output.alias)))

    def _alias(self, name: str) -> str:
        return self.aliases.setdefault(name.casefold(), f"a{len(self.aliases)}")


def with_placeholders(tree: exp.Query, schema: Schema) -> exp.Query:
    kinds = library().exp
    root = kinds.Paren(this=tree)
    renaming = _Renaming(schema)
    for select in list(_selects(root)):
        renaming.collect(select, None)
    renaming.name_sources()
    renaming.rename()
    result: exp.Query = root.this
    return result


def with_names(tree: exp.Query, schema: Schema) -> exp.Query:
    """Replace placeholders by names; check that all are in scope."""
    kinds = library().exp
    root = kinds.Paren(this=tree)
    outputs: dict[str, tuple[str, ...]] = {}
    _name_all(root, None, schema, outputs)
    result: exp.Query = root.this
    return result


_Visible = Mapping[str, tuple[str, int | None]]
"""By placeholder of a source: its name in the query, and the index of its table."""


def _name_all(
    node: exp.Expr,
    visible: _Visible | None,
    schema: Schema,
    outputs: dict[str, tuple[str, ...]],
) -> None:
    """Name what the SELECTs below a node contain."""
    for select in list(_selects(node)):
        _name_select(select, visible or {}, schema, outputs)


def _name_select(
    select: exp.Select, visible: _Visible, schema: Schema, outputs: dict[str, tuple[str, ...]]
) -> None:
    kinds = library().exp
    if not select.expressions:
        raise QueryError("a SELECT has no columns")
    own: dict[str, tuple[str, int | None]] = {}
    derived = []
    tables = []
    for node in list(_sources_of(select)):
        if isinstance(node, kinds.Subquery):
            derived.append(node)
            placeholder = node.alias
            own[placeholder] = (placeholder, None)
            _name_all(node, visible, schema, outputs)
            outputs[placeholder] = output_names(node.this)
            continue
        placeholder = node.name
        index, instance = _parsed(placeholder, schema)
        if placeholder in own:
            raise QueryError(f"FROM has table {quote(schema.tables[index].name)} twice")
        table = schema.tables[index].name
        own[placeholder] = (table if instance == 1 else f"{table}_{instance}", index)
        tables.append((node, placeholder))
    inside = {**visible, **own}
    done = {id(each) for node in derived for each in _selects(node)}
    for inner in list(_selects(select)):
        if id(inner) not in done:
            _name_select(inner, inside, schema, outputs)
    for node in list(_own_nodes(select)):
        if isinstance(node, kinds.Column):
            _name_column(node, inside, schema, outputs)
    for node, placeholder in tables:
        name, position = own[placeholder]
        assert position is not None
        table = schema.tables[position].name
        node.set("this", kinds.to_identifier(table, quoted=_needs_quotes(table)))
        if name != table:
            alias = kinds.to_identifier(name, quoted=_needs_quotes(name))
            node.set("alias", kinds.TableAlias(this=alias))


def _parsed(placeholder: str, schema: Schema) -> tuple[int, int]:
    match = PLACEHOLDER.match(placeholder)
    if match is None or int(match[1]) >= len(schema.tables):
        raise QueryError(f"there is no table {quote(placeholder)}")
    return int(match[1]), int(match[2])


def _name_column(
    column: exp.Column, visible: _Visible, schema: Schema, outputs: Mapping[str, tuple[str, ...]]
) -> None:
    kinds = library().exp
    if not column.table:
        if not ALIAS.match(column.name):
            raise QueryError(f"{quote(column.name)} is not a column of the schema")
        return
    found = visible.get(column.table)
    if found is None:
        raise QueryError(
            f"a column of {_named(column.table, schema)} is used, which is not in FROM"
        )
    name, index = found
    if isinstance(column.this, kinds.Star):
        pass
    elif index is None:
        match = OUTPUT.match(column.name)
        names = outputs.get(column.table, ())
        if match is None or int(match[1]) >= len(names):
            raise QueryError(f"subquery {quote(column.table)} has no such output")
        output = names[int(match[1])]
        column.set("this", kinds.to_identifier(output, quoted=_needs_quotes(output)))
    else:
        match = COLUMN.match(column.name)
        columns = schema.tables[index].columns
        if match is None or int(match[1]) >= len(columns):
            raise QueryError(f"table {quote(schema.tables[index].name)} has no such column")
        text = columns[int(match[1])].name
        column.set("this", kinds.to_identifier(text, quoted=_needs_quotes(text)))
    column.set("table", kinds.to_identifier(name, quoted=_needs_quotes(name)))


def _named(placeholder: str, schema: Schema) -> str:
    match = PLACEHOLDER.match(placeholder)
    if match is None or int(match[1]) >= len(schema.tables):
        return quote(placeholder)
    return f"table {quote(schema.tables[int(match[1])].name)}"


def _needs_quotes(name: str) -> bool:
    """Whether SQLite could read a name as anything but a name; then it is written in quotes."""
    is_plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None
    return not is_plain or name.upper() in _RESERVED


_KEYWORDS = """
ABORT ACTION ADD AFTER ALL ALTER ALWAYS ANALYZE AND AS ASC ATTACH AUTOINCREMENT BEFORE BEGIN BETWEEN
BY CASCADE CASE CAST CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE CROSS CURRENT
CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DATABASE DEFAULT DEFERRABLE DEFERRED DELETE DESC DETACH
DISTINCT DO DROP EACH ELSE END ESCAPE EXCEPT EXCLUDE EXCLUSIVE EXISTS EXPLAIN FAIL FALSE FILTER
FIRST FOLLOWING FOR FOREIGN FROM FULL GENERATED GLOB GROUP GROUPS HAVING IF IGNORE IMMEDIATE IN
INDEX INDEXED INITIALLY INNER INSERT INSTEAD INTERSECT INTO IS ISNULL JOIN KEY LAST LEFT LIKE LIMIT
MATCH MATERIALIZED NATURAL NO NOT NOTHING NOTNULL NULL NULLS OF OFFSET ON OR ORDER OTHERS OUTER OVER
PARTITION PLAN PRAGMA PRECEDING PRIMARY QUERY RAISE RANGE RECURSIVE REFERENCES REGEXP REINDEX
RELEASE RENAME REPLACE RESTRICT RETURNING RIGHT ROLLBACK ROW ROWS SAVEPOINT SELECT SET TABLE TEMP
TEMPORARY THEN TIES TO TRANSACTION TRIGGER TRUE UNBOUNDED UNION UNIQUE UPDATE USING VACUUM VALUES
VIEW VIRTUAL WHEN WHERE WINDOW WITH WITHOUT
"""
_RESERVED = frozenset(_KEYWORDS.split())
