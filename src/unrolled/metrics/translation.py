"""Corpus-level BLEU and chrF of detokenised text, computed by sacrebleu (Post 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF


def score(translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Corpus BLEU (Papineni et al. 2002), cased and lower-cased, and chrF2 (Popović 2015), 0…100.

    >>> score(["the cat sat on the mat"], ["the cat sat on the mat"])["bleu"]
    100.0
    """
    return {name: metric_score for name, (metric_score, _) in _measure(translations, references)}


def signature() -> dict[str, str]:
    """sacrebleu's signature of each score; only scores with equal signatures are comparable."""
    return {name: line for name, (_, line) in _measure(["a"], ["a"])}


def _measure(
    translations: Sequence[str], references: Sequence[str]
) -> Iterator[tuple[str, tuple[float, str]]]:
    for name, metric in (("bleu", BLEU()), ("bleu_lower", BLEU(lowercase=True)), ("chrf", CHRF())):
        value = metric.corpus_score(list(translations), [list(references)]).score
        yield name, (round(value, 4), str(metric.get_signature()))
