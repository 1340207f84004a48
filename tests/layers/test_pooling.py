"""Pooling: rows are independent, padding is ignored, empty rows are defined."""

from __future__ import annotations

import re

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.layers.encoder import RecurrentEncoder
from unrolled.layers.pooling import AttentivePooling, Pooling, final
from unrolled.shapes import Padded

pytestmark = pytest.mark.usefixtures("one_thread")

B, T, D = 5, 7, 6
LENGTHS = torch.tensor([7, 4, 0, 1, 3])
KINDS = ("final", "mean", "max", "attentive")
CASES = [(kind, False) for kind in KINDS] + [("final", True)]

every_kind = pytest.mark.parametrize(("kind", "bidirectional"), CASES, ids=str)


def make(kind, bidirectional=False, dtype=torch.float64) -> Pooling:
    pooling = Pooling(kind, D, bidirectional=bidirectional).to(dtype)
    if pooling.attentive is not None:
        torch.nn.init.normal_(pooling.attentive.bias)
        torch.nn.init.normal_(pooling.attentive.query)
    return pooling


def one_row(pooling: Pooling, y_TD):
    """The result for a row of only real steps, from the definition."""
    if len(y_TD) == 0:
        return torch.zeros(D, dtype=y_TD.dtype)
    if pooling.kind == "final":
        if not pooling.bidirectional:
            return y_TD[-1]
        return torch.cat([y_TD[-1, : D // 2], y_TD[0, D // 2 :]])
    if pooling.kind == "mean":
        return sum(y_TD.unbind(0)) / len(y_TD)
    if pooling.kind == "max":
        return torch.stack([column[column.argmax()] for column in y_TD.t()])
    its = pooling.attentive
    energies = [its.query @ torch.tanh(its.weight @ y + its.bias) for y in y_TD]
    powers = torch.stack(energies).exp()
    return sum(a * y for a, y in zip(powers / powers.sum(), y_TD, strict=True))


@every_kind
def test_each_row_is_pooled_as_if_alone_in_values_and_gradients(kind, bidirectional):
    pooling = make(kind, bidirectional)
    y = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    leaves = {"y": y, **dict(pooling.named_parameters())}
    ours, _ = pooling(Padded(y, LENGTHS))
    right = torch.stack([one_row(pooling, y[b, :n]) for b, n in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(ours, right, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(right)
    gradients = [
        torch.autograd.grad((values * upstream).sum(), list(leaves.values()))
        for values in (ours, right)
    ]
    for name, one, other in zip(leaves, *gradients, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-10, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}"
        )


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_padding_cannot_be_seen(kind, bidirectional, dtype):
    pooling, clean = make(kind, bidirectional, dtype), torch.randn(B, T, D, dtype=dtype)
    past = torch.arange(T) >= LENGTHS.unsqueeze(1)
    results = []
    for filling in (0.0, float("nan"), float("inf"), 1e30):
        y = clean.masked_fill(past.unsqueeze(2), filling).requires_grad_()
        values, weights = pooling(Padded(y, LENGTHS))
        total = values.square().sum()
        if weights is not None:
            assert (weights[past] == 0).all()
            total = total + weights.square().sum()
        gradients = torch.autograd.grad(total, [y, *pooling.parameters()])
        assert (gradients[0][past] == 0).all()
        results.append([values.detach(), *gradients])
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@every_kind
def test_a_row_without_steps_has_a_vector_of_zeros(kind, bidirectional):
    pooling = make(kind, bidirectional)
    for n_steps in (0, T):
        y = torch.full((2, n_steps, D), float("nan"), dtype=torch.float64, requires_grad=True)
        values, weights = pooling(Padded(y, torch.tensor([0, 0])))
        assert torch.equal(values, torch.zeros(2, D, dtype=torch.float64))
        if weights is not None:
            assert torch.equal(weights, torch.zeros(2, n_steps, dtype=torch.float64))
        if values.requires_grad:
            values.sum().backward()
            assert not y.grad.any()
            assert all(p.grad is None or not p.grad.any() for p in pooling.parameters())


def test_attention_sums_to_one_with_extreme_energies():
    pooling = AttentivePooling(D)
    torch.nn.init.constant_(pooling.query, 1e4)
    _, weights = pooling(Padded(100 * torch.randn(B, T, D), LENGTHS))
    torch.testing.assert_close(weights.sum(1), (LENGTHS > 0).float())
    assert weights.isfinite().all()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_final_output_is_the_final_state(cell, bidirectional):
    encoder = RecurrentEncoder(cell, 3, D, bidirectional=bidirectional).double()
    encoded, state = encoder(Padded(torch.randn(B, T, 3, dtype=torch.float64), LENGTHS))
    torch.testing.assert_close(final(encoded, bidirectional), state[-1][0], rtol=0, atol=0)
    pooling = Pooling("final", encoder.output_size, bidirectional=bidirectional)
    assert torch.equal(pooling(encoded)[0], pooling(encoded, state[-1][0])[0])


def test_an_empty_row_is_not_represented_by_the_initial_state():
    y, last = torch.zeros(2, 3, D), torch.ones(2, D)
    values, _ = Pooling("final", D)(Padded(y, torch.tensor([0, 3])), last)
    assert values.sum(1).tolist() == [0, D]


def test_tied_maxima_share_the_gradient():
    y = torch.tensor([[[2.0], [1.0], [2.0], [2.0]]], requires_grad=True)
    Pooling("max", 1)(Padded(y, torch.tensor([3])))[0].sum().backward()
    assert y.grad.flatten().tolist() == [0.5, 0.0, 0.5, 0.0]


def test_an_unknown_kind_is_refused():
    message = "pooling must be one of final, mean, max, attentive, concat, got 'last'"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Pooling("last", D)


def test_concat_is_final_max_and_mean() -> None:
    encoded = Padded(torch.randn(3, 5, 4), torch.tensor([5, 2, 0]))
    parts = [Pooling(kind, 4, bidirectional=True)(encoded)[0] for kind in ("final", "max", "mean")]
    pooling = Pooling("concat", 4, bidirectional=True)
    pooled, weights = pooling(encoded)
    assert torch.equal(pooled, torch.cat(parts, dim=1))
    assert (pooling.output_size, weights) == (12, None)
    assert (pooled[2] == 0).all()
