"""Baselines that answer with queries of training: templates, values, unseen databases."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from unrolled.baselines.queries import (
    NearestQuestion,
    QueryBaseline,
    Template,
    TemplateClassifier,
)
from unrolled.errors import DataError
from unrolled.sql.schema import as_json
from unrolled.sql.schema_files import read_schema
from unrolled.text.rows import Row

BASELINES = (NearestQuestion, TemplateClassifier)
PAIRS = [
    ("what is the price of tea", "SELECT price FROM product WHERE name = 'tea'"),
    ("what is the price of ink", "SELECT price FROM product WHERE name = 'ink'"),
    ("what does the red pen cost", "SELECT price FROM product WHERE name = 'red pen'"),
    ("which products cost more than 5", "SELECT name FROM product WHERE price > 5"),
    ("which products cost more than 7", "SELECT name FROM product WHERE price > 7"),
    ("products from oslo shipped to rome", "SELECT x FROM way WHERE a = 'oslo' AND b = 'rome'"),
    ("products from bern shipped to oslo", "SELECT x FROM way WHERE a = 'bern' AND b = 'oslo'"),
    ("products shipped to rome from bern", "SELECT x FROM way WHERE a = 'bern' AND b = 'rome'"),
    ("how many products are there", "SELECT COUNT(*) FROM product"),
]


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "create table product (name text, price real);"
            "create table way (x text, a text, b text);"
            "insert into product values ('tea', 2.5), ('ink', 2.5), ('blue mug', 8), ('it''s', 1);"
        )
    return str(path)


def rows(database: str, pairs: Sequence[tuple[str, str]] = PAIRS) -> list[Row]:
    return [Row((question, database, query), i) for i, (question, query) in enumerate(pairs, 2)]


@pytest.mark.parametrize("baseline", BASELINES)
def test_values_of_the_question_are_filled_in(shop: str, baseline: type[QueryBaseline]) -> None:
    fitted = baseline(rows(shop))
    found = fitted.predict(
        [
            "what is the price of tea",
            "what is the price of the Blue Mug",
            "what is the price of it's",
            "which products cost more than 12.5",
            "products from rome shipped to bern",
            "products shipped to bern from oslo",
            "how many products are there",
        ],
        shop,
    )
    assert found == [
        "SELECT price FROM product WHERE name = 'tea'",
        "SELECT price FROM product WHERE name = 'blue mug'",
        "SELECT price FROM product WHERE name = 'it''s'",
        "SELECT name FROM product WHERE price > 12.5",
        "SELECT x FROM way WHERE a = 'rome' AND b = 'bern'",
        "SELECT x FROM way WHERE a = 'oslo' AND b = 'bern'",
        "SELECT COUNT(*) FROM product",
    ]


@pytest.mark.parametrize("baseline", BASELINES)
def test_an_unseen_database_has_no_answer(shop: str, baseline: type[QueryBaseline]) -> None:
    fitted = baseline(rows(shop))
    assert fitted.predict(["how many products are there"] * 2, "other.sqlite") == ["", ""]
    mixed = [
        *rows(shop, [("how many products are there", "")]),
        *rows("other.sqlite", [("how many products are there", "")]),
    ]
    assert fitted.predict_rows(mixed) == ["SELECT COUNT(*) FROM product", ""]


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_schema_without_data_is_enough(
    shop: str, tmp_path: Path, baseline: type[QueryBaseline]
) -> None:
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(as_json(read_schema(Path(shop)))), encoding="utf-8")
    pairs = [(question, query.replace("'", '"')) for question, query in PAIRS]
    fitted = baseline(rows(str(path), pairs), "mysql")
    assert fitted.predict(["what is the price of the red pen"], str(path)) == [
        'SELECT price FROM product WHERE name = "red pen"'
    ]


@pytest.mark.parametrize("baseline", BASELINES)
def test_few_and_odd_rows(shop: str, baseline: type[QueryBaseline]) -> None:
    assert baseline(rows(shop, PAIRS[:1])).predict(["", "x"], shop) == [PAIRS[0][1]] * 2
    odd = [("", "no SQL '"), ("what? 7", "SELECT '7%' LIKE '%7' /* 7 */"), ("7", "")]
    assert baseline(rows(shop, odd)).predict(["what? 8"], shop) == ["SELECT '8%' LIKE '%8' /* 7 */"]
    with pytest.raises(DataError, match="baselines need training rows; there are none"):
        baseline([])


def test_as_many_templates_as_rows(shop: str) -> None:
    pairs = [
        (f"what is {word}", f"SELECT {word} FROM product") for word in "abcdefghijklmnopqrstuvwxyz"
    ]
    assert TemplateClassifier(rows(shop, pairs)).predict(["what is k"], shop) == [pairs[10][1]]


def test_a_text_never_becomes_a_number(shop: str) -> None:
    pairs = [("cost 5", "SELECT name FROM product WHERE price > 5")]
    assert NearestQuestion(rows(shop, pairs)).predict(["cost tea"], shop) == [pairs[0][1]]


def test_a_template_is_filled() -> None:
    template = Template(("a = '", "' AND b = ", " AND c = '", "'"), ("s", "n", "s"))
    assert template.filled({"s": "d'or", "n": "4"}) == "a = 'd''or' AND b = 4 AND c = 'd''or'"
    assert template.numeric == {"n"}
