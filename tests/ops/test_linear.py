from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unrolled.ops import linear as module
from unrolled.ops.linear import StepLinear, linear, product, why_not_onednn


def relative_error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    ours, exact = ours.detach().double(), exact.detach()
    return float((ours - exact).abs().max() / exact.abs().max().clamp_min(1e-300))


def assert_as_good_as_torch(ours, torchs, exact):
    """In float32: at most twice torch's distance from the float64 result, with a floor of 1e-6."""
    assert ours.shape == exact.shape
    assert ours.dtype is torch.float32
    if exact.numel():
        assert relative_error(ours, exact) <= max(2 * relative_error(torchs, exact), 1e-6)


def strided(kind: str, rows: int, columns: int) -> torch.Tensor:
    """A `[rows, columns]` matrix with one of several memory layouts."""
    if kind == "contiguous":
        return torch.randn(rows, columns)
    if kind == "transposed":
        return torch.randn(columns, rows).t()
    if kind == "column slice":
        return torch.randn(rows, columns + 7)[:, 5 : 5 + columns]
    if kind == "every other row":
        return torch.randn(2 * rows, columns)[::2]
    if kind == "every other column":
        return torch.randn(rows, 2 * columns)[:, ::2]
    if kind == "one row repeated":
        return torch.randn(1, columns).expand(rows, columns)
    assert kind == "one number repeated"
    return torch.randn(1, 1).expand(rows, columns)


STRIDES = (
    "contiguous",
    "transposed",
    "column slice",
    "every other row",
    "every other column",
    "one row repeated",
    "one number repeated",
)


@pytest.mark.parametrize("of_a", STRIDES)
@pytest.mark.parametrize("of_b", STRIDES)
def test_product_takes_any_strides(of_a, of_b):
    a, b = strided(of_a, 13, 11), strided(of_b, 17, 11)
    before = a.clone(), b.clone()
    exact = a.double() @ b.double().t()
    assert_as_good_as_torch(product(a, b), a @ b.t(), exact)
    torch.testing.assert_close((a, b), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(1, 1, 1), (1, 7, 3), (5, 1, 3), (67, 131, 257), (0, 5, 3), (5, 0, 3), (5, 3, 0)],
)
def test_product_of_any_size(m, k, n):
    a, b = torch.randn(m, k), torch.randn(n, k)
    assert_as_good_as_torch(product(a, b), a @ b.t(), a.double() @ b.double().t())


def test_product_never_returns_memory_of_an_input():
    a, b = torch.randn(3, 1), torch.ones(1, 1)
    result = product(a, b)
    result.add_(1)
    assert not torch.equal(result, a)


def run_linear(function, x, weight, bias, dy):
    """(y, dx, dweight, dbias) of a map."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    y = function(*leaves)
    return y, *torch.autograd.grad(y, leaves, dy)


@pytest.mark.parametrize("batch", [(), (1,), (7,), (5, 3), (2, 1, 3), (0,), (3, 0)])
def test_linear_is_torchs_in_value_and_every_gradient(batch):
    K, N = 13, 11
    x, weight, bias, dy = (
        torch.randn(*batch, K),
        torch.randn(N, K),
        torch.randn(N),
        torch.randn(*batch, N),
    )
    ours = run_linear(linear, x, weight, bias, dy)
    torchs = run_linear(F.linear, x, weight, bias, dy)
    exact = run_linear(F.linear, x.double(), weight.double(), bias.double(), dy.double())
    for triple in zip(ours, torchs, exact, strict=True):
        assert_as_good_as_torch(*triple)


def test_a_summed_loss_whose_gradient_has_no_strides():
    x, weight = torch.randn(7, 5), torch.randn(3, 5, requires_grad=True)
    linear(x.t().contiguous().t(), weight, torch.zeros(3)).sum().backward()
    exact = x.double().sum(0).expand(3, 5)
    assert relative_error(weight.grad, exact) < 1e-6


def test_only_requested_gradients_are_computed():
    x, weight, bias = torch.randn(5, 3), torch.randn(7, 3), torch.randn(7, requires_grad=True)
    linear(x, weight, bias).sum().backward()
    assert x.grad is None
    assert weight.grad is None
    assert bias.grad.tolist() == [5.0] * 7


def test_float64_has_every_derivative():
    x, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 5), (7, 5), (7,))
    )
    assert torch.autograd.gradcheck(linear, (x, weight, bias))
    assert torch.autograd.gradgradcheck(linear, (x, weight, bias))


def test_nothing_is_recorded_without_gradients():
    x, weight = torch.randn(5, 3), torch.randn(7, 3, requires_grad=True)
    with torch.no_grad():
        assert not linear(x, weight).requires_grad
        assert not StepLinear(weight)(x).requires_grad
    with torch.inference_mode():
        assert linear(x, weight).is_inference()
        assert StepLinear(weight)(x).is_inference()


def test_autocast_is_respected():
    x, weight = torch.randn(5, 3), torch.randn(7, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype is torch.bfloat16
        assert StepLinear(weight.requires_grad_())(x).dtype is torch.bfloat16


def test_a_machine_without_the_fast_routine_computes_the_same(monkeypatch):
    x, weight, bias, dy = torch.randn(5, 3), torch.randn(7, 3), torch.randn(7), torch.randn(5, 7)
    fast = run_linear(linear, x, weight, bias, dy)
    monkeypatch.setattr(module, "_onednn_linear", lambda: None)
    slow = run_linear(linear, x, weight, bias, dy)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(product(x, weight), x @ weight.t())


def test_why_not_onednn_says_why(monkeypatch):
    monkeypatch.setattr(module, "_onednn_linear", lambda: None)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert why_not_onednn() == "this PyTorch does not offer oneDNN's product as expected"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert why_not_onednn() == "this PyTorch was built without oneDNN"


def test_the_routine_does_not_depend_on_the_default_dtype():
    expected = why_not_onednn()
    module._onednn_linear.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert why_not_onednn() == expected
    finally:
        torch.set_default_dtype(torch.float32)
        module._onednn_linear.cache_clear()


# A loop as a decoder runs it: the output is the next state, and every step adds to the loss.


def loop(step, weight, h, inputs):
    step = step(weight)
    total = h.new_zeros(())
    for x in inputs:
        h = torch.tanh(step(torch.cat([x, h], dim=1)))
        total = total + (h * torch.arange(1, h.shape[1] + 1)).sum()
    return total


def plain(weight):
    return lambda x: x @ weight.t()


def problem(B: int, n_steps: int, dtype=torch.float32):
    H, D = 7, 5
    # Small enough that the loop does not amplify rounding.
    weight = (0.2 * torch.randn(H, D + H, dtype=dtype)).requires_grad_()
    h = torch.randn(B, H, dtype=dtype, requires_grad=True)
    inputs = torch.randn(n_steps, B, D, dtype=dtype, requires_grad=True)
    return weight, h, inputs


@pytest.mark.parametrize("n_steps", [1, 2, 13])
@pytest.mark.parametrize("B", [1, 3])
def test_steps_have_the_gradient_of_plain_autograd(B, n_steps):
    leaves = problem(B, n_steps)
    exact_leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    exact = torch.autograd.grad(loop(plain, *exact_leaves), exact_leaves)
    torchs = torch.autograd.grad(loop(plain, *leaves), leaves)
    ours = torch.autograd.grad(loop(StepLinear, *leaves), leaves)
    for triple in zip(ours, torchs, exact, strict=True):
        assert_as_good_as_torch(*triple)


def test_steps_in_float64_pass_gradcheck():
    assert torch.autograd.gradcheck(
        lambda *leaves: loop(StepLinear, *leaves), problem(2, 3, torch.float64)
    )


def test_a_second_backward_pass_gives_the_same_gradient_again():
    leaves = problem(3, 5)
    total = loop(StepLinear, *leaves)
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    second = torch.autograd.grad(total, leaves, retain_graph=True)
    total.backward()
    for one, two, leaf in zip(first, second, leaves, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, leaf.grad)


def test_an_input_only_pass_does_not_affect_the_next():
    weight, h, inputs = problem(3, 5)
    total = loop(StepLinear, weight, h, inputs)
    (expected,) = torch.autograd.grad(loop(plain, weight, h, inputs), weight)
    torch.autograd.grad(total, h, retain_graph=True)
    torch.autograd.grad(total, inputs, retain_graph=True)
    (gradient,) = torch.autograd.grad(total, weight)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-4)


def test_a_pass_over_some_of_the_steps_counts_only_those():
    weight = torch.randn(3, 5, requires_grad=True)
    first, second = torch.randn(2, 5), torch.randn(2, 5)
    step = StepLinear(weight)
    loss_1, loss_2 = step(first).sum(), step(second).sum()
    loss_2.backward()
    torch.testing.assert_close(weight.grad, second.sum(0).expand(3, 5))
    loss_1.backward()
    torch.testing.assert_close(weight.grad, (first + second).sum(0).expand(3, 5))


def test_gradients_accumulate_over_passes():
    leaves = problem(3, 5)
    for _ in range(2):
        loop(StepLinear, *leaves).backward()
    (once,) = torch.autograd.grad(loop(plain, *leaves), leaves[:1])
    torch.testing.assert_close(leaves[0].grad, 2 * once, rtol=1e-5, atol=1e-4)


def test_an_unused_step_object_has_no_effect():
    weight, x = torch.randn(3, 5, requires_grad=True), torch.randn(2, 5)
    StepLinear(weight)
    linear(x, weight).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(3, 5))


def test_steps_whose_inputs_need_no_gradient():
    weight, x = torch.randn(3, 5, requires_grad=True), torch.randn(2, 5)
    StepLinear(weight)(x).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(3, 5))


def test_steps_reach_a_weight_that_is_itself_computed():
    left, right = torch.randn(3, 2, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    x = torch.randn(2, 7)
    (StepLinear(torch.cat([left, right], dim=1))(x)).sum().backward()
    torch.testing.assert_close(left.grad, x.sum(0)[:2].expand(3, 2))
    torch.testing.assert_close(right.grad, x.sum(0)[2:].expand(3, 5))


def test_a_frozen_weight_still_passes_gradients_to_the_inputs():
    weight, x = torch.randn(3, 5), torch.randn(2, 5, requires_grad=True)
    StepLinear(weight)(x).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(2, 5))


def test_a_weight_changed_before_backward_is_detected():
    weight, x = torch.randn(3, 5, requires_grad=True), torch.randn(2, 5, requires_grad=True)
    y = StepLinear(weight)(x)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
