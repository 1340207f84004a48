"""The continuous cache compared with its equation, step by step."""

from __future__ import annotations

import math

import pytest
import torch

from unrolled.errors import ConfigError
from unrolled.layers import neural_cache
from unrolled.layers.neural_cache import ContinuousCache

T, H, V = 29, 3, 7


def text(n_steps=T):
    hidden = torch.randn(n_steps, H, dtype=torch.float64)
    log_probs = torch.randn(n_steps, V, dtype=torch.float64).log_softmax(1)
    return hidden, log_probs, torch.randint(V, (n_steps,))


def by_hand(size, theta, weight, hidden, log_probs, targets):
    rows = []
    for t in range(len(hidden)):
        past = range(max(0, t - size), t)
        p_model = [math.exp(value) for value in log_probs[t].tolist()]
        kernels = [math.exp(theta * float(hidden[t] @ hidden[i])) for i in past]
        p_cache = [0.0] * V
        for i, kernel in zip(past, kernels, strict=True):
            p_cache[int(targets[i])] += kernel / sum(kernels)
        share = weight if kernels else 0.0
        rows.append(
            [math.log((1 - share) * p + share * q) for p, q in zip(p_model, p_cache, strict=True)]
        )
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("windows", [[T], [1] * T, [13, 0, 5, 11]], ids=str)
@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("theta", [0.0, 0.7])
@pytest.mark.parametrize("steps_at_once", [3, 256])
def test_the_cache_equals_the_equation_over_any_windows(
    monkeypatch, steps_at_once, theta, size, windows
):
    monkeypatch.setattr(neural_cache, "_STEPS_AT_ONCE", steps_at_once)
    hidden, log_probs, targets = text()
    exact = by_hand(size, theta, 0.3, hidden, log_probs, targets)
    of_targets = log_probs.gather(1, targets.unsqueeze(1)).squeeze(1)
    whole, alone = ContinuousCache(size, theta, 0.3), ContinuousCache(size, theta, 0.3)
    pieces = [tensor.split(windows) for tensor in (hidden, log_probs, of_targets, targets)]
    ours, theirs = [], []
    for h, model, model_targets, words in zip(*pieces, strict=True):
        ours.append(whole.log_probs(h, model, words))
        theirs.append(alone.of_targets(h, model_targets, words))
    torch.testing.assert_close(torch.cat(ours), exact, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.cat(ours).exp().sum(1), torch.ones_like(of_targets))
    right = exact.gather(1, targets.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(torch.cat(theirs), right, rtol=1e-10, atol=1e-10)


def test_weight_zero_leaves_the_model_unchanged():
    hidden, log_probs, targets = text()
    assert torch.equal(
        ContinuousCache(5, 1.0, 0.0).log_probs(hidden, log_probs, targets), log_probs
    )


def test_large_products_stay_finite():
    hidden, log_probs, targets = text()
    mixed = ContinuousCache(5, 1e4, 0.5).log_probs(hidden.float(), log_probs.float(), targets)
    assert mixed.isfinite().all()
    torch.testing.assert_close(mixed.exp().sum(1), torch.ones(T))


def test_clearing_empties_the_cache():
    hidden, log_probs, targets = text()
    cache = ContinuousCache(5, 0.5, 0.3)
    first = cache.log_probs(hidden, log_probs, targets)
    assert not torch.equal(cache.log_probs(hidden, log_probs, targets), first)
    cache.clear()
    assert torch.equal(cache.log_probs(hidden, log_probs, targets), first)


def test_the_cache_does_not_keep_windows_alive():
    hidden, log_probs, targets = text()
    cache = ContinuousCache(5, 0.5, 0.3)
    cache.log_probs(hidden, log_probs, targets)
    assert cache._hidden.untyped_storage().nbytes() == 5 * H * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0, 0.1), "size must be at least 1, got 0"),
        ((5, -1.0, 0.1), "theta must be at least 0, got"),
        ((5, 1.0, 1.0), "weight must be at least 0 and below 1, got 1"),
    ],
)
def test_invalid_settings_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ContinuousCache(*arguments)
