"""Open and write files of word vectors: transparent decompression, atomic replacement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from unrolled import documents, storage
from unrolled.errors import DataError
from unrolled.quoting import brief
from unrolled.text.files import endings, nearest_file, packed_into, unpacked
from unrolled.text.limits import line_too_long, longest_line
from unrolled.text.lines import raw_lines

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHOWN = 400  # maximum bytes of a file in a message

_MAGIC = {
    ".gz": re.compile(rb"\x1f\x8b"),
    ".bz2": re.compile(rb"BZh[1-9]1AY&SY"),
    ".xz": re.compile(rb"\xfd7zXZ\0"),
}


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; compressed content is decompressed.

    Raises:
        DataError: the file is missing or damaged, is a folder, or cannot be read.
    """
    try:
        if path.is_dir():
            raise DataError("this is a folder; give a file", path)
        with documents.open_regular(path, pipes=True) as stream:
            head = stream.peek(10)[:10]
            packing = next((ending for ending, magic in _MAGIC.items() if magic.match(head)), None)
            if packing is None:
                yield stream
            else:
                with unpacked(stream, packing, path) as inner:
                    yield inner
    except FileNotFoundError as error:
        raise DataError(f"no such file{nearest_file(path)}", path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path) from error


def lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line, without its end.

    Raises:
        DataError: a line is too long or contains a NUL byte.
    """
    longest = longest_line()
    for number, line in enumerate(raw_lines(stream, longest), start=1):
        if len(line) > longest:
            raise line_too_long(path, number)
        if b"\0" in line:
            raise DataError("found a NUL byte; expected a text file", path, number)
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        yield number, line.removesuffix(b"\n").removesuffix(b"\r")


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing, compressed according to its suffix; it replaces the old one at the end.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    with storage.replacing(path, "try again") as stream:
        packing = endings(path)[1]
        if not packing:
            yield stream
            return
        with packed_into(stream, packing, path) as packed:
            yield packed


def shown(raw: bytes) -> str:
    """Bytes of a file as text for a message."""
    return brief(raw[:_SHOWN].decode("utf-8", "backslashreplace"), 40)
