"""Scores of written outputs by the length of their source."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from comparing import made, plan_of

from unrolled.comparison.report import lines_of
from unrolled.comparison.scoring import quartiles

RECIPE = """\
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


def test_attention_is_compared_by_source_length(pairs_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(data=pairs_file), encoding="utf-8")
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
