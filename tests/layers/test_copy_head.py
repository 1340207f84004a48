from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from unrolled.layers import head as heads
from unrolled.layers.head import CopyHead, SoftmaxHead

V, H, S = 5, 3, 4
# Two rows; id 6 is V + 1, the word at step 1 of the source, which stands at step 2 too.
IDS = torch.tensor([[2, 6, 6, 0], [4, 4, 1, 0]])
LOOKED = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.2, 0.05]], dtype=torch.float64)
HIDDEN = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]], dtype=torch.float64)


def make() -> CopyHead:
    torch.manual_seed(3)
    head = CopyHead(H, V).double()
    with torch.no_grad():
        head.bias.normal_()
        head.gate_bias.fill_(0.3)
    return head


def by_hand(head: CopyHead, hidden, looked, ids) -> torch.Tensor:
    """Equation 9 of See et al. 2017, one word after another."""
    rows = []
    for h, a, words in zip(hidden, looked, ids.tolist(), strict=True):
        g = torch.sigmoid(head.gate_weight[0] @ h + head.gate_bias[0])
        generated = torch.softmax(head.weight @ h + head.bias, 0)
        p = []
        for word in range(V + len(words)):
            chance = g * generated[word] if word < V else torch.zeros((), dtype=h.dtype)
            for step, copied in enumerate(words):
                if copied == word:
                    chance = chance + (1 - g) * a[step]
            p.append(chance)
        rows.append(torch.stack(p))
    return torch.stack(rows)


def test_distribution_is_that_of_a_small_case_worked_by_hand() -> None:
    head = CopyHead(2, 3).double()
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(
            torch.tensor([math.log(2), 0.0, 0.0], dtype=torch.float64)
        )  # softmax: 1/2, 1/4, 1/4
        head.gate_weight.zero_()
        head.gate_bias.fill_(math.log(3))  # g = 3/4
    looked = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    ids = torch.tensor([[1, 4, 1]])  # the word at step 1 is in no vocabulary
    found = head.log_probs(torch.ones(1, 2, dtype=torch.float64), looked, ids).exp()
    # p(0) = 3/4 · 1/2, p(1) = 3/4 · 1/4 + 1/4 · 3/4, p(2) = 3/4 · 1/4, p(3 + 1) = 1/4 · 1/4
    wanted = torch.tensor([[3 / 8, 3 / 8, 3 / 16, 0.0, 1 / 16, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)


def test_distribution_equals_the_paper_and_sums_to_one() -> None:
    head = make()
    found = head.log_probs(HIDDEN, LOOKED, IDS).exp()
    torch.testing.assert_close(found, by_hand(head, HIDDEN, LOOKED, IDS), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.sum(1), torch.ones(2, dtype=torch.float64))
    assert found[0, 6] > 0
    assert found[0, [5, 7, 8]].eq(0).all()


@pytest.mark.parametrize("targets", [[2, 1], [6, 4], [3, 0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_equal_a_plain_loop(targets, smoothing) -> None:
    head = make()
    inputs = [HIDDEN.clone().requires_grad_(), LOOKED.clone().requires_grad_()]
    total, count = head.loss(inputs[0], torch.tensor(targets), smoothing, looked=inputs[1], ids=IDS)
    p = by_hand(head, *inputs, IDS)
    exact = -(1 - smoothing) * sum(p[row, word].log() for row, word in enumerate(targets))
    log_softmax = F.log_softmax(inputs[0] @ head.weight.T + head.bias, 1)
    exact = exact - smoothing * log_softmax.mean(1).sum()
    assert count == 2
    torch.testing.assert_close(total, exact, rtol=1e-12, atol=1e-12)
    leaves = [*inputs, *head.parameters()]
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    wanted = torch.autograd.grad(exact, leaves, allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        zero = torch.zeros(())
        one, other = (zero if each is None else each for each in (one, other))
        torch.testing.assert_close(one.broadcast_to(other.shape), other, rtol=1e-9, atol=1e-12)


def test_gradient_equals_difference_quotients() -> None:
    head = make()
    targets = torch.tensor([6, 4])

    def loss(hidden, looked, weight, bias, gate):
        changed = {"weight": weight, "bias": bias, "gate_weight": gate}
        arguments = (hidden, targets, 0.1)
        options = {"looked": looked, "ids": IDS}
        return torch.func.functional_call(Loss(head), prefixed(changed), arguments, options)

    tensors = (HIDDEN, LOOKED, head.weight, head.bias, head.gate_weight)
    assert torch.autograd.gradcheck(loss, [t.detach().clone().requires_grad_() for t in tensors])


class Loss(torch.nn.Module):
    def __init__(self, head: CopyHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, *arguments, **options):
        return self.head.loss(*arguments, **options)[0]


def prefixed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"head.{name}": tensor for name, tensor in tensors.items()}


def test_blocks_of_rows_give_the_same_loss_and_gradients(monkeypatch) -> None:
    head, n = make(), 103
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(n, H, dtype=torch.float64, generator=generator).requires_grad_()
    looked = torch.rand(n, S, dtype=torch.float64, generator=generator).softmax(1).requires_grad_()
    ids = torch.randint(0, V + S, (n, S), generator=generator)
    targets = torch.where(torch.arange(n) % 2 == 0, ids[:, 2], torch.arange(n) % V)
    leaves = [hidden, looked, *head.parameters()]

    def run():
        total, _ = head.loss(hidden, targets, 0.1, looked=looked, ids=ids)
        return total, torch.autograd.grad(total, leaves)

    whole, gradients = run()
    monkeypatch.setattr(heads, "FLOATS_AT_ONCE", 1)
    monkeypatch.setattr(heads, "LEAST_ROWS", 7)
    parts, others = run()
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(others, gradients, rtol=1e-10, atol=1e-12)


def test_word_that_cannot_be_copied_costs_what_generating_costs() -> None:
    head = make()
    plain = SoftmaxHead(H, V).double()
    plain.load_state_dict({"weight": head.weight, "bias": head.bias})
    targets = torch.tensor([3, 3])  # in neither source
    total, _ = head.loss(HIDDEN, targets, looked=LOOKED, ids=IDS)
    gate = F.logsigmoid(HIDDEN @ head.gate_weight[0] + head.gate_bias)
    torch.testing.assert_close(total, plain.loss(HIDDEN, targets)[0] - gate.sum())
    total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_attention_that_underflows_gives_a_finite_loss() -> None:
    head = make().float()
    looked = torch.tensor([[1.0, 0.0, 0.0, 0.0]], requires_grad=True)
    total, _ = head.loss(HIDDEN[:1].float(), torch.tensor([6]), looked=looked, ids=IDS[:1])
    total.backward()
    assert total.isfinite()
    assert head.gate_bias.grad is not None
    assert head.gate_bias.grad.isfinite().all()


def test_no_rows_have_no_loss() -> None:
    head = make()
    empty = torch.empty(0, H, dtype=torch.float64)
    total, count = head.loss(
        empty,
        torch.empty(0, dtype=torch.int64),
        looked=torch.empty(0, S, dtype=torch.float64),
        ids=torch.empty(0, S, dtype=torch.int64),
    )
    assert (total.item(), count) == (0.0, 0)
