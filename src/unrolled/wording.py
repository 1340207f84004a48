"""How messages and tables are worded: counts of things, percentages, and lines of a width."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len

_WORD = re.compile(r"(?:`[^`]*`|\S)+")  # a command in backticks is one word


def count_of(n: float, noun: str) -> str:
    """A number and a noun, in the plural if the number is not 1.

    >>> count_of(1, "row"), count_of(2000, "row"), count_of(0.6, "minute")
    ('1 row', '2,000 rows', '0.6 minutes')
    """
    number = int(n) if n == int(n) else n
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def with_minus(number: str) -> str:
    """A formatted number with a minus sign in place of the hyphen, except in an exponent.

    >>> with_minus("-0.40"), with_minus("-6.3e-07")
    ('−0.40', '−6.3e-07')
    """
    return re.sub("(?<!e)-", "−", number)


def percent(share: float, decimals: int | None = 1) -> str:
    """A share as a percentage.

    Args:
        share: 0…1.
        decimals: number of decimals: 1 for shares, 2 for scores, 0 for progress; None for as few as the
            number needs, as for the level of an interval.

    >>> percent(0.05), percent(0.84931, 2), percent(0.95, None), percent(0.0003)
    ('5.0%', '84.93%', '95%', '<0.1%')
    """
    if decimals is None:
        return f"{100 * share:g}%"
    least = 0.1**decimals / 100
    if 0 < share < least / 2:  # something is not nothing
        return f"<{least:.{decimals}%}"
    return f"{share:.{decimals}%}"


def wrapped(text: str | Sequence[str], width: int) -> Iterator[str]:
    """A text in lines of at most `width` cells, broken only between words.

    A longer word, such as a path, stays whole, and so does a command in backticks, to be copied.

    Args:
        text: the text, or its words if they may contain spaces, as paths may.
        width: width of a line.

    >>> list(wrapped("read from data/reviews/test.tsv by hand", 12))
    ['read from', 'data/reviews/test.tsv', 'by hand']
    """
    line = ""
    for word in _WORD.findall(text) if isinstance(text, str) else text:
        longer = f"{line} {word}" if line else word
        if line and cell_len(longer) > width:
            yield line
            line = word
        else:
            line = longer
    yield line
