"""Rows that are too long, and rows to score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from counting import COUNTING, recipe_for

from unrolled.errors import DataError
from unrolled.tasks import TASKS, seq2seq
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.splits import DataConfig
from unrolled.training.dataset import Part
from unrolled.training.kinds import prepare
from unrolled.training.recipe import Recipe


def with_data(recipe, **changes):
    return replace(recipe, data=replace(recipe.data, **changes))


def test_long_rows_are_left_out_and_counted(data: Path):
    whole = prepare(recipe_for(data), COUNTING)
    short = prepare(with_data(recipe_for(data), max_length=3), COUNTING)
    longest = [max(lengths) for lengths in whole.train.lengths]
    assert short.train.n_skipped == sum(length > 3 for length in longest) > 0
    assert len(short.train.rows) == sum(length <= 3 for length in longest)
    assert short.valid.n_skipped == sum(max(lengths) > 3 for lengths in whole.valid.lengths)
    for row, example in zip(short.train.rows, short.train.examples, strict=True):
        assert example == COUNTING.encode(row.fields, short.tokenizers)


def test_long_rows_can_be_truncated_instead(data: Path):
    whole = prepare(recipe_for(data), COUNTING)
    recipe = with_data(recipe_for(data), max_length=3, too_long="truncate")
    cut = prepare(recipe, COUNTING, whole.tokenizers)
    assert cut.train.n_skipped == 0
    for full, short in zip(whole.train.examples, cut.train.examples, strict=True):
        assert short == tuple(ids[:3] for ids in full)


def test_no_row_left_is_an_error(data: Path):
    with pytest.raises(DataError) as caught:
        prepare(with_data(recipe_for(data), max_length=1), COUNTING)
    assert str(caught.value) == (
        f"{data}: no training row is left: 79 are longer than data.max_length = 1 tokens; raise "
        "it, or use other data"
    )


@pytest.mark.parametrize(("n", "expected"), [(0, []), (3, [0, 3, 7]), (11, list(range(11)))])
def test_scored_sentences_are_spread_evenly(n: int, expected: list[int]):
    rows = [Row(("a", "b"), line) for line in range(11)]
    part = Part(rows, [None] * 11, [(1, 1)] * 11, 0)
    assert part.evenly(n) == expected
    assert part.evenly(n + 11) == list(range(11))


def test_pairs_encoded_in_blocks_equal_those_encoded_one_by_one(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("unrolled.training.dataset._ENCODED_TOGETHER", 7)
    words = ["a", "b\u00a0c", "e\u0301", "\u00e9", "Zo\u00eb", "\U0001f600", "x" * 50, "  "]
    lines = [f"{words[n % 8]} {n} cats\t{n} gatos {words[n % 5]} {'y' * n}" for n in range(60)]
    file = tmp_path / "pairs.tsv"
    file.write_text("\n".join(["en\tes", *lines]), encoding="utf-8")
    for text in (TextConfig(), TextConfig(kind="word", min_count=2)):
        data = DataConfig(train=(str(file),), max_length=40)
        recipe = Recipe(data=data, model=TASKS["translate"].Config(), text=text)
        prepared = prepare(recipe, TASKS["translate"])
        for part in (prepared.train, prepared.valid):
            single = [seq2seq.encode(row.texts, prepared.tokenizers) for row in part.rows]
            assert list(part.examples) == single == part.examples[:]
            assert part.lengths.tolist() == [list(seq2seq.lengths(pair)) for pair in single]
        for side in ("source", "target"):
            ids = [id_ for pair in prepared.train.examples for id_ in getattr(pair, side)]
            assert list(seq2seq.ids_of(prepared.train.examples, side)) == ids
    assert any(pair.copied for pair in prepared.train.examples)
