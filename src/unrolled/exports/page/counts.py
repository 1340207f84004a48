"""Counted n-grams as a page holds them: keys and weights in its block of bytes, tokens as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unrolled.baselines.counting import Counting
from unrolled.baselines.features import Ngrams
from unrolled.baselines.ngram_scores import NgramScores
from unrolled.exports.page.program import array_of, stored


def packed(scores: NgramScores, block: bytearray) -> dict[str, Any]:
    """N-grams as JSON data.

    They are `{"sides": [{"tokens": [token], "grams": [[first, last]]}], "weights": …, "bias": …}`.
    Of an n-gram, `first` is the index of its (n−1)-gram, and `last` that of its last token. These, the
    weights `[F, C]` and the bias `[C]` in float32 are appended to the block.

    Args:
        scores: the scores of the n-grams.
        block: the bytes of the page.
    """
    sides = []
    for ngrams in scores.counting.ngrams:
        n_tokens = len(ngrams.tokens)
        pairs = [divmod(keys, n_tokens) for keys in ngrams.keys]
        grams = [[stored(part, block) for part in pair] for pair in pairs]
        sides.append({"tokens": list(map(_written, ngrams.tokens)), "grams": grams})
    weights, bias = (each.astype(np.float32) for each in (scores.weights.T, scores.bias))
    return {"sides": sides, "weights": stored(weights, block), "bias": stored(bias, block)}


def _written(token: str) -> str:
    """A token, or "" for one with half a surrogate pair, which no text has."""
    try:
        token.encode("utf-8")
    except UnicodeEncodeError:
        return ""
    return token


def unpacked(description: Mapping[str, Any], block: bytes) -> NgramScores:
    """The scores that a page holds."""
    sides = []
    for side in description["sides"]:
        n_tokens = len(side["tokens"])
        keys = [
            array_of(first, block).astype(np.int64) * n_tokens + array_of(last, block)
            for first, last in side["grams"]
        ]
        sides.append(Ngrams(tuple(side["tokens"]), tuple(keys)))
    weights, bias = (
        array_of(description[name], block).astype(np.float64) for name in ("weights", "bias")
    )
    return NgramScores(Counting(tuple(sides)), weights.T, bias, c=1.0)


def difference(before: NgramScores, after: NgramScores, examples: Sequence[Any]) -> float:
    """The largest difference of a score of the n-grams of an example, relative to the largest or 1.

    Args:
        before, after: the scores of the run, and those that its page holds.
        examples: examples as the model reads them.
    """
    totals = [_totals(each, examples) for each in (before, after)]
    largest = max(1.0, float(np.abs(totals[0]).max()))
    return float(np.abs(totals[0] - totals[1]).max()) / largest


def _totals(scores: NgramScores, examples: Sequence[Any]) -> Any:
    """`[N, S, C]`: what the n-grams of each text add to the scores, and the bias."""
    columns = [
        [row.sum(0) for row in scores.token_scores(side, [e.facts.counted[side] for e in examples])]
        for side in range(len(scores.counting.ngrams))
    ]
    return np.stack(columns, axis=1) + scores.bias
