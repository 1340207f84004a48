"""The values that queries compare columns with: what is known of a database without its data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from unrolled.sql.names import with_placeholders
from unrolled.sql.parsing import QueryError, library, parse_select
from unrolled.sql.rewriting import rewritten
from unrolled.sql.schema import Place, Schema
from unrolled.sql.tokens import COLUMN, PLACEHOLDER

if TYPE_CHECKING:
    from sqlglot import exp


def compared_values(
    queries: Iterable[str], schema: Schema, dialect: str = "sqlite", least: int = 1
) -> dict[Place, list[str]]:
    """The text values of columns, as far as queries name them.

    A value that one column is compared with also belongs to the columns that any query sets equal to it
    (`flight.from_airport = airport.airport_code`), and to those that these are equal to.

    Args:
        queries: the queries, such as those of a training part; what cannot be parsed is left out.
        schema: schema of their database.
        dialect: the dialect of sqlglot in which they are written.
        least: the number of different queries that must name a value. If a model is trained on the same
            queries, rare values had better be left out: it then learns to copy words that are no known
            value from the question, as it must for values that no query names.

    >>> from unrolled.sql.schema import Column, Table
    >>> schema = Schema("x", (Table("a", (Column("m"), Column("n"))), Table("b", (Column("p"),))))
    >>> compared_values(["SELECT m FROM a, b WHERE n = p AND p = 'Oslo' AND m IN ('x', 'y')"], schema)
    {(0, 0): ['x', 'y'], (0, 1): ['Oslo'], (1, 0): ['Oslo']}
    """
    groups = _Groups()
    named = list[set[tuple[Place, str]]]()
    for query in dict.fromkeys(queries):
        try:
            tree = with_placeholders(rewritten(parse_select(query, dialect), schema), schema)
        except QueryError:
            continue
        of_query = set[tuple[Place, str]]()
        for places, texts in _comparisons(tree):
            for place in places:
                groups.join(places[0], place)
            of_query.update((places[0], text) for text in texts)
        named.append(of_query)
    counts = Counter(
        pair for each in named for pair in {(groups.of(place), text) for place, text in each}
    )
    values: dict[Place, list[str]] = defaultdict(list)
    for (group, text), n_queries in sorted(counts.items()):
        if n_queries >= least:
            values[group].append(text)
    return {place: values[groups.of(place)] for place in groups if groups.of(place) in values}


class _Groups:
    """Columns in groups that grow together."""

    def __init__(self) -> None:
        self._parent: dict[Place, Place] = {}

    def of(self, place: Place) -> Place:
        """The first column of the group of a column."""
        while (parent := self._parent.get(place, place)) != place:
            place = parent
        return place

    def join(self, one: Place, other: Place) -> None:
        """Make the groups of two columns one."""
        first, second = sorted((self.of(one), self.of(other)))
        self._parent[second] = first

    def __iter__(self) -> Iterator[Place]:
        return iter(sorted(self._parent))


def _comparisons(tree: exp.Query) -> Iterator[tuple[list[Place], list[str]]]:
    """The columns and the texts that a query sets equal."""
    kinds = library().exp
    for node in tree.find_all(kinds.EQ, kinds.NEQ, kinds.In):
        sides: list[Any] = [node.this, *(node.expressions or [node.expression])]
        places = [place for side in sides if (place := _place(side)) is not None]
        if places and (len(places) == 1 or isinstance(node, kinds.EQ)):
            texts = [each for each in sides if isinstance(each, kinds.Literal) and each.is_string]
            yield places, [each.name for each in texts]


def _place(node: Any) -> Place | None:
    if not isinstance(node, library().exp.Column):
        return None
    table, column = PLACEHOLDER.match(node.table), COLUMN.match(node.name)
    return (int(table[1]), int(column[1])) if table and column else None
