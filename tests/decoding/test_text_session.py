"""Generation, completion and scoring, compared with enumeration and with reading at once."""

from __future__ import annotations

import math
import random
import unicodedata
from collections import defaultdict
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_language_model import KINDS, TEXTS, Table, ToyModel, tokenizer_of

from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.scoring import score
from unrolled.decoding.text_session import TextSession
from unrolled.decoding.word_completion import in_word
from unrolled.errors import ConfigError
from unrolled.tasks.language_model import LanguageModel, LanguageModelConfig
from unrolled.text.config import EOS_ID
from unrolled.text.join_words import join_words

pytestmark = pytest.mark.usefixtures("one_thread")

AWKWARD = [
    *TEXTS,
    "",
    " ",
    "  the  cat\t sat\n\n there \r\n",
    "don't don' t don'' cat's 'the' 1'2 12 a1 a-b ... ,'",
    "cafe\u0301 E\u0301l an\u0303o =\u0338 =\u0327\u0338 a\u0301\u0323 \u1112\u1161\u11ab",
    "\u0301a \ud83d x 😀é",
    "U.S. 25.5 3. o'clock can't",
]


def continuation(kind: str, scale: float = 1.0, **settings: Any) -> tuple[Any, Any, TextSession]:
    tokenizer = tokenizer_of(kind)
    model = ToyModel(len(tokenizer), scale)
    return model, tokenizer, TextSession(model, tokenizer, **settings)


def after(model: Any, ids: list[int]) -> Tensor:
    """The distribution after an end of document and these ids, by plain steps."""
    _, state = hidden, state = model.step(torch.tensor([EOS_ID]), model.start(1))
    for token in ids:
        hidden, state = model.step(torch.tensor([token]), state)
    return model.head.logits(hidden).log_softmax(1)[0].detach()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", AWKWARD)
def test_reading_in_pieces_equals_reading_at_once(kind: str, text: str) -> None:
    # A lone half of a surrogate pair stays one, however the text is split.
    draws = random.Random(7)
    for marks in ("", " end"):
        at_once = continuation(kind)[2]
        at_once.feed(text + marks)
        for largest in (1, 2, 5):
            in_pieces = continuation(kind)[2]
            place = 0
            while place < len(text + marks):
                n = draws.randint(1, largest)
                in_pieces.feed((text + marks)[place : place + n])
                place += n
            assert torch.equal(in_pieces.log_probs(), at_once.log_probs())
            assert in_pieces.complete(5) == at_once.complete(5)
            assert list(in_pieces.generate(5)) == list(at_once.generate(5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("border", ["\n\n", "\n***\n"])
def test_document_borders_may_be_split_between_pieces(kind: str, border: str) -> None:
    parts = ["the cat", "sat there", "", "and"]
    for end in ("", " ", "\n", "\n*"):
        text = border.join(parts) + end
        at_once, in_pieces = (continuation(kind, border=border)[2] for _ in range(2))
        at_once.feed(text)
        for character in text:
            in_pieces.feed(character)
        assert torch.equal(in_pieces.log_probs(), at_once.log_probs())
        assert in_pieces.typed() == at_once.typed()
        assert in_pieces.complete(5) == at_once.complete(5)
        assert list(in_pieces.generate(5)) == list(at_once.generate(5))
    assert at_once._ids_of(text).count(EOS_ID) == 3
    # An incomplete border is ordinary text.
    plain = continuation(kind, border="")[2]
    short = continuation(kind, border=border)[2]
    for each in (plain, short):
        each.feed("the cat\n")
    assert torch.equal(plain.log_probs(), short.log_probs())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", AWKWARD)
def test_the_tokens_read_equal_the_tokenizers(kind: str, text: str) -> None:
    model, tokenizer, read = continuation(kind, border="")
    for character in text:
        read.feed(character)
    state = read._after(read._encode(read._tail))
    expected = after(model, tokenizer.encode(text))
    assert torch.allclose(read._steps.log_probs(state)[0], expected, atol=1e-5)


def test_each_character_is_one_step_with_immediate_effect() -> None:
    model, tokenizer, read = continuation("char")
    for n, character in enumerate("the cat", start=1):
        before = model.n_steps
        read.feed(character)
        assert model.n_steps - before == 1
        read.log_probs()
        assert model.n_steps - before == 1
        expected = after(model, tokenizer.encode("the cat"[:n]))
        assert torch.allclose(read.log_probs(), expected, atol=1e-5)
        model.n_steps = before + 1


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_never_read_twice(kind: str) -> None:
    model, tokenizer, read = continuation(kind)
    text = "the cat sat there, and then the other cats came"
    for character in text:
        read.feed(character)
        read.log_probs()
    read.feed("\n")
    # One for each token and two ends of documents (byte pairs have tokens for line breaks).
    assert model.n_steps <= len(tokenizer.encode(text)) + 2


@pytest.mark.parametrize("kind", ["word", "space", "bpe", "running"])
def test_a_word_is_committed_when_a_space_follows(kind: str) -> None:
    model, tokenizer, read = continuation(kind)
    read.feed("the cat")
    assert torch.allclose(read.log_probs(), after(model, tokenizer.encode("the")), atol=1e-5)
    read.feed(" ")
    assert torch.allclose(read.log_probs(), after(model, tokenizer.encode("the cat")), atol=1e-5)


@pytest.mark.parametrize("kind", ["char", "word", "space"])
def test_a_line_break_without_a_token_ends_the_document(kind: str) -> None:
    model, tokenizer, read = continuation(kind)
    read.feed("the cat\nand ")
    ids = [*tokenizer.encode("the cat"), EOS_ID, *tokenizer.encode("and ")]
    assert torch.allclose(read.log_probs(), after(model, ids), atol=1e-5)


def test_restarting_documents_forget_the_previous_one() -> None:
    _, _, first = continuation("char", restart=True)
    _, _, second = continuation("char", restart=True)
    first.feed("sat there\nthe c")
    second.feed("the c")
    assert torch.equal(first.log_probs(), second.log_probs())
    costs, alone = first.surprise("no\nthe"), first.surprise("the")
    assert [each.bits for each in costs[3:]] == pytest.approx([each.bits for each in alone])


def test_a_copy_is_independent() -> None:
    _, _, read = continuation("bpe")
    read.feed("the ca")
    other = read.copy()
    expected = read.log_probs(), read.complete()
    other.feed("t sat there")
    assert torch.equal(read.log_probs(), expected[0])
    assert read.complete() == expected[1]


def tiny_letters() -> tuple[Any, Any]:
    """Letters a and b, a space, a full stop: a word of up to 4 letters has 30 forms."""
    tokenizer = tokenizer_of("char", ["ab .", "ab"])
    generator = torch.Generator().manual_seed(5)
    probabilities = torch.rand(len(tokenizer), len(tokenizer), generator=generator) + 0.02
    letters = tokenizer.encode("ab")
    probabilities[:, letters] *= 0.3  # so that words can end
    probabilities[:, 1] = 1e-3
    return Table(probabilities / probabilities.sum(1, keepdim=True)), tokenizer


@pytest.mark.parametrize("context", ["", "ab ", "ab.a ", "a", "b. ab", "ab aab"])
def test_character_completions_equal_enumeration(context: str) -> None:
    model, tokenizer = tiny_letters()
    read = TextSession(model, tokenizer)
    read.feed(context)
    typed = context[max(context.rfind(" "), context.rfind(".")) + 1 :]
    ends = [EOS_ID, *tokenizer.encode(" .")]
    expected: dict[str, float] = {}
    for length in range(5):
        for letters in product("ab", repeat=length):
            word = typed + "".join(letters)
            ids = tokenizer.encode("".join(letters))
            if not word:
                continue
            now = after(model, tokenizer.encode(context))
            total = 0.0
            for token in ids:
                total += now[token].item()
                now = after(model, [token])
            expected[word] = torch.tensor(total).exp().item() * now[ends].exp().sum().item()
    found = {each.text: each.probability for each in read.complete(12, max_length=4)}
    best = sorted(expected, key=expected.__getitem__, reverse=True)[:12]
    assert list(found) == best
    assert list(found.values()) == pytest.approx([expected[word] for word in best], rel=1e-4)


def test_a_short_limit_does_not_end_the_search_early() -> None:
    # Words only end after their fifth letter, so many prefixes are read before one ends.
    tokenizer = tokenizer_of("char", ["abc"])
    letters = tokenizer.encode("abc")
    generator = torch.Generator().manual_seed(7)
    weights = torch.rand(len(tokenizer), len(tokenizer), generator=generator) + 1.0

    class FiveLetters(Table):
        def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
            n_letters = state[0][0] + (ids != EOS_ID).unsqueeze(1)
            shares = torch.full((len(ids), len(tokenizer)), 1e-9)
            shares[:, letters] = weights[ids][:, letters] * (n_letters < 5)
            shares[:, EOS_ID] = (n_letters[:, 0] >= 5).float()
            return (shares / shares.sum(1, keepdim=True)).log(), ((n_letters,),)

    shares = weights / weights[:, letters].sum(1, keepdim=True)
    expected = {
        "".join(word): math.prod(
            shares[tokenizer.encode(before)[0] if before else EOS_ID, tokenizer.encode(letter)[0]]
            for before, letter in pairwise(["", *word])
        )
        for word in product("abc", repeat=5)
    }
    best = sorted(expected, key=expected.__getitem__, reverse=True)[:5]
    found = TextSession(FiveLetters(weights), tokenizer).complete(5, max_length=5)
    assert [each.text for each in found] == best
    assert [each.probability for each in found] == pytest.approx(
        [float(expected[word]) for word in best], rel=1e-4
    )


def test_byte_pair_completions_sum_over_all_splits() -> None:
    tokenizer = tokenizer_of("bpe", ["a ab a a ab a ab bab bab bab"] * 3)
    spelled = tokenizer.token_bytes()
    # Only a few tokens have a probability, so that all sequences of up to four can be enumerated.
    wanted = [b" ", b" a", b"a", b"b", b"ab", b" ab", b"."]
    assert set(wanted) <= set(spelled)
    shares = torch.full((len(tokenizer),), 1e-12)
    for share, token in zip([3.0, 5.0, 1.0, 1.5, 1.0, 2.0, 6.0], wanted, strict=True):
        shares[spelled.index(token)] = share
    shares /= shares.sum()
    model = Table(shares.expand(len(tokenizer), -1))
    read = TextSession(model, tokenizer)
    read.feed(". a")

    masses: defaultdict[str, float] = defaultdict(float)
    covered = 0.0
    share_of = dict(zip(spelled, shares.tolist(), strict=True))
    p_end = share_of[b" "] + share_of[b" a"] + share_of[b" ab"] + share_of[b"."]
    for n in range(1, 6):
        for sequence in product(wanted, repeat=n):
            text = b"".join(sequence)
            if not text.startswith(b" a"):
                continue
            mass = 1.0
            for token in sequence:
                mass *= share_of[token]
            if not b"".join(sequence[:-1]).startswith(b" a"):
                covered += mass
            if b" " not in text[1:] and b"." not in text:
                masses[text[1:].decode()] += mass * p_end
    best = sorted(masses, key=masses.__getitem__, reverse=True)[:4]
    found = read.complete(4)
    assert [each.text for each in found] == best
    assert all(each.typed == "a" for each in found)
    assert [each.probability for each in found] == pytest.approx(
        [masses[word] / covered for word in best], rel=0.02
    )


@pytest.mark.parametrize("kind", ["word", "space"])
def test_empty_completions_are_the_next_token_distribution(kind: str) -> None:
    model, tokenizer, read = continuation(kind)
    read.feed("the cat ")
    found = read.complete(len(tokenizer))
    expected = after(model, tokenizer.encode("the cat")).exp()[4:]
    assert len(found) == len(tokenizer) - 4
    assert [each.probability for each in found] == sorted(
        (each.probability for each in found), reverse=True
    )
    by_text = {each.text: each.probability for each in found}
    texts = [written.decode() for written in tokenizer.token_bytes()[4:]]
    assert [by_text[text] for text in texts] == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.parametrize("kind", ["word", "space"])
def test_word_completions_have_a_total_probability_of_one(kind: str) -> None:
    model, tokenizer, read = continuation(kind)
    read.feed("then the")
    found = read.complete(len(tokenizer))
    words = [written.decode() for written in tokenizer.token_bytes()]
    agreeing = [i for i, word in enumerate(words) if word.startswith("the")]
    assert {each.text for each in found} == {words[i] for i in agreeing}
    assert sum(each.probability for each in found) == pytest.approx(1)
    expected = after(model, tokenizer.encode("then"))[agreeing].softmax(0)
    by_text = {each.text: each.probability for each in found}
    assert [by_text[words[i]] for i in agreeing] == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.parametrize("tied", [False, True])
def test_a_typed_word_is_completed_from_the_scores_of_matching_words_alone(tied: bool) -> None:
    tokenizer = tokenizer_of("word")
    config = LanguageModelConfig(embedding_size=9, hidden_size=9, tied=tied)
    model = LanguageModel(config, len(tokenizer)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    read = TextSession(model, tokenizer)
    read.feed("then the")
    found = read.complete(5)
    hidden, state = model.step(torch.tensor([EOS_ID]), model.start(1))
    hidden, _ = model.step(torch.tensor(tokenizer.encode("then")), state)
    words = [written.decode() for written in tokenizer.token_bytes()]
    agreeing = [i for i, word in enumerate(words) if word.startswith("the")]
    shares = model.head.logits(hidden)[0].double().softmax(0)[agreeing]
    expected = dict(
        zip((words[i] for i in agreeing), (shares / shares.sum()).tolist(), strict=True)
    )
    assert {each.text: each.probability for each in found} == pytest.approx(
        {each.text: expected[each.text] for each in found}, rel=1e-5
    )
    assert len(found) == min(5, len(agreeing))
    assert [each.probability for each in found] == pytest.approx(
        sorted(expected.values(), reverse=True)[: len(found)], rel=1e-5
    )
    read.feed("zzz")
    assert read.complete(3) == []


@pytest.mark.parametrize("kind", KINDS)
def test_completions_start_with_the_typed_text(kind: str) -> None:
    _, _, read = continuation(kind, scale=0.3)
    fresh, draws = read.copy(), random.Random(11)
    for _ in range(60):
        text = draws.choice(AWKWARD)
        start = draws.randrange(len(text) + 1)
        prefix = text[start : draws.randint(start, len(text))]
        read = fresh.copy()
        read.feed(prefix)
        ending = unicodedata.normalize("NFC", prefix.encode("utf-8", "replace").decode())
        found = read.complete(4)
        for each in found:
            assert ending.endswith(each.typed)
            assert each.text.startswith(each.typed)
            assert 0 < each.probability <= 1
            if kind not in ("word", "space"):
                assert all(map(in_word, each.text.removeprefix(" ")))
        assert len({each.text for each in found}) == len(found)
        assert sum(each.probability for each in found) <= 1 + 1e-6


def test_lower_case_completions_keep_typed_capitals() -> None:
    for kind in ("char", "word", "bpe"):
        tokenizer = tokenizer_of(kind, lowercase=True)
        read = TextSession(ToyModel(len(tokenizer)), tokenizer)
        read.feed("the CAt")
        found = read.complete(3)
        assert found
        assert all(each.text.startswith("CAt") for each in found)


def test_a_search_reads_many_hypotheses_in_one_step() -> None:
    model, _, read = continuation("char")
    read.feed("the ca")
    model.n_steps = model.n_rows = 0
    read.complete(3, max_length=20)
    assert model.n_steps <= 21
    assert model.n_rows <= 24 * model.n_steps


def test_after_punctuation_the_next_word_may_include_a_space() -> None:
    _, _, read = continuation("char", scale=0.1)
    read.feed("the cat,")
    assert any(each.text.startswith(" ") for each in read.complete(200, max_length=3))
    read.feed(" ")
    assert not any(each.text.startswith(" ") for each in read.complete(200, max_length=3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_generated_pieces_equal_the_decoded_text(kind: str, seed: int) -> None:
    _, tokenizer, read = continuation(kind, scale=0.2)
    config = {"max_tokens": 60, "seed": seed}
    tokens = [token for token, _ in read._tokens(60, DecodingConfig("sample"), seed, False)]
    documents: list[list[int]] = [[]]
    for token in tokens:
        if token == EOS_ID:
            documents.append([])
        else:
            documents[-1].append(token)
    written = "".join(read.generate(**config))  # type: ignore[arg-type]
    assert written == "\n".join(tokenizer.decode(ids) for ids in documents)
    assert len(tokens) == 60
    assert not {0, 1, 2} & set(tokens)


def test_generated_words_are_joined_to_the_text() -> None:
    tokenizer = tokenizer_of("word")
    n = len(tokenizer)
    words = ["(", "$", "5", ")", ",", "'", "the", "'", "boys", "'", "room"]
    ids = [tokenizer.encode(word)[0] for word in words]
    for prompt in ("the cat", "the cat ", 'say "', "cats '", ""):
        read = TextSession(ToyModel(n), tokenizer)
        read.feed(prompt)
        writer: Any = read._writer()
        written = "".join(writer.write((token, 0) for token in ids))
        before = tokenizer.pieces(tokenizer.encode(prompt))
        whole = join_words([*before, *words])
        assert whole.endswith(written)
        assert (prompt + written).replace(" ", "") == whole.replace(" ", "")
        assert (prompt + written).count("  ") == 0
    assert written == join_words(words)


def test_generation_is_reproducible_and_ignores_later_feeds() -> None:
    _, _, read = continuation("bpe", scale=0.3)
    read.feed("the cat")
    expected = list(read.generate(30, seed=5))
    assert "".join(expected) != "".join(read.generate(30, seed=6))
    writing = read.generate(30, seed=5)
    first = next(writing)
    read.feed(" sat there, and")
    assert [first, *writing] == expected


def test_temperature_zero_takes_the_most_probable_token() -> None:
    model, tokenizer, read = continuation("char")
    read.feed("the")
    ids = tokenizer.encode("the")
    for character in "".join(read.generate(12, temperature=0)):
        log_probs = after(model, ids)
        log_probs[:3] = -torch.inf
        ids.append(int(log_probs.argmax()))
        assert character == ("\n" if ids[-1] == EOS_ID else tokenizer.decode(ids[-1:]))
    assert "".join(read.generate(12, top_k=1)) == "".join(read.generate(12, temperature=0))


@pytest.mark.parametrize("kind", ["bpe", "running"])
def test_byte_pair_generation_continues_a_partial_word(kind: str) -> None:
    _, tokenizer, read = continuation(kind, scale=0.2)
    spelled = tokenizer.token_bytes()
    for text in ("and th", "and t", "and the", "and ", "th", "caf\u00e9 a\u00f1"):
        other = read.copy()
        other.feed(text)
        whole = (text if kind == "running" else " " + text).encode()
        for seed in range(20):
            drawn = list(other._tokens(5, DecodingConfig("sample"), seed, False))
            n_repeated = sum(n for _, n in drawn)
            tail = whole[len(whole) - n_repeated :]
            assert b"".join(spelled[token] for token, _ in drawn).startswith(tail)
            assert tail.decode() == other._tail
            written = b"".join(spelled[token][n:] for token, n in drawn if token != EOS_ID)
            if EOS_ID not in [token for token, _ in drawn]:
                assert "".join(other.generate(5, seed=seed)) == written.decode("utf-8", "replace")


@pytest.mark.parametrize("kind", KINDS)
def test_stop_strings_are_not_returned(kind: str) -> None:
    _, _, read = continuation(kind, scale=0.2)
    whole = "".join(read.generate(80, seed=2))
    for start in range(0, len(whole) - 6, 5):
        stop = whole[start : start + 5]
        assert "".join(read.generate(80, seed=2, stop=[stop])) == whole[: whole.index(stop)]
    assert "".join(read.generate(80, seed=2, stop=["not in it"])) == whole


def test_stop_at_end_stops_at_the_end_of_a_document() -> None:
    _, _, read = continuation("char", scale=0.1)
    whole = "".join(read.generate(300))
    assert "\n" in whole
    assert "".join(read.generate(300, stop_at_end=True)) == whole[: whole.index("\n")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature must be at least 0, got -1"),
        ({"temperature": float("nan")}, "temperature must be at least 0, got nan"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0"),
        ({"top_k": -1}, "top_k must be at least 0, got -1"),
        ({"max_tokens": -1}, "max_tokens must be at least 0, got -1"),
        ({"stop": ["a", ""]}, "stop must be strings that are not empty"),
    ],
)
def test_invalid_settings_are_refused_before_generating(
    settings: dict[str, Any], message: str
) -> None:
    _, _, read = continuation("char")
    with pytest.raises(ConfigError, match=message):
        read.generate(**settings)
    with pytest.raises(ConfigError, match="k must be at least 1, got 0"):
        read.complete(0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_of_a_text_is_the_sum_of_its_tokens(kind: str) -> None:
    model, tokenizer, read = continuation(kind)
    text = "the cat sat there, and then\nthe boys' room"
    read.feed("what was read does not matter")
    found = read.surprise(text)
    if kind in ("bpe", "running"):
        ids = tokenizer.encode(text)
    else:
        first, second = map(tokenizer.encode, text.split("\n"))
        ids = [*first, EOS_ID, *second]
    assert [each.piece for each in found] == tokenizer.pieces(ids)
    for n, (token, each) in enumerate(zip(ids, found, strict=True)):
        expected = after(model, ids[:n]).double()
        assert each.bits == pytest.approx(-expected[token].item() / 0.6931471805599453, rel=1e-4)
        # Words as probable as this one, up to rounding, may come before or after it.
        surely_before, before_or_beside = (
            int((expected > expected[token] + d).sum()) for d in (1e-5, -1e-5)
        )
        assert surely_before < each.rank <= before_or_beside
    figures = score(found, text)
    assert figures.bits == pytest.approx(sum(each.bits for each in found))
    assert figures.perplexity == pytest.approx(2 ** (figures.bits / len(ids)))
    assert figures.bits_per_character == pytest.approx(figures.bits / len(text))


def test_scoring_takes_one_step_per_token() -> None:
    model, _, read = continuation("char")
    model.n_steps = 0
    assert len(read.surprise("the cat " * 100)) == 800
    assert model.n_steps <= 801
    assert read.surprise("") == []
