"""Rows of text out of files: TSV, CSV, JSON lines, or parallel plain-text files; plain or gzipped.

Files are read as a stream by our own line reader, which knows the line and byte of every fault.
Text is UTF-8, with or without a byte-order mark; lines end in LF or CRLF, and in nothing else, so a
stray Unicode line separator cannot shift one side of a parallel pair against the other.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from os import PathLike
from pathlib import Path

from unrolled.errors import DataError, did_you_mean

PathOrPaths = str | PathLike[str] | Sequence[str | PathLike[str]]

_TABLES = (".tsv", ".tab", ".csv", ".jsonl", ".ndjson")
_MISSING = object()

LIST_SEPARATOR = "\x1f"
"""Stands between the texts of a list in a JSON file; a control character that no text holds."""


@dataclass(frozen=True)
class Row:
    """One row of a data file.

    Args:
        fields: the asked columns, in the asked order.
        line: 1-based line on which the row starts.

    >>> Row(("Hello.", "Hola."), line=2).fields[1]
    'Hola.'
    """

    fields: tuple[str, ...]
    line: int


def read_rows(
    path: PathOrPaths,
    columns: Sequence[str] | None = None,
    n_columns: int | None = None,
    *,
    lists: bool = False,
) -> Iterator[Row]:
    r"""Rows of one table (`.tsv`, `.csv`, `.jsonl`), or of several parallel plain-text files.

    Add `.gz` for gzip. A table's first line names its columns; parallel files have one sentence per
    line and one column each, named by their last suffix (`train.en` → `en`). In TSV, quotes are
    ordinary characters. A CSV whose header has semicolons and no comma is separated by semicolons.

    Args:
        path: one file, or one file per column.
        columns: the columns to return, in this order; None for all of them.
        n_columns: how many columns the caller needs; None for any number.
        lists: whether a list of texts in a JSON file is taken, joined by `LIST_SEPARATOR`.

    Raises:
        DataError: the file cannot be read as asked; raised when the faulty place is reached.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "phrases.tsv"
    >>> _ = path.write_text("en\tes\nHello.\tHola.\n", encoding="utf-8")
    >>> [row.fields for row in read_rows(path, columns=["es", "en"])]
    [('Hola.', 'Hello.')]
    """
    paths = _as_paths(path)
    asked = tuple(columns) if columns else None
    if asked is not None and n_columns is not None and len(asked) != n_columns:
        raise DataError(
            f"{_count(n_columns, 'column')} needed, but {_count(len(asked), 'column')} asked for: "
            f"{', '.join(asked)}",
            _place(paths),
        )
    if len(paths) > 1:
        return _read_parallel(paths, asked, n_columns)
    return _read_table(paths[0], asked, n_columns, lists)


def column_names(path: PathOrPaths) -> tuple[str, ...]:
    """The columns a file offers; for JSON lines, the keys of the first object.

    Raises:
        DataError: the file cannot be read.
    """
    paths = _as_paths(path)
    if len(paths) > 1:
        return _parallel_names(paths)
    return _open_table(paths[0])[0]


def _as_paths(path: PathOrPaths) -> tuple[Path, ...]:
    paths = (path,) if isinstance(path, str | PathLike) else tuple(path)
    if not paths:
        raise DataError("no data file given")
    return tuple(Path(each) for each in paths)


def _place(paths: tuple[Path, ...]) -> str:
    return ", ".join(str(path) for path in paths)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _suffixes(path: Path) -> tuple[str, bool]:
    """The last suffix in lower case, and whether a `.gz` follows it."""
    packed = path.suffix.lower() == ".gz"
    return (path.with_suffix("") if packed else path).suffix.lower(), packed


# Lines


@dataclass(frozen=True)
class _Line:
    text: str
    number: int
    offset: int  # of its first byte, in the unpacked file


def _lines(path: Path) -> Iterator[_Line]:
    """Decoded lines without their line ends."""
    number, offset = 0, 0
    try:
        if path.is_dir():
            raise DataError("this is a folder; give a file", path)
        with gzip.open(path) if _suffixes(path)[1] else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                yield _Line(_decode(raw, path, number, offset), number, offset)
                offset += len(raw)
    except FileNotFoundError as error:
        raise DataError(f"no such file{_nearest_file(path)}", path) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        after = f"after line {number}" if number else "from its first byte"
        raise DataError(f"damaged gzip file {after}; copy or download it again", path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path) from error


def _nearest_file(path: Path) -> str:
    try:
        there = [each.name for each in path.parent.iterdir() if each.is_file()]
    except OSError:
        return f", nor a folder '{path.parent}'" if not path.parent.is_dir() else ""
    return did_you_mean(path.name, there)


def _decode(raw: bytes, path: Path, number: int, offset: int) -> str:
    if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("this is UTF-16, expected UTF-8; save it again as UTF-8", path)
    if b"\0" in raw:
        at = offset + raw.index(b"\0")
        raise DataError(f"NUL byte at byte {at}; this is not a text file", path, number)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8 at byte {offset + error.start} (0x{raw[error.start]:02X}); "
            "convert it, e.g. with: iconv -f latin1 -t utf-8",
            path,
            number,
        ) from error
    if number == 1:
        text = text.removeprefix("\ufeff")
    return text.removesuffix("\n").removesuffix("\r")


# Tables: each format gives its header and a stream of (line number, values by header)

_Records = Iterator[tuple[int, Sequence[object]]]


def _read_table(
    path: Path, asked: tuple[str, ...] | None, n_columns: int | None, lists: bool
) -> Iterator[Row]:
    names, records = _open_table(path)
    if asked is None:
        _check_count(path, names, n_columns)
    chosen = [_index(path, names, name) for name in asked or names]
    line = 0
    for line, values in records:
        yield Row(tuple(_text(values[i], path, line, names[i], lists) for i in chosen), line)
    if not line:
        raise DataError(f"no rows after the header {', '.join(names)}", path)


def _check_count(path: Path | str, names: Sequence[str], n_columns: int | None) -> None:
    if n_columns is None or len(names) == n_columns:
        return
    found = f"{_count(len(names), 'column')} found: {', '.join(names)}"
    if len(names) > n_columns:
        raise DataError(f"{n_columns} needed, {found}; say which with --data.columns", path)
    raise DataError(f"{_count(n_columns, 'column')} needed, {found}", path)


def _index(path: Path | str, names: Sequence[str], name: str) -> int:
    if names.count(name) > 1:
        raise DataError(f"the header names column '{name}' twice; rename one of them", path)
    if name in names:
        return names.index(name)
    raise DataError(
        f"no column '{name}'; its columns are {', '.join(names)}{did_you_mean(name, names)}", path
    )


def _text(value: object, path: Path, line: int, name: str, lists: bool) -> str:
    if isinstance(value, str):
        return value
    if value is _MISSING:
        raise DataError("missing; every object needs this key", path, line, name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if lists and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return LIST_SEPARATOR.join(value)
    kind = "null" if value is None else type(value).__name__
    raise DataError(f"expected text or a number, found {kind}", path, line, name)


def _open_table(path: Path) -> tuple[tuple[str, ...], _Records]:
    suffix, _ = _suffixes(path)
    open_format = _FORMATS.get(suffix)
    if open_format is None:
        raise DataError(
            f"cannot tell the format from '{suffix}'; expected one of {' '.join(_TABLES)} "
            "(or with .gz), or one plain-text file per column",
            path,
        )
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise DataError("the file is empty", path)
    return open_format(path, first, lines)


def _open_tsv(path: Path, first: _Line, rest: Iterator[_Line]) -> tuple[tuple[str, ...], _Records]:
    names = tuple(first.text.split("\t"))

    def records() -> _Records:
        for line in rest:
            values = line.text.split("\t")
            if len(values) != len(names):
                if not line.text:
                    continue
                raise _wrong_width(path, line.number, len(names), len(values), "tab")
            yield line.number, values

    return names, records()


def _open_csv(path: Path, first: _Line, rest: Iterator[_Line]) -> tuple[tuple[str, ...], _Records]:
    # The module's limit of 131,072 characters a field is global and stops one very long line.
    csv.field_size_limit(2**31 - 1)
    separator = ";" if ";" in first.text and "," not in first.text else ","

    def parsed() -> Iterator[tuple[int, list[str]]]:
        def physical() -> Iterator[str]:
            yield first.text + "\n"
            for line in rest:
                yield line.text + "\n"

        reader = csv.reader(physical(), delimiter=separator, strict=True)
        start = 1
        try:
            for values in reader:
                yield start, values
                start = reader.line_num + 1
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


def _wrong_width(path: Path, line: int, expected: int, found: int, separator: str) -> DataError:
    return DataError(
        f"expected {_count(expected, 'field')} separated by {separator}s as in the header, "
        f"found {found}",
        path,
        line,
    )


def _open_jsonl(
    path: Path, first: _Line, rest: Iterator[_Line]
) -> tuple[tuple[str, ...], _Records]:
    names = tuple(_parse_object(path, first))

    def records() -> _Records:
        yield first.number, tuple(_parse_object(path, first).values())
        for line in rest:
            if line.text:
                found = _parse_object(path, line)
                yield line.number, tuple(found.get(name, _MISSING) for name in names)

    return names, records()


def _parse_object(path: Path, line: _Line) -> dict[str, object]:
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "too deeply nested")
        column = getattr(error, "colno", 1)
        raise DataError(
            f"not JSON at character {column} ({reason}); expected one object per line",
            path,
            line.number,
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"expected a JSON object, found {type(found).__name__}", path, line.number)
    if "\\u" in line.text:
        try:
            json.dumps(found, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                "an escape holds half a surrogate pair; write the character itself in UTF-8",
                path,
                line.number,
            ) from error
    return found


_OpenFormat = Callable[[Path, _Line, Iterator[_Line]], tuple[tuple[str, ...], _Records]]

_FORMATS: dict[str, _OpenFormat] = {
    ".tsv": _open_tsv,
    ".tab": _open_tsv,
    ".csv": _open_csv,
    ".jsonl": _open_jsonl,
    ".ndjson": _open_jsonl,
}


# Parallel plain text


def _parallel_names(paths: tuple[Path, ...]) -> tuple[str, ...]:
    names = []
    for path in paths:
        suffix, _ = _suffixes(path)
        if suffix in _TABLES:
            raise DataError(
                "this is a table, give it alone; several files are read as parallel plain text, "
                "one sentence per line",
                path,
            )
        names.append(suffix.removeprefix("."))
    # src.txt and trg.txt: the suffix does not tell them apart, the rest of the name does.
    if "" in names or len(set(names)) < len(names):
        return tuple(path.name for path in paths)
    return tuple(names)


def _read_parallel(
    paths: tuple[Path, ...], asked: tuple[str, ...] | None, n_columns: int | None
) -> Iterator[Row]:
    names = _parallel_names(paths)
    if asked is None:
        _check_count(_place(paths), names, n_columns)
    chosen = [_index(_place(paths), names, name) for name in asked or names]
    streams = [_lines(path) for path in paths]
    number = 0
    for number, lines in enumerate(zip_longest(*streams), start=1):
        if None in lines:
            counts = [
                number - 1 if line is None else number + sum(1 for _ in stream)
                for line, stream in zip(lines, streams, strict=True)
            ]
            if not number - 1 and 0 in counts:
                raise DataError("the file is empty", paths[counts.index(0)])
            raise DataError(
                "parallel files must have one line per sentence each, found "
                + " and ".join(f"{count} lines" for count in counts),
                _place(paths),
            )
        yield Row(tuple(lines[i].text for i in chosen), number)
    if not number:
        raise DataError("the file is empty", paths[0])
