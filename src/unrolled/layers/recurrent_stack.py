"""Recurrent layers on top of each other, regularised as language models are, and stepped one by one.

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
"""For each layer its state, `(h,)` or `(h, c)`, each `[B, H]` with that layer's H."""


@dataclass(frozen=True)
class Packed:
    """The weights of a stack arranged for its steps and, in a lower precision, what they were made from.

    Args:
        precision: "float32", "bfloat16" or "int8".
        steps: one for each layer.
        weights: copies of the float32 weights of all layers; none in float32.
    """

    precision: str
    steps: tuple[PackedStep, ...]
    weights: tuple[Tensor, ...]

    @classmethod
    def of(cls, kind: Kind, weights: Sequence[Weights], precision: str) -> Packed:
        """Convert and copy the weights.

        Raises:
            ConfigError: an unknown precision, or one that the native kernels cannot run.
        """
        steps = tuple(PackedStep(kind, each, precision) for each in weights)
        return cls(precision, steps, tuple(w.detach().clone() for w in _tensors(weights)))

    def is_of(self, weights: Sequence[Weights], precision: str) -> bool:
        """Whether packing these would give the same: every bit is compared."""
        given = _tensors(weights)
        return (
            self.precision == precision
            and len(given) == len(self.weights)
            and all(map(_same_bits, self.weights, given))
        )


def _tensors(weights: Sequence[Weights]) -> list[Tensor]:
    return [tensor for each in weights for tensor in each.tensors]


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors agree in all bits; NaN equals itself, and 0 is not −0."""
    if (first.dtype, first.shape, first.device) != (second.dtype, second.shape, second.device):
        return False
    pairs = all(w.is_contiguous() and w.numel() % 2 == 0 for w in (first, second))
    if pairs and not (first.storage_offset() % 2 or second.storage_offset() % 2):
        # Twice as fast as number by number.
        first, second = (w.view(-1).view(torch.int64) for w in (first, second))
    else:
        first, second = (w.view(torch.int32) for w in (first, second))
    return torch.equal(first, second)


class RecurrentStack(torch.nn.Module):
    """Layers of one cell on top of each other; the state goes in and comes out.

    In training, each call drops recurrent weights (one mask for all rows and steps, so that any
    implementation of `ops.unroll` runs as it is: Merity et al. 2018, section 3) and the outputs of all
    layers but the last. What goes into the stack and what comes out of it is the caller's to drop.

    Args:
        cell: "rnn" (tanh), "gru" or "lstm".
        input_size: width of the inputs, E.
        sizes: hidden width of each layer, first to last.
        between_rate: dropout of what one layer hands to the next.
        recurrent_weight_rate: dropout of the recurrent weights.
        locked: whether the dropout between layers has one mask for all steps of a row
            (`LockedDropout`) or one for each.

    Attributes:
        layers: one module of `unrolled.nn` for each layer, whose parameters have torch's names.
        precision: of the weights in `step`: "float32", "bfloat16" or "int8".

    Raises:
        ConfigError: an unknown cell, no layer, or a rate out of range.

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
        """Zeros for each layer, of the weights' type and, unless told otherwise, on their device."""
        weight = next(self.layers.parameters())
        n_parts = CELLS[self.kind].n_states
        return tuple(
            tuple(weight.new_zeros(n_rows, size, device=device) for _ in range(n_parts))
            for size in self.sizes
        )

    def forward(
        self, x: Padded, state: StackState | None = None
    ) -> tuple[Float[Tensor, "B T H"], StackState]:
        """The last layer's hidden states, zeros in padding, and each row's state at its true end.

        Args:
            x: values `[B, T, E]`; padding cannot be seen, NaN included.
            state: where to start; None means zeros. Nothing is detached: for truncated
                back-propagation, detach what came out before it goes in again.

        Raises:
            ValueError: shapes that do not fit the weights.
        """
        n_steps = x.values.shape[1]
        # Without lengths every implementation may run, torch's on the GPU without packing.
        lengths_B = None if n_steps and bool((x.lengths == n_steps).all()) else x.lengths
        y_TBH = x.values.transpose(0, 1)
        starts = self.start(x.values.shape[0], x.values.device) if state is None else state
        ends: list[State] = []
        for layer, start in zip(self.layers, starts, strict=True):
            if ends:
                y_TBH = self.between(y_TBH.transpose(0, 1)).transpose(0, 1)
            weights = _weights(layer, self.recurrent_weight_rate if self.training else 0.0)
            y_TBH, end = ops.unroll(self.kind, y_TBH, lengths_B, start, weights)
            ends.append(end)
        return y_TBH.transpose(0, 1), tuple(ends)

    def step(
        self,
        x: Float[Tensor, "B E"],
        state: StackState,
        packed: Packed | None = None,
    ) -> tuple[Float[Tensor, "B H"], StackState]:
        """One step, for inference: nothing is dropped, in training mode either.

        In float32 the weights are read as they are at this call. In a lower precision they must be
        converted first, which costs more than the step: a loop does it once, by `packed`.

        Args:
            x: the input.
            state: where to start.
            packed: of a loop over steps, from `packed()`.

        Raises:
            ConfigError: a precision that is unknown, or lower than the weights' where gradients are
                wanted or the native kernels cannot run.
            ValueError: shapes that do not fit the weights.
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
        """Each layer's weights as they are now, for one loop over `step`; later changes are not seen.

        Args:
            before: what an earlier call gave. In a lower precision it comes back if every bit of the
                weights is still the same: to compare costs a fifth of packing. In float32 packing is
                the quicker of the two.
            many_steps: whether to pack float32 weights, which costs a few steps; else None.

        Raises:
            ConfigError: as for `step`.
        """
        weights = [_weights(layer) for layer in self.layers]
        kind = self.kind
        if self.precision == "float32":
            steps = [packed_step(kind, each) for each in weights] if many_steps else [None]
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
