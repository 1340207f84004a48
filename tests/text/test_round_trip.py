"""Texts that do not come back from their tokens get a note."""

import pytest

from unrolled.text.config import Kind, TextConfig
from unrolled.text.round_trip import note, restored
from unrolled.text.tokenizer import Tokenizer

CODE = ["from django . conf import settings", "x = {}", "self . run ( )"]
PROSE = ["The cat sat on the mat.", "I don't know, do you?", "“Yes”, he said."]


@pytest.mark.parametrize("kind", ["bpe", "char", "space"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_other_kinds_restore_code(kind: Kind, lowercase: bool) -> None:
    tokenizer = Tokenizer.train(CODE, TextConfig(kind=kind, lowercase=lowercase))
    for text in (*CODE, *PROSE, "cafe\u0301  au lait"):
        before, after = restored(text, tokenizer)
        assert before == after
    assert note(CODE * 9, tokenizer, "target") == ()


def test_words_do_not_restore_code() -> None:
    words = Tokenizer.train(CODE, TextConfig(kind="word"))
    assert restored("django . conf", words) == ("django . conf", "django. conf")
    assert note([*CODE, *PROSE], words, "target") == (
        "target: 33.3% of the texts do not come back unchanged from word tokens: 'self . run ( )' "
        "becomes 'self. run ()'; where that matters, as in code, use --text.kind bpe or --text.kind code "
        "with --text.language, which restore any text",
    )


def test_words_restore_prose_and_unknown_words_do_not_count() -> None:
    words = Tokenizer.train(["a"], TextConfig(kind="word"))
    assert note(PROSE * 10, words, "target") == ()
    folded = Tokenizer.train(["a"], TextConfig(kind="word", lowercase=True))
    assert note(PROSE * 10, folded, "target") == ()


def test_a_few_odd_texts_get_no_note() -> None:
    words = Tokenizer.train(CODE, TextConfig(kind="word"))
    texts = ["All is well."] * 399
    assert note([*texts, CODE[0]], words, "target") == ()
    assert note([], words, "target") == ()
