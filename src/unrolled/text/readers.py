"""Read rows of text from files: TSV, CSV, JSON Lines, token columns, parallel text; plain or compressed.

Files are read as a stream by our own line reader, which reports the line and byte of every error.
Text is UTF-8, with or without a byte-order mark; lines end in LF or CRLF, or all in CR alone
(`lines.raw_lines`), so a stray line separator cannot shift one side of parallel text against the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from unrolled.errors import DataError
from unrolled.quoting import listed
from unrolled.text.conll import is_column_file, read_columns
from unrolled.text.files import endings
from unrolled.text.header import Header
from unrolled.text.lines import read_lines
from unrolled.text.rows import (
    MOST_NAMED,
    NO_GROUPS,
    Grouping,
    Lists,
    PathOrPaths,
    Row,
    as_paths,
    check_count,
    columns_besides,
    index_of,
    place_by_number,
    place_of,
)
from unrolled.text.tables import TABLES, Expected, open_table, read_table
from unrolled.wording import count_of


def read_rows(
    path: PathOrPaths,
    columns: Sequence[str] | None = None,
    n_columns: int | None = None,
    *,
    names: Sequence[str] = (),
    lists: Lists = "none",
    by_token: bool = False,
    header: Header = "auto",
    labels: Collection[str] | None = None,
    notes: list[str] | None = None,
    grouping: Grouping = NO_GROUPS,
    trained: Sequence[str] = (),
    found: list[str] | None = None,
) -> Iterator[Row]:
    r"""Read the rows of one table (`.tsv`, `.csv`, `.jsonl`), or of several parallel plain-text files.

    Files that end in `.gz`, `.bz2` or `.xz` are decompressed. The first line of a table names its
    columns, unless it reads like a row; each parallel file is one column with one sentence per line,
    named by its last suffix (`train.en` → `en`). In TSV, quotes are ordinary characters. A CSV whose
    header has semicolons and no comma is separated by semicolons.

    Args:
        path: one file, or one file per column.
        columns: the columns to return, in this order; None for all columns.
        n_columns: how many columns the caller needs; None for any number.
        names: a table with exactly these columns is read in this order, whatever its own order.
        lists: which columns of a JSON file may hold a list of strings: "none", the "last", or "all".
        by_token: whether to read a single file that is not a table as a column file with one token per
            line (`conll.column_lines`). Each sentence is a row of lists. Columns are numbered from 1, or
            from the end, -1; in CoNLL-U they also have names. If two columns are needed, they default to
            the first and the last, in CoNLL-U to `form` and `upos`.
        header: whether the first line of a TSV or CSV names the columns ("yes") or is a row ("no"), where
            columns have numbers from 1; "auto" finds out, see `text.header`.
        labels: for a last column that holds labels: those that are known; None for other columns.
        notes: a list to which sentences for the user are added, such as that a file has no header.
        grouping: the column whose values become `Row.group`; in a column file, see `conll.read_columns`.
        trained: names of the columns of the training data: if no columns are asked for, these are read
            where a file has them; a table with other names gets a note.
        found: a list to which the names of the columns that are read are added, if the file names them.

    Raises:
        DataError: the file cannot be read as requested; raised when the error is reached.

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
            f"expected the names of {count_of(n_columns, 'column')}, "
            f"got {len(asked)}: {listed(asked, MOST_NAMED)}",
            place_of(paths),
        )
    if len(paths) > 1:
        if by_token and all(map(is_column_file, paths)):
            raise _several("files of tokens", paths)
        if asked is None and trained and set(trained) <= set(_parallel_names(paths)):
            asked = tuple(trained)
        return _read_parallel(paths, asked, n_columns, grouping, [] if found is None else found)
    if by_token and endings(paths[0])[0] not in TABLES:
        return read_columns(paths[0], asked, n_columns, grouping)
    expected = Expected(
        header,
        asked,
        labels or (),
        labels is not None,
        [] if notes is None else notes,
        tuple(trained),
        [] if found is None else found,
    )
    return read_table(paths[0], expected, n_columns, names, lists, grouping)


def column_names(path: PathOrPaths, header: Header = "auto") -> tuple[str, ...]:
    """The column names of a file; for JSON Lines, the keys of the first object.

    Args:
        path: as for `read_rows`.
        header: as for `read_rows`; a table without a header has numbers for names.

    Raises:
        DataError: the file cannot be read.
    """
    paths = as_paths(path)
    if len(paths) > 1:
        return _parallel_names(paths)
    return open_table(paths[0], Expected(header)).names


def _parallel_names(paths: tuple[Path, ...]) -> tuple[str, ...]:
    names = []
    if all(endings(path)[0] in TABLES for path in paths):
        raise _several("tables", paths)
    for path in paths:
        suffix, _ = endings(path)
        if suffix in TABLES:
            raise DataError(
                "this is a table; give it alone, because several files are read as parallel plain text, "
                "one sentence per line",
                path,
            )
        names.append(suffix.removeprefix("."))
    # src.txt and trg.txt have the same suffix, so the whole name is used.
    if "" in names or len(set(names)) < len(names):
        return tuple(path.name for path in paths)
    return tuple(names)


def _several(what: str, paths: tuple[Path, ...]) -> DataError:
    header = " with one header" if what == "tables" else ""
    return DataError(
        f"several {what} cannot be read as one; join them into one file{header}, or give one at a time "
        "(validation and test data with --valid and --test)",
        place_of(paths),
    )


def _read_parallel(
    paths: tuple[Path, ...],
    asked: tuple[str, ...] | None,
    n_columns: int | None,
    grouping: Grouping,
    found: list[str],
) -> Iterator[Row]:
    names = _parallel_names(paths)

    def find(name: str) -> int:
        place = place_by_number(names, name)
        return index_of(place_of(paths), names, name) if place is None else place

    group = grouping.index(place_of(paths), find)
    if asked is None:
        asked = columns_besides(names, "" if group is None else names[group], n_columns)
        check_count(place_of(paths), asked, n_columns)
    chosen = [find(name) for name in asked]
    found.extend(names[i] for i in chosen)
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
                "parallel files must have the same number of lines, found "
                + " and ".join(f"{count} lines" for count in counts),
                place_of(paths),
            )
        yield Row(
            tuple(lines[i].text for i in chosen),
            number,
            group="" if group is None else lines[group].text,
        )
    if not number:
        raise DataError("the file is empty", paths[0])
