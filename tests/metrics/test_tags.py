"""Scores of tags: of spans in both readings, or of tokens."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.errors import DataError
from unrolled.metrics.tags import measure_tags, signature, tally_tags
from unrolled.text.labels import Labels

NAMES = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
GOLD = [["B-PER", "I-PER", "O"], ["O", "B-LOC"], [], ["B-LOC", "O", "O"]]
GIVEN = [["B-PER", "I-PER", "O"], ["O", "I-LOC"], [], ["B-PER", "O", "O"]]


def test_spans_are_scored_in_both_readings() -> None:
    labels = Labels(NAMES, scheme="bio")
    scores = measure_tags(GOLD, GIVEN, labels).scores()
    # As conlleval reads them: PER at 0–2, LOC at 1–2 written with I alone, PER instead of LOC.
    assert scores["f1"] == scores["precision"] == scores["recall"] == pytest.approx(2 / 3)
    assert scores["strict_f1"] == pytest.approx(2 * 1 / (2 + 3))
    assert scores["token_accuracy"] == pytest.approx(6 / 8)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    found = tally_tags(GOLD, GIVEN, labels).scores(np.arange(4)[None])
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(scores)
    assert set(measure_tags(GOLD, GIVEN, labels).signature()) == set(scores)


def test_tags_without_spans_are_scored_by_token() -> None:
    labels = Labels(NAMES)
    scores = measure_tags(GOLD, GIVEN, labels).scores()
    assert scores["accuracy"] == pytest.approx(6 / 8)
    assert "f1" not in scores
    tally = tally_tags(GOLD, GIVEN, labels)
    assert tally.n_examples == 4
    found = {name: float(value[0]) for name, value in tally.scores(np.arange(4)[None]).items()}
    assert found == pytest.approx({name: scores[name] for name in found})
    half = tally.scores(np.array([[0, 0, 1]]))["accuracy"]
    assert float(half[0]) == pytest.approx(7 / 8)


def test_nothing_to_score_is_refused() -> None:
    for labels in (Labels(NAMES), Labels(NAMES, scheme="bio")):
        with pytest.raises(DataError, match="no tokens to score"):
            measure_tags([[], []], [[], []], labels)


def test_every_score_has_a_signature() -> None:
    names = set(signature())
    for labels in (Labels(NAMES), Labels(NAMES, scheme="bio")):
        assert set(measure_tags(GOLD, GIVEN, labels).scores()) <= names
    assert next(iter(signature())) == "f1"
