"""Databases that change between questions, and files that are closed."""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from asking import write_database

from unrolled.errors import DataError
from unrolled.sql.database import Database
from unrolled.sql.parsing import QueryError
from unrolled.sql.schema import Column, Schema, Table, as_json
from unrolled.sql.source import Source, open_source
from unrolled.sql.values import FoundValue, QuestionWord, ValueIndex, question_words
from unrolled.tasks.sql import TASK
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write_database(tmp_path / "shop.sqlite")


def _change(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(script)


def _found(source: Source, question: str) -> list[str]:
    return [value.text for value in source.values.find(question_words(question))]


def test_an_unchanged_file_is_read_once(shop: Path) -> None:
    assert open_source(shop) is open_source(str(shop))


def test_rows_that_are_added_are_found(shop: Path) -> None:
    assert _found(open_source(shop), "who lives in Quito") == []
    _change(shop, "insert into customer values (3, 'Cy', 'Quito', '2024-01-01')")
    assert _found(open_source(shop), "who lives in Quito") == ["Quito"]


def test_rows_added_in_wal_mode_are_found(shop: Path) -> None:
    with closing(sqlite3.connect(shop)) as writer:
        writer.execute("pragma journal_mode = wal")
        writer.execute("pragma wal_autocheckpoint = 0")
        before = open_source(shop)
        size = shop.stat().st_size
        with writer:
            writer.execute("insert into customer values (3, 'Cy', 'Quito', '2024-01-01')")
        assert shop.stat().st_size == size  # the change is in the file beside it
        assert _found(open_source(shop), "who lives in Quito") == ["Quito"]
        assert open_source(shop) is not before


def test_a_new_schema_is_read(shop: Path) -> None:
    before = open_source(shop)
    assert before.tokens("SELECT city FROM customer")
    _change(shop, "alter table customer rename column city to town")
    source = open_source(shop)
    with pytest.raises(QueryError, match="no table in FROM has a column 'city'"):
        source.tokens("SELECT city FROM customer")
    assert source.run("SELECT town FROM customer").rows[0] == ("Oslo",)
    with pytest.raises(QueryError, match="no such column"):
        before.run("SELECT city FROM customer")


def test_a_file_that_is_replaced_is_read_again(shop: Path, tmp_path: Path) -> None:
    status = shop.stat()
    with Database(shop) as database:
        assert database.is_current()
    other = tmp_path / "other"
    other.write_bytes(shop.read_bytes().replace(b"Oslo", b"Rome"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time
    before = open_source(shop)
    other.replace(shop)
    assert not database.is_current()
    assert _found(before, "Oslo or Rome") == ["Oslo"]
    assert _found(open_source(shop), "Oslo or Rome") == ["Rome"]


def test_reading_does_not_count_as_a_change(shop: Path) -> None:
    _change(shop, "pragma journal_mode = wal")
    with closing(sqlite3.connect(shop)) as writer:
        with writer:
            writer.execute("delete from customer where id = 2")
        for _ in range(2):
            with Database(shop) as database:
                database.run("SELECT COUNT(*) FROM customer")
                assert database.is_current()
    with Database(shop) as database:
        database.run("SELECT COUNT(*) FROM customer")
        assert database.is_current()
    source = open_source(shop)
    source.run("SELECT COUNT(*) FROM customer")
    assert open_source(shop) is source


def test_no_file_stays_open(shop: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():  # from Python 3.13 on, an open connection warns when collected
        warnings.simplefilter("error")
        source = open_source(shop)
        source.run("SELECT COUNT(*) FROM customer")
        with pytest.raises(QueryError):
            source.run("SELECT nothing FROM customer")
        assert not _descriptors(shop)
        gc.collect()
    shop.rename(tmp_path / "moved.sqlite")  # Windows refuses this for an open file
    with pytest.raises(DataError, match="no such file"):
        source.run("SELECT COUNT(*) FROM customer")
    with pytest.raises(DataError, match="no such file"):
        open_source(shop)


def _descriptors(path: Path) -> list[str]:
    """The open file descriptors of this process on a file, where the system lists them."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return []
    names = [each for each in os.listdir(folder) if (folder / each).exists()]
    return [each for each in names if os.path.samefile(folder / each, path)]


def test_a_database_that_cannot_be_used_is_closed(tmp_path: Path) -> None:
    empty = write_database(tmp_path / "empty.sqlite", "create table t (a); drop table t;")
    with pytest.raises(DataError, match="has no tables"):
        open_source(empty)
    assert not _descriptors(empty)


def test_the_values_of_a_question_are_looked_up_once(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_calls = 0
    find = ValueIndex.find

    def counted(self: ValueIndex, words: Sequence[QuestionWord]) -> list[FoundValue]:
        nonlocal n_calls
        n_calls += 1
        return find(self, words)

    monkeypatch.setattr(ValueIndex, "find", counted)
    source = open_source(shop)
    rows = [Row((question, str(shop), "SELECT name FROM customer"), 1) for question in ("a", "b")]
    tokenizers = TASK.train_tokenizers(rows, TextConfig(kind="word"))
    for row in rows * 2:
        TASK.encode(row.texts, tokenizers)
    assert n_calls == 2
    words, values = source.mentioned("who lives in oslo")
    assert [word.text for word in words] == ["who", "lives", "in", "oslo"]
    assert [value.text for value in values] == ["Oslo"]


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(DataError, match="a database in memory cannot be read by another program"):
        Database(":memory:")


def test_the_values_of_a_description_are_found_as_spelled(tmp_path: Path) -> None:
    schema = Schema("air", (Table("flight", (Column("id", "int"), Column("city", "text"))),))
    file = tmp_path / "air.json"
    values = {(0, 1): ["NEW YORK", "MONDAY", "a\0b", "x" * 200, ""]}
    file.write_text(json.dumps(as_json(schema, values)), encoding="utf-8")
    source = open_source(file)
    assert not source.has_rows
    words, found = source.mentioned("two flights to NEW YORK on monday")
    texts = [(value.text, value.places, words[value.first].text) for value in found]
    assert texts == [("NEW YORK", ((0, 1),), "NEW"), ("2", (), "two")]
