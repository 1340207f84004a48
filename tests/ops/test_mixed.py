"""Layers in mixed precision: the definition, and the kernels against it with all instructions."""

from __future__ import annotations

from dataclasses import replace

import mixed_sets
import pytest
import torch
from mixed_sets import SETS, UNIT, distance, needs_sets
from recurrence_cases import LENGTHS, TORCH_KINDS, Case, collect, make_case, run_ours
from torch import Tensor

from unrolled import nn, ops
from unrolled.kernels import kernels
from unrolled.ops import bfloat16, mixed
from unrolled.ops.bfloat16 import rounded

# T, B, D, H: one of everything; partial and whole tiles of 16 rows, blocks of 32 numbers and chunks.
SIZES = [(1, 1, 1, 1), (3, 15, 17, 33), (2, 33, 32, 16), (5, 17, 33, 15), (12, 100, 5, 48)]


def defined(case: Case, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """The results of the definition, with sums in this type."""
    case = case.to(dtype)
    y, state = bfloat16.unroll(
        case.kind, case.x, case.lengths, case.state, case.weights, case.reverse
    )
    return collect(case, y.to(dtype), state)


def computed(case: Case) -> dict[str, Tensor]:
    """The results of the kernels under autocast."""
    with torch.autocast("cpu", torch.bfloat16), ops.using("native"):
        y, state = ops.unroll(
            case.kind, case.x, case.lengths, case.state, case.weights, case.reverse
        )
    assert y.dtype is torch.bfloat16
    assert all(part.dtype is torch.float32 for part in state)
    return collect(case, y.float(), state)


def of_size(kind: ops.Kind, size: tuple[int, ...], ragged: bool = False) -> Case:
    n_steps, n_rows, input_size, hidden_size = size
    lengths = [row * n_steps // n_rows for row in range(1, n_rows + 1)] if ragged else None
    case = make_case(
        kind, lengths or [n_steps] * n_rows, n_steps, input_size, hidden_size,
        dtype=torch.float32, weight_scale=0.8 * hidden_size**-0.5,
    )  # fmt: skip
    return case if ragged else replace(case, lengths=None)


def allowed(size: tuple[int, ...]) -> float:
    """The distance that another order of summation may cause over all steps.

    A gradient has passed 2 T + 1 roundings.
    """
    n_steps, n_rows, input_size, hidden_size = size
    return mixed_sets.allowed(max(input_size + hidden_size, n_rows), 2 * n_steps + 1)


def test_rounding_is_to_nearest_and_to_even() -> None:
    numbers = torch.tensor([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -(1 + 2.0**-9)])
    expected = torch.tensor([1.0, 1 + 2.0**-6, 1 + 2.0**-7, -1.0])
    assert torch.equal(rounded(numbers), expected)
    assert torch.equal(rounded(numbers.double()), expected.double())


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_the_definition_is_the_reference_for_numbers_that_rounding_keeps(kind: ops.Kind) -> None:
    case = make_case(kind, LENGTHS["ragged"], n_steps=7, dtype=torch.float64)
    short = replace(
        case,
        x=rounded(case.x.detach()).requires_grad_(),
        state=tuple(torch.zeros_like(part).requires_grad_() for part in case.state),
        weights=ops.Weights(*(rounded(w.detach()).requires_grad_() for w in case.weights.tensors)),
    )
    one_step = replace(short, x=short.x[:1].detach().requires_grad_(), lengths=torch.ones(5).long())
    given = defined(one_step)
    with ops.using("reference"):
        y, state = ops.unroll(kind, one_step.x, one_step.lengths, one_step.state, one_step.weights)
    for part, exact in zip(state, "hc", strict=False):
        torch.testing.assert_close(given[f"{exact}_n"], part.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(given["y"], y.detach(), rtol=2.0**-8, atol=0)


def integers(size: tuple[int, ...], ragged: bool) -> Case:
    """A ReLU layer whose numbers are integers of up to 12 bits: rounding matters, but no sum does."""
    case = of_size("rnn_relu", size, ragged)
    generator = torch.Generator().manual_seed(3)

    def drawn(like: Tensor, most: int) -> Tensor:
        values = torch.randint(-most, most + 1, like.shape, generator=generator)
        return values.float().requires_grad_()

    w_ih, w_hh, b_ih, b_hh = case.weights.tensors
    sparse = drawn(w_hh, 1).detach() * (
        torch.rand(w_hh.shape, generator=generator) < 2 / w_hh.shape[1]
    )
    weights = ops.Weights(drawn(w_ih, 2), sparse.requires_grad_(), drawn(b_ih, 300), drawn(b_hh, 9))
    return replace(case, x=drawn(case.x, 3), state=(drawn(case.state[0], 600),), weights=weights)


def with_integer_loss(case: Case, y: Tensor, h: Tensor) -> dict[str, Tensor]:
    """Results and gradients for a loss whose factors are integers that bfloat16 holds."""
    generator = torch.Generator().manual_seed(4)
    loss = sum(
        (part * torch.randint(-200, 201, part.shape, generator=generator)).sum() for part in (y, h)
    )
    gradients = torch.autograd.grad(loss, list(case.leaves.values()))
    return {"y": y, "h_n": h} | dict(zip(case.leaves, gradients, strict=True))


@needs_sets
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("size", SIZES[:4])
def test_integers_come_out_equal_to_the_last_bit(
    mixed_set: str, size: tuple[int, ...], ragged: bool
) -> None:
    case = integers(size, ragged)
    found = []
    for dtype in (torch.float64, torch.float32):
        own = case.to(dtype)
        y, (h,) = bfloat16.unroll("rnn_relu", own.x, own.lengths, own.state, own.weights)
        found.append(with_integer_loss(own, y.to(dtype), h))
    with torch.autocast("cpu", torch.bfloat16), ops.using("native"):
        y, (h,) = ops.unroll("rnn_relu", case.x, case.lengths, case.state, case.weights)
    given = with_integer_loss(case, y.float(), h)
    if size[1] > 1:
        assert (found[0]["h_n"] != rounded(found[0]["h_n"])).any()  # so rounding matters
    for name, exact in found[0].items():
        assert torch.equal(found[1][name].double(), exact), name  # so the order of sums does not
        assert torch.equal(given[name].double(), exact), name


@needs_sets
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_one_step_has_the_error_of_sums_in_float32(
    mixed_set: str, kind: ops.Kind, size: tuple[int, ...]
) -> None:
    case = of_size(kind, (1, *size[1:]))
    exact, given = defined(case), computed(case)
    x, h = rounded(case.x[0].detach()).abs(), rounded(case.state[0].detach()).abs()
    w_ih, w_hh, b_ih, b_hh = (w.detach().abs() for w in case.weights.tensors)
    largest = float((x @ w_ih.T + h @ w_hh.T + b_ih + b_hh).max())
    # Every summand is rounded once at most on each addition; no cell amplifies an error of its sums by
    # more than 1 + |U h + b'| / 4, and its own operations add a few roundings of numbers below 2.
    bound = (size[2] + size[3] + 4) * UNIT * largest * (1 + largest / 4) + 16 * UNIT * 2
    for name in ("h_n", "c_n")[: len(case.state)]:
        assert float((given[name].double() - exact[name]).abs().max()) <= bound, name
    assert torch.equal(given["y"][0], rounded(given["h_n"]))


@needs_sets
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_the_kernels_compute_the_definition(
    mixed_set: str, kind: ops.Kind, size: tuple[int, ...], ragged: bool
) -> None:
    case = replace(of_size(kind, size, ragged), reverse=ragged)
    exact, given = defined(case), computed(case)
    for name, part in exact.items():
        assert distance(given[name], part) <= allowed(size), name


@pytest.mark.parametrize("size", SIZES[1:4])
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_the_tolerance_is_below_what_rounding_changes(
    kind: ops.Kind, size: tuple[int, ...]
) -> None:
    case = of_size(kind, size)
    exact = defined(case)
    with ops.using("reference"):
        unrounded = run_ours(case.to(torch.float64))
    for name, part in exact.items():
        assert distance(unrounded[name], part) > allowed(size), name


@needs_sets
@pytest.mark.parametrize("lengths", ["ragged", "all shorter", "all empty", "one empty row"])
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_rows_may_be_empty_and_padding_is_not_read(
    mixed_set: str, kind: ops.Kind, lengths: str
) -> None:
    case = make_case(kind, LENGTHS[lengths], dtype=torch.float32)
    if case.lengths is not None:
        case = case.with_padding(float("nan"))
    exact, given = defined(case), computed(case)
    for name, part in exact.items():
        assert distance(given[name], part) <= allowed((7, 5, 3, 11)), name


@needs_sets
@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_modules_use_the_kernels_under_autocast(mixed_set: str, cell: str) -> None:
    torch.manual_seed(1)
    module = getattr(nn, cell)(5, 17, 2, bidirectional=True)
    x, lengths = torch.randn(9, 3, 5, requires_grad=True), torch.tensor([9, 4, 0])
    with torch.autocast("cpu", torch.bfloat16), ops.using("native"):
        y, _ = module(x, lengths=lengths)
    y.float().square().sum().backward()
    with ops.using("reference"):
        exact, _ = module(x, lengths=lengths)
    assert y.dtype is torch.bfloat16
    assert distance(y.detach(), exact.detach().double()) < 2.0**-6
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@needs_sets
def test_results_do_not_depend_on_the_number_of_threads(mixed_set: str) -> None:
    before = torch.get_num_threads()
    try:
        for size in ((7, 3, 65, 70), (7, 37, 65, 70)):  # columns are split, then rows
            case = of_size("gru", size, ragged=True)
            runs = []
            for n_threads in (1, 3):
                torch.set_num_threads(n_threads)
                runs.append(computed(case))
            for name, part in runs[0].items():
                assert distance(runs[1][name], part.double()) <= 4 * UNIT, name
    finally:
        torch.set_num_threads(before)


@needs_sets
def test_second_derivatives_follow_the_definition(mixed_set: str) -> None:
    case = make_case("gru", LENGTHS["ragged"], dtype=torch.float32)
    found = []
    for run in (ops.unroll, bfloat16.unroll):
        with torch.autocast("cpu", torch.bfloat16, enabled=run is ops.unroll):
            given = (case.kind, case.x, case.lengths, case.state, case.weights)
            if run is ops.unroll:
                with ops.using("native"):
                    y, _ = run(*given)
            else:
                y, _ = run(*given)
        (d_w,) = torch.autograd.grad(y.float().square().sum(), case.weights.w_hh, create_graph=True)
        found.append(torch.autograd.grad(d_w.square().sum(), case.weights.w_hh)[0])
    assert distance(found[0], found[1].double()) <= 2.0**-6


def test_what_the_kernels_cannot_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(7, 5, 3)
    if kernels is None:
        pytest.skip("there are no kernels")
    with torch.autocast("cpu", torch.float16):
        assert mixed.why_not(x, None, None) == (
            "autocast asks for float16, but the kernels are bfloat16"
        )
    with torch.autocast("cpu", torch.bfloat16):
        if SETS:
            assert mixed.why_not(x.double(), None, None) == (
                "the kernels read float32 or bfloat16 here, but this is float64"
            )
            half = ops.Weights(torch.zeros(7, 3).bfloat16(), torch.zeros(7, 7).bfloat16())
            assert mixed.why_not(x, None, half) == (
                "the kernels read float32 here, but this is bfloat16"
            )
        else:
            assert mixed.why_not(x, None, None) == mixed.why_not_here()
            assert ops.explain("gru", x).chosen != "native"
