"""Words and punctuation marks as a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence


def join_words(words: Sequence[str]) -> str:
    """Join words and punctuation marks to a sentence.

    >>> join_words(["¿", "Do", "n't", "you", "(", "really", ")", "know", "?"])
    "¿Don't you (really) know?"
    """
    last_apostrophe = max((i for i, word in enumerate(words) if word == "'"), default=-1)
    written: list[str] = []
    open_quotes: set[str] = set()
    glued = True  # no space before the first word
    for i, word in enumerate(words):
        opens = word in _OPENING
        closes = word in _CLOSING or _CLITIC_OR_DOTS.fullmatch(word) is not None
        if word in _QUOTES:
            # The last apostrophe is a possessive if it closes no quotation: "the boys' room".
            closes = word in open_quotes or 0 < i == last_apostrophe
            opens = not closes
            if closes:
                open_quotes.discard(word)
            else:
                open_quotes.add(word)
        elif word in _CURRENCIES:
            opens = i + 1 < len(words) and words[i + 1][0].isdigit()
        if not (glued or closes):
            written.append(" ")
        written.append(word)
        glued = opens
    return "".join(written)


_OPENING = frozenset("([{«“‘‹¿¡#@/")
_CLOSING = frozenset(")]}»”’›?!.,;:%…°/")
_QUOTES = frozenset("\"'")
_CURRENCIES = frozenset("$£€¥")
_CLITIC_OR_DOTS = re.compile(r"n['\u2019]t|['\u2019](?:s|m|d|ll|re|ve)|\.{2,}", re.IGNORECASE)
