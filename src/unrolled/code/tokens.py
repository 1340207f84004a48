"""Code as tokens and back: `join(split(text, language), language) == text` for every text.

Usual white space has no tokens. Where other white space stands, or none, marks say so (`unrolled.code.marks`):

- `<join>`: nothing stands before the next token; `<space>`: one blank. Any other white space is a token itself.
- `<newline>` and `<crlf>`: a line end. The next line has the indentation of the open level (in Python inside
  brackets: of the line before, or below the bracket) unless white space or `<join>` follows.
- `<indent>`, `<dedent>`: one level more or less. A level is four blanks, or the white space before `<indent>`.
- `<spaced>`: from here on, one blank between all tokens of code is usual, as in data sets that are tokenised.
- `<reset>`: see `closed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from unrolled.code.lexer import Language, atoms
from unrolled.code.marks import CRLF, DEDENT, INDENT, JOIN, NEWLINE, SPACE, SPACED
from unrolled.code.writer import Writer

_FEW = 1  # marks for single blanks with which `<spaced>` cannot make the sequence shorter
_LONGEST_RUN = 32  # characters of one token of white space
_LINE_END = re.compile(r"(\r?\n)")
_RUN = re.compile(rf"([\s])\1{{0,{_LONGEST_RUN - 1}}}")


def split(text: str, language: Language) -> list[str]:
    r"""The tokens of a text.

    >>> split("if is_valid(x, 10):\n    returnCode = 'not found'\n", "python")
    ['if', 'is', '_', 'valid', '(', 'x', ',', '10', ')', ':', '<newline>', '<indent>', 'return', '<join>', 'Code', \
'=', "'", 'not', 'found', "'", '<newline>']
    >>> split("a . b ( c )", "python")
    ['<spaced>', 'a', '.', 'b', '(', 'c', ')']
    """
    pieces = atoms(text, language)
    tokens = _tokens(pieces, language, [])
    if tokens.count(SPACE) > _FEW:
        spaced = _tokens(pieces, language, [SPACED])
        return min(tokens, spaced, key=len)
    return tokens


def join(tokens: Sequence[str], language: Language) -> str:
    """The text of tokens; any sequence of strings has one.

    >>> join(["print", "(", "x", "[", "0", "]", ")"], "python")
    'print(x[0])'
    """
    writer = Writer(language)
    for token in tokens:
        writer.write(token)
    return writer.text()


def _tokens(pieces: Sequence[str], language: Language, tokens: list[str]) -> list[str]:
    writer = Writer(language)
    for token in tokens:
        writer.write(token)
    last_line = _start_of_last_line(pieces)
    white = ""
    for place, piece in enumerate(pieces):
        if piece.isspace():
            white = piece
            continue
        if writer.gap(piece) != white:
            marks = _marks(white, piece, writer, more_lines=place < last_line)
            tokens += marks
        tokens.append(piece)
        writer.write(piece)
        white = ""
    if white:
        tokens += _literal(white)
    return tokens


def _start_of_last_line(pieces: Sequence[str]) -> int:
    """The place of the last piece with a line end; 0 if there is none."""
    return next((i for i in range(len(pieces) - 1, 0, -1) if "\n" in pieces[i]), 0)


def _marks(white: str, atom: str, writer: Writer, more_lines: bool) -> list[str]:
    """Write and return the marks for white space that is not what the writer would write."""
    marks: list[str] = []

    def put(*some: str) -> None:
        marks.extend(some)
        for mark in some:
            writer.write(mark)

    *lines, tail = _LINE_END.split(white)
    put(*_literal("".join(lines)))
    if writer.gap(atom) == white:
        return marks
    if (lines or writer.is_at_start) and writer.in_blocks:
        levels = writer.levels
        while levels and not tail.startswith(levels[-1]):
            put(DEDENT)
        top = levels[-1] if levels else ""
        if tail == top + writer.unit:
            put(INDENT)
        elif tail != top:
            put(*_literal(tail))
            if more_lines and atom != "#":
                put(INDENT)
    elif tail:
        put(*_literal(tail))
    if writer.gap(atom) != white:
        put(JOIN)
    return marks


def _literal(white: str) -> Iterator[str]:
    """The tokens of white space as it stands."""
    for part in _LINE_END.split(white):
        if part in ("\n", "\r\n"):
            yield NEWLINE if part == "\n" else CRLF
        elif part == " ":
            yield SPACE
        elif part:
            yield from (SPACE if run == " " else run for run in _runs(part))


def _runs(white: str) -> Iterator[str]:
    for match in _RUN.finditer(white):
        yield match[0]
