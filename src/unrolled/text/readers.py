"""Rows of text out of files: TSV, CSV, JSON lines, columns of tokens, parallel text; plain or packed.

Files are read as a stream by our own line reader, which knows the line and byte of every fault.
Text is UTF-8, with or without a byte-order mark; lines end in LF or CRLF, and in nothing else, so a
stray Unicode line separator cannot shift one side of a parallel pair against the other.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from os import PathLike
from pathlib import Path
from typing import Literal

from unrolled.errors import DataError, did_you_mean
from unrolled.quoting import listed, quote
from unrolled.text.files import endings, opened
from unrolled.text.limits import line_too_long, longest_line

PathOrPaths = str | PathLike[str] | Sequence[str | PathLike[str]]

_TABLES = (".tsv", ".tab", ".csv", ".jsonl", ".ndjson")
_COLUMN_FILES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".col")
_MISSING = object()
_MOST_NAMED = 12  # columns in a message

Lists = Literal["none", "last", "all"]

LIST_SEPARATOR = "\x1f"
"""Stands after each text of a list that became one field; a control character that no text holds."""


@dataclass(frozen=True)
class Row:
    """One row of a data file.

    Args:
        fields: the asked columns, in the asked order.
        line: 1-based line on which the row starts.
        lines: of a file with a token on each line, the line of each.

    >>> Row(("Hello.", "Hola."), line=2).fields[1]
    'Hola.'
    """

    fields: tuple[str, ...]
    line: int
    lines: Sequence[int] = ()


def join_list(texts: Iterable[str]) -> str:
    r"""A list of texts as one field, which `split_list` takes apart.

    >>> split_list(join_list(["New York"])), split_list(join_list([])), split_list(" a  b ")
    (['New York'], [], ['a', 'b'])
    """
    return "".join(f"{text}{LIST_SEPARATOR}" for text in texts)


def split_list(field: str) -> list[str]:
    """The texts of a field that was a list; of another field, what stands between spaces."""
    if field.endswith(LIST_SEPARATOR):
        return field.split(LIST_SEPARATOR)[:-1]
    return [part for part in field.split(" ") if part]


def read_rows(
    path: PathOrPaths,
    columns: Sequence[str] | None = None,
    n_columns: int | None = None,
    *,
    names: Sequence[str] = (),
    lists: Lists = "none",
    by_token: bool = False,
) -> Iterator[Row]:
    r"""Rows of one table (`.tsv`, `.csv`, `.jsonl`), or of several parallel plain-text files.

    Files that end in `.gz`, `.bz2` or `.xz` are unpacked. A table's first line names its columns;
    parallel files have one sentence per line and one column each, named by their last suffix
    (`train.en` → `en`). In TSV, quotes are ordinary characters. A CSV whose header has semicolons
    and no comma is separated by semicolons.

    Args:
        path: one file, or one file per column.
        columns: the columns to return, in this order; None for all of them.
        n_columns: how many columns the caller needs; None for any number.
        names: a table that has just these columns is read in their order, whatever its own.
        lists: which columns of a JSON file may hold a list of texts, which is taken as one field
            (`join_list`): "none", the "last", or "all".
        by_token: whether one file that is no table has a token on each line, with its columns: see
            `column_lines`. Each sentence is a row of lists. Columns go by their numbers, from 1, or from
            the end, -1; those of CoNLL-U also by their names. Where two are needed, they are the first
            and the last, and in CoNLL-U `form` and `upos`.

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
            f"{listed(asked, _MOST_NAMED)}",
            _place(paths),
        )
    if len(paths) > 1:
        return _read_parallel(paths, asked, n_columns)
    if by_token and endings(paths[0])[0] not in _TABLES:
        return _read_columns(paths[0], asked, n_columns)
    return _read_table(paths[0], asked, n_columns, names, lists)


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


# Lines


@dataclass(frozen=True)
class Line:
    """A line of a text file.

    Args:
        text: without its line end.
        number: from 1.
        offset: of its first byte, in the unpacked file.
    """

    text: str
    number: int
    offset: int


def read_lines(path: Path, share: int = 1) -> Iterator[Line]:
    """The lines of a text file, decoded; a packed file is unpacked.

    Args:
        path: the file.
        share: lines may have this part of `limits.longest_line()`.

    Raises:
        DataError: the file cannot be read, is no UTF-8, or has a line that is too long; raised when the
            faulty place is reached.
    """
    number, offset = 0, 0
    longest = longest_line() // share

    def where() -> str:
        return f" after line {number}" if number else " from its first byte"

    with opened(path, where) as stream:
        for number, raw in enumerate(iter(lambda: stream.readline(longest + 1), b""), start=1):
            if len(raw) > longest:
                if b"\r" in raw[:longest]:
                    raise _carriage_returns(path)
                raise line_too_long(path, number, share)
            yield Line(_decode(raw, path, number, offset), number, offset)
            offset += len(raw)


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
        if "\r" in text.rstrip("\r\n") and not text.endswith("\n"):
            raise _carriage_returns(path)
    return text.removesuffix("\n").removesuffix("\r")


def _carriage_returns(path: Path) -> DataError:
    return DataError(
        "lines end in CR (carriage return) alone, expected LF or CRLF; convert it, e.g. with: "
        "tr '\\r' '\\n'",
        path,
        1,
    )


# Tables: each format gives its header and a stream of (line number, values by header)

_Records = Iterator[tuple[int, Sequence[object]]]


def _read_table(
    path: Path,
    asked: tuple[str, ...] | None,
    n_columns: int | None,
    meant: Sequence[str],
    lists: Lists,
) -> Iterator[Row]:
    names, records = _open_table(path)
    if asked is None:
        _check_count(path, names, n_columns)
        asked = tuple(meant) if sorted(meant) == sorted(names) else names
    chosen = [_index(path, names, name) for name in asked]
    takes_list = [lists == "all" or (lists == "last" and i == chosen[-1]) for i in chosen]
    columns = list(zip(chosen, takes_list, strict=True))
    line = 0
    for line, values in records:
        yield Row(tuple(_text(values[i], path, line, names[i], so) for i, so in columns), line)
    if not line:
        raise DataError(f"no rows after the header {listed(names, _MOST_NAMED)}", path)


def _check_count(path: Path | str, names: Sequence[str], n_columns: int | None) -> None:
    if n_columns is None or len(names) == n_columns:
        return
    found = f"{_count(len(names), 'column')} found: {listed(names, _MOST_NAMED)}"
    if len(names) > n_columns:
        raise DataError(f"{n_columns} needed, {found}; say which with --data.columns", path)
    raise DataError(f"{_count(n_columns, 'column')} needed, {found}", path)


def _index(path: Path | str, names: Sequence[str], name: str) -> int:
    if names.count(name) > 1:
        raise DataError(f"the header names column {quote(name)} twice; rename one of them", path)
    if name in names:
        return names.index(name)
    raise DataError(
        f"no column {quote(name)}; its columns are {listed(names, _MOST_NAMED)}"
        f"{did_you_mean(name, names)}",
        path,
    )


def _text(value: object, path: Path, line: int, name: str, lists: bool) -> str:
    if isinstance(value, str):
        return value
    if value is _MISSING:
        raise DataError("missing; every object needs this key", path, line, name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if lists and isinstance(value, list):
        texts = [_text(each, path, line, name, lists=False) for each in value]
        if any(LIST_SEPARATOR in text for text in texts):
            raise _has_separator(path, line)
        return join_list(texts)
    kind = "null" if value is None else type(value).__name__
    hint = "; write it as one text" if kind == "list" else ""
    raise DataError(f"expected text or a number, found {kind}{hint}", path, line, name)


def _open_table(path: Path) -> tuple[tuple[str, ...], _Records]:
    suffix, _ = endings(path)
    open_format = _FORMATS.get(suffix)
    if open_format is None:
        raise DataError(
            f"cannot tell the format from {quote(suffix)}; expected one of {' '.join(_TABLES)} "
            "(or packed, with .gz, .bz2 or .xz after it), or one plain-text file per column",
            path,
        )
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise DataError("the file is empty", path)
    if "\r" in first.text:
        raise _carriage_returns(path)
    return open_format(path, first, lines)


def _open_tsv(path: Path, first: Line, rest: Iterator[Line]) -> tuple[tuple[str, ...], _Records]:
    names = tuple(first.text.split("\t"))

    def records() -> _Records:
        for line in rest:
            n_values = line.text.count("\t") + 1
            if n_values != len(names):
                if not line.text:
                    continue
                # A spreadsheet puts quotes around a field with a line break; here they are characters.
                is_quoted = n_values < len(names) and line.text.count('"') % 2 == 1
                raise _wrong_width(
                    path, line.number, len(names), n_values, "tab", is_quoted=is_quoted
                )
            yield line.number, line.text.split("\t")

    return names, records()


def _open_csv(path: Path, first: Line, rest: Iterator[Line]) -> tuple[tuple[str, ...], _Records]:
    # The module's limit of 131,072 characters a field is global and stops one very long line.
    csv.field_size_limit(2**31 - 1)
    longest = longest_line()
    separator = ";" if ";" in first.text and "," not in first.text else ","

    def parsed() -> Iterator[tuple[int, list[str]]]:
        start = 1
        n_open = 0  # characters of the row so far, which may have several lines

        def physical() -> Iterator[str]:
            nonlocal n_open
            for line in chain([first], rest):
                n_open += len(line.text) + 1
                if n_open > longest + 1:
                    raise line_too_long(path, start, what="row, whose quotes stay open,")
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
    quoted = "; a field of a TSV cannot go on after its line, in quotes neither: save it as CSV"
    return DataError(
        f"expected {_count(expected, 'field')} separated by {separator}s as in the header, "
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
                found = _parse_object(path, line)
                yield line.number, tuple(found.get(name, _MISSING) for name in names)

    return names, records()


def _parse_object(path: Path, line: Line) -> dict[str, object]:
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


_OpenFormat = Callable[[Path, Line, Iterator[Line]], tuple[tuple[str, ...], _Records]]

_FORMATS: dict[str, _OpenFormat] = {
    ".tsv": _open_tsv,
    ".tab": _open_tsv,
    ".csv": _open_csv,
    ".jsonl": _open_jsonl,
    ".ndjson": _open_jsonl,
}


# Columns: a token on each line


@dataclass(frozen=True)
class ColumnLine:
    """A line of a file of columns.

    Args:
        text: as it stands, without its line end.
        number: 1-based.
        values: its columns, where it is a token.
        ends: whether a sentence ends before it.
    """

    text: str
    number: int
    values: tuple[str, ...] | None
    ends: bool = False


def is_column_file(path: str | PathLike[str]) -> bool:
    """Whether a file's name says that it has a token on each line, as `.conll` does."""
    return endings(Path(path))[0] in _COLUMN_FILES


def column_lines(path: str | PathLike[str]) -> Iterator[ColumnLine]:
    r"""The lines of a file with a token on each, as the shared tasks of CoNLL have it.

    Columns are separated by tabs where the first token's line has one, and by spaces otherwise; every
    token has as many. A blank line ends a sentence, and so does `-DOCSTART-`, which is no token.

    Tokens may begin with #, and so do comments. A comment stands before a sentence, and has another
    number of columns than a token; where spaces separate them, whatever begins with "# " there is one,
    and in CoNLL-U (`.conllu`) whatever begins with #. There too, tokens of several words ("1-2") and
    words that are not written ("8.1") are left out.

    Raises:
        DataError: the file cannot be read, has no token, or a line has another number of columns.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "names.conll"
    >>> _ = path.write_text("# text = Ann ran.\nAnn B-PER\nran O\n. O\n\n#1 O\n", encoding="utf-8")
    >>> [line.values for line in column_lines(path)]
    [None, ('Ann', 'B-PER'), ('ran', 'O'), ('.', 'O'), None, ('#1', 'O')]
    """
    path = Path(path)
    lines, begin = read_lines(path, share=_SHARE_OF_TOKEN), list[Line]()
    first: Line | None = None
    for line in lines:
        begin.append(line)
        if not (_is_blank(line.text) or line.text.startswith(("#", _DOCUMENT))):
            first = line
            break
    else:
        # Nothing but what may be a comment, and may be tokens: those of one short message, say.
        first = next(
            (line for line in begin if line.text.startswith("#")),
            None,
        )
    if first is None:
        raise DataError(
            "no tokens in this file; expected one on each line, a blank line between sentences",
            path,
        )
    by_tab, is_conllu = "\t" in first.text, endings(path)[0] == ".conllu"
    n_columns = len(_columns(first.text, by_tab))
    is_open = False
    for line in chain(begin, lines):
        if _is_blank(line.text) or line.text.startswith(_DOCUMENT):
            is_open = False
            yield ColumnLine(line.text, line.number, None, ends=True)
            continue
        values = _columns(line.text, by_tab)
        is_comment = is_conllu or len(values) != n_columns
        is_comment |= not by_tab and line.text.startswith("# ")
        if line.text.startswith("#") and not is_open and is_comment:
            yield ColumnLine(line.text, line.number, None)
            continue
        if len(values) != n_columns:
            what = "tab" if by_tab else "space"
            raise DataError(
                f"expected {_count(n_columns, 'column')} separated by {what}s as in line "
                f"{first.number}, found {len(values)}; a blank line stands between sentences",
                path,
                line.number,
            )
        if LIST_SEPARATOR in line.text:
            raise _has_separator(path, line.number)
        is_open = True
        is_token = not (is_conllu and _NO_WORD.fullmatch(values[0]))
        yield ColumnLine(line.text, line.number, values if is_token else None)


_DOCUMENT = "-DOCSTART-"
_SHARE_OF_TOKEN = 8  # its line is cut into columns, which take more room than their characters
_NUMBER = re.compile(r"-?\d+")
_NO_WORD = re.compile(r"\d+[-.]\d+")
_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def column_index(path: str | PathLike[str], n_columns: int, name: str) -> int:
    """The place of a column, by its number from 1, from the end (-1), or its name in CoNLL-U.

    Raises:
        DataError: there is no such column.
    """
    path = Path(path)
    names = _names_of_columns(path, n_columns)
    if _NUMBER.fullmatch(name):
        number = int(name)
        if 1 <= abs(number) <= n_columns:
            return number - 1 if number > 0 else n_columns + number
    return _index(path, names, name)


def token_column(path: str | PathLike[str], n_columns: int, columns: Sequence[str] = ()) -> int:
    """The place of the tokens' column, where the tags' may not be there yet.

    Args:
        path: the file.
        n_columns: that it has.
        columns: as `read_rows` takes them; names of a table's columns are no matter here.

    Raises:
        DataError: there is no column of that number.
    """
    names = _names_of_columns(Path(path), n_columns)
    if columns and (columns[0] in names or _NUMBER.fullmatch(columns[0])):
        return column_index(path, n_columns, columns[0])
    return 1 if names == _CONLLU else 0


def _names_of_columns(path: Path, n_columns: int) -> tuple[str, ...]:
    is_conllu = endings(path)[0] == ".conllu" and n_columns == len(_CONLLU)
    return _CONLLU if is_conllu else tuple(str(number) for number in range(1, n_columns + 1))


def _read_columns(
    path: Path, asked: tuple[str, ...] | None, n_columns: int | None
) -> Iterator[Row]:
    chosen: list[int] = []
    cells: list[list[str]] = []
    numbers: list[int] = []
    n_rows = 0
    for line in column_lines(path):
        if line.values is None:
            if line.ends and numbers:
                yield _sentence(cells, numbers)
                n_rows += 1
                cells, numbers = [[] for _ in chosen], []
            continue
        if not chosen:
            chosen = _chosen_columns(path, len(line.values), asked, n_columns)
            cells = [[] for _ in chosen]
        for column, cell in zip(chosen, cells, strict=True):
            value = line.values[column]
            if not value:
                raise DataError(f"column {column + 1} is empty", path, line.number)
            cell.append(value)
        numbers.append(line.number)
    if numbers:
        yield _sentence(cells, numbers)
    elif not n_rows:
        raise DataError("no tokens in this file", path)


def _chosen_columns(
    path: Path, n_found: int, asked: tuple[str, ...] | None, n_columns: int | None
) -> list[int]:
    if asked is not None:
        return [column_index(path, n_found, name) for name in asked]
    names = _names_of_columns(path, n_found)
    if n_columns == 2 and n_found > 2:
        return [1, 3] if names == _CONLLU else [0, n_found - 1]
    _check_count(path, names, n_columns)
    return list(range(n_found))


def _sentence(cells: Sequence[Sequence[str]], numbers: Sequence[int]) -> Row:
    # A range takes no memory for each token; lines that are left out make one impossible.
    first, last = numbers[0], numbers[-1]
    is_whole = last - first + 1 == len(numbers)
    lines = range(first, last + 1) if is_whole else tuple(numbers)
    return Row(tuple(join_list(cell) for cell in cells), first, lines)


def _columns(text: str, by_tab: bool) -> tuple[str, ...]:
    if by_tab:
        return tuple(value.strip(" ") for value in text.split("\t"))
    # Not str.split: a token may hold a no-break space.
    return tuple(value for value in re.split(r"[ \t]+", text) if value)


def _is_blank(text: str) -> bool:
    return not text.strip(" \t\r")


def _has_separator(path: Path, line: int) -> DataError:
    return DataError("a text holds the control character U+001F; remove it", path, line)


# Parallel plain text


def _parallel_names(paths: tuple[Path, ...]) -> tuple[str, ...]:
    names = []
    for path in paths:
        suffix, _ = endings(path)
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
    streams = [read_lines(path) for path in paths]
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
