"""Long texts in parts that are tokenised one after another, and texts that UTF-8 can hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

SEGMENT = 1 << 16  # characters of a text that are encoded at once, so that Ctrl-C responds quickly
_LONGEST_SEGMENT = 1 << 18  # if no word ends


def well_formed(texts: Iterable[str]) -> Iterator[str]:
    """Replace half surrogate pairs, which UTF-8 files cannot contain, by question marks."""
    for text in texts:
        if text.isascii():
            yield text
        else:
            yield text.encode("utf-8", "replace").decode("utf-8")


def in_segments(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if len(text) <= SEGMENT:
            yield text
        else:
            yield from segments(text)


def segments(text: str) -> Iterator[str]:
    """Split a long text at positions across which no token of any kind extends.

    Such a position is before a single space between two other characters. If there is none for a long
    stretch, the text is split anyway, but not between characters that may be composed into one.
    """
    start = 0
    while len(text) - start > SEGMENT:
        end = _lone_space(text, start + 1, start + SEGMENT)
        if not end:
            match = _LONE_SPACE.search(text, start + SEGMENT, start + _LONGEST_SEGMENT)
            end = match.start() if match else start + _LONGEST_SEGMENT
        if end >= len(text) - 1:
            break
        for _ in range(_MOST_COMPOSED if text[end] != " " else 0):
            if text[end].isascii():
                break
            end -= 1
        yield text[start:end]
        start = end
    yield text[start:]


_LONE_SPACE = re.compile(r"(?<=\S) (?=\S)")
_MOST_COMPOSED = 32


def _lone_space(text: str, first: int, last: int) -> int:
    """The position of the last single space in a range; 0 if there is none."""
    place = text.rfind(" ", first, last)
    while place > 0 and (text[place - 1].isspace() or text[place + 1].isspace()):
        place = text.rfind(" ", first, place)
    return max(place, 0)
