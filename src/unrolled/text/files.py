"""Files as they lie on a disk: what their names say, and how they are unpacked as they are read."""

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
"""Endings of packed files that are read and written as what they hold, and what packs them."""

_MODULES = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
_NOT_UNPACKED = (".zst", ".lz4", ".lzma", ".z", ".zip", ".7z", ".rar")


def endings(path: PurePath) -> tuple[str, str]:
    """The last suffix in lower case, and after it that of what packs the file, or nothing.

    >>> endings(Path("talk.TXT.gz")), endings(Path("talk.txt"))
    (('.txt', '.gz'), ('.txt', ''))
    """
    last = path.suffix.lower()
    if last not in PACKED:
        return last, ""
    return path.with_suffix("").suffix.lower(), last


def nearest_file(path: Path) -> str:
    """The end of a message about a missing file: one of a similar name, or that its folder is missing."""
    try:
        there = [each.name for each in path.parent.iterdir() if each.is_file()]
    except OSError:
        return f", nor a folder '{path.parent}'" if not path.parent.is_dir() else ""
    return did_you_mean(path.name, there)


@contextmanager
def opened(path: Path, where: Callable[[], str] = str) -> Iterator[BinaryIO]:
    """A file to read, unpacked where its name says that it is packed.

    Args:
        path: the file.
        where: tells for a message how far the reader has come, e.g. " after line 3".

    Raises:
        DataError: it is missing, damaged, a folder, or cannot be read.
        UnavailableError: this Python cannot unpack it.
    """
    try:
        if path.is_dir():
            raise DataError("this is a folder; give a file", path)
        with documents.open_regular(path, pipes=True) as stream:
            suffix, packing = endings(path)
            if suffix in _NOT_UNPACKED and not packing:
                known = ", ".join(PACKED)
                raise DataError(
                    f"{suffix} files are not unpacked here; unpack it, or pack it as one of {known}",
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
    """What a packed file holds, as a stream.

    Args:
        stream: of the packed bytes.
        packing: the ending that says how, of `PACKED`.
        name: of the file, for messages.
        where: as for `opened`.

    Raises:
        DataError: the bytes are damaged or cut short, or unpack to more than `text.limits` allows.
        UnavailableError: this Python cannot unpack them.
    """
    module = _module(packing, name)
    faults: tuple[type[Exception], ...] = (EOFError, zlib.error, OSError)
    if packing == ".xz":
        faults += (module.LZMAError,)
    try:
        with module.open(stream) as inner:
            yield bounded(inner, stream, name)
    except faults as error:
        # bz2 has no error of its own; what the disk or the net says is not the file's fault.
        of_disk = isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile)
        if of_disk and str(error) != "Invalid data stream":
            raise
        raise DataError(
            f"damaged {PACKED[packing]} file{where()}; copy or download it again", name
        ) from error


@contextmanager
def packed_into(stream: BinaryIO, packing: str, name: Path) -> Iterator[BinaryIO]:
    """A stream that packs what is written to it; the same content is the same bytes.

    Raises:
        UnavailableError: this Python cannot pack so.
    """
    module = _module(packing, name)
    if packing == ".gz":  # no name and no time in it
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
            f"{name}: this Python was built without {_MODULES[packing]}, which unpacks {packing} files; "
            "unpack it first"
        ) from None
