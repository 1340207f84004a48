"""The cells: the equations of each, and the table `CELLS` with everything the toolkit knows about them.

To add a cell, write its step and add an entry to `CELLS` with `register`; layers, decoders, recipes and
`unrolled doctor` read the table. A cell without a kernel or a fused PyTorch function runs its definition.
W, U are `w_ih`, `w_hh`; b, b' are `b_ih`, `b_hh`; ⊙ multiplies element by element.

| kind                                 | state            | rows of a weight | gates, in order |
|--------------------------------------|------------------|------------------|-----------------|
| `rnn_tanh` `rnn_relu` `rnn_sigmoid`  | `(h_BH,)`        | H                |                 |
| `lstm`                               | `(h_BH, c_BH)`   | 4·H              | i f g o         |
| `gru`                                | `(h_BH,)`        | 3·H              | r z n           |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled.config import Choices
from unrolled.errors import ConfigError
from unrolled.ops.gates import gru_gates, lstm_gates
from unrolled.ops.types import Kind, State, Weights
from unrolled.shapes import Float

Step = Callable[[Float[Tensor, "B D"], State, Weights], State]
"""One step: x `[B, D]`, the state before the step and the weights → the state after the step."""

Gates = Callable[[Tensor, Tensor | None, State], State]
"""The rest of a step after the products: W x + b and U h + b', each `[B, G·H]`, and the state before the
step → the state after the step.

For a cell whose products are simply added, the first may be the sum of both, and the second None."""


def rnn_tanh_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """h = tanh(W x + b + U h + b'). Elman, "Finding structure in time", 1990.

    Args:
        x: `[B, D]`, the input of this step.
        state: `(h_BH,)`.
        weights: `w_ih [H, D]`, `w_hh [H, H]`, biases `[H]`.

    Returns:
        The next `(h_BH,)`.

    >>> weights = Weights(torch.tensor([[1.0]]), torch.tensor([[0.5]]))
    >>> (h,) = rnn_tanh_step(torch.tensor([[0.5]]), (torch.tensor([[1.0]]),), weights)
    >>> round(h.item(), 4)
    0.7616
    """
    return (torch.tanh(_sum(x, state, weights)),)


def rnn_relu_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """h = max(0, W x + b + U h + b'). Le, Jaitly and Hinton, arXiv:1504.00941, section 3.

    Shapes as in `rnn_tanh_step`.

    >>> weights = Weights(torch.tensor([[1.0]]), torch.tensor([[0.5]]))
    >>> rnn_relu_step(torch.tensor([[-2.0]]), (torch.tensor([[1.0]]),), weights)
    (tensor([[0.]]),)
    """
    return (torch.relu(_sum(x, state, weights)),)


def rnn_sigmoid_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """h = σ(W x + b + U h + b'). Elman, 1990; since σ' ≤ 1/4, its gradient vanishes fastest.

    Shapes as in `rnn_tanh_step`.

    >>> weights = Weights(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    >>> rnn_sigmoid_step(torch.tensor([[-2.0]]), (torch.tensor([[1.0]]),), weights)
    (tensor([[0.5000]]),)
    """
    return (torch.sigmoid(_sum(x, state, weights)),)


def lstm_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """One step of the long short-term memory.

    i, f, o = σ(W x + b + U h + b') in their rows;  g = tanh(W x + b + U h + b') in its rows
    c = f ⊙ c + i ⊙ g
    h = o ⊙ tanh(c)

    Hochreiter and Schmidhuber, "Long short-term memory", 1997; the forget gate f is from Gers,
    Schmidhuber and Cummins, "Learning to forget", 2000.

    Args:
        x: `[B, D]`, the input of this step.
        state: `(h_BH, c_BH)`.
        weights: `w_ih [4·H, D]`, `w_hh [4·H, H]`, biases `[4·H]`; gates in the order i f g o.

    Returns:
        The next `(h_BH, c_BH)`.

    >>> weights = Weights(torch.zeros(4, 1), torch.zeros(4, 1))
    >>> h, c = lstm_step(torch.zeros(1, 1), (torch.zeros(1, 1), torch.ones(1, 1)), weights)
    >>> c.item()  # every gate is half open, so half of the cell state is kept
    0.5
    """
    _, c_BH = state
    i_BH, f_BH, g_BH, o_BH = _sum(x, state, weights).chunk(4, dim=1)
    c_BH = torch.sigmoid(f_BH) * c_BH + torch.sigmoid(i_BH) * torch.tanh(g_BH)
    return torch.sigmoid(o_BH) * torch.tanh(c_BH), c_BH


def gru_step(x: Float[Tensor, "B D"], state: State, weights: Weights) -> State:
    """One step of the gated recurrent unit, in the form with the reset gate after the product.

    r, z = σ(W x + b + U h + b') in their rows
    n = tanh(W x + b + r ⊙ (U h + b')) in its rows
    h = (1 − z) ⊙ n + z ⊙ h

    Cho et al., arXiv:1406.1078, equations 5–8, reset before the product (U (r ⊙ h)); this is the
    reset-after form of cuDNN and torch. Lecture notes that write h = z ⊙ n + (1 − z) ⊙ h mean
    the same cell with 1 − z called z.

    Args:
        x: `[B, D]`, the input of this step.
        state: `(h_BH,)`.
        weights: `w_ih [3·H, D]`, `w_hh [3·H, H]`, biases `[3·H]`; gates in the order r z n.

    Returns:
        The next `(h_BH,)`.

    >>> weights = Weights(torch.zeros(3, 1), torch.zeros(3, 1))
    >>> gru_step(torch.zeros(1, 1), (torch.ones(1, 1),), weights)
    (tensor([[0.5000]]),)
    """
    (h_BH,) = state
    from_x = linear(x, weights.w_ih, weights.b_ih).chunk(3, dim=1)
    from_h = linear(h_BH, weights.w_hh, weights.b_hh).chunk(3, dim=1)
    r_BH = torch.sigmoid(from_x[0] + from_h[0])
    z_BH = torch.sigmoid(from_x[1] + from_h[1])
    n_BH = torch.tanh(from_x[2] + r_BH * from_h[2])
    return ((1 - z_BH) * n_BH + z_BH * h_BH,)


def _sum(x_BD: Tensor, state: State, weights: Weights) -> Tensor:
    """W x + b + U h + b', `[B, G·H]`."""
    from_x = linear(x_BD, weights.w_ih, weights.b_ih)
    return from_x + linear(state[0], weights.w_hh, weights.b_hh)


def _sum_of(from_x: Tensor, from_h: Tensor | None) -> Tensor:
    return from_x if from_h is None else from_x + from_h


def _gru_gates(from_x: Tensor, from_h: Tensor | None, state: State) -> State:
    assert from_h is not None  # needed separately, because the reset gate acts on it alone
    return (gru_gates(from_x, from_h, state[0]),)


@dataclass(frozen=True)
class Cell:
    """A recurrent cell.

    Args:
        kind: its name in `unrolled.ops`.
        step: its equations; every other implementation is tested against it.
        n_gates: G, the number of blocks of H rows in each weight.
        n_states: the number of tensors in a state, h first.
        name: its name in recipes; None if it is not available there.
        gates: the rest of the step after its matrix products, for loops that compute these themselves;
            None if the state enters the products in another way, so that such loops call `step`.
        adds_up: whether `gates` needs only the sum of the two products.
        kernel: its number in `native/cells.h`; None if there is no kernel.
        fused: PyTorch's function for a whole layer; None if there is none.
        fused_step: PyTorch's function for one step, without gradients; None if there is none.
        options: options of a layer that is initialised as the literature recommends.
        blocks: names of the G blocks of rows of a weight.
        parts: names of the results of its sigmoid, tanh and ReLU, in the order in which `step` computes
            them, for `ops.recorded`; those of a cell without names are called "tanh 1", "sigmoid 2", ….
    """

    kind: Kind
    step: Step
    n_gates: int
    n_states: int = 1
    name: str | None = None
    gates: Gates | None = None
    adds_up: bool = False
    kernel: int | None = None
    fused: Any = None
    fused_step: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


CELLS: dict[Kind, Cell] = {}
"""Every cell by its kind."""


def register(cell: Cell) -> None:
    """Add a cell to the table.

    Raises:
        ConfigError: its kind or its name is already taken.
    """
    if cell.kind in CELLS or (cell.name is not None and cell.name in cell_names()):
        raise ConfigError(
            f"a cell of kind '{cell.kind}' or name '{cell.name}' already exists; choose another name"
        )
    CELLS[cell.kind] = cell


def cell_names() -> tuple[str, ...]:
    """The names of cells that recipes can use.

    >>> cell_names()
    ('rnn', 'rnn_relu', 'gru', 'lstm')
    """
    return tuple(cell.name for cell in CELLS.values() if cell.name is not None)


def cell_named(name: str) -> Cell:
    """The cell with this name in recipes.

    Raises:
        ConfigError: there is no such cell.

    >>> cell_named("rnn").kind
    'rnn_tanh'
    """
    for cell in CELLS.values():
        if cell.name == name:
            return cell
    raise ConfigError(f"cell must be one of {', '.join(cell_names())}, got {name[:100]!r}")


CellName = Annotated[str, Choices(cell_names)]
"""The type of a setting that names a cell."""


for _cell in (
    Cell(
        "rnn_tanh",
        rnn_tanh_step,
        n_gates=1,
        name="rnn",
        gates=lambda from_x, from_h, state: (torch.tanh(_sum_of(from_x, from_h)),),
        adds_up=True,
        kernel=0,
        fused=torch.rnn_tanh,
        fused_step=torch.rnn_tanh_cell,
        blocks=("h",),
        parts=("h",),
    ),
    Cell(
        "rnn_relu",
        rnn_relu_step,
        n_gates=1,
        name="rnn_relu",
        gates=lambda from_x, from_h, state: (torch.relu(_sum_of(from_x, from_h)),),
        adds_up=True,
        kernel=1,
        fused=torch.rnn_relu,
        fused_step=torch.rnn_relu_cell,
        blocks=("h",),
        parts=("h",),
    ),
    Cell(
        "rnn_sigmoid",
        rnn_sigmoid_step,
        n_gates=1,
        gates=lambda from_x, from_h, state: (torch.sigmoid(_sum_of(from_x, from_h)),),
        adds_up=True,
        blocks=("h",),
        parts=("h",),
    ),
    Cell(
        "gru",
        gru_step,
        n_gates=3,
        name="gru",
        gates=_gru_gates,
        kernel=2,
        fused=torch.gru,
        fused_step=torch.gru_cell,
        blocks=("r", "z", "n"),
        parts=("r", "z", "n"),
    ),
    Cell(
        "lstm",
        lstm_step,
        n_gates=4,
        n_states=2,
        name="lstm",
        gates=lambda from_x, from_h, state: lstm_gates(_sum_of(from_x, from_h), state[1]),
        adds_up=True,
        kernel=3,
        fused=torch.lstm,
        fused_step=torch.lstm_cell,
        blocks=("i", "f", "g", "o"),
        parts=("f", "i", "g", "o", "tanh_c"),
        options={"forget_bias": 1.0},  # Jozefowicz, Zaremba and Sutskever 2015, section 4
    ),
):
    register(_cell)
