"""Questions with the queries that answer them, from tables or from the files of public data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unrolled import documents
from unrolled.errors import DataError
from unrolled.quoting import listed, quote
from unrolled.text.files import endings, opened
from unrolled.text.header import Header
from unrolled.text.readers import column_names, read_rows
from unrolled.text.rows import PathOrPaths, Row, as_paths, place_of

SplitBy = Literal["question", "query"]
Part = Literal["train", "valid", "test"]

_MOST_BYTES = 200_000_000
_PARTS = {"dev": "valid"}
_ENDINGS = ("", ".sqlite", ".sqlite3", ".db", ".json", ".csv")
_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")
_COLUMNS = ("question", "query", "database")


@dataclass(frozen=True)
class Example:
    """A question and its query.

    Args:
        question: the question.
        query: the query.
        database: the database, as the data name it; "" if they do not.
        line: 1-based line of a table, or 1-based number of the query in a list.
        part: the part it belongs to where the data say so: "train", "valid" or "test".
    """

    question: str
    query: str
    database: str
    line: int
    part: str = ""


def read_examples(path: Path, split_by: SplitBy = "question") -> list[Example]:
    """Read questions and queries.

    Args:
        path: a table (TSV, CSV or JSONL) with the columns question, query and database, of which the last
            may be missing; or a `.json` file, plain or compressed, in the form of Spider (a list of
            objects with question, query and db_id) or of Finegan-Dollak et al. (2018): variables are
            replaced by their values, and of several queries the first counts.
        split_by: for `.json` files: whether the parts share no question, or no query.

    Raises:
        DataError: the file is missing or not of its form.
    """
    if endings(path)[0] == ".json":
        return list(_of_list(path, _json(path), split_by))
    try:
        rows = list(read_rows(path, _COLUMNS, 3))
    except DataError as error:
        if "'database'" not in str(error):
            raise
        rows = list(read_rows(path, _COLUMNS[:2], 2))
    examples = []
    for row in rows:
        question, query, *database = row.texts
        examples.append(Example(question, query, "".join(database), row.line))
    return examples


def read_query_rows(
    paths: PathOrPaths,
    part: Part,
    database: str = "",
    split_by: SplitBy = "question",
    *,
    columns: Sequence[str] = (),
    header: Header = "auto",
    notes: list[str] | None = None,
    is_split: bool = False,
) -> list[Row]:
    """Read the rows of one part, with the fields question, path of the database, and query.

    Args:
        paths: a table (TSV, CSV, JSONL), two parallel text files, or a `.json` file as for
            `read_examples`. A `.json` file that says to which part its rows belong gives those of `part`.
        part: the part.
        database: the database of all rows that name none: an SQLite file or a schema (`read_schema`).
        split_by: for `.json` files with parts: whether the parts share no question, or no query.
        columns: the columns to read: question, query and, if there is one, database. By default those
            with these names; in a table without a header, those in this order.
        header, notes: as for `read_rows`.
        is_split: whether other parts will be split off these rows.

    Raises:
        DataError: a file or a database is missing or not of its form; the data have their own parts and
            are to be split; or a row has no database.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "shop.sqlite").touch()
    >>> _ = (folder / "a.tsv").write_text("question\\tquery\\tdatabase\\nhow many?\\tSELECT 1\\tshop\\n")
    >>> (row,) = read_query_rows(folder / "a.tsv", "train")
    >>> row.texts[0], pathlib.Path(row.texts[1]).name, row.texts[2], row.line
    ('how many?', 'shop.sqlite', 'SELECT 1', 2)
    """
    files = as_paths(paths)
    if database and not Path(database).is_file():
        what = "is a folder" if Path(database).is_dir() else "no such file"
        raise DataError(f"{what}; give an SQLite file with --data.database", database)
    for file in files:
        if endings(file)[0] in _ARCHIVES:
            raise DataError("archives are not read; unpack it and give the file in it", file)
    if any(endings(file)[0] == ".json" for file in files):
        examples = _of_part(files, part, split_by, is_split)
    else:
        examples = list(_of_tables(files, columns, header, notes))
    found: dict[str, str] = {}
    return [
        Row((each.question, _database_of(each, database, files[0], found), each.query), each.line)
        for each in examples
    ]


def _of_part(files: Sequence[Path], part: Part, split_by: SplitBy, is_split: bool) -> list[Example]:
    """The rows of a `.json` file that belong to a part, or all if it has no parts."""
    if len(files) > 1:
        raise DataError("give a .json file alone", files[0])
    (file,) = files
    examples = read_examples(file, split_by)
    parts = sorted({example.part for example in examples} - {""})
    if not parts:
        return examples
    if is_split:
        raise DataError(
            f"the file has its own parts ({listed(parts)}); give it also with --valid and --test",
            file,
        )
    chosen = [example for example in examples if example.part == part]
    if not chosen:
        raise DataError(f"the file has no part {quote(part)}; it has {listed(parts)}", file)
    return chosen


def _of_tables(
    files: Sequence[Path], columns: Sequence[str], header: Header, notes: list[str] | None
) -> Iterator[Example]:
    names = tuple(columns) or _default_columns(files, header)
    if len(names) not in (0, 2, 3):
        raise DataError(
            f"expected the columns question, query and, if there is one, database; got {listed(names)}",
            place_of(tuple(files)),
        )
    rows = read_rows(files, names or None, len(names) or 2, header=header, notes=notes)
    for row in rows:
        question, query, *named = row.texts
        yield Example(question, query, "".join(named), row.line)


def _default_columns(files: Sequence[Path], header: Header) -> tuple[str, ...]:
    """The columns to read; none for the two columns that there are."""
    names = column_names(files, header)
    if len(files) > 1:
        return ()
    if all(name.isdecimal() for name in names) and len(names) in (2, 3):
        return names
    return _COLUMNS if "database" in names else _COLUMNS[:2]


def _database_of(example: Example, default: str, file: Path, found: dict[str, str]) -> str:
    """The path of a row's database."""
    name = example.database.strip()
    if not name:
        if default:
            return default
        raise DataError(
            "the row has no database; add a column 'database', or give the file with --data.database",
            file,
            example.line,
        )
    if name not in found:
        try:
            found[name] = str(find_database(name, file))
        except DataError as error:
            raise DataError(error.problem, file, example.line, "database") from None
    return found[name]


def find_database(name: str, beside: Path) -> Path:
    """The file of a database that data name.

    Args:
        name: its name, with or without an ending; may be a path relative to the data.
        beside: the file with the examples. The database is looked for in its folder, in a folder
            `databases` or `database` there, and in a folder of its own name in any of these.

    Raises:
        DataError: there is no such file.
    """
    folders = [beside.parent, beside.parent / "databases", beside.parent / "database"]
    folders += [folder / name for folder in folders]
    for folder in folders:
        for ending in _ENDINGS:
            file = folder / f"{name}{ending}"
            if _is_file(file):
                return file
    expected = name if name.endswith(_ENDINGS[1:]) else f"{name}.sqlite"
    looked = listed([str(folder) for folder in folders[:3]])
    raise DataError(
        f"database {quote(name)} is not there; put {quote(expected)} into one of {looked}",
        beside,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name of a file: too long, or with a NUL character
        return False


def _json(path: Path) -> Any:
    with opened(path, lambda: "") as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise DataError(f"larger than {_MOST_BYTES:,} bytes", path)
    try:
        return documents.parse_json(path, documents.decoded(path, content))
    except documents.DocumentError as error:
        raise DataError(error.problem, path) from None


def _of_list(path: Path, entries: Any, split_by: SplitBy) -> Iterator[Example]:
    if not isinstance(entries, list):
        raise DataError("expected a list of queries", path)
    if not entries:
        raise DataError("the list is empty", path)
    for number, entry in enumerate(entries, start=1):
        try:
            if "sentences" not in entry:  # the form of Spider
                yield _checked(Example(entry["question"], entry["query"], entry["db_id"], number))
                continue
            defaults = {each["name"]: each["example"] for each in entry.get("variables", ())}
            for sentence in entry["sentences"]:
                values = defaults | sentence["variables"]
                split = (
                    sentence["question-split"] if split_by == "question" else entry["query-split"]
                )
                yield Example(
                    _filled(sentence["text"], values),
                    _filled(entry["sql"][0], values),
                    "",
                    number,
                    _PARTS.get(split, split),
                )
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise DataError(
                f"query {number} is not of the form of text2sql or Spider data ({error!r})", path
            ) from None


def _checked(example: Example) -> Example:
    for name in _COLUMNS:
        if not isinstance(getattr(example, name), str):
            raise TypeError(f"{name} is not a text")
    return example


def _filled(text: str, values: Mapping[str, str]) -> str:
    """A text with the values of its variables; only whole words are variables."""
    return re.sub(r"\b\w+\b", lambda word: str(values.get(word[0], word[0])), text)
