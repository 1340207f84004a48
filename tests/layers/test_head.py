from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unrolled.errors import ConfigError
from unrolled.layers.head import AdaptiveHead, SampledHead, SoftmaxHead
from unrolled.ops import cross_entropy

H, V = 7, 13


def make(dtype=torch.float64) -> SoftmaxHead:
    head = SoftmaxHead(H, V).to(dtype)
    with torch.no_grad():
        head.bias.normal_()
    return head


def block(monkeypatch, n_rows: int, n_words: int = V) -> None:
    monkeypatch.setattr(cross_entropy, "LEAST_ROWS", 1)
    monkeypatch.setattr(cross_entropy, "FLOATS_AT_ONCE", n_rows * V)
    monkeypatch.setattr(cross_entropy, "WORDS_AT_ONCE", n_words)


def loss_and_gradients(total, leaves):
    return total.detach(), *torch.autograd.grad(total, leaves)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("n_rows", [1, 4, 5, 6, 11])
@pytest.mark.parametrize("rows_at_once", [1, 5, 512])
@pytest.mark.parametrize("words_at_once", [3, V])
def test_loss_is_torchs_cross_entropy_over_any_blocks(
    monkeypatch, words_at_once, rows_at_once, n_rows, smoothing
):
    block(monkeypatch, rows_at_once, words_at_once)
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
def test_the_gradient_of_the_loss_equals_difference_quotients(smoothing):
    head, targets = make(), torch.tensor([0, 12, 5])
    hidden = torch.randn(3, H, dtype=torch.float64, requires_grad=True)
    weight, bias = head.weight.detach().requires_grad_(), head.bias.detach().requires_grad_()

    def total(hidden, weight, bias):
        loss = cross_entropy._CrossEntropy.apply(
            hidden, weight, bias, targets, smoothing, False, True
        )
        return loss * 3

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
def test_extreme_logits_give_a_finite_correct_loss(smoothing):
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
    torch.manual_seed(1)  # the mean is a single rounded number, so its error is random
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
    # The mean logit of label smoothing is a single rounded number.
    torch.testing.assert_close(total.double(), exact, rtol=2e-5 if smoothing else 1e-6, atol=0)


def test_a_tied_weight_gets_the_gradients_of_both_uses():
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
    block(monkeypatch, 2)
    shapes = []
    product = cross_entropy.product
    monkeypatch.setattr(
        cross_entropy, "product", lambda a, b: shapes.append((*a.shape, *b.shape)) or product(a, b)
    )
    head, hidden, targets = make(), torch.randn(5, H, dtype=torch.float64), torch.randint(V, (5,))
    expected, _ = head.loss(hidden, targets)
    assert len(shapes) == 9
    for context in (torch.no_grad, torch.inference_mode):
        shapes.clear()
        with context():
            total, _ = head.loss(hidden, targets)
        assert shapes == [(2, H, V, H), (2, H, V, H), (1, H, V, H)]
        torch.testing.assert_close(total, expected.detach(), rtol=1e-12, atol=0)
        assert not total.requires_grad


def test_a_second_backward_pass_gives_the_same_gradient_again():
    head, hidden = make(), torch.randn(5, H, dtype=torch.float64, requires_grad=True)
    total, _ = head.loss(hidden, torch.randint(V, (5,)), 0.1)
    leaves = [hidden, head.weight, head.bias]
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(total, leaves)))


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_a_second_backward_adds_the_same_gradient(scale):
    head, hidden = make(), torch.randn(5, H, dtype=torch.float64, requires_grad=True)
    total, _ = head.loss(hidden, torch.randint(V, (5,)))
    total = total * scale
    total.backward(retain_graph=True)
    once = [leaf.grad.clone() for leaf in (hidden, head.weight, head.bias)]
    total.backward()
    for leaf, first in zip((hidden, head.weight, head.bias), once, strict=True):
        assert torch.equal(leaf.grad, 2 * first)


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
def test_top_k_returns_the_most_probable_words_in_order(k):
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


CUTOFFS = [5, 9]


def make_adaptive(dtype=torch.float64) -> AdaptiveHead:
    return AdaptiveHead(17, V, CUTOFFS).to(dtype)


@pytest.mark.parametrize("targets", [[], [4], [9, 12, 9], [0, 5, 8, 9, 12, 4, 0]], ids=str)
def test_adaptive_loss_is_torchs_in_value_and_gradients(targets):
    head, targets = make_adaptive(), torch.tensor(targets, dtype=torch.int64)
    hidden = torch.randn(len(targets), 17, dtype=torch.float64, requires_grad=True)
    leaves = [hidden, *head.parameters()]
    total, count = head.loss(hidden, targets)
    exact = (
        -head.layers(hidden, targets).output.sum()
        if len(targets)
        else sum(leaf.sum() for leaf in leaves) * 0
    )
    assert count == len(targets)
    theirs = torch.autograd.grad(exact, leaves, materialize_grads=True)
    for one, other in zip(
        loss_and_gradients(total, leaves), (exact.detach(), *theirs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_adaptive_logits_are_normalised_and_those_of_the_loss():
    head, hidden = make_adaptive(), torch.randn(3, 2, 17, dtype=torch.float64)
    log_probs = head.logits(hidden)
    exact = head.layers.log_prob(hidden.view(-1, 17)).view(3, 2, V)
    torch.testing.assert_close(log_probs, exact, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_probs.log_softmax(-1), log_probs, rtol=1e-12, atol=1e-12)
    for word in range(V):
        total, _ = head.loss(hidden[0], torch.tensor([word, word]))
        torch.testing.assert_close(-log_probs[0, :, word].sum(), total, rtol=1e-12, atol=1e-12)


def test_adaptive_top_k_returns_the_most_probable_words():
    head, hidden = make_adaptive(), torch.randn(3, 17, dtype=torch.float64)
    log_probs, ids = head.top_k(hidden, 4)
    exact = head.layers.log_prob(hidden)
    assert torch.equal(ids[:, 0], head.layers.predict(hidden))
    torch.testing.assert_close(log_probs, exact.gather(1, ids), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_probs, exact.sort(descending=True).values[:, :4])


@pytest.mark.parametrize("cutoffs", [[], [5, 5], [9, 5], [0], [V]], ids=str)
def test_invalid_cutoffs_are_refused(cutoffs):
    with pytest.raises(ConfigError, match=r"cutoffs must be increasing ids, .* words, 13, got"):
        AdaptiveHead(64, V, cutoffs)


def test_more_clusters_than_the_width_allows_are_refused():
    with pytest.raises(ConfigError, match="2 cutoffs need a hidden size of at least 16, got 15"):
        AdaptiveHead(15, V, CUTOFFS)


@pytest.mark.parametrize("target", [-1, V])
@pytest.mark.parametrize("make_head", [make_adaptive, lambda: make_sampled(5)])
def test_other_heads_refuse_targets_outside_the_vocabulary(make_head, target):
    head = make_head()
    width = 17 if isinstance(head, AdaptiveHead) else H
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        head.loss(torch.randn(2, width, dtype=torch.float64), torch.tensor([0, target]))


def make_sampled(n_samples, dtype=torch.float64, **options) -> SampledHead:
    head = SampledHead(H, V, n_samples, **options).to(dtype)
    with torch.no_grad():
        head.bias.normal_()
    return head


@pytest.mark.parametrize("n_rows", [0, 1, 11])
def test_sampling_all_words_gives_the_full_loss(n_rows):
    head, targets = make_sampled(V), torch.randint(V, (n_rows,))
    hidden = torch.randn(n_rows, H, dtype=torch.float64, requires_grad=True)
    leaves = [hidden, head.weight, head.bias]
    ours = loss_and_gradients(head.loss(hidden, targets)[0], leaves)
    full = loss_and_gradients(head.eval().loss(hidden, targets)[0], leaves)
    for one, other in zip(ours, full, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_samples", [1, 5, V - 1])
def test_the_sampled_loss_equals_the_equation_by_row(n_samples):
    head, targets = make_sampled(n_samples), torch.arange(V)
    hidden = torch.randn(V, H, dtype=torch.float64, requires_grad=True)
    leaves = [hidden, head.weight, head.bias]
    torch.manual_seed(3)
    sampled, log_expected = head._sample()
    torch.manual_seed(3)
    total, count = head.loss(hidden, targets)
    exact = 0
    for row in range(V):
        candidates = [row, *(word for word in sampled.tolist() if word != row)]
        logits = hidden[row] @ head.weight[candidates].t() + head.bias[candidates]
        exact = exact - (logits - log_expected[candidates]).log_softmax(0)[0]
    assert count == V
    for one, other in zip(
        loss_and_gradients(total, leaves), loss_and_gradients(exact, leaves), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_words_are_sampled_by_zipfs_law_without_replacement():
    torch.manual_seed(0)
    head = make_sampled(5)
    n_draws = 3000
    drawn, weighted = (torch.zeros(V, dtype=torch.float64) for _ in range(2))
    for _ in range(n_draws):
        sampled, log_expected = head._sample()
        assert len(set(sampled.tolist())) == 5
        drawn[sampled] += 1 / n_draws
        weighted[sampled] += 1 / log_expected[sampled].exp() / n_draws
    assert drawn[0] > drawn[1] > drawn[3] > drawn[12]
    # Divided by its probability given the threshold, each word counts once on average.
    torch.testing.assert_close(weighted, torch.ones_like(weighted), atol=0.15, rtol=0)
    ranks = torch.arange(V) + 1.0
    zipf = ((ranks + 1) / ranks).log() / torch.tensor(V + 1.0).log()
    torch.testing.assert_close(head.zipf.float(), zipf)
    assert float(zipf.sum()) == pytest.approx(1.0)


def test_in_eval_mode_the_sampled_head_is_the_full_softmax():
    head, hidden, targets = make_sampled(3).eval(), *batch(5)
    full = SoftmaxHead(H, V).double()
    full.load_state_dict(head.state_dict())
    assert torch.equal(head.loss(hidden, targets, 0.1)[0], full.loss(hidden, targets, 0.1)[0])
    assert torch.equal(head.logits(hidden), full.logits(hidden))


def batch(n_rows):
    return torch.randn(n_rows, H, dtype=torch.float64), torch.randint(V, (n_rows,))


def test_only_sampled_and_target_words_get_a_gradient():
    hidden, targets = batch(3)
    dense, sparse = make_sampled(2), make_sampled(2)
    sparse.load_state_dict(dense.state_dict())
    sparse.sparse = True
    gradients = []
    for head in (dense, sparse):
        torch.manual_seed(0)
        sampled, _ = head._sample()
        torch.manual_seed(0)
        head.loss(hidden, targets)[0].backward()
        gradients.append(head.weight.grad)
    assert gradients[1].is_sparse
    torch.testing.assert_close(gradients[1].to_dense(), gradients[0])
    touched = gradients[0].any(1).nonzero().squeeze(1).tolist()
    assert set(touched) == {*sampled.tolist(), *targets.tolist()}


def test_a_sampled_head_ties_weights_and_refuses_bad_settings():
    embedding = torch.nn.Embedding(V, H)
    assert SampledHead(H, V, 5, embedding.weight).weight is embedding.weight
    for n_samples in (0, V + 1):
        with pytest.raises(
            ConfigError, match=r"n_samples must be at least 1 and at most .*, 13, got"
        ):
            SampledHead(H, V, n_samples)
    with pytest.raises(
        ConfigError, match=r"does not support label smoothing: set it to 0, got 0\.1"
    ):
        make_sampled(5).loss(*batch(3), 0.1)


def test_autocast_keeps_sampling_corrections_exact():
    head, (hidden, targets) = make_sampled(5, torch.float32), batch(7)
    torch.manual_seed(0)
    expected, _ = head.loss(hidden.float(), targets)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = head.loss(hidden.float(), targets)
    assert total.dtype is torch.float32
    torch.testing.assert_close(total, expected, rtol=2e-2, atol=0)


class Doubled(SoftmaxHead):
    """A head of somebody's own."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2 * super().logits(hidden)


@pytest.mark.parametrize("Head", [SoftmaxHead, Doubled])
@pytest.mark.parametrize("ids", [[], [4], [12, 0, 7]])
def test_scores_of_some_words_are_those_of_all_words(Head, ids) -> None:
    head = Head(H, V).double()
    torch.nn.init.normal_(head.bias)
    hidden, chosen = torch.randn(3, H, dtype=torch.float64), torch.tensor(ids, dtype=torch.int64)
    torch.testing.assert_close(head.logits_of(hidden, chosen), head.logits(hidden)[:, chosen])
