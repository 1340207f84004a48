"""Rows of TSV, CSV and JSON Lines files."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from unrolled.errors import DataError
from unrolled.quoting import listed, quote
from unrolled.text.files import endings
from unrolled.text.header import SAMPLE, Header, judge
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
    index_of,
    place_by_number,
)
from unrolled.wording import count_of

_MISSING = object()


_Records = Iterator[tuple[int, Sequence[object]]]


@dataclass(frozen=True)
class Table:
    """A table that is open for reading.

    Args:
        path: the file.
        names: names of the columns; their numbers from 1 if the file has no header.
        records: line number and values of each row.
        has_header: whether the file names its columns.
        by_number: whether columns may be chosen by number.
    """

    path: Path
    names: tuple[str, ...]
    records: _Records
    has_header: bool = True
    by_number: bool = False

    def index_of(self, name: str) -> int:
        """The index of a column by its name or number.

        Raises:
            DataError: there is no such column.
        """
        place = place_by_number(self.names, name) if self.by_number else None
        if place is not None:
            return place
        if not self.has_header and name not in self.names and not name.isdecimal():
            raise DataError(
                f"no column {quote(name)}: the first line reads like a row, so columns are numbered, 1 "
                f"to {len(self.names)}; add a header, add --data.header yes, or choose by number",
                self.path,
            )
        return index_of(self.path, self.names, name)


@dataclass(frozen=True)
class Expected:
    """What a reader knows of a table before it is opened.

    Args:
        header: whether TSV and CSV files have a header.
        columns: the columns to read, by name or number; None for all.
        labels: labels that the last column may hold, as far as they are known.
        is_labelled: whether the last column to read holds labels.
        notes: where sentences for the user are added.
        trained: names of the columns of the training data; they are read if the table has all of them.
        found: where the names of the columns that are read are added, if the table names them.
    """

    header: Header = "auto"
    columns: tuple[str, ...] | None = None
    labels: Collection[str] = ()
    is_labelled: bool = False
    notes: list[str] = field(default_factory=list)
    trained: tuple[str, ...] = ()
    found: list[str] = field(default_factory=list)


def read_table(
    path: Path,
    expected: Expected,
    n_columns: int | None,
    meant: Sequence[str],
    lists: Lists,
    grouping: Grouping = NO_GROUPS,
) -> Iterator[Row]:
    table = open_table(path, expected)
    names, asked = table.names, expected.columns
    group = grouping.index(path, table.index_of)
    if asked is None and _are_among(expected.trained, names):
        asked = expected.trained
    elif asked is None:
        others = columns_besides(names, "" if group is None else names[group], n_columns)
        check_count(path, others, n_columns, numbered=not table.has_header)
        asked = tuple(meant) if sorted(meant) == sorted(others) else others
        if expected.trained and table.has_header:
            expected.notes.append(
                f"{path}: the columns are {listed(names, MOST_NAMED)}, and those of the training data "
                f"{listed(expected.trained, MOST_NAMED)}; read as {listed(asked, MOST_NAMED)}, in this "
                "order: if that is wrong, rename them, or choose them with --columns"
            )
    chosen = [table.index_of(name) for name in asked]
    expected.found.extend(names[i] for i in chosen if table.has_header)
    may_be_list = [lists == "all" or (lists == "last" and i == chosen[-1]) for i in chosen]
    is_label = [expected.is_labelled and i == chosen[-1] for i in chosen]
    columns = list(zip(chosen, may_be_list, is_label, strict=True))
    line = 0
    of_group = ""
    for line, values in table.records:
        fields: list[Any] = [values[i] for i in chosen]
        if set(map(type, fields)) != {str}:
            fields = [_field(values[i], path, line, names[i], *kind) for i, *kind in columns]
        if group is not None:
            of_group = _group(values[group], path, line, names[group])
        yield Row(tuple(fields), line, group=of_group)
    if not line:
        raise DataError(f"no rows after the header {listed(names, MOST_NAMED)}", path)


def _are_among(trained: Sequence[str], names: Sequence[str]) -> bool:
    return bool(trained) and set(trained) <= set(names)


def _group(value: object, path: Path, line: int, name: str) -> str:
    return "" if value is None else _text(value, path, line, name)


def _field(value: object, path: Path, line: int, name: str, lists: bool, is_label: bool) -> Field:
    if isinstance(value, str):
        return value
    text = _label if is_label else _text
    if lists and isinstance(value, list):
        return tuple(text(item, path, line, name) for item in value)
    return text(value, path, line, name)


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


def _label(value: object, path: Path, line: int, name: str) -> str:
    """A label as text: 1 and 1.0 are the same label, true is "true", and NaN is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        shown = "null" if value is None else "NaN"
        raise DataError(
            f"the label is {shown}, which is no label; remove the row", path, line, name
        )
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_WHOLE:
        return str(int(value))
    return _text(value, path, line, name)


_LARGEST_WHOLE = 1e15  # above it, neighbouring floats differ by more than whole numbers can show


def open_table(path: Path, expected: Expected) -> Table:
    """Open a table, and find out whether it has a header."""
    table = _open(path)
    if not table.by_number or expected.header == "yes":
        return table
    if expected.header == "no":
        return _numbered(table, table.records)
    asked = expected.columns or ()
    if _are_among(asked or expected.trained, table.names):
        return table
    sample: list[tuple[int, Sequence[object]]] = []
    rest = _after(table.records, sample)
    table = _without_empty_columns(replace(table, records=chain(sample, rest)), sample)
    rows = [[str(value) for value in values[: len(table.names)]] for _, values in sample]
    verdict = judge(table.names, rows, expected.labels)
    if verdict == "row" or (verdict == "unsure" and asked and all(map(str.isdecimal, asked))):
        expected.notes.append(
            f"{path} has no header: its first line, {_shown(table)}, reads like a row and is used as "
            "one; if it names the columns, add --data.header yes"
        )
        return _numbered(table, table.records)
    if verdict == "unsure":
        expected.notes.append(
            f"unsure whether {path} has a header: its first line, {_shown(table)}, is read as one; if it "
            "is a row, add --data.header no"
        )
    return table


def _without_empty_columns(table: Table, sample: Sequence[tuple[int, Sequence[object]]]) -> Table:
    """The table without last columns that have neither names nor values, as spreadsheets write them."""
    n = len(table.names)
    while n > 1 and sample and not any((table.names[n - 1], *(row[n - 1] for _, row in sample))):
        n -= 1
    if n == len(table.names):
        return table
    records = ((line, values[:n]) for line, values in table.records)
    return replace(table, names=table.names[:n], records=records)


def _shown(table: Table) -> str:
    return f"({listed(table.names, 3, 30)})"


def _after(records: _Records, sample: list[tuple[int, Sequence[object]]]) -> _Records:
    """Move the first records into a list; an error among them is raised when it is reached."""
    problem = None
    try:
        sample.extend(islice(records, SAMPLE))
    except DataError as error:
        problem = error

    def rest() -> _Records:
        if problem is not None:
            raise problem
        yield from records

    return rest()


def _numbered(table: Table, records: _Records) -> Table:
    """The table with its first line as a row."""
    numbers = tuple(str(number) for number in range(1, len(table.names) + 1))
    first: tuple[int, Sequence[object]] = (1, list(table.names))
    return replace(table, names=numbers, records=chain([first], records), has_header=False)


def _open(path: Path) -> Table:
    suffix, _ = endings(path)
    open_format = _FORMATS.get(suffix)
    if open_format is None:
        if path.is_dir():
            raise DataError("this is a folder; give a file", path)
        if str(path) == "-":
            raise DataError("rows are not read from standard input; write them to a file", "-")
        told = f"from {quote(suffix)}" if suffix else "of a file whose name has no ending"
        raise DataError(
            f"cannot tell the format {told}; expected one of {' '.join(TABLES)} "
            "(optionally followed by .gz, .bz2 or .xz), or one plain-text file per column",
            path,
        )
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise DataError("the file is empty", path)
    if "\r" in first.text:
        raise carriage_returns(path)
    names, records = open_format(path, first, lines)
    return Table(path, names, records, by_number=open_format is not _open_jsonl)


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
    n_before = 0
    if declared := _SEPARATOR_LINE.fullmatch(first.text):
        n_before, first = 1, next(rest, Line("", 2, 0))
    separator = declared[1] if declared else _separator_of(first.text)

    def parsed() -> Iterator[tuple[int, list[str]]]:
        start = 1 + n_before
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
                start, n_open = reader.line_num + 1 + n_before, 0
        except csv.Error as error:
            raise DataError(f"damaged CSV ({error}); check its quotes", path, start) from error

    rows = parsed()
    _, header = next(rows, (first.number, [first.text]))
    names = tuple(header)

    def records() -> _Records:
        for number, values in rows:
            if len(values) != len(names):
                if not values:
                    continue
                what = _SEPARATOR_NAMES.get(separator, quote(separator))
                raise _wrong_width(path, number, len(names), len(values), what)
            yield number, values

    return names, records()


_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?')  # Excel's own first line
_SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


def _separator_of(header: str) -> str:
    """The separator of a CSV, by its first line: a comma, or a semicolon or a tab if it has no comma."""
    return next((each for each in (",", ";", "\t") if each in header), ",")


def _wrong_width(
    path: Path, line: int, expected: int, found: int, separator: str, *, is_quoted: bool = False
) -> DataError:
    quoted = "; a field of a TSV cannot span lines, even in quotes: save the file as CSV"
    return DataError(
        f"expected {count_of(expected, 'field')} separated by {separator}s as in the header, "
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
