"""Questions and queries from tables and from lists of queries with variables."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.samples.shop.generator import generate, write
from unrolled.sql.examples import Example, find_database, read_examples

QUERIES = [
    {
        "query-split": "test",
        "sentences": [
            {
                "question-split": "dev",
                "text": "cities of state1 not state10",
                "variables": {"state1": "new york", "state10": "iowa"},
            },
            {"question-split": "train", "text": "any city", "variables": {"state1": "ohio"}},
        ],
        "sql": ['SELECT A.X FROM A WHERE A.S = "state1" AND A.N < size0 ;', "SELECT 1"],
        "variables": [
            {"name": "size0", "example": "5", "location": "sql-only", "type": "n"},
            {"name": "state1", "example": "utah", "location": "both", "type": "s"},
        ],
    }
]


def test_variables_are_filled_as_whole_words(tmp_path: Path) -> None:
    path = tmp_path / "geo.json.gz"
    path.write_bytes(gzip.compress(json.dumps(QUERIES).encode()))
    query = 'SELECT A.X FROM A WHERE A.S = "{}" AND A.N < 5 ;'
    assert read_examples(path) == [
        Example("cities of new york not iowa", query.format("new york"), "", 1, "valid"),
        Example("any city", query.format("ohio"), "", 1, "train"),
    ]
    assert {example.part for example in read_examples(path, "query")} == {"test"}


def test_tables_name_their_databases(tmp_path: Path) -> None:
    write(tmp_path, generate(20))
    examples = read_examples(tmp_path / "train.tsv")
    assert len(examples) == 20
    assert examples[0].line == 2
    assert find_database(examples[0].database, tmp_path / "train.tsv") == tmp_path / "shop.sqlite"
    file = tmp_path / "two.jsonl"
    file.write_text(
        json.dumps({"question": "how many?", "query": "SELECT 1", "database": "books"}) + "\n",
        encoding="utf-8",
    )
    (example,) = read_examples(file)
    assert example == Example("how many?", "SELECT 1", "books", 1)
    with pytest.raises(
        DataError, match=r"database 'books' is not there; put 'books\.sqlite' into one"
    ):
        find_database(example.database, file)
    for folder in ("databases/books", "databases", "."):
        place = tmp_path / folder / "books.sqlite"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        assert find_database("books", file).resolve() == place.resolve()


def test_a_table_without_databases_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("query,question\nSELECT 1,one?\n", encoding="utf-8")
    assert read_examples(file) == [Example("one?", "SELECT 1", "", 2)]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", "{}", "expected a list of queries"),
        ("a.json", "[{}]", "query 1 is not of the form of text2sql data"),
        ("a.json", '[{"sentences": [3], "sql": []}]', "query 1 is not of the form"),
        ("a.tsv", "question\tanswer\nx\ty\n", "query"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_examples(path)
