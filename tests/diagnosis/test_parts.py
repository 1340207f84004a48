"""What arrives at the sums with weights equals plain automatic differentiation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unrolled import nn, ops
from unrolled.diagnosis.flow import measure_flow
from unrolled.ops.cells import CELLS

pytestmark = pytest.mark.usefixtures("one_thread")

T, D, H = 7, 3, 5


@pytest.mark.parametrize("kind", ["rnn_tanh", "rnn_sigmoid", "gru", "lstm"])
def test_what_arrives_is_the_gradient_of_the_sums(kind: str) -> None:
    layer = nn.layer_of(kind)(D, H).double()
    x = torch.randn(T, 1, D, dtype=torch.float64)

    def read(y: Tensor) -> Tensor:
        return y[3].sum() + (y[-1] ** 2).sum()

    (flow,) = measure_flow(layer, lambda layer: (read(layer(x)[0]), 1)).layers
    # Zeros that are added to every sum have its gradient.
    cell = CELLS[layer.mode.lower()]
    w_ih, w_hh, b_ih, b_hh = (
        getattr(layer, f"{name}_l0").detach()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    wide = ops.Weights(torch.cat([w_ih, torch.eye(len(w_ih)).double()], 1), w_hh, b_ih, b_hh)
    added = torch.zeros(T, 1, len(w_ih), dtype=torch.float64, requires_grad=True)
    state = tuple(torch.zeros(1, H, dtype=torch.float64) for _ in range(cell.n_states))
    outputs = []
    for t in range(T):
        state = cell.step(torch.cat([x[t], added[t]], 1), state, wide)
        outputs.append(state[0])
    y = torch.stack(outputs)
    (sums,) = torch.autograd.grad(read(y), added)
    entering = H + float((2 * y[-1]).abs().sum().detach())
    assert flow.arriving == pytest.approx([float(sums.abs().sum()) / entering], rel=1e-9)
    assert flow.arrives == flow.arriving[0]


def test_the_tanh_of_a_cell_state_is_no_sum() -> None:
    layer = nn.LSTM(D, H)
    x = torch.zeros(4, 1, D, dtype=torch.float64)
    (flow,) = measure_flow(layer, lambda layer: (layer(x)[0].sum(), 1)).layers
    assert {part.name for part in flow.parts if part.is_sum} == {"i", "f", "g", "o"}
    assert {part.name for part in flow.parts} == {"i", "f", "g", "o", "tanh_c"}


def test_padding_and_rows_without_a_loss_do_not_count() -> None:
    layer = nn.GRU(D, H).double()
    x = torch.randn(T, 2, D, dtype=torch.float64)

    def of_one(layer: torch.nn.Module) -> tuple[Tensor, int]:
        return layer(x[:4, :1])[0][-1].sum(), 1

    def of_both(layer: torch.nn.Module) -> tuple[Tensor, int]:
        return layer(x, lengths=[4, T])[0][3, 0].sum(), 1

    (alone,) = measure_flow(layer, of_one).layers
    (both,) = measure_flow(layer, of_both).layers
    assert both.arriving == pytest.approx(alone.arriving)
    nothing = measure_flow(layer, lambda layer: (0 * layer(x)[0].sum(), 1)).layers[0]
    assert nothing.arriving == []
    assert math.isnan(nothing.arrives)
