"""Describe questions, queries and their databases before training."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from unrolled.data_report import cost
from unrolled.data_report.pairs import Column, column_of, page
from unrolled.data_report.parts import count_shared, facts_of_rows, shared_table
from unrolled.errors import UnrolledError
from unrolled.quoting import quote
from unrolled.sql.pieces import WORD_MARK
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.sql.examples import SOURCE, TARGET, QueryExample
from unrolled.tasks.task import QueryTask
from unrolled.text.config import UNK_ID
from unrolled.text.rows import Row
from unrolled.text.splits import Splits, read_splits
from unrolled.training.dataset import Part, PreparedRows, encode_splits
from unrolled.training.recipe import Recipe
from unrolled.wording import count_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_MOST_NAMED = 3


def report_queries(task: QueryTask, recipe: Recipe) -> RenderableType:
    """Describe questions and queries as a training run would read them, and estimate its cost.

    Raises:
        ConfigError: no file is given.
        DataError: a file or a database cannot be read.
    """
    began = time.perf_counter()
    splits = read_splits(recipe.data, len(task.columns), task.reading)
    prepared = encode_splits(splits, recipe, task)
    seconds = time.perf_counter() - began
    parts = {"train": prepared.train, "valid": prepared.valid}
    rows = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    sizes = {name: len(part) for name, part in rows.items()}
    too_long = {name: part.n_skipped for name, part in parts.items()}
    facts = [
        *facts_of_rows("row", "question", sizes, too_long, splits, recipe.data),
        *_databases(rows, parts),
        *_unusable(parts),
        *_sources_of_values(prepared.train, prepared.tokenizers),
        *(("note", note) for note in splits.notes),
        *_cost(recipe, task, prepared, seconds),
    ]
    return page(
        recipe.data.train,
        _columns(parts, prepared.tokenizers),
        facts,
        [_for_people(row) for row in splits.train[:3]],
        [_shared(splits)],
    )


def _columns(parts: Mapping[str, Part], tokenizers: Tokenizers) -> list[Column]:
    train = parts["train"]
    lines = [row.line for row in train.rows]
    columns = []
    sides = (("question", 0, SOURCE), ("query", 2, TARGET))
    for name, place, role in sides:
        ids = {
            part: [_ids(example, role) for example in encoded.examples]
            for part, encoded in parts.items()
        }
        unknown = {
            part: sum(row.count(UNK_ID) for row in of_part) / sum(map(len, of_part))
            for part, of_part in ids.items()
            if any(of_part)
        }
        columns.append(
            column_of(
                name,
                [row.texts[place] for row in train.rows],
                np.array([len(row) for row in ids["train"]], np.int64),
                unknown,
                lines=lines,
                n_vocabulary=len(tokenizers[role]),
            )
        )
    return columns


def _ids(example: QueryExample, role: str) -> list[int]:
    return example.question if role == SOURCE else example.target


def _databases(
    rows: Mapping[str, Sequence[Row]], parts: Mapping[str, Part]
) -> Iterator[tuple[str, str]]:
    """How many databases each part has, how many of them training has not, and their sizes."""
    files = {name: {row.texts[1] for row in of_part} for name, of_part in rows.items()}
    counts = [f"{len(names):,} of {part}" for part, names in files.items() if names]
    new = [
        f"{len(files[part] - files['train']):,} of {part}"
        for part in ("valid", "test")
        if files[part] - files["train"]
    ]
    unseen = f"; not in train: {', '.join(new)}" if new else ""
    yield "databases", f"{', '.join(counts)}{unseen}"
    schemas = {
        id(example.source): example.source.schema
        for part in parts.values()
        for example in part.examples
    }
    n_tables = [len(schema.tables) for schema in schemas.values()]
    n_columns = [schema.n_columns for schema in schemas.values()]
    yield "schemas", f"{_range(n_tables)} tables, {_range(n_columns)} columns"


def _range(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _unusable(parts: Mapping[str, Part]) -> Iterator[tuple[str, str]]:
    for name, part in parts.items():
        for index, (line, problem) in enumerate(part.unusable[:_MOST_NAMED]):
            about = f"{count_of(len(part.unusable), 'row')} of {name} left out, the first ones: "
            yield "" if index else "unusable", f"{'' if index else about}line {line}: {problem}"


def _sources_of_values(part: Part, tokenizers: Tokenizers) -> Iterator[tuple[str, str]]:
    """Where the words of the values in queries come from."""
    V, counts = len(tokenizers[TARGET]), Counter[str]()
    pieces = tokenizers[TARGET].tokens(range(V))
    for example in part.examples:
        n_words, n_items = len(example.words), len(example.items.items)
        copied = set(example.writes[:n_words])
        for id_ in example.target:
            step = id_ - V
            if step >= n_words + n_items:
                counts["found in the database"] += 1
            elif 0 <= step < n_words or id_ in copied:
                counts["copied from the question"] += 1
            elif id_ == UNK_ID:
                counts["out of reach"] += 1
            elif step < 0 and pieces[id_].startswith(WORD_MARK):
                counts["learned from training"] += 1
    if total := counts.total():
        shares = (f"{count / total:.1%} {where}" for where, count in counts.most_common())
        yield "values", ", ".join(shares)


def _shared(splits: Splits) -> Table | None:
    asked = {
        "train": [_question(row) for row in splits.train],
        "valid": [_question(row) for row in splits.valid],
        "test": [_question(row) for row in splits.test],
    }
    sizes = {name: len(rows) for name, rows in asked.items()}
    return shared_table(count_shared(("question",), asked, "whole row"), sizes)


def _question(row: Row) -> Row:
    return replace(row, fields=(f"{row.texts[1]}\n{row.texts[0]}",))


def _for_people(row: Row) -> Row:
    question, database, query = row.texts
    return replace(row, fields=(f"{question} ({quote(database)})", query))


def _cost(
    recipe: Recipe, task: QueryTask, prepared: PreparedRows, seconds: float
) -> Sequence[tuple[str, str]]:
    train, valid = (
        (part.rows, [tuple(lengths) for lengths in part.lengths.tolist()])
        for part in (prepared.train, prepared.valid)
    )
    try:
        return tuple(cost.of_rows(recipe, task, prepared.tokenizers, train, valid, seconds).facts())
    except UnrolledError as error:
        return (("time", f"not estimated, because training stops with an error: {error}"),)
