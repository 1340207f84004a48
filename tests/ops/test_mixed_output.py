"""The output layer with its loss, and linear products, in mixed precision: definitions and kernels."""

from __future__ import annotations

import math

import pytest
import torch
from mixed_sets import UNIT, allowed, distance, needs_sets
from torch import Tensor

from unrolled.ops import bfloat16, cross_entropy, mixed, mixed_linear
from unrolled.ops.cross_entropy import softmax_cross_entropy
from unrolled.ops.linear import linear, linear_in_float32

# Rows, width, words: one of each; partial vectors, tiles and blocks; several chunks, then blocks of rows.
SIZES = [(1, 1, 2), (7, 3, 65), (33, 32, 64), (131, 67, 257), (40, 17, 1031), (241, 1100, 67)]


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "LEAST_MIXED_WORDS", 0)
    monkeypatch.setattr(mixed_linear, "LEAST_WORK", 0)


def make(M: int, H: int, V: int, bias: bool = True) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(M + H + V)
    leaves = [torch.randn(M, H), torch.randn(V, H) / math.sqrt(H)]
    if bias:
        leaves.append(torch.randn(V))
    return leaves, torch.randint(V, (M,))


def defined(leaves: list[Tensor], targets: Tensor, smoothing: float) -> list[Tensor]:
    """Loss and gradients of the definition, with sums in float64."""
    given = [leaf.detach().double().requires_grad_() for leaf in leaves]
    hidden, weight, bias = (*given, None)[:3]
    total = bfloat16.softmax_cross_entropy(hidden, weight, bias, targets, smoothing)
    return [total.detach(), *torch.autograd.grad(total, given)]


def computed(leaves: list[Tensor], targets: Tensor, smoothing: float) -> list[Tensor]:
    """The same by the kernels under autocast."""
    given = [leaf.detach().requires_grad_() for leaf in leaves]
    hidden, weight, bias = (*given, None)[:3]
    with torch.autocast("cpu", torch.bfloat16):
        assert cross_entropy.why_not_mixed(hidden, weight, bias) is None
        total = softmax_cross_entropy(hidden, weight, bias, targets, smoothing)
    assert total.dtype is torch.float32
    return [total.detach(), *torch.autograd.grad(total, given)]


@needs_sets
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("smoothing", "bias"), [(0.0, True), (0.1, True), (0.1, False)])
def test_the_kernels_compute_the_definition_of_the_loss(
    mixed_set: str, size: tuple[int, int, int], smoothing: float, bias: bool
) -> None:
    leaves, targets = make(*size, bias=bias)
    exact, given = defined(leaves, targets, smoothing), computed(leaves, targets, smoothing)
    # A logit of size l has an error of H · 2⁻²⁴ · l, and a probability that relative error.
    error = (size[1] + 16) * UNIT * 4
    assert abs(float(given[0] - exact[0])) <= error * size[0] * (1 + math.log(size[2]))
    for one, right in zip(given[1:3], exact[1:3], strict=True):
        assert distance(one, right) <= allowed(size[1] + 16, 1)
    if bias:
        assert distance(given[3], exact[3]) <= 4 * error


@pytest.mark.parametrize("size", SIZES[1:])
def test_the_tolerance_is_below_what_rounding_the_gradients_changes(
    size: tuple[int, int, int],
) -> None:
    (hidden, weight, bias), targets = make(*size)
    leaves = [bfloat16.rounded(hidden), bfloat16.rounded(weight), bias]
    given = [leaf.double().requires_grad_() for leaf in leaves]
    logits = given[0] @ given[1].t() + given[2]
    total = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    exact = defined(leaves, targets, 0.0)
    torch.testing.assert_close(total.detach(), exact[0], rtol=1e-12, atol=0)
    for one, right in zip(torch.autograd.grad(total, given[:2]), exact[1:3], strict=True):
        assert distance(one, right) > allowed(size[1] + 16, 1)


@needs_sets
@pytest.mark.parametrize("size", SIZES[2:5])
def test_the_loss_is_within_the_error_of_bfloat16(
    mixed_set: str, size: tuple[int, int, int]
) -> None:
    leaves, targets = make(*size)
    given = [leaf.double().requires_grad_() for leaf in leaves]
    logits = given[0] @ given[1].t() + given[2]
    exact = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    ours = computed(leaves, targets, 0.0)
    for one, right in zip(ours, [exact.detach(), *torch.autograd.grad(exact, given)], strict=True):
        assert distance(one, right) <= 2.0**-7


@needs_sets
def test_the_loss_without_gradients_and_of_bfloat16_is_the_same(mixed_set: str) -> None:
    (hidden, weight, bias), targets = make(131, 67, 600)
    loss = computed([hidden, weight, bias], targets, 0.1)[0]
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        for own in (hidden, hidden.bfloat16()):
            assert torch.equal(softmax_cross_entropy(own, weight, bias, targets, 0.1), loss)
    half = hidden.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        (d_half,) = torch.autograd.grad(softmax_cross_entropy(half, weight, bias, targets), half)
    assert d_half.dtype is torch.bfloat16


@needs_sets
def test_the_number_of_threads_changes_nothing_but_rounding(mixed_set: str) -> None:
    leaves, targets = make(75, 67, 301)
    x, weight = torch.randn(75, 67), torch.randn(301, 67)
    before, runs = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 5):
            torch.set_num_threads(n_threads)
            runs.append(computed(leaves, targets, 0.1))
            runs[-1] += linear_and_gradients(x, weight, None, torch.ones(75, 301))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        for one, two in zip(runs[0], run, strict=True):
            assert distance(one, two.double()) <= allowed(301, 1)


@needs_sets
def test_impossible_words_are_ignored_and_non_finite_numbers_are_not(mixed_set: str) -> None:
    (hidden, weight, bias), _ = make(9, 5, 600)
    bias[64:] = -torch.inf  # whole chunks of words, too
    targets = torch.arange(9)
    given = computed([hidden, weight, bias], targets, 0.0)
    exact = defined([hidden, weight[:64], bias[:64]], targets, 0.0)
    for one, right in zip(given, exact, strict=True):
        assert distance(one[:64] if one.dim() and len(one) == 600 else one, right) <= allowed(80, 1)
    assert given[2][64:].abs().max() < 1e-30
    for where in range(3):
        leaves, targets = make(9, 5, 200)
        leaves[where].view(-1)[3] = math.nan
        assert not computed(leaves, targets, 0.0)[0].isfinite()


@needs_sets
def test_second_derivatives_of_the_loss_follow_the_definition(mixed_set: str) -> None:
    leaves, targets = make(7, 3, 65)
    found = []
    for dtype in (torch.float32, torch.float64):
        hidden, weight, bias = (leaf.detach().to(dtype).requires_grad_() for leaf in leaves)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.float32):
            loss = (
                softmax_cross_entropy if dtype is torch.float32 else bfloat16.softmax_cross_entropy
            )
            total = loss(hidden, weight, bias, targets)
        (d_bias,) = torch.autograd.grad(total, bias, create_graph=True)
        found.append(torch.autograd.grad(d_bias.square().sum(), weight)[0])
    assert distance(*found) <= allowed(80, 2)


def linear_and_gradients(x: Tensor, w: Tensor, b: Tensor | None, dy: Tensor) -> list[Tensor]:
    leaves = [leaf.detach().requires_grad_() for leaf in (x, w, b) if leaf is not None]
    with torch.autocast("cpu", torch.bfloat16):
        y = linear_in_float32(leaves[0], leaves[1], (*leaves, None)[2])
        assert torch.equal(linear(leaves[0], leaves[1], (*leaves, None)[2]), y.bfloat16())
    assert y.dtype is torch.float32
    return [y.detach(), *torch.autograd.grad(y, leaves, dy)]


@needs_sets
@pytest.mark.parametrize(
    "size", [(1, 1, 1), (3, 17, 33), (33, 32, 64), (1027, 5, 2), (70, 65, 300)]
)
def test_linear_products_of_integers_are_exact(mixed_set: str, size: tuple[int, int, int]) -> None:
    M, K, N = size
    drawn = torch.Generator().manual_seed(M)

    def integers(*shape: int) -> Tensor:
        return torch.randint(-300, 301, shape, generator=drawn).float()

    # The rows of a slice of columns are apart in memory.
    x, w, b, dy = integers(M, K), integers(N, K + 7)[:, :K], integers(N), integers(M, N)
    for bias in (b, None):
        given = linear_and_gradients(x, w, bias, dy)
        leaves = [t.double().requires_grad_() for t in (x, w, bias) if t is not None]
        y = bfloat16.linear(leaves[0], leaves[1], (*leaves, None)[2])
        for one, right in zip(
            given, [y.detach(), *torch.autograd.grad(y, leaves, dy.double())], strict=True
        ):
            assert torch.equal(one.double(), right)


@needs_sets
def test_second_derivatives_of_linear_products_follow_the_definition(mixed_set: str) -> None:
    x, w = torch.randn(5, 3, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = linear_in_float32(x, w, None)
    (d_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (given,) = torch.autograd.grad(d_x.square().sum(), w)
    (d_exact,) = torch.autograd.grad(bfloat16.linear(x, w).square().sum(), x, create_graph=True)
    (exact,) = torch.autograd.grad(d_exact.square().sum(), w)
    assert distance(given, exact.double()) <= allowed(16, 3)


def test_what_the_kernels_cannot_run_is_said() -> None:
    x, w = torch.zeros(5, 3), torch.zeros(7, 3)
    if mixed.kernels is not None:
        assert mixed_linear.why_not(x, w, None) == "autocast is off"
    with torch.autocast("cpu", torch.bfloat16):
        assert mixed_linear.why_not(x, w.double(), None) is not None
        if mixed.kernels is not None:
            assert cross_entropy.why_not_mixed(x[:0], w, None) == "there is nothing to compute"
            expected = mixed.why_not_here() or mixed.not_worth_it()
            assert mixed_linear.why_not(x, w, None) == expected
