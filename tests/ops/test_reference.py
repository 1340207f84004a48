"""The definition compared with plain arithmetic and numerical derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from recurrence_cases import TORCH_KINDS, make_case, run_ours

from unrolled import ops
from unrolled.ops.cells import CELLS

KINDS = (*TORCH_KINDS, "rnn_sigmoid")


def test_sigmoid_step_is_the_lectures_equation() -> None:
    case = make_case("rnn_sigmoid", hidden_size=2)
    (after,) = CELLS["rnn_sigmoid"].step(case.x[0], case.state, case.weights)
    x, h = case.x[0, 0].tolist(), case.state[0][0].tolist()
    w_ih, w_hh, b_ih, b_hh = (w.tolist() for w in case.weights.tensors)
    for unit in range(2):
        total = b_ih[unit] + b_hh[unit]
        total += sum(w_ih[unit][d] * x[d] for d in range(3))
        total += sum(w_hh[unit][j] * h[j] for j in range(2))
        assert after[0, unit].item() == pytest.approx(1 / (1 + math.exp(-total)), abs=1e-12)


def test_the_slope_of_sigmoid_is_at_most_a_quarter() -> None:
    total = torch.linspace(-4, 4, 81, dtype=torch.float64, requires_grad=True)
    weights = ops.Weights(torch.ones(1, 1).double(), torch.zeros(1, 1).double())
    (h,) = CELLS["rnn_sigmoid"].step(total.unsqueeze(1), (torch.zeros(81, 1).double(),), weights)
    (slope,) = torch.autograd.grad(h.sum(), total)
    assert slope.max().item() == pytest.approx(0.25)
    assert slope.argmax().item() == 40


@pytest.mark.parametrize("kind", KINDS)
def test_unroll_repeats_the_step(kind: ops.Kind) -> None:
    case = make_case(kind)
    state = case.state
    outputs = []
    for x_BD in case.x:
        state = CELLS[kind].step(x_BD, state, case.weights)
        outputs.append(state[0])
    with ops.using("reference"):
        y, end = ops.unroll(kind, case.x, None, case.state, case.weights)
    assert torch.equal(y, torch.stack(outputs))
    assert all(torch.equal(a, b) for a, b in zip(end, state, strict=True))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_equal_numerical_ones(kind: ops.Kind, reverse: bool) -> None:
    case = make_case(kind, [3, 0, 2], n_steps=3, input_size=2, hidden_size=2, reverse=reverse)
    leaves = list(case.leaves.values())
    n_states = len(case.state)

    def run(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        state, weights = values[1 : 1 + n_states], ops.Weights(*values[1 + n_states :])
        with ops.using("reference"):
            y, end = ops.unroll(kind, values[0], case.lengths, tuple(state), weights, reverse)
        return y, *end

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


def test_relu_does_not_saturate() -> None:
    case = make_case("rnn_relu", [7, 7, 7, 7, 7])
    with ops.using("reference"):
        assert run_ours(case)["y"].max() > 1
