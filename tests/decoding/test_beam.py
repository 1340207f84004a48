"""Beam search against exhaustive search, and against greedy decoding."""

from __future__ import annotations

import pytest
import torch
from toy_stepper import BOS, EOS, PAD, Toy, all_answers

from unrolled.decoding import DecodingConfig, decode, length_penalty
from unrolled.decoding.beam import beam, best_continuations
from unrolled.decoding.greedy import greedy


def search(toy, state, limits, config):
    return decode(toy, state, torch.tensor(limits), config, BOS, EOS, forbidden=(PAD,))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 1.7])
def test_a_wide_beam_finds_what_exhaustive_search_finds(alpha):
    toy = Toy(6)  # three words besides <pad>, <s> and </s>: 4 steps end 40 answers and cut off 81
    state, limit = toy.start(3), 4
    config = DecodingConfig(beam_size=127, n_best=7, length_penalty=alpha)
    for sentence, found in enumerate(search(toy, state, [limit] * 3, config)):
        everything = [
            (log_prob / length_penalty(len(tokens) + finished, alpha), tokens, finished)
            for tokens, finished, log_prob in all_answers(toy, state, sentence, limit)
        ]
        assert len(everything) == 121
        best = sorted(everything, reverse=True)[:7]
        assert [(a.tokens, a.finished) for a in found] == [(t, finished) for _, t, finished in best]
        assert [a.score for a in found] == pytest.approx([score for score, _, _ in best], abs=1e-10)


def test_asking_for_everything_gives_everything_once():
    toy = Toy(6)
    (found,) = search(toy, toy.start(1), [4], DecodingConfig(beam_size=150, n_best=150))
    assert len(found) == len({(answer.tokens, answer.finished) for answer in found}) == 40 + 81


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(7))
def test_stopping_early_on_the_bound_loses_nothing(seed, alpha):
    toy = Toy(23, seed=seed, end_bias=1.5)
    state, limits = toy.start(5), [17, 3, 11, 1, 13]
    runs = []
    for n_best in (1, 6):  # asking for all six, the bound can stop nothing early
        toy.batch_sizes.clear()
        config = DecodingConfig(beam_size=6, n_best=n_best, length_penalty=alpha)
        best = [answers[0] for answers in search(toy, state, limits, config)]
        runs.append(([a.tokens for a in best], sum(B for B, _ in toy.batch_sizes)))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] <= runs[1][1]


def test_the_bound_does_stop_early():
    toy = Toy(23, end_bias=9.0)
    search(toy, toy.start(1), [50], DecodingConfig(beam_size=6, length_penalty=0.0))
    assert len(toy.batch_sizes) < 4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_beam_of_one_is_greedy(seed, dtype):
    toy = Toy(1033, dtype, seed=seed, end_bias=5.0)
    limits = [1, 2, 13, 17, 19, 23]
    arguments = {"bos_id": BOS, "eos_id": EOS, "barred": torch.tensor([BOS, PAD])}
    narrow = beam(toy, toy.start(6), limits, config=DecodingConfig(beam_size=1), **arguments)
    by_greedy = greedy(toy, toy.start(6), limits, alpha=1.0, **arguments)
    for (one,), (other,) in zip(narrow, by_greedy, strict=True):
        assert one.tokens == other.tokens
        assert one.finished == other.finished
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_a_wider_beam_scores_at_least_as_well_on_average():
    toy = Toy(211, end_bias=3.0)
    means = []
    for size in (1, 2, 5, 19):
        found = search(toy, toy.start(31), [13] * 31, DecodingConfig(beam_size=size))
        means.append(sum(answers[0].score for answers in found))
    assert means == sorted(means)
    assert means[0] < means[-1]


def test_the_length_penalty_prefers_longer_answers():
    toy = Toy(23, end_bias=1.5)
    lengths = []
    for alpha in (0.0, 1.0, 4.0):
        config = DecodingConfig(beam_size=8, length_penalty=alpha)
        found = search(toy, toy.start(20), [13] * 20, config)
        lengths.append(sum(len(answers[0].tokens) for answers in found))
    assert lengths[0] <= lengths[1] < lengths[2]


def test_length_penalty_is_equation_14():
    # Wu et al. 2016, eq. 14, by hand: (5 + 4)^0.7 / (5 + 1)^0.7
    assert length_penalty(4, 0.7) == pytest.approx(9**0.7 / 6**0.7, abs=1e-12)
    assert length_penalty(29, 0.0) == 1


@pytest.mark.parametrize("V", [2, 7, 1024, 1031, 1279, 3001])
@pytest.mark.parametrize("Q", [1, 3])
@pytest.mark.parametrize("k", [1, 5, 37])
def test_best_continuations_equal_a_sort_of_all(V, Q, k):
    generator = torch.Generator().manual_seed(V)
    log_probs = torch.randn(11, Q, V, generator=generator, dtype=torch.float64)
    totals = torch.randn(11, Q, generator=generator, dtype=torch.float64) * 2
    log_probs[:, :, 0] = -torch.inf
    totals[3] = -torch.inf
    totals[4, 1:] = -torch.inf
    values, places = best_continuations(log_probs, totals, k)
    everything = (log_probs + totals.unsqueeze(2)).flatten(1)
    wanted = everything.sort(1, descending=True).values[:, :k]
    assert values.shape == places.shape == (11, k)
    assert torch.equal(values[:, : Q * V], wanted)
    assert (values[:, Q * V :] == -torch.inf).all()
    assert places.min() >= 0
    assert places.max() < Q * V
    assert torch.equal(everything.gather(1, places)[:, : Q * V], wanted)
    for row in values.isfinite().logical_and(torch.arange(k) < Q * V):
        assert row[:-1].ge(row[1:].to(row.dtype)).all()  # what is missing comes last
    live = places[0][values[0].isfinite()].tolist()
    assert len(set(live)) == len(live)


def test_best_continuations_find_the_last_token_of_an_uneven_vocabulary():
    log_probs = torch.full((2, 2, 1153), -9.0)
    log_probs[0, 0, 1152] = -1.0
    log_probs[0, 1, 0] = -2.0
    log_probs[1, 1, 1152] = -1.0
    values, places = best_continuations(log_probs, torch.zeros(2, 2), 2)
    assert values[0].tolist() == [-1.0, -2.0]
    assert places[0].tolist() == [1152, 1153]
    assert places[1, 0].item() == 1153 + 1152


def test_a_vocabulary_with_one_word_fills_no_beam_and_still_ends():
    toy = Toy(4)  # <pad>, one word, <s>, </s>
    (found,) = search(toy, toy.start(1), [3], DecodingConfig(beam_size=5, n_best=5))
    assert sorted((a.tokens, a.finished) for a in found) == [
        ((), True),
        ((1,), True),
        ((1, 1), True),
        ((1, 1, 1), False),
    ]
