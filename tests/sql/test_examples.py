"""Questions and queries from tables and from lists of queries with variables."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.samples.shop.generator import generate, write
from unrolled.sql.examples import Example, find_database, read_examples, read_query_rows
from unrolled.text.header import Header
from unrolled.text.rows import Row

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
    with pytest.raises(DataError, match=r"put 'books\.db' into one"):
        find_database("books.db", file)
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
        ("a.json", "[{}]", "query 1 is not of the form of text2sql or Spider data"),
        ("a.json", '[{"sentences": [3], "sql": []}]', "query 1 is not of the form"),
        ("a.tsv", "question\tanswer\nx\ty\n", "query"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_examples(path)


def test_rows_have_question_database_and_query(tmp_path: Path) -> None:
    write(tmp_path, generate(20))
    rows = read_query_rows(tmp_path / "train.tsv", "train", is_split=True)
    (first, *_) = read_examples(tmp_path / "train.tsv")
    assert len(rows) == 20
    assert rows[0] == Row((first.question, str(tmp_path / "shop.sqlite"), first.query), 2)


def test_a_row_without_a_database_takes_the_given_one(tmp_path: Path) -> None:
    write(tmp_path, generate(1))
    file = tmp_path / "mixed.jsonl"
    lines = [
        {"question": "a?", "query": "SELECT 1", "database": "library"},
        {"question": "b?", "query": "SELECT 2", "database": ""},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    given = str(tmp_path / "shop.sqlite")
    rows = read_query_rows(file, "valid", given)
    assert [row.texts[1] for row in rows] == [str(tmp_path / "library.sqlite"), given]
    with pytest.raises(DataError, match=r"mixed\.jsonl, line 2: the row has no database; add"):
        read_query_rows(file, "valid")
    with pytest.raises(DataError, match="no such file; give an SQLite file with"):
        read_query_rows(file, "valid", str(tmp_path / "none.sqlite"))


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.tsv", "question\tquery\nhow many?\tSELECT 1\n", ()),
        ("a.csv", "id,query,question\n7,SELECT 1,how many?\n", ()),
        ("a.tsv", "how many?\tSELECT 1\nhow few?\tSELECT 2\n", ("1", "2")),
        ("a.tsv", "en\tsql\nhow many?\tSELECT 1\n", ("en", "sql")),
        ("a.jsonl", '{"utterance": "how many?", "sql": "SELECT 1"}\n', ("utterance", "sql")),
    ],
)
def test_columns_are_found(
    tmp_path: Path, name: str, content: str, columns: tuple[str, ...]
) -> None:
    file, database = tmp_path / name, tmp_path / "x.sqlite"
    file.write_text(content, encoding="utf-8")
    database.touch()
    header: Header = "no" if columns == ("1", "2") else "auto"
    rows = read_query_rows(file, "train", str(database), columns=columns, header=header)
    assert rows[0].fields == ("how many?", str(database), "SELECT 1")


def test_a_table_without_a_header_has_the_columns_in_order(tmp_path: Path) -> None:
    (tmp_path / "shop.sqlite").touch()
    file = tmp_path / "a.tsv"
    file.write_text("how many?\tSELECT 1\tshop\n", encoding="utf-8")
    (row,) = read_query_rows(file, "train", header="no")
    assert row.fields == ("how many?", str(tmp_path / "shop.sqlite"), "SELECT 1")


def test_parallel_files_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("how many?\n", encoding="utf-8")
    (tmp_path / "a.sql").write_text("SELECT 1\n", encoding="utf-8")
    (tmp_path / "x.sqlite").touch()
    rows = read_query_rows(
        [tmp_path / "a.en", tmp_path / "a.sql"], "train", str(tmp_path / "x.sqlite")
    )
    assert [row.texts[::2] for row in rows] == [("how many?", "SELECT 1")]


def test_a_list_gives_the_rows_of_the_part(tmp_path: Path) -> None:
    path, database = tmp_path / "geo.json", tmp_path / "geo.sqlite"
    path.write_text(json.dumps(QUERIES), encoding="utf-8")
    database.touch()
    (row,) = read_query_rows(path, "valid", str(database))
    assert (row.texts[0], row.line) == ("cities of new york not iowa", 1)
    assert len(read_query_rows(path, "test", str(database), "query")) == 2
    with pytest.raises(DataError, match="the file has no part 'test'; it has train, valid"):
        read_query_rows(path, "test", str(database))
    with pytest.raises(DataError, match=r"own parts \(train, valid\); give it also with --valid"):
        read_query_rows(path, "train", str(database), is_split=True)
    with pytest.raises(DataError, match="line 1: the row has no database"):
        read_query_rows(path, "train")


def test_a_list_in_the_form_of_spider_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    entry = {"db_id": "shop", "question": "a?", "query": "SELECT 1", "sql": {"limit": None}}
    path.write_text(json.dumps([entry]), encoding="utf-8")
    (tmp_path / "database" / "shop").mkdir(parents=True)
    (tmp_path / "database" / "shop" / "shop.sqlite").touch()
    (row,) = read_query_rows(path, "test", is_split=True)
    assert row.texts[1] == str(tmp_path / "database" / "shop" / "shop.sqlite")
    path.write_text(json.dumps([{**entry, "query": 3}]), encoding="utf-8")
    with pytest.raises(DataError, match="query 1 is not of the form of text2sql or Spider data"):
        read_query_rows(path, "test")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.tsv", "question\tanswer\nx\ty\n", "no column 'query'"),
        (
            "a.tsv",
            "question\tquery\tdatabase\nx\ty\tnosuch\n",
            r"line 2, field 'database': .*nosuch",
        ),
        ("a.tsv", f"question\tquery\tdatabase\nx\ty\t{'n' * 5000}\n", "line 2, field 'database'"),
        ("a.tar.xz", "", "archives are not read; unpack it"),
        ("a.zip", "", "archives are not read; unpack it"),
        ("a.jsonl", '{"question": "x", "query": 3}\n', "line 1"),
        ("a.json", "[]", "the list is empty"),
    ],
)
def test_rows_that_cannot_be_read(tmp_path: Path, name: str, content: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem) as caught:
        read_query_rows(path, "train")
    assert name in str(caught.value)
