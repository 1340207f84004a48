"""Column files: one token on each line, blank lines between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path

from unrolled.errors import DataError
from unrolled.text.files import endings
from unrolled.text.lines import Line, read_lines
from unrolled.text.rows import (
    Row,
    check_count,
    count_columns,
    index_of,
)

COLUMN_FILES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".col")


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
    return endings(Path(path))[0] in COLUMN_FILES


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
                f"expected {count_columns(n_columns, 'column')} separated by {what}s as in line "
                f"{first.number}, found {len(values)}; a blank line stands between sentences",
                path,
                line.number,
            )
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
    return index_of(path, names, name)


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


def read_columns(path: Path, asked: tuple[str, ...] | None, n_columns: int | None) -> Iterator[Row]:
    chosen: list[int] = []
    cells: list[list[str]] = []
    numbers: list[int] = []
    seen: dict[str, str] = {}  # equal values share one string: tokens and tags recur
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
            cell.append(seen.setdefault(value, value))
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
    check_count(path, names, n_columns)
    return list(range(n_found))


def _sentence(cells: Sequence[Sequence[str]], numbers: Sequence[int]) -> Row:
    # A range takes no memory for each token; lines that are left out make one impossible.
    first, last = numbers[0], numbers[-1]
    is_whole = last - first + 1 == len(numbers)
    lines = range(first, last + 1) if is_whole else tuple(numbers)
    return Row(tuple(tuple(cell) for cell in cells), first, lines)


def _columns(text: str, by_tab: bool) -> tuple[str, ...]:
    if by_tab:
        return tuple(value.strip(" ") for value in text.split("\t"))
    # Not str.split: a token may hold a no-break space.
    return tuple(value for value in re.split(r"[ \t]+", text) if value)


def _is_blank(text: str) -> bool:
    return not text.strip(" \t\r")
