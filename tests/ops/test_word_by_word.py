"""Word-by-word attention: the fast loop compared with the equations."""

from __future__ import annotations

import pytest
import torch

from unrolled.ops import word_by_word as module
from unrolled.ops.word_by_word import word_by_word

pytestmark = pytest.mark.usefixtures("one_thread")

T, B, S, A, H = 5, 7, 3, 11, 13
FIRST = torch.tensor([3, 1, 0, 2, 3, 0, 1])
SECOND = torch.tensor([5, 2, 4, 0, 1, 0, 5])
NAMES = ("known", "keys", "values", "w_seen", "w_next", "energy")
SHAPES = ((T, B, A), (B, S, A), (B, S, H), (A, H), (H, H), (A,))


def make(dtype=torch.float64):
    return {
        name: torch.randn(shape, dtype=dtype).mul_(0.5).requires_grad_()
        for name, shape in zip(NAMES, SHAPES, strict=True)
    }


def run(floats):
    mask = torch.arange(S) < FIRST.unsqueeze(1)
    known, keys, values, *weights = floats.values()
    return word_by_word(known, keys, values, mask, SECOND, *weights)


def by_equations(known, keys, values, w_seen, w_next, energy):
    ends, weights = [], torch.zeros(T, B, S, dtype=known.dtype)
    for b, (n, m) in enumerate(zip(FIRST.tolist(), SECOND.tolist(), strict=True)):
        r = torch.zeros(H, dtype=known.dtype)
        for t in range(m):
            M_SA = torch.tanh(keys[b, :n] + known[t, b] + w_seen @ r)
            a = (M_SA @ energy).softmax(0)
            r = a @ values[b, :n] + torch.tanh(w_next @ r)
            weights = weights.index_put((torch.tensor(t), torch.tensor(b), torch.arange(n)), a)
        ends.append(r)
    return torch.stack(ends), weights


def gradients(found, leaves, upstream):
    total = sum((part * weight).sum() for part, weight in zip(found, upstream, strict=True))
    return torch.autograd.grad(total, list(leaves.values()), retain_graph=True)


@pytest.fixture(params=["exponentials", "sigmoid"])
def way(request, monkeypatch):
    """Both ways of computing 1 − tanh."""
    if request.param == "sigmoid":
        monkeypatch.setattr(module, "_LARGEST", {})
    return request.param


@pytest.mark.parametrize("attention_counts", [0.0, 1.0])
def test_values_and_gradients_equal_the_equations(attention_counts, way):
    leaves = make()
    ours, right = run(leaves), by_equations(**leaves)
    for one, other in zip(ours, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    upstream = [torch.randn_like(right[0]), attention_counts * torch.randn_like(right[1])]
    exact = gradients(right, leaves, upstream)
    for _ in range(2):  # a second pass through the same graph gives the same result
        for name, one, other in zip(leaves, gradients(ours, leaves, upstream), exact, strict=True):
            torch.testing.assert_close(
                one, other, rtol=1e-9, atol=1e-11, msg=lambda text, n=name: f"{n}: {text}"
            )


@pytest.mark.parametrize("part", [0, 1])
def test_either_result_alone_has_gradients(part):
    leaves = make()
    upstream = torch.randn_like(by_equations(**leaves)[part])
    found = [
        torch.autograd.grad(
            (results[part] * upstream).sum(), list(leaves.values()), allow_unused=True
        )
        for results in (run(leaves), by_equations(**leaves))
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)


def test_float32_is_the_same_map():
    leaves = make()
    exact = run(leaves)
    upstream = [torch.randn_like(part) for part in exact]
    right = gradients(exact, leaves, upstream)
    single = {name: leaf.detach().float().requires_grad_() for name, leaf in leaves.items()}
    found = run(single)
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)
    for one, other in zip(
        gradients(found, single, [up.float() for up in upstream]), right, strict=True
    ):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["known", "keys", "w_seen", "energy"])
@pytest.mark.parametrize("size", [30.0, 300.0, 1e4])
def test_values_too_large_for_exponentials_stay_exact(name, size, dtype):
    leaves = make()
    with torch.no_grad():
        leaves[name] *= size
    exact = by_equations(**leaves)
    upstream = [torch.randn_like(part) for part in exact]
    right = gradients(exact, leaves, upstream)
    its = {key: leaf.detach().to(dtype).requires_grad_() for key, leaf in leaves.items()}
    found = run(its)
    # A sum of numbers of this size only has this many digits.
    tolerance = 20 * size * torch.finfo(dtype).eps
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)
    ours = gradients(found, its, [part.to(dtype) for part in upstream])
    for key, one, other in zip(leaves, ours, right, strict=True):
        largest = tolerance * max(1.0, float(other.abs().max()))
        torch.testing.assert_close(
            one.double(), other, rtol=0, atol=largest, msg=lambda text, n=key: f"{n}: {text}"
        )


def test_no_tensor_of_all_steps_rows_and_positions_is_stored():
    sizes: list[int] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
    )
    with hooks:
        run(make())
    assert max(sizes) < T * B * S * A


def test_padding_of_either_text_cannot_be_seen():
    leaves = make()
    past_first, past = torch.arange(S) >= FIRST.unsqueeze(1), torch.arange(T).unsqueeze(1) >= SECOND
    results = []
    for filling in (0.0, float("nan")):
        for name, its in (("known", past), ("keys", past_first), ("values", past_first)):
            leaves[name] = leaves[name].detach().masked_fill(its.unsqueeze(2), filling)
            leaves[name].requires_grad_()
        r, weights = run(leaves)
        total = r.sum() + weights.square().sum()
        found = torch.autograd.grad(total, list(leaves.values()))
        assert not found[0][past].any()
        assert not found[1][past_first].any()
        assert not found[2][past_first].any()
        results.append([r, weights, *found])
    assert all(map(torch.equal, *results))


def test_a_text_without_steps_gives_zeros():
    leaves = make()
    leaves["known"] = leaves["known"][:0]
    mask, zeros = torch.ones(B, S, dtype=torch.bool), torch.zeros(B, dtype=torch.int64)
    known, keys, values, *weights = leaves.values()
    r, attention = word_by_word(known, keys, values, mask, zeros, *weights)
    assert not r.any()
    assert attention.shape == (0, B, S)


def test_autocast_keeps_float32():
    leaves = make(torch.float32)
    r, attention = run(leaves)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        its_r, its_attention = run(leaves)
    assert torch.equal(r, its_r)
    assert torch.equal(attention, its_attention)


def test_nothing_is_stored_if_no_gradient_is_wanted():
    with torch.no_grad():
        assert not any(part.requires_grad for part in run(make()))
