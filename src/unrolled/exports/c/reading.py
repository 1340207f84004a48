"""The arrays of `weights.h`, read back and used with NumPy as the C code uses them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.exports.c.network import Layer, Matrix

Vector = NDArray[np.float32]
State = list[Vector]
"""h, and for the LSTM c."""

_ARRAY = re.compile(
    r"static const (\w+) model_(\w+)\[(\d+)\] = \{ /\* ([\dx ]+) \*/\n(.*?)\n\};", re.DOTALL
)
_TYPES = {"float": np.float32, "double": np.float64, "int8_t": np.int8, "uint8_t": np.uint8}


def read_arrays(text: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file, by name without the prefix.

    >>> read_arrays("static const float model_a[2] = { /* 1 x 2 */\\n    1.5f, -2.0f\\n};")
    {'a': array([[ 1.5, -2. ]], dtype=float32)}
    """
    arrays = {}
    for kind, name, _, shape, values in _ARRAY.findall(text):
        plain = values.replace("-INFINITY", "-inf") if kind == "double" else values.replace("f", "")
        numbers = np.array(plain.replace("\n", "").split(","), np.float64)
        arrays[name] = numbers.astype(_TYPES[kind]).reshape([int(n) for n in shape.split("x")])
    return arrays


class Network:
    """The functions of `model.h`.

    Args:
        arrays: the arrays of `weights.h`.
        cell: name of the cell in recipes.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]], cell: str) -> None:
        self._arrays, self._cell = arrays, cell
        self._restored: dict[str, NDArray[Any]] = {}

    def array(self, name: str) -> NDArray[Any]:
        """An array."""
        return self._arrays[name]

    def product(self, matrix: Matrix, x: Vector) -> Vector:
        """A matrix times a vector, and its biases."""
        return self._finished(matrix, self._rows(matrix) @ x)

    def column(self, matrix: Matrix, place: int) -> Vector:
        """A column of a matrix that is stored by columns, and the biases."""
        column = self._arrays[matrix.rows][place].astype(np.float32)
        return self._finished(matrix, _in_order(matrix, column))

    def row(self, matrix: Matrix, place: int) -> Vector:
        """A row of a matrix."""
        row: Vector = self._rows(matrix)[place].astype(np.float32)
        return row * self._arrays[matrix.scale][place] if matrix.scale else row

    def _rows(self, matrix: Matrix) -> NDArray[Any]:
        """The weights `[R, C]` of a matrix."""
        if matrix.blocks is None:
            return self._arrays[matrix.rows]
        if matrix.name not in self._restored:
            stored = self._arrays[matrix.rows].swapaxes(1, 2).reshape(-1, matrix.width)
            self._restored[matrix.name] = _in_order(matrix, stored).astype(np.float32)
        return self._restored[matrix.name]

    def _finished(self, matrix: Matrix, product: Vector) -> Vector:
        if matrix.scale:
            product = product * _in_order(matrix, self._arrays[matrix.scale])
        return product + _in_order(matrix, self._arrays[matrix.bias])

    def zeros(self, layer: Layer) -> State:
        """The state before the first step."""
        return [np.zeros(layer.size, np.float32) for _ in range(2 if self._cell == "lstm" else 1)]

    def step(self, layer: Layer, from_x: Vector, state: State) -> State:
        """One step of a layer, given W x + b."""
        from_h = self.product(layer.recurrent, state[0])
        if self._cell == "gru":
            (rx, zx, nx), (rh, zh, nh) = np.split(from_x, 3), np.split(from_h, 3)
            z = _sigmoid(zx + zh)
            return [(1 - z) * np.tanh(nx + _sigmoid(rx + rh) * nh) + z * state[0]]
        if self._cell == "lstm":
            i, f, g, o = np.split(from_x + from_h, 4)
            c = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
            return [_sigmoid(o) * np.tanh(c), c]
        total = from_x + from_h
        return [np.tanh(total) if self._cell == "rnn" else np.maximum(total, 0)]

    def read(self, layer: Layer, inputs: Sequence[Vector], back: bool = False) -> list[Vector]:
        """The outputs of a layer for each step of a text, which may be read backwards."""
        state = self.zeros(layer)
        outputs: list[Vector] = []
        for x in reversed(inputs) if back else inputs:
            state = self.step(layer, self.product(layer.input, x), state)
            outputs.append(state[0])
        return outputs[::-1] if back else outputs


def _in_order(matrix: Matrix, stored: NDArray[Any]) -> NDArray[Any]:
    """What is stored in blocks, in the order of the rows."""
    if matrix.blocks is None:
        return stored
    return matrix.blocks.restored(stored, matrix.n_rows)


def _sigmoid(x: Vector) -> Vector:
    with np.errstate(over="ignore"):
        return np.reciprocal(1 + np.exp(-x), dtype=np.float32)


def log_softmax(logits: Vector) -> NDArray[np.float64]:
    """Natural logarithms of probabilities."""
    shifted = logits.astype(np.float64) - float(logits.max())
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return logs
