"""What a page computes, in NumPy: the definition of its operators, from the bytes that the page holds.

`Session` runs a graph of a page as `exports.runtime.Session` runs one in ONNX Runtime, so that the same
comparison with the model works for both. The operators are those of ONNX, as far as exports use them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.exports.graph import FLOAT
from unrolled.exports.page.program import unpacked

Array = NDArray[Any]
Values = dict[str, Array]
Attributes = Mapping[str, Any]


class Session:
    """A graph of a page that is ready to run.

    Args:
        description: its nodes and constants; see `page.program`.
        block: the bytes of all arrays of the page.
    """

    def __init__(self, description: Mapping[str, Any], block: bytes) -> None:
        self._graph = _Graph(description, block)
        self.inputs = [name for name, _ in description["inputs"]]

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Run the graph."""
        given = [np.asarray(inputs[name].numpy()) for name in self.inputs]
        with np.errstate(all="ignore"):
            found = self._graph.run(given, {})
        return {
            name: torch.from_numpy(np.array(each, np.float32))
            for name, each in zip(self._graph.outputs, found, strict=True)
        }


class _Graph:
    """A graph, or the body of a loop, whose nodes also see the values around it."""

    def __init__(self, description: Mapping[str, Any], block: bytes) -> None:
        self.inputs = [name for name, _ in description["inputs"]]
        self.outputs = description["outputs"]
        self.constants = unpacked(description, block)
        self.nodes = [
            (op, inputs, outputs, attributes | _bodies(attributes, block))
            for op, inputs, outputs, attributes in description["nodes"]
        ]

    def run(self, given: Sequence[Array], around: Values) -> list[Array]:
        values = {**around, **self.constants, **dict(zip(self.inputs, given, strict=True))}
        values[""] = np.zeros(0)
        for op, inputs, outputs, attributes in self.nodes:
            arrays = [values[name] for name in inputs]
            if op == "Scan":
                found = _scan(arrays, attributes, values)
            elif op == "Split":
                found = np.split(arrays[0], len(outputs), axis=attributes["axis"])
            elif op in _LAYERS:
                found = _layer(op, arrays, attributes)
            else:
                found = [OPERATORS[op](arrays, attributes)]
            values.update(zip(outputs, found, strict=False))
        return [values[name] for name in self.outputs]


def _bodies(attributes: Attributes, block: bytes) -> dict[str, Any]:
    return {name: _Graph(each, block) for name, each in attributes.items() if name == "body"}


def _scan(arrays: list[Array], attributes: Attributes, values: Values) -> list[Array]:
    n_states = len(arrays) - attributes["num_scan_inputs"]
    states, rows = arrays[:n_states], []
    for step in range(len(arrays[n_states])):
        now = [each[step] for each in arrays[n_states:]]
        found = attributes["body"].run([*states, *now], values)
        states = found[:n_states]
        rows.append(found[n_states:])
    return [*states, *(np.stack(column) for column in zip(*rows, strict=True))]


# Recurrent layers


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _layer(op: str, arrays: list[Array], attributes: Attributes) -> list[Array]:
    """RNN, GRU or LSTM, with the gates in the order of ONNX."""
    x_TBD, W, U, b = arrays[0], arrays[1][0], arrays[2][0], arrays[3][0]
    b, b_h = np.split(b, 2)
    h = np.zeros((x_TBD.shape[1], attributes["hidden_size"]), np.float32)
    h, c = (arrays[i][0] if len(arrays) > i else h for i in (5, 6))
    step = _LAYERS[op]
    ys: list[Array] = []
    for x in x_TBD:
        h, c = step(x @ W.T + b, h @ U.T + b_h, h, c, attributes)
        ys.append(h)
    return [np.stack(ys)[:, None], h[None], c[None]]


def _rnn(u: Array, v: Array, h: Array, c: Array, attributes: Attributes) -> tuple[Array, Array]:
    total = u + v
    return np.tanh(total) if attributes["activations"] == ["Tanh"] else np.maximum(total, 0), c


def _gru(u: Array, v: Array, h: Array, c: Array, attributes: Attributes) -> tuple[Array, Array]:
    if attributes.get("linear_before_reset") != 1:
        raise ValueError("GRU with linear_before_reset = 0")
    (z_x, r_x, n_x), (z_h, r_h, n_h) = (np.split(each, 3, axis=1) for each in (u, v))
    z, r = _sigmoid(z_x + z_h), _sigmoid(r_x + r_h)
    n = np.tanh(n_x + r * n_h)
    return (1 - z) * n + z * h, c


def _lstm(u: Array, v: Array, h: Array, c: Array, attributes: Attributes) -> tuple[Array, Array]:
    i, o, f, g = np.split(u + v, 4, axis=1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


_LAYERS: dict[str, Callable[..., tuple[Array, Array]]] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}


# The other operators


def _log_softmax(x: Array, axis: int) -> Array:
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _axes(arrays: list[Array]) -> tuple[int, ...]:
    return tuple(arrays[1].tolist())


def _unsqueeze(arrays: list[Array]) -> Array:
    return np.expand_dims(arrays[0], _axes(arrays))


_SLICED = (np.array([0]), np.array([1]))
"""The axis and the step of a slice that names none."""


def _slice(arrays: list[Array]) -> Array:
    x, start, end = arrays[0], int(arrays[1][0]), int(arrays[2][0])
    axis, step = (int(each[0]) for each in (*arrays[3:], *_SLICED[len(arrays) - 3 :]))
    places = [slice(None)] * x.ndim
    places[axis] = slice(start, end, step)
    return x[tuple(places)]


def _gather_nd(x: Array, places: Array) -> Array:
    """With one batch dimension and one index behind it."""
    rows = np.arange(len(x)).reshape(-1, *([1] * (places.ndim - 2)))
    found: Array = x[rows, places[..., 0]]
    return found


def _scatter(arrays: list[Array], axis: int) -> Array:
    x = arrays[0].copy()
    places: list[Array] = list(np.indices(arrays[1].shape))
    places[axis] = arrays[1]
    np.add.at(x, tuple(places), arrays[2])
    return x


def _reverse(x: Array, lengths: Array) -> Array:
    y = x.copy()
    for row, n in enumerate(lengths):
        y[:n, row] = x[:n, row][::-1]
    return y


def _convolve(x: Array, weight: Array, bias: Array, pads: Sequence[int]) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), tuple(pads)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2], axis=2)
    found: Array = np.einsum("bctk,fck->bft", windows, weight) + bias[:, None]
    return found


def _one_hot(ids: Array, depth: Array, values: Array) -> Array:
    table = np.where(np.eye(depth.item(), dtype=bool), values[1], values[0])
    return table[ids]


def _reduced(function: Any) -> Callable[[list[Array], Attributes], Array]:
    def reduce(arrays: list[Array], attributes: Attributes) -> Array:
        axes = tuple(attributes["axes"]) if len(arrays) == 1 else _axes(arrays)
        found: Array = function(arrays[0], axis=axes, keepdims=bool(attributes.get("keepdims", 1)))
        return found

    return reduce


OPERATORS: dict[str, Callable[[list[Array], Attributes], Array]] = {
    "Add": lambda a, _: a[0] + a[1],
    "Sub": lambda a, _: a[0] - a[1],
    "Mul": lambda a, _: a[0] * a[1],
    "Div": lambda a, _: a[0] / a[1],
    "Max": lambda a, _: np.maximum(a[0], a[1]),
    "Equal": lambda a, _: a[0] == a[1],
    "Greater": lambda a, _: a[0] > a[1],
    "GreaterOrEqual": lambda a, _: a[0] >= a[1],
    "Not": lambda a, _: ~a[0],
    "Neg": lambda a, _: -a[0],
    "Abs": lambda a, _: np.abs(a[0]),
    "Exp": lambda a, _: np.exp(a[0]),
    "Log": lambda a, _: np.log(a[0]),
    "Relu": lambda a, _: np.maximum(a[0], 0),
    "Tanh": lambda a, _: np.tanh(a[0]),
    "Sigmoid": lambda a, _: _sigmoid(a[0]),
    "Softplus": lambda a, _: np.logaddexp(a[0], 0),
    "Identity": lambda a, _: a[0],
    "Cast": lambda a, o: a[0].astype(np.float32 if o["to"] == FLOAT else np.int64),
    "Where": lambda a, _: np.where(a[0], a[1], a[2]),
    "MatMul": lambda a, _: a[0] @ a[1],
    "Softmax": lambda a, o: np.exp(_log_softmax(a[0], o.get("axis", -1))),
    "LogSoftmax": lambda a, o: _log_softmax(a[0], o.get("axis", -1)),
    "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max),
    "Transpose": lambda a, o: a[0].transpose(o["perm"]),
    "Reshape": lambda a, _: a[0].reshape(a[1]),
    "Unsqueeze": lambda a, _: _unsqueeze(a),
    "Squeeze": lambda a, _: a[0].squeeze(_axes(a)),
    "Concat": lambda a, o: np.concatenate(a, axis=o["axis"]),
    "Slice": lambda a, _: _slice(a),
    "Shape": lambda a, _: np.array(a[0].shape),
    "Expand": lambda a, _: np.broadcast_to(a[0], np.broadcast_shapes(a[0].shape, tuple(a[1]))),
    "Gather": lambda a, _: a[0][a[1]],
    "GatherND": lambda a, _: _gather_nd(a[0], a[1]),
    "ScatterElements": lambda a, o: _scatter(a, o["axis"]),
    "ReverseSequence": lambda a, _: _reverse(a[0], a[1]),
    "Conv": lambda a, o: _convolve(a[0], a[1], a[2], o["pads"]),
    "OneHot": lambda a, _: _one_hot(a[0], a[1], a[2]),
    "DequantizeLinear": lambda a, _: a[0].astype(np.float32) * a[1][:, None],
}
