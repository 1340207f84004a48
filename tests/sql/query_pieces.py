"""Classes of the pieces of a query, and random queries of a grammar."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np

from unrolled.sql.grammar import QueryGrammar, QueryMatcher
from unrolled.sql.pieces import (
    END,
    LITERAL,
    N_SPECIAL,
    NOTHING,
    NUMBER,
    WORD,
    WORD_MARK,
    Literal,
    Piece,
    class_of_word,
)

_KEYWORDS = """
FROM SELECT DISTINCT ( ) , . * = <> < <= > >= + - / % || WHERE GROUP_BY HAVING ORDER_BY ASC DESC LIMIT
OFFSET ' ~ ~_~ AND OR NOT IN EXISTS BETWEEN LIKE IS NULL COUNT SUM AVG MIN MAX TOTAL GROUP_CONCAT JOIN
INNER LEFT CROSS OUTER ON AS UNION INTERSECT EXCEPT ALL CASE WHEN THEN ELSE END CAST REAL INTEGER TEXT
ABS COALESCE DATE DATETIME INSTR JULIANDAY LENGTH LOWER LTRIM NULLIF REPLACE ROUND RTRIM STRFTIME
SUBSTRING TIME TRIM TYPEOF UPPER d0 d1 d2 d0.o0 d0.o1 d1.o0 d1.o1 d2.o0 a0 a1 #2 #3 <pad>
"""
KEYWORDS = tuple(
    word if word == "GROUP_CONCAT" else word.replace("_", " ") for word in _KEYWORDS.split()
)
"""A vocabulary with what every version of SQLite can run, and one string that no query has."""

_FUNCTIONS = KEYWORDS[KEYWORDS.index("ABS") : KEYWORDS.index("UPPER") + 1]
_RARE = (*"+-/%'", "||", "TOTAL", "GROUP_CONCAT", "CASE", "CAST", *_FUNCTIONS)


def class_of(piece: Piece | None, grammar: QueryGrammar) -> int:
    """The class of a piece; None is the end."""
    if piece is None:
        return END
    if isinstance(piece, Literal):
        return NUMBER if piece.is_number else LITERAL
    if not isinstance(piece, str):
        return grammar.class_of_item(piece)
    if piece.startswith(WORD_MARK):
        return class_of_word(piece.removeprefix(WORD_MARK))
    return grammar.class_of_keyword(piece)


def advanced(matcher: QueryMatcher, grammar: QueryGrammar, pieces: Sequence[Piece]) -> QueryMatcher:
    """The matcher after pieces, each of which must be allowed."""
    for piece in pieces:
        number = class_of(piece, grammar)
        assert matcher.allowed()[number], piece
        matcher = matcher.advance(number)
    return matcher


def refused_at(pieces: Sequence[Piece], grammar: QueryGrammar) -> int | None:
    """The position of the first piece that is not allowed, the end included; None if there is none."""
    matcher = grammar.start()
    for position, piece in enumerate([*pieces, None]):
        number = class_of(piece, grammar)
        if not matcher.allowed()[number]:
            return position
        matcher = matcher.advance(number)
    return None


def random_queries(grammar: QueryGrammar, n: int, seed: int) -> Iterator[list[Piece]]:
    """Pieces of random queries of 3 to about 100 pieces."""
    source = random.Random(seed)
    weights = [1.0] * grammar.n_classes
    for text in _RARE:
        weights[grammar.class_of_keyword(text)] = 0.05
    closing = {grammar.class_of_keyword(text) for text in (")", "'", "END")} - {NOTHING}
    for _ in range(n):
        yield _random_query(grammar, source, weights, closing)


def _random_query(
    grammar: QueryGrammar, source: random.Random, weights: Sequence[float], closing: set[int]
) -> list[Piece]:
    pieces: list[Piece] = []
    matcher, limit = grammar.start(), source.choice((10, 20, 30, 40, 60))
    while True:
        allowed = np.flatnonzero(matcher.allowed()).tolist()
        assert allowed, pieces
        items = [number for number in allowed if number >= grammar.first_item]
        if len(pieces) > limit:
            allowed = (
                [number for number in allowed if number == END]
                or [number for number in allowed if number in closing]
                or [number for number in allowed if number == NUMBER]
                or items
                or allowed
            )
        elif items and source.random() < 0.7:
            allowed = items
        (chosen,) = source.choices(allowed, [weights[number] for number in allowed])
        if chosen == END:
            return pieces
        pieces.append(_piece(chosen, grammar))
        matcher = matcher.advance(chosen)


def _piece(number: int, grammar: QueryGrammar) -> Piece:
    if number >= grammar.first_item:
        return grammar.items[number - grammar.first_item]
    if number >= N_SPECIAL:
        return grammar.keywords[number - N_SPECIAL]
    values: dict[int, Piece] = {WORD: "_new", NUMBER: "_1", LITERAL: Literal("oslo")}
    return values[number]
