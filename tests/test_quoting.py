"""Data quoted in messages, tables and lines are on one line, bounded, and without control characters."""

from __future__ import annotations

import json
import time

import pytest

from unrolled.errors import ConfigError, DataError, did_you_mean
from unrolled.quoting import brief, escape, escape_breaks, json_line, quote
from unrolled.text.labels import Labels

HOSTILE = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "a\rb",
    "a\nb",
    "a\tb",
    "a\x0bb\x0cc",
    "\x85",
    "\x9b31m",
    "\u2028\u2029",
    "\u202egpj.exe",
    "\u2066x\u2069",
    "\ufeff",
    "\ud800",
    "\U000e0041",
    "\x7f",
]


def is_plain(text: str) -> bool:
    return len(text.splitlines()) == 1 and text.isprintable() and text.isascii()


@pytest.mark.parametrize("text", HOSTILE)
def test_messages_contain_no_control_characters(text: str) -> None:
    for error in (
        ConfigError(f"unknown key {text}"),
        DataError(f"label '{text}' is unknown", f"{text}.tsv", 3, field=text),
    ):
        assert is_plain(str(error))
    assert is_plain(quote(text))
    assert is_plain(escape(text))


def test_ordinary_text_is_not_escaped() -> None:
    for text in ("café 中文 ¿Dónde?", "नमस्ते می\u200cخواهم", "👩\u200d🚀", "C:\\new\\table"):
        assert escape(text) == text
        assert str(ConfigError(text)) == text


@pytest.mark.parametrize("text", ["x" * 10_000, "\x1b" * 10_000, "é" * 3_000_000])
def test_messages_have_a_bounded_length(text: str) -> None:
    assert len(str(ConfigError(f"unknown key {text}; choose another"))) <= 1000
    message = str(DataError(f"label '{text}' is unknown; correct it", text, 3, text))
    assert len(message) <= 1600
    assert "line 3" in message
    assert message.endswith("is unknown; correct it")
    assert len(brief(text)) <= 60


def test_a_long_label_is_quoted_and_shortened_in_errors() -> None:
    labels = Labels.of(["x" * 10_000 + "1", "y\n"])
    with pytest.raises(DataError) as raised:
        labels.id_of("z\x1b" + "w" * 2_000_000)
    message = str(raised.value)
    assert len(message) < 400
    assert is_plain(message.replace("…", ""))


def test_no_name_is_suggested_for_a_very_long_one() -> None:
    begin = time.perf_counter()
    assert did_you_mean("a" * 2_000_000, ["a" * 2_000_000, "b"]) == ""
    assert did_you_mean("bean", (name for name in ["c" * 2_000_000, "beam"])).endswith("'beam'?")
    assert time.perf_counter() - begin < 5


def test_a_line_of_json_is_one_line_and_reads_back() -> None:
    for text in HOSTILE:
        line = json_line({"label": text})
        assert is_plain(line)
        assert json.loads(line) == {"label": text}


def test_only_what_breaks_a_line_is_escaped_in_one() -> None:
    assert escape_breaks("a\r\nb\u2028c\x1bd\te f") == "a\\r\\nb\\u2028c\x1bd\te f"
    assert escape_breaks("d\te f", also="\t ") == "d\\te\\x20f"
