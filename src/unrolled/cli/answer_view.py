"""Show the answer to a question about a database: for people, or as CSV, JSON or SQL for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unrolled.cli.screen import SEPARATOR, shown
from unrolled.quoting import brief, escape, escape_lines, json_line
from unrolled.wording import percent

if TYPE_CHECKING:
    from unrolled.predictors.queries import Asked
    from unrolled.sql.database import Result, Value
    from unrolled.sql.schema import Schema

Format = Literal["table", "csv", "json", "sql"]

ROWS_OF_A_TABLE = 20
"""Rows that a table shows by default."""

_WIDEST_CELL, _NARROWEST_CELL = 40, 10
_COLUMN_GAP = 2
_LABEL_WIDTH = 12
_LONGEST_NAME = 30
_MOST_LISTED = 50
_MOST_LINES = 4

LEAST_PROBABLE = 0.005
"""Least probability of a next-best query that is shown beside an answer: what is shown as 1%."""


def print_answer(
    console: Console, asked: Asked, schema: Schema, rows: int = ROWS_OF_A_TABLE
) -> None:
    """Print the query, its rows, and what they come from.

    Next-best queries less probable than `LEAST_PROBABLE` are left out beside an answer.

    Args:
        console: where to print; colours are used only on a terminal.
        asked: the answer.
        schema: schema of the database.
        rows: maximum rows.
    """
    if not asked.sql:
        _print(console, Text(f"no answer: {escape(asked.reason)}"), wrap=True)
    else:
        for line in _query(console, asked.sql):
            _print(console, line)
        if asked.result is not None:
            console.print()
            _print_rows(console, asked.result, rows)
        console.print()
        _print_field(console, "confidence", percent(asked.confidence, 0))
        _print_sources(console, asked, schema)
    for name, words in (("unknown", asked.unknown), ("unused", asked.unused)):
        if words:
            listed = [brief(word, _LONGEST_NAME) for word in words[:_MOST_LISTED]]
            _print_field(console, name, SEPARATOR.join(listed))
    label = "others" if asked.sql else "considered"
    for other in asked.others:
        if asked.sql and other.confidence < LEAST_PROBABLE:
            continue
        problem = f" (does not run: {other.problem})" if other.problem else ""
        share = f"{percent(other.confidence, 0):>4}  "
        _print_field(console, label, f"{other.sql}{problem}", share)
        label = ""


def _print_sources(console: Console, asked: Asked, schema: Schema) -> None:
    from unrolled.inspect.queries import copied_texts, linked_names

    copied = [brief(text, _LONGEST_NAME) for text in copied_texts(asked, schema)[:_MOST_LISTED]]
    if copied:
        _print_field(console, "copied", SEPARATOR.join(copied))
    linked = [
        f"{brief(word, _LONGEST_NAME)} → {', '.join(brief(name, _LONGEST_NAME) for name in names)}"
        for word, names in list(linked_names(asked).items())[:_MOST_LISTED]
    ]
    if linked:
        _print_field(console, "links", SEPARATOR.join(linked))


def _print_field(console: Console, label: str, value: str, before: str = "") -> None:
    """A label and a value, on as many lines as it needs, but at most 4; `before` is on the first only."""
    width = max(1, console.width - _LABEL_WIDTH - len(before))
    lines = Text(shown(escape(value), console)).wrap(console, width)
    for index, line in enumerate(lines[:_MOST_LINES]):
        line.rstrip()
        if index == _MOST_LINES - 1 and len(lines) > _MOST_LINES:
            cut = shown("…", console)
            line.truncate(width - len(cut))
            line.append(cut)
        text = Text().append(f"{label:<{_LABEL_WIDTH}}", style="dim")
        _print(console, text.append(before).append(line))
        label, before = "", " " * len(before)


def _print(console: Console, text: Text, wrap: bool = False) -> None:
    if not wrap and text.cell_len > console.width:
        cut = shown("…", console)
        text.truncate(console.width - len(cut))
        text.append(cut)
    console.print(text, markup=False, highlight=False, soft_wrap=not wrap)


def _query(console: Console, sql: str) -> Iterator[Text]:
    """The lines of a query, highlighted on a terminal; values may be broken where nothing else can be."""
    from rich.syntax import Syntax

    from unrolled.sql.layout import clause_lines

    lines = "\n".join(escape(line) for line in clause_lines(sql, console.width))
    text = Text(lines)
    if console.is_terminal:
        text = Syntax("", "sql", theme="ansi_dark").highlight(lines)
    for line in text.split():
        for part in line.wrap(console, console.width):
            part.rstrip()
            yield part


def _print_rows(console: Console, result: Result, most: int) -> None:
    """A table of the first rows and of as many columns as fit, and a line that says what is missing."""
    from unrolled.inspect.queries import rows_note

    rows = result.rows[:most]
    cells = [[_cell(value) for value in row] for row in rows]
    names = [Text(escape(name[: _WIDEST_CELL * 2]) or "''") for name in result.columns]
    widths = _widths(names, cells, console.width)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, width in enumerate(widths):
        is_number = _is_numeric([row[index] for row in rows])
        table.add_column(
            _cut(names[index], width, console),
            justify="right" if is_number else "left",
            width=width,
            no_wrap=True,
        )
    for row in cells:
        table.add_row(*(_cut(row[index], width, console) for index, width in enumerate(widths)))
    if rows:
        console.print(table, markup=False, highlight=False)
    else:
        _print(console, Text(SEPARATOR.join(name.plain for name in names), style="bold"))
    note = rows_note(len(result.rows), len(rows), result.is_cut)
    if rows and len(widths) < len(names):
        note += f"; {len(widths)} of {len(names):,} columns are shown (--format json shows all)"
    _print(console, Text(shown(note, console), style="dim"), wrap=True)


def _is_numeric(values: Iterable[Value]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, (int, float)) for value in known)


def _cell(value: Value) -> Text:
    from unrolled.inspect.queries import value_text

    return Text(escape(value_text(value)), style="dim italic" if value is None else "")


def _cut(text: Text, width: int, console: Console) -> Text:
    """A text of at most `width` cells, with an ellipsis if something is missing."""
    if text.cell_len <= width:
        return text
    cut = shown("…", console)[: width - 1]
    return Text(set_cell_size(text.plain, width - len(cut)).rstrip() + cut, style=text.style)


def _widths(names: Sequence[Text], cells: Sequence[Sequence[Text]], width: int) -> list[int]:
    """The widths of the first columns that fit; wide ones are narrowed before any is left out."""
    natural = [
        min(_WIDEST_CELL, max([name.cell_len, *(row[index].cell_len for row in cells), 1]))
        for index, name in enumerate(names)
    ]
    shown_columns = len(natural)
    while shown_columns > 1 and _total(_narrowed(natural[:shown_columns])) > width:
        shown_columns -= 1
    widths = natural[:shown_columns]
    while _total(widths) > width:
        widest = max(range(len(widths)), key=lambda index: widths[index])
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
    return widths


def _narrowed(widths: Sequence[int]) -> list[int]:
    return [min(width, _NARROWEST_CELL) for width in widths]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _COLUMN_GAP * len(widths)


def print_attention(console: Console, asked: Asked) -> None:
    """Print the attention of the query's pieces as heat maps beside each other as far as they fit.

    A row is a word of the question, a table or column, or a value; a column is a piece of the query.
    """
    from unrolled.inspect.queries import attended

    chosen = attended(asked)
    if asked.attention is None or not chosen:
        return
    names = [brief(asked.memory[index], _LONGEST_NAME) for index in chosen]
    name_width = max(map(cell_len, names)) + 2
    weights = asked.attention[:, chosen].tolist()
    n_pieces = len(asked.written)
    n_maps = math.ceil(n_pieces / max(1, (console.width - name_width) // 2))
    at_once = math.ceil(n_pieces / n_maps)
    for start in range(0, n_pieces, at_once):
        pieces = [brief(piece, _TALLEST_NAME) for piece in asked.written[start : start + at_once]]
        console.print()
        for row in range(height := max(map(len, pieces))):
            letters = (piece.rjust(height)[row] for piece in pieces)
            line = " " * name_width + "".join(set_cell_size(letter, 2) for letter in letters)
            _print(console, Text(shown(line.rstrip(), console)))
        shown_pieces = range(start, start + len(pieces))
        for row, name in enumerate(names):
            strongest = max(weights[piece][row] for piece in shown_pieces)
            if chosen[row] >= len(asked.words) and _shade(strongest) == " ":
                continue
            text = Text(shown(set_cell_size(name, name_width), console))
            for piece in shown_pieces:
                is_copied = asked.copied[piece] == chosen[row]
                shade = shown(_shade(weights[piece][row]), console) * 2
                text.append(shade, style="bold blue" if is_copied else "blue")
            text.rstrip()
            _print(console, text)
    console.print()
    scale = "  ".join(f"{shade * 2} {least:g}" for shade, least in reversed(_SHADES))
    _print(console, Text(shown(f"attention: {scale} or more", console), style="dim"))


_TALLEST_NAME = 18
_SHADES = (("█", 0.75), ("▓", 0.5), ("▒", 0.25), ("░", 0.05))  # the last is `LEAST_SHOWN`


def _shade(weight: float) -> str:
    return next((shade for shade, least in _SHADES if weight >= least), " ")


def json_text(asked: Asked, schema: Schema, rows: int | None) -> str:
    """An answer as one line of JSON.

    Bytes are written as SQL writes them, X'00ff'; infinite numbers as "inf" and "-inf".
    """
    from unrolled.inspect.queries import copied_texts, linked_names

    result = asked.result
    answer: dict[str, Any] = {
        "question": asked.question,
        "sql": asked.sql,
        "reason": asked.reason,
        "confidence": round(asked.confidence, 4),
        "columns": None,
        "rows": None,
        "is_cut": None,
    }
    if result is not None:
        answer["columns"] = list(result.columns)
        answer["rows"] = [[_json_value(value) for value in row] for row in result.rows[:rows]]
        answer["is_cut"] = result.is_cut or len(answer["rows"]) < len(result.rows)
    answer["others"] = [
        {"sql": other.sql, "confidence": round(other.confidence, 4), "problem": other.problem}
        for other in asked.others
    ]
    answer["copied"] = copied_texts(asked, schema)
    answer["links"] = linked_names(asked)
    answer["unknown"] = list(asked.unknown)
    answer["unused"] = list(asked.unused)
    answer["n_truncated"] = asked.n_truncated
    return json_line(answer)


def _json_value(value: Value) -> int | float | str | None:
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def csv_text(result: Result, rows: int | None) -> str:
    """Rows as CSV with a header; NULL is an empty field, as an empty text is."""
    lines = []
    for row in (result.columns, *result.rows[:rows]):
        stream = io.StringIO(newline="")
        cells = [f"X'{value.hex()}'" if isinstance(value, bytes) else value for value in row]
        csv.writer(stream).writerow(cells)
        lines.append(stream.getvalue().removesuffix("\r\n"))
    return "\n".join(lines)


def sql_text(asked: Asked) -> str:
    """The query, ended by a semicolon, or a comment that says why there is none."""
    if asked.sql:
        return f"{asked.sql};"
    return f"-- no answer: {escape(asked.reason)}"


def answer_text(asked: Asked, schema: Schema, output: Format, rows: int | None) -> str:
    """An answer for a program, without a line break at its end."""
    if output == "json":
        return json_text(asked, schema, rows)
    if output == "sql":
        return sql_text(asked)
    return "" if asked.result is None else csv_text(asked.result, rows)


def printable(text: str, console: Console) -> str:
    """A text for a program as it is, and with its control characters escaped on a terminal."""
    return escape_lines(text) if console.is_terminal else text
