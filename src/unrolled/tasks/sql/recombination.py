"""New training examples from those that there are, by exchanging what question and query name alike.

Jia & Liang 2016, "Data recombination for neural semantic parsing", section 4.1, exchange entities of the
same type. Here a column is exchanged: a question that names it, and whose query uses it, is also asked
about another column of its table. A model then learns that a query uses the column that is named, even
in queries whose only column in training is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unrolled.sql.linking import Link, name_words
from unrolled.sql.pieces import to_pieces
from unrolled.sql.question import question_words
from unrolled.sql.tokens import Item, Token
from unrolled.tasks.sql.examples import QueryExample, encoded
from unrolled.tasks.task import Tokenizers
from unrolled.text.rows import Row


@dataclass(frozen=True)
class Exchange:
    """A column for another one.

    Args:
        old: the column that question and query name.
        new: the column in its place.
        first: index of the first word of the question that names the old column.
        last: index of the last word.
    """

    old: Item
    new: Item
    first: int
    last: int


def vary(
    row: Row, example: QueryExample, tokenizers: Tokenizers, random: np.random.Generator
) -> QueryExample:
    """A training example with another column in question and query; as it is if there is none.

    Args:
        row: question, database and query.
        example: the encoded row.
        tokenizers: tokenizers by role.
        random: chooses among the exchanges.
    """
    question, _, query = row.texts
    found = exchanges(example, example.source.tokens(query))
    if not found:
        return example
    exchange = found[int(random.integers(len(found)))]
    return exchanged(question, query, example, exchange, tokenizers)


def exchanges(example: QueryExample, tokens: Sequence[Token]) -> list[Exchange]:
    """What can be exchanged: a column that the question names by its whole name, in one place, and that
    the query uses, but not to join tables; for another column of its table, of the same kind, that
    neither names.

    Args:
        example: a question.
        tokens: the tokens of its query.
    """
    used = {Item(token.table, token.column) for token in tokens if isinstance(token, Item)}
    joined = set(_joined(tokens))
    found = []
    for old in sorted(used - joined, key=example.items.place.__getitem__):
        index = example.items.place[old]
        named = np.flatnonzero(example.links[:, index] == Link.NAME)
        if old.column is None or not len(named) or np.ptp(named) + 1 != len(named):
            continue
        for new in example.items.items:
            place = example.items.place[new]
            if (
                new.table == old.table
                and new.column is not None
                and new not in used
                and (example.items.flags[place, :6] == example.items.flags[index, :6]).all()
                and not (example.links[:, place] == Link.NAME).any()
            ):
                found.append(Exchange(old, new, int(named[0]), int(named[-1])))
    return found


def _joined(tokens: Sequence[Token]) -> Iterator[Item]:
    """The columns that are compared with another column."""
    for left, operator, right in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if operator == "=" and isinstance(left, Item) and isinstance(right, Item):
            yield Item(left.table, left.column)
            yield Item(right.table, right.column)


def exchanged(
    question: str, query: str, example: QueryExample, exchange: Exchange, tokenizers: Tokenizers
) -> QueryExample:
    """The example with another column in question and query.

    Args:
        question: the question.
        query: its query.
        example: the example that they are.
        exchange: what is exchanged, one of `exchanges`.
        tokenizers: tokenizers by role.
    """
    source, old, new = example.source, exchange.old, exchange.new
    words = question_words(question)
    assert new.column is not None
    name = source.schema.tables[new.table].columns[new.column].name
    before, after = question[: words[exchange.first].start], question[words[exchange.last].end :]
    asked = question_words(f"{before}{' '.join(name_words(name))}{after}")
    values = source.values.find(asked)
    tokens = [
        Item(new.table, new.column, token.instance)
        if isinstance(token, Item) and (token.table, token.column) == (old.table, old.column)
        else token
        for token in source.tokens(query)
    ]
    pieces = to_pieces(tokens, [value.literal for value in values])
    return encoded(source, asked, values, pieces, tokenizers)
