"""Explain how a question became a query: what was copied, linked and attended to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled import storage
from unrolled.errors import ConfigError
from unrolled.inspect import page
from unrolled.inspect.attention import heatmap_rows
from unrolled.inspect.page import HeatmapRow
from unrolled.predictors.queries import Asked
from unrolled.quoting import escape, shorten
from unrolled.sql.database import Value
from unrolled.sql.layout import clause_lines
from unrolled.sql.schema import Schema
from unrolled.sql.tokens import is_number

LEAST_SHOWN = 0.05
"""Least attention that a drawing shows."""

_MOST_ATTENDED = 60
_MOST_ROWS, _MOST_COLUMNS = 20, 30
_LONGEST_CELL = 200
_LONGEST_LINK = 80


def value_text(value: Value) -> str:
    """A value of a result on one line, different for NULL, texts, numbers and bytes.

    Texts that could be taken for something else are in quotation marks.

    >>> [value_text(value) for value in (None, "NULL", "", " a", "tea", 2.0, 1 / 3, b"a")]
    ['NULL', "'NULL'", "''", "' a'", 'tea', '2.0', '0.3333333333', "X'61'"]
    """
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        shown = value[: _LONGEST_CELL // 2].hex()
        return f"X'{shown}{'…' if len(value) > _LONGEST_CELL // 2 else ''}'"
    if isinstance(value, float):
        exact = repr(value)
        return exact if len(exact) <= 12 else f"{value:.10g}"
    if isinstance(value, int):
        return str(value)
    text = value if len(value) <= _LONGEST_CELL else f"{value[:_LONGEST_CELL]}…"
    return f"'{text}'" if text == "NULL" or text != text.strip() or not text else text


def copied_texts(asked: Asked, schema: Schema) -> list[str]:
    """The words and values that the query has copied, in its order; neighbouring words are joined."""
    n_words, first_value = len(asked.words), _first_value(asked, schema)
    texts: list[str] = []
    last: int | None = None
    for index in asked.copied:
        if index is not None:
            text = asked.memory[index]
            if index >= first_value:
                texts.append(text if is_number(text) else f"'{text}'")
            elif index < n_words and last is not None and index == last + 1:
                texts[-1] += f" {text}"
            elif index < n_words:
                texts.append(text)
        last = index
    return list(dict.fromkeys(texts))


def _first_value(asked: Asked, schema: Schema) -> int:
    """Index in the memory of the first value, after the words and the names."""
    n_words = len(asked.words)
    names = {table.name for table in schema.tables} | {
        f"{table.name}.{column.name}" for table in schema.tables for column in table.columns
    }
    n_names = 0
    for text in asked.memory[n_words : n_words + len(names)]:
        if text not in names:
            break
        n_names += 1
    return n_words + n_names


def linked_names(asked: Asked) -> dict[str, list[str]]:
    """For each word that may stand for something in the database, the names of it."""
    linked: dict[str, list[str]] = {}
    for word, index in sorted(asked.links):
        linked.setdefault(asked.words[word], []).append(asked.memory[index])
    return {word: list(dict.fromkeys(names)) for word, names in linked.items()}


def attended(asked: Asked, most: int = _MOST_ATTENDED) -> list[int]:
    """Indices in the memory of what is worth drawing, in order.

    Args:
        asked: the answer.
        most: maximum number. First come those that a piece was copied from, then those with the largest
            weights; all words of the question count, and of the others those of at least `LEAST_SHOWN`.
    """
    if asked.attention is None or not asked.written:
        return []
    largest = asked.attention.max(0).values.tolist()
    pointed = {index for index in asked.copied if index is not None}
    chosen = [
        index
        for index, weight in enumerate(largest)
        if weight >= LEAST_SHOWN or index in pointed or index < len(asked.words)
    ]
    chosen.sort(key=lambda index: (index not in pointed, -largest[index], index))
    return sorted(chosen[:most])


@dataclass(frozen=True)
class _Shown:
    """A question and its answer, as shown on the page.

    Args:
        asked: the answer.
        sql: the query in lines.
        headings: the names of the columns shown, each with its CSS class.
        rows: the values shown, each with its CSS classes.
        note: how many rows there are.
        copied: what was copied.
        linked: words with the names that they may stand for.
        columns: what the heat map shows of the memory.
        weights: the rows of the heat map.
    """

    asked: Asked
    sql: str
    headings: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[tuple[str, str]]]
    note: str
    copied: Sequence[str]
    linked: dict[str, list[str]]
    columns: Sequence[str]
    weights: Sequence[HeatmapRow]


def rows_note(n_rows: int, n_shown: int, is_cut: bool) -> str:
    """How many rows a result has, and how many are shown.

    >>> rows_note(0, 0, False), rows_note(1, 1, False), rows_note(1000, 20, True)
    ('no rows', '1 row', 'more than 1,000 rows: the first 20 are shown')
    """
    count = "no rows" if not n_rows else "1 row" if n_rows == 1 else f"{n_rows:,} rows"
    if is_cut:
        count = f"more than {count}"
    first = "the first is" if n_shown == 1 else f"the first {n_shown:,} are"
    return f"{count}: {first} shown" if is_cut or n_shown < n_rows else count


def _kind(value: Value) -> str:
    if isinstance(value, (int, float)):
        return "number"
    return "line none" if value is None else "line"


def _kind_of_column(values: Sequence[Value]) -> str:
    """The CSS class of a heading: above numbers it is on the right, as they are."""
    known = [value for value in values if value is not None]
    is_number = known and all(isinstance(value, (int, float)) for value in known)
    return "number" if is_number else "line"


def _shown(asked: Asked, schema: Schema) -> _Shown:
    result = asked.result
    rows = () if result is None else result.rows[:_MOST_ROWS]
    headings = () if result is None else result.columns[:_MOST_COLUMNS]
    note = "" if result is None else rows_note(len(result.rows), len(rows), result.is_cut)
    if result is not None and len(headings) < len(result.columns):
        note += f"; {len(headings)} of {len(result.columns):,} columns are shown"
    chosen = attended(asked)
    weights = (
        [] if asked.attention is None else asked.attention[: len(asked.written), chosen].tolist()
    )
    return _Shown(
        asked,
        "\n".join(map(escape, clause_lines(asked.sql))) if asked.sql else "",
        [
            (shorten(name), _kind_of_column([row[place] for row in rows]))
            for place, name in enumerate(headings)
        ],
        [[(value_text(cell), _kind(cell)) for cell in row[:_MOST_COLUMNS]] for row in rows],
        note,
        copied_texts(asked, schema),
        linked_names(asked),
        [asked.memory[index] for index in chosen],
        heatmap_rows(asked.written, weights) if chosen else (),
    )


def query_page(answers: Sequence[Asked], schema: Schema, command: str = "") -> str:
    """Create a self-contained HTML page with questions, queries, rows, links and attention.

    Args:
        answers: the answers.
        schema: schema of the database.
        command: the command that creates the page, for the footer.
    """
    shown = [_shown(asked, schema) for asked in answers]
    return page.render(
        "queries.html",
        title=f"Questions on {schema.name}",
        command=command,
        shown=shown,
        sections={
            f"question-{number}": f"{number}. {shorten(asked.question, _LONGEST_LINK)}"
            for number, asked in enumerate(answers, start=1)
        },
    )


def check_page(path: Path) -> None:
    """Check that a page can be written.

    Raises:
        ConfigError: the path does not end in `.html`, is a folder, or its folder does not exist.
    """
    if path.suffix.lower() != ".html" or path.is_dir():
        raise ConfigError(f"cannot write a page to {path}; give a file name ending in .html")
    if not path.parent.is_dir():
        raise ConfigError(
            f"cannot write {path}: folder '{path.parent}' does not exist; create it, or choose another"
        )


def write_page(answers: Sequence[Asked], schema: Schema, path: Path, command: str = "") -> None:
    """Write `query_page` to a file.

    Raises:
        ConfigError: see `check_page`.
        RunError: the disk is full, or the file cannot be written.
    """
    check_page(path)
    text = query_page(answers, schema, command)
    storage.write_whole(path, text.encode("utf-8"), "try again")
