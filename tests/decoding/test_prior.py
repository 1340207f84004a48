"""Shallow fusion: log p + w log q at each step, with a state of the language model per hypothesis."""

from __future__ import annotations

import math

import pytest
import torch
from toy_step_model import BOS, EOS, PAD, Toy

from unrolled.decoding import DecodingConfig, decode
from unrolled.decoding.prior import Prior
from unrolled.decoding.types import StepState
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.text.config import UNK_ID as UNK
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer

TOKENS = ["<pad>", "<unk>", "<s>", "</s>", "a", "b", "c", "d"]
V = len(TOKENS)
WIDTH = V + 2


@pytest.fixture(scope="module")
def prior() -> Prior:
    tokenizer = Tokenizer.train(["a b c e"], TextConfig(kind="word"))
    torch.manual_seed(3)
    config = LanguageModelConfig(embedding_size=5, hidden_size=7)
    return Prior(LanguageModel(config, len(tokenizer)).eval(), tokenizer, 0.7, line_end="e")


@pytest.fixture
def ids_BW(prior: Prior) -> torch.Tensor:
    of_vocabulary = prior.ids_of(TOKENS)
    copied = [prior.tokenizer.ids_of(words) for words in (["b", "z"], ["c", "a"])]
    return torch.tensor([[*of_vocabulary, *words] for words in copied])


def test_tokens_are_those_of_the_language_model(prior: Prior) -> None:
    end = prior.tokenizer.id_of("e")
    known = [prior.tokenizer.id_of(token) for token in "abc"]
    assert prior.ids_of(TOKENS) == [1, 1, end, end, *known, 1]
    assert prior.known(TOKENS) == 0.75
    without = Prior(prior.model, prior.tokenizer, 0.7, line_end="<newline>")
    assert without.ids_of(TOKENS)[2:4] == [EOS, EOS]


@torch.inference_mode()
def test_logits_are_weighted_sums(prior: Prior, ids_BW: torch.Tensor) -> None:
    toy = Toy(WIDTH)
    fused, state = prior.fuse(toy, toy.start(2), ids_BW)
    assert isinstance(state, StepState)
    own = toy.start(2)
    layers = prior.model.start(2)
    words = [torch.full((2, 1), BOS), torch.tensor([[4], [V]]), torch.tensor([[V + 1], [6]])]
    for tokens in words:
        logits, state, _ = fused.step(tokens, state)
        expected, own, _ = toy.step(tokens, own)
        hidden, layers = prior.model.step(ids_BW.gather(1, tokens)[:, 0], layers)
        log_q = prior.model.head.logits(hidden).log_softmax(1).gather(1, ids_BW)
        log_q = torch.where(ids_BW == UNK, -math.log(len(prior.tokenizer)), log_q)
        expected = expected.log_softmax(2) + 0.7 * log_q.unsqueeze(1)
        torch.testing.assert_close(logits, expected)


@torch.inference_mode()
def test_states_move_with_their_hypotheses(prior: Prior, ids_BW: torch.Tensor) -> None:
    toy = Toy(WIDTH)
    fused, state = prior.fuse(toy, toy.start(2), ids_BW)
    _, state, _ = fused.step(torch.full((2, 1), BOS), state)
    state = state.reorder(torch.tensor([[0, 0], [0, 0]]))
    _, state, _ = fused.step(torch.tensor([[4, 5], [6, 4]]), state)
    both, *_ = fused.step(torch.tensor([[5, 5], [5, 5]]), state)
    turned = state.reorder(torch.tensor([[1, 0], [1, 0]]))
    other, *_ = fused.step(torch.tensor([[5, 5], [5, 5]]), turned)
    torch.testing.assert_close(other, both.flip(1))
    last, *_ = fused.step(torch.tensor([[5, 5]]), state.keep(torch.tensor([1])))
    torch.testing.assert_close(last, both[1:])


def test_weight_0_changes_nothing(prior: Prior, ids_BW: torch.Tensor) -> None:
    toy = Toy(WIDTH, end_bias=1.0)
    limits, config = torch.tensor([8, 8]), DecodingConfig(beam_size=3, n_best=3)
    plain = decode(toy, toy.start(2), limits, config, BOS, EOS, forbidden=(PAD,))
    none = Prior(prior.model, prior.tokenizer, 0.0)
    fused, state = none.fuse(toy, toy.start(2), ids_BW)
    found = decode(fused, state, limits, config, BOS, EOS, forbidden=(PAD,))
    strong = Prior(prior.model, prior.tokenizer, 9.0)
    other = decode(*strong.fuse(toy, toy.start(2), ids_BW), limits, config, BOS, EOS)
    for one, two, three in zip(plain, found, other, strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in two]
        assert one[0].log_prob == pytest.approx(two[0].log_prob, abs=1e-5)
        assert [h.tokens for h in one] != [h.tokens for h in three]
