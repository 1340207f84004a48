r"""Safe display of untrusted text in messages, tables and lines: escaped and shortened.

A label, a header or a file name may contain anything: escape sequences that move the cursor or rename
the window, carriage returns that overwrite a line, controls that reverse the direction of writing, line
separators that split a line, and lone surrogates that cannot be encoded.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import PurePath

LONGEST_MESSAGE = 1000
"""Maximum characters of a message; a longer one is shortened in the middle."""

LONGEST_VALUE = 60
"""Maximum characters of a value in a message or in a table cell."""

_LONGEST_PATH = 300

# Control characters (C0, DEL, C1), line separators, bidirectional controls, invisible characters (zero
# width, tags), byte-order marks, and lone surrogates. Joiners are allowed, because words of Persian and
# Hindi, and many emoji, are written with them.
_UNSAFE = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f"
)
_ANY_UNSAFE = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_TEXT = re.compile(rf"(?![\t\n])[{_UNSAFE}]")
_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def escape(text: str) -> str:
    r"""Escape the control characters of a one-line text, so that a terminal shows and does not obey them.

    >>> print(escape("caf\u00e9\x1b[2J\r\u202e\ud800"))
    café\x1b[2J\r\u202e\ud800
    """
    return text if text.isascii() and text.isprintable() else _ANY_UNSAFE.sub(_escaped, text)


def escape_lines(text: str) -> str:
    r"""Escape control characters except line feeds and tabs, for a text of several lines.

    >>> print(escape_lines("a\tb\x07\nc"))
    a       b\x07
    c
    """
    return _UNSAFE_IN_TEXT.sub(_escaped, text)


def escape_breaks(text: str, also: str = "") -> str:
    r"""Escape only line breaks and selected characters, for one line of a file.

    Args:
        text: text to write.
        also: further characters to escape, such as the tab that separates columns.

    >>> print(escape_breaks("c\nd\te", also="\t"))
    c\nd\te
    """
    text = _LINE_BREAK.sub(_escaped, text)
    for character in also:
        text = text.replace(character, _SHORT.get(character, f"\\x{ord(character):02x}"))
    return text


def shorten(text: str, limit: int = LONGEST_VALUE) -> str:
    """Shorten a text to at most `limit` characters, keeping its beginning and its end.

    >>> shorten("a word of forty thousand letters", 15)
    'a word …letters'
    """
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def quote(value: object, limit: int = LONGEST_VALUE) -> str:
    r"""Format a value for a message: in quotation marks, on one line, of bounded length.

    >>> print(quote("c\nd"), quote("x" * 100, 9))
    'c\nd' 'xxxx…xxxx'
    """
    return f"'{brief(value, limit)}'"


def brief(value: object, limit: int = LONGEST_VALUE) -> str:
    """Like `quote`, but without quotation marks, as for a table cell."""
    # Shorten before escaping, to escape less, and after it, as escapes are longer than their characters.
    return shorten(escape(shorten(str(value), limit)), limit)


def listed(values: Iterable[object], most: int = 8, limit: int = LONGEST_VALUE) -> str:
    """Format values for a message, at most the first few.

    >>> listed(["a", "b", "c"], most=2)
    'a, b, …'
    """
    shown: list[str] = []
    for value in values:
        if len(shown) == most:
            return ", ".join([*shown, "…"])
        shown.append(brief(value, limit))
    return ", ".join(shown)


def listed_paths(paths: Iterable[object]) -> str:
    """Like `listed`, but with paths of any usual length whole.

    >>> listed_paths(["a.tsv", "b.tsv"])
    'a.tsv, b.tsv'
    """
    return listed(paths, limit=_LONGEST_PATH)


def one_message(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Make a message safe to show: on one line, of bounded length."""
    return shorten(escape(shorten(text, limit)), limit)


def shell_command(*words: object) -> str:
    """Words as a command that a shell splits into the same words, to be pasted.

    A path that begins with a dash is written so that no command takes it for an option.

    >>> print(shell_command("unrolled", "predict", PurePath("-my run"), "the $ isn't"))
    unrolled predict './-my run' 'the $ isn'"'"'t'
    """
    texts = [
        os.path.join(os.curdir, word)
        if isinstance(word, PurePath) and str(word)[0] == "-"
        else word
        for word in words
    ]
    given = [str(text) for text in texts]
    return subprocess.list2cmdline(given) if os.name == "nt" else shlex.join(given)


def json_line(value: object) -> str:
    r"""A value as one line of readable JSON, with the same characters escaped as in `escape`.

    >>> print(json_line({"label": "é\u2028\x9b"}))
    {"label": "é\u2028\u009b"}
    """
    # In JSON these characters occur only in strings, where an escape means the same character.
    return _ANY_UNSAFE.sub(_json_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    if number < 0x100:
        return _SHORT.get(character, f"\\x{number:02x}")
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
