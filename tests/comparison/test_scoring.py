"""Scores of language models, and of written outputs by the length of their source."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from comparing import made, plan_of

from unrolled.comparison.report import lines_of
from unrolled.comparison.scoring import quartiles

TRANSLATION = """\
task = "translate"

[data]
train = ["{data}"]
valid_size = 8
test_size = 12

[model]
embedding_size = 8
encoder_size = 12
hidden_size = 24

[training]
max_steps = 3
max_tokens = 128
metric = "bleu"
valid_sentences = 4
patience = 0
device = "cpu"

[decoding]
method = "greedy"
"""


CHARACTERS = """\
task = "language_model"

[data]
train = ["{data}"]
n_rows = 2
k1 = 8

[text]
kind = "char"

[model]
embedding_size = 8
hidden_size = 12

[training]
max_steps = 3
patience = 0
device = "cpu"
"""


def test_language_models_are_compared_by_bits(tmp_path: Path) -> None:
    text, recipe = tmp_path / "text.txt", tmp_path / "tiny.toml"
    text.write_text("the cat sat on the mat. the dog ran to the cat.\n" * 40, encoding="utf-8")
    recipe.write_text(CHARACTERS.format(data=text), encoding="utf-8")
    end = made(plan_of(recipe, "model.cell=gru,lstm", seeds=1, match=()), tmp_path / "out")
    assert end.data["score"] == "bits_per_character"
    assert end.data["smaller_is_better"]
    for variant, n_gates in zip(end.data["variants"], (3, 4), strict=True):
        run = variant["runs"][0]
        loss = run["scores"]["loss"]
        assert run["scores"]["perplexity"] == pytest.approx(math.exp(loss))
        assert variant["mean"] == pytest.approx(run["scores"]["bits_per_character"])
        n_characters = variant["embedding_parameters"] // 8
        assert variant["multiply_adds"] == n_gates * 12 * (8 + 12) + 12 * n_characters


def test_attention_is_compared_by_source_length(pairs_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TRANSLATION.format(data=pairs_file), encoding="utf-8")
    plan = plan_of(recipe, "model.attention=none,additive", seeds=1)
    end = made(plan, tmp_path / "out")
    for variant in end.data["variants"]:
        groups = variant["by_length"]
        assert sum(group["examples"] for group in groups) == 12
        assert [group["shortest"] for group in groups] == sorted(
            group["shortest"] for group in groups
        )
        assert variant["mismatch"] == pytest.approx(0, abs=0.005)
    assert "BLEU by words of the source" in list(lines_of(end.data, end.costs))


def test_groups_by_length_hold_every_row_once() -> None:
    lengths = [3, 9, 1, 4, 4, 4, 12, 7, 30, 2, 4]
    groups = quartiles(lengths)
    assert sorted(row for _, _, rows in groups for row in rows) == list(range(len(lengths)))
    for shortest, longest, rows in groups:
        assert shortest == min(lengths[row] for row in rows)
        assert longest == max(lengths[row] for row in rows)
    ends = [(shortest, longest) for shortest, longest, _ in groups]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
