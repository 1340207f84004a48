"""Queries of unknown origin on SQLite files: what may be read, and that nothing can be changed."""

from __future__ import annotations

import _thread
import hashlib
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.sql.database import Database
from unrolled.sql.parsing import QueryError
from unrolled.sql.schema import ForeignKey

SCRIPT = """
create table product (id integer primary key, name text, price real);
create table "order" (id integer primary key, product_id references product, "made on" date);
create view cheap as select name from product where price < 5;
create view hostile as select load_extension('x') as name from product;
create virtual table notes using fts5(body);
create table "select" ("a b", "quo""te");
insert into product values (1, 'tea', 3.5), (2, 'pot', 20), (3, NULL, NULL);
insert into "order" values (1, 1, '2024-05-01'), (2, 2, '2024-06-01');
"""

ATTACKS = """
insert into product values (9, 'x', 1)
update product set price = 0
delete from product
replace into product values (1, 'x', 1)
drop table product
alter table product rename to p
create table new (a)
create temp table new (a)
create index i on product (name)
create trigger g after insert on product begin select 1; end
create view new as select 1
create table new as select * from product
select * into new from product
with gone as (delete from product returning id) select * from gone
attach 'new.db' as new
attach database ':memory:' as new
detach main
vacuum
vacuum into 'new.db'
reindex
analyze
begin
commit
rollback
savepoint s
pragma query_only = 0
pragma writable_schema = 1
pragma journal_mode = wal
pragma trusted_schema = 1
pragma hard_heap_limit = 0
pragma table_info(product)
explain select 1
explain query plan select 1
values (1)
select 1; drop table product
select 1; select 2
select load_extension('new')
select * from hostile
select readfile('/etc/hosts')
select writefile('new.db', 'x')
select edit('x')
select fts3_tokenizer('simple')
select sqlite_source_id()
select sqlite_compileoption_get(0)
select changes()
select last_insert_rowid()
select randomblob(100000000)
select zeroblob(900000000)
select printf('%.*c', 900000000, 'x')
select format('%.*c', 900000000, 'x')
select hex(zeroblob(900000))
select char(7)
select quote(name) from product
select * from sqlite_master
select * from sqlite_schema
select * from sqlite_temp_master
select * from temp.sqlite_master
select * from pragma_table_info('product')
select * from pragma_database_list
select * from json_each('[1, 2]')
select * from notes
select * from notes_data
select name from product where name match 'tea'
select name from product where name regexp '.*'
with recursive r (n) as (select 1 union all select n + 1 from r) select n from r
select nosuch from product
select name from nosuch
select name from product where
select count(name, price) from product

-- nothing
""".splitlines()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database whose file name tries to add an option to its URI."""
    path = tmp_path / "shop #1 %3f?mode=rwc.sqlite"
    if os.name == "nt":
        path = tmp_path / "shop #1 %3f&mode=rwc.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCRIPT)
    return path


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    with Database(file) as database:
        yield database


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_schema_has_tables_views_types_and_keys(database: Database) -> None:
    schema = database.schema
    names = [table.name for table in schema.tables]
    assert names == ["product", "order", "cheap", "select"]  # neither virtual nor unreadable ones
    product = schema.table("PRODUCT")
    assert product is not None
    assert [(column.name, column.kind, column.is_key) for column in product.columns] == [
        ("id", "number", True),
        ("name", "text", False),
        ("price", "number", False),
    ]
    assert schema.foreign_keys == (ForeignKey("order", "product_id", "product", "id"),)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("select name from product where price < 10", [("tea",)]),
        ("SELECT count(*), max(price) FROM product;", [(3, 20.0)]),
        ("select name from cheap", [("tea",)]),
        (
            'select "made on" from "order" where strftime(\'%m\', "made on") = \'05\'',
            [("2024-05-01",)],
        ),
        ('select "a b", "quo""te" from "select"', []),
        ("with p as (select name from product) select name from p limit 1", [("tea",)]),
        ("select name from (select name from product order by price desc) limit 1", [("pot",)]),
        ("select name from product union select 'x' order by 1 desc limit 1", [("x",)]),
        (
            'select p.name from product p join "order" o on o.product_id = p.id',
            [("tea",), ("pot",)],
        ),
        ("select sum(price) from product group by id having sum(price) > 4", [(20.0,)]),
        ("select cast(price as integer) from product where name like 'p%'", [(20,)]),
        ("select case when price is null then 'none' end from product where id = 3", [("none",)]),
    ],
)
def test_a_select_gives_its_rows(
    database: Database, query: str, rows: list[tuple[object, ...]]
) -> None:
    assert list(database.run(query).rows) == rows


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_else_runs(
    file: Path, attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = _sha256(file)
    with Database(file) as database:
        with pytest.raises(QueryError):
            database.run(attack)
        assert database.run("select count(*) from product").rows == ((3,),)
    assert _sha256(file) == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_sql_cannot_write_even_if_the_parser_is_fooled(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unrolled.sql.database.parse_select", lambda query: None)
    before = _sha256(file)
    with Database(file) as database:
        for attack in ATTACKS:
            if attack.startswith(("explain", "values", "--")) or not attack:
                continue  # these only read
            with pytest.raises(QueryError):
                database.run(attack)
    assert _sha256(file) == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_rows_are_cut_at_the_limit(database: Database) -> None:
    result = database.run("select id from product", most_rows=2)
    assert (result.columns, result.rows, result.is_cut) == (("id",), ((1,), (2,)), True)
    assert not database.run("select id from product", most_rows=3).is_cut


def test_long_queries_are_stopped(database: Database) -> None:
    numbers = " union all ".join(f"select {n} as n" for n in range(10))
    endless = (
        f"with a as ({numbers}) select count(*) from "
        + ", ".join(f"a as a{n}" for n in range(12))
        + " where a0.n < 0 or 1"
    )
    with pytest.raises(QueryError, match=r"the query took more than 0\.2 s"):
        database.run(endless, most_seconds=0.2)
    assert database.run("select 1").rows == ((1,),)


def test_large_values_and_sorts_are_stopped(database: Database) -> None:
    wide = "x" * 40
    growing = "'" + wide + "'"
    for _ in range(4):
        growing = f"replace({growing}, 'x', '{wide}')"
    with pytest.raises(QueryError, match="too long"):
        database.run(f"select {growing}")
    with pytest.raises(QueryError, match=r"nested too deeply"):
        database.run("select " + "-(" * 200 + "1" + ")" * 200)
    with pytest.raises(QueryError, match="longer than 20,000"):
        database.run("select '" + "x" * 20_000 + "'")


def test_missing_damaged_and_locked_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.sqlite: no such file; give the file of an SQLite"):
        Database(tmp_path / "none.sqlite")
    with pytest.raises(DataError, match="is a folder"):
        Database(tmp_path)
    junk = tmp_path / "junk.sqlite"
    junk.write_bytes(os.urandom(8192))
    with pytest.raises(DataError, match="not an SQLite database, or it is encrypted"):
        Database(junk)
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(DataError, match="has no tables"):
        Database(empty)
    locked = tmp_path / "locked.sqlite"
    with closing(sqlite3.connect(locked, isolation_level=None)) as connection:
        connection.executescript("create table t (a); begin exclusive; insert into t values (1)")
        with pytest.raises(DataError, match="another process has locked it"):
            Database(locked)


def test_a_file_without_tables_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create virtual table notes using fts5(body)")
    with pytest.raises(DataError, match=r"notes\.sqlite: database 'notes' has no tables"):
        Database(str(file))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("unable to open database file", "allow reading them and their folder"),
        ("attempt to write a readonly database", "did not finish; open it once with sqlite3"),
    ],
)
def test_a_file_that_cannot_be_opened_is_named(
    file: Path, problem: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError(problem)

    monkeypatch.setattr("unrolled.sql.database._opened", refuse)
    with pytest.raises(DataError, match=message) as caught:
        Database(file)
    assert str(caught.value).startswith(str(file))


def test_generated_columns_are_known(tmp_path: Path) -> None:
    path = tmp_path / "generated.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "create table t (n int, twice int as (n * 2), thrice int not null as (n * 3) stored)"
        )
        connection.execute("insert into t (n) values (2)")
        connection.commit()
    with Database(path) as database:
        (table,) = database.schema.tables
        assert [column.name for column in table.columns] == ["n", "twice", "thrice"]
        assert database.required_columns() == {("t", "thrice")}
        assert database.run("select twice, thrice from t").rows == ((4, 6),)


def test_a_file_that_is_cut_short_is_named(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(DataError, match="restore it from a copy"):
        Database(file)


def test_bytes_that_are_not_text_are_read(tmp_path: Path) -> None:
    path = tmp_path / "latin.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (a text)")
        connection.execute("insert into t values (cast(x'636166e9' as text))")
        connection.commit()
    with Database(path) as database:
        assert database.run("select a from t").rows == (("caf\ufffd",),)


def test_an_interrupt_ends_a_query(database: Database) -> None:
    endless = f"select count(*) from {', '.join(f'product p{n}' for n in range(40))}"
    timer = threading.Timer(0.2, _thread.interrupt_main)
    # A process in the background of a script ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            database.run(endless, most_seconds=30)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert database.run("select 1").rows == ((1,),)
