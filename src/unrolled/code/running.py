"""Running text of code: split part by part, with every string in a given vocabulary.

A piece that is not in the vocabulary is split into known ones, and a character that is not into bytes, so
that nothing is unknown and the whole text can be restored.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator

from unrolled.code.lexer import atoms, known
from unrolled.code.marks import RESET, SPACE
from unrolled.code.tokens import literal, marks_of
from unrolled.code.writer import Writer

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""The tokens of bytes; no atom looks like one."""

_OF_BYTES = {token: byte for byte, token in enumerate(BYTES)}
_BEFORE_WHITE = re.compile(r"(?<=\S)\s")
_LONGEST = 64  # characters of a piece of an unknown string


class Reader:
    r"""Splits text that arrives in parts.

    Args:
        language: as for `code.tokens.split`.
        vocabulary: the known tokens; None if all are. Text must then be without lone surrogates.

    >>> reader = Reader("python", {"def", "f", "oo", "(", ")"})
    >>> reader.read("def foo()")
    ['def', 'f', 'oo', '(', ')']
    """

    def __init__(self, language: str, vocabulary: Container[str] | None = None) -> None:
        self.language, self._vocabulary = known(language), vocabulary
        self.writer = Writer(self.language)

    def copy(self) -> Reader:
        """An independent reader at the same place."""
        other = Reader(self.language, self._vocabulary)
        other.writer = self.writer.copy()
        return other

    def read(self, text: str, before: str = "") -> list[str]:
        """The tokens of the next part, which ends before white space or is the last one.

        Args:
            text: the part.
            before: what will be written next, if that is known: only white space that is not usual before
                it is then read.
        """
        tokens: list[str] = []
        writer, white = self.writer, ""
        for piece in atoms(text, self.language):
            if piece.isspace():
                white = piece
                continue
            for part in self._parts(piece):
                if writer.gap(part) != white:
                    tokens += self._white(marks_of(white, part, writer, more_lines=True))
                tokens += self._written(part)
                writer.write(part)
                white = ""
        if before and writer.gap(before) != white:
            tokens += self._white(marks_of(white, before, writer, more_lines=True))
        elif not before:
            for token in self._white(literal(white)):
                tokens.append(token)
                writer.write(token)
        return tokens

    def close(self) -> list[str]:
        """The mark that closes what is open; nothing if nothing is."""
        if self.writer.is_closed:
            return []
        self.writer.write(RESET)
        return [RESET]

    def _parts(self, atom: str) -> Iterable[str]:
        """An atom, or the known pieces of an unknown one."""
        if self._vocabulary is None or atom in self._vocabulary:
            return (atom,)
        return _longest_known(atom, self._vocabulary)

    def _written(self, part: str) -> list[str]:
        if self._vocabulary is None or part in self._vocabulary:
            return [part]
        return [BYTES[byte] for byte in part.encode("utf-8", "replace")]

    def _white(self, tokens: Iterable[str]) -> Iterator[str]:
        """Tokens of white space and marks, with unknown runs split."""
        for token in tokens:
            if self._vocabulary is None or token in self._vocabulary or not token.isspace():
                yield token
                continue
            for part in _longest_known(token, self._vocabulary):
                if part == " ":
                    yield SPACE
                else:
                    yield from self._written(part)


def _longest_known(text: str, vocabulary: Container[str]) -> Iterator[str]:
    """Known pieces of a text from left to right, each as long as possible; else single characters."""
    start = 0
    while start < len(text):
        most = min(len(text), start + _LONGEST)
        stop = next(
            (end for end in range(most, start + 1, -1) if text[start:end] in vocabulary), start + 1
        )
        yield text[start:stop]
        start = stop


def split_running(text: str, language: str, vocabulary: Container[str] | None = None) -> list[str]:
    r"""The tokens of a part of a longer text that ends before a line end.

    Joined with the tokens of the other parts, they are the whole text: what is open at the end of a part
    is closed.

    Args:
        text: a part; if it is not the first, it begins with a line end, and its second line has no
            indentation.
        language: as for `code.tokens.split`.
        vocabulary: the known tokens; None if all are.

    >>> split_running("if x:\n    y()", "python")
    ['if', 'x', ':', '<newline>', '<indent>', 'y', '(', ')', '<reset>']
    """
    reader = Reader(language, vocabulary)
    return [*reader.read(text), *reader.close()]


def in_characters(tokens: Iterable[str]) -> Iterator[str]:
    """Tokens with bytes that follow one another put together as characters.

    >>> list(in_characters(["a", "<0xC3>", "<0xA9>", "b"]))
    ['a', 'é', 'b']
    """
    waiting = bytearray()
    for token in tokens:
        byte = _OF_BYTES.get(token)
        if byte is not None:
            waiting.append(byte)
            continue
        yield from waiting.decode("utf-8", "replace")
        waiting.clear()
        yield token
    yield from waiting.decode("utf-8", "replace")
