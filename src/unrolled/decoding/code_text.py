"""Tokens of code that are read and written while a text grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unrolled.code.lexer import atoms
from unrolled.code.running import Reader, in_characters
from unrolled.code.writer import Writer
from unrolled.text.config import EOS_ID

_NEXT = "x"  # a word, which is most often what follows white space


def border_of(tail: str) -> int:
    """The place in a text before which its tokens are certain: the last white space after a token.

    >>> border_of("if x ==  "), border_of("  if")
    (7, 0)
    """
    end = len(tail.rstrip())
    if end < len(tail):
        return end
    start = max((place for place, character in enumerate(tail) if character.isspace()), default=0)
    return len(tail[:start].rstrip())


def last_atom(tail: str, reader: Reader) -> str:
    """The atom that a text ends with; "" after white space."""
    pieces = atoms(tail, reader.language)
    return "" if not pieces or pieces[-1].isspace() else pieces[-1]


def read_ahead(tail: str, reader: Reader) -> list[str]:
    """The tokens of the end of a text that goes on; after a line end, indentation is left open."""
    is_open = tail[-1:].isspace() and not tail.endswith("\n")
    return reader.read(tail, _NEXT if is_open else "")


class CodeText:
    """Converts tokens of code to text.

    Args:
        tokens: the tokens by id.
        writer: what has been written so far.
        white: the white space that the text read so far ends with.
        border: the text between two documents.
    """

    def __init__(self, tokens: Sequence[str], writer: Writer, white: str, border: str) -> None:
        self._tokens, self._writer, self._white, self._border = tokens, writer, white, border

    def write(self, tokens: Iterator[tuple[int, int]]) -> Iterator[str]:
        """The text of ids, token by token; white space that has been read is not repeated."""
        for token in in_characters(self._strings(tokens)):
            if token == self._tokens[EOS_ID]:
                yield self._rest() + self._border
                self._writer, self._white = Writer(self._writer.language), ""
                continue
            if text := self._writer.write(token):
                yield self._new(text)
        yield self._rest()

    def _strings(self, tokens: Iterator[tuple[int, int]]) -> Iterator[str]:
        return (self._tokens[token] for token, _ in tokens)

    def _rest(self) -> str:
        return self._new(self._writer.rest())

    def _new(self, text: str) -> str:
        white, self._white = self._white, ""
        return text.removeprefix(white)
