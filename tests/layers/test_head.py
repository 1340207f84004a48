from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unrolled.layers import head as module
from unrolled.layers.head import SoftmaxHead

H, V = 7, 13


def make(dtype=torch.float64) -> SoftmaxHead:
    head = SoftmaxHead(H, V).to(dtype)
    with torch.no_grad():
        head.bias.normal_()
    return head


def loss_and_gradients(total, leaves):
    return total.detach(), *torch.autograd.grad(total, leaves)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("n_rows", [1, 4, 5, 6, 11])
@pytest.mark.parametrize("rows_at_once", [1, 5, 512])
def test_loss_is_torchs_cross_entropy_over_any_blocks(monkeypatch, rows_at_once, n_rows, smoothing):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows_at_once)
    head = make()
    hidden = torch.randn(n_rows, H, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(V, (n_rows,))
    leaves = [hidden, head.weight, head.bias]
    total, count = head.loss(hidden, targets, smoothing)
    exact = F.cross_entropy(
        hidden @ head.weight.t() + head.bias, targets, reduction="sum", label_smoothing=smoothing
    )
    assert count == n_rows
    for one, other in zip(
        loss_and_gradients(total, leaves), loss_and_gradients(exact, leaves), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_has_the_derivative_of_its_values(smoothing):
    head, targets = make(), torch.tensor([0, 12, 5])
    hidden = torch.randn(3, H, dtype=torch.float64, requires_grad=True)
    weight, bias = head.weight.detach().requires_grad_(), head.bias.detach().requires_grad_()

    def total(hidden, weight, bias):
        return module._CrossEntropy.apply(hidden, weight, bias, targets, smoothing, True) * 3

    assert torch.autograd.gradcheck(total, (hidden, weight, bias))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_float32_is_as_exact_as_torchs(smoothing):
    head = SoftmaxHead(67, 257)
    hidden = torch.randn(611, 67, requires_grad=True)
    targets = torch.randint(257, (611,))
    leaves = [hidden, head.weight, head.bias]
    ours = loss_and_gradients(head.loss(hidden, targets, smoothing)[0], leaves)

    def torchs(leaves):
        total = F.cross_entropy(
            F.linear(*leaves), targets, reduction="sum", label_smoothing=smoothing
        )
        return loss_and_gradients(total, leaves)

    exact = torchs([leaf.detach().double().requires_grad_() for leaf in leaves])
    for one, other, true in zip(ours, torchs(leaves), exact, strict=True):
        size = true.abs().max()
        error, allowed = ((part.double() - true).abs().max() / size for part in (one, other))
        # Over 257 words oneDNN and MKL sum in different orders, and the terms nearly cancel.
        assert error <= max(2 * allowed, 2e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_extreme_logits_give_a_finite_and_right_loss(smoothing):
    head = SoftmaxHead(1, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1e4], [-1e4], [0.0]]))
    hidden = torch.tensor([[1.0], [1.0], [-1.0], [0.0]], requires_grad=True)
    targets = torch.tensor([0, 1, 2, 2])
    total, _ = head.loss(hidden, targets, smoothing)
    total.backward()
    exact = F.cross_entropy(
        head.logits(hidden).double(), targets, reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(total.double(), exact, rtol=1e-6, atol=0)
    for leaf in (hidden, head.weight, head.bias):
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_constant_shared_by_all_logits_costs_no_precision(smoothing):
    torch.manual_seed(1)  # the mean is one rounded number, better or worse by luck
    head, hidden, targets = make(torch.float32), torch.randn(11, H), torch.randint(V, (11,))
    with torch.no_grad():
        head.bias.copy_(torch.randint(-4, 4, (V,)) + 2.0**14)
        head.weight.zero_()  # so that the logits themselves are exact
    total, _ = head.loss(hidden, targets, smoothing)
    exact = F.cross_entropy(
        head.bias.detach().double().expand(11, V),
        targets,
        reduction="sum",
        label_smoothing=smoothing,
    )
    # The mean logit of label smoothing is one rounded number.
    torch.testing.assert_close(total.double(), exact, rtol=2e-5 if smoothing else 1e-6, atol=0)


def test_a_tied_weight_gets_the_gradient_of_both_its_uses():
    embedding = torch.nn.Embedding(V, H).double()
    head = SoftmaxHead(H, V, embedding.weight).double()
    assert head.weight is embedding.weight
    ids, targets = torch.randint(V, (5,)), torch.randint(V, (5,))
    total, _ = head.loss(embedding(ids), targets, 0.1)
    (ours,) = torch.autograd.grad(total, embedding.weight)
    exact = F.cross_entropy(
        embedding(ids) @ head.weight.t() + head.bias, targets, reduction="sum", label_smoothing=0.1
    )
    (theirs,) = torch.autograd.grad(exact, embedding.weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_no_rows_have_no_loss_and_no_gradient():
    head = make(torch.float32)
    hidden = torch.zeros(0, H, requires_grad=True)
    total, count = head.loss(hidden, torch.zeros(0, dtype=torch.int64), 0.1)
    total.backward()
    assert (total.item(), count) == (0.0, 0)
    assert hidden.grad.shape == (0, H)
    assert head.weight.grad.abs().sum() == 0
    assert head.bias.grad.abs().sum() == 0


def test_a_loss_that_is_only_evaluated_computes_no_gradient(monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    shapes = []
    product = module.product
    monkeypatch.setattr(
        module, "product", lambda a, b: shapes.append((*a.shape, *b.shape)) or product(a, b)
    )
    head, hidden, targets = make(), torch.randn(5, H, dtype=torch.float64), torch.randint(V, (5,))
    expected, _ = head.loss(hidden, targets)
    assert len(shapes) == 9
    for context in (torch.no_grad, torch.inference_mode):
        shapes.clear()
        with context():
            total, _ = head.loss(hidden, targets)
        assert shapes == [(2, H, V, H), (2, H, V, H), (1, H, V, H)]
        assert total == expected.detach()
        assert not total.requires_grad


def test_a_second_backward_pass_gives_the_same_gradient_again():
    head, hidden = make(), torch.randn(5, H, dtype=torch.float64, requires_grad=True)
    total, _ = head.loss(hidden, torch.randint(V, (5,)), 0.1)
    leaves = [hidden, head.weight, head.bias]
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(total, leaves)))


def test_rows_of_a_larger_tensor_and_strides():
    head, wide = make(torch.float32), torch.randn(H, 9)
    targets = torch.randint(V, (9,))
    strided = wide.t().requires_grad_()
    packed = wide.t().contiguous().requires_grad_()
    totals = [head.loss(hidden, targets)[0] for hidden in (strided, packed)]
    torch.testing.assert_close(*totals)
    first, second = map(torch.autograd.grad, totals, (strided, packed))
    torch.testing.assert_close(first, second)


def test_autocast_changes_the_precision_of_the_product_only():
    head, hidden, targets = SoftmaxHead(H, V), torch.randn(5, H), torch.randint(V, (5,))
    expected, _ = head.loss(hidden, targets, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        total, count = head.loss(hidden, targets, 0.1)
    assert total.dtype is torch.float32
    assert count == 5
    torch.testing.assert_close(total, expected, rtol=2e-2, atol=0)


def test_a_target_outside_the_vocabulary_is_an_error():
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        make().loss(torch.randn(2, H, dtype=torch.float64), torch.tensor([0, V]))


@pytest.mark.parametrize("k", [1, 5, V])
def test_top_k_are_the_likeliest_words_best_first(k):
    head, hidden = make(), torch.randn(3, H, dtype=torch.float64)
    log_probs, ids = head.top_k(hidden, k)
    exact = (hidden @ head.weight.t() + head.bias).log_softmax(1).detach()
    for row in range(3):
        best_first = sorted(range(V), key=lambda word: -float(exact[row, word]))[:k]
        assert ids[row].tolist() == best_first
        torch.testing.assert_close(log_probs[row], exact[row, best_first], rtol=1e-12, atol=1e-12)
    if k == V:
        torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(3, dtype=torch.float64))


def test_logits_keep_the_leading_dimensions():
    head = make()
    for shape in ((), (3,), (3, 2)):
        hidden = torch.randn(*shape, H, dtype=torch.float64)
        expected = hidden @ head.weight.t() + head.bias
        torch.testing.assert_close(head.logits(hidden), expected, rtol=1e-12, atol=1e-12)
