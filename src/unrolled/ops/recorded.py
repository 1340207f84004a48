"""One step of a cell by its definition, with the results of its non-linearities by name.

The step itself is `Cell.step`, unchanged: its calls of sigmoid, tanh and ReLU are observed. So the gates
of every cell can be seen, of those that a user has registered, too. Names are those of `Cell.parts`; the
results of a cell without names are called by function and place, "sigmoid 1", "tanh 2".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from unrolled.ops.cells import CELLS, Cell
from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float

STATES = ("h", "c")
"""The names of the tensors of a state."""

_FUNCTIONS = {"sigmoid": "sigmoid", "sigmoid_": "sigmoid", "expit": "sigmoid", "tanh": "tanh",
              "tanh_": "tanh", "relu": "relu", "relu_": "relu"}  # fmt: skip
"""The non-linearities that are observed, by the names of torch's functions."""

MOST_DERIVATIVE = {"sigmoid": 0.25, "tanh": 1.0, "relu": 1.0}
"""The largest derivative of each."""


@dataclass(frozen=True)
class Part:
    """The result of a non-linearity in a step.

    Args:
        name: its name.
        function: "sigmoid", "tanh" or "relu".
        value: `[B, H]`.
    """

    name: str
    function: str
    value: Float[Tensor, "B H"]

    @property
    def derivative(self) -> Float[Tensor, "B H"]:
        """The derivative of the non-linearity there.

        σ' = σ (1 − σ) ≤ 1/4, tanh' = 1 − tanh² ≤ 1, and 1 or 0 for the ReLU.

        >>> import torch
        >>> Part("f", "sigmoid", torch.tensor([[0.5]])).derivative.item()
        0.25
        """
        return derivative_of(self.function, self.value)


def derivative_of(function: str, value: Tensor) -> Tensor:
    """The derivative of a non-linearity, from its result."""
    if function == "sigmoid":
        return value * (1 - value)
    if function == "tanh":
        return 1 - value * value
    return (value > 0).to(value.dtype)


@dataclass
class _Observer(TorchFunctionMode):
    """Keeps the results of the non-linearities that are called while it is active."""

    seen: list[tuple[str, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        function = _FUNCTIONS.get(getattr(func, "__name__", ""))
        if function is not None and isinstance(result, Tensor):
            self.seen.append((function, result))
        return result


def recorded_step(
    kind: Kind, x: Float[Tensor, "B D"], state: State, weights: Weights
) -> tuple[State, list[Part]]:
    """Return the state after one step, and the results of the non-linearities in it.

    The arguments are those of `Cell.step`. It has gradients.

    >>> import torch
    >>> weights = Weights(torch.zeros(4, 1), torch.zeros(4, 1))
    >>> state, parts = recorded_step("lstm", torch.zeros(1, 1), (torch.zeros(1, 1),) * 2, weights)
    >>> [(part.name, part.value.item()) for part in parts]
    [('f', 0.5), ('i', 0.5), ('g', 0.0), ('o', 0.5), ('tanh_c', 0.0)]
    """
    cell = CELLS[kind]
    observer = _Observer()
    with observer:
        after = cell.step(x, state, weights)
    named = len(cell.parts) == len(observer.seen)
    counts: dict[str, int] = {}
    parts = []
    for place, (function, value) in enumerate(observer.seen):
        counts[function] = counts.get(function, 0) + 1
        name = cell.parts[place] if named else f"{function} {counts[function]}"
        parts.append(Part(name, function, value))
    return after, parts


def block_names(cell: Cell) -> tuple[str, ...]:
    """The names of the blocks of rows of a weight.

    >>> block_names(CELLS["gru"])
    ('r', 'z', 'n')
    """
    if len(cell.blocks) == cell.n_gates:
        return cell.blocks
    return tuple(f"block {number}" for number in range(1, cell.n_gates + 1))
