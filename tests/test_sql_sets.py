"""The tables of questions and queries that the recipes read."""

from __future__ import annotations

import gzip
import importlib
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from unrolled.sql.examples import read_query_rows
from unrolled.sql.schema_files import read_schema, read_values

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def sql_sets() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("sql_sets")


def entry(number: int, question_split: str, query_split: str) -> dict[str, object]:
    sentence = {
        "question-split": question_split,
        "text": f"number {number} of\tstate0",
        "variables": {"state0": "iowa"},
    }
    return {
        "query-split": query_split,
        "sentences": [sentence],
        "sql": [f'SELECT {number} FROM t WHERE a = "state0" ;'],
        "variables": [],
    }


def test_parts_are_written_beside_their_database(sql_sets: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "text2sql"
    source.mkdir()
    entries = [entry(1, "train", "test"), entry(2, "dev", "train"), entry(3, "test", "dev")]
    (source / "geography.json").write_text(json.dumps(entries), encoding="utf-8")
    (source / "geography-db.added-in-2020.sqlite").write_bytes(b"a database")
    sql_sets.geo(tmp_path, tmp_path / "geo")
    database = tmp_path / "geo" / "query" / "geography.sqlite"
    assert database.read_bytes() == b"a database"
    for split, numbers in (("question", "1 2 3 12"), ("query", "2 3 1 23")):
        for part, expected in zip(
            ("train", "valid", "test", "train-valid"), numbers.split(), strict=True
        ):
            rows = read_query_rows(tmp_path / "geo" / split / f"{part}.tsv", "train")
            assert sorted(row.texts[0] for row in rows) == [f"number {n} of iowa" for n in expected]
    (row,) = read_query_rows(tmp_path / "geo" / "query" / "test.tsv", "test")
    assert row.fields == (
        "number 1 of iowa",
        str(database),
        'SELECT 1 FROM t WHERE a = "iowa" ;',
    )


def test_the_schema_of_atis_lists_values_of_the_training_part(
    sql_sets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "text2sql"
    source.mkdir()
    entries = [entry(1, "train", "test"), entry(2, "dev", "train"), entry(3, "test", "dev")]
    for each, state in zip(entries, ("iowa", "ohio", "utah"), strict=True):
        each["sentences"][0]["variables"]["state0"] = state  # type: ignore[index]
    with gzip.open(source / "atis.json.gz", "wt", encoding="utf-8") as file:
        json.dump(entries, file)
    header = "Table Name, Field Name, Is Primary Key, Is Foreign Key, Type\n"
    schema = source / "atis-schema.csv"
    schema.write_text(f"{header}t, a, n, n, text\n", encoding="utf-8")
    monkeypatch.setattr(sql_sets, "LEAST_QUERIES", 1)
    sql_sets.atis(tmp_path, tmp_path / "atis")
    for split, value in (("question", "iowa"), ("query", "ohio")):
        file = tmp_path / "atis" / split / "atis.json"
        assert read_schema(file).tables == read_schema(schema).tables
        assert read_values(file) == {value: ((0, 0),)}
        for part in ("train", "valid", "test", "train-valid"):
            (row, *_) = read_query_rows(tmp_path / "atis" / split / f"{part}.tsv", "train")
            assert row.texts[1] == str(file)


def test_no_database_of_spider_is_in_both_parts(sql_sets: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "spider"
    source.mkdir()
    names = [f"db{i}" for i in range(30)]
    lines = [{"question": "how many?", "query": "SELECT 1", "database": name} for name in names * 2]
    (source / "train.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    with tarfile.open(source / "databases.tar.xz", "w:xz") as archive:
        for name in names:
            path = tmp_path / f"{name}.sqlite"
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("create table t (a)")
            archive.add(path, path.name)
    sql_sets.spider(tmp_path, tmp_path / "out")
    parts = [
        {row.texts[1] for row in read_query_rows(tmp_path / "out" / f"{part}.jsonl", "train")}
        for part in ("train", "valid")
    ]
    assert [len(part) for part in parts] == [10, 20]
    assert not parts[0] & parts[1]


def test_nothing_is_unpacked_outside_the_folder(sql_sets: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "spider"
    source.mkdir()
    lines = [{"question": "a?", "query": "SELECT 1", "database": f"db{i}"} for i in range(30)]
    (source / "train.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    (tmp_path / "bad.sqlite").touch()
    with tarfile.open(source / "databases.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "bad.sqlite", "../../escaped.sqlite")
    with pytest.raises(tarfile.FilterError):
        sql_sets.spider(tmp_path, tmp_path / "out" / "spider")
    assert not (tmp_path / "out" / "escaped.sqlite").exists()
    assert not (tmp_path / "escaped.sqlite").exists()
