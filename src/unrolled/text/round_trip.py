"""Whether text comes back as it was after it has been split into tokens and joined again."""

from __future__ import annotations

from collections.abc import Sequence

from unrolled.quoting import quote
from unrolled.text.splits import same_text
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import percent

SAMPLE = 500
"""Texts that are checked."""

_FEWEST = 0.01  # share of the sample that is worth a note
_AROUND = 12  # characters shown on both sides of a difference


def restored(text: str, tokenizer: Tokenizer) -> tuple[str, str]:
    """A text, and what its tokens are joined to; equal if nothing is lost.

    Both are in Unicode normal form C, with runs of white space as one blank, and in lower case if the
    tokenizer's vocabulary is. Words that are not in the vocabulary count as known.

    >>> from unrolled.text.config import TextConfig
    >>> words = Tokenizer.train(["a b"], TextConfig(kind="word"))
    >>> restored("Yes, a dog.", words), restored("django . conf", words)
    (('Yes, a dog.', 'Yes, a dog.'), ('django . conf', 'django. conf'))
    """
    normal: str = tokenizer.inner.normalizer.normalize_str(text)
    if tokenizer.kind == "bpe":
        return same_text(normal), same_text(tokenizer.decode(tokenizer.encode(text)))
    return same_text(normal), same_text(tokenizer.join(tokenizer.split(text)))


def note(texts: Sequence[str], tokenizer: Tokenizer, what: str) -> tuple[str, ...]:
    """A note if a share of the texts would not come back as they are; nothing otherwise.

    Args:
        texts: texts that a model will write; a sample of them is checked.
        tokenizer: their tokenizer.
        what: what the texts are, e.g. "target".
    """
    if tokenizer.kind != "word" or not texts:
        return ()
    step = max(1, len(texts) // SAMPLE)
    sample = texts[::step][:SAMPLE]
    pairs = [restored(text, tokenizer) for text in sample]
    different = [(before, after) for before, after in pairs if before != after]
    if len(different) < max(1, _FEWEST * len(sample)):
        return ()
    before, after = _excerpt(*min(different, key=lambda pair: len(pair[0])))
    return (
        f"{what}: {percent(len(different) / len(sample))} of the texts do not come back unchanged from "
        f"word tokens: {quote(before)} becomes {quote(after)}; where that matters, as in code, use "
        "--text.kind bpe or --text.kind code with --text.language, which restore any text",
    )


def _excerpt(before: str, after: str) -> tuple[str, str]:
    """Both texts around their first difference."""
    at = next(
        (i for i, (one, other) in enumerate(zip(before, after, strict=False)) if one != other),
        min(len(before), len(after)),
    )
    start = before.rfind(" ", 0, max(0, at - _AROUND)) + 1
    return before[start : at + _AROUND], after[start : at + _AROUND]
