"""Word vectors in word2vec's binary format."""

from __future__ import annotations

import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError
from unrolled.reporting import counted
from unrolled.text.limits import line_too_long, longest_line
from unrolled.vectors.formats.files import opened, written
from unrolled.vectors.formats.stored import ROWS, Kept, StoredVectors
from unrolled.vectors.formats.text import header_of

_BLOCK = 1 << 20  # bytes read at a time


def read(path: Path, keep: Container[str] | None, limit: int | None) -> StoredVectors:
    """Read a binary file."""
    kept = Kept(path, "word", keep, limit)
    with opened(path) as stream:
        header = header_of(stream.readline(100), path)
        if header is None:
            raise DataError("expected a first line with the number of words and their width", path)
        n_declared, width = header
        records = _Records(stream, 4 * width, path)
        places = range(1, n_declared + 1)
        for number in counted(places, f"reading {path.name}", "vectors", n_declared):
            if kept.is_full:
                break
            record = records.next()
            if record is None:
                raise DataError(
                    f"truncated: the first line declares {n_declared:,} words, but word {number:,} is "
                    "incomplete; copy or download the file again",
                    path,
                )
            word, numbers = record
            if kept.wants(word, number):
                kept.numbers.frombytes(numbers)
        else:
            if records.rest().strip(b"\r\n"):
                sentence = f"the bytes after the last of {n_declared:,} words are ignored"
                kept.notes.append(str(DataError(sentence, path)))
    if sys.byteorder == "big":
        kept.numbers.byteswap()
    return kept.stored(width)


def write(path: Path, words: Sequence[str], matrix: NDArray[np.float32]) -> None:
    """Write a header, then each word with its numbers and a line end."""
    with written(path) as stream:
        stream.write(b"%d %d\n" % matrix.shape)
        for start in range(0, len(words), ROWS):
            block = np.asarray(matrix[start : start + ROWS], "<f4")
            for word, row in zip(words[start : start + ROWS], block, strict=True):
                stream.write(b"%b %b\n" % (word.encode(), row.tobytes()))


class _Records:
    """Reads words and the bytes of their vectors.

    Args:
        stream: the file, positioned after the header.
        size: bytes of a vector.
        path: path of the file, for messages.
    """

    def __init__(self, stream: BinaryIO, size: int, path: Path) -> None:
        self._stream, self._size, self._path = stream, size, path
        self._longest = longest_line()  # a file without spaces must not fill up memory
        self._block, self._position = b"", 0

    def next(self) -> tuple[bytes, bytes] | None:
        """The next word and its vector; None if the file ends before they are complete."""
        end = self._block.find(b" ", self._position)
        while end < 0 or end + 1 + self._size > len(self._block):
            read = self._stream.read(max(_BLOCK, self._size))
            if not read:
                return None
            if end < 0 and len(self._block) > self._longest:
                raise line_too_long(self._path, None, what="word")
            self._block = self._block[self._position :] + read
            self._position = 0
            end = self._block.find(b" ")
        # Some programs write a line end after each vector, others do not.
        word = self._block[self._position : end].lstrip(b"\r\n")
        self._position = end + 1 + self._size
        return word, self._block[end + 1 : self._position]

    def rest(self) -> bytes:
        """Up to a block of the bytes after the last record."""
        return self._block[self._position :] + self._stream.read(_BLOCK)
