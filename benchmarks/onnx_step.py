"""One step of a recurrent layer in ONNX Runtime, for the streaming table of `recurrence.py`.

    pip install onnx onnxruntime

The graph is a single RNN, GRU or LSTM node with constant weights, which is the smallest possible graph;
the state is an input and an output of every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ORDER = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}
"""The gates of ONNX (z r h, and i o f c) as indices of torch's gates."""


def onnx_step(kind: str, module: torch.nn.Module, n_threads: int) -> Callable[[Tensor], Tensor]:
    """Make a function from x `[1, I]` to y `[1, H]` that carries its state, starting from zeros.

    Args:
        kind: "rnn", "gru" or "lstm".
        module: one layer of `torch.nn`, with biases.
        n_threads: number of threads of ONNX Runtime.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    w_ih, w_hh, b_ih, b_hh = (p.detach() for p in module.parameters())
    n_gates = len(_ORDER[kind])

    def turned(part: Tensor) -> np.ndarray:
        blocks = part.chunk(n_gates)
        return torch.cat([blocks[gate] for gate in _ORDER[kind]]).numpy()[None]

    weights = {
        "W": turned(w_ih),
        "R": turned(w_hh),
        "B": np.concatenate([turned(b_ih), turned(b_hh)], axis=1),
    }
    hidden_size, input_size = w_hh.shape[1], w_ih.shape[1]
    states = ["h", "c"] if kind == "lstm" else ["h"]
    options: dict[str, Any] = {"linear_before_reset": 1} if kind == "gru" else {}
    node = helper.make_node(
        kind.upper(),
        ["x", "W", "R", "B", "", *states],
        ["", *(f"{name}_end" for name in states)],
        hidden_size=hidden_size,
        **options,
    )

    def described(name: str, shape: list[int]):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    of_state = [1, 1, hidden_size]
    graph = helper.make_graph(
        [node],
        "step",
        [described("x", [1, 1, input_size]), *(described(name, of_state) for name in states)],
        [described(f"{name}_end", of_state) for name in states],
        [
            numpy_helper.from_array(np.ascontiguousarray(part), name)
            for name, part in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = n_threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options, providers=["CPUExecutionProvider"]
    )
    state = [np.zeros(of_state, dtype=np.float32) for _ in states]

    def step(x: Tensor) -> Tensor:
        nonlocal state
        state = session.run(None, {"x": x.numpy()[None], **dict(zip(states, state, strict=True))})
        return torch.from_numpy(state[0][0])

    return step
