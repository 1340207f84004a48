"""New training examples from those that there are, by exchanging what question and query have in common.

Jia & Liang 2016, "Data recombination for neural semantic parsing", section 4.1, exchange entities of the
same type. Here values are hidden instead (`QueryConfig.value_dropout_rate`), and two other things are
exchanged. A question that names a column which its query uses is also asked about another column of the
table; and one with a superlative, whose query has MAX or MIN, is also asked with the opposite. So a model
learns to follow the words of a question where all training queries of that form agree.
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
from unrolled.text.config import UNK_ID
from unrolled.text.rows import Row

OPPOSITES = {
    "biggest": "smallest",
    "cheapest": "dearest",
    "dearest": "cheapest",
    "earliest": "latest",
    "fewest": "most",
    "greatest": "smallest",
    "highest": "lowest",
    "largest": "smallest",
    "latest": "earliest",
    "least": "most",
    "longest": "shortest",
    "lowest": "highest",
    "maximum": "minimum",
    "minimum": "maximum",
    "most": "least",
    "newest": "oldest",
    "oldest": "newest",
    "shortest": "longest",
    "smallest": "largest",
    "tallest": "shortest",
}
"""English superlatives with one of opposite meaning."""

_FUNCTIONS = {"MAX": "MIN", "MIN": "MAX"}


@dataclass(frozen=True)
class Exchange:
    """Words of a question in the place of others, and the query that answers it then.

    Args:
        first: index of the first word that is replaced.
        last: index of the last one.
        text: what stands there then.
        tokens: the tokens of the query.
    """

    first: int
    last: int
    text: str
    tokens: tuple[Token, ...]


def vary(
    row: Row, example: QueryExample, tokenizers: Tokenizers, random: np.random.Generator
) -> QueryExample:
    """A training example with something exchanged; as it is if nothing can be, or if the vocabulary lacks
    what would have to be written.

    Args:
        row: question, database and query.
        example: the encoded row.
        tokenizers: tokenizers by role.
        random: chooses between a column and a superlative, and then among the columns.
    """
    tokens = example.source.tokens(row.texts[2])
    found = [
        kind for kind in (of_columns(example, tokens), of_superlatives(example, tokens)) if kind
    ]
    if not found:
        return example
    kind = found[int(random.integers(len(found)))]
    exchange = kind[int(random.integers(len(kind)))]
    varied = exchanged(row.texts[0], example, exchange, tokenizers)
    return example if UNK_ID in varied.target else varied


def of_columns(example: QueryExample, tokens: Sequence[Token]) -> list[Exchange]:
    """Another column for one that the question names by its whole name, in one place, and that the query
    uses, but not to join tables. It is of the same table and kind, and neither names it.

    Args:
        example: a question.
        tokens: the tokens of its query.
    """
    items, links = example.items, example.links
    used = {Item(token.table, token.column) for token in tokens if isinstance(token, Item)}
    found = []
    for old in sorted(used - set(_joined(tokens)), key=items.place.__getitem__):
        index = items.place[old]
        named = np.flatnonzero(links[:, index] == Link.NAME)
        if old.column is None or not len(named) or np.ptp(named) + 1 != len(named):
            continue
        for place, new in enumerate(items.items):
            if (
                new.table == old.table
                and new.column is not None
                and new not in used
                and (items.flags[place, :6] == items.flags[index, :6]).all()
                and not (links[:, place] == Link.NAME).any()
            ):
                name = example.source.schema.tables[new.table].columns[new.column].name
                text = " ".join(name_words(name))
                renamed = tuple(_renamed(token, old, new) for token in tokens)
                found.append(Exchange(int(named[0]), int(named[-1]), text, renamed))
    return found


def _joined(tokens: Sequence[Token]) -> Iterator[Item]:
    """The columns that are compared with another column."""
    for left, operator, right in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if operator == "=" and isinstance(left, Item) and isinstance(right, Item):
            yield Item(left.table, left.column)
            yield Item(right.table, right.column)


def _renamed(token: Token, old: Item, new: Item) -> Token:
    if isinstance(token, Item) and (token.table, token.column) == (old.table, old.column):
        return Item(new.table, new.column, token.instance)
    return token


def of_superlatives(example: QueryExample, tokens: Sequence[Token]) -> list[Exchange]:
    """The opposite of the only superlative of a question, if its query has one MAX or MIN; a superlative
    in the name of a column is none.

    Args:
        example: a question.
        tokens: the tokens of its query.
    """
    places = [
        place
        for place, word in enumerate(example.words)
        if word.lower() in OPPOSITES and not (example.links[place] == Link.NAME).any()
    ]
    n_functions = sum(isinstance(token, str) and token in _FUNCTIONS for token in tokens)
    if len(places) != 1 or n_functions != 1 or "ORDER BY" in tokens:
        return []
    turned = tuple(
        _FUNCTIONS.get(token, token) if isinstance(token, str) else token for token in tokens
    )
    text = OPPOSITES[example.words[places[0]].lower()]
    return [Exchange(places[0], places[0], text, turned)]


def exchanged(
    question: str, example: QueryExample, exchange: Exchange, tokenizers: Tokenizers
) -> QueryExample:
    """The example of the question and query after an exchange.

    Args:
        question: the question.
        example: its example.
        exchange: one of `of_columns` or `of_superlatives`.
        tokenizers: tokenizers by role.
    """
    words = question_words(question)
    before, after = question[: words[exchange.first].start], question[words[exchange.last].end :]
    asked = question_words(f"{before}{exchange.text}{after}")
    values = example.source.values.find(asked)
    pieces = to_pieces(exchange.tokens, [value.literal for value in values])
    return encoded(example.source, asked, values, pieces, tokenizers)
