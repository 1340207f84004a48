"""Embeddings that are frozen at first, in uninterrupted and interrupted runs."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from counting import COUNTING, Counter, recipe_for

from unrolled.layers.embedding import Embedding
from unrolled.training import checkpoint
from unrolled.training.events import Step
from unrolled.training.loop import fit, train


def task_with(**tuning):
    """Counting, with an embedding of the package's own."""

    def build(config, tokenizers) -> Counter:
        model = COUNTING.build(config, tokenizers)
        n_words, width = model.embedding.weight.shape
        model.embedding = Embedding(n_words, width, tuning="thawed", **tuning)
        return model

    return replace(COUNTING, build=build)


@pytest.mark.parametrize("tuning", [{"frozen_steps": 3}, {"frozen_epochs": 1}], ids=str)
def test_the_table_is_trained_from_the_configured_step(tmp_path, data, tuning):
    task, sizes = task_with(**tuning), []

    def table_after(n_updates: int) -> torch.Tensor:
        recipe = recipe_for(data, max_steps=n_updates, weight_decay=0.1)
        started, *_ = fit(recipe, tmp_path / "run", task=task, force=True)
        sizes.append(started.steps_per_epoch)
        return checkpoint.load_checkpoint(tmp_path / "run").weights["embedding.weight"]

    begun = table_after(1)
    n_frozen = tuning.get("frozen_steps", sizes[0])
    assert n_frozen > 1
    assert torch.equal(table_after(n_frozen), begun)
    moved = table_after(n_frozen + 1) != begun
    assert moved.any(1).sum() > 5


@pytest.mark.parametrize("optimiser", ["adam", "sgd", "lazy_adam"])
def test_an_interrupted_run_equals_an_uninterrupted_run(tmp_path, data, optimiser):
    momentum = 0.9 if optimiser == "sgd" else 0.0
    recipe = recipe_for(
        data, max_steps=9, optimiser=optimiser, momentum=momentum, log_every_n_steps=1
    )
    task = task_with(frozen_steps=4)
    train(recipe, tmp_path / "whole", task=task)
    for steps in (2, 2, 2, 9):  # interrupted before, at and after the thaw
        events = fit(recipe, tmp_path / "cut", task=task, resume=(tmp_path / "cut").exists())
        with contextlib.closing(events):
            for event in events:
                steps -= isinstance(event, Step)
                if not steps:
                    break
    whole, cut = (checkpoint.load_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert whole.progress.step == cut.progress.step == 9
    for kind in ("weights", "rest"):
        ours, right = getattr(cut, kind), getattr(whole, kind)
        assert ours.keys() == right.keys()
        assert all(torch.equal(ours[name], right[name]) for name in ours), kind
