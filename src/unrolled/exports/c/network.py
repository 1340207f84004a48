"""The weights of a model as arrays of C: in float32, or as integers of 8 bits with a scale for each row.

A network is built on a copy of the model. With int8, each weight of the copy is replaced by its rounded
value, so the copy computes what the C code computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.errors import RunError
from unrolled.exports.c import literals
from unrolled.layers.recurrent import layer_weights
from unrolled.ops.types import Weights

Precision = Literal["float32", "int8"]

LANES = {"float32": 8, "int8": 16}
"""Partial sums of a product, by precision, which compilers keep in two or four registers of 16 bytes.

16 integers of 8 bits fill one register and are converted together; with 8, GCC 12 converts each by
itself, which takes 2.2 times as long. In float32, more than 8 sums are not faster.
"""

_LARGEST = 127


@dataclass(frozen=True)
class Array:
    """An array of `weights.h`.

    Args:
        name: its name, without the prefix.
        content: its values.
    """

    name: str
    content: NDArray[Any]

    @property
    def type(self) -> str:
        """The type of an element in C."""
        kinds = {"float32": "float", "float64": "double", "int8": "int8_t", "uint8": "uint8_t"}
        return kinds[self.content.dtype.name]

    @property
    def size(self) -> str:
        """The number of elements."""
        return str(self.content.size)

    @property
    def shape(self) -> str:
        """The lengths of its dimensions."""
        return " × ".join(map(str, self.content.shape)).replace("×", "x")

    @property
    def values(self) -> str:
        """Its elements as written in C."""
        return literals.numbers(self.content)


@dataclass(frozen=True)
class Matrix:
    """A matrix of the network, of which only the arrays are kept.

    Args:
        name: its name.
        rows: name of the array of weights.
        scale: name of the array of scales; "" without one.
        bias: name of the array of biases; "NULL" without them.
        n_rows, width: its shape; one that is stored by columns has the width 1.
        n_columns: for a matrix that is stored by columns, the length of one; else 0.
    """

    name: str
    rows: str
    scale: str
    bias: str
    n_rows: int
    width: int
    n_columns: int = 0

    @property
    def written(self) -> str:
        """The matrix as the value of a struct."""
        names = [f"model_{self.rows}"]
        if self.scale:
            names.append(f"model_{self.scale}")
        names.append(self.bias if self.bias == "NULL" else f"model_{self.bias}")
        return "{" + ", ".join([*names, str(self.width)]) + "}"


@dataclass(frozen=True)
class Layer:
    """A recurrent layer in one direction.

    Args:
        name: its name.
        input, recurrent: its matrices, each with a bias.
        size: number of units.
        input_size: width of the input.
    """

    name: str
    input: Matrix
    recurrent: Matrix
    size: int
    input_size: int


@dataclass
class Builder:
    """Collects the arrays of a network.

    Args:
        precision: the precision of the weights of matrices; biases stay in float32.
    """

    precision: Precision
    arrays: list[Array] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)

    def array(self, name: str, content: NDArray[Any]) -> str:
        """Add an array, and return its name.

        Raises:
            RunError: a number is not finite; only scores of what is forbidden may be −∞.
        """
        is_valid = content.dtype.kind not in "f" or bool(
            (np.isfinite(content) | (content == -np.inf)).all()
        )
        if not is_valid or (content.dtype == np.float32 and not np.isfinite(content).all()):
            raise RunError(
                f"the weights '{name}' of the model are not finite; train it again, with a lower "
                "learning rate"
            )
        self.arrays.append(Array(name, content))
        return name

    @torch.no_grad()
    def matrix(
        self,
        name: str,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        by_columns: bool = False,
        shared: Matrix | None = None,
    ) -> Matrix:
        """Add a matrix, rounding `weight` in place if the precision is int8.

        Args:
            name: its name.
            weight: `[R, C]`.
            bias: `[R]`.
            by_columns: whether to store the columns one after another.
            shared: a matrix with the same weight, which is not stored again.
        """
        n_rows, width = weight.shape
        bias_name = "NULL"
        if bias is not None:
            bias_name = self.array(f"{name}_bias", _floats(bias))
        if shared is not None:
            return Matrix(name, shared.rows, shared.scale, bias_name, n_rows, width)
        rows: NDArray[Any] = _floats(weight)
        scale_name = ""
        if self.precision == "int8":
            integers, scale = rounded(rows)
            weight.copy_(torch.from_numpy(integers.astype(np.float32) * scale[:, None]))
            scale_name = self.array(f"{name}_scale", scale)
            rows = integers
        stored = np.ascontiguousarray(rows.T) if by_columns else rows
        stored_name = self.array(f"{name}_rows", stored)
        if by_columns:
            return Matrix(name, stored_name, scale_name, bias_name, n_rows, 1, n_rows)
        return Matrix(name, stored_name, scale_name, bias_name, n_rows, width)

    def layer(self, name: str, weights: Weights, *, by_columns: bool = False) -> Layer:
        """Add a recurrent layer in one direction."""
        assert weights.b_ih is not None
        assert weights.b_hh is not None
        layer = Layer(
            name,
            self.matrix(f"{name}_ih", weights.w_ih, weights.b_ih, by_columns=by_columns),
            self.matrix(f"{name}_hh", weights.w_hh, weights.b_hh),
            weights.w_hh.shape[1],
            weights.w_ih.shape[1],
        )
        self.layers.append(layer)
        return layer

    def named(self, name: str, weight: Tensor, bias: Tensor | None = None, **how: Any) -> Matrix:
        """Add a matrix that the code refers to by its name."""
        matrix = self.matrix(name, weight, bias, **how)
        self.matrices.append(matrix)
        return matrix

    def encoder(self, name: str, encoder: Any) -> list[tuple[Layer, ...]]:
        """Add the layers of a `RecurrentEncoder`; for each, its one or two directions."""
        recurrent = encoder.recurrent
        found = []
        for depth in range(recurrent.num_layers):
            layers = [self.layer(f"{name}{depth}", layer_weights(recurrent, depth))]
            if recurrent.bidirectional:
                parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                back = Weights(*(getattr(recurrent, f"{part}_l{depth}_reverse") for part in parts))
                layers.append(self.layer(f"{name}{depth}_back", back))
            found.append(tuple(layers))
        return found

    @property
    def widest(self) -> int:
        """The number of units of the widest layer."""
        return max(layer.size for layer in self.layers)

    @property
    def n_bytes(self) -> int:
        """The size of all arrays."""
        return sum(array.content.nbytes for array in self.arrays)

    @cached_property
    def by_name(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {array.name: array.content for array in self.arrays}


def rounded(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and a scale for each row, so that a weight is about its integer times the scale.

    >>> integers, scale = rounded(np.array([[127.0, -50.8], [0.0, 0.0]], np.float32))
    >>> integers.tolist(), scale.tolist()
    ([[127, -51], [0, 0]], [1.0, 1.0])
    """
    largest = np.abs(rows).max(axis=1)
    scale = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    integers = np.rint(rows / scale[:, None]).clip(-_LARGEST, _LARGEST)
    return integers.astype(np.int8), scale


def _floats(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().float().numpy().copy()


@dataclass(frozen=True)
class CellText:
    """What the templates need to know of a cell.

    Args:
        name: its name in recipes.
        gates: its gates, in the order of the rows of a weight.
        function: for a cell without gates, the name of its non-linearity.
        sigmoid: whether it has one.
    """

    name: str
    gates: str
    function: str = ""
    sigmoid: bool = False


CELLS = {
    "rnn": CellText("rnn", "the units", "tanh"),
    "rnn_relu": CellText("rnn_relu", "the units", "relu"),
    "gru": CellText("gru", "the gates r, z and n", sigmoid=True),
    "lstm": CellText("lstm", "the gates i, f, g and o", sigmoid=True),
}
"""The cells that can be written in C."""
