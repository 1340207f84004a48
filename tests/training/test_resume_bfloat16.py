"""An interrupted run in bfloat16 ends like an uninterrupted one, with layers and attention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import COUNTING, Counter, CountingConfig, recipe_for
from torch import Tensor, nn

from unrolled.nn import GRU, LSTM
from unrolled.ops import cross_entropy, mixed_linear
from unrolled.tasks.seq2seq import TranslateConfig
from unrolled.tasks.task import Task
from unrolled.tasks.translate import TASK as TRANSLATE
from unrolled.training import checkpoint
from unrolled.training.device import why_no_bfloat16
from unrolled.training.loop import train
from unrolled.training.recipe import Recipe

pytestmark = pytest.mark.skipif(
    why_no_bfloat16(torch.device("cpu")) is not None,
    reason=f"bfloat16: {why_no_bfloat16(torch.device('cpu'))}",
)


class Reader(Counter):
    """Reads the sources with a GRU in both directions and an LSTM."""

    def __init__(self, config: CountingConfig, n_source: int, n_target: int) -> None:
        super().__init__(config, n_source, n_target)
        self.gru = GRU(config.width, config.width, bidirectional=True)
        self.lstm = LSTM(2 * config.width, config.width)

    def forward(self, sources: list[Tensor]) -> Tensor:
        x = nn.utils.rnn.pad_sequence([self.embedding(source) for source in sources])
        lengths = torch.tensor([len(source) for source in sources])
        _, (h, _) = self.lstm(self.gru(x, lengths=lengths)[0], lengths=lengths)
        return self.head(self.dropout(h[0]))


READING = replace(
    COUNTING,
    build=lambda config, words: Reader(config, len(words["source"]), len(words["target"])),
)


def translator_recipe(data: Path, **training: Any) -> Recipe:
    recipe = recipe_for(data, **training)
    model = TranslateConfig(embedding_size=5, encoder_size=7, hidden_size=17)
    return replace(recipe, task="translate", model=model)


@pytest.mark.parametrize("task", [READING, TRANSLATE], ids=["layers", "translator"])
def test_a_resumed_run_in_bfloat16_has_the_same_weights(
    tmp_path: Path, data: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However small, the output layer and the products run on the kernels where these are used.
    monkeypatch.setattr(cross_entropy, "LEAST_MIXED_WORDS", 0)
    monkeypatch.setattr(mixed_linear, "LEAST_WORK", 0)
    make = translator_recipe if task is TRANSLATE else recipe_for
    recipe = make(data, precision="bfloat16", max_steps=6, log_every_n_steps=1)
    half = replace(recipe, training=replace(recipe.training, max_steps=3))
    train(recipe, tmp_path / "whole", task=task)
    train(half, tmp_path / "parts", task=task)
    train(recipe, tmp_path / "parts", task=task, resume=True)
    whole, parts = (checkpoint.load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert whole.weights.keys() == parts.weights.keys()
    for name, tensor in whole.weights.items():
        assert tensor.dtype is torch.float32
        assert torch.equal(tensor, parts.weights[name]), name
    for name, tensor in whole.rest.items():
        assert torch.equal(tensor, parts.rest[name]), name
