"""Answers: the search, the choice of a query, and when there is none."""

from __future__ import annotations

import math
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unrolled.errors import ConfigError, DataError
from unrolled.inspect.queries import query_page
from unrolled.predictors.queries import QueryPredictor
from unrolled.samples.shop.generator import generate, write
from unrolled.sql.database import Database
from unrolled.sql.parsing import QueryError
from unrolled.tasks.sql import TASK, QueryConfig
from unrolled.tasks.sql.answers import QueryDecoding, calibrate, classes_of, decode, unused_values
from unrolled.tasks.sql.examples import TARGET, encode
from unrolled.tasks.sql.task import QueryData
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import rows_of
from unrolled.training.recipe import Recipe

pytest.importorskip("llguidance")

SMALL = QueryConfig(embedding_size=6, encoder_size=5, hidden_size=7)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write(folder, generate(n=200))
    return folder


@pytest.fixture(scope="module")
def rows(shop: Path) -> list[Row]:
    data = QueryData(train=(str(shop / "train.tsv"),))
    return rows_of(data, data.train, 3, TASK.reading, part="valid")[:60]


@pytest.fixture(scope="module")
def predictor(rows: list[Row]) -> QueryPredictor:
    """A model without any training: whatever it writes is valid because of the grammar alone."""
    torch.manual_seed(1)
    tokenizers = TASK.train_tokenizers(rows, TextConfig(kind="word"))
    model = TASK.build(SMALL, tokenizers).eval()
    decoding = QueryDecoding(least_confidence=0.0)
    recipe = Recipe(task="sql", data=QueryData(), model=SMALL, decoding=decoding)
    return QueryPredictor(recipe, TASK, tokenizers, model)


def test_whatever_an_untrained_model_answers_runs(
    predictor: QueryPredictor, shop: Path, rows: list[Row]
) -> None:
    for file in ("shop.sqlite", "library.sqlite"):
        found = predictor.predict([row.texts[0] for row in rows[:20]], shop / file)
        answered = [each.text for each in found if each.text]
        with Database(shop / file) as database:
            for query in answered:
                database.run(query)


def test_without_the_grammar_most_is_no_query(
    predictor: QueryPredictor, shop: Path, rows: list[Row]
) -> None:
    free = replace(predictor.recipe.decoding, grammar=False)
    found = predictor.predict([row.texts[0] for row in rows[:20]], shop / "shop.sqlite", free)
    assert sum(bool(each.text) for each in found) < 10


def test_an_answer_does_not_depend_on_the_other_questions(
    predictor: QueryPredictor, shop: Path, rows: list[Row]
) -> None:
    asked = [row.texts[0] for row in rows[:7]]
    together = predictor.predict(asked, shop / "shop.sqlite")
    for question, one in zip(asked, together, strict=True):
        (alone,) = predictor.predict(question, shop / "shop.sqlite", n_best=5)
        # A number and a text that are written alike are equally probable to an untrained model.
        best = [each.text for each in alone.hypotheses if each.score > alone.score - 1e-4]
        assert one.text in best
        assert alone.score == pytest.approx(one.score, rel=1e-4)


def test_empty_questions_have_no_answer(predictor: QueryPredictor, shop: Path) -> None:
    found = predictor.predict(["", "  "], shop / "shop.sqlite")
    assert [each.text for each in found] == ["", ""]
    asked = predictor.ask(" ", shop / "shop.sqlite")
    assert (asked.sql, asked.reason) == ("", "the question is empty")


def test_long_questions_are_cut_and_reported(predictor: QueryPredictor, shop: Path) -> None:
    short = replace(predictor.recipe.decoding, max_input_length=3)
    asked = predictor.ask("how many products are there", shop / "shop.sqlite", decoding=short)
    assert asked.words == ("how", "many", "products")
    assert asked.n_truncated == 2
    assert asked.memory[:4] == ("how", "many", "products", "product")
    (cut,) = predictor.predict("how many products are there", shop / "shop.sqlite", short)
    (whole,) = predictor.predict("how many products", shop / "shop.sqlite")
    assert (cut.n_truncated, whole.n_truncated) == (2, 0)
    assert cut.hypotheses[0].log_prob == pytest.approx(whole.hypotheses[0].log_prob, rel=1e-5)


def test_a_changed_database_is_asked_as_it_is(
    predictor: QueryPredictor, shop: Path, tmp_path: Path
) -> None:
    path = tmp_path / "shop.sqlite"
    shutil.copy(shop / "shop.sqlite", path)
    before = predictor.ask("how many products", path).memory
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("alter table product rename column category to sort")
    asked = predictor.ask("how many products", path)
    assert "product.category" in before
    assert asked.memory == tuple(
        name.replace("product.category", "product.sort") for name in before
    )
    names = [other.sql for other in asked.others] + [asked.sql]
    assert not any("category" in name for name in names)


def test_words_that_nothing_knows_are_named(predictor: QueryPredictor, shop: Path) -> None:
    asked = predictor.ask(
        "how many customers live in Timbuktu, 77 of them in Oslo", shop / "shop.sqlite"
    )
    assert "Timbuktu" in asked.unknown
    assert not {"customers", "Oslo", "77", ","} & set(asked.unknown)
    by_probability = [other.confidence for other in asked.others]
    assert by_probability == sorted(by_probability, reverse=True)


@pytest.mark.parametrize(
    ("question", "query", "unused"),
    [
        ("who ordered more than three times", "SELECT name FROM customer", ("three",)),
        ("the 7 dearest products", "SELECT name FROM product LIMIT 7", ()),
        ("the 7 dearest products", "SELECT name FROM product LIMIT 77", ("7",)),
        ("orders in May 2024", "… WHERE ordered LIKE '2024-05-%'", ()),
        ("orders in May 2024", "SELECT COUNT(*) FROM orders", ("May 2024",)),
        ("customers in LEEDS, 2 of them", "… WHERE city = 'Leeds'", ("2",)),
        ("the stock of every product", "SELECT 1", ()),
        ("", "", ()),
    ],
)
def test_values_that_a_query_leaves_out_are_named(
    predictor: QueryPredictor, shop: Path, question: str, query: str, unused: tuple[str, ...]
) -> None:
    example = encode([question, str(shop / "shop.sqlite")], predictor.tokenizers)
    assert unused_values(example, query) == unused


def test_a_question_that_names_nothing_has_no_answer(predictor: QueryPredictor, shop: Path) -> None:
    strict = replace(predictor.recipe.decoding, least_confidence=1e-30)
    asked = predictor.ask("will it rain tomorrow", shop / "shop.sqlite", decoding=strict)
    assert asked.sql == ""
    assert asked.reason == "the question names nothing of the database, and has unknown words"
    assert "tomorrow" in asked.unknown
    for question in ("will the products rain", "will it rain in Oslo"):
        asked = predictor.ask(question, shop / "shop.sqlite", decoding=strict)
        assert "names nothing" not in asked.reason
    every = replace(strict, least_confidence=0.0)
    (prediction,) = predictor.predict("will it rain tomorrow", shop / "shop.sqlite", every)
    assert prediction.text == next(each.text for each in prediction.hypotheses)


def test_as_many_queries_as_wanted_are_returned(predictor: QueryPredictor, shop: Path) -> None:
    for n in (1, 3):
        (found,) = predictor.predict("how many products", shop / "shop.sqlite", n_best=n)
        assert len(found.hypotheses) == n


def test_a_probable_answer_is_required(predictor: QueryPredictor, shop: Path) -> None:
    strict = replace(predictor.recipe.decoding, least_confidence=1.0)
    asked = predictor.ask("how many products", shop / "shop.sqlite", decoding=strict)
    assert asked.sql == ""
    assert asked.result is None
    assert "too little to be an answer" in asked.reason


def test_an_asked_question_shows_its_parts(predictor: QueryPredictor, shop: Path) -> None:
    asked = predictor.ask("how many products in the category tea", shop / "shop.sqlite")
    assert asked.words[:3] == ("how", "many", "products")
    assert asked.memory[: len(asked.words)] == asked.words
    assert "product.category" in asked.memory
    linked = {(asked.words[word], asked.memory[step]) for word, step in asked.links}
    assert ("products", "product") in linked
    assert ("category", "product.category") in linked
    if asked.sql:
        assert asked.attention is not None
        assert asked.attention.shape[0] == len(asked.written) + 1
        assert len(asked.copied) == len(asked.written)


def test_the_first_query_that_runs_is_chosen(
    predictor: QueryPredictor, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = predictor.predict("how many products", shop / "shop.sqlite", n_best=3)[0]
    queries = [answer.text for answer in usual.hypotheses if answer.text]
    assert len(set(queries)) > 1

    run = Database.run

    def refuse_first(self: Database, query: str, *args: object, **options: object) -> object:
        if query == queries[0]:
            raise QueryError("refused")
        return run(self, query, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "run", refuse_first)
    chosen = predictor.predict("how many products", shop / "shop.sqlite")[0]
    assert chosen.text == next(query for query in queries if query != queries[0])
    first = replace(predictor.recipe.decoding, execution="first")
    assert predictor.predict("how many products", shop / "shop.sqlite", first)[0].text == queries[0]


def test_a_threshold_loses_few_right_answers(predictor: QueryPredictor, rows: list[Row]) -> None:
    model, tokenizers = predictor.model, predictor.tokenizers
    examples = [encode(row.texts, tokenizers) for row in rows]
    predicted = decode(model, examples, tokenizers, QueryDecoding(method="greedy"))  # type: ignore[arg-type]
    own = [
        replace(row, fields=(row.texts[0], row.texts[1], each.hypotheses[0].text))
        for row, each in zip(rows, predicted, strict=True)
        if each.hypotheses[0].text
    ]
    kept = [each for each in predicted if each.hypotheses[0].text]
    assert kept
    resulting = calibrate(model, own, kept, tokenizers)  # type: ignore[arg-type]
    least = model.least_log_prob.item()
    assert -math.inf < least <= min(each.hypotheses[0].log_prob for each in kept)
    assert all(each.text for each in resulting)
    model.least_log_prob.fill_(-math.inf)


def test_classes_cover_the_vocabulary(predictor: QueryPredictor) -> None:
    target = predictor.tokenizers[TARGET]
    assert len(classes_of(target)) == len(target)


def test_a_query_that_cannot_be_written_is_named(predictor: QueryPredictor, shop: Path) -> None:
    fields = ("which?", str(shop / "shop.sqlite"), "SELECT nothing FROM nowhere")
    with pytest.raises(DataError, match="cannot be written in its schema"):
        encode(fields, predictor.tokenizers)


def test_wrong_inputs_are_refused(predictor: QueryPredictor, shop: Path) -> None:
    with pytest.raises(ConfigError, match="a question must be a text; found int 3"):
        predictor.predict([3], shop / "shop.sqlite")  # type: ignore[list-item]
    with pytest.raises(DataError, match="no such file"):
        predictor.predict("how many?", shop / "nothing.sqlite")
    with pytest.raises(ConfigError, match="no database given"):
        predictor.predict("how many?", "")


@pytest.mark.parametrize(
    ("question", "database", "options", "message"),
    [
        (None, "shop.sqlite", {}, "a question must be a text; found NoneType"),
        (["how many?"], "shop.sqlite", {}, "a question must be a text; found list"),
        ("how many?", None, {}, "must be the path of an SQLite file; found NoneType"),
        ("how many?", b"shop.sqlite", {}, "must be the path of an SQLite file; found bytes"),
        ("how many?", "shop.sqlite", {"n_best": 0}, "n_best must be .* at least 1, got 0"),
        ("how many?", "shop.sqlite", {"n_best": "3"}, "n_best must be a whole number"),
        ("how many?", "shop.sqlite", {"most_rows": -1}, "most_rows must be .* at least 0, got -1"),
        ("how many?", "shop.sqlite", {"most_rows": None}, "most_rows must be a whole number"),
    ],
)
def test_wrong_types_are_refused(
    question: object,
    database: object,
    options: dict[str, object],
    message: str,
    predictor: QueryPredictor,
) -> None:
    with pytest.raises(ConfigError, match=message):
        predictor.ask(question, database, **options)  # type: ignore[arg-type]


def test_a_name_that_no_file_can_have_is_refused(predictor: QueryPredictor) -> None:
    with pytest.raises(DataError, match="no such file"):
        predictor.ask("how many?", "a\0b")


def test_a_probable_query_that_does_not_run_is_explained(
    predictor: QueryPredictor, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Database, query: str, *args: object, **options: object) -> object:
        raise QueryError("the query fails: it is broken")

    monkeypatch.setattr(Database, "run", refuse)
    asked = predictor.ask("how many products", shop / "shop.sqlite")
    assert asked.sql == ""
    assert asked.reason == "the best query does not run: the query fails: it is broken"
    assert asked.others


def test_an_answer_is_drawn_on_a_page(
    predictor: QueryPredictor, shop: Path, rows: list[Row]
) -> None:
    answers = (predictor.ask(row.texts[0], shop / "shop.sqlite") for row in rows)
    asked = next(each for each in answers if each.sql)
    with Database(shop / "shop.sqlite") as database:
        assert 'class="heatmap"' in query_page([asked], database.schema)
