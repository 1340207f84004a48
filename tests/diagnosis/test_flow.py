"""The gradient flow equals autograd on a plain loop, finite differences, and products by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled import nn, ops
from unrolled.diagnosis.flow import LayerFlow, measure_flow
from unrolled.diagnosis.jacobians import (
    LARGEST_EXACT,
    Chain,
    product_norms,
    spectral_norm,
    spectral_radius,
)
from unrolled.layers.replay import in_type_of, replaying, replica
from unrolled.ops.cells import CELLS, Cell, register
from unrolled.shapes import Padded

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("rnn_tanh", "rnn_relu", "rnn_sigmoid", "gru", "lstm")
T, D, H = 7, 3, 5


class Reader(torch.nn.Module):
    """A layer whose loss reads some of its steps."""

    def __init__(self, kind: str, read: Callable[[Tensor], Tensor], **options: object) -> None:
        super().__init__()
        self.layer = nn.layer_of(kind)(D, H, **options)
        self.read = read
        self.x = torch.randn(T, 2, D, dtype=torch.float64)

    def loss(self) -> tuple[Tensor, int]:
        y, _ = self.layer(self.x.to(self.layer.weight_hh_l0.dtype))
        return self.read(y), 2


def by_hand(model: Reader) -> tuple[list[tuple[Tensor, ...]], list[Tensor], Tensor]:
    """States, outputs and loss of a loop over the cell, in float64; all of them have gradients."""
    layer = replica(model, torch.float64).layer
    weights = ops.Weights(
        *(getattr(layer, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    )
    cell = CELLS[layer.mode.lower()]
    state = tuple(torch.zeros(2, H, dtype=torch.float64) for _ in range(cell.n_states))
    states, outputs = [], []
    for x in model.x:
        state = cell.step(x, state, weights)
        outputs.append(state[0] * 1.0)
        state = tuple(part * 1.0 for part in state)
        states.append(state)
    return states, outputs, model.read(torch.stack(outputs)) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_autograd_on_a_loop(kind: str) -> None:
    model = Reader(kind, lambda y: y[3].sum() + (y[-1] ** 2).sum())
    flow = measure_flow(model, Reader.loss).layers[0]
    states, outputs, loss = by_hand(model)
    through = torch.autograd.grad(
        loss, [s[0] for s in states], retain_graph=True, allow_unused=True
    )
    direct = torch.autograd.grad(loss, outputs, retain_graph=True, allow_unused=True)
    for row in (0, 1):
        for t in range(T):
            g = torch.zeros(H, dtype=torch.float64) if direct[t] is None else direct[t][row]
            total = g if through[t] is None else g + through[t][row]
            assert flow.entering[row][t] == pytest.approx(float(g.norm()), rel=1e-9, abs=1e-15)
            assert flow.loss[row][t] == pytest.approx(float(total.norm()), rel=1e-9)
    # What the last step alone sends back to (h, c).
    end = torch.autograd.grad(
        outputs[-1], [p for s in states for p in s], direct[-1], allow_unused=True
    )
    n = len(states[0])
    for distance in range(1, T):
        t = T - 1 - distance
        parts = end[t * n : (t + 1) * n]
        norm = math.sqrt(sum(float(part[0].square().sum()) for part in parts))
        wanted = norm / float(direct[-1][0].norm())
        assert flow.reach[0][distance] == pytest.approx(wanted, rel=1e-9)
    assert flow.reach[0][0] == 1
    assert flow.span == T - 1


def test_reach_equals_finite_differences() -> None:
    model = Reader("lstm", lambda y: y[-1].sum())
    flow = measure_flow(model, Reader.loss).layers[0]
    layer = replica(model, torch.float64).layer
    with torch.no_grad():
        _, (h, c) = layer(model.x[:3])
        gradient, step = [], 1e-6
        for part in (0, 1):
            for unit in range(H):
                losses = []
                for sign in (1, -1):
                    state = [h.clone(), c.clone()]
                    state[part][0, 0, unit] += sign * step
                    losses.append(float(layer(model.x[3:], tuple(state))[0][-1].sum()) / 2)
                gradient.append((losses[0] - losses[1]) / (2 * step))
    entry = math.sqrt(H) / 2
    assert flow.reach[0][T - 3] == pytest.approx(np.linalg.norm(gradient) / entry, rel=1e-6)


def test_the_matrix_holds_each_entry() -> None:
    flow = measure_flow(Reader("gru", lambda y: (y**2).sum()), Reader.loss).layers[0]
    assert flow.entries == list(range(T))
    assert flow.matrix.shape == (T, T)
    for place, step in enumerate(flow.entries):
        assert flow.matrix[place, step] == pytest.approx(flow.entering[0][step])
        assert not flow.matrix[place, step + 1 :].any()
    np.testing.assert_allclose(
        flow.matrix[-1][::-1] / flow.matrix[-1, -1], flow.reach[0], rtol=1e-9
    )


def test_short_rows_and_backward_layers_are_in_reading_order() -> None:
    layer = nn.LSTM(D, H, bidirectional=True).double()
    x = torch.randn(T, 2, D, dtype=torch.float64)

    def loss(layer: torch.nn.Module) -> tuple[Tensor, int]:
        _, (h, _) = layer(x, lengths=[T, 4])
        return h.sum(), 1

    both = measure_flow(layer, loss).layers
    assert [flow.reverse for flow in both] == [False, True]
    for flow in both:
        assert [len(row) for row in flow.loss] == [T, 4]
        assert [len(row) for row in flow.reach] == [T, 4]
        for row in flow.entering:
            assert not row[:-1].any()
            assert row[-1] == pytest.approx(math.sqrt(H))

    def alone(layer: torch.nn.Module) -> tuple[Tensor, int]:
        return layer(x[:4, 1:])[1][0].sum(), 1

    for flow, other in zip(both, measure_flow(layer, alone).layers, strict=True):
        np.testing.assert_allclose(flow.reach[1], other.reach[0], rtol=1e-9)
        np.testing.assert_allclose(flow.loss[1], other.loss[0], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_jacobians_equal_products_by_hand(kind: str) -> None:
    layer = replica(nn.layer_of(kind)(D, H), torch.float64)
    with replaying(layer) as replay:
        layer(torch.randn(T, 1, D, dtype=torch.float64))
    one = replay.layers[0]
    product = None
    for t in range(1, T):

        def step(flat: Tensor, t: int = t) -> Tensor:
            state = tuple(part.unsqueeze(0) for part in flat.split(H))
            return torch.cat(CELLS[kind].step(one.inputs[t].detach(), state, one.weights), 1)[0]

        before = torch.cat(one.states[t - 1], 1)[0].detach()
        jacobian = torch.autograd.functional.jacobian(step, before)
        product = jacobian if product is None else jacobian @ product
    wanted = float(torch.linalg.matrix_norm(product, ord=2).log10())
    chain = Chain(one, 0)
    assert product_norms(chain, [T - 1])[T - 1] == pytest.approx(wanted, abs=1e-9)


def test_repeated_vector_products_equal_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = replica(nn.LSTM(D, 24), torch.float64)
    with replaying(layer) as replay:
        layer(torch.randn(60, 1, D, dtype=torch.float64))
    chain = Chain(replay.layers[0], 0)
    for span in (1, 5, 59):
        exact = product_norms(chain, [span])[span]
        with monkeypatch.context() as patch:
            patch.setattr("unrolled.diagnosis.jacobians.LARGEST_EXACT", 0)
            assert product_norms(chain, [span])[span] == pytest.approx(exact, abs=0.04)
    assert LARGEST_EXACT >= 48


def test_products_do_not_underflow() -> None:
    layer = nn.RNN(D, H)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(0.01 * torch.eye(H))
    flow = measure_flow(
        layer, lambda layer: (layer(torch.zeros(401, 1, D).double())[0][-1].sum(), 1)
    )
    (one,) = flow.layers
    with torch.no_grad():  # the biases let the state move, so that tanh' is below 1
        assert -860 < one.products[400] < -800


def test_the_spectrum_is_that_of_each_block() -> None:
    layer = nn.LSTM(D, H)
    with torch.no_grad():
        for place, block in enumerate(layer.weight_hh_l0.chunk(4)):
            block.copy_((place + 1.0) * torch.eye(H))
    flow = measure_flow(layer, lambda layer: (layer(torch.randn(3, 1, D).double())[0].sum(), 1))
    wanted = {"i": 1.0, "f": 2.0, "g": 3.0, "o": 4.0}
    assert flow.layers[0].radius == pytest.approx(wanted)
    assert flow.layers[0].norm == pytest.approx(wanted)


def test_wide_matrices_have_the_right_spectrum() -> None:
    square = torch.randn(300, 300, generator=torch.Generator().manual_seed(1)) / 300**0.5
    exact = float(torch.linalg.eigvals(square).abs().max())
    assert spectral_radius(square) == pytest.approx(exact, rel=5e-3)
    assert spectral_norm(square) == pytest.approx(
        float(torch.linalg.matrix_norm(square, 2)), rel=0.02
    )
    assert spectral_radius(torch.zeros(300, 300)) == 0
    assert math.isnan(spectral_radius(torch.full((2, 2), math.nan)))


def test_saturated_shares_are_counted() -> None:
    layer = nn.RNN(1, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_ih_l0.copy_(torch.tensor([[10.0], [0.1]]))
    x = torch.tensor([1.0, 1.0, -1.0]).view(3, 1, 1).double()
    (flow,) = measure_flow(layer, lambda layer: (layer(x)[0].sum(), 1)).layers
    (part,) = flow.parts
    assert (part.saturated, part.low, part.high) == pytest.approx((3 / 6, 1 / 6, 2 / 6))
    slopes = [1 - math.tanh(10) ** 2, 1 - math.tanh(0.1) ** 2]
    assert part.derivative == pytest.approx(sum(slopes) / 2)
    assert part.by_step == pytest.approx([sum(slopes) / 2] * 3)
    assert not part.is_gate


@pytest.fixture
def own_cell() -> Iterator[None]:
    def step(x: Tensor, state: ops.State, weights: ops.Weights) -> ops.State:
        add = torch.nn.functional.linear(x, weights.w_ih, weights.b_ih)
        return (torch.relu(add + torch.nn.functional.linear(state[0], weights.w_hh)),)

    register(Cell("own", step, n_gates=1, name="own"))
    yield
    del CELLS["own"]


@pytest.mark.usefixtures("own_cell")
def test_a_cell_of_a_user_is_measured() -> None:
    layer = nn.layer_of("own")(D, H)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.eye(H))
        layer.weight_ih_l0.abs_()
        layer.bias_ih_l0.zero_()
    x = torch.rand(T, 1, D).double()
    (flow,) = measure_flow(layer, lambda layer: (layer(x)[0][-1].sum(), 1)).layers
    assert flow.reach_at(T - 1) == pytest.approx(1)
    assert [part.name for part in flow.parts] == ["relu 1"]
    assert list(flow.radius) == ["block 1"]


def test_measuring_changes_nothing() -> None:
    model = Reader("lstm", lambda y: y[-1].sum())
    before = [parameter.detach().clone() for parameter in model.parameters()]
    random = torch.get_rng_state()
    with torch.no_grad():  # gradients need not be enabled
        flow = measure_flow(model, Reader.loss)
    assert flow.layers[0].span == T - 1
    assert all(map(torch.equal, before, model.parameters()))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_a_loss_without_recurrence_has_no_layers() -> None:
    flow = measure_flow(
        torch.nn.Linear(2, 1), lambda layer: (layer(torch.ones(1, 2).double()).sum(), 1)
    )
    assert flow.layers == []
    bad = Reader("gru", lambda y: y.sum() * math.nan)
    assert math.isnan(measure_flow(bad, Reader.loss).loss)


def test_reach_is_the_geometric_mean_over_rows() -> None:
    rows = [np.array([1.0, 0.1, 0.01]), np.array([1.0, 0.4]), np.zeros(0)]
    flow = LayerFlow("", "gru", False, [], [], rows, [], np.zeros((0, 0)), {}, {}, {}, [])
    assert flow.span == 1
    assert flow.reach_at(1) == pytest.approx(0.2)
    assert flow.reach_at(2) == pytest.approx(0.01)
    assert math.isnan(flow.reach_at(3))


def test_inputs_of_another_type_are_converted() -> None:
    layer, x = nn.GRU(D, H), torch.randn(T, 1, D)
    flow = measure_flow(layer, lambda layer: (layer(x)[0][-1].sum(), 1))
    double = measure_flow(layer, lambda layer: (layer(x.double())[0][-1].sum(), 1))
    assert flow.layers[0].reach_at(T - 1) == double.layers[0].reach_at(T - 1)
    batch = (Padded(torch.ones(1, 2, 3), torch.tensor([2])), torch.tensor([1]), "a")
    cast = in_type_of(batch, layer.double())
    assert cast[0].values.dtype is torch.float64
    assert cast[1] is batch[1]
    assert in_type_of(cast, layer) is cast
