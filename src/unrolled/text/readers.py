"""Rows of text out of files: TSV, CSV, JSON lines, columns of tokens, parallel text; plain or packed.

Files are read as a stream by our own line reader, which knows the line and byte of every fault.
Text is UTF-8, with or without a byte-order mark; lines end in LF or CRLF, and in nothing else, so a
stray Unicode line separator cannot shift one side of a parallel pair against the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from unrolled.errors import DataError
from unrolled.quoting import listed
from unrolled.text.conll import read_columns
from unrolled.text.files import endings
from unrolled.text.lines import read_lines
from unrolled.text.rows import (
    MOST_NAMED,
    Lists,
    PathOrPaths,
    Row,
    as_paths,
    check_count,
    count_columns,
    index_of,
    place_of,
)
from unrolled.text.tables import TABLES, open_table, read_table


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
        lists: which columns of a JSON file may hold a list of texts: "none", the "last", or "all".
        by_token: whether one file that is no table has a token on each line, with its columns: see
            `conll.column_lines`. Each sentence is a row of lists. Columns are numbered from 1, or from
            the end, -1; those of CoNLL-U also have their names. Where two are needed, they are the first
            and the last, and in CoNLL-U `form` and `upos`.

    Raises:
        DataError: the file cannot be read as asked; raised when the faulty place is reached.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "phrases.tsv"
    >>> _ = path.write_text("en\tes\nHello.\tHola.\n", encoding="utf-8")
    >>> [row.fields for row in read_rows(path, columns=["es", "en"])]
    [('Hola.', 'Hello.')]
    """
    paths = as_paths(path)
    asked = tuple(columns) if columns else None
    if asked is not None and n_columns is not None and len(asked) != n_columns:
        raise DataError(
            f"{count_columns(n_columns, 'column')} needed, but "
            f"{count_columns(len(asked), 'column')} asked for: "
            f"{listed(asked, MOST_NAMED)}",
            place_of(paths),
        )
    if len(paths) > 1:
        return _read_parallel(paths, asked, n_columns)
    if by_token and endings(paths[0])[0] not in TABLES:
        return read_columns(paths[0], asked, n_columns)
    return read_table(paths[0], asked, n_columns, names, lists)


def column_names(path: PathOrPaths) -> tuple[str, ...]:
    """The columns a file offers; for JSON lines, the keys of the first object.

    Raises:
        DataError: the file cannot be read.
    """
    paths = as_paths(path)
    if len(paths) > 1:
        return _parallel_names(paths)
    return open_table(paths[0])[0]


def _parallel_names(paths: tuple[Path, ...]) -> tuple[str, ...]:
    names = []
    for path in paths:
        suffix, _ = endings(path)
        if suffix in TABLES:
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
        check_count(place_of(paths), names, n_columns)
    chosen = [index_of(place_of(paths), names, name) for name in asked or names]
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
                place_of(paths),
            )
        yield Row(tuple(lines[i].text for i in chosen), number)
    if not number:
        raise DataError("the file is empty", paths[0])
