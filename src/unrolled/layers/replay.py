"""Run a model with its recurrences by definition, and keep every state and gate.

A copy of the model runs; its modules are called as usual, and every layer that they run is computed step
by step with `ops.recorded`. So it works for any model whose recurrent layers are those of `unrolled.nn`
or `torch.nn`, or that calls `ops.unroll`, and for any registered cell. All results have gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unrolled import nn
from unrolled.layers.attention import Attention
from unrolled.layers.conditional import WordByWordEncoder
from unrolled.layers.decoder import AttentionalDecoder, DecoderState
from unrolled.layers.pooling import AttentivePooling
from unrolled.layers.recurrent import layer_weights
from unrolled.ops.dispatch import observed_by
from unrolled.ops.recorded import Part, recorded_step
from unrolled.ops.types import Kind, State, Weights


@dataclass
class ReplayedLayer:
    """One layer in one direction, as it was computed by its definition.

    Lists have one entry per column of the input, also where rows are padded.

    Args:
        module: name of the module that ran it, as in `named_modules`.
        call: how many times the module was called before.
        layer: index of the layer in the module.
        reverse: whether it reads from right to left.
        kind: its cell.
        weights: its weights.
        lengths: `[B]`, the number of real steps of each row.
        start: the initial state.
        inputs: `[B, D]` each.
        states: the state after each step, as the next step reads it; padding does not change it.
        outputs: `[B, H]` each, the hidden states as other layers read them; zeros in padding. They are
            other tensors than those in `states`, so that their gradients can be told apart.
        parts: the results of the non-linearities of each step.
    """

    module: str
    call: int
    layer: int
    reverse: bool
    kind: Kind
    weights: Weights
    lengths: Tensor
    start: State
    inputs: list[Tensor] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    parts: list[list[Part]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the layer, unique in a replay, such as "encoder.recurrent layer 0 backward"."""
        again = f" (call {self.call + 1})" if self.call else ""
        direction = "backward" if self.reverse else "forward"
        return f"{self.module or 'model'}{again} layer {self.layer} {direction}"

    @property
    def n_steps(self) -> int:
        """Number of columns."""
        return len(self.outputs)

    def columns(self, row: int) -> range:
        """The columns of a row's real steps, in the order in which they are read."""
        n = int(self.lengths[row])
        return range(n - 1, -1, -1) if self.reverse else range(n)


class Replay:
    """What a model computed while it ran under `replaying`.

    Attributes:
        layers: the layers, in the order in which they ran.
        attention: `[B, Q, S]` weights by name of the module; the queries of all calls are concatenated.
    """

    def __init__(self) -> None:
        self.layers: list[ReplayedLayer] = []
        self.attention: dict[str, Tensor] = {}
        self._running: list[str] = []
        self._calls: dict[str, int] = {}

    def unroll(
        self,
        kind: Kind,
        x: Tensor,
        lengths: Tensor | None,
        state: State,
        weights: Weights,
        reverse: bool = False,
    ) -> tuple[Tensor, State]:
        """Run a layer as `ops.reference.unroll` does, and keep everything."""
        n_steps, n_rows, _ = x.shape
        mask_TB1 = None
        if lengths is not None:
            mask_TB = torch.arange(n_steps, device=lengths.device).unsqueeze(1) < lengths
            mask_TB1 = mask_TB.to(x.device).unsqueeze(2)
            x = torch.where(mask_TB1, x, torch.zeros_like(x))
        record = self.begin(kind, weights, state, lengths, (n_steps, n_rows), reverse)
        if n_steps == 0:
            return x.new_zeros(0, n_rows, weights.hidden_size), state
        for t in reversed(range(n_steps)) if reverse else range(n_steps):
            state = self.step(record, x[t], None if mask_TB1 is None else mask_TB1[t])
        if reverse:
            for steps in (record.inputs, record.states, record.outputs, record.parts):
                steps.reverse()
        return torch.stack(record.outputs), state

    def begin(
        self,
        kind: Kind,
        weights: Weights,
        start: State,
        lengths: Tensor | None,
        shape: tuple[int, int],
        reverse: bool = False,
    ) -> ReplayedLayer:
        """Begin the record of a layer with `(T, B)` steps and rows."""
        n_steps, n_rows = shape
        module = self._running[-1] if self._running else ""
        call = self._calls.get(module, 1) - 1
        before = [
            layer
            for layer in self.layers
            if (layer.module, layer.call, layer.reverse) == (module, call, reverse)
        ]
        if lengths is None:
            lengths = torch.full((n_rows,), n_steps)
        # The states have gradients even if all weights are frozen.
        start = tuple(part if part.requires_grad else _node(part) for part in start)
        record = ReplayedLayer(
            module, call, len(before), reverse, kind, weights, lengths.cpu(), start
        )
        self.layers.append(record)
        return record

    def step(self, record: ReplayedLayer, x: Tensor, real: Tensor | None = None) -> State:
        """Compute one step of a layer; returns the state after it.

        Args:
            record: the result of `begin`.
            x: `[B, D]`.
            real: `[B, 1]`, False for rows that are padded here.
        """
        state = record.states[-1] if record.states else record.start
        if torch.is_grad_enabled() and not x.requires_grad:
            x = _node(x)  # the inputs have gradients even if they are constants
        after, parts = recorded_step(record.kind, x, state, record.weights)
        output = after[0]
        if real is not None:
            after = tuple(
                torch.where(real, new, old) for new, old in zip(after, state, strict=True)
            )
            output = torch.where(real, output, torch.zeros_like(output))
        record.inputs.append(x)
        record.states.append(tuple(part.clone() for part in after))
        record.outputs.append(output.clone())
        record.parts.append(parts)
        return record.states[-1]

    def enter(self, name: str) -> None:
        """A module begins to run."""
        self._running.append(name)
        self._calls[name] = self._calls.get(name, 0) + 1

    def leave(self) -> None:
        """The module has ended, or failed."""
        self._running.pop()

    def look(self, name: str, weights_BQS: Tensor) -> None:
        """Keep attention weights."""
        if name in self.attention and self.attention[name].shape[::2] == weights_BQS.shape[::2]:
            weights_BQS = torch.cat([self.attention[name], weights_BQS], dim=1)
        self.attention[name] = weights_BQS


def replica(model: torch.nn.Module, dtype: torch.dtype | None = None) -> torch.nn.Module:
    """A copy of a model in evaluation mode, for `replaying`.

    Args:
        model: it stays as it is.
        dtype: the type of its weights and of the tensors that modules get; None for that of the model.
    """
    copy = nn.from_torch(deepcopy(model))
    for module in copy.modules():
        if dtype is not None:
            module.to(dtype).register_forward_pre_hook(partial(_cast_inputs, dtype))
        if isinstance(getattr(module, "precision", None), str):
            module.precision = "float32"  # type: ignore[assignment]  # of single steps
    return copy.eval()


def in_type_of(batch: Any, model: torch.nn.Module) -> Any:
    """A batch whose floating-point tensors have the type of a model; integers stay.

    Args:
        batch: a tensor, or dataclasses and tuples of tensors.
        model: any module with parameters.
    """
    return _cast(batch, next(model.parameters()).dtype)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, tuple) and type(value) is tuple:
        parts_cast = tuple(_cast(part, dtype) for part in value)
        same = all(new is old for new, old in zip(parts_cast, value, strict=True))
        return value if same else parts_cast
    if is_dataclass(value) and not isinstance(value, type):
        parts = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
        cast = {name: _cast(part, dtype) for name, part in parts.items()}
        if any(cast[name] is not part for name, part in parts.items()):
            return replace(value, **cast)
    return value


def _cast_inputs(dtype: torch.dtype, _: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_cast(each, dtype) if isinstance(each, Tensor) else each for each in inputs)


@contextmanager
def replaying(model: torch.nn.Module) -> Iterator[Replay]:
    """Replay what the model computes inside a `with` block.

    Args:
        model: the result of `replica`; its modules get hooks and are then of no other use.

    >>> layer = replica(torch.nn.LSTM(3, 5, bidirectional=True))
    >>> with replaying(layer) as replay:
    ...     _ = layer(torch.randn(7, 2, 3))
    >>> [layer.name for layer in replay.layers]
    ['model layer 0 forward', 'model layer 0 backward']
    >>> [part.name for part in replay.layers[0].parts[6]]
    ['f', 'i', 'g', 'o', 'tanh_c']
    """
    replay = Replay()
    for name, module in model.named_modules():
        module.register_forward_pre_hook(partial(_enter, replay, name))
        if isinstance(module, (Attention, AttentivePooling, WordByWordEncoder)):
            module.register_forward_hook(partial(_look, replay, name))
        module.register_forward_hook(partial(_leave, replay), always_call=True)
        if isinstance(module, AttentionalDecoder) and module.input_feeding:
            module.forward = partial(_fed, replay, f"{name}.recurrent".lstrip("."), module)  # type: ignore[method-assign]
    with observed_by(replay):
        yield replay


def _enter(replay: Replay, name: str, *_: Any) -> None:
    replay.enter(name)


def _leave(replay: Replay, *_: Any) -> None:
    replay.leave()


def _look(replay: Replay, name: str, module: Any, args: Any, output: Any) -> None:
    weights = output[1]
    if weights is not None:
        replay.look(name, weights if weights.dim() == 3 else weights.unsqueeze(1))


def _node(part: Tensor) -> Tensor:
    """A copy that has a gradient, where gradients are enabled."""
    return part.detach().clone().requires_grad_(torch.is_grad_enabled())


def _fed(
    replay: Replay, name: str, decoder: AttentionalDecoder, embedded: Tensor, state: DecoderState
) -> tuple[Tensor, DecoderState, Tensor]:
    """`AttentionalDecoder.forward` with input feeding, step by step from the equations."""
    assert state.feed is not None
    n_rows, n_steps, _ = embedded.shape
    records, feed = [], state.feed
    replay.enter(name)
    for depth, start in enumerate(state.layers):
        weights = layer_weights(decoder.recurrent, depth)
        parts = tuple(part.squeeze(1) for part in start)
        records.append(replay.begin(decoder._cell.kind, weights, parts, None, (n_steps, n_rows)))
    replay.leave()
    outputs, attentions = [], []
    for t in range(n_steps):
        x = torch.cat([embedded[:, t], feed.squeeze(1)], dim=1)
        for record in records:
            replay.step(record, x)
            x = record.outputs[-1]
        feed, attention = decoder._output(x.unsqueeze(1), state.memory, None)
        outputs.append(feed)
        attentions.append(attention)
    layers = tuple(tuple(part.unsqueeze(1) for part in record.states[-1]) for record in records)
    end = DecoderState(layers, feed, state.memory)
    return torch.cat(outputs, dim=1), end, torch.cat(attentions, dim=1)
