"""Questions with the queries that answer them, from tables or from the files of public data sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unrolled import documents
from unrolled.errors import DataError
from unrolled.quoting import listed, quote
from unrolled.text.files import opened
from unrolled.text.readers import read_rows

SplitBy = Literal["question", "query"]

_MOST_BYTES = 200_000_000
_PARTS = {"dev": "valid"}
_ENDINGS = ("", ".sqlite", ".sqlite3", ".db", ".json", ".csv")


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
            may be missing; or a `.json` file, plain or compressed, in the form of Finegan-Dollak et al.
            (2018): variables are replaced by their values, and of several queries the first counts.
        split_by: for `.json` files: whether the parts share no question, or no query.

    Raises:
        DataError: the file is missing or not of its form.
    """
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".bz2", ".xz")]
    if suffixes and suffixes[-1] == ".json":
        return list(_of_list(path, _json(path), split_by))
    wanted = ("question", "query", "database")
    try:
        rows = list(read_rows(path, wanted, 3))
    except DataError as error:
        if "'database'" not in str(error):
            raise
        rows = list(read_rows(path, wanted[:2], 2))
    examples = []
    for row in rows:
        question, query, *database = row.texts
        examples.append(Example(question, query, "".join(database), row.line))
    return examples


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
            if file.is_file():
                return file
    looked = listed([str(folder) for folder in folders[:3]])
    raise DataError(
        f"database {quote(name)} is not there; put {quote(name + '.sqlite')} into one of {looked}",
        beside,
    )


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
    for number, entry in enumerate(entries, start=1):
        try:
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
                f"query {number} is not of the form of text2sql data ({error!r})", path
            ) from None


def _filled(text: str, values: Mapping[str, str]) -> str:
    """A text with the values of its variables; only whole words are variables."""
    return re.sub(r"\b\w+\b", lambda word: str(values.get(word[0], word[0])), text)
