"""Headers and checksums of `.safetensors` files, read without the tensors and without torch.

A file begins with the length of its header (8 bytes, little-endian) and the header, a JSON object: for
each tensor its type, shape and place. Ours hold in its metadata a SHA-256 of names, types, shapes and
content.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from os import PathLike
from typing import Any, BinaryIO

from unrolled import documents
from unrolled.documents import DocumentError

CHECKSUM = "sha256"
"""The key in the metadata."""

_MOST_BYTES = 64 << 20  # of a header
_MOST_DIMENSIONS = 16
_BLOCK = 1 << 20  # bytes read at a time
_TYPES = {
    "F64": (8, "float64"),
    "F32": (4, "float32"),
    "F16": (2, "float16"),
    "BF16": (2, "bfloat16"),
    "I64": (8, "int64"),
    "I32": (4, "int32"),
    "I16": (2, "int16"),
    "I8": (1, "int8"),
    "U64": (8, "uint64"),
    "U32": (4, "uint32"),
    "U16": (2, "uint16"),
    "U8": (1, "uint8"),
    "BOOL": (1, "bool"),
}
"""Bytes of a number, and torch's name of the type."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor stands in a file.

    Args:
        dtype: as the format names it, e.g. "F32".
        shape: of the tensor.
        offset: of its first byte in the file.
        n_bytes: of its numbers.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class Header:
    """What a file says that it holds.

    Args:
        tensors: by name.
        metadata: texts by name.
    """

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]

    @property
    def checksum(self) -> str | None:
        """The checksum that the file holds, if it does."""
        return self.metadata.get(CHECKSUM)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def read_header(path: str | PathLike[str]) -> Header:
    """What a file holds, after a look at its header alone.

    Raises:
        DocumentError: it is missing, cut short, longer than its header says, or damaged.
    """
    try:
        with documents.open_regular(path) as stream:
            return header_of(stream, path)
    except OSError as error:
        raise documents.cannot_be_read(path, error) from None


def header_of(stream: BinaryIO, path: str | PathLike[str]) -> Header:
    """The header of an open file, read from its start; the stream stands after it.

    Raises:
        DocumentError: as for `read_header`.
    """
    size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > size - 8:
        raise DocumentError(path, "cut short or overwritten, or no safetensors file")
    if length > _MOST_BYTES:
        raise DocumentError(path, f"its header is larger than {_MOST_BYTES:,} bytes")
    mapping = documents.parse_json(path, documents.decoded(path, stream.read(length)))
    if not isinstance(mapping, dict):
        raise DocumentError(path, "no safetensors file")
    metadata = mapping.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(each, str) for each in metadata.values()
    ):
        raise DocumentError(path, "its metadata are no texts by name")
    start = 8 + length
    tensors = {name: _tensor(about, start, path) for name, about in mapping.items()}
    end = start
    for each in sorted(tensors.values(), key=lambda each: (each.offset, each.n_bytes)):
        if each.offset != end:
            raise DocumentError(path, "its tensors do not stand one after another")
        end += each.n_bytes
    if end != size:
        raise DocumentError(path, f"cut short or overwritten: {size:,} bytes, expected {end:,}")
    return Header(tensors, metadata)


def _tensor(about: Any, start: int, path: str | PathLike[str]) -> StoredTensor:
    problem = "a tensor's type, shape or place is damaged"
    try:
        dtype, shape, (first, last) = about["dtype"], about["shape"], about["data_offsets"]
        places = [*shape, first, last]
        is_good = (
            isinstance(dtype, str) and isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS
        )
    except (KeyError, TypeError, ValueError):
        raise DocumentError(path, problem) from None
    if not is_good or not all(type(each) is int and each >= 0 for each in places):
        raise DocumentError(path, problem)
    if dtype in _TYPES and last - first != math.prod(shape) * _TYPES[dtype][0]:
        raise DocumentError(path, problem)
    return StoredTensor(dtype, tuple(shape), start + first, last - first)


def require_known_types(path: str | PathLike[str], header: Header) -> None:
    """Refuse numbers of types that this toolkit never writes.

    Raises:
        DocumentError: there are some.
    """
    if any(each.dtype not in _TYPES for each in header.tensors.values()):
        raise DocumentError(path, "a tensor's type, shape or place is damaged")


def is_whole(path: str | PathLike[str], header: Header) -> bool:
    """Whether a file's content has the checksum that it holds; one without a checksum is taken as it is.

    The file is read once, a block at a time.

    Raises:
        DocumentError: it cannot be read.
    """
    if header.checksum is None or any(each.dtype not in _TYPES for each in header.tensors.values()):
        return True
    digest = hashlib.sha256()
    try:
        with documents.open_regular(path) as stream:
            for name in sorted(header.tensors):
                tensor = header.tensors[name]
                dtype = _TYPES[tensor.dtype][1]
                digest.update(f"{name} torch.{dtype} {list(tensor.shape)}\n".encode())
                stream.seek(tensor.offset)
                left = tensor.n_bytes
                while left and (block := stream.read(min(left, _BLOCK))):
                    digest.update(block)
                    left -= len(block)
    except OSError as error:
        raise documents.cannot_be_read(path, error) from None
    return digest.hexdigest() == header.checksum
