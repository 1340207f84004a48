"""What is known at one place of a query while it is written: its clauses, sources and parentheses.

All records are immutable, so that hypotheses can share them. A set of sources is an integer with one bit
per source, see `unrolled.sql.scope`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from unrolled.sql.syntax import AGGREGATES, ALIAS, DERIVED, INSTANCE, OUTPUT


class Kind(IntEnum):
    """What a piece means for the scope."""

    OTHER = 0
    TABLE = 1
    COLUMN = 2
    INSTANCE = 3
    FROM = 4
    SELECT = 5
    CLAUSE = 6
    UNION = 7
    OPEN = 8
    CLOSE = 9
    COMMA = 10
    JOIN = 11
    STAR = 12
    AS = 13
    DERIVED = 14
    OUTPUT = 15
    ALIAS = 16
    AGGREGATE = 17
    EXTREME = 18
    EXISTS = 19
    DISTINCT = 20
    NUMBER = 21
    END = 22
    EXCEPT = 23


class Clause(IntEnum):
    """The part of a SELECT that is being written."""

    FROM = 0
    OUTPUTS = 1
    WHERE = 2
    GROUP = 3
    HAVING = 4
    ORDER = 5
    LIMIT = 6


_KINDS = {
    "FROM": Kind.FROM,
    "SELECT": Kind.SELECT,
    "(": Kind.OPEN,
    ")": Kind.CLOSE,
    ",": Kind.COMMA,
    "*": Kind.STAR,
    "AS": Kind.AS,
    "EXISTS": Kind.EXISTS,
    "DISTINCT": Kind.DISTINCT,
    **dict.fromkeys(AGGREGATES, Kind.AGGREGATE),
    **dict.fromkeys(("MAX", "MIN"), Kind.EXTREME),
    **dict.fromkeys(("UNION", "INTERSECT"), Kind.UNION),
    "EXCEPT": Kind.EXCEPT,
    **dict.fromkeys(("JOIN", "INNER", "CROSS", "LEFT", "RIGHT", "FULL"), Kind.JOIN),
}
_CLAUSES = {
    "WHERE": Clause.WHERE,
    "GROUP BY": Clause.GROUP,
    "HAVING": Clause.HAVING,
    "ORDER BY": Clause.ORDER,
    "LIMIT": Clause.LIMIT,
}


class Outputs(NamedTuple):
    """What a query returns: its columns; in `named`, a bit for each expression that has a name."""

    n_columns: int = 0
    named: int = 0


class Select(NamedTuple):
    """A SELECT that is being written.

    Args:
        outer: the sources of the SELECTs around it that it sees.
        wanted: how many columns it must have; 0: any number.
        clause: the clause that is being written.
        own: its sources.
        borrowed: the sources of SELECTs around it that it has named; FROM may not hide them afterwards.
        borrowed_before: the same of the parts of a UNION before this one.
        width: the columns of all its sources together.
        n_expressions: the expressions in SELECT before the current one.
        n_columns: their columns.
        current: the columns of the current expression.
        is_start: whether the current expression has no piece yet.
        has_name: whether the current expression is a column alone or has an alias.
        has_aggregate: whether the current expression has an aggregate.
        named: which expressions have a name.
        aliases: the aliases defined here.
        aggregate_aliases: those of them that stand for aggregates.
        is_aggregate: whether an expression in SELECT has an aggregate.
        is_grouped: whether it has GROUP BY.
        first: what the first SELECT returns, after UNION, INTERSECT or EXCEPT.
    """

    outer: int = 0
    wanted: int = 0
    clause: Clause = Clause.FROM
    own: int = 0
    borrowed: int = 0
    borrowed_before: int = 0
    width: int = 0
    n_expressions: int = 0
    n_columns: int = 0
    current: int = 1
    is_start: bool = True
    has_name: bool = False
    has_aggregate: bool = False
    named: int = 0
    aliases: int = 0
    aggregate_aliases: int = 0
    is_aggregate: bool = False
    is_grouped: bool = False
    first: Outputs | None = None

    @property
    def visible(self) -> int:
        """The sources that it sees; in GROUP BY and ORDER BY, SQLite hides those around it."""
        return self.own if self.clause in (Clause.GROUP, Clause.ORDER) else self.own | self.outer

    @property
    def outputs(self) -> Outputs:
        """What it returns if it ends here."""
        if self.first is not None:
            return self.first
        named = self.named | self.has_name << self.n_expressions
        return Outputs(self.n_columns + self.current, named)


class Level(NamedTuple):
    """What "(" opened.

    Args:
        below: what was open before.
        around: the SELECT that it stands in.
        kind: SELECT for a subquery; AGGREGATE for the argument of one, EXTREME for that of MAX or MIN,
            which with more arguments are no aggregates; OPEN for all other parentheses.
        is_source: whether it is a subquery in FROM.
        wanted: how many columns a subquery here must have; 0: any number.
    """

    below: Level | None
    around: Select
    kind: Kind
    is_source: bool = False
    wanted: int = 1


class Pending(NamedTuple):
    """A table or column as the last piece: its instance may follow.

    Args:
        table: its table.
        own: the sources of the SELECT before it.
        borrowed: the sources that the SELECT had borrowed before it.
        allowed: the instances that may be meant, a bit each.
    """

    table: int
    own: int
    borrowed: int
    allowed: int


class Scope(NamedTuple):
    """The scope at one place of a query.

    Args:
        select: the innermost SELECT.
        level: the innermost parentheses.
        last: the kind of the last piece.
        item: the last piece if it is a table or column.
        closed: what the last subquery in FROM returns.
        derived: what the subqueries with a name return; None for a name that is not taken.
        n_open: the subqueries in FROM that have no name yet.
    """

    select: Select
    level: Level | None
    last: Kind
    item: Pending | None
    closed: Outputs
    derived: tuple[Outputs | None, ...]
    n_open: int

    @property
    def needs_instance(self) -> bool:
        """Whether the last piece is a table or column whose first instance cannot be meant."""
        return self.item is not None and not self.item.allowed & 1

    @property
    def is_top(self) -> bool:
        """Whether no parentheses are open in the SELECT."""
        return self.level is None or self.level.kind == Kind.SELECT


def meaning(text: str) -> tuple[Kind, tuple[int, int]]:
    """The kind of a keyword and the numbers in it."""
    if text in _KINDS:
        return _KINDS[text], (0, 0)
    if text in _CLAUSES:
        return Kind.CLAUSE, (_CLAUSES[text], 0)
    for pattern, kind in _NAMED:
        if match := pattern.fullmatch(text):
            first, *rest = map(int, match.groups())
            return kind, (first, rest[0] if rest else 0)
    return Kind.OTHER, (0, 0)


_NAMED = (
    (INSTANCE, Kind.INSTANCE),
    (DERIVED, Kind.DERIVED),
    (OUTPUT, Kind.OUTPUT),
    (ALIAS, Kind.ALIAS),
)
