"""Questions and queries as ids: vocabularies, examples and batches.

The memory of a question holds its words, then the tables and columns of the schema, then the values of
the database that the question mentions. A query is written in words of a vocabulary, and in ids V + s,
which point at step s of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.errors import DataError
from unrolled.shapes import Padded
from unrolled.sql.linking import N_LINKS, Link, link, name_words
from unrolled.sql.parsing import QueryError
from unrolled.sql.pieces import (
    LITERAL,
    N_SPECIAL,
    NUMBER,
    WORD,
    WORD_MARK,
    Literal,
    Piece,
    class_of_word,
    items_of,
    to_pieces,
)
from unrolled.sql.question import question_words
from unrolled.sql.schema import Schema
from unrolled.sql.source import Source, open_source
from unrolled.sql.tokens import Item
from unrolled.sql.values import FoundValue
from unrolled.tasks.roles import Tokenizers
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, SPECIALS, UNK_ID
from unrolled.text.tokenizer import Tokenizer

SOURCE, TARGET = "source", "target"
"""The roles of the vocabularies of questions and names, and of queries."""

N_WORD_FLAGS = 2 * N_LINKS + 3
N_ITEM_FLAGS = 14
_LINKS = np.arange(N_LINKS, dtype=np.uint8)
KINDS = ("text", "number", "time", "boolean", "other")


@dataclass(frozen=True, eq=False)
class Items:
    """The items of a schema as arrays, in the order of `pieces.items_of`.

    Args:
        items: the items.
        place: the index of each item.
        words: ids of the words of each name.
        tables: `[I]`, the index of the item's own table.
        flags: `[I, 9]`: whether it is a table, its kind of column, whether it is a key, refers to another
            column, or is referred to.
        neighbours: `[I, I]`, the weights of a mean over related items: a table and its columns, and
            columns that a foreign key links.
    """

    items: tuple[Item, ...]
    place: Mapping[Item, int]
    words: tuple[tuple[int, ...], ...]
    tables: NDArray[np.int64]
    flags: NDArray[np.float32]
    neighbours: NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class QueryExample:
    """A question, encoded for a database.

    Args:
        source: what it is asked of.
        words: its words as written.
        question: `[N]`, ids of its words.
        items: the items of the schema.
        links: `[N, I]`, `Link` values.
        values: the values found in the database.
        value_words: ids of the words of each value.
        writes: `[S]`, what copying each step of the memory writes: an id of the vocabulary, or V + the
            first step that writes the same.
        classes: `[S]`, the class of each step (`sql.pieces`).
        target: ids of the query, without </s>; empty if it is not known.
    """

    source: Source
    words: tuple[str, ...]
    question: list[int]
    items: Items
    links: NDArray[np.uint8]
    values: tuple[FoundValue, ...]
    value_words: tuple[tuple[int, ...], ...]
    writes: list[int]
    classes: list[int]
    target: list[int]

    @property
    def n_steps(self) -> int:
        """Number of steps of the memory."""
        return len(self.writes)


@dataclass(frozen=True)
class Questions:
    """A batch of questions with their schemas. I is the number of items, L that of values.

    Args:
        words: `[B, N]` ids.
        word_flags: `[B, N, F]`.
        name_words: `[B, I, W]` ids of the words of each name, 0 where there is none.
        n_items: `[B]`, on the CPU.
        tables: `[B, I]`, the index of each item's own table.
        item_flags: `[B, I, F]`.
        neighbours: `[B, I, I]`.
        links: `[B, N, I]`.
        value_words: `[B, L, W]`.
        n_values: `[B]`, on the CPU.
        value_places: `[B, L, I]`, the weights of a mean over the columns that hold a value.
        value_spans: `[B, L, N]`, the weights of a mean over the words that mention a value.
        writes: `[B, S]`, see `QueryExample`, and its lengths.
    """

    words: Padded
    word_flags: Tensor
    name_words: Tensor
    n_items: Tensor
    tables: Tensor
    item_flags: Tensor
    neighbours: Tensor
    links: Tensor
    value_words: Tensor
    n_values: Tensor
    value_places: Tensor
    value_spans: Tensor
    writes: Padded

    def to(self, device: torch.device | str) -> Questions:
        """The same batch on another device; numbers of steps stay on the CPU."""
        on_cpu = ("n_items", "n_values")
        moved = {
            name: value if name in on_cpu else value.to(device)
            for name, value in vars(self).items()
        }
        return Questions(**moved)


@dataclass(frozen=True)
class QueryBatch:
    """The input of the loss.

    Args:
        questions: the questions.
        target: `[B, T]` ids, each row beginning with <s>.
        right: `[n_tokens]` ids to predict, row by row, without padding.
    """

    questions: Questions
    target: Padded
    right: Tensor

    @property
    def n_tokens(self) -> int:
        """The number of target tokens, with </s> and without padding."""
        return len(self.right)

    def to(self, device: torch.device | str) -> QueryBatch:
        """The same batch on another device."""
        return QueryBatch(self.questions.to(device), self.target.to(device), self.right.to(device))


def pieces_of(source: Source, query: str, values: Sequence[FoundValue]) -> list[Piece]:
    """The pieces of a query; values of the database that the question mentions are pointed at.

    Raises:
        QueryError: the query cannot be written in this schema.
    """
    return to_pieces(source.tokens(query), [value.literal for value in values])


@lru_cache(maxsize=20)
def keywords_of(target: Tokenizer) -> tuple[str, ...]:
    """The keywords of a vocabulary of queries, in its order."""
    pieces = target.tokens(range(len(SPECIALS), len(target)))
    return tuple(piece for piece in pieces if not piece.startswith(WORD_MARK))


# Examples


def encode(fields: Sequence[str], tokenizers: Tokenizers) -> QueryExample:
    """Encode a question, its database, and its query, if there is one.

    Raises:
        DataError: the database cannot be read, or the query cannot be written in its schema.
    """
    source = open_source(fields[1])
    target: Tokenizer = tokenizers[TARGET]
    asked, values = source.mentioned(fields[0])
    words = tuple(word.text for word in asked)
    items = _items(source, tokenizers[SOURCE])
    links, place = link(words, source.schema), items.place
    for value in values:
        for table, column in value.places:
            links[value.first : value.last + 1, place[Item(table, column)]] = Link.VALUE
    V, n_words, n_items = len(target), len(words), len(items.items)
    first: dict[str | Literal, int] = {}
    writes = []
    for step, (word, id_) in enumerate(
        zip(words, target.ids_of([WORD_MARK + word for word in words]), strict=True)
    ):
        writes.append(V + first.setdefault(word, step) if id_ == UNK_ID else id_)
    writes += range(V + n_words, V + n_words + n_items)
    for step, value in enumerate(values, start=n_words + n_items):
        writes.append(V + first.setdefault(value.literal, step))
    first_item = N_SPECIAL + len(keywords_of(target))
    classes = [class_of_word(word) for word in words]
    classes += range(first_item, first_item + n_items)
    classes += [NUMBER if value.is_number else LITERAL for value in values]
    ids: list[int] = []
    if len(fields) > 2:
        try:
            pieces = pieces_of(source, fields[2], values)
        except QueryError as error:
            raise DataError(f"the query cannot be written in its schema: {error}") from None
        ids = _ids(pieces, target, words, first, place, n_words)
    vocabulary: Tokenizer = tokenizers[SOURCE]
    return QueryExample(
        source,
        words,
        vocabulary.ids_of([word.lower() for word in words]) or [EOS_ID],
        items,
        links,
        values,
        tuple(
            tuple(vocabulary.ids_of([word.text.lower() for word in question_words(value.text)]))
            for value in values
        ),
        writes,
        classes,
        ids,
    )


def _ids(
    pieces: Sequence[Piece],
    target: Tokenizer,
    words: Sequence[str],
    first: dict[str | Literal, int],
    place: Mapping[Item, int],
    n_words: int,
) -> list[int]:
    """The ids of a query; `UNK_ID` for a word that can neither be written nor copied."""
    V, ids = len(target), []
    known = target.ids_of([piece if isinstance(piece, str) else "" for piece in pieces])
    for piece, id_ in zip(pieces, known, strict=True):
        if isinstance(piece, Item):
            ids.append(V + n_words + place[piece])
        elif isinstance(piece, Literal):
            ids.append(V + first[piece])
        elif id_ == UNK_ID and piece.removeprefix(WORD_MARK) in first and piece[0] == WORD_MARK:
            ids.append(V + first[piece.removeprefix(WORD_MARK)])
        else:
            ids.append(id_)
    return ids


def written(ids: Sequence[int], example: QueryExample, target: Tokenizer) -> list[Piece]:
    """The pieces that ids of an output stand for."""
    V, n_words = len(target), len(example.words)
    n_items = len(example.items.items)
    pieces: list[Piece] = []
    for id_, text in zip(ids, target.tokens([min(id_, V - 1) for id_ in ids]), strict=True):
        step = id_ - V
        if step < 0:
            pieces.append(text)
        elif step < n_words:
            pieces.append(WORD_MARK + example.words[step])
        elif step < n_words + n_items:
            pieces.append(example.items.items[step - n_words])
        else:
            pieces.append(example.values[step - n_words - n_items].literal)
    return pieces


@lru_cache(maxsize=1_000)
def _items(source: Source, vocabulary: Tokenizer) -> Items:
    schema = source.schema
    items = items_of(schema)
    place = {item: index for index, item in enumerate(items)}
    refers = set[Item]()
    referred = set[Item]()
    related = np.zeros((len(items), len(items)), np.float32)
    for item in items:
        if item.column is not None:
            table = place[Item(item.table)]
            related[place[item], table] = related[table, place[item]] = 1
    for one, other in _foreign_keys(schema):
        refers.add(one)
        referred.add(other)
        pairs = ((one, other), (Item(one.table), Item(other.table)))
        for left, right in pairs:
            related[place[left], place[right]] = related[place[right], place[left]] = 1
    names = []
    flags = np.zeros((len(items), N_ITEM_FLAGS - N_LINKS - 1), np.float32)
    for index, item in enumerate(items):
        table_found = schema.tables[item.table]
        if item.column is None:
            flags[index, 0] = 1
            names.append(table_found.name)
            continue
        column = table_found.columns[item.column]
        names.append(column.name)
        flags[index, 1 + KINDS.index(column.kind)] = 1
        flags[index, 6:] = column.is_key, item in refers, item in referred
    totals = related.sum(1, keepdims=True)
    return Items(
        tuple(items),
        place,
        tuple(tuple(vocabulary.ids_of(name_words(name))) for name in names),
        np.array([place[Item(item.table)] for item in items], np.int64),
        flags,
        related / np.maximum(totals, 1),
    )


def _foreign_keys(schema: Schema) -> Iterator[tuple[Item, Item]]:
    tables = {table.name: index for index, table in enumerate(schema.tables)}

    def item(table: str, column: str) -> Item:
        columns = schema.tables[tables[table]].columns
        return Item(tables[table], [each.name for each in columns].index(column))

    for key in schema.foreign_keys:
        yield item(key.table, key.column), item(key.other_table, key.other_column)


def lengths(example: QueryExample) -> tuple[int, int]:
    """The number of words of the question, and of steps of the query, with <s>."""
    return len(example.question), len(example.target) + 1


# Batches


def collate(examples: Sequence[QueryExample]) -> QueryBatch:
    """Examples → padded ids."""
    target = Padded.from_rows([[BOS_ID, *example.target] for example in examples], PAD_ID)
    right = [id_ for example in examples for id_ in (*example.target, EOS_ID)]
    return QueryBatch(questions(examples), target, torch.tensor(right, dtype=torch.int64))


def questions(examples: Sequence[QueryExample]) -> Questions:
    """The inputs of a batch, without its queries."""
    B = len(examples)
    N = max(len(example.question) for example in examples)
    n_items = [len(example.items.items) for example in examples]
    n_values = [len(example.values) for example in examples]
    most_items, most_values = max(n_items), max(n_values)
    word_flags = np.zeros((B, N, N_WORD_FLAGS), np.float32)
    item_flags = np.zeros((B, most_items, N_ITEM_FLAGS), np.float32)
    tables = np.zeros((B, most_items), np.int64)
    neighbours = np.zeros((B, most_items, most_items), np.float32)
    links = np.zeros((B, N, most_items), np.int64)
    places = np.zeros((B, most_values, most_items), np.float32)
    spans = np.zeros((B, most_values, N), np.float32)
    for row, example in enumerate(examples):
        n, n_words = n_items[row], len(example.words)
        items = example.items
        tables[row, :n] = items.tables
        neighbours[row, :n, :n] = items.neighbours
        links[row, :n_words, :n] = example.links
        item_flags[row, :n] = _item_flags(example)
        if n_words:
            word_flags[row, :n_words] = _word_flags(example)
        for index, value in enumerate(example.values):
            spans[row, index, value.first : value.last + 1] = 1 / (value.last + 1 - value.first)
            for table, column in value.places:
                places[row, index, items.place[Item(table, column)]] = 1 / len(value.places)
    return Questions(
        Padded.from_rows([example.question for example in examples], PAD_ID),
        torch.from_numpy(word_flags),
        _padded_words([example.items.words for example in examples], most_items),
        torch.tensor(n_items),
        torch.from_numpy(tables),
        torch.from_numpy(item_flags),
        torch.from_numpy(neighbours),
        torch.from_numpy(links),
        _padded_words([example.value_words for example in examples], most_values),
        torch.tensor(n_values),
        torch.from_numpy(places),
        torch.from_numpy(spans),
        Padded.from_rows(
            [
                example.writes if example.words else [PAD_ID, *example.writes]
                for example in examples
            ],
            PAD_ID,
        ),
    )


def _padded_words(rows: Sequence[Sequence[Sequence[int]]], n: int) -> Tensor:
    """`[B, n, W]`, at least one word wide."""
    W = max((len(words) for row in rows for words in row), default=1) or 1
    ids = np.full((len(rows), n, W), PAD_ID, np.int64)
    for index, row in enumerate(rows):
        for place, words in enumerate(row):
            ids[index, place, : len(words)] = words
    return torch.from_numpy(ids)


def _item_flags(example: QueryExample) -> NDArray[np.float32]:
    """`[I, 14]`: those of the schema, the links to any word, and the share of the name that is linked."""
    counts_KI = (example.links == _LINKS[:, None, None]).sum(1)
    n_words = np.array([max(1, len(words)) for words in example.items.words])
    linked = np.minimum((counts_KI[Link.PART] + counts_KI[Link.NAME]) / n_words, 1)
    own = np.concatenate([counts_KI > 0, linked[None]])
    return np.concatenate([example.items.flags, own.T], 1).astype(np.float32)


def _word_flags(example: QueryExample) -> NDArray[np.float32]:
    """`[N, F]`: links to tables, links to columns, whether a word is a number, a capital, in a value."""
    is_table = example.items.flags[:, 0] > 0
    sides = (example.links[:, is_table], example.links[:, ~is_table])
    found = [each for side in sides for each in (side == _LINKS[:, None, None]).any(2)]
    is_number = [class_of_word(word) != WORD for word in example.words]
    is_capital = [word[:1].isupper() for word in example.words]
    in_value = np.zeros(len(example.words), bool)
    for value in example.values:
        in_value[value.first : value.last + 1] = True
    return np.stack([*found, is_number, is_capital, in_value], 1).astype(np.float32)
