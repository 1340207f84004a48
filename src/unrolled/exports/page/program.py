"""Graphs as a page holds them: nodes and shapes as JSON, and all arrays in one block of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.exports.graph import Graph

KINDS: Mapping[str, Any] = {"f4": np.float32, "i4": np.int32, "i1": np.int8, "b1": np.bool_}
"""The types of arrays, by their names in a page."""

_ALIGNMENT = 8

Program = dict[str, Any]
"""Graphs by name: `{"inputs": [[name, dimensions]], "outputs": [name], "nodes": [[operator, inputs,
outputs, attributes]], "constants": {name: [kind, shape, place]}}`, with places in the block of bytes."""


def packed(graphs: Mapping[str, Graph]) -> tuple[Program, bytearray]:
    """Graphs as JSON data, and the bytes of their arrays."""
    block = bytearray()
    return {name: _described(graph, block) for name, graph in graphs.items()}, block


def _described(graph: Graph, block: bytearray) -> dict[str, Any]:
    return {
        "inputs": [[value.name, list(value.dimensions)] for value in graph.inputs],
        "outputs": [value.name for value in graph.outputs],
        "nodes": [
            [
                node.op,
                list(node.inputs),
                list(node.outputs),
                {
                    name: _described(value, block) if isinstance(value, Graph) else value
                    for name, value in node.attributes.items()
                },
            ]
            for node in graph.nodes
        ],
        "constants": {name: stored(array, block) for name, array in graph.constants.items()},
    }


def stored(array: NDArray[Any], block: bytearray) -> list[Any]:
    """Append an array to the block; returns its kind, its shape and its place."""
    if array.dtype == np.int64:  # ids, lengths, axes
        array = array.astype(np.int32)
    kind = next(name for name, dtype in KINDS.items() if array.dtype == dtype)
    block += bytes(-len(block) % _ALIGNMENT)
    place = len(block)
    block += array.astype(array.dtype.newbyteorder("<")).tobytes()
    return [kind, list(array.shape), place]


def unpacked(description: Mapping[str, Any], block: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of one graph, by name."""
    return {name: array_of(entry, block) for name, entry in description["constants"].items()}


def array_of(entry: Sequence[Any], block: bytes) -> NDArray[Any]:
    """An array by its kind, its shape and its place in the block."""
    kind, shape, place = entry
    dtype = np.dtype(KINDS[kind]).newbyteorder("<")
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(block, dtype, count, place).reshape(shape)
