"""What the calls of the kernels share: tensors as memory addresses, and the number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.kernels import kernels
from unrolled.ops.cells import CELLS
from unrolled.ops.types import Kind

# Multiply-adds per step below which synchronising two threads costs more than the second one saves.
_LEAST_SHARED_WORK = 1 << 14


def n_threads(kind: Kind, n_rows: int, input_size: int, hidden_size: int) -> int:
    work = n_rows * CELLS[kind].n_gates * hidden_size * (input_size + hidden_size)
    return torch.get_num_threads() if work >= _LEAST_SHARED_WORK else 1


def address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def rows(tensor: Tensor | None) -> tuple[int, int, int]:
    """The address of a tensor, and its strides over steps and rows."""
    return (0, 0, 0) if tensor is None else (tensor.data_ptr(), tensor.stride(0), tensor.stride(1))


def with_whole_rows(tensor: Tensor) -> Tensor:
    """Make the last dimension contiguous; steps and rows may have any stride."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


class Direction:
    """The tensors of one direction, from a flat list, and the kernel's call for them."""

    def __init__(self, kind: Kind, tensors: Sequence[Any]) -> None:
        n = CELLS[kind].n_states
        self.state: list[Tensor] = [part.contiguous() for part in tensors[:n]]
        self.weights: list[Any] = [None if w is None else w.contiguous() for w in tensors[n:]]

    def call(self, shape: Any, x: Tensor) -> Any:
        call = kernels.Recurrence(shape)
        h, c = (*self.state, None)[:2]
        call.given(*rows(x), address(h), address(c), *map(address, self.weights))
        return call


class Biases:
    """The biases in a flat list of tensors. The kernels' gradients do not depend on their values, so they
    are not saved and, as in torch, may change before `backward`."""

    def __init__(self, tensors: Sequence[Tensor | None], n_states: int) -> None:
        n = n_states + 4
        self._kept = {
            i: (tensor, tensor._version)
            for i, tensor in enumerate(tensors)
            if tensor is not None and i % n >= n - 2
        }
        self.others = [None if i in self._kept else tensor for i, tensor in enumerate(tensors)]

    def restore(self, others: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The whole list, for computations that need the values.

        Raises:
            RuntimeError: a bias has changed.
        """
        for bias, version in self._kept.values():
            if bias._version != version:
                raise RuntimeError(
                    "a bias needed for gradient computation has been modified by an inplace operation: "
                    f"it is at version {bias._version}, expected version {version}; change it after "
                    "the backward pass"
                )
        return [self._kept[i][0] if i in self._kept else part for i, part in enumerate(others)]
