"""`text.kind = "code"`: vocabularies of code tokens, saved and loaded like other kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from code_texts import AWKWARD, fuzz, texts
from hypothesis import given
from hypothesis import strategies as st

from unrolled.code.marks import MARKS
from unrolled.code.running import BYTES
from unrolled.errors import ConfigError, RunError
from unrolled.text.config import SPECIALS, UNK_ID, TextConfig
from unrolled.text.round_trip import note, restored
from unrolled.text.tokenizer import Tokenizer

CODE = ["if is_ok(x):\n    return getName('no user')", "x = [1, 2]", "print(x)", "x += 1"]
WORDS = ["Get the name of the user x.", "Don't print `x`.", "Is (x) ok?"]
PYTHON = TextConfig(kind="code", language="python")


def well_formed(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def test_a_vocabulary_begins_with_marks_and_goes_on_by_count() -> None:
    plain = Tokenizer.train(CODE, PYTHON)
    assert plain.tokens(range(4 + len(MARKS))) == [*SPECIALS, *MARKS]
    assert plain.tokens([12, 13]) == ["x", "("]
    running = Tokenizer.train(CODE, PYTHON, running=True)
    assert running.tokens(range(12, 12 + 256)) == list(BYTES)
    assert (plain.kind, plain.running, running.kind, running.running) == (
        "code",
        False,
        "code",
        True,
    )


@pytest.mark.parametrize("running", [False, True])
def test_the_training_texts_come_back(running: bool) -> None:
    tokenizer = Tokenizer.train(CODE, PYTHON, running=running)
    for text in CODE:
        ids = tokenizer.encode(text)
        assert UNK_ID not in ids
        assert tokenizer.decode(ids) == text
        assert tokenizer.pieces(ids) == tokenizer.split(text)


RUNNING = Tokenizer.train(CODE, PYTHON, running=True)
PLAIN = Tokenizer.train(CODE, PYTHON)


@fuzz
@given(texts)
def test_running_text_has_no_unknown_token_and_comes_back(text: str) -> None:
    ids = RUNNING.encode(text)
    assert UNK_ID not in ids
    assert RUNNING.decode(ids) == well_formed(text)


@pytest.mark.parametrize("text", AWKWARD)
def test_words_of_any_text_come_back(text: str) -> None:
    before, after = restored(well_formed(text), PLAIN)
    assert before == after
    assert PLAIN.join(PLAIN.split(text)) == well_formed(text)
    assert len(PLAIN.split(text)) == len(PLAIN.encode(text))


@fuzz
@given(st.lists(st.integers(0, min(len(PLAIN), len(RUNNING)) - 1), max_size=20))
def test_any_ids_have_a_text(ids: list[int]) -> None:
    assert isinstance(PLAIN.decode(ids), str)
    assert isinstance(RUNNING.decode(ids), str)


def test_unknown_and_copied_tokens_are_joined_as_words() -> None:
    ids = PLAIN.encode("print(zebra)")
    assert ids[2] == UNK_ID
    assert PLAIN.decode(ids) == "print(<unk>)"
    assert PLAIN.decode([*ids[:2], len(PLAIN), ids[3]], ["zebra"]) == "print(zebra)"


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("language", ["python", "bash", "text"])
def test_a_saved_vocabulary_reads_the_same(language, running: bool, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(CODE, TextConfig(kind="code", language=language), running=running)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (again.kind, again.running, again.code) == ("code", running, tokenizer.code)
    for text in (*CODE, *AWKWARD):
        assert again.encode(text) == tokenizer.encode(text)
        assert again.decode(again.encode(text)) == tokenizer.decode(tokenizer.encode(text))


def test_rules_that_we_do_not_write_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    PLAIN.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["pre_tokenizer"]["pattern"] = {"String": "code cobol"}
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(RunError, match="its 'pre_tokenizer' is not one that this toolkit writes"):
        Tokenizer.load(path)


def test_descriptions_get_the_rules_of_natural_language() -> None:
    source, target = Tokenizer.train(WORDS, PYTHON), Tokenizer.train(CODE, PYTHON)
    assert source.code is not None
    assert target.code is not None
    assert (source.code.language, target.code.language) == ("text", "python")
    assert source.split("Don't print `x`.") == ["Don", "'t", "print", "`", "x", "`", "."]


def test_rare_tokens_are_unknown() -> None:
    config = TextConfig(kind="code", language="python", min_count=2)
    tokens = Tokenizer.train(CODE, config)
    assert tokens.pieces(tokens.encode("x = user")) == ["x", "<unk>", "<unk>"]
    small = TextConfig(kind="code", language="python", vocab_size=270)
    assert len(Tokenizer.train(CODE, small, running=True)) == 270


def test_marks_are_no_words() -> None:
    ids = PLAIN.encode("x = 1\nprint(x)")
    newline = ids.index(PLAIN.id_of("<newline>"))
    assert (newline, newline + 1) not in PLAIN.word_places(ids)
    assert len(PLAIN.word_places(ids)) == len(ids) - 1
    assert ids[newline] in PLAIN.silent
    assert PLAIN.token_bytes()[ids[newline]] == b"\n"
    assert PLAIN.token_bytes()[PLAIN.encode("x")[0]] == b"x"


def test_more_words_can_be_added() -> None:
    more = PLAIN.extended(["zebra", "x"])
    assert len(more) == len(PLAIN) + 1
    assert more.decode(more.encode("print(zebra)")) == "print(zebra)"


def test_code_restores_text_so_there_is_no_note() -> None:
    assert note(["a . b ( c )"] * 50, PLAIN, "target") == ()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"kind": "code"},
            "text.kind is 'code', which needs the rules of a language; set text.language to 'python', "
            "'bash', or 'text' for any other",
        ),
        (
            {"kind": "word", "language": "python"},
            "text.language is 'python', but text.kind is 'word', which has the same rules for all "
            "languages; leave text.language out, or set text.kind to 'code'",
        ),
        (
            {"kind": "code", "language": "python", "lowercase": True},
            "text.lowercase is set, but in code, capitals matter; leave it out, or use another text.kind",
        ),
        (
            {"kind": "code", "language": "python", "vocab_size": 100},
            "text.vocab_size must be at least 268 for code (4 special tokens, 8 marks and the 256 "
            "bytes), or -1, got 100",
        ),
        (
            {"kind": "code", "language": "cobol"},
            "text.language must be one of none, python, bash, text, got 'cobol'",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(values, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TextConfig(**values)
    assert str(caught.value) == problem
