"""Values of a database that a question mentions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from unrolled.sql import values
from unrolled.sql.database import Database
from unrolled.sql.pieces import Literal
from unrolled.sql.values import FoundValue, ValueIndex, question_words

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a database: a script, and rows of one text for table t with column a."""

    def make(script: str = "create table t (a text)", rows: Sequence[object] = ()) -> Path:
        path = tmp_path / "shop.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)
            connection.executemany("insert into t values (?)", [(row,) for row in rows])
            connection.commit()
        return path

    return make


def _index(path: Path, most: int = 10_000) -> ValueIndex:
    with Database(path) as database:
        return ValueIndex.of(database, most)


def _of(*texts: str) -> ValueIndex:
    return ValueIndex([(text, ((0, 0),)) for text in texts])


def _found(index: ValueIndex, question: str) -> list[str]:
    return [value.text for value in index.find(question_words(question))]


SCRIPT = """
create table t (a text);
create table product (id integer, name text, price real, made date);
create table city (name text, note);
insert into product values (1, 'Green tea', 3.5, '2024-05-01'), (2, 'Oslo', 1, '2023-01-02 10:00:00');
insert into city values ('Oslo', 7), ('New York', 'x'), ('York', 'y'), ('São Paulo', X'00ff');
"""


def test_a_value_has_its_columns_and_its_words(make: Make) -> None:
    (found,) = _index(make(SCRIPT)).find(question_words("How many people live in oslo?"))
    assert found == FoundValue("Oslo", False, ((1, 1), (2, 0)), 5, 5, 1.0)
    assert found.literal == Literal("Oslo")


@pytest.mark.parametrize(
    ("value", "question"),
    [
        ("Green tea", "list green teas"),
        ("Green tea", "green-tea, please"),
        ("green_tea", "green tea"),
        ("São Paulo", "sao paulo"),
        ("Sao Paulo", "SÃO PAULO"),
        ("McDonald's", "at mcdonalds"),
        ("McDonald", "at McDonald’s"),
        ("O'Hare", "near o'hare"),
        ("AT&T", "customers of at and t"),
        ("C++", "written in c++"),
        ("Berries", "one berry"),
        ("St. Louis", "in st louis"),
        ("line\nbreak", "a line break"),
        ("  padded ", "padded"),
        ("日本", "日本 ?"),
        ("IN", "stores in state IN"),
        ("2020-05-01", "on 2020-05-01"),
        ("979", "at 979"),
    ],
)
def test_case_plurals_accents_and_punctuation_do_not_count(value: str, question: str) -> None:
    found = _of(value).find(question_words(question))
    assert [(each.text, each.similarity) for each in found if not each.is_number] == [(value, 1.0)]


@pytest.mark.parametrize(
    ("value", "question"),
    [
        ("C++", "written in c"),
        ("in", "stores in town"),
        ("May", "may I see"),
        ("Bus", "the us"),
        ("+", ""),
        ("20240501", "on 20240502"),
        ("Prince", "the first prize"),
        ("---", "a --- b"),
    ],
)
def test_what_only_looks_alike_is_not_found(value: str, question: str) -> None:
    assert value not in _found(_of(value), question)


def test_misspelt_values_are_found_and_come_after_equal_ones() -> None:
    index = _of("Prague", "Reykjavik", "Kuala Lumpur", "Lima", "Seoul")
    found = index.find(question_words("Raykjavik, Kuala Lumpr or Prague?"))
    assert [value.text for value in found] == ["Prague", "Kuala Lumpur", "Reykjavik"]
    assert found[0].similarity == 1 > found[1].similarity > found[2].similarity >= 0.85
    assert _found(index, "in Zeoul") == []  # 4 of 5 letters: 0.8


def test_longer_mentions_win_over_less_similar_parts() -> None:
    assert _found(_of("New York", "York"), "in new york") == ["New York"]
    assert _found(_of("New York", "York"), "in New York or York") == ["New York", "York"]
    assert _found(_of("Three Kings"), "the three kings") == ["Three Kings"]
    # A part that is equal is better than a longer mention that is only similar.
    assert _found(_of("Green", "Greens tee"), "the green tea") == ["Green", "Greens tee"]


def test_values_that_differ_in_case_are_all_found_in_a_fixed_order() -> None:
    texts = ["tea", "Tea", "TEA"]
    assert _found(_of(*texts), "tea") == _found(_of(*reversed(texts)), "tea") == sorted(texts)


def test_numbers_are_found_without_a_database() -> None:
    index = ValueIndex()
    assert not index
    found = index.find(question_words("first three over 1,000 in May 2024"))
    assert [(value.text, value.is_number, value.places) for value in found] == [
        ("1000", True, ()),
        ("1", True, ()),
        ("3", True, ()),
    ]


def test_months_are_found_only_if_a_column_has_dates(make: Make) -> None:
    index = _index(make(SCRIPT))
    found = index.find(question_words("sold in May 2023"))
    assert [value.text for value in found] == ["05", "2023-05", "2023-05-01", "2023-05-31", "5"]
    assert {value.places for value in found if not value.is_number} == {((1, 3),)}
    # The text 10 and the number 10 differ in their columns, so that a model can tell them apart.
    october = [value for value in index.find(question_words("in October")) if value.text == "10"]
    assert sorted((value.is_number, value.places) for value in october) == [
        (False, ((1, 3),)),
        (True, ()),
    ]
    assert _found(index, "sold in March") == ["03", "3"]
    assert _found(index, "sold in 2023") == ["2023-01-01", "2023-12-31"]
    assert _found(index, "sold on the 2nd of June 2024")[:3] == ["06", "2024-06", "2024-06-02"]
    assert _found(_of("2023-05"), "in May 2024") == ["05", "2024-05", "5"]
    assert _found(_of("2023-05-0x", "2023-13-01", "May"), "in April 2024") == []


def test_awkward_values_are_found_or_left_out(make: Make) -> None:
    awkward = [
        'it\'s "so"',
        "line\nfeed",
        "",
        " ",
        "x" * 100,
        "y" * 101,
        "\x1b[2J red",
        "a\0b",
        None,
    ]
    path = make("create table t (a text)", [*awkward, b"bytes"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("insert into t values (cast(X'6666ff6666' as text))")
        connection.commit()
    index = _index(path)
    assert _found(index, "it's so") == ['it\'s "so"']
    assert _found(index, "line feed") == ["line\nfeed"]
    assert _found(index, "x" * 100) == ["x" * 100]
    assert _found(index, "2J red") == ["\x1b[2J red"]
    for absent in ("y" * 101, "a b", "bytes", "ff", "ff ff"):
        assert _found(index, absent) == []


def test_awkward_names_are_read(make: Make) -> None:
    path = make(
        "create table t (a text);"
        'create table "a""; drop table t; --" ("select" text, "b\nc" text, [d`e]);'
        "insert into \"a\"\"; drop table t; --\" values ('rosa', 'verde', 'blanco')"
    )
    found = _index(path).find(question_words("rosa verde blanco"))
    assert [(value.text, value.places) for value in found] == [
        ("rosa", ((1, 0),)),
        ("verde", ((1, 1),)),
        ("blanco", ((1, 2),)),
    ]


def test_a_view_that_hangs_or_fails_is_left_out(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "_SECONDS_PER_COLUMN", 0.05)
    monkeypatch.setattr(values, "_SECONDS", 0.5)
    product = " join ".join(f"t t{n}" for n in range(12))
    path = make(
        "create table t (a text);"
        f"create view slow as select max(t1.a || t2.a) as a, t3.a as b from {product} group by t4.a;"
        "create view wrong as select load_extension('x') as a;"
        "create table u (a text); insert into u values ('found')",
        [f"value {n}" for n in range(50)],
    )
    began = time.monotonic()
    index = _index(path)
    assert time.monotonic() - began < 5
    assert len(index) == 51
    assert _found(index, "found") == ["found"]


def test_numbers_of_values_and_columns_are_bounded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make("create table t (a text)", [f"value {n}" for n in range(100)])
    assert len(_index(path, most=10)) == 10
    monkeypatch.setattr(values, "_MOST_VALUES_OF_ALL", 20)
    assert len(_index(path)) == 20
    columns = ", ".join(f"c{n} text" for n in range(400))
    marks = ", ".join(f"'red {n}'" for n in range(400))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"create table wide ({columns}); insert into wide values ({marks})"
        )
    monkeypatch.undo()
    found = _index(path).find(question_words("red 399"))
    assert [(value.text, value.places) for value in found] == [("red 399", ((1, 399),))]


def test_an_index_is_made_again_only_if_the_file_has_changed(make: Make) -> None:
    path = make("create table t (a text)", ["one tea"])
    index = _index(path)
    assert _index(path) is index
    assert _index(path, most=5) is not index
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("insert into t values ('green tea')")
        connection.commit()
    assert _found(_index(path), "green tea") == ["green tea"]


def test_the_cache_is_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_MOST_VALUES_CACHED", 3)
    path = make("create table t (a text)", ["one", "two", "three"])
    with Database(path) as database:
        first = ValueIndex.of(database, 2)
        second = ValueIndex.of(database, 3)
        assert ValueIndex.of(database, 3) is second
        assert ValueIndex.of(database, 2) is not first


def test_a_long_or_hostile_question_takes_bounded_time() -> None:
    index = _of(*(f"value {n}{'ab'[n % 2] * (n % 7)}" for n in range(20_000)), *"abcdefgh")
    texts = ("valu 1 " * 5000, "x" * 1_000_000, "a " * 100_000, "'s" * 10_000, "\x00\u202e" * 999)
    for text in texts:
        words = question_words(text)
        began = time.monotonic()
        found = index.find(words)
        assert time.monotonic() - began < 2
        assert len(found) <= 30
        assert found == index.find(words)


RIVERS = """
create table t (a text);
create table river (name text, lowest_point text, high_point text);
insert into river values ('ohio', 'ohio river', 'high pointe'), ('red', 'red sea', 'x');
"""


def test_a_part_stays_if_the_rest_is_a_name(make: Make) -> None:
    index = _index(make(RIVERS))
    assert _found(index, "the length of the Ohio river") == ["ohio river", "ohio"]
    assert _found(index, "the length of the red sea") == ["red sea"]


def test_the_name_of_a_column_is_no_misspelt_value(make: Make) -> None:
    index = _index(make(RIVERS))
    assert _found(index, "where is the high point") == []
    assert _found(index, "where is the hihg pointe") == ["high pointe"]
    assert _found(index, "where is high pointe") == ["high pointe"]
