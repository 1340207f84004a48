"""Headers and checksums of `.safetensors` files, read without torch and without loading tensors.

A file begins with the length of its header (8 bytes, little-endian) and the header, a JSON object with
the type, shape and position of each tensor. Files of this toolkit have a SHA-256 of names, types, shapes
and content in their metadata.
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
"""Key of the checksum in the metadata."""

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
"""Bytes per element, and torch's name of the type."""


@dataclass(frozen=True)
class StoredTensor:
    """The type, shape and position of a tensor in a file.

    Args:
        dtype: name of the type in the format, e.g. "F32".
        shape: shape of the tensor.
        offset: position of its first byte in the file.
        n_bytes: size of its content.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class Header:
    """The header of a file.

    Args:
        tensors: tensors by name.
        metadata: strings by name.
    """

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]

    @property
    def checksum(self) -> str | None:
        """The checksum stored in the file, if any."""
        return self.metadata.get(CHECKSUM)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors by name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def read_header(path: str | PathLike[str]) -> Header:
    """Read the header of a file.

    Raises:
        DocumentError: the file is missing, truncated, longer than its header says, or damaged.
    """
    try:
        with documents.open_regular(path) as stream:
            return header_of(stream, path)
    except OSError as error:
        raise documents.cannot_be_read(path, error) from None


def header_of(stream: BinaryIO, path: str | PathLike[str]) -> Header:
    """Read the header from the start of an open file; leaves the stream positioned after it.

    Raises:
        DocumentError: as for `read_header`.
    """
    size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > size - 8:
        raise DocumentError(path, "cut short or overwritten, or not a safetensors file")
    if length > _MOST_BYTES:
        raise DocumentError(path, f"its header is larger than {_MOST_BYTES:,} bytes")
    mapping = documents.parse_json(path, documents.decoded(path, stream.read(length)))
    if not isinstance(mapping, dict):
        raise DocumentError(path, "not a safetensors file")
    metadata = mapping.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise DocumentError(path, "its metadata are not strings")
    start = 8 + length
    tensors = {name: _tensor(about, start, path) for name, about in mapping.items()}
    end = start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.n_bytes)):
        if tensor.offset != end:
            raise DocumentError(path, "its tensors overlap or have gaps between them")
        end += tensor.n_bytes
    if end != size:
        raise DocumentError(path, f"cut short or overwritten: {size:,} bytes, expected {end:,}")
    return Header(tensors, metadata)


def _tensor(about: Any, start: int, path: str | PathLike[str]) -> StoredTensor:
    problem = "the type, shape or position of a tensor is invalid"
    try:
        dtype, shape, (first, last) = about["dtype"], about["shape"], about["data_offsets"]
        numbers = [*shape, first, last]
        is_good = (
            isinstance(dtype, str) and isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS
        )
    except (KeyError, TypeError, ValueError):
        raise DocumentError(path, problem) from None
    if not is_good or not all(type(number) is int and number >= 0 for number in numbers):
        raise DocumentError(path, problem)
    if dtype in _TYPES and last - first != math.prod(shape) * _TYPES[dtype][0]:
        raise DocumentError(path, problem)
    return StoredTensor(dtype, tuple(shape), start + first, last - first)


def require_known_types(path: str | PathLike[str], header: Header) -> None:
    """Check that all tensors have types that this toolkit knows.

    Raises:
        DocumentError: a tensor has another type.
    """
    if any(tensor.dtype not in _TYPES for tensor in header.tensors.values()):
        raise DocumentError(path, "the type, shape or position of a tensor is invalid")


def is_whole(path: str | PathLike[str], header: Header) -> bool:
    """Whether the content of a file matches its checksum; true for a file without one.

    The file is read once, block by block.

    Raises:
        DocumentError: the file cannot be read.
    """
    tensors = header.tensors
    if header.checksum is None or any(each.dtype not in _TYPES for each in tensors.values()):
        return True
    digest = hashlib.sha256()
    try:
        with documents.open_regular(path) as stream:
            for name, tensor in sorted(tensors.items()):
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
