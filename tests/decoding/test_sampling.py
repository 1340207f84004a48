"""Samples follow the distribution."""

from __future__ import annotations

from collections import Counter
from math import exp

import pytest
import torch
from toy_step_model import BOS, EOS, PAD, Toy, all_answers

from unrolled.decoding import DecodingConfig, decode
from unrolled.decoding.sampling import draw

PROBABILITIES = [0.05, 0.3, 0.02, 0.4, 0.13, 0.1]


def drawn(config: DecodingConfig, n: int = 10_007) -> list[int]:
    """How often each token is drawn for n evenly spaced uniforms."""
    uniforms = (torch.arange(n, dtype=torch.float64) / n).unsqueeze(0)
    log_probs = torch.tensor(PROBABILITIES, dtype=torch.float64).log().expand(1, n, -1)
    return draw(log_probs, uniforms, config).flatten().bincount(minlength=6).tolist()


def shares(config: DecodingConfig) -> list[float]:
    counts = drawn(config)
    return [count / sum(counts) for count in counts]


def test_tokens_are_drawn_in_proportion_to_probability():
    assert shares(DecodingConfig()) == pytest.approx(PROBABILITIES, abs=2e-4)


def test_temperature_sharpens_and_flattens():
    for temperature in (0.5, 3.0):
        powers = [p ** (1 / temperature) for p in PROBABILITIES]
        wanted = [power / sum(powers) for power in powers]
        assert shares(DecodingConfig(temperature=temperature)) == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 1}, {3}),
        ({"top_k": 3}, {3, 1, 4}),
        ({"top_k": 6}, set(range(6))),
        ({"top_k": 100}, set(range(6))),
        ({"top_p": 0.01}, {3}),
        ({"top_p": 0.39}, {3}),
        ({"top_p": 0.41}, {3, 1}),
        ({"top_p": 0.84}, {3, 1, 4, 5}),
        ({"top_k": 3, "top_p": 0.8}, {3, 1}),  # 0.7 / 0.83 is above 0.8
        ({"top_k": 3, "top_p": 0.9}, {3, 1, 4}),
    ],
)
def test_top_k_and_top_p_keep_the_most_probable_tokens(options, kept):
    mass = sum(PROBABILITIES[token] for token in kept)
    wanted = [p / mass if token in kept else 0 for token, p in enumerate(PROBABILITIES)]
    found = shares(DecodingConfig(**options))
    assert {token for token, share in enumerate(found) if share} == kept
    assert found == pytest.approx(wanted, abs=2e-4)


def test_impossible_tokens_are_never_drawn():
    log_probs = torch.tensor([-torch.inf, 0.5, -torch.inf, 0.5, -torch.inf]).log_softmax(0)
    uniforms = torch.tensor([[0.0, 0.5, 1 - 2**-53]], dtype=torch.float64)
    for config in (DecodingConfig(), DecodingConfig(top_p=0.99), DecodingConfig(top_k=5)):
        tokens = draw(log_probs.expand(1, 3, -1), uniforms, config)
        assert set(tokens.flatten().tolist()) <= {1, 3}


def search(toy, state, limits, config, keys=None):
    return decode(
        toy, state, torch.tensor(limits), config, BOS, EOS, forbidden=(PAD, BOS), keys=keys
    )


def test_whole_samples_follow_the_joint_distribution():
    toy = Toy(7)
    toy.bias[[PAD, BOS]] = -60.0  # so forbidding them changes nothing
    state, limit, n = toy.start(1), 2, 2003
    (samples,) = search(toy, state, [limit], DecodingConfig(method="sample", n_best=n, seed=11))
    assert len(samples) == n
    counts = Counter((sample.tokens, sample.finished) for sample in samples)
    probabilities = {
        (tokens, finished): exp(log_prob)
        for tokens, finished, log_prob in all_answers(toy, state, 0, limit)
    }
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-9)
    assert set(counts) <= set(probabilities)
    chi_square = sum((counts[a] - n * p) ** 2 / (n * p) for a, p in probabilities.items())
    assert len(probabilities) == 21
    assert chi_square < 45.3  # 20 degrees of freedom, 0.1 %


def test_samples_depend_on_the_seed_and_the_key():
    toy = Toy(101)
    state = toy.start(1)

    def tokens(seed, key):
        config = DecodingConfig(method="sample", n_best=3, seed=seed)
        (answers,) = search(toy, state, [13], config, [key])
        return [answer.tokens for answer in answers]

    assert tokens(1, 2) == tokens(1, 2)
    assert tokens(1, 2) != tokens(2, 2)
    assert tokens(1, 2) != tokens(1, 3)
    assert len(set(tokens(1, 2))) == 3


def test_top_k_of_one_is_greedy():
    toy = Toy(101, end_bias=2.0)
    state, limits = toy.start(5), [13, 7, 1, 11, 2]
    certain = search(toy, state, limits, DecodingConfig(method="sample", top_k=1))
    by_greedy = search(toy, state, limits, DecodingConfig(method="greedy"))
    assert [[a.tokens for a in its] for its in certain] == [
        [a.tokens for a in its] for its in by_greedy
    ]


def test_the_global_random_generator_is_not_used():
    toy = Toy(17)
    before = torch.random.get_rng_state()
    search(toy, toy.start(2), [5, 5], DecodingConfig(method="sample"))
    assert torch.equal(before, torch.random.get_rng_state())
