"""Limits on how much of a file is read at once, so that no file can fill the memory.

No result depends on these limits: a file is either read, or refused with the line number. They are
settings of the machine, so they are given as environment variables.

- `UNROLLED_MAX_LINE`, 4MB by default: bytes of one line of a file, and of a text that is read whole.
- `UNROLLED_MAX_UNPACKED`: bytes that a compressed file may decompress to; by default 200 times its size
  on the disk, but at least 1 MB.

Running text, for language models and word vectors, may be one line of any length: it is read in parts.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.errors import ConfigError, DataError
from unrolled.quoting import quote

MAX_LINE = "UNROLLED_MAX_LINE"
MAX_UNPACKED = "UNROLLED_MAX_UNPACKED"

_LINE = 4_000_000
_TIMES = 200  # text compresses 3 to 10 times; a gigabyte of one letter, 1000 times and more
_ANYWAY = 1_000_000
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d{1,15}) ?(KB|MB|GB|TB|)", re.IGNORECASE)


def longest_line() -> int:
    """The longest allowed line in bytes.

    Raises:
        ConfigError: the environment variable is not a size.
    """
    return _given(MAX_LINE) or _LINE


def line_too_long(
    path: str | os.PathLike[str], line: int | None, share: int = 1, what: str = "line"
) -> DataError:
    """The error for a line that is too long.

    Args:
        path: the file.
        line: the line number.
        share: divisor of the longest line that gives the limit.
        what: what is too long, for the message.
    """
    return DataError(
        f"this {what} is longer than {in_words(longest_line() // share)}; split it, or raise {MAX_LINE} "
        f"(an environment variable, now {in_words(longest_line())})",
        path,
        line,
    )


def in_words(size: int) -> str:
    """A number of bytes for messages.

    >>> in_words(4_000_000), in_words(1500)
    ('4 MB', '1,500 bytes')
    """
    for unit, factor in reversed(_UNITS.items()):
        if unit and size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size:,} bytes"


def bounded(inner: Any, packed: Any, name: str | Path) -> BinaryIO:
    """A decompressed stream that raises a `DataError` if it decompresses to too much.

    Args:
        inner: the decompressed stream.
        packed: the compressed stream, whose position tells how much of it was read.
        name: the file name, for messages.

    Raises:
        ConfigError: the environment variable is not a size.
    """
    return io.BufferedReader(_Bounded(inner, packed, name), 1 << 17)


class _Bounded(io.RawIOBase):
    def __init__(self, inner: Any, packed: Any, name: str | Path) -> None:
        self._inner, self._packed, self._name = inner, packed, name
        self._most = _given(MAX_UNPACKED)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._inner.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._inner.seek(offset, whence))

    def tell(self) -> int:
        return int(self._inner.tell())

    def readinto(self, buffer: Any) -> int:
        n = int(self._inner.readinto(buffer))
        most = self._most or max(_ANYWAY, _TIMES * self._packed.tell())
        if self._inner.tell() > most:
            of_default = "" if self._most else f", {_TIMES} times its own size"
            raise DataError(
                f"decompresses to more than {in_words(self._most) if self._most else f'{most:,} bytes'}"
                f"{of_default}; if the file is genuine, decompress it first, or raise {MAX_UNPACKED} (an "
                "environment variable)",
                self._name,
            )
        return n


def _given(name: str) -> int | None:
    """A size from an environment variable; None if it is not set."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    match = _SIZE.fullmatch(text)
    if match is None or not int(match[1]):
        raise ConfigError(f"{name} must be a size such as 64MB or 2GB, got {quote(text)}")
    return int(match[1]) * _UNITS[match[2].upper()]
