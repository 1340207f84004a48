"""Single steps with weights packed once: for streaming, completion, greedy and beam decoding.

A call of a whole layer packs its weights each time, which for one step of one row costs more than the
step. `PackedStep` packs them once. `Stream` also keeps the state, so that a step costs little more than
its arithmetic. Weights may be stored as bfloat16 or int8, so each step reads half or a quarter as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled import ops
from unrolled.errors import ConfigError
from unrolled.ops import dispatch, native
from unrolled.ops.access import check_memory, dense
from unrolled.ops.cells import CELLS
from unrolled.ops.types import Kind, State, Weights
from unrolled.searching import PRECISIONS
from unrolled.shapes import Float

# Multiply-adds from which a second thread is worth waking.
_LEAST_SHARED_WORK = 1 << 18


class PackedStep:
    """One layer's step with its weights packed; equals the reference step of the kind.

    Args:
        kind: the recurrence.
        weights: float32 on the CPU; they are copied, so later changes have no effect.
        precision: the type in which the weights are stored. bfloat16 rounds each to 8 bits of mantissa;
            int8 has one scale per row of each weight matrix, with the largest magnitude stored as 127.
            Inputs, states and sums are float32 in all cases.

    Raises:
        ConfigError: the precision is unknown, or it is below float32 and the native kernels cannot run.

    It has no gradients.

    >>> step = PackedStep("rnn_relu", Weights(torch.ones(1, 2), torch.ones(1, 1)))
    >>> step(torch.ones(3, 2), (torch.ones(3, 1),))[0].tolist()
    [[3.0], [3.0], [3.0]]
    """

    def __init__(self, kind: Kind, weights: Weights, precision: str = "float32") -> None:
        if precision not in PRECISIONS:
            raise ConfigError(
                f"precision is '{precision}'; choose from "
                + ", ".join(f"'{choice}'" for choice in PRECISIONS)
            )
        self.kind, self.hidden_size, self.input_size = kind, weights.hidden_size, weights.input_size
        self._n_gate_rows = len(weights.w_ih)
        x = weights.w_ih.unsqueeze(0)  # of the right type, device and width
        reason = native.why_not(kind, x, weights=weights)
        if reason is not None and precision != "float32":
            raise ConfigError(f"{precision} weights need the native kernels: {reason}")
        self._packed: Any = None
        self._weights: Weights | None = None  # only set if they are not packed
        if reason is not None:
            self._weights = Weights(*(w.detach().clone() for w in weights.tensors))
        else:
            kept = [None if w is None else dense(w, torch.float32) for w in _four(weights)]
            self._packed = native.kernels.PackedStep(
                CELLS[kind].kernel,
                PRECISIONS.index(precision),
                self.input_size,
                self.hidden_size,
                *(0 if w is None else w.data_ptr() for w in kept),
            )

    @property
    def n_bytes(self) -> int:
        """Bytes of weights that one step reads."""
        if self._weights is None:
            return self._packed.bytes
        return sum(w.nbytes for w in self._weights.tensors)

    def __call__(self, x: Tensor, state: State) -> State:
        """Return the state after an input `[B, D]`: `(h,)` or `(h, c)`, in new memory."""
        if self._weights is not None:
            with torch.no_grad():
                return CELLS[self.kind].step(x, state, self._weights)
        self._check(x, state)
        x, *old = (part if part.stride(1) == 1 else part.contiguous() for part in (x, *state))
        new = tuple(part.new_empty(part.shape) for part in old)
        h, h_new = old[0], new[0]
        c, c_new = old[-1], new[-1]  # without a cell state these are h, and the kernel ignores them
        self._packed.run(
            len(x), x.data_ptr(), x.stride(0), h.data_ptr(), h.stride(0), c.data_ptr(), c.stride(0),
            h_new.data_ptr(), c_new.data_ptr(), self.n_threads(len(x)),
        )  # fmt: skip
        return new

    def n_threads(self, n_rows: int) -> int:
        """Number of threads worth using for a step with this number of rows."""
        work = n_rows * self._n_gate_rows * (self.input_size + self.hidden_size)
        return torch.get_num_threads() if work >= _LEAST_SHARED_WORK else 1

    def _check(self, x: Tensor, state: State) -> None:
        wanted = [
            (len(x), self.input_size),
            *[(len(x), self.hidden_size)] * CELLS[self.kind].n_states,
        ]
        given = [tuple(part.shape) for part in (x, *state)]
        if given != wanted:
            raise ValueError(f"a step of {self.kind} takes x and states of {wanted}, got {given}")
        for part in (x, *state):
            if part.dtype is not torch.float32:
                raise ValueError(f"a step of {self.kind} takes float32, got {part.dtype}")
            check_memory(part)


def step(kind: Kind, x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """Return the state after one step, `(h,)` or `(h, c)`, with the current weights.

    Nothing is packed or stored, so no change of the weights can be missed. For few rows it costs little
    more than a `PackedStep`, because most of the time is spent reading the weights.

    Raises:
        ValueError: shapes do not match the weights.

    It has gradients, like `ops.unroll`.

    >>> weights = Weights(torch.ones(1, 2), torch.ones(1, 1))
    >>> step("rnn_relu", torch.ones(3, 2), (torch.ones(3, 1),), weights)[0].tolist()
    [[3.0], [3.0], [3.0]]
    """
    if not _has_cell(kind, (x, *state, *weights.tensors)):
        return ops.unroll(kind, x.unsqueeze(0), None, state, weights)[1]
    dispatch.check(kind, x.unsqueeze(0), None, state, weights)
    cell = CELLS[kind]
    if cell.n_states == 1:
        return (cell.fused_step(x, state[0], *_four(weights)),)
    return tuple(cell.fused_step(x, state, *_four(weights)))


def _has_cell(kind: Kind, tensors: Sequence[Tensor]) -> bool:
    """Whether torch's function for a single step is the fastest: on the CPU, without gradients."""
    return (
        CELLS[kind].fused_step is not None
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and all(t.device.type == "cpu" and t.dtype is torch.float32 for t in tensors)
    )


def packed_step(kind: Kind, weights: Weights, precision: str = "float32") -> PackedStep | None:
    """Create a `PackedStep` with these weights, for one loop; later changes of them have no effect.

    The caller must not keep it after the weights change. Neither version counters nor addresses reveal a
    change: torch's fused optimizers and code that uses `weight.data` change weights without a trace.

    In float32, returns None under autocast, if gradients are enabled, or if the native kernels cannot
    run; other ways to compute a step then give the same result, under autocast from states of any type.

    Raises:
        ConfigError: the precision is unknown, or it is below float32 and the native kernels cannot run.
    """
    if precision == "float32" and (
        torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
        or native.why_not(kind, weights.w_ih.unsqueeze(0), weights=weights) is not None
    ):
        return None
    return PackedStep(kind, weights, precision)


class Stream:
    """A layer that reads one step at a time and keeps its state.

    Args:
        kind, weights, precision: as for `PackedStep`.
        n_rows: B, the number of sequences that are stepped together.
        state: the initial state; zeros if None.

    >>> stream = Stream("rnn_relu", Weights(torch.ones(1, 1), torch.ones(1, 1)))
    >>> [stream.step(torch.ones(1, 1)).item() for _ in range(3)]
    [1.0, 2.0, 3.0]
    """

    def __init__(
        self,
        kind: Kind,
        weights: Weights,
        n_rows: int = 1,
        precision: str = "float32",
        state: State | None = None,
    ) -> None:
        self._step = PackedStep(kind, weights, precision)
        shape = (n_rows, weights.hidden_size)
        if state is None:
            state = tuple(weights.w_hh.new_zeros(shape) for _ in range(CELLS[kind].n_states))
        self._x_shape = torch.Size((n_rows, weights.input_size))
        self._n_threads = self._step.n_threads(n_rows)
        # Two buffers that are read and written in turn.
        self._sides = [tuple(weights.w_hh.new_empty(shape) for _ in state) for _ in range(2)]
        self._addresses = [
            [part.data_ptr() for part in (*side, side[0])[:2]] for side in self._sides
        ]
        self._now = 0
        self.restart(state)

    @property
    def state(self) -> State:
        """A copy of the current state, `(h,)` or `(h, c)`, each `[B, H]`."""
        return tuple(part.clone() for part in self._sides[self._now])

    def restart(self, state: State) -> None:
        """Continue from another state."""
        for part, given in zip(self._sides[self._now], state, strict=True):
            part.copy_(given)

    def step(self, x: Tensor) -> Float[Tensor, "B H"]:
        """Read one step, `[B, D]`; return the hidden state, `[B, H]`.

        The step after the next one overwrites the memory of the result.

        Raises:
            ValueError: x is not float32, `[B, D]`, on the CPU.
        """
        if x.shape != self._x_shape or x.dtype is not torch.float32:
            raise ValueError(
                f"a step of this stream takes float32 {list(self._x_shape)}, "
                f"got {str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
            )
        now, new = self._now, 1 - self._now
        packed = self._step._packed
        if packed is None:
            for part, made in zip(self._sides[new], self._step(x, self._sides[now]), strict=True):
                part.copy_(made)
        else:
            check_memory(x)
            if not x.is_contiguous():
                x = x.contiguous()
            n_rows, width = self._x_shape
            H = self._step.hidden_size
            h, c = self._addresses[now]
            packed.run(
                n_rows, x.data_ptr(), width, h, H, c, H, *self._addresses[new], self._n_threads
            )
        self._now = new
        return self._sides[new][0]


def _four(weights: Weights) -> tuple[Tensor | None, ...]:
    return weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh
