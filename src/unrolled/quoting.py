r"""Text of others in messages, tables and lines: escaped where a terminal would obey it, cut where long.

A label, a header or a file name may hold whatever somebody put there: escape sequences that move the
cursor or rename the window, carriage returns that overwrite a line, controls that turn the direction of
writing, line separators that make one line two, half surrogate pairs that no encoding holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

LONGEST_MESSAGE = 1000
"""Characters of the longest message; a longer one is cut in its middle."""

LONGEST_VALUE = 60
"""Characters of the longest value in a message or in a cell of a table."""

# Controls (C0, DEL, C1), what ends a line, what turns the direction of writing (Unicode's bidirectional
# controls), what cannot be seen (zero width, tags), byte-order marks, halves of surrogate pairs. Joiners
# are left: words of Persian and Hindi, and many emoji, are written with them.
_UNSAFE = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f"
)
_ANY_UNSAFE = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_TEXT = re.compile(rf"(?![\t\n])[{_UNSAFE}]")
_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def escape(text: str) -> str:
    r"""A text of one line that a terminal shows and does not obey, each such character by its number.

    >>> print(escape("caf\u00e9\x1b[2J\r\u202e\ud800"))
    café\x1b[2J\r\u202e\ud800
    """
    return text if text.isascii() and text.isprintable() else _ANY_UNSAFE.sub(_escaped, text)


def escape_lines(text: str) -> str:
    r"""The same for a text of several lines: line feeds and tabs stay.

    >>> print(escape_lines("a\tb\x07\nc"))
    a       b\x07
    c
    """
    return _UNSAFE_IN_TEXT.sub(_escaped, text)


def escape_breaks(text: str, also: str = "") -> str:
    r"""A text in one line of a file, as it is but for what ends lines, and for some more characters.

    Args:
        text: to write.
        also: other characters that the line cannot hold, as the tab that separates its columns.

    >>> print(escape_breaks("c\nd\te", also="\t"))
    c\nd\te
    """
    text = _LINE_BREAK.sub(_escaped, text)
    for character in also:
        text = text.replace(character, _SHORT.get(character, f"\\x{ord(character):02x}"))
    return text


def shorten(text: str, limit: int = LONGEST_VALUE) -> str:
    """A text of at most so many characters; of a longer one its beginning and its end.

    >>> shorten("a word of forty thousand letters", 15)
    'a word …letters'
    """
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def quote(value: object, limit: int = LONGEST_VALUE) -> str:
    r"""A value in a message: in quotation marks, on one line, of bounded length.

    >>> print(quote("c\nd"), quote("x" * 100, 9))
    'c\nd' 'xxxx…xxxx'
    """
    return f"'{brief(value, limit)}'"


def brief(value: object, limit: int = LONGEST_VALUE) -> str:
    """The same without quotation marks, as for a cell of a table."""
    # Cut first: what is left out need not be escaped. Escapes are longer than what they stand for.
    return shorten(escape(shorten(str(value), limit)), limit)


def listed(values: Iterable[object], most: int = 8, limit: int = LONGEST_VALUE) -> str:
    """Values in a message, the first few of many.

    >>> listed(["a", "b", "c"], most=2)
    'a, b, …'
    """
    shown: list[str] = []
    for value in values:
        if len(shown) == most:
            return ", ".join([*shown, "…"])
        shown.append(brief(value, limit))
    return ", ".join(shown)


def one_message(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """A message as it may be shown: on one line, of bounded length."""
    return shorten(escape(shorten(text, limit)), limit)


def json_line(value: object) -> str:
    r"""A value as JSON on one line, readable, and safe to show: what is escaped above is so here.

    >>> print(json_line({"label": "é\u2028\x9b"}))
    {"label": "é\u2028\u009b"}
    """
    # JSON has these characters in its strings alone, where an escape is the same text.
    return _ANY_UNSAFE.sub(_json_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    number = ord(character)
    if number < 0x100:
        return _SHORT.get(character, f"\\x{number:02x}")
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]
