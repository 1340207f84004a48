"""Everything inside the recurrent layers of a trained model while it reads a text.

A copy of the model runs with its recurrent layers computed by the reference equations (`ops.cells`), and
every gate, candidate, cell state, hidden state and attention weight is kept. The results equal those of
the fast path up to rounding; `Trace.difference` says how much they differ.

    trace = trace_text(unrolled.load("runs/reviews"), "not good at all")
    trace.layers[0].values["f"]          # [T, H], the forget gate of each token and unit
    trace.frame()                        # a pandas DataFrame, or a dict of columns without pandas
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled import nn, storage
from unrolled.errors import ConfigError
from unrolled.inspect.example import Example, Matching, Tokens, example_of
from unrolled.layers.recurrent_stack import RecurrentStack
from unrolled.layers.replay import Replay, ReplayedLayer, replaying, replica
from unrolled.ops.recorded import STATES
from unrolled.predictors.load import AnyPredictor

MEANINGS = {
    "i": "input gate",
    "f": "forget gate",
    "g": "candidate",
    "o": "output gate",
    "r": "reset gate",
    "z": "update gate",
    "n": "candidate",
    "c": "cell state",
    "h": "hidden state",
    "tanh_c": "tanh of the cell state",
}
"""The letters of the built-in cells in words."""

Numbers = NDArray[np.floating[Any]]

_COLUMNS = ("module", "layer", "direction", "row", "step", "token", "internal", "unit", "value")


@dataclass(frozen=True, repr=False)
class TracedLayer:
    """One layer in one direction.

    Args:
        name: its name, such as "encoder.recurrent layer 0 backward".
        module: name of its module, as in `named_modules`, with the number of the call if there are many.
        layer: index of the layer in the module.
        direction: "forward" or "backward".
        row: index of the text among those that the module read at once, such as the words that a tagger
            reads by characters.
        kind: its cell.
        tokens: the token of each step.
        values: `[T, H]` by name, in the order of the text: the states `h` and `c` after each step, and
            the results of the cell's non-linearities, such as its gates.
        functions: the non-linearity of each of the latter.
    """

    name: str
    module: str
    layer: int
    direction: str
    row: int
    kind: str
    tokens: Tokens
    values: Mapping[str, Numbers]
    functions: Mapping[str, str]

    def __repr__(self) -> str:
        T, H = next(iter(self.values.values())).shape
        names = ", ".join(self.values)
        return f"TracedLayer({self.name!r}, {self.kind}, {T:,} steps × {H:,} units: {names})"


@dataclass(frozen=True, repr=False)
class TracedAttention:
    """Attention weights.

    Args:
        name: name of the module.
        queries: the token of each query, or its number.
        tokens: the tokens that are attended to.
        weights: `[Q, S]`.
    """

    name: str
    queries: Tokens
    tokens: Tokens
    weights: Numbers

    def __repr__(self) -> str:
        Q, S = self.weights.shape
        return f"TracedAttention({self.name!r}, {Q:,} × {S:,})"


@dataclass(frozen=True, repr=False)
class Trace:
    """Everything inside the recurrent layers of a model while it read a text.

    Args:
        layers: the layers and directions, in the order in which they ran.
        attention: attention weights.
        answer: the model's answer, or the given one.
        loss: mean loss of the answer, from the replay.
        difference: the largest difference between the outputs of a recurrent module in the replay and on
            the fast path; and between the losses.
        notes: what was cut.
    """

    layers: tuple[TracedLayer, ...]
    attention: tuple[TracedAttention, ...]
    answer: str
    loss: float
    difference: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(layer.name for layer in self.layers[:4])
        more = ", …" if len(self.layers) > 4 else ""
        return f"Trace({names}{more}; loss={self.loss:.4g}, difference={self.difference:.1g})"

    def _repr_html_(self) -> str:
        """The gates, states and attention weights, for a notebook."""
        from unrolled.inspect.report import in_notebook, sections_of_trace

        return in_notebook(sections_of_trace(self))

    def __getitem__(self, name: str) -> TracedLayer:
        """The layer with a name.

        Raises:
            KeyError: there is none; the message lists the names.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(
            f"no layer {name!r}; there are {', '.join(each.name for each in self.layers)}"
        )

    def columns(self) -> dict[str, NDArray[Any]]:
        """All values as one table, by column: a line for each layer, step, internal and unit."""
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
        for layer in self.layers:
            for name, values_TH in layer.values.items():
                T, H = values_TH.shape
                n = T * H
                same = (layer.module, layer.layer, layer.direction, layer.row)
                for column, value in zip(_COLUMNS, same, strict=False):
                    parts[column].append(np.full(n, value))
                parts["step"].append(np.repeat(np.arange(T), H))
                parts["token"].append(np.repeat(np.array(layer.tokens, dtype=object), H))
                parts["internal"].append(np.full(n, name))
                parts["unit"].append(np.tile(np.arange(H), T))
                parts["value"].append(values_TH.ravel())
        return {
            name: np.concatenate(arrays) if arrays else np.zeros(0)
            for name, arrays in parts.items()
        }

    def frame(self) -> Any:
        """`columns` as a pandas DataFrame if pandas is installed, else the dict itself."""
        try:
            import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError:
            return self.columns()
        return pandas.DataFrame(self.columns())

    def write_csv(self, path: str | Path) -> Path:
        """Write `columns` to a CSV file.

        Raises:
            RunError: the file cannot be written.
        """
        path = Path(path)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for line in zip(*self.columns().values(), strict=True):
            writer.writerow([*line[:-1], f"{line[-1]:.6g}"])
        storage.write_whole(path, text.getvalue().encode("utf-8"), "try again")
        return path


def trace_text(
    predictor: AnyPredictor,
    text: str | Sequence[str],
    answer: str | Sequence[str] | None = None,
    database: str | None = None,
    dtype: torch.dtype | None = None,
) -> Trace:
    """Trace a model on a text.

    Args:
        predictor: a trained run, from `unrolled.load`.
        text: the text; for pairs, both; in tagging, also the tokens.
        answer: for a translator, the output that the decoder is run on; by default, the model's own.
        database: for queries, the database of the question.
        dtype: the type of the computation, such as `torch.float64`; by default that of the model.

    Raises:
        ConfigError: the text is empty or not what the model reads, or the model has no recurrent layer.

    Texts of more than `example.MOST_TOKENS` tokens are cut, which `Trace.notes` says.
    """
    return trace_example(predictor.model, example_of(predictor, text, answer, database), dtype)


@torch.no_grad()
def trace_example(
    model: torch.nn.Module, example: Example, dtype: torch.dtype | None = None
) -> Trace:
    """Trace a model on an encoded example; see `trace_text`."""
    fast = replica(model, dtype)
    outputs, handles = _watched(fast)
    with torch.no_grad():
        fast_loss = _mean(*example.loss(fast))
    for handle in handles:
        handle.remove()
    with replaying(fast) as replay, torch.no_grad():
        loss = _mean(*example.loss(fast))
    if not replay.layers:
        raise ConfigError("this model has no recurrent layer, so there is nothing to trace")
    difference = max(
        [abs(loss - fast_loss), *(_difference(replay, *each) for each in outputs.items())]
    )
    matched = Matching(example)
    layers = [
        _traced(layer, row, matched)
        for layer in replay.layers
        for row in range(len(layer.lengths))
        if int(layer.lengths[row])
    ]
    return Trace(
        tuple(layers),
        tuple(_attention(name, weights, example) for name, weights in replay.attention.items()),
        example.answer,
        loss,
        difference,
        example.notes,
    )


def _mean(total: Tensor, count: int) -> float:
    return float(total.detach()) / max(1, count)


def _watched(model: torch.nn.Module) -> tuple[dict[str, list[Tensor]], list[Any]]:
    """Keep the outputs of all recurrent modules of a model, as `[T, B, H]`; also returns the hooks."""
    outputs: dict[str, list[Tensor]] = {}
    handles = []
    for name, module in model.named_modules():
        if not isinstance(module, (torch.nn.RNNBase, nn.Recurrent, RecurrentStack)):
            continue
        steps_first = not (isinstance(module, RecurrentStack) or module.batch_first)

        def keep(
            _: Any, __: Any, output: Any, name: str = name, is_first: bool = steps_first
        ) -> None:
            y = output[0]
            if isinstance(y, Tensor) and y.dim() == 3:
                outputs.setdefault(name, []).append(y if is_first else y.transpose(0, 1))

        handles.append(module.register_forward_hook(keep))
    return outputs, handles


def _difference(replay: Replay, module: str, outputs: list[Tensor]) -> float:
    """The largest difference between the outputs of a module's last layer and those of the replay."""
    largest = 0.0
    for call, y_TBH in enumerate(outputs):
        layers = [each for each in replay.layers if (each.module, each.call) == (module, call)]
        if not layers or not y_TBH.numel():
            continue
        depth = max(layer.layer for layer in layers)
        last = [torch.stack(layer.outputs) for layer in layers if layer.layer == depth]
        largest = max(largest, float((torch.cat(last, dim=2) - y_TBH).abs().max()))
    return largest


def _traced(layer: ReplayedLayer, row: int, matched: Matching) -> TracedLayer:
    n = int(layer.lengths[row])
    values: dict[str, Numbers] = {}
    functions: dict[str, str] = {}
    for place, name in enumerate(STATES[: len(layer.start)]):
        values[name] = _stacked(state[place][row] for state in layer.states[:n])
    for place, part in enumerate(layer.parts[0]):
        functions[part.name] = part.function
        if part.name not in values:
            values[part.name] = _stacked(parts[place].value[row] for parts in layer.parts[:n])
    again = f" (call {layer.call + 1})" if layer.call else ""
    of_row = f" row {row + 1}" if len(layer.lengths) > 1 else ""
    return TracedLayer(
        f"{layer.name}{of_row}",
        f"{layer.module}{again}",
        layer.layer,
        "backward" if layer.reverse else "forward",
        row,
        layer.kind,
        matched.tokens(layer.name, layer.lengths.tolist(), row),
        values,
        functions,
    )


def _stacked(steps: Iterator[Tensor]) -> Numbers:
    array: Numbers = torch.stack(list(steps)).cpu().numpy()
    return array


def _attention(name: str, weights: Tensor, example: Example) -> TracedAttention:
    weights_QS: Numbers = weights[0].cpu().numpy()

    def tokens_of(n: int, sequences: Sequence[Tokens]) -> Tokens:
        found = [tokens for tokens in sequences if len(tokens) == n]
        return found[0] if found else tuple(map(str, range(1, n + 1)))

    Q, S = weights_QS.shape
    return TracedAttention(
        name,
        tokens_of(Q, example.sequences[::-1]) if Q > 1 else ("",),
        example.memory if len(example.memory) == S else tokens_of(S, example.sequences),
        weights_QS,
    )
