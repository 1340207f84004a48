"""A row of a data file, and the lists in its fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from unrolled.errors import DataError, did_you_mean
from unrolled.quoting import listed, quote
from unrolled.wording import count_of

PathOrPaths = str | PathLike[str] | Sequence[str | PathLike[str]]

MOST_NAMED = 12  # columns in a message

Field = str | tuple[str, ...]
"""A string, or a list of strings such as the tokens of a sentence."""

Lists = Literal["none", "last", "all"]
"""Which columns of a JSON file may hold a list of strings."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a data file.

    Args:
        fields: the requested columns, in the requested order.
        line: 1-based number of the line on which the row starts.
        lines: the line number of each token, in a file with one token per line; otherwise empty.
        group: value of the column by which rows are grouped; "" without one.

    >>> Row(("Hello.", "Hola."), line=2).texts[1]
    'Hola.'
    """

    fields: tuple[Field, ...]
    line: int
    lines: Sequence[int] = ()
    group: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The fields as strings; lists are joined by spaces."""
        for field in self.fields:
            if not isinstance(field, str):
                return tuple(as_text(field) for field in self.fields)
        return self.fields  # type: ignore[return-value]


def as_list(field: Field) -> list[str]:
    """The strings of a list; a single string is split at spaces.

    >>> as_list(("New York",)), as_list(()), as_list(" a  b ")
    (['New York'], [], ['a', 'b'])
    """
    if isinstance(field, str):
        return [part for part in field.split(" ") if part]
    return list(field)


def as_text(field: Field) -> str:
    """A string unchanged; the strings of a list joined by spaces."""
    return field if isinstance(field, str) else " ".join(field)


def as_paths(path: PathOrPaths) -> tuple[Path, ...]:
    paths = (path,) if isinstance(path, str | PathLike) else tuple(path)
    if not paths:
        raise DataError("no data file given")
    return tuple(Path(item) for item in paths)


def place_of(paths: tuple[Path, ...]) -> str:
    return ", ".join(str(path) for path in paths)


def check_count(
    path: Path | str, names: Sequence[str], n_columns: int | None, *, numbered: bool = False
) -> None:
    if n_columns is None or len(names) == n_columns:
        return
    hint = "; choose them with --columns" if len(names) > n_columns else ""
    if len(names) == 1:
        hint = hint_of_separator(names[0])
    if hint and numbered:
        hint = (
            "; the file has no header, so choose them by number, e.g. --columns "
            f"{' '.join(names[-n_columns:])}"
        )
    if {"question", "query"} <= set(names):
        hint = "; for questions about a database, add --task sql"
    found = listed([name or "''" for name in names], MOST_NAMED)
    raise DataError(
        f"expected {count_of(n_columns, 'column')}, found {len(names)}: {found}{hint}",
        path,
    )


_SEPARATORS = {
    ",": "commas; name the file .csv",
    ";": "semicolons; name the file .csv",
    "|": "'|'; separate them by tabs, and name the file .tsv",
}


def hint_of_separator(line: str) -> str:
    """How to have the single column of a file read as several, if its first line has a separator."""
    found = next((what for separator, what in _SEPARATORS.items() if separator in line), None)
    return f"; the columns seem to be separated by {found}" if found else ""


def columns_besides(names: Sequence[str], group: str, n_columns: int | None) -> tuple[str, ...]:
    """The columns to read if none are named: all but the one that groups rows, unless all are needed.

    >>> columns_besides(("text", "label", "patient"), "patient", 2)
    ('text', 'label')
    """
    if not group or len(names) == n_columns:
        return tuple(names)
    return tuple(name for name in names if name != group)


@dataclass(frozen=True)
class Grouping:
    """The column by which rows are grouped.

    Args:
        column: name or number of the column; "" for none.
        is_needed: whether a file without this column is an error; otherwise its rows have no group.
    """

    column: str = ""
    is_needed: bool = True

    def index(self, path: Path | str, find: Callable[[str], int]) -> int | None:
        """The index of the column in a file; None if it is not read.

        Args:
            path: the file.
            find: name or number of a column → its index.

        Raises:
            DataError: there is no such column, but it is needed.
        """
        if not self.column:
            return None
        try:
            return find(self.column)
        except DataError as error:
            if not self.is_needed:
                return None
            raise DataError(f"{error.problem} (data.group)", path) from None


NO_GROUPS = Grouping()


def place_by_number(names: Sequence[str], name: str) -> int | None:
    """The index of a column that is chosen by number, from 1; None if this is no number of a column.

    >>> place_by_number(("doc", "text"), "2"), place_by_number(("1", "2"), "0")
    (1, None)
    """
    is_number = name not in names and name.isascii() and name.isdigit()
    return int(name) - 1 if is_number and 1 <= int(name) <= len(names) else None


def index_of(path: Path | str, names: Sequence[str], name: str) -> int:
    if names.count(name) > 1:
        raise DataError(f"the header names column {quote(name)} twice; rename one of them", path)
    if name in names:
        return names.index(name)
    raise DataError(
        f"no column {quote(name)}; the columns are {listed(names, MOST_NAMED)}"
        f"{did_you_mean(name, names)}",
        path,
    )
