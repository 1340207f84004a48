"""With a mask of code, every decoding method writes only what can be completed to a program."""

from __future__ import annotations

import pytest
import torch
from toy_step_model import BOS, EOS, PAD, Toy

from unrolled.code.marks import JOIN
from unrolled.code.parsing import parses
from unrolled.code.tokens import join
from unrolled.decoding import DecodingConfig, decode
from unrolled.decoding.code_mask import CodeMask
from unrolled.decoding.constrained import TokenMask

pytest.importorskip("llguidance")

FIRST = 4
_TOKENS = (
    "x name ( ) [ ] == ' , 1 . + _"  # nothing that needs a target or a token that is not there
)
WORDS = [JOIN, *_TOKENS.split()]
VOCABULARY = [*[""] * FIRST, *WORDS]
COPIED = [["rows", "other", ""], ["first"]]
V = len(VOCABULARY)


def ids(mask: CodeMask, n_words: int = V + 3) -> list[set[int]]:
    allowed = mask.allowed(n_words, torch.device("cpu"))
    assert allowed.shape == (len(mask.matchers), len(mask.matchers[0]), n_words)
    return [set(row[0].nonzero().flatten().tolist()) for row in allowed]


def id_of(token: str) -> int:
    return VOCABULARY.index(token)


def begun() -> CodeMask:
    return CodeMask.of(VOCABULARY, COPIED, EOS).advance(torch.tensor([[BOS], [BOS]]))


def test_a_mask_of_code_is_a_token_mask() -> None:
    assert isinstance(CodeMask.of(VOCABULARY, COPIED), TokenMask)


def test_copied_tokens_are_of_their_row() -> None:
    one, other = ids(begun())
    assert {V, V + 1, id_of("x"), id_of("(")} <= one
    assert V in other
    assert V + 1 not in other
    assert not {PAD, 1, BOS, EOS, V + 2, id_of(")")} & (one | other)


def test_the_end_is_allowed_where_code_is_complete() -> None:
    mask = begun().advance(torch.tensor([[V], [id_of("(")]]))
    one, other = ids(mask)
    assert EOS in one
    assert EOS not in other
    (kept,) = ids(mask.keep(torch.tensor([1])))
    assert kept == other


def test_hypotheses_branch() -> None:
    mask = begun().reorder(torch.tensor([[0, 0], [0, 0]]))
    mask = mask.advance(torch.tensor([[id_of("x"), id_of("(")], [id_of("["), id_of("'")]]))
    turned = mask.reorder(torch.tensor([[1, 0], [1, 0]]))
    width, cpu = V + 3, torch.device("cpu")
    assert turned.allowed(width, cpu)[:, 0].equal(mask.allowed(width, cpu)[:, 1])
    assert turned.allowed(width, cpu)[:, 1].equal(mask.allowed(width, cpu)[:, 0])


@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig(beam_size=5, n_best=3),
        DecodingConfig(method="greedy"),
        DecodingConfig(method="sample", n_best=3),
    ],
    ids=["beam", "greedy", "sample"],
)
def test_every_finished_hypothesis_parses(config: DecodingConfig) -> None:
    toy = Toy(V + 3, end_bias=10.0)
    toy.bias[FIRST:] = 8.0
    answers = decode(
        toy,
        toy.start(2),
        torch.full((2,), 60),
        config,
        BOS,
        EOS,
        forbidden=(PAD,),
        mask=CodeMask.of(VOCABULARY, COPIED, EOS),
    )
    n_finished = 0
    for copied, hypotheses in zip(COPIED, answers, strict=True):
        for hypothesis in hypotheses:
            tokens = [[*VOCABULARY, *copied][id_] for id_ in hypothesis.tokens]
            if hypothesis.finished:
                n_finished += 1
                assert parses(join(tokens, "python"), "python"), tokens
    assert n_finished >= (0 if config.method == "greedy" else 1)
