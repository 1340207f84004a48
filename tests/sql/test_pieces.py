"""Pieces of queries and back."""

from __future__ import annotations

import pytest

from unrolled.sql.parsing import QueryError
from unrolled.sql.pieces import APART, GLUED, Literal, from_pieces, items_of, to_pieces
from unrolled.sql.schema import Column, Schema, Table
from unrolled.sql.target import to_sql, to_tokens
from unrolled.sql.tokens import Item

SCHEMA = Schema(
    "towns",
    (
        Table("town", (Column("name", "text"), Column("size", "int"), Column("born", "date"))),
        Table("river", (Column("name", "text"),)),
    ),
)

QUERIES = (
    "SELECT name FROM town WHERE name = 'st. louis' AND size > 3.5",
    "SELECT name FROM town WHERE born = '2020-05-01' OR name LIKE '%o''hare %'",
    "SELECT name FROM town WHERE name = ' two  blanks ' OR name = '' OR name = '-x -y'",
    "SELECT a.name FROM town AS a, town AS b WHERE a.size = b.size AND b.name = 'a_b c'",
    "SELECT name FROM town WHERE size = -1 ORDER BY size DESC LIMIT 3",
)


@pytest.mark.parametrize("query", QUERIES)
def test_pieces_give_back_the_tokens(query: str) -> None:
    tokens = to_tokens(query, SCHEMA)
    assert from_pieces(to_pieces(tokens)) == tokens
    values = [Literal("st. louis"), Literal("3.5", is_number=True), Literal(" two  blanks ")]
    assert from_pieces(to_pieces(tokens, values)) == tokens


def test_blanks_are_marked_only_where_they_surprise() -> None:
    tokens = to_tokens("SELECT name FROM town WHERE name = 'st. louis-du a~b'", SCHEMA)
    pieces = to_pieces(tokens)
    words = ["_st", "_.", APART, "_louis", "_-", "_du", "_a", GLUED, "_~", GLUED, "_b"]
    assert pieces[-12:-1] == words
    assert from_pieces(pieces) == tokens


def test_values_that_are_pointed_at_are_one_piece() -> None:
    tokens = to_tokens("SELECT name FROM town WHERE name = 'st. louis' AND size = 7", SCHEMA)
    number = Literal("7", is_number=True)
    pieces = to_pieces(tokens, [Literal("st. louis"), number])
    assert [piece for piece in pieces if isinstance(piece, Literal)] == [
        Literal("st. louis"),
        number,
    ]
    assert "'" not in pieces
    assert to_sql(from_pieces(pieces), SCHEMA) == to_sql(tokens, SCHEMA)


def test_an_instance_must_follow_an_item() -> None:
    with pytest.raises(QueryError, match="#2 does not follow a table or column"):
        from_pieces(["FROM", "#2"])


def test_items_are_each_table_and_its_columns() -> None:
    assert items_of(SCHEMA) == [
        Item(0),
        Item(0, 0),
        Item(0, 1),
        Item(0, 2),
        Item(1),
        Item(1, 0),
    ]
