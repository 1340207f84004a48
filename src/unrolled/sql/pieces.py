"""The pieces that a decoder writes: words of a fixed vocabulary, and pointers to what it has before it.

A query is first a list of tokens (`unrolled.sql.target`). Here its tokens become pieces: keywords and
words of values are strings and can be in a vocabulary; tables, columns and values found in the database
are pointed at, so that a model also works for a database that it has never seen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from unrolled.sql.parsing import QueryError
from unrolled.sql.schema import Schema
from unrolled.sql.tokens import Item, Token, Word, is_number, words_of

WORD_MARK = "_"
"""Begins a piece that is a word of a value or a number, unlike a keyword."""

GLUED, APART = "~", "~ ~"
"""Pieces before a word that is glued to the last one, or not, where one would expect the opposite."""

_TIGHT = frozenset("-:/.%_@'’&#+")


@dataclass(frozen=True)
class Literal:
    """A whole value that is pointed at.

    Args:
        text: the value.
        is_number: whether it is written as a number, without quotes.
    """

    text: str
    is_number: bool = False


Piece = str | Item | Literal
"""A string is in the vocabulary: a keyword, a word after `WORD_MARK`, `GLUED`, `APART`, or "#2" and so
on, which tells that the item before it is the second instance of its table. Items have instance 1."""


def to_pieces(tokens: Sequence[Token], literals: Collection[Literal] = ()) -> list[Piece]:
    """The pieces of a query.

    Args:
        tokens: its tokens.
        literals: the values that can be pointed at.

    >>> tokens = ["FROM", Item(0, None, 2), "WHERE", Item(0, 1, 2), "=", "'", Word("ann", True), "'"]
    >>> to_pieces(tokens)  # doctest: +NORMALIZE_WHITESPACE
    ['FROM', Item(table=0, column=None, instance=1), '#2', 'WHERE', Item(table=0, column=1, instance=1),
     '#2', '=', "'", '_ann', "'"]
    >>> to_pieces(tokens, [Literal("ann")])[-1]
    Literal(text='ann', is_number=False)
    """
    pieces: list[Piece] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if isinstance(token, Item):
            pieces.append(Item(token.table, token.column))
            if token.instance > 1:
                pieces.append(f"#{token.instance}")
        elif isinstance(token, Word):
            number = Literal(token.text, is_number=True)
            pieces.append(number if number in literals else WORD_MARK + token.text)
        elif token == "'":
            end = tokens.index("'", position)
            words = [word for word in tokens[position:end] if isinstance(word, Word)]
            value = Literal(joined(words))
            pieces += [value] if value in literals else ["'", *_of_value(words), "'"]
            position = end + 1
        else:
            pieces.append(token)
    return pieces


def _of_value(words: Sequence[Word]) -> Iterator[str]:
    last = ""
    for word in words:
        if last and word.is_glued != _is_glued(last, word.text):
            yield GLUED if word.is_glued else APART
        yield WORD_MARK + word.text
        last = word.text


def _is_glued(last: str, word: str) -> bool:
    """Whether two neighbouring words of a value usually have no blank between them."""
    return last in _TIGHT or word in _TIGHT


def from_pieces(pieces: Sequence[Piece]) -> list[Token]:
    """The tokens of a query from its pieces.

    Raises:
        QueryError: a piece stands where it means nothing.
    """
    tokens: list[Token] = []
    glue: bool | None = None
    is_value = False
    for piece in pieces:
        if isinstance(piece, Literal):
            tokens += [Word(piece.text)] if piece.is_number else quoted(piece.text)
        elif isinstance(piece, Item):
            tokens.append(piece)
        elif piece in (GLUED, APART):
            glue = piece == GLUED
        elif piece.startswith(WORD_MARK):
            last = tokens[-1] if tokens else None
            text = piece.removeprefix(WORD_MARK)
            default = is_value and (not isinstance(last, Word) or _is_glued(last.text, text))
            tokens.append(Word(text, default if glue is None else glue))
            glue = None
        elif instance := re.fullmatch(r"#(\d+)", piece):
            item = tokens[-1] if tokens else None
            if not isinstance(item, Item):
                raise QueryError(f"{piece} does not follow a table or column")
            tokens[-1] = Item(item.table, item.column, int(instance[1]))
        else:
            is_value = is_value != (piece == "'")
            tokens.append(piece)
    return tokens


def quoted(value: str) -> list[Token]:
    """The tokens of a text value, with its quotation marks."""
    return ["'", *words_of(value), "'"]


def joined(words: Sequence[Word]) -> str:
    """The text of a value from its words."""
    text = ""
    for word in words:
        text += word.text if word.is_glued or not text else f" {word.text}"
    return text


# The classes of pieces, over which a grammar is written. All pieces of a class are allowed or none.

END, WORD, NUMBER, LITERAL, NOTHING = range(5)
"""The end of the query; a word of a value; a number; a text value that is pointed at; what never stands
in a query. Keywords follow in the order of a vocabulary, then the items of the schema, see `items_of`."""

N_SPECIAL = 5


def items_of(schema: Schema) -> list[Item]:
    """What can be pointed at in a schema: each table, followed by its columns."""
    return [
        Item(index, column)
        for index, table in enumerate(schema.tables)
        for column in (None, *range(len(table.columns)))
    ]


def class_of_word(text: str) -> int:
    """The class of a word of a value."""
    return NUMBER if is_number(text) else WORD
