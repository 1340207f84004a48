"""The gradient flow of runs and recipes, and the table that shows it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled.diagnosis.flow import GradientFlow, LayerFlow
from unrolled.diagnosis.tables import flow_rows
from unrolled.inspect.example import Example
from unrolled.inspect.gradient_flow import inspect_example, losses_of_run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_translator_has_the_flow_of_each_layer(trained_run: Path) -> None:
    predictor = unrolled.load(trained_run)
    inspected = unrolled.inspect_run(predictor, "I see two red cats.")
    names = [layer.name for layer in inspected.flow.layers]
    assert names == [
        "encoder.recurrent layer 0 forward",
        "encoder.recurrent layer 0 backward",
        "decoder.recurrent layer 0 forward",
    ]
    for layer in inspected.flow.layers:
        assert layer.span >= 5
        assert np.isfinite(layer.curve).all()
        largest = 10 ** layer.products[layer.span]
        assert layer.reach_at(layer.span) <= 1.001 * largest
    answer = predictor.predict(["I see two red cats."])[0]
    assert len(inspected.flow.layers[2].loss[0]) == len(answer.hypotheses[0].pieces)
    assert "nats per target" in inspected.about


def test_the_losses_of_a_run_are_read(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert losses_of_run(tmp_path) is None
    line = {"event": "step", "loss": 2.0, "learning_rate": 0.5, "grad_norm": 3.0}
    lines = [line, {"event": "evaluated", "loss": 9.0}, {**line, "loss": 7.5}]
    file.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    found = losses_of_run(tmp_path)
    assert found is not None
    assert (found.first_loss, found.last_loss, found.learning_rate) == (2.0, 7.5, 0.5)
    for damaged in ("", "no json\n", "[1]\n", '{"event": "step"}\n'):
        file.write_text(damaged, encoding="utf-8")
        assert losses_of_run(tmp_path) is None


class Flat(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))


def test_a_run_without_a_recurrent_layer_is_refused(trained_run: Path) -> None:
    predictor = unrolled.load(trained_run)
    predictor.model = Flat()
    example = Example(None, lambda model: (model.weight.sum(), 1), [])
    with pytest.raises(
        unrolled.ConfigError, match="has no recurrent layer that the loss depends on"
    ):
        inspect_example(predictor, example)


def test_a_short_path_leaves_its_cells_empty() -> None:
    layer = LayerFlow(
        "one", "gru", False, [np.ones(1)], [np.ones(1)], [np.ones(1)], [0], np.ones((1, 1)), {}, {},
        {}, [],
    )  # fmt: skip
    flow = GradientFlow(math.e, [layer])
    (_, row) = flow_rows(flow)
    assert row == ["one", "1", "–", "–", "–", "–", "–", "–"]
    assert repr(flow) == "GradientFlow(loss=2.718, 1 layer)"
    assert "radius" in flow._repr_html_()
