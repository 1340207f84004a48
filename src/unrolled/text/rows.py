"""A row of a data file, and the lists in its fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from unrolled.errors import DataError, did_you_mean
from unrolled.quoting import listed, quote

PathOrPaths = str | PathLike[str] | Sequence[str | PathLike[str]]

MOST_NAMED = 12  # columns in a message

Field = str | tuple[str, ...]
"""A text, or a list of texts, as of the tokens of a sentence."""

Lists = Literal["none", "last", "all"]
"""Which columns of a JSON file may hold a list of texts."""


@dataclass(frozen=True)
class Row:
    """One row of a data file.

    Args:
        fields: the requested columns, in the requested order.
        line: 1-based line on which the row starts.
        lines: of a file with a token on each line, the line of each.

    >>> Row(("Hello.", "Hola."), line=2).texts[1]
    'Hola.'
    """

    fields: tuple[Field, ...]
    line: int
    lines: Sequence[int] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The fields as texts, those that are lists joined by spaces."""
        return tuple(as_text(field) for field in self.fields)


def as_list(field: Field) -> list[str]:
    """The texts of a list; of a single text, its parts between spaces.

    >>> as_list(("New York",)), as_list(()), as_list(" a  b ")
    (['New York'], [], ['a', 'b'])
    """
    if isinstance(field, str):
        return [part for part in field.split(" ") if part]
    return list(field)


def as_text(field: Field) -> str:
    """A text as it is; the texts of a list joined by spaces."""
    return field if isinstance(field, str) else " ".join(field)


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
