"""A stand-in for a trained model that answers questions about databases, and databases to ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import torch

from unrolled.predictors.queries import Asked, Candidate
from unrolled.sql.database import Database
from unrolled.sql.pieces import Literal, to_pieces
from unrolled.sql.target import to_tokens
from unrolled.sql.tokens import Item, describe
from unrolled.sql.values import ValueIndex, question_words


class Asker:
    """Answers the questions that it knows, with attention and links made up from equal words.

    Args:
        queries: query by question; an exception is raised; further queries are next-best ones.
        task: name of the task.
    """

    def __init__(
        self,
        queries: Mapping[str, str | Sequence[str] | BaseException],
        task: str = "sql",
        has_attention: bool = True,
    ) -> None:
        self.task = SimpleNamespace(name=task)
        self.queries, self.has_attention = queries, has_attention
        self.asked: list[tuple[str, int]] = []

    def ask(self, question: str, database: Database, n_best: int = 5) -> Asked:
        self.asked.append((question, n_best))
        found = self.queries.get(question, ())
        if isinstance(found, BaseException):
            raise found
        queries = [found] if isinstance(found, str) else list(found)
        words = question_words(question)
        texts = tuple(word.text for word in words)
        others = tuple(
            Candidate(sql, 0.2 / n, "" if n % 2 else "no such column: \x1b[31mx")
            for n, sql in enumerate(queries[1:n_best], start=1)
        )
        if not queries:
            reason = "the question has nothing to do with the database" if words else "no words"
            return Asked(question, "", reason, None, 0.1, others, texts, (), (), texts, None, ())
        schema = database.schema
        items = [
            Item(t, c)
            for t, table in enumerate(schema.tables)
            for c in (None, *range(len(table.columns)))
        ]
        values = [value.literal for value in ValueIndex.of(database).find(words)]
        names = describe(items, schema)
        memory = (*texts, *names, *(value.text for value in values))
        pieces = to_pieces(to_tokens(queries[0], schema), values)
        copied = tuple(_source(piece, texts, items, values) for piece in pieces)
        links = tuple(
            (w, len(texts) + n)
            for w, word in enumerate(texts)
            for n, name in enumerate(names)
            if word.casefold().rstrip("s") == name.rpartition(".")[2].casefold()
        )
        attention = torch.full((len(pieces) + 1, len(memory)), 0.1)
        for row, index in enumerate(copied):
            attention[row, index if index is not None else row % len(memory)] += 3.0
        return Asked(
            question,
            queries[0],
            "",
            database.run(queries[0]),
            0.93,
            others,
            texts,
            tuple(_text(piece, schema) for piece in pieces),
            copied,
            memory,
            attention / attention.sum(1, keepdim=True) if self.has_attention else None,
            links,
        )


def _text(piece: object, schema: object) -> str:
    if isinstance(piece, Literal):
        return f"'{piece.text}'"
    if isinstance(piece, Item):
        return describe([piece], schema)[0]  # type: ignore[arg-type]
    return str(piece)


def _source(
    piece: object, texts: Sequence[str], items: Sequence[Item], values: Sequence[Literal]
) -> int | None:
    if isinstance(piece, Item):
        return len(texts) + items.index(Item(piece.table, piece.column))
    if isinstance(piece, Literal):
        return len(texts) + len(items) + values.index(piece)
    word = str(piece).removeprefix("_")
    return texts.index(word) if str(piece).startswith("_") and word in texts else None


SHOP = """
create table product (id integer primary key, name text, category text, price real, stock integer);
create table customer (id integer primary key, name text, city text, joined date);
insert into product values (1, 'green tea', 'kitchen', 3.5, 120), (2, 'tea pot', 'kitchen', 24.0, 7),
  (3, 'garden hose', 'garden', 19.95, 0), (4, 'NULL', NULL, NULL, NULL);
insert into customer values (1, 'Ana Ruiz', 'Oslo', '2024-05-03'), (2, 'Bo Lind', 'Ghent', '2023-11-20');
"""


def write_database(path: Path, script: str = SHOP) -> Path:
    """Write a database by a script."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path
