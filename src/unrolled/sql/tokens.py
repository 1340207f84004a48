"""The tokens of a query for a decoder, and their text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unrolled.quoting import quote
from unrolled.sql.parsing import QueryError, library
from unrolled.sql.schema import Schema

PLACEHOLDER = re.compile(r"t(\d+)x(\d+)$")
COLUMN = re.compile(r"c(\d+)$")
OUTPUT = re.compile(r"o(\d+)$")
ALIAS = re.compile(r"[ad]\d+$")
"""Names that need no quotes and stand for those of a schema: t2x1.c0 is a column of the third table."""

WORDS = re.compile(r"\d+\.\d+|\w+|[^\w\s]|\s")
"""The words of a value, and the blanks between them."""


@dataclass(frozen=True)
class Item:
    """A table, or a column of it.

    Args:
        table: index of the table in the schema.
        column: index of the column in the table; None for the table itself.
        instance: 1, or more where a query needs the table several times in one place.
    """

    table: int
    column: int | None = None
    instance: int = 1


@dataclass(frozen=True)
class Word:
    """A word of a value, or a number.

    Args:
        text: the word.
        is_glued: whether no blank stands before it, within a value.
    """

    text: str
    is_glued: bool = False


Token = str | Item | Word
"""Keywords, functions, operators and punctuation are strings, in upper case. "'" stands before and after
a text value. "d0", "d1" … are subqueries in FROM in their order, "a0", "a1" … names given by AS, and
"d0.o1" is the second output of the first such subquery."""


def describe(tokens: Sequence[Token], schema: Schema) -> list[str]:
    """Tokens as text, for people."""
    return [_described(token, schema) for token in tokens]


def _described(token: Token, schema: Schema) -> str:
    if isinstance(token, Word):
        return token.text
    if isinstance(token, str):
        return token
    table = schema.tables[token.table]
    name = table.name if token.instance == 1 else f"{table.name}#{token.instance}"
    return name if token.column is None else f"{name}.{table.columns[token.column].name}"


def read_tokens(text: str) -> Iterator[Token]:
    tokens = library().tokenize(text, read="sqlite")
    position = 0
    while position < len(tokens):
        kind, text = tokens[position].token_type.name, tokens[position].text
        is_qualified = position + 2 < len(tokens) and tokens[position + 1].token_type.name == "DOT"
        source = PLACEHOLDER.match(text)
        if kind == "STRING":
            yield "'"
            yield from words_of(text)
            yield "'"
        elif kind == "NUMBER":
            yield Word(text)
        elif kind == "VAR" and source is not None:
            table, instance = int(source[1]), int(source[2])
            column = COLUMN.match(tokens[position + 2].text) if is_qualified else None
            if column is not None:
                yield Item(table, int(column[1]), instance)
                position += 2
            else:
                yield Item(table, None, instance)
        elif kind == "VAR" and is_qualified and OUTPUT.match(tokens[position + 2].text):
            yield f"{text}.{tokens[position + 2].text}"
            position += 2
        elif kind == "VAR" and ALIAS.match(text):
            yield text
        else:
            yield text.upper()
        position += 1


def words_of(value: str) -> Iterator[Word]:
    """The words of a text value; a blank at its ends, or a second one, is a word of its own."""
    is_glued = True
    pieces = WORDS.findall(value)
    for index, piece in enumerate(pieces):
        is_single = piece == " " and 0 < index < len(pieces) - 1 and not pieces[index + 1].isspace()
        if is_single and not _follows_blank(pieces, index):
            is_glued = False
        else:
            yield Word(piece, is_glued)
            is_glued = True


def _follows_blank(pieces: Sequence[str], index: int) -> bool:
    return pieces[index - 1].isspace()


def text_of(tokens: Sequence[Token]) -> str:
    """Tokens as text with placeholders, which sqlglot can read."""
    parts: list[str] = []
    value: str | None = None
    for token in tokens:
        if value is not None:
            if token == "'":
                parts.append("'" + value.replace("'", "''") + "'")
                value = None
            elif isinstance(token, Word):
                value += token.text if token.is_glued or not value else f" {token.text}"
            else:
                raise QueryError("a text value holds something that is not a word")
        elif token == "'":
            value = ""
        elif isinstance(token, Item):
            source = f"t{token.table}x{token.instance}"
            parts.append(source if token.column is None else f"{source}.c{token.column}")
        elif isinstance(token, Word):
            if not is_number(token.text):
                raise QueryError(f"expected a number, found {quote(token.text)}")
            parts.append(token.text)
        else:
            parts.append(token)
    if value is not None:
        raise QueryError("a text value does not end")
    return " ".join(parts)


def is_number(text: str) -> bool:
    """Whether a text is a number as SQL writes it, without a sign."""
    return re.fullmatch(r"\d+(\.\d*)?(e[+-]?\d+)?|\.\d+", text, re.IGNORECASE) is not None
