"""Stream arrays into files and out of them; `unrolled.storage` makes the writes atomic."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unrolled import documents, storage, tensor_files
from unrolled.errors import DataError, RunError

_THEN = "train again, or copy the whole folder"
_BLOCK = 1 << 20  # bytes read at a time
_NPY_HEADER = 128  # bytes; a fixed length, so that the header can be written last


class NumberFile:
    """A `.npy` file of one or two dimensions that is written piece by piece, of any length.

    Use it as a context manager; the header is only written if no exception is raised.
    """

    def __init__(self, path: Path, dtype: DTypeLike, width: int = 1) -> None:
        self.path, self.dtype, self.width = path, np.dtype(dtype), width
        self.n_rows = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> NumberFile:
        self._stream = storage.new_file(self.path)
        self._stream.seek(_NPY_HEADER)
        return self

    def write(self, values: NDArray[Any]) -> None:
        """Append `[n]` numbers, or `[n, width]`."""
        content = np.ascontiguousarray(values, self.dtype).data
        self._digest.update(content)
        self._stream.write(content)
        self.n_rows += len(values)

    @property
    def checksum(self) -> str:
        """SHA-256 of the numbers."""
        return self._digest.hexdigest()

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
                storage.flush(self._stream)


def _npy_header(dtype: np.dtype[Any], n_rows: int, width: int) -> bytes:
    shape = f"({n_rows},)" if width == 1 else f"({n_rows}, {width})"
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00v\x00" + text.ljust(_NPY_HEADER - 11).encode() + b"\n"


@dataclass(frozen=True)
class StoredNumbers:
    """A `.npy` file from which some rows are read at a time.

    Rows are copied into memory, because a memory map would count as used memory for as long as the system
    likes and would keep the file open.

    Args:
        path: the file.
        dtype: type of the numbers.
        n_rows: number of rows.
        width: numbers per row.
        offset: bytes before the first row.
    """

    path: Path
    dtype: np.dtype[Any]
    n_rows: int
    width: int
    offset: int

    @classmethod
    def open(cls, path: Path) -> StoredNumbers:
        """Read the header of a file.

        Raises:
            DataError: the file is missing, truncated, or not an array of numbers.
        """
        try:
            with documents.open_regular(path) as stream:
                shape, dtype = array_header(stream)
                offset, size = stream.tell(), os.fstat(stream.fileno()).st_size
        except FileNotFoundError:
            raise DataError(f"missing; {_THEN}", path) from None
        except ValueError:
            raise DataError(f"not a complete NumPy array; {_THEN}", path) from None
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror or error})", path) from None
        n_rows, width = (*shape, 1, 1)[:2]
        if len(shape) not in (1, 2) or size < offset + n_rows * width * dtype.itemsize:
            raise DataError(f"not a complete NumPy array; {_THEN}", path)
        return cls(path, dtype, n_rows, width, offset)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from `start` up to `stop`, `[rows]`, or `[rows, width]` if width is above 1.

        Raises:
            DataError: the file was truncated after it was opened, or cannot be read.
        """
        offset = self.offset + start * self.width * self.dtype.itemsize
        try:
            values = np.fromfile(self.path, self.dtype, (stop - start) * self.width, offset=offset)
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror or error})", self.path) from None
        if len(values) != (stop - start) * self.width:
            raise DataError(f"truncated; {_THEN}", self.path)
        return values if self.width == 1 else values.reshape(-1, self.width)

    def checksum(self) -> str:
        """SHA-256 of the numbers, read in blocks.

        Raises:
            DataError: the file cannot be read.
        """
        digest = hashlib.sha256()
        left = self.n_rows * self.width * self.dtype.itemsize
        try:
            with documents.open_regular(self.path) as stream:
                stream.seek(self.offset)
                while left and (block := stream.read(min(left, _BLOCK))):
                    digest.update(block)
                    left -= len(block)
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror or error})", self.path) from None
        return digest.hexdigest()


def array_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and type of a `.npy` array of plain numbers; the stream is then at the first number.

    Raises:
        ValueError: it is not an array of plain numbers.
    """
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
    except OSError:
        raise
    except Exception:  # NumPy parses the header as Python source, which can raise anything
        raise ValueError("no header of an array of numbers") from None
    if by_column or dtype.kind not in "iuf" or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("no array of numbers")
    return shape, dtype


Pieces = Callable[[], Iterator[NDArray[np.float32]]]


def write_tensors(
    path: Path,
    tensors: Mapping[str, tuple[tuple[int, ...], Pieces]],
    then: str = "continue with --resume",
) -> None:
    """Write float32 arrays as a `.safetensors` file, piece by piece, with a checksum in its header.

    The checksum is the same as in `unrolled.training.checkpoint`, so that the file can be read there.

    Args:
        path: the file.
        tensors: by name, the shape and a function that yields the rows in order.
        then: what the error message advises if the disk is full.

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
    with storage.replacing(path, then) as stream:
        stream.write(storage.safetensors_header(header))
        for name in names:
            shape, pieces = tensors[name]
            digest.update(f"{name} torch.float32 {list(shape)}\n".encode())
            for piece in pieces():
                values = np.ascontiguousarray(piece, "<f4").data
                digest.update(values)
                stream.write(values)
        header["__metadata__"]["sha256"] = digest.hexdigest()
        stream.seek(0)
        stream.write(storage.safetensors_header(header))


def read_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], at_once: int
) -> Iterator[tuple[str, int, NDArray[np.float32]]]:
    """Read a file of `write_tensors`, some rows at a time, and compare the checksum at the end.

    Args:
        path: the file.
        shapes: expected shapes of the arrays, by name.
        at_once: numbers to read at once; at least one row is read.

    Yields:
        The name of an array, a row number, and rows from there on.

    Raises:
        RunError: the file is missing, damaged, or contains other arrays.
    """
    header = read_tensor_shapes(path, shapes)
    try:
        with documents.open_regular(path) as stream:
            digest = hashlib.sha256()
            for name in sorted(shapes):
                shape = shapes[name]
                digest.update(f"{name} torch.float32 {list(shape)}\n".encode())
                width = int(np.prod(shape[1:]))
                n_rows = max(1, at_once // width)
                stream.seek(header.tensors[name].offset)
                for first in range(0, shape[0], n_rows):
                    n = min(n_rows, shape[0] - first)
                    content = stream.read(4 * n * width)
                    digest.update(content)
                    yield name, first, np.frombuffer(content, "<f4").reshape(n, *shape[1:])
            if digest.hexdigest() != header.checksum:
                raise ValueError("its checksum does not match")
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged ({error}); train again (--force)") from None


def read_tensor_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tensor_files.Header:
    """Read and check the header of a file of `write_tensors`, before memory is allocated for it.

    Raises:
        RunError: the file is missing, damaged, or contains other arrays.
    """
    try:
        header = tensor_files.read_header(path)
    except documents.DocumentError as error:
        raise RunError(f"{path}: damaged ({error.problem}); train again (--force)") from None
    types = {tensor.dtype for tensor in header.tensors.values()}
    if header.shapes != dict(shapes) or types != {"F32"}:
        raise RunError(
            f"{path}: contains other arrays than these vectors need; train again (--force)"
        )
    return header


def numbers(content: bytes, dtype: DTypeLike) -> NDArray[Any]:
    """Bytes as an array of numbers; also works for no bytes."""
    return np.frombuffer(content, dtype) if content else np.empty(0, dtype)
