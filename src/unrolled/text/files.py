"""Open files by the extensions of their names, decompressing them while they are read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, BinaryIO, cast

from unrolled import documents
from unrolled.errors import DataError, UnavailableError, did_you_mean
from unrolled.text.limits import bounded

PACKED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}
"""Extensions of the compressed files that can be read and written, and their formats."""

_MODULES = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
_NOT_UNPACKED = (".zst", ".lz4", ".lzma", ".z", ".zip", ".7z", ".rar")


def endings(path: PurePath) -> tuple[str, str]:
    """The last suffix in lower case without compression, and the compression suffix or "".

    >>> endings(Path("talk.TXT.gz")), endings(Path("talk.txt"))
    (('.txt', '.gz'), ('.txt', ''))
    """
    last = path.suffix.lower()
    if last not in PACKED:
        return last, ""
    return path.with_suffix("").suffix.lower(), last


def nearest_file(path: Path) -> str:
    """The end of a message about a missing file: a similar name, or that the folder does not exist."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return "" if path.parent.is_dir() else f"; the folder '{path.parent}' does not exist"
    return did_you_mean(path.name, names)


@contextmanager
def opened(path: Path, where: Callable[[], str] = str) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed if its name has a compression suffix.

    Args:
        path: the file.
        where: returns how far the reader has come, for messages, e.g. " after line 3".

    Raises:
        DataError: the file is missing, damaged, a folder, or cannot be read.
        UnavailableError: this Python cannot decompress it.
    """
    try:
        if path.is_dir():
            raise DataError("this is a folder; give a file", path)
        with documents.open_regular(path, pipes=True) as stream:
            suffix, packing = endings(path)
            if suffix in _NOT_UNPACKED and not packing:
                known = ", ".join(PACKED)
                raise DataError(
                    f"{suffix} files are not supported; decompress it, or use one of {known}",
                    path,
                )
            if packing:
                with unpacked(stream, packing, path, where) as inner:
                    yield inner
            else:
                yield stream
    except FileNotFoundError as error:
        raise DataError(f"no such file{nearest_file(path)}", path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path) from error


@contextmanager
def unpacked(
    stream: Any, packing: str, name: str | Path, where: Callable[[], str] = str
) -> Iterator[BinaryIO]:
    """The decompressed contents of a stream.

    Args:
        stream: the compressed bytes.
        packing: the compression suffix, one of `PACKED`.
        name: the file name, for messages.
        where: as for `opened`.

    Raises:
        DataError: the bytes are damaged or truncated, or decompress to more than `text.limits` allows.
        UnavailableError: this Python cannot decompress them.
    """
    module = _module(packing, name)
    faults: tuple[type[Exception], ...] = (EOFError, zlib.error, OSError)
    if packing == ".xz":
        faults += (module.LZMAError,)
    try:
        with module.open(stream) as inner:
            yield bounded(inner, stream, name)
    except faults as error:
        # bz2 raises a plain OSError for damaged data; errors of the disk or network are passed on.
        of_disk = isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile)
        if of_disk and str(error) != "Invalid data stream":
            raise
        raise DataError(
            f"damaged {PACKED[packing]} file{where()}; copy or download it again", name
        ) from error


@contextmanager
def packed_into(stream: BinaryIO, packing: str, name: Path) -> Iterator[BinaryIO]:
    """A stream that compresses what is written to it; equal content gives equal bytes.

    Raises:
        UnavailableError: this Python cannot compress in this format.
    """
    module = _module(packing, name)
    if packing == ".gz":  # without name and time, for equal bytes
        packed = gzip.GzipFile("", "wb", 6, stream, mtime=0)
    else:
        packed = module.open(stream, "wb")
    with packed:
        yield cast(BinaryIO, packed)


def _module(packing: str, name: str | Path) -> Any:
    try:
        return import_module(_MODULES[packing])
    except ImportError:
        raise UnavailableError(
            f"{name}: this Python was built without {_MODULES[packing]}, which decompresses {packing} "
            "files; decompress it first"
        ) from None
