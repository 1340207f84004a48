"""The sample of questions about databases: every query runs, and the parts share no question."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from unrolled.errors import ConfigError, DataError
from unrolled.samples.shop.generator import HELD_OUT_SHAPES, PARTS, generate, write
from unrolled.sql.database import Database
from unrolled.sql.target import to_sql, to_tokens

FIRST_TEXT = "do we have any buyers who never ordered anything"
FIRST_QUERY = (
    "SELECT customer.name FROM customer WHERE customer.id NOT IN "
    "(SELECT orders.customer_id FROM orders)"
)
SAMPLE = generate(800, seed=3)
FILES = {part: "library.sqlite" if part == "library" else "shop.sqlite" for part in PARTS}


def test_the_sample_is_the_same_everywhere() -> None:
    assert generate(800, seed=3) == SAMPLE
    assert generate(800, seed=4) != SAMPLE
    first = generate(40, seed=1).test[0]
    assert (first.text, first.query) == (FIRST_TEXT, FIRST_QUERY)


def test_every_query_runs_and_survives_as_tokens(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    for part in PARTS:
        n_empty = 0
        with Database(tmp_path / FILES[part]) as database:
            for question in getattr(SAMPLE, part):
                n_empty += not database.run(question.query).rows
                tokens = to_tokens(question.query, database.schema)
                assert to_sql(tokens, database.schema) == question.query
        assert n_empty < 0.25 * len(getattr(SAMPLE, part))


def test_questions_are_asked_in_many_ways() -> None:
    sample = generate(4_000, seed=1)
    texts = [question.text for question in sample.train]
    wordings: dict[str, set[str]] = {}
    for question in sample.train:
        wordings.setdefault(question.query, set()).add(question.key)
    assert len(wordings["SELECT COUNT(*) FROM product"]) >= 15
    adjective = re.compile(r" of (garden|kitchen|office|sport|music) (products|items|articles)")
    assert sum(adjective.search(text.casefold()) is not None for text in texts) >= 10
    shares = {
        "?": sum(text.endswith("?") for text in texts),
        "capital": sum(text[0].isupper() for text in texts),
        "upper case": sum(text.isupper() for text in texts),
    }
    assert 800 < shares["?"] < 2_400
    assert 800 < shares["capital"] < 2_400
    assert 40 < shares["upper case"] < 300


def test_a_question_has_one_query() -> None:
    queries: dict[str, set[str]] = {}
    for part in PARTS[:-1]:
        for question in getattr(SAMPLE, part):
            queries.setdefault(question.key, set()).add(question.query)
    assert all(len(each) == 1 for each in queries.values())


def test_every_shape_that_is_held_out_is_asked() -> None:
    assert {question.shape for question in generate(4_000, seed=1).shapes} == HELD_OUT_SHAPES


def test_the_parts_share_no_question_and_shapes_no_shape() -> None:
    texts = Counter(question.key for part in PARTS for question in getattr(SAMPLE, part))
    assert set(texts.values()) == {1}
    assert {len(getattr(SAMPLE, part)) for part in PARTS[1:]} == {100}
    shapes = {part: {question.shape for question in getattr(SAMPLE, part)} for part in PARTS}
    assert shapes["shapes"] <= HELD_OUT_SHAPES
    for part in ("train", "valid", "test"):
        assert not shapes[part] & HELD_OUT_SHAPES
    heads = {shape.split(",")[0] for shape in shapes["train"]}
    assert {shape.split(",")[0] for shape in HELD_OUT_SHAPES} <= heads


def test_files_have_questions_queries_and_the_database(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    lines = (tmp_path / "train.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "question\tquery\tdatabase"
    assert len(lines) == 801
    question = SAMPLE.train[0]
    assert lines[1] == f"{question.text}\t{question.query}\tshop.sqlite"
    write(tmp_path, SAMPLE)  # the same again
    with pytest.raises(DataError, match="exists with other content"):
        write(tmp_path, generate(800, seed=4))


def test_numbers_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(ConfigError, match="n must be 1 to 20,000, got 0"):
        generate(0)
    with pytest.raises(ConfigError, match="n must be 1 to 20,000, got 20,001"):
        generate(20_001)
