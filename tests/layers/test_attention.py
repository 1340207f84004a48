from __future__ import annotations

import pytest
import torch

from unrolled.layers.attention import Attention, Memory
from unrolled.shapes import Padded

B, Q, S, H, D, A = 3, 2, 7, 5, 11, 13
LENGTHS = torch.tensor([7, 4, 1])
SCORES = ("additive", "dot", "general")


def make(score: str, dtype=torch.float64, hidden_size: int | None = A) -> Attention:
    query_size = D if score == "dot" else H
    return Attention(score, query_size, D, hidden_size).to(dtype)


def query_of(attention: Attention, n_rows: int = B, n_queries: int = Q, dtype=torch.float64):
    width = D if attention.score == "dot" else H
    return torch.randn(n_rows, n_queries, width, dtype=dtype, requires_grad=True)


def by_formula(attention: Attention, query, encoded, lengths):
    """Row by row, query by query, step by step, as in the papers."""
    contexts, weights = [], []
    for b in range(len(encoded)):
        m_SD = encoded[b, : int(lengths[b])]
        for q in query[b]:
            energies = []
            for m in m_SD:
                if attention.score == "additive":
                    inner = attention.query_weight @ q + attention.key_weight @ m
                    energies.append(attention.energy_weight @ torch.tanh(inner))
                elif attention.score == "dot":
                    energies.append(q @ m)
                else:
                    energies.append(q @ (attention.key_weight @ m))
            powers = torch.stack(energies).exp()
            a = powers / powers.sum()
            contexts.append(sum(a_s * m for a_s, m in zip(a, m_SD, strict=True)))
            weights.append(torch.cat([a, a.new_zeros(encoded.shape[1] - len(a))]))
    shape = query.shape[:2]
    return torch.stack(contexts).unflatten(0, shape), torch.stack(weights).unflatten(0, shape)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("arranged", [False, True])
def test_attention_equals_the_equation_and_gradients(score, arranged):
    attention = make(score)
    query = query_of(attention)
    encoded = torch.randn(B, S, D, dtype=torch.float64, requires_grad=True)
    leaves = {"query": query, "encoded": encoded, **dict(attention.named_parameters())}
    project = attention.arrange() if arranged else None
    ours = attention(query, attention.remember(Padded(encoded, LENGTHS)), project)
    theirs = by_formula(attention, query, encoded, LENGTHS)
    upstream = [torch.randn_like(part) for part in theirs]
    gradients = []
    for parts in (ours, theirs):
        total = sum((part * up).sum() for part, up in zip(parts, upstream, strict=True))
        gradients.append(torch.autograd.grad(total, list(leaves.values())))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    for name, one, other in zip(leaves, *gradients, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-10, atol=1e-10, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("score", SCORES)
def test_float32_is_the_same_map(score):
    attention = make(score)
    query, encoded = query_of(attention), torch.randn(B, S, D, dtype=torch.float64)
    exact = attention(query, attention.remember(Padded(encoded, LENGTHS)))
    attention = attention.float()
    memory = attention.remember(Padded(encoded.float(), LENGTHS))
    single = attention(query.float(), memory, attention.arrange())
    for one, other in zip(single, exact, strict=True):
        assert one.dtype is torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_cannot_be_seen(score, dtype):
    attention = make(score, dtype)
    clean = torch.randn(B, S, D, dtype=dtype)
    past = torch.arange(S) >= LENGTHS.unsqueeze(1)
    query = query_of(attention, dtype=dtype)
    results = []
    for filling in (0.0, float("nan"), float("inf")):
        encoded = clean.masked_fill(past.unsqueeze(2), filling).requires_grad_()
        context, weights = attention(query, attention.remember(Padded(encoded, LENGTHS)))
        leaves = [query, encoded, *attention.parameters()]
        gradients = torch.autograd.grad(context.square().sum() + weights[..., 0].sum(), leaves)
        assert (gradients[1][past] == 0).all()
        assert (weights.detach().transpose(1, 2)[past] == 0).all()
        results.append((context.detach(), weights.detach(), *gradients))
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("score", SCORES)
def test_an_empty_memory_gives_a_context_of_zeros(score):
    attention = make(score)
    encoded = torch.full((2, S, D), float("nan"), dtype=torch.float64)
    encoded[1] = 1.0
    query = query_of(attention, 2)
    context, weights = attention(query, attention.remember(Padded(encoded, torch.tensor([0, 3]))))
    context.sum().backward()
    assert (context[0] == 0).all()
    assert weights.isfinite().all()
    assert (query.grad[0] == 0).all()
    for parameter in attention.parameters():
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("score", SCORES)
def test_a_memory_without_steps_gives_zeros(score):
    attention = make(score)
    memory = attention.remember(
        Padded(torch.zeros(2, 0, D, dtype=torch.float64), torch.tensor([0, 0]))
    )
    context, weights = attention(query_of(attention, 2), memory)
    assert weights.shape == (2, Q, 0)
    assert torch.equal(context, torch.zeros(2, Q, D, dtype=torch.float64))


@pytest.mark.parametrize("score", SCORES)
def test_queries_of_a_row_are_independent_over_a_shared_memory(score):
    attention = make(score)
    query = query_of(attention, n_queries=5)
    memory = attention.remember(Padded(torch.randn(B, S, D, dtype=torch.float64), LENGTHS))
    together = attention(query, memory)
    alone = [attention(query[:, q : q + 1], memory) for q in range(5)]
    for part, whole in enumerate(together):
        parts = torch.cat([result[part] for result in alone], dim=1)
        torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_rows_of_a_batch_do_not_see_each_other(score):
    attention = make(score)
    query, encoded = query_of(attention), torch.randn(B, S, D, dtype=torch.float64)
    whole = attention(query, attention.remember(Padded(encoded, LENGTHS)))
    for b, length in enumerate(LENGTHS.tolist()):
        row = Padded(encoded[b : b + 1, :length], LENGTHS[b : b + 1])
        context, weights = attention(query[b : b + 1], attention.remember(row))
        torch.testing.assert_close(context[0], whole[0][b], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(weights[0], whole[1][b, :, :length], rtol=1e-12, atol=1e-12)


def test_weights_sum_to_one_with_extreme_energies():
    attention = Attention("dot", 3, 3)
    memory = attention.remember(Padded(1e4 * torch.randn(2, 5, 3), torch.tensor([5, 2])))
    _, weights = attention(1e4 * torch.randn(2, 1, 3), memory)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 1))
    assert (weights[1, 0, 2:] == 0).all()


def test_a_memory_can_be_restricted_to_some_rows():
    attention = make("general")
    memory = attention.remember(Padded(torch.randn(B, S, D, dtype=torch.float64), LENGTHS))
    kept = memory.keep(torch.tensor([2, 0]))
    assert isinstance(kept, Memory)
    assert torch.equal(kept.keys, memory.keys[[2, 0]])
    assert torch.equal(kept.values, memory.values[[2, 0]])
    assert kept.mask.sum(2).flatten().tolist() == [1, 7]


def test_dot_with_different_widths_is_refused():
    with pytest.raises(ValueError, match="dot") as refusal:
        Attention("dot", 5, 7)
    assert str(refusal.value) == (
        "dot attention needs equal widths, got query 5 and memory 7; use 'general'"
    )


def test_only_additive_attention_projects_the_query():
    assert make("additive").arrange() is not None
    assert make("dot").arrange() is None
    assert make("general").arrange() is None
    assert make("additive", hidden_size=None).query_weight.shape == (H, H)
    assert list(make("dot").parameters()) == []
