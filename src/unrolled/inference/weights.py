"""The weights of a run by name, as NumPy arrays."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import documents, tensor_files
from unrolled.inference.refusal import Refused

Array = NDArray[Any]
_TYPES = {"F32": np.float32, "F64": np.float64}


class Weights:
    """Arrays by name, each of which the model takes once, with the shape that it expects.

    Args:
        arrays: the arrays.
        prefix: begins the names of all that `take` looks up.
        left: the names that nobody has taken; None for all.
    """

    def __init__(
        self, arrays: dict[str, Array], prefix: str = "", left: set[str] | None = None
    ) -> None:
        self._arrays, self._prefix = arrays, prefix
        self._left = set(arrays) if left is None else left

    @classmethod
    def read(cls, path: Path) -> Weights:
        """Read a file of weights, after its checksum has been compared.

        Raises:
            DocumentError: the file is missing or damaged.
            Refused: it has no checksum, or not only floating-point numbers.
        """
        header = tensor_files.read_header(path)
        if header.checksum is None or not tensor_files.is_whole(path, header):
            raise Refused("the checksum of the weights")
        with documents.open_regular(path) as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = {}
        for name, tensor in header.tensors.items():
            if tensor.dtype not in _TYPES:
                raise Refused(f"weights of type {tensor.dtype}")
            kind = np.dtype(_TYPES[tensor.dtype]).newbyteorder("<")
            count = tensor.n_bytes // kind.itemsize
            arrays[name] = np.frombuffer(content, kind, count, tensor.offset).reshape(tensor.shape)
        return cls(arrays)

    def of(self, name: str) -> Weights:
        """The weights of a part of the model."""
        return Weights(self._arrays, f"{self._prefix}{name}.", self._left)

    def take(self, name: str, *shape: int) -> Array:
        """An array.

        Raises:
            Refused: there is none of this name and shape.
        """
        name = f"{self._prefix}{name}"
        array = self._arrays.get(name)
        if array is None or array.shape != shape:
            raise Refused(f"no weight '{name}' of shape {list(shape)}")
        self._left.discard(name)
        return array

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array; () if there is none."""
        array = self._arrays.get(f"{self._prefix}{name}")
        return () if array is None else array.shape

    def left(self) -> Iterator[str]:
        """The names that nobody has taken."""
        return iter(sorted(self._left))
