"""Column files (CoNLL): one token per line, blank lines between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path

from unrolled.errors import DataError
from unrolled.quoting import brief, quote
from unrolled.text.files import endings
from unrolled.text.lines import Line, read_lines
from unrolled.text.rows import (
    NO_GROUPS,
    Grouping,
    Row,
    check_count,
    columns_besides,
    index_of,
)
from unrolled.wording import count_of

COLUMN_FILES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".col")


@dataclass(frozen=True)
class ColumnLine:
    """A line of a column file.

    Args:
        text: the line without its line end.
        number: 1-based line number.
        values: the columns of a token; None if the line is not a token.
        ends: whether the line ends the sentence before it.
    """

    text: str
    number: int
    values: tuple[str, ...] | None
    ends: bool = False


def is_column_file(path: str | PathLike[str]) -> bool:
    """Whether a file name has the extension of a column file, such as `.conll`."""
    return endings(Path(path))[0] in COLUMN_FILES


def column_lines(path: str | PathLike[str]) -> Iterator[ColumnLine]:
    r"""The lines of a column file with one token per line, the format of the CoNLL shared tasks.

    Columns are separated by tabs if the line of the first token has one, and by spaces otherwise; every
    token must have the same number of columns. A blank line or a line that starts with `-DOCSTART-` ends
    a sentence and is not a token.

    Both tokens and comments may start with #. A line that starts with # before a sentence is a comment
    if its number of columns differs from a token's; in files separated by spaces also if it starts with
    "# ", and in CoNLL-U (`.conllu`) always. In CoNLL-U, multiword tokens ("1-2") and empty nodes ("8.1")
    have no values.

    Raises:
        DataError: the file cannot be read, has no token, or a line has a different number of columns.

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
        # Every line starts with #; they may still be tokens, for example hashtags.
        first = next((line for line in begin if line.text.startswith("#")), None)
    if first is None:
        raise DataError(
            "the file has no tokens; expected one token per line and a blank line between sentences",
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
                f"expected {count_of(n_columns, 'column')} separated by {what}s as in line "
                f"{first.number}, found {len(values)}; put a blank line between sentences",
                path,
                line.number,
            )
        is_open = True
        is_token = not (is_conllu and _NO_WORD.fullmatch(values[0]))
        yield ColumnLine(line.text, line.number, values if is_token else None)


_DOCUMENT = "-DOCSTART-"


_SHARE_OF_TOKEN = 8  # lines are split into columns, which take more memory than their characters


_NUMBER = re.compile(r"-?\d+")


_NO_WORD = re.compile(r"\d+[-.]\d+")


_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def column_index(path: str | PathLike[str], n_columns: int, name: str) -> int:
    """The index of a column, given by its number from 1 or from the end (-1), or its CoNLL-U name.

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
    """The index of the token column, in a file that may not have a tag column yet.

    Args:
        path: the file.
        n_columns: number of columns in the file.
        columns: as for `read_rows`; if the first is not a column of this file, it is ignored.

    Raises:
        DataError: there is no column with that number.
    """
    names = _names_of_columns(Path(path), n_columns)
    if columns and (columns[0] in names or _NUMBER.fullmatch(columns[0])):
        return column_index(path, n_columns, columns[0])
    return 1 if names == _CONLLU else 0


def _names_of_columns(path: Path, n_columns: int) -> tuple[str, ...]:
    is_conllu = endings(path)[0] == ".conllu" and n_columns == len(_CONLLU)
    return _CONLLU if is_conllu else tuple(str(number) for number in range(1, n_columns + 1))


def read_columns(
    path: Path,
    asked: tuple[str, ...] | None,
    n_columns: int | None,
    grouping: Grouping = NO_GROUPS,
) -> Iterator[Row]:
    """The sentences of a column file as rows of lists.

    Args:
        path: the file.
        asked: columns to return, by number or CoNLL-U name; None for the default.
        n_columns: how many columns the caller needs; None for any number.
        grouping: what the sentences of a group have in common: "document", for those between two lines
            that start a document (`-DOCSTART-`, `# newdoc`); a column, for those whose first token has
            the same value there; or the key of a comment `# key = value`, which holds until the next one.

    Raises:
        DataError: the file cannot be read as requested.
    """
    chosen: list[int] = []
    cells: list[list[str]] = []
    numbers: list[int] = []
    seen: dict[str, str] = {}  # equal values share one string, because tokens and tags recur
    groups = _Groups(path, grouping)
    n_rows = 0
    for line in column_lines(path):
        if line.values is None:
            if line.ends and numbers:
                yield _sentence(cells, numbers, groups.value)
                n_rows += 1
                cells, numbers = [[] for _ in chosen], []
            groups.read(line)
            continue
        if not chosen:
            groups.find_column(len(line.values))
            chosen = _chosen_columns(path, len(line.values), asked, n_columns, groups.column)
            cells = [[] for _ in chosen]
        if not numbers:
            groups.begin(line.values)
        for column, cell in zip(chosen, cells, strict=True):
            value = line.values[column]
            if not value:
                raise DataError(f"column {column + 1} is empty", path, line.number)
            cell.append(seen.setdefault(value, value))
        numbers.append(line.number)
    if numbers:
        yield _sentence(cells, numbers, groups.value)
    elif not n_rows:
        raise DataError("the file has no tokens", path)
    groups.check()


class _Groups:
    """The group of each sentence; see `read_columns`."""

    def __init__(self, path: Path, grouping: Grouping) -> None:
        self._path, self._grouping = path, grouping
        self._key = grouping.column
        key = re.escape(self._key)
        self._comment = re.compile(rf"#\s*{key}\s*[=:]\s*(.+)" if key else r"(?!)")
        self.column: int | None = None
        self.value = ""
        self._found = False

    def find_column(self, n_columns: int) -> None:
        """Find out whether the groups are the values of a column."""
        names = _names_of_columns(self._path, n_columns)
        if _NUMBER.fullmatch(self._key) or (self._key in names and names == _CONLLU):
            try:
                self.column = column_index(self._path, n_columns, self._key)
            except DataError as error:
                if self._grouping.is_needed:
                    raise DataError(f"{error.problem} (data.group)", self._path) from None
            self._found = True

    def begin(self, values: Sequence[str]) -> None:
        """Read the first token of a sentence."""
        if self.column is not None:
            self.value = values[self.column]

    def read(self, line: ColumnLine) -> None:
        """Read a line that is not a token."""
        if self.column is not None or not self._key:
            return
        if self._key == _DOCUMENTS and line.text.startswith(_DOCUMENT):
            self._begin(line, "")
        elif self._key == _DOCUMENTS and (new := _NEW_DOCUMENT.match(line.text)):
            self._begin(line, new[1] or "")
        elif found := self._comment.match(line.text):
            self._begin(line, found[1].strip())

    def _begin(self, line: ColumnLine, name: str) -> None:
        self.value, self._found = name or f"{self._path}, line {line.number}", True

    def check(self) -> None:
        """Refuse a file without groups, if they are needed."""
        if self._found or not self._key or not self._grouping.is_needed:
            return
        wanted = "a line that starts with -DOCSTART- or # newdoc"
        if self._key != _DOCUMENTS:
            wanted = (
                f"comments '# {brief(self._key)} = …' before sentences, or the number of a column; for "
                "documents, which start with -DOCSTART- or # newdoc, set data.group = 'document'"
            )
        raise DataError(
            f"data.group is {quote(self._key)}, but no sentence has a group; expected {wanted}",
            self._path,
        )


_DOCUMENTS = "document"


_NEW_DOCUMENT = re.compile(r"#\s*newdoc\b(?:\s+id\s*=\s*(.+?))?\s*$")


def _chosen_columns(
    path: Path,
    n_found: int,
    asked: tuple[str, ...] | None,
    n_columns: int | None,
    group: int | None,
) -> list[int]:
    if asked is not None:
        return [column_index(path, n_found, name) for name in asked]
    names = _names_of_columns(path, n_found)
    if names == _CONLLU and n_columns == 2:
        return [1, 3]
    left = columns_besides(names, "" if group is None else names[group], n_columns)
    if n_columns == 2 and len(left) > 2:
        left = (left[0], left[-1])
    check_count(path, left, n_columns)
    return [names.index(name) for name in left]


def _sentence(cells: Sequence[Sequence[str]], numbers: Sequence[int], group: str) -> Row:
    # A range takes no memory per token, but needs consecutive lines.
    first, last = numbers[0], numbers[-1]
    is_whole = last - first + 1 == len(numbers)
    lines = range(first, last + 1) if is_whole else tuple(numbers)
    return Row(tuple(tuple(cell) for cell in cells), first, lines, group)


def _columns(text: str, by_tab: bool) -> tuple[str, ...]:
    if by_tab:
        return tuple(value.strip(" ") for value in text.split("\t"))
    # Not str.split: a token may contain a no-break space.
    return tuple(value for value in re.split(r"[ \t]+", text) if value)


def _is_blank(text: str) -> bool:
    return not text.strip(" \t\r")
