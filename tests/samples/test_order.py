"""Whoever counts words is right in one sentence of two, in every part, by construction."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

from unrolled.errors import ConfigError, DataError
from unrolled.samples import order
from unrolled.samples.order import (
    FEELINGS,
    FILLERS,
    PARTS,
    PATTERNS,
    QUALITIES,
    THINGS,
    OrderSample,
    OrderSentence,
    generate,
    shared_ngrams,
    write,
)
from unrolled.text.config import TextConfig
from unrolled.text.tokenizer import Tokenizer

OPPOSITES = [*QUALITIES, *FEELINGS]
ALL_THINGS = {thing for things in THINGS.values() for thing in things}


@pytest.fixture(scope="module")
def sample() -> OrderSample:
    return generate()


@pytest.fixture(scope="module", params=PARTS)
def part(request: pytest.FixtureRequest, sample: OrderSample) -> list[OrderSentence]:
    return getattr(sample, request.param)


def pairs(sentences: list[OrderSentence]) -> list[tuple[OrderSentence, OrderSentence]]:
    return list(zip(sentences[::2], sentences[1::2], strict=True))


def verdict(text: str) -> tuple[str, str]:
    """The thing and the praise of the opposites that a sentence is made of."""
    words = set(text.split())
    (thing,) = words & ALL_THINGS
    (praise,) = {praise for praise, blame in OPPOSITES if words & {praise, blame}}
    return thing, praise


@pytest.mark.parametrize("kind", ["space", "word", "char", "bpe"])
def test_every_bag_occurs_equally_often_under_both_labels(
    part: list[OrderSentence], kind: str
) -> None:
    texts = [sentence.text for sentence in part]
    tokenizer = Tokenizer.train(texts, TextConfig(kind=kind, vocab_size=400))  # type: ignore[arg-type]
    counts: dict[tuple[int, ...], Counter[str]] = {}
    for sentence, ids in zip(part, tokenizer.encode_batch(texts), strict=True):
        counts.setdefault(tuple(sorted(ids)), Counter())[sentence.label] += 1
    assert len(counts) > len(part) // 5
    assert all(count["positive"] == count["negative"] for count in counts.values())


def test_ngram_counts_are_at_chance_on_order_only_samples(
    part: list[OrderSentence],
) -> None:
    for n in range(1, 7):
        counts: dict[tuple[object, ...], Counter[str]] = {}
        for sentence in (each for each in part if each.n_shared >= n):
            words = sentence.text.split()
            grams = tuple(sorted(zip(*(words[i:] for i in range(n)), strict=False)))
            counts.setdefault(grams, Counter())[sentence.label] += 1
        assert counts
        assert all(count["positive"] == count["negative"] for count in counts.values())


def test_shared_ngrams_have_the_stated_shares(part: list[OrderSentence]) -> None:
    shared = Counter(min(3, sentence.n_shared) for sentence in part)
    for n, share in ((1, 0.25), (2, 0.25), (3, 0.5)):
        assert shared[n] / len(part) == pytest.approx(share, abs=0.005)


def test_pairs_are_the_same_words_with_opposite_labels(part: list[OrderSentence]) -> None:
    for one, other in pairs(part):
        assert one.text != other.text
        assert sorted(one.text.split()) == sorted(other.text.split())
        assert {one.label, other.label} == {"positive", "negative"}
        assert one.n_shared == other.n_shared == shared_ngrams(one.text, other.text)
    firsts = Counter(one.label for one, _ in pairs(part))
    assert min(firsts.values()) > 0.4 * len(pairs(part))


def test_no_sentence_stands_twice_and_none_in_two_parts(sample: OrderSample) -> None:
    texts = [sentence.text for part in PARTS for sentence in getattr(sample, part)]
    assert len(set(texts)) == len(texts) == 5_500


def test_no_bag_and_no_verdict_on_a_thing_is_in_two_parts(sample: OrderSample) -> None:
    parts = [getattr(sample, part) for part in PARTS]
    bags = [{tuple(sorted(each.text.split())) for each in part} for part in parts]
    said = [{verdict(each.text) for each in part} for part in parts]
    for kinds in (bags, said):
        for one, other in itertools.combinations(kinds, 2):
            assert one
            assert not one & other
    assert len(said[0]) > 500
    assert len(said[2]) > 50


def test_training_sentences_know_every_word(sample: OrderSample) -> None:
    def words(part: list[OrderSentence]) -> set[str]:
        return {word for sentence in part for word in sentence.text.split()}

    assert words(sample.valid) | words(sample.test) <= words(sample.train)
    assert len(words(sample.train)) > 200


def test_every_pattern_is_heard_in_training_and_test(sample: OrderSample) -> None:
    for part in (sample.train, sample.test):
        texts = "\n".join(sentence.text for sentence in part)
        for pattern in itertools.chain(*PATTERNS):
            outline = re.sub(r"\\{\w+\\}", r"[\\w ]+?", re.escape(pattern.positive))
            assert re.search(f"(?m)^{outline}$", texts), pattern.positive


def test_patterns_stand_where_their_ngrams_put_them() -> None:
    for turn, patterns in enumerate(PATTERNS, start=1):
        for pattern in patterns:
            good, bad = pattern.opposites[0]
            fillers = {name: FILLERS[name][0] for name in pattern.fillers}
            for thing in THINGS[pattern.kinds[0]][:1]:
                shared = shared_ngrams(*pattern.write(thing, good, bad, fillers))
                assert shared == turn or (turn == 3 and shared > 3), pattern


def test_words_need_no_other_article_and_have_no_second_meaning() -> None:
    praises, blames = zip(*OPPOSITES, strict=True)
    assert not set(praises) & set(blames)
    for word in [*ALL_THINGS, *itertools.chain(*OPPOSITES)]:
        assert re.fullmatch("[bcdfghjklmnpqrstvwyz][a-z]+|adore|enjoy", word), word
    assert not ALL_THINGS & {word for pair in OPPOSITES for word in pair}
    for fillers in FILLERS.values():
        assert len(set(fillers)) == len(fillers)


def test_the_same_seed_writes_the_same_sample_everywhere(sample: OrderSample) -> None:
    digests = [
        hashlib.sha256(
            "".join(f"{s.text}\t{s.label}\t{s.n_shared}\n" for s in getattr(sample, part)).encode()
        ).hexdigest()[:16]
        for part in PARTS
    ]
    assert digests == ["e9cb6f8397ff2cc2", "cdefd9cc5e42691a", "707a4b7a13a741a0"]


def test_another_seed_writes_another_sample(sample: OrderSample) -> None:
    other = generate(400, 0, 0, seed=2)
    known = {sentence.text for sentence in sample.train[:400]}
    assert len(known & {sentence.text for sentence in other.train}) < 20


def test_a_longer_part_begins_with_the_shorter_one(sample: OrderSample) -> None:
    short = generate(100, 20, 40)
    for part in PARTS:
        said = getattr(short, part)
        assert getattr(sample, part)[: len(said)] == said


def test_files_have_a_header_and_one_labelled_sentence_a_line(tmp_path: Path) -> None:
    small = generate(6, 2, 4)
    write(tmp_path / "new" / "order", small)
    for part in PARTS:
        content = (tmp_path / "new" / "order" / f"{part}.tsv").read_bytes().decode()
        header, *lines, last = content.split("\n")
        assert (header, last) == ("text\tlabel", "")
        assert lines == [f"{each.text}\t{each.label}" for each in getattr(small, part)]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"file: cannot write the sample to .*another folder"):
        write(tmp_path / "file", small)


@pytest.mark.parametrize("sizes", [(3, 2, 2), (2, -2, 2), (2, 2, 1)])
def test_half_a_pair_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="must be an even number of at least 0, since"):
        generate(*sizes)


def test_more_sentences_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    few = (order.Pattern("the {thing} was always {so} and never {not}", kinds=("places",)),)
    monkeypatch.setattr(order, "PATTERNS", (few, few, few))
    most = len(generate(60, 0, 0).train)
    assert most == 60
    with pytest.raises(ConfigError, match=r"has only \d+ sentences for train, but 400 are req"):
        generate(400, 0, 0)


@pytest.mark.parametrize(
    ("one", "other", "n"),
    [
        ("a b", "a c", 0),
        ("a b", "a b c", 0),
        ("a b", "b a", 1),
        ("a b", "a b", 2),
        ("", "", 0),
        ("x a x b x", "x b x a x", 2),
        ("y x a x y x b x y", "y x b x y x a x y", 3),
    ],
)
def test_shared_ngrams_are_counted(one: str, other: str, n: int) -> None:
    assert shared_ngrams(one, other) == n
