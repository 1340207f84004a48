"""Scores of code against hand-computed cases and the definitions of the papers."""

from __future__ import annotations

import math

import pytest

from unrolled.code.bleu import corpus_bleu, ling_tokens, sentence_bleu
from unrolled.code.metrics import GoldCode, score, signature

pytest.importorskip("tree_sitter_bash")


@pytest.mark.parametrize(
    ("code", "tokens"),
    [
        ("x", "x"),
        ("my_list[0]", "my_list [ 0 ]"),
        ('a = "it\'s"', "a = ` it ` s `"),
        ("getURLName", "get URLName"),
        ("XMLHttp2Request", "XMLHttp2Request"),
        ("été = 1", "é t é = 1"),
        ("a\n    b\tc", "a b c"),
        ("", ""),
    ],
)
def test_tokens_of_ling(code: str, tokens: str) -> None:
    assert ling_tokens(code) == tokens.split()


def test_corpus_bleu_of_a_hand_computed_case() -> None:
    predicted = [["a", "b", "c", "d", "e"], ["a", "b", "c", "d"]]
    gold = [["a", "b", "c", "d", "f"], ["a", "b", "c", "d", "e", "f"]]
    # matches 4+4, 3+3, 2+2, 1+1 of 5+4, 4+3, 3+2, 2+1; lengths 9 and 11
    precisions = [8 / 9, 6 / 7, 4 / 5, 2 / 3]
    expected = 100 * math.exp(sum(map(math.log, precisions)) / 4 + 1 - 11 / 9)
    assert corpus_bleu(predicted, gold) == pytest.approx(expected, abs=1e-10)


def test_corpus_bleu_is_not_smoothed() -> None:
    assert corpus_bleu([["a", "b", "c"]], [["a", "b", "c"]]) == 0
    assert corpus_bleu([[]], [["a"]]) == 0
    assert corpus_bleu([], []) == 0


def test_repeated_tokens_are_clipped() -> None:
    gold = [["the", "cat", "is", "on", "the", "mat"]]
    one = sentence_bleu(["the"] * 6, gold, weights=(1.0,))
    assert one == pytest.approx(2 / 6)


def test_sentence_bleu_of_nltk_without_smoothing() -> None:
    references = ["abcd", "abxd"]
    # The nearest reference of "abcde" has four characters, so there is no penalty.
    precisions = [4 / 5, 3 / 4, 2 / 3, 1 / 2]
    expected = math.exp(sum(map(math.log, precisions)) / 4)
    assert sentence_bleu("abcde", references) == pytest.approx(expected, abs=1e-12)
    assert sentence_bleu("ls", ["ls"]) == 0  # no match of four characters
    assert sentence_bleu("", ["ls"]) == 0


def test_the_shorter_of_two_equally_near_references_counts() -> None:
    tokens, references = list("abcd"), [list("abcdefg"), list("a")]
    assert sentence_bleu(tokens, references) == pytest.approx(1.0)


def test_smoothing_halves_the_precision_of_each_missing_order() -> None:
    tokens, gold = ["a", "b", "x", "c"], [["a", "b", "c", "d"]]
    # orders 3 and 4 have no match: 1/(2·2) and 1/(4·1)
    expected = math.exp(0.25 * sum(map(math.log, [3 / 4, 1 / 3, 1 / 4, 1 / 4])))
    assert sentence_bleu(tokens, gold, smooth=True) == pytest.approx(expected, abs=1e-12)


def test_short_references_have_fewer_orders() -> None:
    scores = score(["return"], [GoldCode("return")])
    assert scores["sentence_bleu"] == 100
    assert scores["bleu"] == 0


def test_exact_match_and_trees() -> None:
    gold = [GoldCode("f('a', 1)"), GoldCode("print 'a'"), GoldCode("else :"), GoldCode("x = (1)")]
    predicted = ['f("a", 0x1)', 'print "a"', "else:", "x = 1 "]
    scores = score(predicted, gold)
    assert scores["exact_match"] == 0
    assert scores["exact_tree"] == 75  # the second is no Python 3
    assert scores["parses"] == 75
    assert score(["print 'a' "], gold[1:2])["exact_tree"] == 100


def test_bash_is_scored_over_unique_descriptions() -> None:
    gold = [
        GoldCode("ls -l a", "List  a", "bash"),
        GoldCode("ls -l --all", "list a", "bash"),
        GoldCode("rm b.txt", "remove b", "bash"),
    ]
    scores = score(["ls -l a", "nonsense", "rm 'b"], gold)
    assert scores["template_match"] == 100
    assert scores["parses"] == pytest.approx(200 / 3, abs=1e-4)
    second = sentence_bleu("rm 'b", ["rm b.txt"])
    assert scores["char_bleu"] == pytest.approx(100 * (1 + second) / 2, abs=1e-4)
    assert set(scores) == set(signature("bash"))


def test_scores_without_rows_and_without_answers() -> None:
    assert set(score([], [])) == set(signature())
    assert set(score([""], [GoldCode("f(x)")]).values()) == {0.0}


def test_scores_stay_within_0_and_100() -> None:
    codes = ["f(x)", "", "x = 'a", "for x in y:", "a" * 30_000, "(" * 5_000, "\0"]
    for code in codes:
        for language in ("python", "bash"):
            scores = score([code], [GoldCode("f(x)", "", language)])
            assert all(0 <= value <= 100 for value in scores.values())
