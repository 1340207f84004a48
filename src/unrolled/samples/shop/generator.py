"""Generate the sample: two databases, and questions split by question, by query shape and by database."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from random import Random

from unrolled.errors import ConfigError, DataError
from unrolled.samples.files import write_parts
from unrolled.samples.shop.domains import DOMAINS, LIBRARY, SHOP, Domain, rows
from unrolled.samples.shop.questions import Asker, Question

HELD_OUT_SHAPES = frozenset(
    {
        "count, never",
        "count, event or text",
        "first, event",
        "highest, text",
        "list, event and text",
        "list, number or text",
        "count by group, date",
        "mean by group, number",
        "top, never",
        "total of events, month",
        "count, average",
    }
)
"""Shapes of queries that occur only in `shapes`; each of their parts occurs in the training set."""

MOST_QUESTIONS = 20_000
"""Maximum number of training questions; the grammar has some hundred thousand."""


@dataclass(frozen=True)
class ShopSample:
    """Questions by part.

    Args:
        train, valid, test: questions about the shop; no question is in two parts, whatever its capitals
            and its last punctuation mark.
        shapes: questions about the shop whose queries have shapes that no other part has.
        library: questions about a database that no other part is about.
    """

    train: list[Question]
    valid: list[Question]
    test: list[Question]
    shapes: list[Question]
    library: list[Question]


PARTS = ("train", "valid", "test", "shapes", "library")


def generate(n: int = 4_000, seed: int = 1) -> ShopSample:
    """Generate the sample; the same arguments give the same questions on every machine.

    Args:
        n: number of training questions; each other part has an eighth as many, and at least one.
        seed: random seed.

    Raises:
        ConfigError: `n` is less than 1 or more than `MOST_QUESTIONS`.
    """
    if not 1 <= n <= MOST_QUESTIONS:
        raise ConfigError(f"n must be 1 to {MOST_QUESTIONS:,}, got {n:,}")
    n_other = max(1, n // 8)
    asked: set[str] = set()
    parts = {}
    for part in ("test", "valid", "shapes", "library", "train"):
        domain = LIBRARY if part == "library" else SHOP
        asker = Asker(domain, Random(f"{part} {seed}"))
        parts[part] = _draw(asker, part, n if part == "train" else n_other, asked)
    return ShopSample(**parts)


def _draw(asker: Asker, part: str, n: int, asked: set[str]) -> list[Question]:
    questions: list[Question] = []
    while len(questions) < n:
        question = asker.question()
        if question is None or question.key in asked:
            continue
        if part != "library" and _part_of(question) != part:
            continue
        asked.add(question.key)
        questions.append(question)
    return questions


def _part_of(question: Question) -> str:
    """The part that a question about the shop belongs to."""
    if question.shape in HELD_OUT_SHAPES:
        return "shapes"
    return {0: "test", 1: "valid"}.get(zlib.crc32(question.key.encode()) % 10, "train")


def write(folder: str | PathLike[str], sample: ShopSample) -> None:
    """Write shop.sqlite, library.sqlite and the parts as TSV files with question, query and database.

    Raises:
        DataError: the folder cannot be created or written.
    """
    contents = {}
    for part in PARTS:
        database = "library.sqlite" if part == "library" else "shop.sqlite"
        lines = [f"{each.text}\t{each.query}\t{database}\n" for each in getattr(sample, part)]
        contents[f"{part}.tsv"] = "".join(["question\tquery\tdatabase\n", *lines])
    write_parts(folder, contents)
    for domain in DOMAINS:
        _write_database(Path(folder) / f"{domain.name}.sqlite", domain)


def _write_database(path: Path, domain: Domain) -> None:
    new = path.with_name(f".{path.name}.partial")
    try:
        new.unlink(missing_ok=True)
        with closing(sqlite3.connect(new)) as connection, connection:
            connection.executescript(domain.script)
            for table, content in rows(domain).items():
                marks = ", ".join("?" * len(content[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", content)
        new.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise DataError(f"cannot be written ({error})", path) from None
