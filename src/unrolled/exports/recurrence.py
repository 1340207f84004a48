"""Recurrent layers as nodes RNN, GRU and LSTM over rows of different lengths; and single steps.

The optional input `sequence_lens` of these nodes is not used: some runtimes compute something else with
it, others refuse it. Instead, the input has one more column, a flag that is 1 in padding and 0
elsewhere, whose weights stop the cell:

    LSTM  closes the input and output gates and opens the forget gate: c stays, and h = 0
    GRU   opens the update gate: h stays
    RNN   cancels the bias: h stays 0 before the first step of a row that is read backwards

The weights of the flag are larger than anything else that can enter a gate (`_stopping`), so that
sigmoids are 0 and 1 to the last bit. The state at a row's true end is the state of the node, or its
output at the last real step. A row read backwards from a state that these equations do not keep, which
only some encoders of pairs need, is reversed by the node ReverseSequence and read forwards.

Gates are i f g o and r z n in torch, and i o f g (o before f, and g called c) and z r n in ONNX. The
GRU of torch is the one with `linear_before_reset=1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.exports.graph import FLOAT, INT64, Graph, as_array
from unrolled.layers.renewal import renewed
from unrolled.ops.types import Weights
from unrolled.text.config import PAD_ID

NODES = {"rnn_tanh": "RNN", "rnn_relu": "RNN", "gru": "GRU", "lstm": "LSTM"}
"""The node of each kind of cell."""

ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
"""The gates of each node, as indices of torch's gates."""

GRU_OPTIONS = {"linear_before_reset": 1}
_STOP = 200.0
_ACTIVATIONS = {"rnn_tanh": ["Tanh"], "rnn_relu": ["Relu"]}


@dataclass(frozen=True)
class Rows:
    """What a graph knows of the lengths of its rows, from their ids.

    Args:
        ids: `[T, B]`.
        is_real: `[T, B, 1]`, boolean.
        flag: `[T, B, 1]`, 1.0 in padding.
        lengths: `[B]`.
        last: `[B, 1]`, the last real step; 0 for an empty row.
        has_steps: `[B, 1]`, boolean.
    """

    ids: str
    is_real: str
    flag: str
    lengths: str
    last: str
    has_steps: str

    @classmethod
    def of(cls, g: Graph, ids_BT: str) -> Rows:
        """Find the lengths of rows of ids that are padded at their ends."""
        ids = g("Transpose", ids_BT, perm=[1, 0])
        is_padding = g("Equal", ids, g.constant(PAD_ID, np.int64))
        is_real = g("Not", is_padding)
        counted = g("Cast", is_real, to=INT64)
        lengths = g("ReduceSum", counted, g.integers(0), keepdims=0)
        one = g.constant(1, np.int64)
        last = g("Max", g("Sub", lengths, one), g.constant(0, np.int64))
        has_steps = g("Greater", lengths, g.constant(0, np.int64))
        return cls(
            ids,
            g("Unsqueeze", is_real, g.integers(2)),
            g("Unsqueeze", g("Cast", is_padding, to=FLOAT), g.integers(2)),
            lengths,
            g("Unsqueeze", last, g.integers(1)),
            g("Unsqueeze", has_steps, g.integers(1)),
        )

    def cleared(self, g: Graph, x_TBD: str) -> str:
        """The values with zeros in the padding."""
        return g("Where", self.is_real, x_TBD, g.constant(0.0))

    def at_end(self, g: Graph, x_TBD: str) -> str:
        """The values at each row's last step, `[B, D]`."""
        return g("GatherND", g("Transpose", x_TBD, perm=[1, 0, 2]), self.last, batch_dims=1)


@dataclass(frozen=True)
class Direction:
    """One direction of a layer.

    Args:
        weights: its weights, in torch's order.
        is_reverse: whether it reads backwards.
        initial: its initial state, `(h,)` or `(h, c)`, each `[B, H]`; () for zeros.
        starts_empty: whether the initial h is 0 although there is an initial state.
    """

    weights: Weights
    is_reverse: bool = False
    initial: tuple[str, ...] = ()
    starts_empty: bool = False


def directions_of(module: Any, depth: int = 0) -> list[Direction]:
    """The directions of one layer of a recurrent module, from a state of zeros."""
    renewed(module)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    suffixes = ("", "_reverse") if module.bidirectional else ("",)
    return [
        Direction(
            Weights(*(getattr(module, f"{name}_l{depth}{suffix}") for name in names)), bool(suffix)
        )
        for suffix in suffixes
    ]


def read(
    g: Graph, kind: str, x_TBD: str, rows: Rows, directions: Sequence[Direction]
) -> tuple[str, list[tuple[str, ...]]]:
    """One layer over all steps.

    Args:
        g: the graph.
        kind: the kind of cell.
        x_TBD: inputs, with zeros in the padding.
        rows: lengths of the rows.
        directions: one or two.

    Returns:
        `[T, B, N·H]`, zeros in the padding; and the final state of each direction, `(h,)` or `(h, c)`,
        each `[B, H]`.
    """
    flagged = g("Concat", x_TBD, rows.flag, axis=2)
    outputs, ends = [], []
    for direction in directions:
        y, end = _read_one(g, kind, flagged, rows, direction)
        outputs.append(y)
        ends.append(end)
    return outputs[0] if len(outputs) == 1 else g("Concat", *outputs, axis=2), ends


def _read_one(
    g: Graph, kind: str, x_TBD: str, rows: Rows, direction: Direction
) -> tuple[str, tuple[str, ...]]:
    op = NODES[kind]
    is_kept = op == "GRU" or not direction.initial or (op == "LSTM" and direction.starts_empty)
    flips = direction.is_reverse and not is_kept
    if flips:
        x_TBD = _flipped(g, x_TBD, rows)
    backwards = direction.is_reverse and not flips
    if backwards:
        x_TBD = _turned(g, x_TBD)
    y_T1BH, *ends_1BH = _node(g, kind, x_TBD, direction)
    y_TBH = g("Squeeze", y_T1BH, g.integers(1))
    y_TBH = rows.cleared(g, _turned(g, y_TBH) if backwards else y_TBH)
    h_BH, *c_BH = (g("Squeeze", end, g.integers(0)) for end in ends_1BH)
    if op != "GRU" and not backwards:
        h_BH = rows.at_end(g, y_TBH)
        if direction.initial:
            h_BH = g("Where", rows.has_steps, h_BH, direction.initial[0])
    if flips:
        y_TBH = _flipped(g, y_TBH, rows)
    return y_TBH, (h_BH, *c_BH)


def _flipped(g: Graph, x_TBD: str, rows: Rows) -> str:
    """Each row from its own end to its start."""
    return g("ReverseSequence", x_TBD, rows.lengths, time_axis=0, batch_axis=1)


def _turned(g: Graph, x_TBD: str) -> str:
    """All steps in reverse order, padding included, which stops the cell at the start as at the end.

    So no node reads backwards, as tract 0.23 returns something else for a node that does.
    """
    start, end, axis, step = (g.integers(number) for number in (-1, -(1 << 31), 0, -1))
    return g("Slice", x_TBD, start, end, axis, step)


def _node(g: Graph, kind: str, x_TBD: str, direction: Direction) -> list[str]:
    op, weights = NODES[kind], direction.weights
    b_ih, b_hh = _biases(op, weights)
    flag_G1 = _in_order(op, _stopping(op, weights, b_ih))
    W = g("Concat", g.matrix(_in_order(op, weights.w_ih)), g.constant(flag_G1), axis=1)
    R = g.matrix(_in_order(op, weights.w_hh))
    B = np.concatenate([_in_order(op, b_ih), _in_order(op, b_hh)])
    first = g.integers(0)
    options: dict[str, Any] = {"hidden_size": weights.hidden_size}
    if op == "GRU":
        options |= GRU_OPTIONS
    if op == "RNN":
        options["activations"] = _ACTIVATIONS[kind]
    initial = [g("Unsqueeze", part, first) for part in direction.initial]
    inputs = [x_TBD, g("Unsqueeze", W, first), g("Unsqueeze", R, first), g.constant(B[None])]
    n_outputs = 3 if op == "LSTM" else 2
    return g.several(
        op, *inputs, *(["", *initial] if initial else []), n_outputs=n_outputs, **options
    )


def _biases(op: str, weights: Weights) -> tuple[Any, Any]:
    """Both biases; those of an RNN added up, so that the flag cancels them exactly."""
    b_ih, b_hh = (np.zeros(len(weights.w_ih), np.float32) for _ in range(2))
    if weights.b_ih is not None and weights.b_hh is not None:
        b_ih, b_hh = as_array(weights.b_ih), as_array(weights.b_hh)
    return (b_ih + b_hh, np.zeros_like(b_hh)) if op == "RNN" else (b_ih, b_hh)


def _stopping(op: str, weights: Weights, b_ih: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights of the flag, `[G·H, 1]`, in torch's order of gates."""
    if op == "RNN":
        return -b_ih[:, None]
    # |h| ≤ 1 in both cells (a GRU's is at most that of its initial state, which is also below 1), and the
    # other inputs are 0 in the padding.
    total = as_array(weights.w_hh.abs().sum(1))
    for bias in (weights.b_ih, weights.b_hh):
        total = total + (0 if bias is None else as_array(bias.abs()))
    stop = _STOP + float(total.max(initial=0))
    signs = {"GRU": (0, 1, 0), "LSTM": (-1, 1, 0, -1)}[op]
    return np.repeat(np.array(signs, np.float32) * np.float32(stop), weights.hidden_size)[:, None]


def _in_order(op: str, rows: Any) -> Any:
    """The rows of a weight, or a bias, with the gates in the order of ONNX."""
    order = ORDER[op]
    if isinstance(rows, Tensor):
        blocks = rows.detach().chunk(len(order))
        return torch.cat([blocks[gate] for gate in order])
    parts = np.split(rows, len(order))
    return np.concatenate([parts[gate] for gate in order])


def step(g: Graph, kind: str, x: str, state: Sequence[str], weights: Weights) -> tuple[str, ...]:
    """One step of a cell from matrix products, for x `[B, Q, D]` and states `[B, Q, H]`.

    The equations are those of `ops.cells`.
    """
    h = state[0]
    from_x = g.linear(x, weights.w_ih, weights.b_ih)
    from_h = g.linear(h, weights.w_hh, weights.b_hh)
    if NODES[kind] == "RNN":
        return (g("Tanh" if kind == "rnn_tanh" else "Relu", g("Add", from_x, from_h)),)
    if kind == "gru":
        (r_x, z_x, n_x), (r_h, z_h, n_h) = (
            g.several("Split", part, n_outputs=3, axis=2) for part in (from_x, from_h)
        )
        r, z = g("Sigmoid", g("Add", r_x, r_h)), g("Sigmoid", g("Add", z_x, z_h))
        n = g("Tanh", g("Add", n_x, g("Mul", r, n_h)))
        # (1 − z) ⊙ n + z ⊙ h
        return (g("Add", n, g("Mul", z, g("Sub", h, n))),)
    i, f, cell, o = g.several("Split", g("Add", from_x, from_h), n_outputs=4, axis=2)
    kept = g("Mul", g("Sigmoid", f), state[1])
    c = g("Add", kept, g("Mul", g("Sigmoid", i), g("Tanh", cell)))
    return g("Mul", g("Sigmoid", o), g("Tanh", c)), c
