from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unrolled.ops.gates import gru_gates, lstm_gates
from unrolled.ops.reference import gru_step, lstm_step
from unrolled.ops.types import Weights

D, H = 5, 7


def leaves_of(n_gates: int, B: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    shapes = {
        "x": (B, D),
        "h": (B, H),
        "c": (B, H),
        "w_ih": (n_gates * H, D),
        "w_hh": (n_gates * H, H),
        "b_ih": (n_gates * H,),
        "b_hh": (n_gates * H,),
    }
    return {
        name: torch.randn(*shape, dtype=dtype, requires_grad=True) for name, shape in shapes.items()
    }


def weights_of(leaves):
    return Weights(*(leaves[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh")))


def lstm_by_gates(x, h, c, w_ih, w_hh, b_ih, b_hh):
    return lstm_gates(F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh), c)


def gru_by_gates(x, h, c, w_ih, w_hh, b_ih, b_hh):
    return (gru_gates(F.linear(x, w_ih, b_ih), F.linear(h, w_hh, b_hh), h) + 0 * c,)


def lstm_by_reference(x, h, c, **_):
    return lstm_step(x, (h, c), weights_of(_))


def gru_by_reference(x, h, c, **_):
    return (gru_step(x, (h,), weights_of(_))[0] + 0 * c,)


PAIRS = {
    "lstm": (4, lstm_by_gates, lstm_by_reference),
    "gru": (3, gru_by_gates, gru_by_reference),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("B", [0, 1, 3])
@pytest.mark.parametrize("cell", list(PAIRS))
def test_gates_finish_the_reference_step(cell, B, dtype):
    n_gates, by_gates, by_reference = PAIRS[cell]
    leaves = leaves_of(n_gates, B, dtype)
    ours, theirs = by_gates(**leaves), by_reference(**leaves)
    upstream = [torch.randn_like(part) for part in theirs]
    tolerance = 1e-12 if dtype is torch.float64 else 2e-6
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    gradients = [
        torch.autograd.grad(parts, list(leaves.values()), upstream) for parts in (ours, theirs)
    ]
    for name, one, other in zip(leaves, *gradients, strict=True):
        torch.testing.assert_close(
            one, other, rtol=tolerance, atol=tolerance * 10, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("parts", [(0,), (1,), (0, 1)])
def test_lstm_gate_gradients_are_correct_for_partial_use(parts):
    gates = torch.randn(3, 4 * H, dtype=torch.float64, requires_grad=True)
    c = torch.randn(3, H, dtype=torch.float64, requires_grad=True)
    chosen = lambda gates, c: tuple(lstm_gates(gates, c)[part] for part in parts)  # noqa: E731
    assert torch.autograd.gradcheck(chosen, (gates, c))


def test_gru_gates_have_the_correct_derivative():
    leaves = [
        torch.randn(3, width, dtype=torch.float64, requires_grad=True)
        for width in (3 * H, 3 * H, H)
    ]
    assert torch.autograd.gradcheck(gru_gates, leaves)


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_saturated_gates_stay_finite(scale):
    gates = (scale * torch.randn(3, 4 * H)).requires_grad_()
    c = (scale * torch.randn(3, H)).requires_grad_()
    h, new_c = lstm_gates(gates, c)
    (h.sum() + new_c.sum()).backward()
    from_x = (scale * torch.randn(3, 3 * H)).requires_grad_()
    state = gru_gates(from_x, scale * torch.randn(3, 3 * H), torch.randn(3, H))
    state.sum().backward()
    for tensor in (h, new_c, gates.grad, c.grad, state, from_x.grad):
        assert tensor.isfinite().all()


def test_a_backward_pass_leaves_what_it_saved_untouched():
    gates = torch.randn(3, 4 * H, requires_grad=True)
    c = torch.randn(3, H, requires_grad=True)
    h, new_c = lstm_gates(gates, c)
    total = h.sum() + new_c.square().sum()
    first = torch.autograd.grad(total, (gates, c), retain_graph=True)
    second = torch.autograd.grad(total, (gates, c))
    assert all(map(torch.equal, first, second))


def test_gates_read_slices_of_a_larger_product():
    wide = torch.randn(5, 3, 4 * H + 2, dtype=torch.float64)
    c = torch.randn(3, H, dtype=torch.float64)
    slice_ = wide[2, :, 1 : 1 + 4 * H]
    for one, other in zip(lstm_gates(slice_, c), lstm_gates(slice_.clone(), c), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
