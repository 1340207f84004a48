"""The weights of a model as arrays of C: in float32, or as integers of 8 bits with a scale for each row.

Matrices that are multiplied are stored in blocks of rows; see `Blocks`.

A network is built on a copy of the model. With int8, each weight of the copy is replaced by its rounded
value, so the copy computes what the C code computes.
"""

from __future__ import annotations

from collections.abc import Mapping
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

ROWS_AT_ONCE = {"float32": 8, "int8": 16}
"""Rows of a matrix that are multiplied at once, by precision.

Their weights lie one column after another, so that compilers compute several rows with one instruction,
and no sum changes its order. 16 integers of 8 bits fill a register and are converted together; with 8,
GCC 12 converts each by itself, which takes more than twice as long.
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
class Blocks:
    """How the rows of a matrix are stored: in blocks, each with some units of all gates.

    Args:
        gates: number of gates; 1 for a matrix without them.
        units: units of a block. Missing ones of the last block are zeros.
    """

    gates: int
    units: int

    @property
    def n_rows(self) -> int:
        """Rows of a block."""
        return self.gates * self.units

    def ordered(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows, or numbers of rows, in the order of the blocks.

        >>> Blocks(2, 2).ordered(np.array([1, 2, 3, 4, 5, 6])).tolist()
        [1, 2, 4, 5, 3, 0, 6, 0]
        """
        gates = np.split(rows, self.gates)
        missing = -len(gates[0]) % self.units
        padding = [(0, missing), *[(0, 0)] * (rows.ndim - 1)]
        split = [np.pad(gate, padding).reshape(-1, self.units, *rows.shape[1:]) for gate in gates]
        return np.stack(split, 1).reshape(-1, *rows.shape[1:])

    def restored(self, ordered: NDArray[Any], n_rows: int) -> NDArray[Any]:
        """The first `n_rows` rows in their own order.

        >>> Blocks(2, 2).restored(np.array([1, 2, 4, 5, 3, 0, 6, 0]), 6).tolist()
        [1, 2, 3, 4, 5, 6]
        """
        gates = ordered.reshape(-1, self.gates, self.units, *ordered.shape[1:]).swapaxes(0, 1)
        gates = gates.reshape(self.gates, -1, *ordered.shape[1:])[:, : n_rows // self.gates]
        return gates.reshape(n_rows, *ordered.shape[1:])

    def by_columns(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The weights `[R, C]` of a matrix as they are stored: `[blocks, C, rows of a block]`."""
        ordered = self.ordered(rows).reshape(-1, self.n_rows, rows.shape[1])
        return np.ascontiguousarray(ordered.swapaxes(1, 2))


@dataclass(frozen=True)
class Matrix:
    """A matrix of the network, of which only the arrays are kept.

    Args:
        name: its name.
        rows: name of the array of weights.
        scale: name of the array of scales; "" without one.
        bias: name of the array of biases; "NULL" without them.
        n_rows, width: its shape; one that is stored by columns has the width 1.
        blocks: how its rows are stored; None for one row after another.
        n_columns: for a matrix that is stored by columns, the length of one; else 0.
    """

    name: str
    rows: str
    scale: str
    bias: str
    n_rows: int
    width: int
    blocks: Blocks | None = None
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


@dataclass(frozen=True)
class CellText:
    """What the templates need to know of a cell.

    Args:
        name: its name in recipes.
        gates: its gates, in the order of the rows of a weight.
        n_gates: their number.
        at_once: by precision, units that are computed at once. Their rows fill up to 12 registers of 4
            numbers, and with int8 whole registers of 16 integers.
        function: for a cell without gates, its non-linearity in C.
    """

    name: str
    gates: str
    n_gates: int
    at_once: Mapping[str, int]
    function: str = ""


CELLS = {
    "rnn": CellText("rnn", "the units", 1, {"float32": 16, "int8": 16}, "tanh"),
    "rnn_relu": CellText("rnn_relu", "the units", 1, {"float32": 16, "int8": 16}, "relu"),
    "gru": CellText("gru", "the gates r, z and n", 3, {"float32": 8, "int8": 16}),
    "lstm": CellText("lstm", "the gates i, f, g and o", 4, {"float32": 8, "int8": 8}),
}
"""The cells that can be written in C."""


@dataclass
class Builder:
    """Collects the arrays of a network.

    Args:
        precision: the precision of the weights of matrices; biases stay in float32.
        cell: the cell of its layers.
    """

    precision: Precision
    cell: CellText
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
        blocks: Blocks | None = None,
        by_columns: bool = False,
        shared: Matrix | None = None,
    ) -> Matrix:
        """Add a matrix, rounding `weight` in place if the precision is int8.

        Args:
            name: its name.
            weight: `[R, C]`.
            bias: `[R]`.
            blocks: how the rows are stored; None for a table, whose rows are only looked up.
            by_columns: whether to store the columns one after another, each in the order of the blocks.
            shared: a matrix with the same weight, which is not stored again.
        """
        n_rows, width = weight.shape
        order = (lambda rows: rows) if blocks is None else blocks.ordered
        bias_name = "NULL"
        if bias is not None:
            bias_name = self.array(f"{name}_bias", order(_floats(bias)))
        if shared is not None:
            return Matrix(name, shared.rows, shared.scale, bias_name, n_rows, width, blocks)
        rows: NDArray[Any] = _floats(weight)
        scale_name = ""
        if self.precision == "int8":
            integers, scale = rounded(rows)
            weight.copy_(torch.from_numpy(integers.astype(np.float32) * scale[:, None]))
            scale_name = self.array(f"{name}_scale", order(scale))
            rows = integers
        if by_columns:
            columns = np.ascontiguousarray(order(rows).T)
            stored = self.array(f"{name}_rows", columns)
            return Matrix(name, stored, scale_name, bias_name, n_rows, 1, blocks, columns.shape[1])
        content = rows if blocks is None else blocks.by_columns(rows)
        stored = self.array(f"{name}_rows", content)
        return Matrix(name, stored, scale_name, bias_name, n_rows, width, blocks)

    def layer(self, name: str, weights: Weights, *, by_columns: bool = False) -> Layer:
        """Add a recurrent layer in one direction."""
        assert weights.b_ih is not None
        assert weights.b_hh is not None
        blocks = Blocks(self.cell.n_gates, self.cell.at_once[self.precision])
        layer = Layer(
            name,
            self.matrix(
                f"{name}_ih", weights.w_ih, weights.b_ih, blocks=blocks, by_columns=by_columns
            ),
            self.matrix(f"{name}_hh", weights.w_hh, weights.b_hh, blocks=blocks),
            weights.w_hh.shape[1],
            weights.w_ih.shape[1],
        )
        self.layers.append(layer)
        return layer

    def table(self, name: str, weight: Tensor, *, tied: bool = False) -> Matrix:
        """Add embeddings, which may be the weights of a matrix as well."""
        matrix = self.matrix(name, weight, blocks=self.plain if tied else None)
        self.matrices.append(matrix)
        return matrix

    def named(self, name: str, weight: Tensor, bias: Tensor | None = None, **how: Any) -> Matrix:
        """Add a matrix that the code refers to by its name, and multiplies."""
        matrix = self.matrix(name, weight, bias, blocks=self.plain, **how)
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
    def plain(self) -> Blocks:
        """How the rows of a matrix without gates are stored."""
        return Blocks(1, ROWS_AT_ONCE[self.precision])

    @property
    def facts(self) -> dict[str, Any]:
        """What the templates need to know of the layers."""
        at_once = self.cell.at_once[self.precision]
        widest = max(layer.size for layer in self.layers)
        return {
            "cell": self.cell,
            "at_once": at_once,
            "rows_at_once": self.plain.n_rows,
            "widest": -(-widest // at_once) * at_once,
        }

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
