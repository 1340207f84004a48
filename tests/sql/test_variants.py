"""Variants of a database: what they keep of it, and what they tell apart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.sql.database import Database
from unrolled.sql.scoring import Gold, judge, measure, score, signature
from unrolled.sql.variants import mutations, write_variants

QUERIES = [
    "SELECT name FROM product WHERE price > 20",
    "SELECT MAX(price) FROM product WHERE shop = 'north'",
    "SELECT COUNT(*) FROM sale JOIN product ON sale.product = product.id WHERE name = 'lamp'",
]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop" / "shop.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "create table product (id integer primary key, name text not null, price real, shop text);"
            "create table sale (product int references product (id), n int, primary key (product, n));"
            "create table log (text text);"
            "create table chain (id int primary key references product (id),"
            " boss int references chain (id));"
            "create table empty (a int);"
            "create view names as select name from product;"
        )
        products = [(i, f"thing {i}", 0.5 * i, f"shop {i % 4}") for i in range(50)]
        connection.executemany("insert into product values (?, ?, ?, ?)", products)
        sales = [(i % 50, i // 50) for i in range(120)]
        connection.executemany("insert into sale values (?, ?)", sales)
        connection.execute("insert into chain select id, max(id - 1, 0) from product")
        connection.executemany("insert into log values (?)", [("a",), ("b",)] * 20)
        connection.commit()
    return path


def content(path: Path) -> dict[str, tuple[tuple[object, ...], ...]]:
    with Database(path) as database:
        return {
            table.name: database.run(f'SELECT * FROM "{table.name}"').rows
            for table in database.schema.tables
        }


def test_variants_keep_keys_and_types_but_not_values(shop: Path, tmp_path: Path) -> None:
    before = shop.read_bytes()
    folder = tmp_path / "variants"
    folder.mkdir()
    files = write_variants(shop, QUERIES, 3, folder)
    assert 1 <= len(files) <= 3
    assert sorted(folder.iterdir()) == sorted(files)
    assert shop.read_bytes() == before
    assert [each.name for each in shop.parent.iterdir()] == ["shop.sqlite"]
    original = content(shop)
    for file in files:
        found = content(file)
        assert list(found) == list(original)
        assert found["empty"] == ()
        assert found["product"] != original["product"]
        ids = [row[0] for row in found["product"]]
        assert ids == list(range(50))  # sales refer to them
        names = {row[1] for row in found["product"]}
        assert None not in names  # not null
        assert names <= {"lamp", *(f"thing {i}" for i in range(50))}
        assert len(set(found["sale"])) == len(found["sale"])  # a primary key
        assert {row[0] for row in found["sale"]} <= set(ids)
        assert [row[0] for row in found["chain"]] == list(range(50))
        assert {row[1] for row in found["chain"]} - {None} <= set(range(50))
    everything = [row for file in files for row in content(file)["product"]]
    assert {20.0, 19.0, 21.0} & {row[2] for row in everything}
    assert None in {row[2] for row in everything}
    assert "north" in {row[3] for row in everything}


def test_the_seed_decides_the_content(shop: Path, tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        files = write_variants(shop, QUERIES, 2, tmp_path / name, seed)
        found.append([content(file) for file in files])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_variants_that_tell_nothing_are_not_kept(shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "variants"
    folder.mkdir()
    assert write_variants(shop, ["SELECT 1"], 3, folder) == []
    assert write_variants(shop, [], 3, folder) == []
    assert list(folder.iterdir()) == []
    with pytest.raises(DataError, match="no such file"):
        write_variants(tmp_path / "missing.sqlite", [], 1, folder)


def test_mutations_change_one_place() -> None:
    found = mutations("SELECT DISTINCT a FROM t WHERE b = 1 AND c <= 2 ORDER BY a DESC LIMIT 3")
    assert len(found) == 6
    assert set(found) == {
        "SELECT DISTINCT a FROM t WHERE b = 1 AND c <= 2 ORDER BY a DESC LIMIT 4",
        "SELECT a FROM t WHERE b = 1 AND c <= 2 ORDER BY a DESC LIMIT 3",
        "SELECT DISTINCT a FROM t WHERE b = 1 ORDER BY a DESC LIMIT 3",
        "SELECT DISTINCT a FROM t WHERE c <= 2 ORDER BY a DESC LIMIT 3",
        "SELECT DISTINCT a FROM t WHERE b = 1 AND c <= 2 ORDER BY a LIMIT 3",
        "SELECT DISTINCT a FROM t WHERE b = 1 AND c < 2 ORDER BY a DESC LIMIT 3",
    }
    assert mutations("SELECT COUNT(DISTINCT a) FROM t") == ["SELECT COUNT(a) FROM t"]
    assert mutations("no SQL") == []


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        (
            "SELECT name FROM product WHERE price > 24",
            "SELECT name FROM product WHERE price = 24.5",
        ),
        ("SELECT id FROM product WHERE price > 20", "SELECT id FROM product WHERE id > 40"),
        ("SELECT MAX(price) FROM product", "SELECT 24.5"),
        ("SELECT COUNT(name) FROM product", "SELECT COUNT(price) FROM product"),
        ("SELECT COUNT(name) FROM product", "SELECT COUNT(DISTINCT name) FROM product"),
    ],
)
def test_agreement_by_chance_is_told(shop: Path, gold: str, predicted: str) -> None:
    golds = [Gold(gold, str(shop)), *(Gold(query, str(shop)) for query in QUERIES)]
    verdict, *others = judge([predicted, *QUERIES], golds, variants=5)
    assert (verdict.is_same_rows, verdict.is_same_on_variants) == (True, False)
    assert all(each.is_same_on_variants for each in others)


def test_equal_queries_agree_on_all_variants(shop: Path) -> None:
    golds = [Gold(query, str(shop)) for query in QUERIES]
    predicted = [
        "SELECT p.name FROM product p WHERE NOT p.price <= 20",
        "SELECT price FROM product WHERE shop = 'north' AND price NOTNULL ORDER BY price DESC LIMIT 1",
        "SELECT COUNT(*) FROM sale WHERE product IN (SELECT id FROM product WHERE name = 'lamp')",
    ]
    found = score(predicted, golds, variants=5)
    assert (found["exact"], found["execution"]) == (
        0.0,
        66.6667,
    )  # MAX of nothing is NULL, not no row
    assert found["execution_variants"] == 66.6667
    assert measure(QUERIES, golds, 5).scores() == dict.fromkeys(signature(5), 100.0)


def test_odd_names_types_and_values_are_copied(tmp_path: Path) -> None:
    path = tmp_path / "odd.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            create table "a ""b); drop table x" ("select" "int); --", "é" blob, c);
            create trigger t after insert on "a ""b); drop table x" begin select raise(abort, 'no'); end;
            """
        )
        connection.execute("drop trigger t")
        rows = [(1, b"\0\xff", float("inf")), (None, "x'", 2**62), (3, "", -1)]
        connection.executemany('insert into "a ""b); drop table x" values (?, ?, ?)', rows)
        connection.commit()
    query = 'SELECT "select" FROM "a ""b); drop table x" WHERE c > 1'
    (tmp_path / "variants").mkdir()
    files = write_variants(path, [query], 2, tmp_path / "variants")
    assert files
    for file in files:
        with Database(file) as database, Database(path) as original:
            assert database.schema.tables[0] == original.schema.tables[0]
