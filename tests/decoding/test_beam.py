"""Beam search compared with exhaustive search and greedy decoding."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from toy_step_model import BOS, EOS, PAD, Script, Toy, all_answers

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


@pytest.mark.parametrize("V", [4, 5, 6, 7])  # one to four words besides <pad>, <s> and </s>
@pytest.mark.parametrize(("seed", "end_bias"), [(1, -2.0), (2, 0.0), (3, 1.5)])
def test_an_exhaustive_width_finds_the_best_by_score(V, seed, end_bias):
    limits = [3, 1, 0, 4 if V < 7 else 3, 2]
    toy = Toy(V, seed=seed, end_bias=end_bias)
    state = toy.start(len(limits))
    everything = [all_answers(toy, state, row, limit) for row, limit in enumerate(limits)]
    for alpha, n_best in itertools.product((0.0, 0.3, 1.0, 2.5, 6.0), (1, 3, 10)):
        config = DecodingConfig(beam_size=81, n_best=n_best, length_penalty=alpha)
        for found, answers in zip(search(toy, state, limits, config), everything, strict=True):
            scores = [
                log_prob / length_penalty(len(tokens) + finished, alpha)
                for tokens, finished, log_prob in answers
            ]
            best = sorted(scores, reverse=True)[:n_best]
            assert [answer.score for answer in found] == pytest.approx(best, abs=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("V", [4, 5, 7, 13, 1033])
def test_no_beam_result_scores_below_the_greedy_one(V, alpha):
    limits = [23, 1, 7, 2, 31, 13]
    for seed, end_bias in itertools.product(range(3), (-3.0, 0.0, 2.0)):
        toy = Toy(V, seed=seed, end_bias=end_bias)
        toy.W *= 3
        state = toy.start(len(limits))
        by_greedy = search(
            toy, state, limits, DecodingConfig(method="greedy", length_penalty=alpha)
        )
        for beam_size in (2, 3, 5):
            config = DecodingConfig(beam_size=beam_size, length_penalty=alpha)
            found = search(toy, state, limits, config)
            for (best,), (greedy_answer,) in zip(found, by_greedy, strict=True):
                assert best.score >= greedy_answer.score - 1e-9


def test_improbable_ends_do_not_stop_the_search():
    # Five words in a row, each with probability 0.97, then the end; before that, the end has 0.01.
    right = (4, 5, 6, 7, 8)

    def next_token(said):
        if said == right[: len(said)] and len(said) < 5:
            return {right[len(said)]: 0.97, EOS: 0.01, 9: 0.01, 10: 0.01}
        return {EOS: 1.0}

    for beam_size in (2, 3, 5):
        script = Script(11, next_token)
        config = DecodingConfig(beam_size=beam_size, length_penalty=0.0)
        ((best,),) = search(script, script.start(1), [50], config)
        assert best.tokens == right
        assert best.log_prob == pytest.approx(5 * math.log(0.97), abs=1e-12)
        assert script.n_steps == 6


def test_the_greedy_path_stays_in_the_beam():
    # After 4, the most probable word, many words follow; after 5 and 6 few. All of these end badly.
    def next_token(said):
        if not said:
            return {4: 0.4, 5: 0.35, 6: 0.25}
        if len(said) == 1:
            return (
                {7: 0.16} | dict.fromkeys(range(8, 20), 0.07) if said[0] == 4 else {7: 0.5, 8: 0.5}
            )
        if said[:2] == (4, 7):
            return {EOS: 1.0}
        return dict.fromkeys(range(4, 23), 0.05) | {EOS: 0.05}

    script = Script(23, next_token)
    for beam_size in (2, 3, 4):
        config = DecodingConfig(beam_size=beam_size)
        ((best,),) = search(script, script.start(1), [9], config)
        assert best.tokens == (4, 7)


@pytest.mark.parametrize("end", [1.0, 0.5])
def test_ties_are_broken_as_in_greedy_decoding(end):
    # All words are equally probable; after the first one, the greedy choice, the rest is certain.
    def next_token(said):
        if not said:
            return dict.fromkeys(range(4, 40), 1.0) | {1: 1.0}
        if said[0] == 1 and len(said) < 9:
            return {1: 1.0}
        return dict.fromkeys(range(4, 40), 1.0) | {EOS: end}

    script = Script(41, next_token)
    arguments = {"bos_id": BOS, "eos_id": EOS, "barred": torch.tensor([BOS, PAD])}
    ((by_greedy,),) = greedy(script, script.start(1), [9], alpha=1.0, **arguments)
    ((best,),) = search(script, script.start(1), [9], DecodingConfig(beam_size=3))
    assert by_greedy.tokens == best.tokens == (1,) * 9


def test_fewer_hypotheses_if_there_are_no_more():
    script = Script(6, lambda said: {4: 0.7, 5: 0.3} if not said else {EOS: 1.0})
    (found,) = search(script, script.start(1), [9], DecodingConfig(beam_size=5, n_best=5))
    assert [answer.tokens for answer in found] == [(4,), (5,)]
    assert [answer.log_prob for answer in found] == pytest.approx([math.log(0.7), math.log(0.3)])


def test_an_empty_hypothesis_if_the_model_allows_none():
    script = Script(6, lambda said: {PAD: 1.0} if said else {4: 0.5, PAD: 0.5})
    ((one,), (other,)) = search(script, script.start(2), [9, 1], DecodingConfig())
    assert (one.tokens, one.finished, one.score) == ((), False, -math.inf)
    assert (other.tokens, other.finished) == ((4,), False)


def test_hypotheses_that_cannot_win_are_dropped():
    toy = Toy(23, end_bias=2.0)
    limits = [17] * 7
    search(toy, toy.start(7), limits, DecodingConfig(beam_size=8))
    width = [Q for _, Q in toy.batch_sizes]
    assert max(width) == 8
    assert width[-1] < 8


def test_a_large_n_best_gives_every_sequence_once():
    toy = Toy(6)
    (found,) = search(toy, toy.start(1), [4], DecodingConfig(beam_size=150, n_best=150))
    assert len(found) == len({(answer.tokens, answer.finished) for answer in found}) == 40 + 81


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(7))
def test_stopping_early_on_the_bound_loses_nothing(seed, alpha):
    toy = Toy(23, seed=seed, end_bias=1.5)
    state, limits = toy.start(5), [17, 3, 11, 1, 13]
    runs = []
    for n_best in (1, 6):  # with n_best = 6, the bound cannot stop early
        toy.batch_sizes.clear()
        config = DecodingConfig(beam_size=6, n_best=n_best, length_penalty=alpha)
        best = [answers[0] for answers in search(toy, state, limits, config)]
        runs.append(([a.tokens for a in best], sum(B for B, _ in toy.batch_sizes)))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] <= runs[1][1]


def test_the_bound_stops_the_search_early():
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


def test_the_length_penalty_prefers_longer_hypotheses():
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
        assert row[:-1].ge(row[1:].to(row.dtype)).all()  # missing values come last
    live = places[0][values[0].isfinite()].tolist()
    assert len(set(live)) == len(live)


def test_best_continuations_cover_the_last_partial_block():
    log_probs = torch.full((2, 2, 1153), -9.0)
    log_probs[0, 0, 1152] = -1.0
    log_probs[0, 1, 0] = -2.0
    log_probs[1, 1, 1152] = -1.0
    values, places = best_continuations(log_probs, torch.zeros(2, 2), 2)
    assert values[0].tolist() == [-1.0, -2.0]
    assert places[0].tolist() == [1152, 1153]
    assert places[1, 0].item() == 1153 + 1152


def test_a_vocabulary_with_one_word_is_decoded():
    toy = Toy(4)  # <pad>, one word, <s>, </s>
    (found,) = search(toy, toy.start(1), [3], DecodingConfig(beam_size=5, n_best=5))
    assert sorted((a.tokens, a.finished) for a in found) == [
        ((), True),
        ((1,), True),
        ((1, 1), True),
        ((1, 1, 1), False),
    ]
