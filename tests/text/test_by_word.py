"""Encoding word by word gives the ids of encoding the text as a whole."""

import random

import pytest

from unrolled.text.by_word import WordEncoder, WordIds
from unrolled.text.tokenizer import TextConfig, Tokenizer

# Characters whose neighbours matter: spaces, marks, clitics, digits, capitals, half a surrogate pair.
PARTS = [
    *" " * 4, "  ", "\t", "\n", "\u00a0", "\u2028", "\x1c", "a", "b", "Ab", "e", "\u0301", "'", "n't",
    "'s", "-", "25.5", "U.S.", "C++", "7", "é", "İ", "ΟΔΟΣ", "犬", "가", "ᄀ", "ᅡ", "…",
    "</s>", "<unk>", "\ud800",
]  # fmt: skip


def texts(n: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(PARTS, k=draw.randint(0, 12))) for _ in range(n)]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kind", ["bpe", "word", "space", "char"])
def test_ids_by_word_equal_those_of_the_whole_text(kind, running: bool, lowercase: bool) -> None:
    config = TextConfig(kind=kind, lowercase=lowercase, vocab_size=300)
    tokenizer = Tokenizer.train(texts(200, 1), config, running=running)
    given = texts(2000, 2)
    whole = tokenizer._encode_whole(given)
    by_word = [Tokenizer(tokenizer.inner)._words.encode(text) for text in given]
    assert 400 < sum(ids is not None for ids in by_word) < 1800  # both ways are taken
    assert [ids or row for ids, row in zip(by_word, whole, strict=True)] == whole
    assert tokenizer.encode_batch(given) == whole
    assert [Tokenizer(tokenizer.inner).encode(text) for text in given[:500]] == whole[:500]


def test_a_full_store_takes_no_more_words(monkeypatch) -> None:
    monkeypatch.setattr("unrolled.text.by_word._MOST_WORDS", 3)
    tokenizer = Tokenizer.train(["a b c d e f"], TextConfig(kind="word"))
    assert tokenizer.encode_batch(["a b", "c d", "e f", "a b"]) == [[4, 5], [6, 7], [8, 9], [4, 5]]
    assert len(tokenizer._words._first) == 3


def test_each_word_is_encoded_once() -> None:
    encoded: list[str] = []

    def encode(some: list[str]) -> list[list[int]]:
        encoded.extend(some)
        return [[len(text)] for text in some]

    words = WordEncoder(encode, keeps_spaces=True)
    words.learn(["to be to be", "to be", " no", "no  "])
    assert encoded == ["to", " be", " to"]
    assert words.encode("to be to be") == [2, 3, 3, 3]
    assert words.encode("to  be") is None
    assert encoded == ["to", " be", " to"]


@pytest.mark.parametrize("word", ["", " a", "a\n", "\u00a0a", "x" * 41])
def test_a_string_with_outer_spaces_is_not_held(word: str) -> None:
    assert not WordIds.can_hold(word)
