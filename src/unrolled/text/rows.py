"""A row of a data file, and the lists in its fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from unrolled.errors import DataError, did_you_mean
from unrolled.quoting import listed, quote

PathOrPaths = str | PathLike[str] | Sequence[str | PathLike[str]]


MOST_NAMED = 12  # columns in a message


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


def as_paths(path: PathOrPaths) -> tuple[Path, ...]:
    paths = (path,) if isinstance(path, str | PathLike) else tuple(path)
    if not paths:
        raise DataError("no data file given")
    return tuple(Path(each) for each in paths)


def place_of(paths: tuple[Path, ...]) -> str:
    return ", ".join(str(path) for path in paths)


def count_columns(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check_count(path: Path | str, names: Sequence[str], n_columns: int | None) -> None:
    if n_columns is None or len(names) == n_columns:
        return
    found = f"{count_columns(len(names), 'column')} found: {listed(names, MOST_NAMED)}"
    if len(names) > n_columns:
        raise DataError(f"{n_columns} needed, {found}; say which with --data.columns", path)
    raise DataError(f"{count_columns(n_columns, 'column')} needed, {found}", path)


def index_of(path: Path | str, names: Sequence[str], name: str) -> int:
    if names.count(name) > 1:
        raise DataError(f"the header names column {quote(name)} twice; rename one of them", path)
    if name in names:
        return names.index(name)
    raise DataError(
        f"no column {quote(name)}; its columns are {listed(names, MOST_NAMED)}"
        f"{did_you_mean(name, names)}",
        path,
    )


def has_separator(path: Path, line: int) -> DataError:
    return DataError("a text holds the control character U+001F; remove it", path, line)


TABLES = (".tsv", ".tab", ".csv", ".jsonl", ".ndjson")
