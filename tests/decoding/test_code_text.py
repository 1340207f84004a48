"""Language models of code: reading text in pieces, writing it while it is generated."""

from __future__ import annotations

import random

import pytest
import torch
from code_texts import AWKWARD
from toy_language_model import ToyModel

from unrolled.decoding.code_text import border_of
from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.text_session import TextSession
from unrolled.text.config import EOS_ID, TextConfig
from unrolled.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

CODE = [
    "def f(x, name):\n    if x:\n        return name\n    return f(1, 'a')\n\n\nclass A: pass\n"
]
TOKENIZER = Tokenizer.train(CODE, TextConfig(kind="code", language="python"), running=True)


def session(**settings) -> tuple[ToyModel, TextSession]:
    model = ToyModel(len(TOKENIZER), 0.3)
    return model, TextSession(model, TOKENIZER, **settings)


@pytest.mark.parametrize("text", [*CODE, *(text for text in AWKWARD if text.isascii())])
def test_reading_in_pieces_equals_reading_at_once(text: str) -> None:
    draws = random.Random(7)
    at_once = session()[1]
    at_once.feed(text)
    pieces, place = session()[1], 0
    while place < len(text):
        n = draws.randint(1, 4)
        pieces.feed(text[place : place + n])
        place += n
    assert torch.equal(pieces.log_probs(), at_once.log_probs())
    assert pieces.typed() == at_once.typed()
    assert pieces.complete(4) == at_once.complete(4)
    assert list(pieces.generate(6)) == list(at_once.generate(6))


def test_each_token_is_read_once() -> None:
    model, read = session()
    for character in CODE[0]:
        read.feed(character)
    read.feed("x ")
    # One more for the end of the document before.
    assert model.n_steps == 1 + len(TOKENIZER.encode(CODE[0] + "x"))
    assert [score.piece for score in read.surprise(CODE[0])] == TOKENIZER.split(CODE[0])


@pytest.mark.parametrize("prompt", ["", "def f(", "if x:\n", "f(a, 'b", "x = 1\n\n"])
def test_generated_text_is_what_its_tokens_decode_to(prompt: str) -> None:
    config = DecodingConfig(method="sample", temperature=1.0)
    n_compared = 0
    for seed in range(8):
        _, read = session()
        read.feed(prompt)
        read_ids = TOKENIZER.ids_of(TOKENIZER.reader().read(prompt))
        ids = [token for token, _ in read.copy()._tokens(8, config, seed, False)]
        if EOS_ID not in ids:
            n_compared += 1
            text = "".join(read.generate(8, seed=seed))
            assert prompt + text == TOKENIZER.decode([*read_ids, *ids])
    assert n_compared > 4


def test_white_space_that_was_read_is_not_written_again() -> None:
    for prompt, word in (("return ", "name"), ("if x:\n    ", "return"), ("f(x,  ", "a")):
        _, read = session()
        read.feed(prompt)
        ids = [(TOKENIZER.id_of(word), 0)]
        assert "".join(read._writer().write(iter(ids))) == word


def test_completions_are_tokens_that_begin_as_typed() -> None:
    _, read = session()
    read.feed("def f(x):\n    ret")
    assert read.typed() == "ret"
    assert [each.text for each in read.complete(5)] == ["return"]
    read.feed("urn ")
    assert read.typed() == ""
    assert len(read.complete(5)) == 5


def test_text_is_certain_before_the_last_white_space() -> None:
    assert border_of("") == border_of("  ") == border_of("abc") == 0
    assert border_of("a b") == border_of("a ") == 1
    assert border_of("a b  \n") == 3
