"""Running text of code: parts join to the whole, and no token is unknown."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from code_texts import AWKWARD, fuzz, texts
from hypothesis import given
from hypothesis import strategies as st

from unrolled.code.lexer import LANGUAGES
from unrolled.code.marks import MARKS, RESET
from unrolled.code.running import BYTES, Reader, in_characters, split_running
from unrolled.code.tokens import join
from unrolled.text.corpus import segments

VOCABULARY = frozenset(["a", "e", "get", "if", "in", "x", "(", ")", "=", "    ", "\t", "'", *MARKS])


def restored(tokens: list[str], language: str) -> str:
    return join(in_characters(tokens), language)


@fuzz
@given(texts, st.sampled_from(LANGUAGES))
def test_every_text_has_known_tokens(text: str, language: str) -> None:
    text = text.encode("utf-8", "replace").decode()  # lone surrogates have no bytes
    tokens = split_running(text, language, VOCABULARY)
    assert set(tokens) <= VOCABULARY | set(BYTES)
    assert restored(tokens, language) == text


@fuzz
@given(st.lists(texts, min_size=1, max_size=4), st.sampled_from(LANGUAGES))
def test_parts_join_to_the_whole(parts: list[str], language: str) -> None:
    parts = [parts[0], *(f"\nx{part}" for part in parts[1:])]
    parts = [part.encode("utf-8", "replace").decode() for part in parts]
    for vocabulary in (None, VOCABULARY):
        tokens = [token for part in parts for token in split_running(part, language, vocabulary)]
        assert restored(tokens, language) == "".join(parts)


@pytest.mark.parametrize("name", ["textwrap.py", "calendar.py"])
def test_short_parts_of_a_file_join_to_it(name: str, monkeypatch) -> None:
    monkeypatch.setattr(segments, "_PIECE", 200)
    text = (Path(sysconfig.get_path("stdlib")) / name).read_text(encoding="utf-8")
    parts = [piece.text for piece in segments.document([text], keep_line_end=True)]
    assert len(parts) > 10
    tokens = [token for part in parts for token in split_running(part, "python")]
    assert join(tokens, "python") == text
    assert RESET in tokens


@pytest.mark.parametrize("text", AWKWARD)
def test_reading_before_white_space_equals_reading_at_once(text: str) -> None:
    places = [i for i in range(1, len(text)) if text[i].isspace() and not text[i - 1].isspace()]
    reader, done = Reader("python", VOCABULARY), 0
    tokens: list[str] = []
    for place in (*places, len(text)):
        tokens += reader.copy().read(text[done:place])
        reader.read(text[done:place])
        done = place
    assert [*tokens, *reader.close()] == split_running(text, "python", VOCABULARY)


def test_usual_white_space_before_a_known_token_is_not_read() -> None:
    assert Reader("python").read("return ", before="x") == ["return"]
    assert Reader("python").read("f(x) ", before="x") == ["f", "(", "x", ")", "<space>"][:4]
    assert Reader("python").read("f( ", before="x") == ["f", "(", "<space>"]
    assert Reader("python").read("if x:\n    ", before="x") == [
        "if",
        "x",
        ":",
        "<newline>",
        "<indent>",
    ]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert restored(["a", "<0xFF>", "<0xC3>", "b"], "python").count("\ufffd") == 2
