"""The choice among hypotheses, and slots in what is shown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from unrolled.code.slots import SLOTS
from unrolled.errors import ConfigError
from unrolled.tasks.code.answers import CodeDecoding, decode, expected_similarity, rerank
from unrolled.tasks.code.examples import SOURCE, TARGET, CodePair, encode, notes, train_tokenizers
from unrolled.tasks.code.task import TASK, CodeConfig
from unrolled.tasks.predictions import Answer, Prediction
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row

ONE = SLOTS[0]
ROWS = [
    Row(("sort `a_b` by 'key'", "sorted(a_b, key='key')", "python", "slots"), 2),
    Row(("sum of x", "sum(x)", "python", "slots"), 3),
]


def prediction(*texts: str, finished: bool = True) -> Prediction:
    answers = tuple(
        Answer(text, -0.5 - place, -1.0 - place, (), None, finished)
        for place, text in enumerate(texts)
    )
    return Prediction(texts[0], answers[0].score, ("a",), answers)


def chosen(given: Prediction, choice: str, language: str | None = "python") -> list[str]:
    found = rerank(given, CodeDecoding(rerank=choice), language)
    assert found.text == found.hypotheses[0].text
    assert found.score == found.hypotheses[0].score
    return [answer.text for answer in found.hypotheses]


def test_the_best_that_parses_comes_first() -> None:
    given = prediction("f(", "f(x)", "g(x)", "f(")
    assert chosen(given, "parses") == ["f(x)", "f(", "g(x)"]
    assert chosen(given, "none") == ["f(", "f(x)", "g(x)"]
    assert chosen(given, "parses", None) == ["f(", "f(x)", "g(x)"]
    assert chosen(prediction("f(", "g("), "parses") == ["f(", "g("]
    cut_off = prediction("f(x", "x", finished=False)
    assert chosen(cut_off, "parses") == ["f(x", "x"]


def test_least_risk_prefers_what_others_resemble() -> None:
    given = prediction("print(z)", "sorted(x, key=f)", "sorted(x, key=g)", "sorted(x, key=h)")
    given = replace(
        given, hypotheses=tuple(replace(each, log_prob=-1.0) for each in given.hypotheses)
    )
    assert chosen(given, "mbr")[0].startswith("sorted(x")
    assert chosen(given, "parses")[0] == "print(z)"


def test_expected_similarity_of_a_hand_computed_case() -> None:
    given = prediction("a b c d", "x")
    similarity = expected_similarity(given.hypotheses, ["a b c d", "x"])
    p = 1 / (1 + math.exp(-1))  # log-probabilities -1 and -2
    assert similarity == pytest.approx([p, 1 - p])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"decoding\.prior_weight"):
        CodeDecoding(prior_weight=-2.0)


@pytest.fixture(scope="module")
def tokenizers() -> dict:
    return train_tokenizers(ROWS, TextConfig(kind="code", language="python"))


def test_slots_are_words_of_both_vocabularies(tokenizers: dict) -> None:
    pair = encode(ROWS[0].texts, tokenizers)
    assert pair.spans == ("a_b", "key")
    pieces = tokenizers[TARGET].tokens(pair.target)
    assert pieces[:3] == ["sorted", "(", ONE]
    assert tokenizers[SOURCE].tokens(pair.source)[1:4] == ["`", ONE, "`"]
    for role in (SOURCE, TARGET):
        assert None not in [tokenizers[role].id_of(slot) for slot in SLOTS]


def test_without_slots_spans_stay_words() -> None:
    rows = [replace(row, fields=(*row.texts[:3], "")) for row in ROWS]
    pair = encode(rows[0].texts, train_tokenizers(rows, TextConfig(kind="code", language="python")))
    assert pair.spans == ()


@pytest.mark.parametrize("kind", ["word", "bpe", "space", "code"])
def test_every_kind_of_tokens_and_one_vocabulary(kind: str) -> None:
    language = {"language": "python"} if kind == "code" else {}
    config = TextConfig(kind=kind, shared=True, **language)
    found = train_tokenizers(ROWS, config)
    assert found[SOURCE] is found[TARGET]
    pair = encode(ROWS[0].texts, found)
    if kind in ("bpe", "code"):
        shown = found[TARGET].decode(pair.target)
        assert shown == (
            "sorted(a_b, key='key')" if kind == "bpe" else f"sorted({ONE}, {SLOTS[1]}='{SLOTS[1]}')"
        )


def test_an_answer_has_spans_in_place_of_slots(tokenizers: dict) -> None:
    torch.manual_seed(1)
    config = CodeConfig(embedding_size=4, encoder_size=4, hidden_size=8)
    model = TASK.build(config, tokenizers).eval()
    pairs = [encode((text,), tokenizers) for text in ("sort `a_b` by `a_b` of `new`", "")]
    settings = CodeDecoding(min_length_limit=4, max_length_extra=0, n_best=2)
    for options in ({}, {"language": "python"}):
        one, empty = decode(model, pairs, tokenizers, settings, True, **options)
        assert one.source_pieces[1:4] == ("`", "a_b", "`")
        assert not any(slot in piece for slot in SLOTS for piece in one.source_pieces)
        assert one.hypotheses[0].attention.shape[1] == len(pairs[0].source)
        assert (empty.text, len(empty.hypotheses)) == ("", 1)


def test_lost_tokens_are_noted(tokenizers: dict) -> None:
    row = Row(("do it", "unseen(thing)", "python", "slots"), 4)
    examples = {
        "train": [encode(ROWS[0].texts, tokenizers)],
        "valid": [encode(row.texts, tokenizers)],
    }
    (note,) = notes(TextConfig(), {"train": ROWS, "valid": [row]}, examples, tokenizers)
    assert note.startswith(
        "valid: 100.0% of the rows have code with a token that is neither in the"
    )
    assert isinstance(examples["valid"][0], CodePair)
