"""Code as tokens and back: `join(split(text, language), language) == text` for every text.

Usual white space has no tokens. Where other white space stands, or none, marks say so (`code.marks`):

- `<join>`: nothing stands before the next token; `<space>`: one blank. Any other white space is a token
  itself.
- `<newline>` and `<crlf>`: a line end. The next line has the indentation of the open level (in Python
  inside brackets: of the line before, or below the bracket) unless white space or `<join>` follows.
- `<indent>`, `<dedent>`: one level more or less. A level is four blanks, or the white space before
  `<indent>`.
- `<spaced>`: from here on, one blank between all tokens of code is usual, as in tokenised data sets.
- `<reset>`: all open strings, brackets and levels end; only in running text (`code.running`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from unrolled.code.lexer import atoms, known
from unrolled.code.marks import CRLF, DEDENT, INDENT, JOIN, NEWLINE, SPACE, SPACED
from unrolled.code.writer import Writer

_FEW = 1  # marks for single blanks with which `<spaced>` cannot make the sequence shorter
_LONGEST_RUN = 32  # characters of one token of white space
_LINE_END = re.compile(r"(\r?\n)")
_RUN = re.compile(rf"([\s])\1{{0,{_LONGEST_RUN - 1}}}")


def split(text: str, language: str) -> list[str]:
    r"""The tokens of a text.

    Args:
        text: any text; it need not be valid code.
        language: "python", "bash", or anything else for the rules of natural language and other code.

    >>> split("if is_ok:\n    get('no user')", "python")
    ['if', 'is', '_', 'ok', ':', '<newline>', '<indent>', 'get', '(', "'", 'no', 'user', "'", ')']
    >>> split("a . b ( c )", "python")
    ['<spaced>', 'a', '.', 'b', '(', 'c', ')']
    """
    rules = known(language)
    pieces = atoms(text, rules)
    tokens = _tokens(pieces, Writer(rules))
    if tokens.count(SPACE) > _FEW:
        writer = Writer(rules)
        writer.write(SPACED)
        return min(tokens, [SPACED, *_tokens(pieces, writer)], key=len)
    return tokens


def join(tokens: Iterable[str], language: str) -> str:
    """The text of tokens; any sequence of strings has one.

    >>> join(["print", "(", "x", "[", "0", "]", ")"], "python")
    'print(x[0])'
    """
    writer = Writer(known(language))
    return "".join([*map(writer.write, tokens), writer.rest()])


def _tokens(pieces: Sequence[str], writer: Writer) -> list[str]:
    """The tokens of pieces of text, which are written."""
    tokens: list[str] = []
    last_line = _start_of_last_line(pieces)
    white = ""
    for place, piece in enumerate(pieces):
        if piece.isspace():
            white = piece
            continue
        if writer.gap(piece) != white:
            tokens += marks_of(white, piece, writer, more_lines=place < last_line)
        tokens.append(piece)
        writer.write(piece)
        white = ""
    tokens += literal(white)
    return tokens


def _start_of_last_line(pieces: Sequence[str]) -> int:
    """The place of the last piece with a line end; 0 if there is none."""
    return next((i for i in range(len(pieces) - 1, 0, -1) if "\n" in pieces[i]), 0)


def marks_of(white: str, atom: str, writer: Writer, more_lines: bool) -> list[str]:
    """Write and return the marks for white space that is not what the writer would write.

    Args:
        white: the white space.
        atom: what follows it.
        writer: what has been written.
        more_lines: whether other lines may follow, so that it is worth while to open a level.
    """
    marks: list[str] = []

    def put(some: Iterable[str]) -> None:
        for mark in some:
            marks.append(mark)
            writer.write(mark)

    *lines, tail = _LINE_END.split(white)
    put(literal("".join(lines)))
    if writer.gap(atom) == white:
        return marks
    if (lines or writer.is_at_start) and writer.in_blocks:
        while writer.levels and not tail.startswith(writer.levels[-1]):
            put([DEDENT])
        top = writer.levels[-1] if writer.levels else ""
        if tail == top + writer.unit:
            put([INDENT])
        elif tail != top:
            put(literal(tail))
            if more_lines and atom != "#":
                put([INDENT])
    else:
        put(literal(tail))
    if writer.gap(atom) != white:
        put([JOIN])
    return marks


def literal(white: str) -> Iterator[str]:
    """The tokens of white space as it stands, without what is usual."""
    for part in _LINE_END.split(white):
        if part in ("\n", "\r\n"):
            yield NEWLINE if part == "\n" else CRLF
        else:
            for run in _RUN.finditer(part):
                yield SPACE if run[0] == " " else run[0]
