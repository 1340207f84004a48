"""An interrupted run in bfloat16 ends like an uninterrupted one, recurrent layers included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from counting import COUNTING, Counter, CountingConfig, recipe_for
from torch import Tensor, nn

from unrolled.nn import GRU, LSTM
from unrolled.training import checkpoint
from unrolled.training.device import why_no_bfloat16
from unrolled.training.loop import train

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


def test_a_resumed_run_in_bfloat16_has_the_same_weights(tmp_path: Path, data: Path) -> None:
    recipe = recipe_for(data, precision="bfloat16", max_steps=6, log_every_n_steps=1)
    half = replace(recipe, training=replace(recipe.training, max_steps=3))
    train(recipe, tmp_path / "whole", task=READING)
    train(half, tmp_path / "parts", task=READING)
    train(recipe, tmp_path / "parts", task=READING, resume=True)
    whole, parts = (checkpoint.load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert whole.weights.keys() == parts.weights.keys()
    for name, tensor in whole.weights.items():
        assert tensor.dtype is torch.float32
        assert torch.equal(tensor, parts.weights[name]), name
    for name, tensor in whole.rest.items():
        assert torch.equal(tensor, parts.rest[name]), name
