"""Which pieces may come next in a query, so that a decoder writes only queries of a schema.

Two things decide together. The syntax is a grammar of `llguidance` over the classes of pieces, in which
all tables are one class and all columns another (`unrolled.sql.syntax`); it depends only on the keywords.
What is in scope, and how many columns a subquery needs, is followed in `unrolled.sql.scope`: sets of
tables and their instances do not fit into the 64 bits that a rule of llguidance can carry.

What remains to be checked afterwards, by `to_tree` or by running the query: numbers after ORDER BY or
GROUP BY that are no position, limits that are not whole, and queries that are nested too deeply. Types
are not checked; SQLite has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UnavailableError
from unrolled.sql.pieces import END, N_SPECIAL, NOTHING, items_of
from unrolled.sql.schema import Schema
from unrolled.sql.scope import Kind, Rules, Scope
from unrolled.sql.syntax import lark_grammar, table_class
from unrolled.sql.tokens import Item

Mask = NDArray[np.bool_]


@cache
def library() -> Any:
    """The module `llguidance`.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        import llguidance
    except ImportError:
        raise UnavailableError(
            "constrained decoding of SQL needs the package llguidance; install it with: "
            "pip install 'unrolled[sql]'"
        ) from None
    return llguidance


class QueryGrammar:
    """The queries on one schema that a vocabulary can write.

    Every query names only tables and columns that exist and are in scope: columns of the tables that FROM
    has so far, or of the queries around it; each table once per instance in FROM; instance "#3" only
    where the second is in scope. The columns of subqueries in FROM ("d0.o1") need a name or an alias.
    Compared subqueries have one column, and the parts of a UNION equally many; aggregates stand only
    where SQLite allows them, and refer to the tables of their own SELECT.

    Classes are END, WORD, NUMBER, LITERAL and NOTHING, then the keywords, then the items of the schema.

    Args:
        schema: the schema.
        keywords: all pieces of the vocabulary that are strings but no words, in its order; those that no
            query can have are never allowed.

    Raises:
        UnavailableError: llguidance is not installed.

    >>> from unrolled.sql.schema import Column, Table
    >>> schema = Schema("places", (Table("city", (Column("name"),)), Table("lake", (Column("name"),))))
    >>> grammar = QueryGrammar(schema, ["FROM", "SELECT", "COUNT", "(", ")", "*"])
    >>> matcher = grammar.start().advance(grammar.class_of_keyword("FROM"))
    >>> matcher = matcher.advance(grammar.class_of_item(Item(0)))
    >>> matcher = matcher.advance(grammar.class_of_keyword("SELECT"))
    >>> matcher.allowed()[grammar.class_of_item(Item(0, 0))]
    np.True_
    >>> matcher.allowed()[grammar.class_of_item(Item(1, 0))]
    np.False_
    """

    def __init__(self, schema: Schema, keywords: Sequence[str]) -> None:
        self.schema = schema
        self.keywords = tuple(keywords)
        self.rules = Rules(schema, self.keywords)
        self.items = items_of(schema)
        self.first_item = table_class(len(self.keywords))
        self._keywords = {text: N_SPECIAL + index for index, text in enumerate(self.keywords)}
        self._items = {item: self.first_item + index for index, item in enumerate(self.items)}
        self._columns: dict[int, Mask] = {}
        self._by_kind = {
            kind: np.array(classes, dtype=np.intp)
            for kind, classes in self.rules.classes.items()
            if classes
        }
        self._prototype = _compiled(self.keywords)
        tables = [index for index, item in enumerate(self.items) if item.column is None]
        self.tables = np.array(tables, dtype=np.intp) + self.first_item
        self.n_classes = self.first_item + len(self.items)

    def class_of_keyword(self, text: str) -> int:
        """The class of a keyword; NOTHING if it is not one of the grammar's."""
        return self._keywords.get(text, NOTHING)

    def class_of_item(self, item: Item) -> int:
        """The class of a table or column, whatever its instance."""
        return self._items[Item(item.table, item.column)]

    def start(self) -> QueryMatcher:
        """A matcher that has read nothing."""
        return QueryMatcher(self, self._prototype.deep_copy(), self.rules.start())

    def columns_of(self, sources: int) -> Mask:
        """A mask over the items that is True for the columns of these sources."""
        found = self._columns.get(sources)
        if found is None:
            visible = [self.rules.instances_of(item.table, sources) for item in self.items]
            named = [item.column is not None for item in self.items]
            found = np.array(visible, dtype=bool) & np.array(named)
            self._columns[sources] = found
        return found

    def keywords_of(self, kind: Kind) -> NDArray[np.intp]:
        """The classes of the keywords of a kind; empty if there are none."""
        return self._by_kind.get(kind, _NONE)


_NONE = np.array([], dtype=np.intp)


class QueryMatcher:
    """What has been written of one query. `advance` returns a new matcher; this one stays as it is."""

    __slots__ = ("_grammar", "_matcher", "_scope")

    def __init__(self, grammar: QueryGrammar, matcher: Any, scope: Scope) -> None:
        self._grammar = grammar
        self._matcher = matcher
        self._scope: Scope | None = scope

    @property
    def n_classes(self) -> int:
        """The number of classes, K."""
        return self._grammar.n_classes

    def allowed(self) -> Mask:
        """The classes that may come next, `[K]`; none after END or after a class that was not allowed."""
        grammar, scope = self._grammar, self._scope
        allowed = np.zeros(grammar.n_classes, dtype=bool)
        if scope is None:
            return allowed
        n = grammar.first_item
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        syntax = np.unpackbits(bits, count=n + 2, bitorder="little").view(bool)
        allowed[:n] = syntax[:n]
        item = scope.item
        if item is not None and not item.allowed & 1:  # the first instance is not meant
            allowed[:n] = False
            allowed[grammar.keywords_of(Kind.INSTANCE)] = True
        else:
            if syntax[n]:
                is_allowed = grammar.rules.is_table_allowed
                allowed[grammar.tables] = [
                    is_allowed(scope, table) for table in range(len(grammar.tables))
                ]
            if syntax[n + 1]:
                allowed[n:] |= grammar.columns_of(grammar.rules.visible(scope))
        for kind in grammar.rules.ruled_out(scope):
            allowed[grammar.keywords_of(kind)] = False
        for kind in _CHECKED_ONE_BY_ONE:
            for piece in grammar.keywords_of(kind):
                if allowed[piece] and not grammar.rules.is_allowed(scope, piece):
                    allowed[piece] = False
        return allowed

    def advance(self, class_id: int) -> QueryMatcher:
        """The matcher after one more piece. After one that is not allowed, nothing is allowed."""
        grammar, scope = self._grammar, self._scope
        if scope is None:
            return self
        n = grammar.first_item
        token = class_id
        if class_id >= n:
            token = n if grammar.items[class_id - n].column is None else n + 1
        matcher = self._matcher.deep_copy()
        after = QueryMatcher(grammar, matcher, scope)
        if not matcher.consume_token(token) or matcher.is_error() or class_id == END:
            after._scope = None
        else:
            after._scope = grammar.rules.after(scope, class_id)
        return after


_CHECKED_ONE_BY_ONE = (Kind.INSTANCE, Kind.DERIVED, Kind.OUTPUT, Kind.ALIAS)


class _Vocabulary:
    """The tokens of the syntax as llguidance wants them: without text, so that they have no spelling."""

    eos_token_id = END
    bos_token_id = None

    def __init__(self, n_tokens: int) -> None:
        self.tokens = [b"\xff<%d>" % token for token in range(n_tokens)]
        self.special_token_ids = list(range(n_tokens))

    def __call__(self, text: bytes) -> list[int]:
        return []


@lru_cache(maxsize=64)
def _compiled(keywords: tuple[str, ...]) -> Any:
    """A matcher of the syntax that has read nothing."""
    n_tokens = table_class(len(keywords)) + 2
    tokenizer = library().LLTokenizer(
        library().TokenizerWrapper(_Vocabulary(n_tokens)),
        n_vocab=n_tokens,
        eos_token=END,
        slices=[],
    )
    matcher = library().LLMatcher(tokenizer, lark_grammar(keywords), log_level=0)
    if matcher.is_error():
        raise RuntimeError(f"the grammar of queries is wrong: {matcher.get_error()}")
    return matcher
