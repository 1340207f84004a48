"""Stacked recurrent layers with the regularisation of language models, run at once or step by step.

Merity, Keskar & Socher 2018, "Regularizing and optimizing LSTM language models", sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled import ops
from unrolled.config import require
from unrolled.errors import ConfigError
from unrolled.layers.dropout import LockedDropout, checked_rate
from unrolled.layers.recurrent import layer_weights, recurrent_layers
from unrolled.ops.cells import CELLS, cell_named
from unrolled.ops.stepping import PackedStep, packed_step, step
from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float, Padded

StackState: TypeAlias = tuple[State, ...]
"""The state of each layer, `(h,)` or `(h, c)`, each `[B, H]` with that layer's H."""


@dataclass(frozen=True)
class Packed:
    """The weights of a stack packed for single steps and, below float32, copies of the original weights.

    Args:
        precision: "float32", "bfloat16" or "int8".
        steps: one for each layer.
        weights: copies of the float32 weights of all layers; empty if `precision` is "float32".
    """

    precision: str
    steps: tuple[PackedStep, ...]
    weights: tuple[Tensor, ...]

    @classmethod
    def of(cls, kind: Kind, weights: Sequence[Weights], precision: str) -> Packed:
        """Convert and copy the weights.

        Raises:
            ConfigError: the precision is unknown, or the native kernels cannot run it.
        """
        steps = tuple(PackedStep(kind, layer, precision) for layer in weights)
        return cls(precision, steps, tuple(w.detach().clone() for w in _tensors(weights)))

    def is_of(self, weights: Sequence[Weights], precision: str) -> bool:
        """Whether packing these weights would give the same result; compares every bit."""
        current = _tensors(weights)
        return (
            self.precision == precision
            and len(current) == len(self.weights)
            and all(map(_same_bits, self.weights, current))
        )


def _tensors(weights: Sequence[Weights]) -> list[Tensor]:
    return [tensor for layer in weights for tensor in layer.tensors]


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal bit for bit; NaN equals itself, and 0 does not equal −0."""
    if (first.dtype, first.shape, first.device) != (second.dtype, second.shape, second.device):
        return False
    pairs = all(w.is_contiguous() and w.numel() % 2 == 0 for w in (first, second))
    if pairs and not (first.storage_offset() % 2 or second.storage_offset() % 2):
        # Comparing pairs of numbers is twice as fast.
        first, second = (w.view(-1).view(torch.int64) for w in (first, second))
    else:
        first, second = (w.view(torch.int32) for w in (first, second))
    return torch.equal(first, second)


class RecurrentStack(torch.nn.Module):
    """Stacked recurrent layers of one cell that take and return their state.

    In training, each call applies dropout to the recurrent weights (one mask for all rows and steps, so
    any implementation of `ops.unroll` works unchanged: Merity et al. 2018, section 3) and to the outputs
    of all layers but the last. Dropout on the inputs and outputs of the stack is left to the caller.

    Args:
        cell: "rnn" (tanh), "gru" or "lstm".
        input_size: width of the inputs, E.
        sizes: hidden width of each layer, first to last.
        between_rate: dropout rate between layers.
        recurrent_weight_rate: dropout rate of the recurrent weights.
        locked: whether the dropout between layers has one mask for all steps of a row
            (`LockedDropout`) or one for each step.

    Attributes:
        layers: one module of `unrolled.nn` per layer, whose parameters have the names of `torch.nn`.
        precision: precision of the weights in `step`: "float32", "bfloat16" or "int8".

    Raises:
        ConfigError: the cell is unknown, there is no layer, or a rate is out of range.

    >>> stack = RecurrentStack("lstm", 3, [5, 7], between_rate=0.2, recurrent_weight_rate=0.5)
    >>> y, state = stack(Padded(torch.randn(2, 4, 3), torch.tensor([4, 1])), stack.start(2))
    >>> y.shape, [len(layer) for layer in state], state[1][0].shape
    (torch.Size([2, 4, 7]), [2, 2], torch.Size([2, 7]))
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        sizes: Sequence[int],
        *,
        between_rate: float = 0.0,
        recurrent_weight_rate: float = 0.0,
        locked: bool = True,
    ) -> None:
        super().__init__()
        self.kind = cell_named(cell).kind
        require(bool(sizes), "sizes", "the width of at least one layer", list(sizes))
        self.cell, self.sizes = cell, tuple(sizes)
        self.precision = "float32"
        self.recurrent_weight_rate = checked_rate(recurrent_weight_rate, "recurrent_weight_rate")
        checked_rate(between_rate, "between_rate")
        self.layers = torch.nn.ModuleList(
            recurrent_layers(cell, width, size, n_layers=1)
            for width, size in pairwise((input_size, *sizes))
        )
        self.between = LockedDropout(between_rate) if locked else torch.nn.Dropout(between_rate)

    def start(self, n_rows: int, device: torch.device | str | None = None) -> StackState:
        """Return zeros for each layer, with the type of the weights and, by default, on their device."""
        weight = next(self.layers.parameters())
        n_parts = CELLS[self.kind].n_states
        return tuple(
            tuple(weight.new_zeros(n_rows, size, device=device) for _ in range(n_parts))
            for size in self.sizes
        )

    def forward(
        self, x: Padded, state: StackState | None = None, *, reverse: bool = False
    ) -> tuple[Float[Tensor, "B T H"], StackState]:
        """The last layer's hidden states, zeros in padding, and each row's state at its true end.

        Args:
            x: values `[B, T, E]`; padding is ignored, even NaN.
            state: the initial state; None means zeros. Nothing is detached: for truncated
                back-propagation through time, detach the returned state before passing it in again.
            reverse: whether every layer reads each row from its true end to its start.

        Raises:
            ValueError: shapes do not match the weights.
        """
        n_steps = x.values.shape[1]
        # Without lengths every implementation can run, and torch's needs no packing on the GPU.
        lengths_B = None if n_steps and bool((x.lengths == n_steps).all()) else x.lengths
        y_TBH = x.values.transpose(0, 1)
        starts = self.start(x.values.shape[0], x.values.device) if state is None else state
        ends: list[State] = []
        for layer, start in zip(self.layers, starts, strict=True):
            if ends:
                y_TBH = self.between(y_TBH.transpose(0, 1)).transpose(0, 1)
            weights = _weights(layer, self.recurrent_weight_rate if self.training else 0.0)
            y_TBH, end = ops.unroll(self.kind, y_TBH, lengths_B, start, weights, reverse)
            ends.append(end)
        return y_TBH.transpose(0, 1), tuple(ends)

    def step(
        self,
        x: Float[Tensor, "B E"],
        state: StackState,
        packed: Packed | None = None,
    ) -> tuple[Float[Tensor, "B H"], StackState]:
        """Run one step, for inference: there is no dropout, not even in training mode.

        In float32, the current weights are read directly. In a lower precision they must be converted
        first, which costs more than the step; a loop should do it once, with `packed`.

        Args:
            x: the input.
            state: the state before the step.
            packed: the result of `packed()`, for a loop over steps.

        Raises:
            ConfigError: the precision is unknown, or it is below float32 and gradients are enabled or the
                native kernels cannot run.
            ValueError: shapes do not match the weights.
        """
        ends = list[State]()
        packed = packed or self.packed()
        steps: Sequence[Callable[[Tensor, State], State]] = (
            packed.steps
            if packed
            else [partial(step, self.kind, weights=_weights(layer)) for layer in self.layers]
        )
        for layer_step, start in zip(steps, state, strict=True):
            ends.append(layer_step(x, start))
            x = ends[-1][0]
        return x, tuple(ends)

    def packed(self, before: Packed | None = None, *, many_steps: bool = False) -> Packed | None:
        """Pack the current weights for one loop over `step`; later changes of them have no effect.

        Args:
            before: the result of an earlier call. In a lower precision it is returned if no bit of the
                weights has changed, since comparing costs a fifth of packing. In float32, packing is
                faster than comparing.
            many_steps: whether to pack float32 weights, which costs as much as a few steps; if False,
                None is returned for them.

        Raises:
            ConfigError: as for `step`.
        """
        if self.precision == "float32" and not many_steps:
            return None
        weights = [_weights(layer) for layer in self.layers]
        kind = self.kind
        if self.precision == "float32":
            steps = [packed_step(kind, layer) for layer in weights]
            return None if None in steps else Packed("float32", tuple(filter(None, steps)), ())
        if torch.is_grad_enabled():
            raise ConfigError(
                f"a step in {self.precision} has no gradients: call it under torch.no_grad(), or set "
                "the precision to 'float32'"
            )
        if before is not None and before.is_of(weights, self.precision):
            return before
        return Packed.of(kind, weights, self.precision)

    def extra_repr(self) -> str:
        rate = self.recurrent_weight_rate
        return f"recurrent_weight_rate={rate}, precision={self.precision}"


def _weights(layer: Any, drop_rate: float = 0.0) -> Weights:
    weights = layer_weights(layer)
    return replace(weights, w_hh=F.dropout(weights.w_hh, drop_rate)) if drop_rate else weights
