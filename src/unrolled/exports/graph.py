"""Build a graph node by node, in the operators of ONNX, and write it with `onnx.helper`.

A graph is plain data until it is written (`Node`, arrays): `exports.page` puts it into a page without
onnx. Opset 17 and IR version 8 are the oldest with everything that is needed, so that older runtimes can
read the files. Weight matrices are stored in float32, float16 or int8; everything is computed in float32.
Below float32, a matrix is converted by nodes of the graph itself (Cast, DequantizeLinear), which every
runtime knows, and which most of them evaluate once, when the graph is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.errors import ConfigError, missing_package
from unrolled.exports.rounding import Precision, int8_rows

OPSET, IR_VERSION = 17, 8
MOST_BYTES = (1 << 31) - (1 << 24)
"""Size of the weights of a graph; protobuf, the format of the file, ends at 2 GB."""

LOWEST = float(np.finfo(np.float32).min)
FLOAT, INT64 = 1, 7
"""The numbers of these types in ONNX, to which a node Cast converts."""


@dataclass(frozen=True)
class Node:
    """One operation.

    Args:
        op: name of the operator.
        inputs: names of values; "" for an optional input that is left out.
        outputs: names of the results.
        attributes: numbers, lists of them, texts, or a `Graph`, the body of a loop.
    """

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """An input or an output.

    Args:
        name: its name.
        dimensions: sizes; the names of those that are not fixed.
        kind: name of its type in ONNX.
    """

    name: str
    dimensions: Sequence[str | int]
    kind: str


def check_installed(*packages: str) -> None:
    """Check that packages of the extra `onnx` are installed.

    Raises:
        UnavailableError: one is missing.
    """
    for package in packages:
        try:
            __import__(package)
        except ImportError:
            raise missing_package("an ONNX export", package, "onnx") from None


class Graph:
    """A graph under construction. Values are known by name; calling the graph adds a node.

    Args:
        name: name of the graph.
        precision: how `matrix` stores a matrix.
        prefix: begins the names of all values, which must differ from those of an outer graph.

    Raises:
        ConfigError: the weights are too large for one file.

    For example, `graph("Tanh", x)` returns the name of the result.
    """

    def __init__(self, name: str, precision: Precision = "float32", prefix: str = "") -> None:
        self.name, self.precision, self._prefix = name, precision, prefix
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self._known: dict[Any, str] = {}
        self._n_bytes = 0
        self._kept: list[Tensor] = []  # so that the address of a stored tensor is not used again

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; "" stands for an optional input that is left out."""
        return self.several(op, *inputs, n_outputs=1, **attributes)[0]

    def several(self, op: str, *inputs: str, n_outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        number = len(self.nodes)
        outputs = [f"{self._prefix}{op}_{number}_{place}" for place in range(n_outputs)]
        self.nodes.append(Node(op, inputs, outputs, attributes))
        return outputs

    def input(self, name: str, *dimensions: str | int, kind: str = "FLOAT") -> str:
        """Declare an input; named dimensions have any size."""
        self.inputs.append(Value(name, dimensions, kind))
        return name

    def output(self, name: str, value: str, *dimensions: str | int) -> None:
        """Declare a value as an output, float32, under another name."""
        self.nodes.append(Node("Identity", [value], [name], {}))
        self.outputs.append(Value(name, dimensions, "FLOAT"))

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """A small constant: a number, a list, or an array."""
        array = np.asarray(values, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._store(array)
        return self._known[key]

    def integers(self, *values: int) -> str:
        """A list of integers, such as axes or a shape."""
        return self.constant(values, np.int64)

    def vector(self, values: Tensor) -> str:
        """A bias or another vector, always float32."""
        return self.constant(as_array(values))

    def matrix(self, weight: Tensor) -> str:
        """A weight matrix `[rows, columns]`, stored once, in the precision of the graph."""
        key = (weight.data_ptr(), tuple(weight.shape), weight.stride())
        if key not in self._known:
            self._kept.append(weight)
            self._known[key] = self._stored_matrix(as_array(weight))
        return self._known[key]

    def transposed(self, weight: Tensor) -> str:
        """A weight matrix, transposed: `[columns, rows]`."""
        return self("Transpose", self.matrix(weight), perm=[1, 0])

    def linear(self, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
        """W x + b for x of any number of dimensions."""
        product = self("MatMul", x, self.transposed(weight))
        return product if bias is None else self("Add", product, self.vector(bias))

    def _stored_matrix(self, array: NDArray[np.float32]) -> str:
        if self.precision == "float16":
            return self("Cast", self._store(array.astype(np.float16)), to=FLOAT)
        if self.precision == "int8":
            values, scales = int8_rows(array)
            return self("DequantizeLinear", self._store(values), self._store(scales), axis=0)
        return self._store(array)

    def _store(self, array: NDArray[Any]) -> str:
        self._n_bytes += array.nbytes
        if self._n_bytes > MOST_BYTES:
            raise ConfigError(
                f"the graph '{self.name}' is larger than 2 GB, which a file in ONNX's format cannot be; "
                "use --precision float16 or int8"
            )
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def model(self) -> Any:
        """The finished model as ONNX, checked by `onnx.checker`."""
        import onnx
        from onnx import helper

        model = helper.make_model(
            _written(self),
            producer_name="unrolled",
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model


def models(graphs: Mapping[str, Graph]) -> dict[str, Any]:
    """Graphs as ONNX models, by the same names."""
    return {name: graph.model() for name, graph in graphs.items()}


def _written(graph: Graph) -> Any:
    """A graph in ONNX's format, with the bodies of its loops."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node(
            node.op,
            list(node.inputs),
            list(node.outputs),
            **{
                name: _written(value) if isinstance(value, Graph) else value
                for name, value in node.attributes.items()
            },
        )
        for node in graph.nodes
    ]
    return helper.make_graph(
        nodes,
        graph.name,
        [_described(value) for value in graph.inputs],
        [_described(value) for value in graph.outputs],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )


def describe(model: Any, properties: Mapping[str, str]) -> None:
    """Set the metadata of a model."""
    from onnx import helper

    helper.set_model_props(model, dict(properties))


def as_array(tensor: Tensor) -> NDArray[np.float32]:
    """A tensor as a float32 array."""
    array: NDArray[np.float32] = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return array


def _described(value: Value) -> Any:
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, value.kind)
    return helper.make_tensor_value_info(value.name, kind, list(value.dimensions))
