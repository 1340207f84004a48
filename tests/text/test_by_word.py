"""Words that are looked up give the tokens and the vocabulary of texts that are split as a whole."""

import random
from collections import Counter

import pytest
from tokenizers import models, pre_tokenizers, trainers

from unrolled.text import pipelines
from unrolled.text.by_word import WordCounts, WordEncoder, split_words
from unrolled.text.config import SPECIALS, TextConfig
from unrolled.text.tokenizer import Tokenizer

# Characters whose neighbours matter: spaces, marks, clitics, digits, capitals, half a surrogate pair.
PARTS = [
    *" " * 6, "  ", "\t", "\n", "\n", "\n\n", "\r", "\u00a0", "\u2028", "\x1c", "\x85", "a", "b", "Ab",
    "e", "\u0301", "'", "n't", "'s", "-", "25.5", "U.S.", "C++", "7", "é", "İ", "ΟΔΟΣ", "犬", "가", "ᄀ",
    "ᅡ", "…", "</s>", "<unk>", "\ud800", "👩\u200d👧", "x" * 50,
]  # fmt: skip


def texts(n: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(PARTS, k=draw.randint(0, 12))) for _ in range(n)]


def all_kinds(test):
    for name, values in {
        "lowercase": [False, True],
        "running": [False, True],
        "kind": ["bpe", "word", "space", "char"],
    }.items():
        test = pytest.mark.parametrize(name, values)(test)
    return test


@pytest.mark.parametrize("most_stored", [10, 1 << 18])
@all_kinds
def test_ids_by_word_equal_those_of_the_whole_text(
    kind, running: bool, lowercase: bool, most_stored: int, monkeypatch
) -> None:
    monkeypatch.setattr("unrolled.text.by_word._MOST_STORED", most_stored)
    config = TextConfig(kind=kind, lowercase=lowercase, vocab_size=300)
    tokenizer = Tokenizer.train(texts(200, 1), config, running=running)
    given = texts(2000, 2)
    whole = tokenizer._encode_whole(given)
    assert tokenizer.encode_batch(given) == whole
    assert [Tokenizer(tokenizer.inner).encode(text) for text in given[:500]] == whole[:500]
    assert [tokenizer.encode(text) for text in given] == whole
    assert len(tokenizer._words) <= most_stored


def vocabulary_of_library(some: list[str], config: TextConfig, running: bool) -> dict[str, int]:
    """What the library's trainers learn from whole texts."""
    pipeline = pipelines.untrained(config, running)
    n, specials = config.most_tokens, list(SPECIALS)
    if config.kind == "bpe":
        pipeline.model = models.BPE()
        trainer = trainers.BpeTrainer(
            vocab_size=n,
            min_frequency=max(2, config.min_count),
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        trainer = trainers.WordLevelTrainer(
            vocab_size=n,
            min_frequency=config.min_count,
            special_tokens=specials,
            show_progress=False,
        )
    well_formed = [text.encode("utf-8", "replace").decode("utf-8") for text in some]
    pipeline.train_from_iterator(well_formed, trainer)
    return pipeline.get_vocab()


@pytest.mark.parametrize("min_count", [1, 3])
@all_kinds
def test_counted_words_give_the_vocabulary_of_the_library(
    kind, running: bool, lowercase: bool, min_count: int, monkeypatch
) -> None:
    monkeypatch.setattr("unrolled.text.pipelines._MOST_COUNTED", 100)
    monkeypatch.setattr("unrolled.text.pipelines.WORDS_TOGETHER", 7)
    monkeypatch.setattr("unrolled.text.by_word._COUNTED_AT_ONCE", 50)
    config = TextConfig(kind=kind, lowercase=lowercase, vocab_size=500, min_count=min_count)
    some = [text for text in texts(1500, 3) if not any(name in text for name in SPECIALS)]
    vocabulary = Tokenizer.train(some, config, running=running).inner.get_vocab()
    assert vocabulary == vocabulary_of_library(some, config, running)
    assert len(vocabulary) > 30


def test_repeated_pieces_occur_as_often_as_counted() -> None:
    counts = {"a": 3, "bc": 70_000, "d": 1}
    found = Counter(word for text in pipelines._repeated(counts) for word in text.split(" "))
    assert found == counts


def test_letters_of_byte_pairs_are_no_white_space() -> None:
    letters = pre_tokenizers.ByteLevel.alphabet()
    assert len(letters) == 256
    assert not any(map(str.isspace, letters))


def test_a_full_store_takes_no_more_words(monkeypatch) -> None:
    monkeypatch.setattr("unrolled.text.by_word._MOST_STORED", 3)
    tokenizer = Tokenizer.train(["a b c d e f"], TextConfig(kind="word"))
    assert tokenizer.encode_batch(["a b", "c d", "e f", "a b"]) == [[4, 5], [6, 7], [8, 9], [4, 5]]
    assert len(tokenizer._words) == 3


def test_each_word_is_encoded_once() -> None:
    encoded: list[str] = []

    def encode(some, is_after_blank: bool) -> list[list[int]]:
        encoded.extend(f" {word}" if is_after_blank else word for word in some)
        return [[len(word)] for word in some]

    words = WordEncoder(encode, starts_with_blank=True)
    assert words.encode(["to be to be", "to be\nor"]) == [[2, 2, 2, 2], [2, 2, 3]]
    assert words.encode(["to  be", "be or", ""]) == [[3, 4], [2, 2], []]
    assert sorted(encoded) == ["\nor", "  be", " be", " or", " to", " to"]


def test_a_very_long_word_leaves_only_its_text_to_be_encoded_as_a_whole() -> None:
    words = WordEncoder(lambda some, _: [[len(word)] for word in some], starts_with_blank=False)
    assert words.encode(["a " + "x" * 70_000, "a b"]) == [None, [1, 1]]


def test_counts_are_those_of_the_words_of_the_texts() -> None:
    some = texts(500, 4)
    counts = WordCounts(starts_with_blank=False)
    for text in some:
        counts.add(text)
    assert counts.pop_all() == Counter(word for text in some for word in split_words(text))
    assert not counts.pop_all()
