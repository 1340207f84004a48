"""BLEU as the papers on code compute it: its tokens, and smoothing over sentences or a corpus."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_ORDER = 4

_APART = re.compile(r"([^A-Za-z0-9_])")
_CAMEL = re.compile(r"([a-z])([A-Z])")
_QUOTES = str.maketrans("\"'", "``")


def ling_tokens(code: str) -> list[str]:
    """The tokens that Ling et al. (2016) compare: words of identifiers in camel case, and single signs.

    Signs are all characters but letters a to z, digits and underscores; quotation marks are one sign.
    Case is kept.

    >>> ling_tokens("getName(my_list, 'a b')")
    ['get', 'Name', '(', 'my_list', ',', '`', 'a', 'b', '`', ')']
    """
    return _CAMEL.sub(r"\1 \2", _APART.sub(r" \1 ", code)).translate(_QUOTES).split()


def corpus_bleu(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> float:
    """BLEU-4 over a corpus (Papineni et al. 2002) with one reference each, without smoothing, 0…100.

    It is 0 if the corpus has no match of four tokens.

    Args:
        predicted: tokens of the predictions.
        gold: tokens of the references.
    """
    matches, possible = [0] * _ORDER, [0] * _ORDER
    for tokens, reference in zip(predicted, gold, strict=True):
        for order in range(1, _ORDER + 1):
            n_matches, n_possible = _matches(tokens, [reference], order)
            matches[order - 1] += n_matches
            possible[order - 1] += n_possible
    if not all(matches):
        return 0.0
    logs = sum(math.log(n / of) for n, of in zip(matches, possible, strict=True)) / _ORDER
    return 100 * math.exp(logs) * _brevity(sum(map(len, predicted)), sum(map(len, gold)))


def sentence_bleu(
    tokens: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    smooth: bool = False,
    weights: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
) -> float:
    """BLEU of one sentence, 0…1, as NLTK computes it.

    The precision of order n has its weight; there is one precision per weight. Without a match of
    single tokens it is 0; so it is without smoothing if an order has no match. The brevity penalty
    compares with the reference whose length is nearest, the shorter one of two.

    Args:
        tokens: tokens of the prediction; a string is a sequence of characters.
        references: tokens of the references.
        smooth: the i-th order without a match has the precision 1 / (2^i · possible), i from 1: the
            geometric sequence of NIST, smoothing 3 of Chen and Cherry (2014).
        weights: by order; without `smooth` and with the default, the geometric mean of four precisions.

    >>> sentence_bleu("the cat sat down".split(), ["the cat sat down".split()])
    1.0
    """
    logs = 0.0
    n_without = 0
    for order, weight in enumerate(weights, start=1):
        n_matches, n_possible = _matches(tokens, references, order)
        precision = n_matches / max(1, n_possible)
        if not n_matches:
            n_without += 1
            if order == 1 or not smooth:
                return 0.0
            precision = 1 / (2**n_without * max(1, n_possible))
        logs += weight * math.log(precision)
    nearest = min((abs(len(each) - len(tokens)), len(each)) for each in references)[1]
    return math.exp(logs) * _brevity(len(tokens), nearest)


def _matches(
    tokens: Sequence[str], references: Sequence[Sequence[str]], order: int
) -> tuple[int, int]:
    """The n-grams of a prediction that are in a reference, each counted as often as there; and all."""
    found = _ngrams(tokens, order)
    most: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        most |= _ngrams(reference, order)
    return (found & most).total(), found.total()


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _brevity(n_predicted: int, n_gold: int) -> float:
    if n_predicted >= n_gold:
        return 1.0
    return math.exp(1 - n_gold / n_predicted) if n_predicted else 0.0
