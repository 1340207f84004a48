"""The scores of predicted queries: worked out by hand, gold against itself, hostile predictions."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.samples.shop.generator import generate, write
from unrolled.sql.examples import read_examples, read_query_rows
from unrolled.sql.match import canonical
from unrolled.sql.parsing import QueryError
from unrolled.sql.schema import as_json
from unrolled.sql.schema_files import read_schema
from unrolled.sql.scoring import Gold, judge, measure, score, signature

ALL_RIGHT = dict.fromkeys(signature(), 100.0)
WITHOUT_DATA = {name: 100.0 for name in signature() if name != "execution"}


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "create table product (name text, price real, stock int);"
            "insert into product values ('tea', 2.5, 3), ('ink', 2.5, 0), ('pen', 1.0, NULL);"
        )
    return str(path)


def test_scores_are_those_worked_out_by_hand(shop: str) -> None:
    rows = [
        (
            "SELECT name FROM product WHERE price > 2",
            "SELECT p.name FROM product p WHERE p.price > 2",
        ),
        (
            "SELECT name FROM product WHERE price > 2 AND stock = 3",
            "SELECT name FROM product WHERE stock = 3 AND 2 < price",
        ),
        ("SELECT name FROM product WHERE price > 2", "SELECT name FROM product WHERE price > 3"),
        ("SELECT COUNT(*) FROM product", "SELECT COUNT(*) FROM nosuch"),
        ("SELECT MAX(price) FROM product", ""),
    ]
    found = measure([predicted for _, predicted in rows], [Gold(gold, shop) for gold, _ in rows])
    # In both, in gold, predicted: select (4, 5, 4), from (3, 5, 4), where (3, 4, 4), without values 4.
    expected = {
        "exact": 20.0,
        "normalized": 40.0,
        "components": (800 / 9 + 600 / 9 + 600 / 8) / 3,
        "components_without_values": (800 / 9 + 600 / 9 + 100) / 3,
        "set_match": 40.0,
        "execution": 40.0,
        "valid": 60.0,
        "answered": 80.0,
    }
    verdicts = judge([predicted for _, predicted in rows], [Gold(gold, shop) for gold, _ in rows])
    assert [each.is_exact for each in verdicts] == [True, False, False, False, False]
    assert [each.is_set_match for each in verdicts] == [True, False, True, False, False]
    assert [each.is_same_rows for each in verdicts] == [True, True, False, False, False]
    assert [each.problem for each in verdicts][3:] == ["there is no table 'nosuch'", "no answer"]
    assert found.scores() == pytest.approx(expected, abs=1e-3)
    assert (found.n_questions, found.n_gradable) == (5, 5)


@pytest.mark.parametrize(
    ("gold", "predicted", "same"),
    [
        ("SELECT name FROM product", "SELECT name FROM product ORDER BY name", True),
        (
            "SELECT name FROM product ORDER BY price",
            "SELECT name FROM product ORDER BY price, name",
            True,
        ),
        (
            "SELECT name FROM product ORDER BY price",
            "SELECT name FROM product ORDER BY name DESC",
            False,
        ),
        ("SELECT price FROM product", "SELECT DISTINCT price FROM product", False),
        ("SELECT price FROM product", "SELECT price + 1e-8 FROM product", True),
        ("SELECT price FROM product", "SELECT price + 0.001 FROM product", False),
        ("SELECT stock FROM product", "SELECT IFNULL(stock, 0) FROM product", False),
        ("SELECT stock FROM product", "SELECT stock FROM product WHERE 1 = 1", True),
        ("SELECT stock FROM product WHERE stock = 3", "SELECT '3'", False),
        (
            "SELECT name FROM product WHERE price > 9",
            "SELECT name FROM product WHERE price > 8",
            True,
        ),
    ],
)
def test_execution_compares_rows(shop: str, gold: str, predicted: str, same: bool) -> None:
    assert score([predicted], [Gold(gold, shop)])["execution"] == (100.0 if same else 0.0)


def test_gold_queries_that_cannot_be_compared_are_counted(shop: str) -> None:
    golds = [
        Gold("SELECT nosuch FROM product", shop),
        Gold("SELECT name FROM product WHERE price > 9", shop),
        Gold("SELECT name FROM product", shop),
    ]
    found = measure([gold.query for gold in golds], golds)
    assert found.gold_rows == {"some": 1, "none": 1, "fails": 1, "no data": 0}
    assert found.n_gold_unresolved == 1
    assert found.scores() == {**ALL_RIGHT, "valid": 66.6667}
    lines = list(found.lines())
    assert "gold queries that run: 2 (1 return no rows)" in lines
    assert "gold queries that cannot be run, and do not count for execution: 1" in lines
    assert "execution                  100.00" in lines
    assert found.figures()["gold_rows"] == {"some": 1, "none": 1, "fails": 1, "no data": 0}
    json.dumps(found.figures())
    alone = measure(["SELECT 1"], golds[:1])
    assert "execution" not in alone.scores()


def test_a_schema_without_data_has_no_execution(shop: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(as_json(read_schema(Path(shop)))), encoding="utf-8")
    gold = Gold("SELECT name FROM product WHERE price > 2", str(path))
    assert score([gold.query], [gold]) == WITHOUT_DATA
    assert score(["SELECT nosuch FROM product"], [gold])["valid"] == 0.0
    both = measure([gold.query] * 2, [gold, replace(gold, database=shop)])
    assert both.scores() == ALL_RIGHT
    assert both.gold_rows["no data"] == 1


def test_texts_in_double_quotes_are_read_in_the_dialect_of_the_gold(shop: str) -> None:
    gold = Gold('SELECT name FROM product WHERE name = "tea"', shop, dialect="mysql")
    for predicted in (
        gold.query,
        'SELECT p.name FROM product p WHERE p.name = "tea"',
        "SELECT name FROM product WHERE name = 'tea'",
        'SELECT "name" FROM "product" WHERE "name" = \'tea\'',
    ):
        assert score([predicted], [gold]) == ALL_RIGHT
    other = score(['SELECT name FROM product WHERE name = "ink"'], [gold])
    assert (other["exact"], other["execution"], other["valid"]) == (0.0, 0.0, 100.0)


def test_no_answer_is_wrong_everywhere(shop: str) -> None:
    gold = Gold("SELECT name FROM product WHERE price > 9", shop)
    assert score(["", " \n"], [gold, gold]) == dict.fromkeys(signature(), 0.0)


HOSTILE = [
    "DROP TABLE product",
    "ATTACH 'other.sqlite' AS other",
    "SELECT name FROM product; DELETE FROM product",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "SELECT load_extension('x')",
    "SELECT COUNT(DISTINCT) FROM product",
    "SELECT",
    "(((",
    "SELECT '",
    "no SQL at all \x1b[2J \0 é",
    "SELECT " + "(" * 500 + "1" + ")" * 500,
    "SELECT " + "NOT " * 3_000 + "1",
    "SELECT " + "x" * 100_000,
]


@pytest.mark.parametrize("predicted", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_predictions_are_wrong_and_harmless(shop: str, predicted: str) -> None:
    before = Path(shop).read_bytes()
    (verdict,) = judge([predicted], [Gold("SELECT name FROM product", shop)])
    assert (verdict.is_exact, verdict.is_set_match, verdict.is_same_rows) == (False, False, False)
    assert verdict.is_answered
    assert verdict.problem
    assert Path(shop).read_bytes() == before
    assert [path.name for path in Path(shop).parent.iterdir()] == ["shop.sqlite"]


def test_a_prediction_that_takes_too_long_is_wrong(
    shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.sql.scoring._LEAST_SECONDS", 0.05)
    many = ", ".join(f"product p{i}" for i in range(20))
    (verdict,) = judge([f"SELECT COUNT(*) FROM {many}"], [Gold("SELECT 1 FROM product", shop)])
    assert verdict.is_same_rows is False
    assert not verdict.is_valid
    assert "took more than" in verdict.problem


def test_bad_arguments_are_refused(shop: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are 1 gold and 2 predicted queries"):
        score(["SELECT 1", "SELECT 1"], [Gold("SELECT 1", shop)])
    with pytest.raises(DataError, match="no such file"):
        score(["SELECT 1"], [Gold("SELECT 1", str(tmp_path / "missing.sqlite"))])
    assert measure([], []).scores() == {"components": 0.0, "components_without_values": 0.0}


def test_gold_queries_of_the_sample_score_100_against_themselves(tmp_path: Path) -> None:
    write(tmp_path, generate(100))
    rows = [
        row
        for part in ("train", "shapes", "library")
        for row in read_query_rows(tmp_path / f"{part}.tsv", "train")
    ]
    golds = [Gold(row.texts[2], row.texts[1]) for row in rows]
    found = measure([gold.query for gold in golds], golds, variants=2)
    assert found.scores() == dict.fromkeys(signature(2), 100.0)


def test_no_two_gold_queries_of_public_data_have_one_tree(real_data: Path) -> None:
    folder = real_data / "text2sql"
    schema = read_schema(folder / "geography-schema.csv")
    queries = {each.query for each in read_examples(folder / "geography.json")}
    trees = set()
    unresolved = []
    for query in queries:
        try:
            trees.add(canonical(query, schema, "mysql").sql(dialect="sqlite"))
        except QueryError:
            unresolved.append(query)
    assert len(unresolved) == 1
    assert len(trees) == len(queries) - 1


def test_gold_queries_of_public_data_score_100_against_themselves(real_data: Path) -> None:
    folder = real_data / "text2sql"
    database = str(folder / "geography-db.added-in-2020.sqlite")
    golds = [
        Gold(each.query, database, "mysql") for each in read_examples(folder / "geography.json")
    ]
    found = measure([gold.query for gold in golds], golds)
    assert {**found.scores(), "valid": 100.0} == ALL_RIGHT
    assert found.gold_rows["fails"] == 5  # four use a name that FROM does not have, one uses ALL
