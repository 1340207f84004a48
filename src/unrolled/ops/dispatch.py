"""Choose the implementation that runs a layer: the first that can, or the one that is pinned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from threading import Lock
from types import ModuleType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unrolled.errors import ConfigError, UnavailableError
from unrolled.ops import native, reference, torch_native
from unrolled.ops.access import are_readable
from unrolled.ops.cells import CELLS
from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float

# In order of preference. Each module exports `unroll` and `why_not`, with equal signatures.
IMPLEMENTATIONS: dict[str, ModuleType] = {
    "native": native,
    "torch_native": torch_native,
    "reference": reference,
}


_pinned: ContextVar[str | None] = ContextVar("pinned implementation", default=None)


@runtime_checkable
class Observer(Protocol):
    """What `observed_by` takes: an implementation that is an object, because it keeps what it sees."""

    def unroll(
        self,
        kind: Kind,
        x: Tensor,
        lengths: Tensor | None,
        state: State,
        weights: Weights,
        reverse: bool = False,
    ) -> tuple[Tensor, State]:
        """Run a layer; see `unroll`."""
        ...


_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


# Number of open `using` blocks in all threads; unlike a ContextVar, a compiler can read an int.
_n_pins = 0


_pins_lock = Lock()


@dataclass(frozen=True)
class Explanation:
    """Which implementation would run a given recurrence, and why the others would not.

    Args:
        kind: the recurrence.
        chosen: the name of the implementation that would run, or None if none can.
        reasons: one sentence for each of the other implementations.
    """

    kind: Kind
    chosen: str | None
    reasons: Mapping[str, str]

    def __str__(self) -> str:
        first = f"{self.kind}: {self.chosen or 'nothing'} runs"
        others = [f"  not {name}: {reason}" for name, reason in self.reasons.items()]
        return "\n".join([first, *others])


def unroll(
    kind: Kind,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    state: State | None,
    weights: Weights,
    reverse: bool = False,
) -> tuple[Float[Tensor, "T B H"], State]:
    """Run one recurrent layer in one direction over a batch of rows.

    Args:
        kind: the recurrence; the equations and their sources are in `unrolled.ops.reference`.
        x: `[T, B, D]`, time first. Values beyond a row's length are ignored, even NaN.
        lengths: `[B]`, int64, on the CPU, each in 0…T; None if every row has T steps.
        state: the initial state: `(h,)`, for the LSTM `(h, c)`, each `[B, H]`; None means zeros.
        weights: the weights of this layer and direction.
        reverse: read each row from its own end to its start; y[t] still belongs to x[t].

    Returns:
        `y [T, B, H]`, the hidden state after each step and zeros in padding, and the state at each
        row's true end (a row of length 0 returns its initial state).

    Raises:
        UnavailableError: the implementation pinned by `using` cannot run this.
        ValueError: shapes do not match, or lengths are out of range.

    >>> weights = Weights(torch.ones(1, 1), torch.ones(1, 1))
    >>> x = torch.tensor([[[1.0], [1.0]], [[1.0], [float("nan")]]])
    >>> y, (h,) = unroll("rnn_relu", x, torch.tensor([2, 1]), None, weights)
    >>> y.squeeze(2).tolist(), h.squeeze(1).tolist()
    ([[1.0, 1.0], [2.0, 0.0]], [2.0, 1.0])
    """
    check(kind, x, lengths, state, weights)
    if state is None:
        state = initial_state(kind, x, weights.hidden_size)
    run = _chosen(kind, x, lengths, state, weights, reverse).unroll
    return run(kind, x, lengths, state, weights, reverse)


def unroll_both(
    kind: Kind,
    x: Float[Tensor, "T B D"],
    lengths: Tensor | None,
    states: tuple[State | None, State | None],
    weights: tuple[Weights, Weights],
) -> tuple[Float[Tensor, "T B NH"], tuple[State, State]]:
    """Run both directions of a layer over the same input: forwards, then in reverse.

    Args as for `unroll`, with one state and one set of weights per direction.

    Returns:
        y with the outputs concatenated, forwards first, and each direction's final state.

    Raises:
        UnavailableError, ValueError: as for `unroll`.

    >>> weights = Weights(torch.ones(1, 1), torch.ones(1, 1))
    >>> y, _ = unroll_both("rnn_relu", torch.ones(2, 1, 1), None, (None, None), (weights, weights))
    >>> y.squeeze(1).tolist()
    [[1.0, 2.0], [2.0, 1.0]]
    """
    started = []
    for state, own in zip(states, weights, strict=True):
        check(kind, x, lengths, state, own)
        started.append(initial_state(kind, x, own.hidden_size) if state is None else state)
    chosen = [
        _chosen(kind, x, lengths, state, own, reverse)
        for state, own, reverse in zip(started, weights, (False, True), strict=True)
    ]
    if chosen == [native, native] and weights[0].hidden_size == weights[1].hidden_size:
        return native.unroll_both(kind, x, lengths, (started[0], started[1]), weights)
    outputs, ends = zip(
        *(
            run.unroll(kind, x, lengths, state, own, reverse)
            for run, state, own, reverse in zip(
                chosen, started, weights, (False, True), strict=True
            )
        ),
        strict=True,
    )
    return torch.cat(outputs, dim=2), ends


def initial_state(kind: Kind, x: Float[Tensor, "T B D"], hidden_size: int) -> State:
    """Zeros for the rows of x, with its type and on its device: `(h,)`, for the LSTM `(h, c)`.

    >>> [tuple(part.shape) for part in initial_state("lstm", torch.zeros(7, 5, 3), 2)]
    [(5, 2), (5, 2)]
    """
    return tuple(x.new_zeros(x.shape[1], hidden_size) for _ in range(CELLS[kind].n_states))


@contextmanager
def using(name: str) -> Iterator[None]:
    """Pin one implementation inside a `with` block, in this thread or task only.

    Args:
        name: one of `IMPLEMENTATIONS`.

    Raises:
        ConfigError: there is no implementation with this name.
        UnavailableError: raised by `unroll` inside the block if the pinned one cannot run.

    >>> with using("reference"):
    ...     print(explain("gru", torch.zeros(7, 5, 3)).chosen)
    reference
    """
    if name not in IMPLEMENTATIONS:
        near = get_close_matches(name, IMPLEMENTATIONS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {_listed(IMPLEMENTATIONS)}"
        raise ConfigError(f"there is no implementation called '{name}'; {hint}")
    token = _pinned.set(name)
    _count_pins(1)
    try:
        yield
    finally:
        _count_pins(-1)
        _pinned.reset(token)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Let an observer run every layer inside a `with` block, in this thread or task only.

    Modules call `unroll` for one layer and direction after another, as with `using("reference")`.

    Args:
        observer: has `unroll`, with the arguments and the result of the implementations.
    """
    token = _observer.set(observer)
    try:
        with using("reference"):
            yield
    finally:
        _observer.reset(token)


def _count_pins(change: int) -> None:
    global _n_pins
    with _pins_lock:
        _n_pins += change


def pinned() -> str | None:
    """The name of the implementation that is currently pinned by `using`, or None.

    >>> with using("reference"):
    ...     print(pinned())
    reference
    """
    return _pinned.get() if _n_pins else None


def explain(
    kind: Kind,
    x: Tensor,
    lengths: Tensor | None = None,
    state: State | None = None,
    weights: Weights | None = None,
    reverse: bool = False,
) -> Explanation:
    """Explain which implementation `unroll` would choose, and why not the others.

    Nothing runs. The arguments are those of `unroll`; those that are not known yet may be omitted.

    >>> print(explain("rnn_sigmoid", torch.zeros(7, 5, 3)))
    rnn_sigmoid: reference runs
      not native: ...
      not torch_native: torch has no fused rnn_sigmoid
    """
    pin = pinned()
    chosen: str | None = None
    reasons: dict[str, str] = {}
    for name, implementation in IMPLEMENTATIONS.items():
        if pin is not None and name != pin:
            reasons[name] = f"'{pin}' is pinned"
        elif chosen is not None:
            reasons[name] = f"{chosen} comes first"
        elif reason := _reason_against(implementation, kind, x, lengths, state, weights, reverse):
            reasons[name] = reason
        else:
            chosen = name
    return Explanation(kind, chosen, reasons)


def choose(
    kind: Kind,
    x: Tensor,
    lengths: Tensor | None = None,
    state: State | None = None,
    weights: Weights | None = None,
    reverse: bool = False,
) -> str | None:
    """The name of the implementation that `unroll` would choose; like `explain`, but without reasons."""
    pin = pinned()
    for name, implementation in IMPLEMENTATIONS.items():
        if pin is not None and name != pin:
            continue
        if _reason_against(implementation, kind, x, lengths, state, weights, reverse) is None:
            return name
    return None


def _reason_against(
    implementation: ModuleType,
    kind: Kind,
    x: Tensor,
    lengths: Tensor | None,
    state: State | None,
    weights: Weights | None,
    reverse: bool,
) -> str | None:
    """Why an implementation cannot run or, if none is pinned, why it should not; None otherwise."""
    reason = implementation.why_not(kind, x, lengths, state, weights, reverse)
    if reason is None and implementation is native and pinned() is None:
        reason = native.not_worth_it(kind, x, lengths)
    return reason


def _chosen(
    kind: Kind, x: Tensor, lengths: Tensor | None, state: State, weights: Weights, reverse: bool
) -> ModuleType | Observer:
    if _n_pins and (observer := _observer.get()) is not None:
        return observer
    name = choose(kind, x, lengths, state, weights, reverse)
    if name is None:
        raise UnavailableError(_refusal(explain(kind, x, lengths, state, weights, reverse)))
    return IMPLEMENTATIONS[name]


def _refusal(explanation: Explanation) -> str:
    """Why no implementation can run, as one sentence."""
    pin = pinned()
    if pin is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in explanation.reasons.items())
        return f"no implementation can run {explanation.kind}: {reasons}"
    return (
        f"'{pin}' is pinned and cannot run {explanation.kind}: {explanation.reasons[pin]}; "
        f"pin another or none"
    )


def _listed(names: Mapping[str, ModuleType]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def check(
    kind: Kind, x_TBD: Tensor, lengths_B: Tensor | None, state: State | None, weights: Weights
) -> None:
    """Check all shapes, because fused cells read memory according to them."""
    n_steps, n_rows, width = x_TBD.shape
    hidden_size, n_gates = weights.hidden_size, CELLS[kind].n_gates
    wanted: dict[str, tuple[int, ...]] = {
        "w_ih": (n_gates * hidden_size, width),
        "w_hh": (n_gates * hidden_size, hidden_size),
    }
    if weights.b_ih is not None:
        wanted |= {"b_ih": wanted["w_hh"][:1], "b_hh": wanted["w_hh"][:1]}
    for name, shape in wanted.items():
        if (given := tuple(getattr(weights, name).shape)) != shape:
            raise ValueError(
                f"{name} of {kind} must be {list(shape)} for inputs of width {width} "
                f"and {hidden_size} hidden units, got {list(given)}"
            )
    for name, part in zip("hc", state or (), strict=False):
        if tuple(part.shape) != (n_rows, hidden_size):
            raise ValueError(
                f"the initial {name} of {kind} must be {[n_rows, hidden_size]}, "
                f"got {list(part.shape)}"
            )
    n_states = CELLS[kind].n_states
    if state is not None and len(state) != n_states:
        raise ValueError(
            f"{kind} has {n_states} state tensor(s) ({', '.join('hc'[:n_states])})"
            f", got {len(state)}"
        )
    if lengths_B is not None:
        check_lengths(lengths_B, n_rows, n_steps)


def check_lengths(lengths: Tensor, n_rows: int, n_steps: int) -> None:
    """Check that lengths are int64 on the CPU, one per row, each in 0…T.

    If operations are recorded or batched, the values are not known and are not checked.

    Raises:
        ValueError: the lengths are invalid.
    """
    if lengths.dtype is not torch.int64 or not lengths.is_cpu:
        raise ValueError(
            f"lengths must be int64 on the CPU, got {lengths.dtype} on {lengths.device}"
        )
    if tuple(lengths.shape) != (n_rows,):
        raise ValueError(
            f"there must be one length per row, got lengths of shape {list(lengths.shape)} for "
            f"{n_rows} rows"
        )
    if not are_readable(lengths):
        return  # their values are not known here
    if n_rows and not (int(lengths.min()) >= 0 and int(lengths.max()) <= n_steps):
        raise ValueError(f"each length must be in 0…{n_steps}, got {lengths.tolist()}")
