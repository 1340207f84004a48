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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import missing_package
from unrolled.sql.pieces import END, N_SPECIAL, NOTHING, items_of
from unrolled.sql.schema import Schema
from unrolled.sql.scope import Rules
from unrolled.sql.scope_state import Kind, Scope, Select
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
        raise missing_package("constrained decoding of SQL", "llguidance", "sql") from None
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
        self.classes_of = {
            kind: np.array(classes, dtype=np.intp) for kind, classes in self.rules.classes.items()
        }
        self._n_tables = len(schema.tables)
        self._table_of = np.array([item.table for item in self.items], dtype=np.intp)
        self._is_column = np.array([item.column is not None for item in self.items])
        self._prototype = _compiled(self.keywords)
        self.n_classes = self.first_item + len(self.items)
        self.columns_of = lru_cache(_CACHED)(self._columns_of)
        self.tables_of = lru_cache(_CACHED)(self._tables_of)
        self.read_syntax = lru_cache(_CACHED)(self._read_syntax)

    def class_of_keyword(self, text: str) -> int:
        """The class of a keyword; NOTHING if it is not one of the grammar's."""
        return self._keywords.get(text, NOTHING)

    def class_of_item(self, item: Item) -> int:
        """The class of a table or column, whatever its instance."""
        return self._items[Item(item.table, item.column)]

    def start(self) -> QueryMatcher:
        """A matcher that has read nothing."""
        return QueryMatcher(self, self._prototype.deep_copy(), self.rules.start())

    def _columns_of(self, sources: int) -> Mask:
        """A mask over the items that is True for the columns of these sources."""
        visible = [self.rules.instances_of(table, sources) != 0 for table in range(self._n_tables)]
        return np.array(visible)[self._table_of] & self._is_column

    def _tables_of(self, select: Select) -> Mask:
        """A mask over the items that is True for the tables that a SELECT may name next."""
        allowed = [self.rules.is_table_allowed(select, table) for table in range(self._n_tables)]
        return np.array(allowed)[self._table_of] & ~self._is_column

    def _read_syntax(self, bits: bytes) -> _Syntax:
        """What a mask of llguidance allows."""
        n = self.first_item
        packed = np.frombuffer(bits, dtype=np.uint8)
        allowed = np.zeros(self.n_classes, dtype=bool)
        syntax = np.unpackbits(packed, count=n + 2, bitorder="little").view(bool)
        allowed[:n] = syntax[:n]
        checked = [
            piece
            for kind in (Kind.INSTANCE, Kind.DERIVED, Kind.OUTPUT, Kind.ALIAS)
            for piece in self.rules.classes[kind]
            if allowed[piece]
        ]
        kinds = frozenset(kind for kind in Kind if allowed[self.classes_of[kind]].any())
        return _Syntax(allowed, bool(syntax[n]), bool(syntax[n + 1]), kinds, tuple(checked))


_CACHED = 10_000


class _Syntax(NamedTuple):
    """What the syntax allows next.

    Args:
        allowed: the classes, `[K]`, without tables and columns.
        tables: whether a table may come next.
        columns: whether a column may come next.
        kinds: the kinds of the allowed keywords.
        checked: keywords among the allowed ones that must be in scope as well.
    """

    allowed: Mask
    tables: bool
    columns: bool
    kinds: frozenset[Kind]
    checked: tuple[int, ...]


class QueryMatcher:
    """What has been written of one query. `advance` returns a new matcher; this one stays as it is.

    Results are kept, so hypotheses that have written the same classes from here on share their matchers.
    """

    __slots__ = ("_allowed", "_grammar", "_matcher", "_next", "_scope")

    def __init__(self, grammar: QueryGrammar, matcher: Any, scope: Scope | None) -> None:
        self._grammar = grammar
        self._matcher = matcher
        self._scope = scope
        self._allowed: Mask | None = None
        self._next: dict[int, QueryMatcher] = {}

    @property
    def n_classes(self) -> int:
        """The number of classes, K."""
        return self._grammar.n_classes

    def allowed(self) -> Mask:
        """The classes that may come next, `[K]`; none after END or after a class that was not allowed.

        Do not change the result; it is kept.
        """
        if self._allowed is None:
            self._allowed = self._find_allowed()
        return self._allowed

    def _find_allowed(self) -> Mask:
        grammar, scope = self._grammar, self._scope
        if scope is None:
            return np.zeros(grammar.n_classes, dtype=bool)
        n, rules = grammar.first_item, grammar.rules
        syntax = grammar.read_syntax(self._matcher.compute_bitmask())
        allowed = syntax.allowed.copy()
        if scope.needs_instance:
            allowed[:] = False
            allowed[grammar.classes_of[Kind.INSTANCE]] = True
        if syntax.tables:
            allowed[n:] = grammar.tables_of(rules.table_key(scope.select))
        if syntax.columns:
            allowed[n:] |= grammar.columns_of(rules.visible(scope))
        for kind in rules.ruled_out(scope) & syntax.kinds:
            allowed[grammar.classes_of[kind]] = False
        for piece in syntax.checked:
            if allowed[piece] and not rules.is_allowed(scope, piece):
                allowed[piece] = False
        return allowed

    def advance(self, class_id: int) -> QueryMatcher:
        """The matcher after one more piece. After one that is not allowed, nothing is allowed."""
        found = self._next.get(class_id)
        if found is None:
            found = self._next[class_id] = self._advanced(class_id)
        return found

    def _advanced(self, class_id: int) -> QueryMatcher:
        grammar, scope = self._grammar, self._scope
        if scope is None or class_id == END or not self.allowed()[class_id]:
            return QueryMatcher(grammar, None, None)
        n, token = grammar.first_item, class_id
        if class_id >= n:
            token = n if grammar.items[class_id - n].column is None else n + 1
        matcher = self._matcher.deep_copy()
        if not matcher.consume_token(token):  # a limit of llguidance
            return QueryMatcher(grammar, None, None)
        return QueryMatcher(grammar, matcher, grammar.rules.after(scope, class_id))


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
