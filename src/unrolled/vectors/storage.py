"""Files that appear whole or not at all, and numbers that stream into them.

Everything is written under a temporary name, flushed to the disk and renamed. Whoever finds a file under
its own name finds all of it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unrolled.errors import RunError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_NPY_HEADER = 128  # bytes; its length is a part of the format, so that it can be written last


@contextmanager
def writing(path: Path, then: str = "go on with --resume") -> Iterator[None]:
    """Turn a failure to write `path` into one sentence.

    Args:
        path: the file or folder.
        then: what to do when there is room on the disk again.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            problem = f"disk full while writing {path}; free space and {then}"
        else:
            problem = f"cannot write {path} ({error.strerror or error})"
        raise RunError(problem) from error


def partial(path: Path) -> Path:
    """The temporary name of a file or folder."""
    return path.with_name(f".{path.name}.partial")


def appear(path: Path) -> None:
    """Give what stands under the temporary name of `path` its own."""
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(partial(path), path)
    _flush_folder(path.parent)


@contextmanager
def replacing(path: Path, then: str = "go on with --resume") -> Iterator[BinaryIO]:
    """A new file, which takes its place once it is whole, or leaves nothing.

    Args:
        path: the file.
        then: what to do after a full disk.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    try:
        with writing(path, then):
            with partial(path).open("wb") as stream:
                yield stream
                flush(stream)
            appear(path)
    finally:
        with suppress(OSError):
            partial(path).unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file at once.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    with replacing(path) as stream:
        stream.write(content)


def flush(stream: Any) -> None:
    """Have what was written to a file put on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def _flush_folder(path: Path) -> None:
    if os.name != "nt":  # Windows cannot open a folder, and orders renames by itself
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class NumberFile:
    """A one-dimensional `.npy` file whose length is known when it is complete.

    Used as a context; without an exception the file is there afterwards, else nothing.
    """

    def __init__(self, path: Path, dtype: DTypeLike, width: int = 1) -> None:
        self.path, self.dtype, self.width = path, np.dtype(dtype), width
        self.n_rows = 0

    def __enter__(self) -> NumberFile:
        self._stream = self.path.open("wb")
        self._stream.seek(_NPY_HEADER)
        return self

    def write(self, values: NDArray[Any]) -> None:
        """Append `[n]` numbers, or `[n, width]`."""
        self._stream.write(np.ascontiguousarray(values, self.dtype).data)
        self.n_rows += len(values)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stream:
            if error is None:
                self._stream.seek(0)
                self._stream.write(_npy_header(self.dtype, self.n_rows, self.width))
                flush(self._stream)


def _npy_header(dtype: np.dtype[Any], n_rows: int, width: int) -> bytes:
    shape = f"({n_rows},)" if width == 1 else f"({n_rows}, {width})"
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00v\x00" + text.ljust(_NPY_HEADER - 11).encode() + b"\n"


def read_rows(path: Path, dtype: DTypeLike, start: int, stop: int, width: int = 1) -> NDArray[Any]:
    """Rows of a file that a `NumberFile` wrote, in memory of their own.

    A map of the file would count as memory in use for as long as the system likes.
    """
    dtype = np.dtype(dtype)
    offset = _NPY_HEADER + start * width * dtype.itemsize
    values = np.fromfile(path, dtype, (stop - start) * width, offset=offset)
    if len(values) != (stop - start) * width:
        raise RunError(f"{path}: cut short; count again (--force)")
    return values if width == 1 else values.reshape(-1, width)


Pieces = Callable[[], Iterator[NDArray[np.float32]]]


def write_tensors(
    path: Path,
    tensors: Mapping[str, tuple[tuple[int, ...], Pieces]],
    then: str = "go on with --resume",
) -> None:
    """Write float32 arrays as a `.safetensors` file, piece by piece, with a checksum in its header.

    The checksum is that of `unrolled.training.checkpoint`, so that the file can be read back there.

    Args:
        path: the file.
        tensors: by name, the shape and a function that gives the rows in order.
        then: what to do after a full disk.

    Raises:
        RunError: the disk is full, or the file cannot be written.
    """
    names = sorted(tensors)
    header: dict[str, Any] = {"__metadata__": {"sha256": "0" * 64}}
    end = 0
    for name in names:
        shape = tensors[name][0]
        start, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    digest = hashlib.sha256()
    with replacing(path, then) as stream:
        stream.write(_safetensors_header(header))
        for name in names:
            shape, pieces = tensors[name]
            digest.update(f"{name} torch.float32 {list(shape)}\n".encode())
            for piece in pieces():
                values = np.ascontiguousarray(piece, "<f4").data
                digest.update(values)
                stream.write(values)
        header["__metadata__"]["sha256"] = digest.hexdigest()
        stream.seek(0)
        stream.write(_safetensors_header(header))


def _safetensors_header(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def numbers(content: bytes, dtype: DTypeLike) -> NDArray[Any]:
    """The numbers that some bytes hold; none for no bytes."""
    return np.frombuffer(content, dtype) if content else np.empty(0, dtype)


def memory_in_use() -> int:
    """Bytes of memory this process holds now; a guess where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 100 << 20
