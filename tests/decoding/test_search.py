"""Properties of every method of `decode`."""

from __future__ import annotations

import pytest
import torch
from toy_step_model import BOS, EOS, PAD, Toy, rescore

from unrolled.decoding import DecodingConfig, decode, length_penalty

CONFIGS = [
    DecodingConfig(beam_size=5, n_best=5),
    DecodingConfig(beam_size=3, n_best=2, length_penalty=0.0),
    DecodingConfig(beam_size=1),
    DecodingConfig(method="greedy", length_penalty=0.6),
    DecodingConfig(method="sample", n_best=3, temperature=0.7, top_k=13, top_p=0.9),
    DecodingConfig(method="sample", n_best=2),
]
LIMITS = [7, 0, 1, 13, 2, 19, 11]
KEYS = [41, 0, 43, 47, 43, 53, 0]


def search(toy, state, limits, config, keys=None, with_attention=True):
    return decode(
        toy,
        state,
        torch.tensor(limits, dtype=torch.int64),
        config,
        BOS,
        EOS,
        with_attention,
        forbidden=(PAD,),
        keys=keys,
    )


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_batch_decodes_as_each_sentence_alone(config, dtype, tolerance):
    toy = Toy(1031, dtype, end_bias=5.0)
    state = toy.start(len(LIMITS))
    together = search(toy, state, LIMITS, config, KEYS)
    for sentence, answers in enumerate(together):
        alone = state.keep(torch.tensor([sentence]))
        (expected,) = search(toy, alone, [LIMITS[sentence]], config, [KEYS[sentence]])
        assert [a.tokens for a in answers] == [e.tokens for e in expected]
        assert [a.finished for a in answers] == [e.finished for e in expected]
        for answer, other in zip(answers, expected, strict=True):
            assert answer.score == pytest.approx(other.score, abs=tolerance)
            assert answer.log_prob == pytest.approx(other.log_prob, abs=tolerance)
    assert {a.finished for answers in together for a in answers} == {True, False}


@pytest.mark.parametrize("config", CONFIGS)
def test_scores_and_attention_equal_rescoring(config):
    toy = Toy(17, end_bias=2.0)
    state = toy.start(len(LIMITS), S=5)
    for sentence, answers in enumerate(search(toy, state, LIMITS, config, KEYS)):
        for answer in answers:
            log_prob, attention = rescore(toy, state, sentence, answer.tokens, answer.finished)
            length = len(answer.tokens) + answer.finished
            assert answer.log_prob == pytest.approx(log_prob, abs=1e-10)
            penalty = length_penalty(length, config.length_penalty)
            assert answer.score == pytest.approx(log_prob / penalty, abs=1e-10)
            if attention is None:
                assert answer.attention is None
            else:
                torch.testing.assert_close(answer.attention, attention, rtol=0, atol=1e-10)


@pytest.mark.parametrize("config", CONFIGS)
def test_hypotheses_respect_their_own_limits(config):
    toy = Toy(17, end_bias=1.0)
    for limit, answers in zip(
        LIMITS, search(toy, toy.start(len(LIMITS)), LIMITS, config), strict=True
    ):
        assert answers
        for answer in answers:
            length = len(answer.tokens) + answer.finished
            assert length == limit if not answer.finished else length <= limit


@pytest.mark.parametrize("config", CONFIGS)
def test_the_best_score_comes_first(config):
    toy = Toy(17, end_bias=1.0)
    for answers in search(toy, toy.start(len(LIMITS)), LIMITS, config):
        scores = [answer.score for answer in answers]
        assert scores == sorted(scores, reverse=True)
        assert len(answers) <= config.n_best


@pytest.mark.parametrize("config", CONFIGS)
def test_forbidden_and_begin_tokens_are_never_chosen(config):
    toy = Toy(17)
    toy.bias[[PAD, BOS]] = 50.0
    for answers in search(toy, toy.start(3), [11, 11, 11], config):
        for answer in answers:
            assert not {PAD, BOS, EOS} & set(answer.tokens)
            assert answer.log_prob < -40  # not rescaled: the model's own probability


@pytest.mark.parametrize("config", CONFIGS)
def test_an_empty_batch_does_not_call_the_model(config):
    toy = Toy(17)
    assert search(toy, toy.start(0), [], config) == []
    assert [[a.tokens for a in its] for its in search(toy, toy.start(2), [0, 0], config)] == [
        [()],
        [()],
    ]
    assert toy.batch_sizes == []


@pytest.mark.parametrize("config", CONFIGS)
def test_finished_sentences_leave_the_batch(config):
    toy = Toy(17, end_bias=1.0)
    search(toy, toy.start(len(LIMITS)), LIMITS, config)
    rows = [B for B, _ in toy.batch_sizes]
    assert rows[0] == len(LIMITS) - 1  # a sentence with limit 0 is not decoded
    assert rows == sorted(rows, reverse=True)
    for step, B in enumerate(rows):
        assert sum(limit > step for limit in LIMITS) >= B


def test_attention_is_only_returned_on_request():
    toy = Toy(17, end_bias=1.0)
    answers = search(toy, toy.start(2), [5, 7], DecodingConfig(n_best=3), with_attention=False)
    assert all(answer.attention is None for its in answers for answer in its)


def test_attention_may_narrow_when_long_sentences_leave():
    class Narrowing(Toy):
        def step(self, tokens, state):
            logits, state, attention = super().step(tokens, state)
            return logits, state, attention[:, :, : 2 + len(tokens)]

    toy = Narrowing(17, end_bias=1.0)
    limits = [2, 11]
    for (best,), limit in zip(
        search(toy, toy.start(2, S=7), limits, DecodingConfig()), limits, strict=True
    ):
        assert best.attention.shape == (len(best.tokens) + best.finished, 3)
        assert len(best.attention) <= limit


def test_half_precision_logits_are_summed_in_float32():
    class Half(Toy):
        def step(self, tokens, state):
            logits, state, attention = super().step(tokens, state)
            return logits.bfloat16(), state, attention

    for method in ("beam", "greedy", "sample"):
        toy = Half(17, torch.float32, end_bias=1.0)
        ((answer, *_),) = search(toy, toy.start(1), [19], DecodingConfig(method=method))
        coarse = float(torch.tensor(answer.log_prob).bfloat16())
        assert answer.log_prob != coarse


def test_wrong_limits_and_keys_are_refused():
    toy = Toy(17)
    with pytest.raises(ValueError, match=r"^a limit must be at least 0, got -3$"):
        search(toy, toy.start(2), [5, -3], DecodingConfig())
    message = r"^there must be one key per sentence, got 3 keys for 2 sentences$"
    with pytest.raises(ValueError, match=message):
        search(toy, toy.start(2), [5, 3], DecodingConfig(method="sample"), keys=[1, 2, 3])
