"""Read text files line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from unrolled.errors import DataError
from unrolled.text.files import opened
from unrolled.text.limits import line_too_long, longest_line


class Line(NamedTuple):
    """A line of a text file.

    Args:
        text: the line without its line end.
        number: 1-based line number.
        offset: position of its first byte in the decompressed file.
    """

    text: str
    number: int
    offset: int


def read_lines(path: Path, share: int = 1) -> Iterator[Line]:
    """The decoded lines of a text file; a compressed file is decompressed.

    Args:
        path: the file.
        share: lines may have `limits.longest_line() // share` bytes.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or has a line that is too long; raised when the
            error is reached.
    """
    number, offset = 0, 0
    longest = longest_line() // share

    def where() -> str:
        return f" after line {number}" if number else " from its first byte"

    with opened(path, where) as stream:
        for number, raw in enumerate(iter(lambda: stream.readline(longest + 1), b""), start=1):
            if len(raw) > longest:
                if b"\r" in raw[:longest]:
                    raise carriage_returns(path)
                raise line_too_long(path, number, share)
            yield Line(_decode(raw, path, number, offset), number, offset)
            offset += len(raw)


def _decode(raw: bytes, path: Path, number: int, offset: int) -> str:
    if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("this is UTF-16, expected UTF-8; save it again as UTF-8", path)
    if b"\0" in raw:
        at = offset + raw.index(b"\0")
        raise DataError(f"NUL byte at byte {at}; this is not a text file", path, number)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8 at byte {offset + error.start} (0x{raw[error.start]:02X}); "
            "convert it, e.g. with: iconv -f latin1 -t utf-8",
            path,
            number,
        ) from error
    if number == 1:
        text = text.removeprefix("\ufeff")
        if "\r" in text.rstrip("\r\n") and not text.endswith("\n"):
            raise carriage_returns(path)
    return text.removesuffix("\n").removesuffix("\r")


def carriage_returns(path: Path) -> DataError:
    return DataError(
        "lines end in a lone CR (carriage return), expected LF or CRLF; convert the file, e.g. with: "
        "tr '\\r' '\\n'",
        path,
        1,
    )
