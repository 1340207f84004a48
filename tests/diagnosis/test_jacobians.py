"""Products of Jacobians by slopes and U equal those by automatic differentiation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled import nn, ops
from unrolled.diagnosis.flow import measure_flow
from unrolled.diagnosis.jacobians import LARGEST_EXACT, Chain, product_norms
from unrolled.diagnosis.slopes import Slopes
from unrolled.layers.replay import ReplayedLayer, replaying, replica
from unrolled.ops.cells import CELLS, Cell, register

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("rnn_tanh", "rnn_relu", "rnn_sigmoid", "gru", "lstm")
T, D, H = 9, 3, 5


def layer_of(kind: str, width: int, n_steps: int, **options: object) -> ReplayedLayer:
    layer = replica(nn.layer_of(kind)(D, width, **options), torch.float64)
    with replaying(layer) as replay:
        layer(torch.randn(n_steps, 2, D, dtype=torch.float64), lengths=[n_steps - 1, n_steps])
    return replay.layers[-1]


def chains_of(
    kind: str, width: int = H, n_steps: int = T, **options: object
) -> tuple[Chain, Chain]:
    """The steps of a row with slopes, and with automatic differentiation."""
    layer = layer_of(kind, width, n_steps, **options)
    slopes = Slopes.of(layer)
    assert slopes is not None
    return Chain(layer, 1, slopes), Chain(layer, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_slopes_give_the_jacobians_of_autograd(kind: str, bidirectional: bool) -> None:
    chain, by_autograd = chains_of(kind, bidirectional=bidirectional)
    for found, wanted in zip(chain.jacobians(), by_autograd.jacobians(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
    vector = torch.randn(1, chain.size, dtype=torch.float64)
    for name in ("back", "forward"):
        moved, log = getattr(chain, name)(vector, T - 1, 1)
        other, other_log = getattr(by_autograd, name)(vector, T - 1, 1)
        torch.testing.assert_close(moved, other, rtol=1e-9, atol=1e-12)
        assert log == pytest.approx(other_log, abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_norms_of_wide_states_are_those_of_autograd(kind: str) -> None:
    torch.manual_seed(5)
    chain, by_autograd = chains_of(kind, width=140, n_steps=60)
    assert chain.size > LARGEST_EXACT
    (found,) = product_norms(chain, [59]).values()
    (wanted,) = product_norms(by_autograd, [59]).values()
    assert found == pytest.approx(wanted, abs=1e-3)


@pytest.fixture
def mixing_cell() -> Iterator[None]:
    """A cell whose units meet in a softmax, after the products."""

    def gates(from_x: Tensor, from_h: Tensor | None, state: ops.State) -> ops.State:
        assert from_h is not None
        return (torch.softmax(from_x + from_h, dim=1),)

    def step(x: Tensor, state: ops.State, weights: ops.Weights) -> ops.State:
        from_x = linear(x, weights.w_ih, weights.b_ih)
        return gates(from_x, linear(state[0], weights.w_hh, weights.b_hh), state)

    register(Cell("mixing", step, n_gates=1, name="mixing", gates=gates))
    yield
    del CELLS["mixing"]


@pytest.mark.usefixtures("mixing_cell")
def test_units_that_meet_elsewhere_need_autograd() -> None:
    layer = layer_of("mixing", H, T)
    assert Slopes.of(layer) is None
    with torch.no_grad():
        layer.weights.w_hh.fill_(float("nan"))
    assert Slopes.of(layer) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [H, 140])
def test_the_gradient_of_each_entry_is_that_of_autograd(kind: str, width: int) -> None:
    layer = nn.layer_of(kind)(D, width, bidirectional=True)
    rounding = 1e-9 if width == H else 1e-5  # wide states are in float32
    x = torch.randn(T, 3, D, dtype=torch.float64)

    def loss(layer: torch.nn.Module) -> tuple[Tensor, int]:
        y, _ = layer(x, lengths=[T, 4, 1])
        return (y**2).sum(), 1

    found = measure_flow(layer, loss).layers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slopes, "of", classmethod(lambda cls, layer: None))
        wanted = measure_flow(layer, loss).layers
    for one, other in zip(found, wanted, strict=True):
        assert one.entries == other.entries
        np.testing.assert_allclose(one.matrix, other.matrix, rtol=rounding, atol=1e-14)
        for left, right in zip(one.reach, other.reach, strict=True):
            np.testing.assert_allclose(left, right, rtol=rounding)
        assert one.products == pytest.approx(other.products, abs=1e-9 if width == H else 1e-3)
