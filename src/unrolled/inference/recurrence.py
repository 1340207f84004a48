"""Recurrent layers over one text in NumPy; the equations and gate orders are those of `ops.cells`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.inference.refusal import Refused
from unrolled.inference.weights import Weights

Floats = NDArray[Any]
State = tuple[Floats, ...]
"""`(h,)`, and for an LSTM `(h, c)`, each `[H]`."""

Step = Callable[[Floats, Floats, State], State]


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^−x), without overflow."""
    y: Floats = 0.5 + 0.5 * np.tanh(0.5 * x)
    return y


def _rnn(u: Floats, v: Floats, state: State) -> State:
    return (np.tanh(u + v),)


def _rnn_relu(u: Floats, v: Floats, state: State) -> State:
    return (np.maximum(u + v, 0),)


def _gru(u: Floats, v: Floats, state: State) -> State:
    H = len(state[0])
    both = sigmoid(u[: 2 * H] + v[: 2 * H])
    r, z = both[:H], both[H:]
    n = np.tanh(u[2 * H :] + r * v[2 * H :])
    return ((1 - z) * n + z * state[0],)


def _lstm(u: Floats, v: Floats, state: State) -> State:
    H = len(state[0])
    total = u + v
    i_f, o = sigmoid(total[: 2 * H]), sigmoid(total[3 * H :])
    c = i_f[H:] * state[1] + i_f[:H] * np.tanh(total[2 * H : 3 * H])
    return o * np.tanh(c), c


@dataclass(frozen=True)
class Cell:
    """A cell.

    Args:
        n_gates: G.
        n_states: number of parts of its state.
        step: the contributions of input and hidden state to the gates, `[G·H]` each, and the state → the
            next state.
    """

    n_gates: int
    n_states: int
    step: Step


CELLS = {
    "rnn": Cell(1, 1, _rnn),
    "rnn_relu": Cell(1, 1, _rnn_relu),
    "gru": Cell(3, 1, _gru),
    "lstm": Cell(4, 2, _lstm),
}
"""The cells by their names in recipes."""


class Layer:
    """One layer in one direction.

    Args:
        cell: its name.
        weights: of the module, with the names of `torch.nn`.
        suffix: what ends their names: `l0`, `l0_reverse`…
        input_size: D.
        hidden_size: H.
    """

    def __init__(
        self, cell: str, weights: Weights, suffix: str, input_size: int, hidden_size: int
    ) -> None:
        self.cell, self.hidden_size = CELLS[cell], hidden_size
        rows = self.cell.n_gates * hidden_size
        self.w_ih = weights.take(f"weight_ih_{suffix}", rows, input_size)
        self.w_hh = weights.take(f"weight_hh_{suffix}", rows, hidden_size)
        self.b_ih = weights.take(f"bias_ih_{suffix}", rows)
        self.b_hh = weights.take(f"bias_hh_{suffix}", rows)
        self.is_reverse = suffix.endswith("_reverse")

    def start(self) -> State:
        """Zeros."""
        return tuple(np.zeros(self.hidden_size, np.float32) for _ in range(self.cell.n_states))

    def __call__(self, x_TD: Floats, state: State | None = None) -> tuple[Floats, State]:
        """Outputs `[T, H]`, and the state after the last step that is read."""
        state = self.start() if state is None else state
        u_TG = x_TD @ self.w_ih.T + self.b_ih
        y_TH = np.empty((len(x_TD), self.hidden_size), np.float32)
        w_hh, b_hh, step = self.w_hh, self.b_hh, self.cell.step
        order = range(len(x_TD))
        for t in reversed(order) if self.is_reverse else order:
            state = step(u_TG[t], w_hh @ state[0] + b_hh, state)
            y_TH[t] = state[0]
        return y_TH, state


class Layers:
    """Stacked layers in one or both directions, as `layers.encoder.RecurrentEncoder`."""

    def __init__(
        self,
        cell: str,
        weights: Weights,
        input_size: int,
        hidden_size: int,
        n_layers: int = 1,
        *,
        bidirectional: bool = True,
    ) -> None:
        if cell not in CELLS:
            raise Refused(f"the cell '{cell}'")
        directions = ("", "_reverse")[: 1 + bidirectional]
        self.output_size = hidden_size * len(directions)
        self.layers: list[list[Layer]] = []
        for depth in range(n_layers):
            self.layers.append(
                [
                    Layer(cell, weights, f"l{depth}{suffix}", input_size, hidden_size)
                    for suffix in directions
                ]
            )
            input_size = self.output_size

    def __call__(
        self, x_TD: Floats, starts: Sequence[State] | None = None
    ) -> tuple[Floats, list[list[State]]]:
        """Outputs `[T, N·H]`, and the final state of each direction of each layer.

        Args:
            x_TD: the inputs.
            starts: the initial state of each direction of the first layer; zeros if None.
        """
        ends = []
        for directions in self.layers:
            given = [None] * len(directions) if starts is None else starts
            read = [layer(x_TD, start) for layer, start in zip(directions, given, strict=True)]
            x_TD = read[0][0] if len(read) == 1 else np.concatenate([y for y, _ in read], axis=1)
            ends.append([end for _, end in read])
            starts = None
        return x_TD, ends


class LanguageModelLayers:
    """The layers of one or two language models, as `layers.lm_encoder.LanguageModelEncoder`.

    Args:
        config: the `[model]` section.
        weights: of the module.
        n_columns: number of input columns after the embeddings, which become the last outputs.
    """

    def __init__(self, config: Any, weights: Weights, n_columns: int) -> None:
        if config.cell not in CELLS:
            raise Refused(f"the cell '{config.cell}'")
        n_directions, n_states = len(config.pretrained), CELLS[config.cell].n_states
        self.width = config.embedding_size // n_directions
        self.n_columns = n_columns
        self.output_size = config.pretrained_sizes[-1] * n_directions + n_columns
        self.stacks: list[list[tuple[Layer, State]]] = []
        n_starts = 0
        for place in range(n_directions):
            layers, size = [], self.width
            for depth, H in enumerate(config.pretrained_sizes):
                own = weights.of(f"stacks.{place}.layers.{depth}")
                layer = Layer(config.cell, own, "l0", size, H)
                layer.is_reverse = place == 1
                numbers = range(n_starts, n_starts + n_states)
                start = tuple(weights.take(f"starts.{number}", H) for number in numbers)
                layers.append((layer, start))
                n_starts, size = n_starts + n_states, H
            self.stacks.append(layers)

    def __call__(self, x_TD: Floats) -> tuple[Floats, list[list[State]]]:
        """Outputs `[T, D]`, and the final state of each direction of the last layer."""
        outputs, ends = [], []
        for place, layers in enumerate(self.stacks):
            y_TH = x_TD[:, place * self.width : (place + 1) * self.width]
            for layer, start in layers:
                y_TH, end = layer(y_TH, start)
            outputs.append(y_TH)
            ends.append(end)
        if self.n_columns:
            outputs.append(x_TD[:, -self.n_columns :])
        return np.concatenate(outputs, axis=1), [ends]


def encoder_of(config: Any, weights: Weights, n_columns: int) -> Layers | LanguageModelLayers:
    """The encoder of one text.

    Args:
        config: the `[model]` section.
        weights: of the encoder.
        n_columns: number of input columns after the embeddings.
    """
    if config.pretrained:
        return LanguageModelLayers(config, weights, n_columns)
    return Layers(
        config.cell,
        weights.of("recurrent"),
        config.embedding_size + n_columns,
        config.hidden_size,
        config.n_layers,
        bidirectional=config.bidirectional,
    )


def joined(ends: Sequence[State]) -> State:
    """The states of all directions of a layer side by side."""
    return tuple(np.concatenate(parts) for parts in zip(*ends, strict=True))
