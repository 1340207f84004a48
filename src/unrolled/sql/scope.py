"""What is in scope while a query is written, piece by piece, and which pieces that rules out.

The syntax alone (`unrolled.sql.syntax`) would accept a column of any table, a table that stands in FROM
already, or two columns where one is wanted. Here a stack of SELECTs knows better. States are immutable,
so that hypotheses can share them.

A set of sources is an integer with one bit per source: instance i of table t is bit t·I + i − 1, where I
is the largest instance that the keywords can write; after all tables come subqueries "d0", "d1" ….
"""

from __future__ import annotations

from collections.abc import Sequence

from unrolled.sql.pieces import N_SPECIAL, NUMBER
from unrolled.sql.schema import Schema
from unrolled.sql.scope_state import Clause, Kind, Level, Outputs, Pending, Scope, Select, meaning


class Rules:
    """How pieces change the scope, and which it allows, for one schema and one list of keywords.

    Args:
        schema: the schema.
        keywords: the keywords; their classes follow the special ones in this order.
    """

    def __init__(self, schema: Schema, keywords: Sequence[str]) -> None:
        self.widths = [len(table.columns) for table in schema.tables]
        n = N_SPECIAL + len(keywords)
        self.kinds = [Kind.OTHER] * n
        self.numbers = [(0, 0)] * n
        self.kinds[0], self.kinds[NUMBER] = Kind.END, Kind.NUMBER
        self.classes: dict[Kind, list[int]] = {kind: [] for kind in Kind}
        for index, text in enumerate(keywords, start=N_SPECIAL):
            self.kinds[index], self.numbers[index] = meaning(text)
        for index, kind in enumerate(self.kinds):
            self.classes[kind].append(index)
        instances = [self.numbers[each][0] for each in self.classes[Kind.INSTANCE]]
        self.n_instances = max(instances, default=1)
        self.instances = sum(1 << number - 1 for number in {1, *instances})
        names = [self.numbers[each][0] for each in self.classes[Kind.DERIVED]]
        outputs = [self.numbers[each][0] for each in self.classes[Kind.OUTPUT]]
        self.n_derived = max([*names, *outputs], default=-1) + 1
        has_subqueries = {"(", ")", "AS"} <= set(keywords)
        self.derived = sum(1 << number for number in set(names)) if has_subqueries else 0
        self.first_derived = len(self.widths) * self.n_instances
        self.aliases = sum(
            1 << number for number in {self.numbers[a][0] for a in self.classes[Kind.ALIAS]}
        )
        for table, width in enumerate(self.widths):
            self.kinds += [Kind.TABLE, *[Kind.COLUMN] * width]
            self.numbers += [(table, 0)] * (width + 1)

    def start(self) -> Scope:
        """The scope before the first piece."""
        derived = (None,) * self.n_derived
        return Scope(Select(), None, Kind.OTHER, None, Outputs(), derived, 0)

    def visible(self, scope: Scope) -> int:
        """The sources whose columns can be named; in an aggregate those of its own SELECT."""
        level, select = scope.level, scope.select
        while level is not None and level.kind == Kind.OPEN:
            level = level.below
        is_inside = level is not None and level.kind in _AGGREGATES
        return select.own if is_inside else select.visible

    def instances_of(self, table: int, sources: int) -> int:
        """The instances of a table among sources, a bit each."""
        return sources >> table * self.n_instances & (1 << self.n_instances) - 1

    def free_instances(self, table: int, select: Select) -> int:
        """The instances of a table that FROM may get: the first, or the next after those in scope."""
        own = self.instances_of(table, select.own)
        before = own | self.instances_of(table, select.outer)
        taken = own | self.instances_of(table, select.borrowed)
        return (before << 1 | 1) & ~taken & self.instances

    def free_names(self, scope: Scope) -> bool:
        """Whether there is a name for one more subquery in FROM."""
        n_taken = self.n_derived - scope.derived.count(None)
        return self.derived.bit_count() > n_taken + scope.n_open

    def after(self, scope: Scope, piece: int) -> Scope:
        """The scope after a piece of this class, which is allowed."""
        kind, number = self.kinds[piece], self.numbers[piece]
        select = scope.select
        if select.clause == Clause.OUTPUTS and (select.is_start or select.has_name):
            scope = scope._replace(select=_continued(select, kind, scope))
        change = _CHANGES.get(kind)
        if change is not None:
            scope = change(self, scope, number)
        elif scope.item is not None:
            scope = scope._replace(item=None)
        return scope if scope.last == kind else scope._replace(last=kind)

    def after_table(self, scope: Scope, number: tuple[int, int]) -> Scope:
        select, table = scope.select, number[0]
        bit = 1 << table * self.n_instances
        if select.clause == Clause.FROM:
            allowed = self.free_instances(table, select)
            item = Pending(table, select.own, select.borrowed, allowed)
            select = select._replace(own=select.own | bit, width=select.width + self.widths[table])
        else:
            allowed = self.instances_of(table, select.own)
            item = Pending(table, select.own, select.borrowed, allowed)
            select = select._replace(current=self.widths[table])
        return scope._replace(select=select, item=item)

    def after_column(self, scope: Scope, number: tuple[int, int]) -> Scope:
        select, table = scope.select, number[0]
        allowed = self.instances_of(table, self.visible(scope))
        item = Pending(table, select.own, select.borrowed, allowed)
        bit = 1 << table * self.n_instances
        if not select.own & bit:
            select = select._replace(borrowed=select.borrowed | bit)
        return scope._replace(select=select, item=item)

    def after_instance(self, scope: Scope, number: tuple[int, int]) -> Scope:
        item, select = scope.item, scope.select
        assert item is not None
        bit = 1 << item.table * self.n_instances + number[0] - 1
        if scope.last == Kind.COLUMN:
            select = select._replace(borrowed=item.borrowed | bit & ~select.own)
        elif select.clause == Clause.FROM:
            select = select._replace(own=item.own | bit)
        return scope._replace(select=select, item=None)

    def after_from(self, scope: Scope, number: tuple[int, int]) -> Scope:
        return _in_subquery(scope)._replace(item=None)

    def after_select(self, scope: Scope, number: tuple[int, int]) -> Scope:
        if scope.last == Kind.OPEN:
            scope = _in_subquery(scope)
        return scope._replace(select=scope.select._replace(clause=Clause.OUTPUTS), item=None)

    def after_clause(self, scope: Scope, number: tuple[int, int]) -> Scope:
        select = _output_ended(scope.select)
        clause = Clause(number[0])
        is_grouped = select.is_grouped or clause == Clause.GROUP
        select = select._replace(clause=clause, is_grouped=is_grouped)
        return scope._replace(select=select, item=None)

    def after_union(self, scope: Scope, number: tuple[int, int]) -> Scope:
        select = scope.select
        outputs, before = select.outputs, select.borrowed_before | select.borrowed
        other = Select(select.outer, outputs.n_columns, borrowed_before=before, first=outputs)
        return scope._replace(select=other, item=None)

    def after_open(self, scope: Scope, number: tuple[int, int]) -> Scope:
        is_source = self.opens_source(scope)
        kind = scope.last if scope.last in _AGGREGATES else Kind.OPEN
        wanted = 0 if is_source or scope.last == Kind.EXISTS else 1
        level = Level(scope.level, scope.select, kind, is_source, wanted)
        return scope._replace(level=level, item=None, n_open=scope.n_open + is_source)

    def opens_source(self, scope: Scope) -> bool:
        """Whether "(" would begin a subquery in FROM."""
        is_before = scope.last in (Kind.FROM, Kind.COMMA, Kind.JOIN)
        return is_before and scope.is_top and scope.select.clause == Clause.FROM

    def after_close(self, scope: Scope, number: tuple[int, int]) -> Scope:
        level = scope.level
        assert level is not None
        select, closed = scope.select, scope.closed
        if level.kind == Kind.SELECT:
            borrowed = select.borrowed | select.borrowed_before
            if level.is_source:  # which does not see the tables around it
                closed = select.outputs
            else:
                borrowed &= ~level.around.own
            select = level.around
            if borrowed & ~select.borrowed:
                select = select._replace(borrowed=select.borrowed | borrowed)
        elif level.kind in _AGGREGATES and select.clause == Clause.OUTPUTS:
            select = select._replace(has_aggregate=True, is_aggregate=True)
        return scope._replace(select=select, level=level.below, item=None, closed=closed)

    def after_comma(self, scope: Scope, number: tuple[int, int]) -> Scope:
        select, level = scope.select, scope.level
        if level is not None and level.kind == Kind.EXTREME:
            level = level._replace(kind=Kind.OPEN)
        elif select.clause == Clause.OUTPUTS and scope.is_top:
            select = _output_ended(select)._replace(
                n_expressions=select.n_expressions + 1,
                n_columns=select.n_columns + select.current,
                current=1,
                is_start=True,
                has_name=False,
                has_aggregate=False,
            )
        return scope._replace(select=select, level=level, item=None)

    def after_star(self, scope: Scope, number: tuple[int, int]) -> Scope:
        select = scope.select
        if select.clause == Clause.OUTPUTS and scope.last in _BEFORE_STAR and scope.is_top:
            select = select._replace(current=select.width)
        return scope._replace(select=select, item=None)

    def after_derived(self, scope: Scope, number: tuple[int, int]) -> Scope:
        select, name = scope.select, number[0]
        if select.clause != Clause.FROM:
            outputs = scope.derived[name]
            assert outputs is not None
            return scope._replace(select=select._replace(current=outputs.n_columns), item=None)
        derived = (*scope.derived[:name], scope.closed, *scope.derived[name + 1 :])
        select = select._replace(
            own=select.own | 1 << self.first_derived + name,
            width=select.width + scope.closed.n_columns,
        )
        return scope._replace(select=select, item=None, derived=derived, n_open=scope.n_open - 1)

    def after_alias(self, scope: Scope, number: tuple[int, int]) -> Scope:
        select = scope.select
        if scope.last == Kind.AS:
            bit = 1 << number[0]
            select = select._replace(
                aliases=select.aliases | bit,
                aggregate_aliases=select.aggregate_aliases | (bit if select.has_aggregate else 0),
                has_name=True,
            )
        return scope._replace(select=select, item=None)

    def table_key(self, select: Select) -> Select:
        """A SELECT that may name the same tables next, with less that tells it from others."""
        if select.clause == Clause.FROM:
            return Select(select.outer, own=select.own, borrowed=select.borrowed)
        return Select(0, select.wanted, Clause.OUTPUTS, select.own, n_columns=select.n_columns)

    def is_table_allowed(self, select: Select, table: int) -> bool:
        """Whether a table may come next, where the syntax allows one."""
        if select.clause == Clause.FROM:
            return self.free_instances(table, select) != 0
        is_own = self.instances_of(table, select.own) != 0
        return is_own and self.is_width_allowed(select, self.widths[table])

    def is_width_allowed(self, select: Select, width: int) -> bool:
        """Whether an expression with so many columns may come next in SELECT."""
        return width > 0 and (not select.wanted or select.n_columns + width <= select.wanted)

    def ruled_out(self, scope: Scope) -> set[Kind]:
        """Kinds of keywords that may not come next, of those that the syntax allows."""
        select = scope.select
        out = set()
        if scope.last != Kind.AS and not select.aliases:
            out.add(Kind.ALIAS)
        if scope.last != Kind.AS and scope.derived.count(None) == self.n_derived:
            out |= _OF_SUBQUERIES
        if scope.is_top and select.clause == Clause.FROM:
            if not self.free_names(scope):
                if not any(self.free_instances(t, select) for t in range(len(self.widths))):
                    out |= {Kind.COMMA, Kind.JOIN}
                if self.opens_source(scope):
                    out.add(Kind.OPEN)
        elif scope.is_top and select.clause == Clause.OUTPUTS:
            if select.is_start:
                if not self.is_width_allowed(select, select.width):
                    out.add(Kind.STAR)
            elif select.wanted:
                if select.n_columns + select.current == select.wanted:
                    out.add(Kind.COMMA)
                else:
                    out |= {Kind.CLAUSE, Kind.UNION, Kind.EXCEPT, Kind.CLOSE, Kind.END}
            if scope.last == Kind.STAR:  # sqlglot reads `* EXCEPT` as all columns but some
                out.add(Kind.EXCEPT)
            if not self.aliases & ~select.aliases:
                out.add(Kind.AS)
        elif select.clause == Clause.GROUP:
            if select.is_aggregate and scope.is_top and scope.last in (Kind.CLAUSE, Kind.COMMA):
                out.add(Kind.NUMBER)
        elif select.clause == Clause.ORDER and not (select.is_aggregate or select.is_grouped):
            out |= _AGGREGATES
        return out

    def is_allowed(self, scope: Scope, piece: int) -> bool:
        """Whether the scope allows a keyword of the kinds INSTANCE, DERIVED, OUTPUT or ALIAS."""
        kind, (number, output) = self.kinds[piece], self.numbers[piece]
        select = scope.select
        if kind == Kind.INSTANCE:
            return scope.item is not None and bool(scope.item.allowed >> number - 1 & 1)
        if kind == Kind.ALIAS:
            if scope.last == Kind.AS:
                return not select.aliases >> number & 1
            aliases = select.aliases
            if select.clause in (Clause.OUTPUTS, Clause.FROM):
                aliases = 0
            elif select.clause in (Clause.WHERE, Clause.GROUP):
                aliases &= ~select.aggregate_aliases
            return bool(aliases >> number & 1)
        outputs = scope.derived[number]
        if kind == Kind.DERIVED and scope.last == Kind.AS:
            return outputs is None
        if outputs is None:
            return False
        bit = 1 << self.first_derived + number
        if kind == Kind.DERIVED:
            return bool(select.own & bit) and self.is_width_allowed(select, outputs.n_columns)
        return bool(self.visible(scope) & bit) and bool(outputs.named >> output & 1)


_AGGREGATES = frozenset((Kind.AGGREGATE, Kind.EXTREME))
_OF_SUBQUERIES = frozenset((Kind.DERIVED, Kind.OUTPUT))
_BEFORE_STAR = (Kind.SELECT, Kind.DISTINCT, Kind.COMMA)


def _continued(select: Select, kind: Kind, scope: Scope) -> Select:
    """The SELECT as one more piece of the current expression tells what that is."""
    if kind in _NOT_OF_EXPRESSION:
        return select
    if select.is_start:
        return select._replace(is_start=False, has_name=kind in (Kind.COLUMN, Kind.OUTPUT))
    return (
        select if kind in (Kind.INSTANCE, Kind.AS, Kind.ALIAS) else select._replace(has_name=False)
    )


_NOT_OF_EXPRESSION = (
    Kind.DISTINCT,
    Kind.COMMA,
    Kind.CLAUSE,
    Kind.UNION,
    Kind.EXCEPT,
    Kind.CLOSE,
    Kind.END,
)


def _output_ended(select: Select) -> Select:
    """The SELECT with a note whether its current expression has a name."""
    if select.clause != Clause.OUTPUTS:
        return select
    return select._replace(named=select.named | select.has_name << select.n_expressions)


def _in_subquery(scope: Scope) -> Scope:
    """The scope with a new SELECT if "(" was before it."""
    level = scope.level
    if scope.last != Kind.OPEN or level is None:
        return scope
    around = level.around
    outer = around.outer if level.is_source else around.visible
    return scope._replace(
        select=Select(outer, level.wanted), level=level._replace(kind=Kind.SELECT)
    )


_CHANGES = {
    Kind.TABLE: Rules.after_table,
    Kind.COLUMN: Rules.after_column,
    Kind.INSTANCE: Rules.after_instance,
    Kind.FROM: Rules.after_from,
    Kind.SELECT: Rules.after_select,
    Kind.CLAUSE: Rules.after_clause,
    Kind.UNION: Rules.after_union,
    Kind.EXCEPT: Rules.after_union,
    Kind.OPEN: Rules.after_open,
    Kind.CLOSE: Rules.after_close,
    Kind.COMMA: Rules.after_comma,
    Kind.STAR: Rules.after_star,
    Kind.DERIVED: Rules.after_derived,
    Kind.ALIAS: Rules.after_alias,
}
