"""Explanations of queries, as texts and as a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from asking import Asker, write_database

from unrolled.errors import ConfigError
from unrolled.inspect.queries import (
    attended,
    copied_texts,
    linked_names,
    query_page,
    rows_note,
    value_text,
    write_page,
)
from unrolled.predictors.queries import Asked
from unrolled.sql.database import Database

QUESTION = "which products of Green tea price 3.5?"
QUERY = "SELECT product.name FROM product WHERE product.name = 'green tea' AND product.price = 3.5"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(write_database(tmp_path / "shop.sqlite")) as database:
        yield database


@pytest.fixture
def asked(database: Database) -> Asked:
    return Asker({QUESTION: [QUERY, "SELECT 1"]}).ask(QUESTION, database)


def test_values_are_told_apart() -> None:
    values = [None, "NULL", "", "'", " x ", "5", 5, 5.0, float("inf"), 10**20, b"", "a" * 500]
    expected = [
        "NULL",
        "'NULL'",
        "''",
        "'",
        "_",
        "5",
        "5",
        "5.0",
        "inf",
        "100000000000000000000",
        "X''",
    ]
    expected[4] = "' x '"
    texts = [value_text(value) for value in values]
    assert texts[:11] == expected
    assert texts[11] == "a" * 200 + "…"
    assert len(value_text(b"\0" * 100_000)) < 250


@pytest.mark.parametrize(
    ("n_rows", "n_shown", "is_cut", "note"),
    [
        (0, 0, False, "no rows"),
        (1, 1, False, "1 row"),
        (1234, 1, False, "1,234 rows: the first is shown"),
        (20, 20, False, "20 rows"),
        (1000, 1000, True, "more than 1,000 rows: the first 1,000 are shown"),
    ],
)
def test_the_number_of_rows_is_told(n_rows: int, n_shown: int, is_cut: bool, note: str) -> None:
    assert rows_note(n_rows, n_shown, is_cut) == note


def test_copied_words_links_and_values_are_named(asked: Asked, database: Database) -> None:
    assert copied_texts(asked, database.schema) == ["'green tea'", "3.5"]
    assert linked_names(asked) == {"products": ["product"], "price": ["product.price"]}


def test_neighbouring_copied_words_are_joined(asked: Asked, database: Database) -> None:
    copied = (3, 4, None, 4, 3, 6)
    words = replace(asked, copied=copied, written=("_",) * len(copied))
    assert copied_texts(words, database.schema) == ["Green tea", "tea", "Green", "3.5"]


def test_a_value_named_like_a_table_is_a_value(asked: Asked, database: Database) -> None:
    memory = (*asked.memory, "product")
    named = replace(asked, memory=memory, copied=(len(memory) - 1,), written=("'product'",))
    assert copied_texts(named, database.schema) == ["'product'"]


def test_what_nothing_attends_to_is_not_drawn(asked: Asked) -> None:
    attention = torch.zeros(len(asked.written), len(asked.memory))
    attention[:, -1] = 1
    drawn = attended(replace(asked, attention=attention))
    pointed = {index for index in asked.copied if index is not None}
    assert drawn == sorted({*range(len(asked.words)), *pointed, len(asked.memory) - 1})
    assert len(attended(asked, most=3)) == 3
    assert attended(replace(asked, attention=None)) == []


def test_a_page_shows_queries_rows_and_attention(asked: Asked, database: Database) -> None:
    page = query_page([asked, replace(asked, sql="", reason="none", result=None)], database.schema)
    assert "which products of Green tea price 3.5?" in page
    assert "SELECT product.name\nFROM product\nWHERE" in page
    assert "confidence 93%" in page
    assert "No answer: none" in page
    assert page.count('class="heatmap"') == 2
    assert "<script" not in page
    rows = Asker({"all": "SELECT * FROM product"}).ask("all", database)
    all_rows = query_page([rows], database.schema)
    assert '<td class="line none"><bdi>NULL</bdi></td>' in all_rows
    assert '<th scope="col" class="line">name</th>' in all_rows
    assert '<th scope="col" class="number">price</th>' in all_rows
    assert "<nav" not in all_rows


def test_the_keyboard_and_links_reach_every_part(asked: Asked, database: Database) -> None:
    page = query_page([asked, asked], database.schema)
    assert page.count("<main>") == page.count("</main>") == 1
    assert re.findall('href="#([^"]+)"', page) == re.findall('<h2 id="([^"]+)"', page)
    regions = re.findall('<div class="scroll"([^>]*)>', page)
    assert len(set(regions)) == len(regions) == 6
    assert all('tabindex="0" role="region" aria-label="' in each for each in regions)


def test_a_page_escapes_every_text(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>\x1b[2J"
    name = nasty.replace("'", "''")
    script = f'create table "{name}" ("{name}" text); insert into "{name}" values (\'{name}\')'
    with Database(write_database(tmp_path / "shop.sqlite", script)) as database:
        queries = [f'SELECT * FROM "{name}"', f"SELECT '{name}'"]
        asked = Asker({nasty: queries}).ask(nasty, database)
        none = replace(asked, sql="", reason=nasty)
        page = query_page([asked, none], database.schema, nasty)
    assert "<script" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;alert(1)") > 8


def test_a_page_needs_a_file_name_and_a_folder(
    asked: Asked, database: Database, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"ending in \.html"):
        write_page([asked], database.schema, tmp_path / "page.png")
    with pytest.raises(ConfigError, match="does not exist; create it"):
        write_page([asked], database.schema, tmp_path / "no" / "page.html")
    write_page([asked], database.schema, tmp_path / "page.html")
    assert "</html>" in (tmp_path / "page.html").read_text(encoding="utf-8")
