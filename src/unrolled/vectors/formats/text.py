"""Word vectors in text formats: GloVe's, and word2vec's, which has a header line."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError
from unrolled.reporting import counted
from unrolled.vectors.formats.files import lines, opened, shown, written
from unrolled.vectors.formats.stored import ROWS, Kept, StoredVectors
from unrolled.wording import count_of

_WIDEST = 1 << 16
_HEADER = re.compile(rb"(\d{1,15})[ \t]+(\d{1,9})")
_FRACTION = re.compile(rb"[-+]?\d*\.\d+([eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+")
_OTHER_HEADER = {
    False: "found a header of word2vec's format; it is skipped",
    True: "found no header with the number of words and their width; read as GloVe's format",
}


def read(
    path: Path, keep: Container[str] | None, limit: int | None, has_header: bool
) -> StoredVectors:
    """Read a text file; there is a note if `has_header` is wrong."""
    kept = Kept(path, "line", keep, limit)
    n_found = 0
    with opened(path) as stream:
        numbered = lines(stream, path)
        _, first = next(numbered, (1, b""))
        header = header_of(first, path)
        if header is None:
            width = _width_of(first, path)
            numbered = chain([(1, first)], numbered)
        else:
            width = header.width
        if has_header != (header is not None):
            kept.notes.append(str(kept.error(_OTHER_HEADER[has_header], 1)))
        n_words = None if header is None else header.n_words
        for number, line in counted(numbered, f"reading {path.name}", "vectors", n_words):
            if kept.is_full:
                break
            line = line.rstrip(b" ")  # word2vec ends its lines with a space
            if line:
                n_found += 1
                _add_line(kept, line, number, width)
    if header is not None and n_found != header.n_words and not kept.is_full:
        sentence = f"the header declares {header.n_words:,} words, but {n_found:,} follow"
        kept.notes.append(str(kept.error(sentence, 1)))
    return kept.stored(width)


def write(path: Path, words: Sequence[str], matrix: NDArray[np.float32], has_header: bool) -> None:
    """Write the shortest decimal numbers that are read as the same float32."""
    with written(path) as stream:
        if has_header:
            stream.write(b"%d %d\n" % matrix.shape)
        for start in range(0, len(words), ROWS):
            block = np.asarray(matrix[start : start + ROWS], np.float32)
            for word, row in zip(words[start : start + ROWS], block, strict=True):
                stream.write(f"{word} {' '.join(map(str, row))}\n".encode())


class Header(NamedTuple):
    """The first line of word2vec's formats."""

    n_words: int
    width: int


def header_of(line: bytes, path: Path) -> Header | None:
    """Parse a first line as a header; None if it is not one.

    Raises:
        DataError: the width is zero or too large.
    """
    match = _HEADER.fullmatch(line.strip())
    if match is None:
        return None
    width = int(match[2])
    if not 1 <= width <= _WIDEST:
        expected = f"a header with a width of 1 to {_WIDEST:,}"
        raise DataError(f"expected {expected}, found '{shown(match[0])}'", path, 1)
    return Header(int(match[1]), width)


def is_number(field: bytes) -> bool:
    """Whether a field is a decimal number."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def _add_line(kept: Kept, line: bytes, number: int, width: int) -> None:
    n_spaces = line.count(b" ")
    if n_spaces < width:
        raise kept.error(_wrong_width(width, n_spaces), number)
    word, *fields = line.split(b" ") if n_spaces == width else line.rsplit(b" ", width)
    if n_spaces > width:
        word = word.strip(b" ")
        # A word may contain spaces, but hardly a part such as 0.25: that is an extra number.
        if _FRACTION.fullmatch(word.rpartition(b" ")[2]):
            n_more = sum(map(is_number, word.split(b" ")[1:]))
            raise kept.error(_wrong_width(width, width + n_more), number)
    if not kept.wants(word, number):
        return
    try:
        kept.numbers.extend(map(float, fields))
    except ValueError:
        wrong = next(i for i, field in enumerate(fields) if not is_number(field))
        raise kept.error(
            f"number {wrong + 1} of '{shown(word)}' is '{shown(fields[wrong])}'; "
            "expected decimal numbers separated by one space",
            number,
        ) from None


def _wrong_width(expected: int, found: int) -> str:
    numbers = count_of(expected, "number")
    return f"expected a word and {numbers}, as before, found {count_of(found, 'number')}"


def _width_of(first: bytes, path: Path) -> int:
    """The number of numbers at the end of the first line of a file without a header."""
    fields = first.rstrip(b" ").split(b" ")
    n_numbers = 0
    for field in reversed(fields[1:]):
        if not is_number(field):
            break
        n_numbers += 1
    if not n_numbers:
        raise DataError(
            f"expected a word and its numbers, separated by one space, found '{shown(first)}'",
            path,
            1,
        )
    return n_numbers
