"""A grammar accepts real queries, and only queries whose names exist and are in scope."""

from __future__ import annotations

import sqlite3
import sys
import tarfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from query_pieces import KEYWORDS, advanced, class_of, random_queries, refused_at

from unrolled.errors import UnavailableError
from unrolled.samples.shop.generator import PARTS, generate, write
from unrolled.sql import grammar as grammar_module
from unrolled.sql.database import Database
from unrolled.sql.examples import find_database, read_examples
from unrolled.sql.grammar import QueryGrammar
from unrolled.sql.parsing import QueryError
from unrolled.sql.pieces import END, NOTHING, NUMBER, WORD_MARK, Piece, from_pieces, to_pieces
from unrolled.sql.schema import Column, Schema, Table
from unrolled.sql.schema_files import read_schema
from unrolled.sql.target import to_sql, to_tokens
from unrolled.sql.tokens import Item

SCHEMA = Schema(
    "places",
    (
        Table("city", (Column("name"), Column("state"), Column("people", "int"))),
        Table("state", (Column("name"), Column("area"))),
        Table("select", (Column("a b"), Column('q"uote'))),
    ),
)
CITY, STATE, SELECT = Item(0), Item(1), Item(2)
CITY_NAME, CITY_STATE, PEOPLE = (Item(0, column) for column in range(3))
STATE_NAME, AREA = Item(1, 0), Item(1, 1)


@pytest.fixture
def grammar() -> QueryGrammar:
    return QueryGrammar(SCHEMA, KEYWORDS)


def next_pieces(grammar: QueryGrammar, *pieces: Piece) -> set[Piece]:
    """The keywords and items that may follow pieces, "END" for the end of the query."""
    allowed = advanced(grammar.start(), grammar, pieces).allowed()
    found: set[Piece] = {text for text in KEYWORDS if allowed[grammar.class_of_keyword(text)]}
    found |= {item for item in grammar.items if allowed[grammar.class_of_item(item)]}
    return found | ({"the end"} if allowed[END] else set())


def items(pieces: set[Piece]) -> set[Piece]:
    return {piece for piece in pieces if isinstance(piece, Item)}


def test_classes_are_the_special_ones_keywords_and_items(grammar: QueryGrammar) -> None:
    assert grammar.class_of_keyword("FROM") == 5
    assert grammar.class_of_keyword("nosuch") == NOTHING
    assert grammar.class_of_item(CITY) == 5 + len(KEYWORDS)
    assert grammar.class_of_item(Item(1, 1, 2)) == grammar.n_classes - 4
    assert grammar.start().allowed().shape == (grammar.n_classes,)


def test_columns_are_those_of_tables_in_from(grammar: QueryGrammar) -> None:
    assert items(next_pieces(grammar, "FROM")) == {CITY, STATE, SELECT}
    found = items(next_pieces(grammar, "FROM", CITY, "SELECT"))
    assert found == {CITY, CITY_NAME, CITY_STATE, PEOPLE}
    assert items(next_pieces(grammar, "SELECT")) == set()


def test_on_sees_only_tables_named_so_far(grammar: QueryGrammar) -> None:
    assert items(next_pieces(grammar, "FROM", CITY, "JOIN", STATE, "ON")) == {
        *(CITY_NAME, CITY_STATE, PEOPLE, STATE_NAME, AREA)
    }


def test_an_inner_query_sees_the_outer_one_but_not_the_reverse(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, "SELECT", CITY_NAME, "WHERE", CITY_NAME, "IN", "("]
    inner = [*before, "FROM", STATE, "SELECT", STATE_NAME, "WHERE"]
    assert items(next_pieces(grammar, *inner)) == {
        *(CITY_NAME, CITY_STATE, PEOPLE, STATE_NAME, AREA)
    }
    after = [*inner, AREA, "=", PEOPLE, ")", "AND"]
    assert items(next_pieces(grammar, *after)) == {CITY_NAME, CITY_STATE, PEOPLE}


def test_the_other_part_of_a_union_has_its_own_tables(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, "SELECT", CITY_NAME, "UNION", "FROM", STATE, "SELECT"]
    assert items(next_pieces(grammar, *before)) == {STATE_NAME, AREA}


def test_a_table_stands_in_from_once_per_instance(grammar: QueryGrammar) -> None:
    assert "#2" not in next_pieces(grammar, "FROM", CITY)
    second = next_pieces(grammar, "FROM", CITY, ",", CITY)
    assert second == {"#2"}
    assert next_pieces(grammar, "FROM", CITY, ",", CITY, "#2", ",", CITY) == {"#3"}
    three = ["FROM", CITY, ",", CITY, "#2", ",", CITY, "#3"]
    assert items(next_pieces(grammar, *three, ",")) == {STATE, SELECT}
    assert "#3" not in next_pieces(grammar, *three[:-3], "SELECT", CITY_NAME)
    assert {"#2", "#3"} < next_pieces(grammar, *three, "SELECT", CITY_NAME)


def test_an_inner_query_may_have_the_table_of_the_outer_one(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, "SELECT", CITY_NAME, "WHERE", PEOPLE, "=", "("]
    assert CITY in next_pieces(grammar, *before, "FROM")
    assert {"SELECT", "#2"} < next_pieces(grammar, *before, "FROM", CITY)
    assert "#3" not in next_pieces(grammar, *before, "FROM", CITY)
    inner = [*before, "FROM", CITY, "#2", "SELECT", "MAX", "("]
    assert next_pieces(grammar, *inner, PEOPLE) == {"#2"}  # an aggregate belongs to its own SELECT
    assert {")", "#2"} < next_pieces(grammar, *inner, PEOPLE, "#2", ")", "WHERE", "(", PEOPLE)


def test_from_does_not_hide_a_table_that_on_has_named(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, "SELECT", CITY_NAME, "WHERE", "EXISTS", "(", "FROM", STATE, "JOIN"]
    direct = [*before, STATE, "#2", "ON", AREA, "=", PEOPLE]
    assert next_pieces(grammar, *direct, ",", CITY) == {"#2"}
    inner = ["EXISTS", "(", "FROM", SELECT, "SELECT", PEOPLE, ")"]
    nested = [*before, STATE, "#2", "ON", *inner]
    assert next_pieces(grammar, *nested, ",", CITY) == {"#2"}
    union = [*inner[:-1], "UNION", "FROM", SELECT, "SELECT", "_1", ")"]
    assert next_pieces(grammar, *before, STATE, "#2", "ON", *union, ",", CITY) == {"#2"}
    inner[3:4] = [CITY]
    nested = [*before, STATE, "#2", "ON", *inner]
    assert "SELECT" in next_pieces(grammar, *nested, ",", CITY)
    inner[3:6] = [CITY, "SELECT", "_1", "WHERE", "EXISTS", "(", "SELECT", PEOPLE, ")"]
    nested = [*before, STATE, "#2", "ON", *inner]
    assert "SELECT" in next_pieces(grammar, *nested, ",", CITY)


def test_from_does_not_hide_a_table_that_a_subquery_in_from_has_named(
    grammar: QueryGrammar,
) -> None:
    before = ["FROM", CITY, "JOIN", STATE, "ON", "EXISTS", "(", "FROM", SELECT, ","]
    inner = [
        "(",
        "FROM",
        CITY,
        "#2",
        ",",
        "(",
        "SELECT",
        CITY_NAME,
        ")",
        "AS",
        "d0",
        "SELECT",
        "_1",
    ]
    assert next_pieces(grammar, *before, *inner, ")", "AS", "d1", ",", CITY) == {"#2"}
    inner[7] = "_1"
    assert "SELECT" in next_pieces(grammar, *before, *inner, ")", "AS", "d1", ",", CITY)


def test_no_join_follows_when_no_table_is_left() -> None:
    one = QueryGrammar(
        Schema("one", (Table("t", (Column("a"),)),)), ["FROM", "SELECT", ",", "JOIN"]
    )
    assert next_pieces(one, "FROM", Item(0)) == {"SELECT"}


def test_a_compared_query_has_one_column(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, "SELECT", CITY_NAME, "WHERE", PEOPLE, "=", "(", "FROM", CITY, "SELECT"]
    assert "*" not in next_pieces(grammar, *before)
    assert CITY not in next_pieces(grammar, *before)
    assert "," not in next_pieces(grammar, *before, PEOPLE)
    assert "," in next_pieces(grammar, *before[:5], "EXISTS", *before[7:], PEOPLE)


def test_parts_of_a_union_have_equally_many_columns(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, "SELECT", "*", "UNION", "FROM", STATE, "SELECT"]
    two = next_pieces(grammar, *before, STATE, ".", "*")
    assert "," in two
    assert not two & {"the end", "UNION", "WHERE"}
    three = next_pieces(grammar, *before, STATE, ".", "*", ",", AREA)
    assert {"the end", "UNION", "WHERE"} < three
    assert "," not in three


def test_aggregates_stand_where_sqlite_allows_them(grammar: QueryGrammar) -> None:
    select = ["FROM", CITY, "SELECT"]
    counted = ["COUNT", "(", "*", ")"]
    assert "COUNT" in next_pieces(grammar, *select)
    assert "COUNT" not in next_pieces(grammar, *select, "SUM", "(")
    assert "COUNT" not in next_pieces(grammar, *select, PEOPLE, "WHERE")
    assert "COUNT" not in next_pieces(grammar, *select, PEOPLE, "GROUP BY")
    assert "COUNT" not in next_pieces(grammar, *select, PEOPLE, "ORDER BY")
    assert "COUNT" in next_pieces(grammar, *select, PEOPLE, "GROUP BY", PEOPLE, "ORDER BY")
    assert "COUNT" in next_pieces(grammar, *select, PEOPLE, "GROUP BY", PEOPLE, "HAVING")
    assert "COUNT" in next_pieces(grammar, *select, *counted, "ORDER BY")
    grouped = advanced(grammar.start(), grammar, [*select, *counted, "GROUP BY"])
    assert not grouped.allowed()[NUMBER]  # it would be the position of the aggregate
    grouped = advanced(grammar.start(), grammar, [*select, PEOPLE, "GROUP BY"])
    assert grouped.allowed()[NUMBER]
    largest = ["MAX", "(", PEOPLE, ",", "_1", ")"]
    assert "COUNT" not in next_pieces(grammar, *select, *largest, "ORDER BY")


def test_order_by_does_not_see_the_query_around(grammar: QueryGrammar) -> None:
    inner = ["FROM", CITY, "SELECT", CITY_NAME, "WHERE", "EXISTS", "(", "FROM", STATE, "SELECT"]
    assert items(next_pieces(grammar, *inner, AREA, "ORDER BY")) == {STATE_NAME, AREA}
    grouped = [*inner, AREA, "GROUP BY"]
    assert items(next_pieces(grammar, *grouped)) == {STATE_NAME, AREA}
    assert PEOPLE in next_pieces(grammar, *grouped, AREA, "HAVING")


def test_a_subquery_in_from_has_named_outputs(grammar: QueryGrammar) -> None:
    before = [
        "FROM",
        "(",
        "FROM",
        CITY,
        "SELECT",
        "COUNT",
        "(",
        "*",
        ")",
        ",",
        CITY_NAME,
        ")",
        "AS",
    ]
    assert next_pieces(grammar, *before) == {"d0", "d1", "d2"}
    found = next_pieces(grammar, *before, "d1", "SELECT")
    assert items(found) == set()
    assert {"d1.o1", "d1"} < found
    assert not found & {"d0", "d0.o0", "d0.o1", "d1.o0"}
    assert next_pieces(grammar, *before, "d1", ",", "(", *before[2:]) == {"d0", "d2"}
    assert "(" in next_pieces(grammar, *["FROM", "("] * 2, "FROM")
    assert "(" not in next_pieces(grammar, *["FROM", "("] * 3, "FROM")


def test_a_subquery_in_from_does_not_see_its_neighbours(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, ",", "(", "FROM", STATE, "SELECT"]
    assert items(next_pieces(grammar, *before)) == {STATE, STATE_NAME, AREA}


def test_aliases_are_known_after_the_select_list(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, "SELECT", "COUNT", "(", "*", ")", "AS", "a1", ",", CITY_NAME, "AS"]
    assert next_pieces(grammar, *before) == {"a0"}
    assert "a1" not in next_pieces(grammar, *before[:-1], ",")
    defined = [*before, "a0"]
    assert {"a0"} == next_pieces(grammar, *defined, "WHERE") & {"a0", "a1"}
    assert {"a0", "a1"} < next_pieces(grammar, *defined, "ORDER BY")
    assert "AS" not in next_pieces(grammar, *defined, ",", CITY_NAME)


def test_star_except_is_not_written_as_it_cannot_be_read(grammar: QueryGrammar) -> None:
    found = next_pieces(grammar, "FROM", CITY, "SELECT", "*")
    assert "EXCEPT" not in found
    assert "UNION" in found


def test_nothing_follows_the_end_or_what_is_not_allowed(
    grammar: QueryGrammar, capfd: pytest.CaptureFixture[str]
) -> None:
    matcher = advanced(grammar.start(), grammar, ["SELECT", "_1"])
    assert matcher.allowed()[END]
    assert not matcher.advance(END).allowed().any()
    wrong = matcher.advance(class_of(CITY, grammar))
    assert not wrong.allowed().any()
    assert not wrong.advance(END).allowed().any()
    for number in range(grammar.n_classes):
        for before in ([], ["FROM"], ["FROM", CITY, "SELECT"], ["SELECT", "_1"]):
            matcher = advanced(grammar.start(), grammar, before)
            is_allowed = matcher.allowed()[number] and number != END
            assert matcher.advance(number).allowed().any() == is_allowed
    assert capfd.readouterr() == ("", "")


def test_a_matcher_stays_as_it_is_when_it_advances(grammar: QueryGrammar) -> None:
    matcher = advanced(grammar.start(), grammar, ["FROM", CITY])
    before = matcher.allowed()
    first = advanced(matcher, grammar, ["SELECT", CITY_NAME]).allowed()
    advanced(matcher, grammar, [",", STATE, "SELECT"])
    np.testing.assert_array_equal(matcher.allowed(), before)
    again = advanced(matcher, grammar, ["SELECT", CITY_NAME]).allowed()
    np.testing.assert_array_equal(first, again)


def test_words_keep_their_marks_within_quotes(grammar: QueryGrammar) -> None:
    before = ["FROM", CITY, "SELECT", CITY_NAME, "WHERE", CITY_NAME, "=", "'"]
    assert next_pieces(grammar, *before) == {"'"}
    assert next_pieces(grammar, *before, "_a") == {"'", "~", "~ ~"}
    assert next_pieces(grammar, *before, "_a", "~") == set()


def test_what_a_vocabulary_lacks_is_left_out() -> None:
    small = QueryGrammar(SCHEMA, ["FROM", "SELECT", "WHERE", "AND", "d0", "CAST"])
    assert next_pieces(small, "FROM") == {CITY, STATE, SELECT}
    assert refused_at(["FROM", CITY, "SELECT", CITY_NAME], small) is None
    assert refused_at(["FROM", CITY, "SELECT", CITY_NAME, "WHERE"], small) == 4


def test_a_vocabulary_may_have_numbers_without_their_beginning() -> None:
    texts = ["FROM", "SELECT", "(", ")", "AS", "d0", "d2.o0", "a0", "a99999999", "#0", "#1", "#3"]
    odd = QueryGrammar(SCHEMA, texts)
    pieces = ["FROM", "(", "FROM", CITY, "SELECT", CITY_NAME, ")", "AS", "d0", "SELECT"]
    assert "d2.o0" not in next_pieces(odd, *pieces)
    allowed = advanced(odd.start(), odd, ["FROM", CITY]).allowed()
    assert not any(allowed[odd.class_of_keyword(text)] for text in ("#0", "#1", "#3"))


def test_names_that_need_quotes_do_not_matter(grammar: QueryGrammar) -> None:
    pieces: list[Piece] = ["FROM", SELECT, "SELECT", Item(2, 0), ",", Item(2, 1)]
    assert refused_at(pieces, grammar) is None
    assert to_sql(from_pieces(pieces), SCHEMA) == (
        'SELECT "select"."a b", "select"."q""uote" FROM "select"'
    )


@pytest.mark.parametrize("n_tables", [1, 50, 400])
def test_large_schemas_have_exact_masks(n_tables: int) -> None:
    columns = tuple(Column(f"c{index}") for index in range(400 // n_tables))
    schema = Schema("large", tuple(Table(f"t{index}", columns) for index in range(n_tables)))
    large = QueryGrammar(schema, KEYWORDS)
    own = {Item(n_tables - 1, column) for column in range(len(columns))}
    table = Item(n_tables - 1)
    for before in (["FROM", table], ["FROM", table, ",", table, "#2"]):
        assert items(next_pieces(large, *before, "SELECT", "COUNT", "(")) == own


def test_long_queries_are_accepted(grammar: QueryGrammar) -> None:
    conditions = [piece for _ in range(500) for piece in (PEOPLE, "=", "'", "_1", "'", "AND")]
    pieces = ["FROM", CITY, "SELECT", CITY_NAME, "WHERE", *conditions[:-1]]
    assert refused_at(pieces, grammar) is None
    nested = ["("] * 200 + [PEOPLE] + [")"] * 200
    assert refused_at(["FROM", CITY, "SELECT", *nested], grammar) is None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    grammar_module.library.cache_clear()
    try:
        with pytest.raises(UnavailableError, match=r"pip install 'unrolled\[sql\]'"):
            grammar_module.library()
    finally:
        grammar_module.library.cache_clear()


def keywords_of(queries: Sequence[Sequence[Piece]]) -> list[str]:
    """All strings in queries that are no words."""
    texts = {piece for pieces in queries for piece in pieces if isinstance(piece, str)}
    return sorted(text for text in texts if not text.startswith(WORD_MARK))


def check_accepted(queries: list[tuple[str, Schema, Path]], dialect: str = "sqlite") -> list[str]:
    """The queries that the grammar of their schema does not accept, of those with tokens."""
    pieces, known = [], []
    for query, schema, path in queries:
        try:
            pieces.append(to_pieces(to_tokens(query, schema, dialect)))
        except QueryError:
            continue
        known.append((query, schema, path))
    keywords = keywords_of(pieces)
    grammars = {path: QueryGrammar(schema, keywords) for _, schema, path in known}
    return [
        query
        for (query, _, path), each in zip(known, pieces, strict=True)
        if refused_at(each, grammars[path]) is not None
    ]


def test_all_queries_of_the_shop_sample_are_accepted(tmp_path: Path) -> None:
    write(tmp_path, generate(400))
    queries = []
    for part in PARTS:
        for example in read_examples(tmp_path / f"{part}.tsv"):
            path = find_database(example.database, tmp_path / f"{part}.tsv")
            queries.append((example.query, path))
    schemas = {path: read_schema(path) for _, path in queries}
    assert len(schemas) == 2
    assert check_accepted([(query, schemas[path], path) for query, path in queries]) == []


@pytest.mark.parametrize(("name", "n_queries"), [("geography", 563), ("atis", 3441)])
def test_queries_of_text2sql_are_accepted_except_all(
    real_data: Path, name: str, n_queries: int
) -> None:
    folder = real_data / "text2sql"
    (file,) = folder.glob(f"{name}.json*")
    path = folder / f"{name}-schema.csv"
    schema = read_schema(path)
    queries = list(dict.fromkeys(example.query for example in read_examples(file)))
    assert len(queries) == n_queries
    refused = check_accepted([(query, schema, path) for query in queries], "mysql")
    assert len(refused) == 1
    assert "> ALL (" in refused[0]  # which SQLite does not have


def test_queries_of_spider_are_accepted(real_data: Path, tmp_path: Path) -> None:
    with tarfile.open(real_data / "spider" / "databases.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    files = {file.stem: file for file in tmp_path.rglob("*.sqlite")}
    schemas = {name: read_schema(file) for name, file in files.items()}
    examples = read_examples(real_data / "spider" / "train.jsonl")
    queries = list(dict.fromkeys((example.query, example.database) for example in examples))
    assert len(queries) == 3845
    assert check_accepted([(query, schemas[name], files[name]) for query, name in queries]) == []


def test_random_queries_resolve_and_run(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE city (name TEXT, state TEXT, people INT);"
            "CREATE TABLE state (name TEXT, area REAL);"
            'CREATE TABLE "select" ("a b" TEXT, "q""uote" INT);'
            "INSERT INTO city VALUES ('oslo', 'x', 1), ('bergen', NULL, 2);"
            "INSERT INTO state VALUES ('x', 1.5);"
        )
    failed, n_long = [], 0
    with Database(path) as database:
        grammar = QueryGrammar(database.schema, KEYWORDS)
        for pieces in random_queries(grammar, 400, seed=3):
            n_long += len(pieces) > 20
            try:
                database.run(to_sql(from_pieces(pieces), database.schema), most_seconds=0.5)
            except QueryError as error:
                if "took more than" not in str(error):
                    failed.append((str(error), pieces))
    assert n_long > 100
    assert failed == []
