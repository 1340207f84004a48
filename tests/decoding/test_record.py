"""The record of a beam search, compared with the probabilities of the model and with its results."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from toy_step_model import BOS, EOS, PAD, Toy, rescore

from unrolled.decoding import DecodingConfig, decode
from unrolled.decoding.record import SearchRecord, new_record, recorded


def searched(toy: Toy, limits: list[int], **config) -> tuple[SearchRecord, list]:
    with recorded() as searches:
        answers = decode(
            toy,
            toy.start(len(limits)),
            torch.tensor(limits),
            DecodingConfig(**config),
            BOS,
            EOS,
            forbidden=(PAD,),
        )
    (search,) = searches
    return search, answers


def hypotheses(record: SearchRecord, sentence: int):
    """(step, slot, tokens, log-probability) of each hypothesis, by following the parents."""
    before: list[tuple[int, ...]] = [()]
    for number, step in enumerate(record.sentences[sentence].steps):
        here = [
            (*before[parent], token) if total > -math.inf else ()
            for token, parent, total in zip(step.tokens, step.parents, step.totals, strict=True)
        ]
        for slot, (tokens, total) in enumerate(zip(here, step.totals, strict=True)):
            if total > -math.inf:
                yield number, slot, tokens, total
        before = here


@pytest.mark.parametrize(("seed", "end_bias"), [(1, -2.0), (2, 0.0), (3, 1.5)])
def test_log_probabilities_are_those_of_the_model(seed, end_bias):
    toy, limits = Toy(7, seed=seed, end_bias=end_bias), [9, 4, 6]
    record, _ = searched(toy, limits, beam_size=4, n_best=2)
    state = toy.start(3)
    n_seen = 0
    for sentence in range(3):
        for number, _, tokens, total in hypotheses(record, sentence):
            assert len(tokens) == number + 1
            assert total == pytest.approx(
                rescore(toy, state, sentence, tokens, False)[0], abs=1e-10
            )
            n_seen += 1
    assert n_seen > 20


@pytest.mark.parametrize("n_best", [1, 4])
def test_the_best_endings_are_the_answers(n_best):
    toy = Toy(7, seed=2)
    record, answers = searched(toy, [9, 5], beam_size=4, n_best=n_best)
    for sentence, found in zip(record.sentences, answers, strict=True):
        assert [(each.log_prob, each.score) for each in sentence.best] == [
            (each.log_prob, each.score) for each in found
        ]
        assert set(sentence.best) <= set(sentence.endings)


def test_only_kept_hypotheses_are_extended():
    record, _ = searched(Toy(9, seed=4), [14], beam_size=5)
    steps = record.sentences[0].steps
    for step, following in pairwise(steps):
        assert 0 < step.n_kept <= len(step.tokens)
        assert max(following.parents) < step.n_kept
    assert steps[-1].n_kept == 0


def test_a_record_changes_no_result():
    toy, limits = Toy(7, seed=3), [9, 4]
    config = DecodingConfig(beam_size=4, n_best=3)
    plain = decode(toy, toy.start(2), torch.tensor(limits), config, BOS, EOS, forbidden=(PAD,))
    _, answers = searched(toy, limits, beam_size=4, n_best=3)
    assert answers == plain


def test_only_beam_search_in_a_block_is_recorded():
    assert new_record(1, 1.0) is None
    with recorded() as searches:
        for config in (DecodingConfig(method="greedy"), DecodingConfig(beam_size=1)):
            decode(Toy(5), Toy(5).start(1), torch.tensor([3]), config, BOS, EOS)
    assert searches == []
    assert new_record(1, 1.0) is None
