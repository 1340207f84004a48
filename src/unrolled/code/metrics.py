"""Scores of predicted code, as published for Django, CoNaLa and NL2Bash.

- `exact_match`: equal text; white space at the ends of lines makes no difference.
- `exact_tree`: equal normal forms (`parsing.normal_form`), or equal text if the reference does not
  parse. On Django, this is the accuracy of Yin and Neubig (2017).
- `bleu`: BLEU of CoNaLa (Yin et al. 2018), `bleu.corpus_bleu` over `bleu.ling_tokens`.
- `sentence_bleu`: BLEU of Django (Ling et al. 2016, Yin and Neubig 2017): the mean over rows of
  `bleu.sentence_bleu` over `bleu.ling_tokens`, smoothed, with weights of 1/4 for as many orders as the
  reference has tokens, at most 4.
- `parses`: the share of predictions that parse.
- `char_bleu`, of bash alone, is BLEU of NL2Bash (Lin et al. 2018): the mean over unique descriptions of
  `bleu.sentence_bleu` over characters, with all their commands as references.
- `template_match`, of bash alone: the mean over unique descriptions of `template.template_similarity`.

All are 0…100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unrolled.code import bleu
from unrolled.code.parsing import ProgramLanguage, normal_form, parses
from unrolled.code.template import template_similarity, unique


@dataclass(frozen=True)
class GoldCode:
    """What a prediction is compared with.

    Args:
        code: the code.
        description: its description.
        language: its language.
    """

    code: str
    description: str = ""
    language: ProgramLanguage = "python"


def score(predicted: Sequence[str], gold: Sequence[GoldCode]) -> dict[str, float]:
    """The scores of predictions, 0…100; those of bash alone are given if all references are bash.

    Args:
        predicted: predicted code; "" for none.
        gold: one reference per prediction.

    Raises:
        UnavailableError: a reference is bash, and tree-sitter is not installed.

    >>> scores = score(["f( 'a' )"], [GoldCode('f("a")')])
    >>> scores["exact_match"], scores["exact_tree"]
    (0.0, 100.0)
    """
    pairs = list(zip(predicted, gold, strict=True))
    tokens = [(bleu.ling_tokens(code), bleu.ling_tokens(each.code)) for code, each in pairs]
    scores = {
        "exact_match": _mean([_lines(code) == _lines(each.code) for code, each in pairs]),
        "exact_tree": _mean([is_same_tree(code, each) for code, each in pairs]),
        "bleu": bleu.corpus_bleu([ours for ours, _ in tokens], [theirs for _, theirs in tokens]),
        "sentence_bleu": _mean([_sentence_bleu(*each) for each in tokens]),
        "parses": _mean([parses(code, each.language) for code, each in pairs]),
    }
    if gold and all(each.language == "bash" for each in gold):
        scores |= _of_descriptions(predicted, gold)
    return {name: round(value, 4) for name, value in scores.items()}


def is_same_tree(code: str, gold: GoldCode) -> bool:
    """Whether code and its reference have equal normal forms."""
    if _lines(code) == _lines(gold.code):
        return True
    reference = normal_form(gold.code, gold.language)
    return reference is not None and reference == normal_form(code, gold.language)


def _lines(code: str) -> list[str]:
    return [line.rstrip() for line in code.strip().splitlines()]


def _sentence_bleu(tokens: Sequence[str], reference: Sequence[str]) -> float:
    weights = [0.25] * min(4, len(reference))
    return bleu.sentence_bleu(tokens, [reference], smooth=True, weights=weights) if weights else 0.0


def _of_descriptions(predicted: Sequence[str], gold: Sequence[GoldCode]) -> dict[str, float]:
    """The scores over unique descriptions, whose first prediction counts."""
    bleus, matches = [], []
    for rows in unique([each.description for each in gold]).values():
        code, references = predicted[rows[0]].strip(), [gold[row].code.strip() for row in rows]
        bleus.append(bleu.sentence_bleu(code, references))
        matches.append(template_similarity(code, references))
    return {"char_bleu": _mean(bleus), "template_match": _mean(matches)}


def _mean(values: Sequence[float]) -> float:
    return 100 * sum(values) / len(values) if values else 0.0


_LING = "tok:ling2016|case:mixed"
_HOW = {
    "exact_match": "equal text / all|space at ends of lines:free",
    "exact_tree": "equal {parser} trees / all|fragments:completed|if the reference does not parse:text",
    "bleu": f"corpus BLEU-4|{_LING}|smooth:none|refs:1",
    "sentence_bleu": f"mean BLEU-4 of rows|{_LING}|smooth:3 of Chen and Cherry 2014|refs:1",
    "parses": "parses with {parser} / all|fragments:completed",
}
_HOW_BASH = {
    "char_bleu": "mean BLEU-4 of unique descriptions|tok:char|case:mixed|smooth:none|refs:all",
    "template_match": (
        "mean cosine of counts of utilities and flags, unique descriptions|tree-sitter-bash|refs:best"
    ),
}
_PARSERS = {"python": "ast", "bash": "tree-sitter-bash"}


def signature(language: ProgramLanguage = "python") -> dict[str, str]:
    """How each score is computed, one line each; only scores with equal signatures are comparable."""
    lines = {name: line.format(parser=_PARSERS[language]) for name, line in _HOW.items()}
    return lines | _HOW_BASH if language == "bash" else lines
