"""The table of cells: a new cell only needs its step and one entry, and then works everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

import unrolled
from unrolled import nn, ops
from unrolled.config import from_mapping
from unrolled.errors import ConfigError
from unrolled.layers.decoder import AttentionalDecoder
from unrolled.layers.recurrent_stack import RecurrentStack
from unrolled.ops.cells import CELLS, Cell, cell_named, cell_names, register
from unrolled.shapes import Padded
from unrolled.tasks.classify import ClassifyConfig


def minimal_gated_step(x: Tensor, state: ops.State, weights: ops.Weights) -> ops.State:
    """f = σ(W_f x + U_f h + b_f), n = tanh(W_n x + U_n (f ⊙ h) + b_n), h' = (1 − f) ⊙ h + f ⊙ n.

    Zhou, Wu, Zhang and Zhou, arXiv:1603.09420, equations 7–9.
    """
    (h,) = state
    x_f, x_n = linear(x, weights.w_ih, weights.b_ih).chunk(2, 1)
    u_f, u_n = weights.w_hh.chunk(2)
    b_f, b_n = (None, None) if weights.b_hh is None else weights.b_hh.chunk(2)
    f = torch.sigmoid(x_f + linear(h, u_f, b_f))
    n = torch.tanh(x_n + linear(f * h, u_n, b_n))
    return ((1 - f) * h + f * n,)


@pytest.fixture(autouse=True)
def minimal_gated_unit() -> Iterator[None]:
    register(Cell("mgu", minimal_gated_step, n_gates=2, name="mgu"))
    yield
    del CELLS["mgu"]


def weights_of(layer: Any, suffix: str = "") -> ops.Weights:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return ops.Weights(*(getattr(layer, f"{name}_l0{suffix}") for name in names))


def by_hand(x_TD: Tensor, weights: ops.Weights, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """One row, from the equations alone."""
    h = x_TD.new_zeros(1, weights.hidden_size)
    outputs = []
    for x_D in x_TD.flip(0) if reverse else x_TD:
        (h,) = minimal_gated_step(x_D.unsqueeze(0), (h,), weights)
        outputs.append(h)
    return torch.cat(outputs[::-1] if reverse else outputs), h[0]


def test_names_and_kinds_are_unique() -> None:
    assert cell_names() == ("rnn", "rnn_relu", "gru", "lstm", "mgu")
    with pytest.raises(ConfigError, match="a cell of kind 'lstm'"):
        register(Cell("lstm", minimal_gated_step, n_gates=2))
    with pytest.raises(
        ConfigError, match="cell must be one of rnn, rnn_relu, gru, lstm, mgu, got 'mug'"
    ):
        cell_named("mug")


@pytest.mark.parametrize("suffix", ["", "_reverse"])
def test_a_layer_of_a_new_cell_equals_its_equations(suffix: str) -> None:
    layer = nn.layer_of("mgu")(3, 5, batch_first=True, bidirectional=True).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    x[1, 4:] = torch.nan
    y, h = layer(x, lengths=[7, 4])
    half = slice(5, 10) if suffix else slice(0, 5)
    for row, length in enumerate((7, 4)):
        wanted, last = by_hand(x[row, :length], weights_of(layer, suffix), bool(suffix))
        torch.testing.assert_close(y[row, :length, half], wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(h[int(bool(suffix)), row], last, rtol=0, atol=1e-12)
    assert not y[1, 4:].any()


def test_gradients_of_a_new_cell_are_correct() -> None:
    layer = nn.layer_of("mgu")(3, 5).double()
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 2])
    weights = [w.detach().clone().requires_grad_() for w in weights_of(layer).tensors]

    def run(x: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        y, (h,) = ops.unroll("mgu", x, lengths, None, ops.Weights(*tensors))
        return y, h

    assert torch.autograd.gradcheck(run, (x, *weights))


@pytest.mark.parametrize("suffix", ["", "_reverse"])
def test_gradients_of_a_new_cell_equal_a_loop(suffix: str) -> None:
    layer = nn.layer_of("mgu")(3, 5, batch_first=True, bidirectional=True).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    weights = weights_of(layer, suffix)
    half = slice(5, 10) if suffix else slice(0, 5)
    leaves = (x, *weights.tensors)
    y, h = layer(x, lengths=[7, 4])
    found = torch.autograd.grad(y[..., half].square().sum() + h[int(bool(suffix))].sum(), leaves)
    total = x.new_zeros(())
    for row, length in enumerate((7, 4)):
        outputs, last = by_hand(x[row, :length], weights, bool(suffix))
        total = total + outputs.square().sum() + last.sum()
    wanted = torch.autograd.grad(total, leaves)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_explain_says_why_a_new_cell_has_no_fast_path() -> None:
    explanation = ops.explain("mgu", torch.zeros(3, 2, 3))
    assert explanation.chosen == "reference"
    assert explanation.reasons["torch_native"] == "torch has no fused mgu"


def test_a_stack_of_a_new_cell_steps_as_it_unrolls() -> None:
    stack = RecurrentStack("mgu", 3, [5, 7]).eval()
    x = torch.randn(2, 4, 3)
    with torch.no_grad():
        y, end = stack(Padded(x, torch.tensor([4, 4])))
        state = stack.start(2)
        for step in range(4):
            last, state = stack.step(x[:, step], state)
    torch.testing.assert_close(last, y[:, -1])
    torch.testing.assert_close(state, end)


@pytest.mark.parametrize("input_feeding", [True, False])
def test_a_decoder_of_a_new_cell_trains_as_it_steps(input_feeding: bool) -> None:
    decoder = AttentionalDecoder(
        "mgu", 3, 5, 5, memory_size=4, attention="additive", input_feeding=input_feeding, n_layers=2
    )
    memory = decoder.attention.remember(Padded(torch.randn(2, 6, 4), torch.tensor([6, 4])))
    state = decoder.start(((torch.zeros(2, 5),), (torch.zeros(2, 5),)), memory)
    x = torch.randn(2, 7, 3)
    whole, _, attention = decoder(x, state)
    for step in range(7):
        output, state, looked = decoder.step(x[:, step : step + 1], state)
        torch.testing.assert_close(output[:, 0], whole[:, step])
        torch.testing.assert_close(looked[:, 0], attention[:, step])


def test_recipes_know_a_cell_while_it_is_registered() -> None:
    assert from_mapping(ClassifyConfig, {"cell": "mgu"}, "model").cell == "mgu"
    with pytest.raises(
        ConfigError, match="expected one of 'rnn', 'rnn_relu', 'gru', 'lstm', 'mgu', got 'mug'"
    ):
        from_mapping(ClassifyConfig, {"cell": "mug"}, "model")


@pytest.mark.parametrize(
    ("task", "rows", "text"),
    [
        ("classify", "text\tlabel\n" + "good day\tyes\nbad day\tno\n" * 20, "good day"),
        ("translate", "en\tes\n" + "a cat\tun gato\na dog\tun perro\n" * 20, "a cat"),
    ],
)
def test_a_model_with_a_new_cell_is_trained_and_loaded(
    task: str, rows: str, text: str, tmp_path: Path
) -> None:
    data = tmp_path / "data.tsv"
    data.write_text(rows, encoding="utf-8")
    mapping = {
        "task": task,
        "data": {"train": [str(data)], "valid": [str(data)], "test": [str(data)]},
        "text": {"kind": "word"},
        "model": {"cell": "mgu"},
        "training": {"max_steps": 3, "threads": 1},
    }
    recipe = unrolled.Recipe.from_mapping(mapping, unrolled.TASKS)
    unrolled.train(recipe, tmp_path / "run")
    assert 'cell = "mgu"' in (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
    assert isinstance(unrolled.load(tmp_path / "run")(text), str)
