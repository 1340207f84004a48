"""Split documents into pieces that can be encoded independently, and encode them."""

from __future__ import annotations

import io
import re
import sys
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from unrolled.text.config import UNK_ID
from unrolled.text.tokenizer import Tokenizer

_PIECE = 1 << 16  # characters per piece, if lines allow it
_LONGEST = 1 << 20  # characters after which text without a border is split anyway
_BATCH = 1 << 19  # characters encoded at a time; the tokenizer's records take 100 bytes per token


class Piece(NamedTuple):
    text: str
    ends: bool  # whether the document ends here
    line_end: bool  # whether a line end was removed there


# Tokens of every kind end before such a line end. If white space followed, the line end would form one
# token with it; and if we split after the line end, white space at the end of the piece could be encoded
# differently, because nothing follows it.
_BORDER = re.compile(r"\n(?=\S)")


def document(texts: Iterable[str], keep_line_end: bool) -> Iterator[Piece]:
    """The pieces of one document; none if it is empty."""
    before = ""
    for text in _cut(texts):
        if before:
            yield Piece(before, ends=False, line_end=False)
        before = text
    line_end = before.endswith("\n") and not keep_line_end
    text = before[:-1] if line_end else before
    if text:
        yield Piece(text, ends=True, line_end=line_end)


def _cut(texts: Iterable[str]) -> Iterator[str]:
    """Split a text into non-empty pieces that can be encoded independently."""
    rest = ""
    searched = 0  # there is no border before this position
    for text in texts:
        rest += text
        while len(rest) > _PIECE:
            end = 0 if searched else _last_border(rest, _PIECE)
            if not end:
                border = _BORDER.search(rest, max(searched, _PIECE))
                end = min(border.start() if border else len(rest), _LONGEST)
                if not border and end < _LONGEST:
                    searched = len(rest) - 1
                    break
            yield rest[:end]
            rest, searched = rest[end:], 0
    if rest:
        yield rest


def _last_border(text: str, most: int) -> int:
    end = text.rfind("\n", 0, most)
    while end > 0 and text[end + 1].isspace():
        end = text.rfind("\n", 0, end)
    return max(end, 0)


def lines_of(texts: Iterable[str]) -> Iterator[str]:
    """Yield lines with their line ends; a line of more than 1,048,576 characters is split into parts."""
    rest = ""
    for text in texts:
        for line in io.StringIO(rest + text, newline="\n"):
            while len(line) > _LONGEST:
                yield line[:_LONGEST]
                line = line[_LONGEST:]
            rest = line
            if line.endswith("\n"):
                yield line
                rest = ""
    if rest:
        yield rest


def single_lines(texts: Iterable[str]) -> Iterator[Piece]:
    """Yield each line as a document."""
    ends = True
    for line in lines_of(texts):
        ends = line.endswith("\n")
        yield Piece(line[:-1] if ends else line, ends, line_end=ends)
    if not ends:
        yield Piece("", ends=True, line_end=False)


def is_blank(line: str) -> bool:
    """Whether a line contains only white space."""
    return not line.strip()


# Ids


def batches_of(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield batches of pieces that are encoded together."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text) + 1
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def composed(text: str) -> str:
    """The text in Unicode normal form C."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def n_bytes_of(text: str) -> int:
    """Number of bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def encoder_of(tokenizer: Tokenizer, code: str) -> Callable[[list[str]], Iterable[Iterable[int]]]:
    """`encode_batch` or, for characters, a lookup table, which is a hundred times as fast."""
    normalizer = tokenizer.inner.normalizer
    if tokenizer.kind != "char" or normalizer is None or normalizer.normalize_str("A") != "A":
        return tokenizer.encode_batch
    table = np.full(sys.maxunicode + 1, UNK_ID, np.dtype(code))
    for i, character in enumerate(tokenizer.token_bytes()):
        if character:
            table[ord(character.decode("utf-8"))] = i

    def look_up(texts: list[str]) -> Iterator[Iterable[int]]:
        points = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), "<u4")
        ids = array(code, table[points].tobytes())
        start = 0
        for text in texts:
            yield ids[start : start + len(text)]
            start += len(text)

    return look_up
