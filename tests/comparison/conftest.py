"""A small recipe to compare, and a comparison of it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

# Test modules are imported by path, which leaves their neighbours unfindable.
sys.path.insert(0, str(Path(__file__).parent))

from comparing import Made, made, plan_of

TINY = """\
task = "classify"

[data]
valid_size = 20
test_size = 20

[model]
embedding_size = 4
hidden_size = 17
bidirectional = false

[training]
max_steps = 6
max_tokens = 100
learning_rate = 0.02
evaluate_every_n_steps = 2
checkpoint_every_n_steps = 3
log_every_n_steps = 1
patience = 0
metric = "accuracy"
device = "cpu"
threads = 1
"""


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for texts whose first word decides their label."""
    folder = tmp_path_factory.mktemp("compared")
    draw = random.Random(1)
    words = ["red", "blue", "green", "old", "new", "cold", "warm", "tall"]
    texts = {" ".join(draw.choice(words) for _ in range(draw.randint(2, 6))) for _ in range(220)}
    lines = [f"{text}\t{'yes' if text < 'm' else 'no'}\n" for text in sorted(texts)]
    (folder / "texts.tsv").write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")
    recipe = folder / "tiny.toml"
    recipe.write_text(TINY.replace("[data]", f'[data]\ntrain = ["{folder}/texts.tsv"]'), "utf-8")
    return recipe


@pytest.fixture(scope="session")
def compared(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two cells, two seeds; tests read it."""
    plan = plan_of(tiny, "model.cell=gru,lstm")
    folder = tmp_path_factory.mktemp("comparison") / "cells"
    return Made(folder, plan, made(plan, folder))
