"""Rows of TSV, CSV and JSON Lines files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from unrolled.errors import DataError
from unrolled.quoting import listed, quote
from unrolled.text.files import endings
from unrolled.text.limits import line_too_long, longest_line
from unrolled.text.lines import Line, carriage_returns, read_lines
from unrolled.text.rows import (
    MOST_NAMED,
    NO_GROUPS,
    Field,
    Grouping,
    Lists,
    Row,
    check_count,
    columns_besides,
    count_columns,
    index_of,
)

_MISSING = object()


_Records = Iterator[tuple[int, Sequence[object]]]


def read_table(
    path: Path,
    asked: tuple[str, ...] | None,
    n_columns: int | None,
    meant: Sequence[str],
    lists: Lists,
    grouping: Grouping = NO_GROUPS,
) -> Iterator[Row]:
    names, records = open_table(path)
    group = grouping.index(path, names)
    if asked is None:
        others = columns_besides(names, "" if group is None else grouping.column, n_columns)
        check_count(path, others, n_columns)
        asked = tuple(meant) if sorted(meant) == sorted(others) else others
    chosen = [index_of(path, names, name) for name in asked]
    may_be_list = [lists == "all" or (lists == "last" and i == chosen[-1]) for i in chosen]
    columns = list(zip(chosen, may_be_list, strict=True))
    line = 0
    for line, values in records:
        yield Row(
            tuple(_field(values[i], path, line, names[i], may_list) for i, may_list in columns),
            line,
            group="" if group is None else _group(values[group], path, line, names[group]),
        )
    if not line:
        raise DataError(f"no rows after the header {listed(names, MOST_NAMED)}", path)


def _group(value: object, path: Path, line: int, name: str) -> str:
    return "" if value is None else _text(value, path, line, name)


def _field(value: object, path: Path, line: int, name: str, lists: bool) -> Field:
    if lists and isinstance(value, list):
        return tuple(_text(item, path, line, name) for item in value)
    return _text(value, path, line, name)


def _text(value: object, path: Path, line: int, name: str) -> str:
    if isinstance(value, str):
        return value
    if value is _MISSING:
        raise DataError("missing; every object needs this key", path, line, name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    kind = "null" if value is None else type(value).__name__
    hint = "; write it as a string" if kind == "list" else ""
    raise DataError(f"expected text or a number, found {kind}{hint}", path, line, name)


def open_table(path: Path) -> tuple[tuple[str, ...], _Records]:
    suffix, _ = endings(path)
    open_format = _FORMATS.get(suffix)
    if open_format is None:
        raise DataError(
            f"cannot tell the format from {quote(suffix)}; expected one of {' '.join(TABLES)} "
            "(optionally followed by .gz, .bz2 or .xz), or one plain-text file per column",
            path,
        )
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise DataError("the file is empty", path)
    if "\r" in first.text:
        raise carriage_returns(path)
    return open_format(path, first, lines)


def _open_tsv(path: Path, first: Line, rest: Iterator[Line]) -> tuple[tuple[str, ...], _Records]:
    names = tuple(first.text.split("\t"))

    def records() -> _Records:
        for line in rest:
            n_values = line.text.count("\t") + 1
            if n_values != len(names):
                if not line.text:
                    continue
                # Spreadsheets quote a field with a line break; in TSV, quotes are ordinary characters.
                is_quoted = n_values < len(names) and line.text.count('"') % 2 == 1
                raise _wrong_width(
                    path, line.number, len(names), n_values, "tab", is_quoted=is_quoted
                )
            yield line.number, line.text.split("\t")

    return names, records()


def _open_csv(path: Path, first: Line, rest: Iterator[Line]) -> tuple[tuple[str, ...], _Records]:
    # The csv module's global limit of 131,072 characters per field would reject a very long line.
    csv.field_size_limit(2**31 - 1)
    longest = longest_line()
    separator = ";" if ";" in first.text and "," not in first.text else ","

    def parsed() -> Iterator[tuple[int, list[str]]]:
        start = 1
        n_open = 0  # characters of the current row so far; it may span several lines

        def physical() -> Iterator[str]:
            nonlocal n_open
            for line in chain([first], rest):
                n_open += len(line.text) + 1
                if n_open > longest + 1:
                    raise line_too_long(path, start, what="row, which has an unclosed quote,")
                yield line.text + "\n"

        reader = csv.reader(physical(), delimiter=separator, strict=True)
        try:
            for values in reader:
                yield start, values
                start, n_open = reader.line_num + 1, 0
        except csv.Error as error:
            raise DataError(f"damaged CSV ({error}); check its quotes", path, start) from error

    rows = parsed()
    _, header = next(rows, (1, [first.text]))
    names = tuple(header)

    def records() -> _Records:
        for number, values in rows:
            if len(values) != len(names):
                if not values:
                    continue
                what = "comma" if separator == "," else "semicolon"
                raise _wrong_width(path, number, len(names), len(values), what)
            yield number, values

    return names, records()


def _wrong_width(
    path: Path, line: int, expected: int, found: int, separator: str, *, is_quoted: bool = False
) -> DataError:
    quoted = "; a field of a TSV cannot span lines, even in quotes: save the file as CSV"
    return DataError(
        f"expected {count_columns(expected, 'field')} separated by {separator}s as in the header, "
        f"found {found}{quoted if is_quoted else ''}",
        path,
        line,
    )


def _open_jsonl(path: Path, first: Line, rest: Iterator[Line]) -> tuple[tuple[str, ...], _Records]:
    names = tuple(_parse_object(path, first))

    def records() -> _Records:
        yield first.number, tuple(_parse_object(path, first).values())
        for line in rest:
            if line.text:
                values = _parse_object(path, line)
                yield line.number, tuple(values.get(name, _MISSING) for name in names)

    return names, records()


def _parse_object(path: Path, line: Line) -> dict[str, object]:
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "too deeply nested")
        column = getattr(error, "colno", 1)
        raise DataError(
            f"not JSON at character {column} ({reason}); expected one object per line",
            path,
            line.number,
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"expected a JSON object, found {type(value).__name__}", path, line.number)
    if "\\u" in line.text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                "an escape holds half a surrogate pair; write the character itself in UTF-8",
                path,
                line.number,
            ) from error
    return value


_OpenFormat = Callable[[Path, Line, Iterator[Line]], tuple[tuple[str, ...], _Records]]


_FORMATS: dict[str, _OpenFormat] = {
    ".tsv": _open_tsv,
    ".tab": _open_tsv,
    ".csv": _open_csv,
    ".jsonl": _open_jsonl,
    ".ndjson": _open_jsonl,
}

TABLES = tuple(_FORMATS)
"""File name extensions of tables."""
