"""The tokens that stand for layout rather than for text.

Each is a name in angle brackets. No atom of a text looks like one, because letters and brackets are never
in the same atom, so a text that spells a mark is split into other tokens, and no mark has to be escaped.
Tokens that consist of white space stand for themselves.
"""

from __future__ import annotations

JOIN = "<join>"
"""Nothing stands before the next token; after a line end, the line has no indentation."""
SPACE = "<space>"
"""One blank stands before the next token."""
NEWLINE = "<newline>"
"""A line end; the indentation of the next line is the usual one unless white space follows."""
CRLF = "<crlf>"
"""A line end of Windows, carriage return and line feed."""
INDENT = "<indent>"
"""The following lines are indented by one level more."""
DEDENT = "<dedent>"
"""The following lines are indented by one level less."""
SPACED = "<spaced>"
"""From here on, one blank between all tokens of code is usual, as in tokenised data sets."""
RESET = "<reset>"
"""All open brackets, strings and levels of indentation end here."""

MARKS = (JOIN, SPACE, NEWLINE, CRLF, INDENT, DEDENT, SPACED, RESET)
LINE_ENDS = {NEWLINE: "\n", CRLF: "\r\n"}
