"""How much of a file is taken at once, so that no file fills the memory, whatever it holds.

Of these limits no result depends: a file is read, or refused by its line. So they are settings of the
machine, given as environment variables.

- `UNROLLED_MAX_LINE`, 4MB by default: bytes of one line of a file, and of a text that is read whole.
- `UNROLLED_MAX_UNPACKED`: bytes that a packed file may unpack to; by default 200 times what it takes on
  the disk, and 1 MB whatever its size.

Running text, of language models and word vectors, may be one endless line: it is read in parts.
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
_TIMES = (
    200  # text is packed to a third or a tenth; a gigabyte of one letter to a thousandth and less
)
_ANYWAY = 1_000_000
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d{1,15}) ?(KB|MB|GB|TB|)", re.IGNORECASE)


def longest_line() -> int:
    """Bytes of the longest line.

    Raises:
        ConfigError: the variable holds no size.
    """
    return _given(MAX_LINE) or _LINE


def line_too_long(
    path: str | os.PathLike[str], line: int | None, share: int = 1, what: str = "line"
) -> DataError:
    """The error of a line that is longer.

    Args:
        path: the file.
        line: its number.
        share: the part of the longest line that it may have.
        what: it is.
    """
    return DataError(
        f"a {what} of more than {in_words(longest_line() // share)}; break it, or raise {MAX_LINE} (an "
        f"environment variable, now {in_words(longest_line())})",
        path,
        line,
    )


def in_words(size: int) -> str:
    """Bytes as they are given.

    >>> in_words(4_000_000), in_words(1500)
    ('4 MB', '1,500 bytes')
    """
    for unit, factor in reversed(_UNITS.items()):
        if unit and size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size:,} bytes"


def bounded(inner: Any, packed: Any, name: str | Path) -> BinaryIO:
    """What a packed file holds, as a stream that raises a `DataError` where it unpacks to too much.

    Args:
        inner: the unpacked stream.
        packed: the packed one, whose position tells how much of it was read.
        name: of the file, for messages.

    Raises:
        ConfigError: the environment variable holds no size.
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
                f"unpacks to more than {in_words(self._most) if self._most else f'{most:,} bytes'}"
                f"{of_default}; if it is what it should be, unpack it first, or raise {MAX_UNPACKED} (an "
                "environment variable)",
                self._name,
            )
        return n


def _given(name: str) -> int | None:
    """A size from the environment; None where there is none."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    found = _SIZE.fullmatch(text)
    if found is None or not int(found[1]):
        raise ConfigError(f"{name} must be a size such as 64MB or 2GB, got {quote(text)}")
    return int(found[1]) * _UNITS[found[2].upper()]
