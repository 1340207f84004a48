"""Quoted spans of a description, which code often repeats: each is replaced by one word, its slot.

    sort `my_list` by 'last name'          sort `ǁa` by 'ǁb'
    my_list.sort(key='last name')          ǁa.sort(key='ǁb')

A slot is one token on both sides, so a model copies a span of any length in one step. Yin et al. (2018)
prepare CoNaLa in this way; here, code is changed only where a span stands in it as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MARK = "ǁ"
"""A letter of Khoekhoe, which is a name in Python, and which code hardly contains."""

MOST = 10
"""Slots of a description; further spans stay as they are."""

SLOTS = tuple(_MARK + chr(ord("a") + place) for place in range(MOST))
"""The words that stand for spans, in the order of the spans."""

_SLOT = re.compile(rf"{_MARK}[a-{SLOTS[-1][1]}]")
_LONGEST = 200  # characters of a span
_SPAN = re.compile(
    rf"``([^`\n]{{1,{_LONGEST}}})``"
    rf"|(?<!`)`([^`\n]{{1,{_LONGEST}}})`(?!`)"
    rf"|(?<!\")\"([^\"\n]{{1,{_LONGEST}}})\"(?!\")"
    # An apostrophe inside a word opens no quotation.
    rf"|(?<![\w'])'([^'\n]{{1,{_LONGEST}}})'(?![\w'])"
)


@dataclass(frozen=True)
class Slotted:
    """A description with slots.

    Args:
        text: the description.
        spans: what the slots stand for, in their order.
    """

    text: str
    spans: tuple[str, ...]

    def hide(self, code: str) -> str:
        """Code with slots in place of the spans that stand in it as a whole, the longest first."""
        if _MARK in code:
            return code
        for place in sorted(range(len(self.spans)), key=lambda i: -len(self.spans[i])):
            code = _whole(self.spans[place]).sub(SLOTS[place], code)
        return code

    def show(self, code: str) -> str:
        """Code with the spans in place of their slots."""
        return _SLOT.sub(lambda found: self.span(found[0]), code) if _MARK in code else code

    def span(self, slot: str) -> str:
        """What a slot stands for; the slot itself if the description has no such span."""
        place = SLOTS.index(slot)
        return self.spans[place] if place < len(self.spans) else slot


def slotted(description: str) -> Slotted:
    """A description with slots for its quoted spans. Equal spans have the same slot.

    >>> slotted("sort `my_list` by 'last name' of `my_list`")
    Slotted(text="sort `ǁa` by 'ǁb' of `ǁa`", spans=('my_list', 'last name'))
    """
    if _MARK in description:
        return Slotted(description, ())
    spans: list[str] = []

    def slot(found: re.Match[str]) -> str:
        span = next(group for group in found.groups() if group is not None)
        if not span.strip():
            return found[0]
        if span not in spans:
            if len(spans) == MOST:
                return found[0]
            spans.append(span)
        return found[0].replace(span, SLOTS[spans.index(span)])

    return Slotted(_SPAN.sub(slot, description), tuple(spans))


def _whole(span: str) -> re.Pattern[str]:
    """A pattern for a span that is not a part of a longer word."""
    before = r"(?<!\w)" if span[0].isalnum() or span[0] == "_" else ""
    after = r"(?!\w)" if span[-1].isalnum() or span[-1] == "_" else ""
    return re.compile(f"{before}{re.escape(span)}{after}")


def has_slots(tokens: Sequence[str]) -> bool:
    """Whether a vocabulary has slots."""
    return not set(SLOTS).isdisjoint(tokens)
