"""How the gradient of a loss flows back through the steps of each recurrent layer.

For a loss L, each layer and direction gets, per row and in the order of reading:

    ‖∂L/∂h_t‖          the gradient that training uses at step t, from all parts of the loss
    ‖∂L_t/∂h_t‖        the part that enters the layer at step t, from above and from the side
    ‖∂L_t/∂h_k‖, k < t how much of it is left k steps earlier, through this recurrence alone

L_t is the part of the loss that reads the layer at step t: of a language model's top layer, the loss of
the next word; of a layer below, what enters it at step t. Norms of states are those of (h, c) together.
The measurement runs a copy of the model in float64 without dropout, so it changes neither weights nor
random numbers, and gradients down to 1e-300 are told from zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.diagnosis.jacobians import Chain, product_norms, spectral_norm, spectral_radius
from unrolled.layers.replay import ReplayedLayer, replaying, replica
from unrolled.ops.cells import CELLS
from unrolled.ops.recorded import MOST_DERIVATIVE, STATES, block_names

Numbers = NDArray[np.float64]

SATURATED = 0.05
"""A unit is saturated where its derivative is below this share of the largest possible one: 0.0125 of a
sigmoid, so that it is below 0.0127 or above 0.987; 0.05 of a tanh, so that it is beyond ±0.975. A
gradient that passes there is divided by twenty or more."""

_LEAST_ENTRY = 1e-3
"""The last step at which the loss enters a layer is the last with this share of the largest entry."""

_MOST_ENTRIES = 12
_WORK_OF_MATRIX = 300_000  # entries × steps × width
_SPANS = 16


@dataclass(frozen=True)
class PartFlow:
    """The derivatives of one non-linearity along the path.

    Args:
        name: its name, such as "f".
        function: "sigmoid", "tanh" or "relu".
        derivative: mean derivative.
        by_step: mean derivative of each step of the first row.
        saturated: share of units and steps whose derivative is below `SATURATED` of the largest one.
        low: share of saturated units near the lower end (sigmoid 0, tanh −1).
        high: share of saturated units near the upper end.
        dead: share of units whose derivative is 0 at every step of every row; only a ReLU has any.
        is_gate: whether it is a sigmoid that is no state.
    """

    name: str
    function: str
    derivative: float
    by_step: Numbers
    saturated: float
    low: float
    high: float
    dead: float
    is_gate: bool


@dataclass(frozen=True)
class LayerFlow:
    """The gradient flow of one layer in one direction; arrays are in the order of reading.

    Args:
        name: name of the layer.
        kind: its cell.
        reverse: whether it reads from right to left.
        loss: for each row, `[T]`, ‖∂L/∂h_t‖.
        entering: for each row, `[T]`, ‖∂L_t/∂h_t‖.
        reach: for each row, `[d + 1]`, ‖∂L_t/∂(h, c)_{t−d}‖ divided by its value at d = 0, with t the
            last step at which the loss enters. Empty if it enters nowhere.
        entries: steps t of the first row.
        matrix: `[entries, T]`, ‖∂L_t/∂(h, c)_k‖ of the first row, 0 for k > t.
        products: logarithm to the base 10 of the norm of the product of Jacobians, by number of steps.
        radius: spectral radius of the recurrent weights of each block of rows.
        norm: spectral norm of the recurrent weights of each block of rows.
        parts: derivatives of its non-linearities.
    """

    name: str
    kind: str
    reverse: bool
    loss: list[Numbers]
    entering: list[Numbers]
    reach: list[Numbers]
    entries: list[int]
    matrix: Numbers
    products: Mapping[int, float]
    radius: Mapping[str, float]
    norm: Mapping[str, float]
    parts: list[PartFlow]

    @property
    def span(self) -> int:
        """The number of steps over which `reach_at` is measured: the median over the rows."""
        lengths = [len(row) - 1 for row in self.reach if len(row)]
        return int(np.median(lengths)) if lengths else 0

    def reach_at(self, distance: int) -> float:
        """`reach` at a distance, the geometric mean over the rows that are long enough."""
        found = [row[distance] for row in self.reach if len(row) > distance]
        if not found:
            return math.nan
        if min(found) <= 0.0:
            return 0.0 if max(found) <= 0.0 else float(np.mean(found))
        with np.errstate(over="ignore"):
            return float(np.exp(np.mean(np.log(found))))

    @property
    def curve(self) -> Numbers:
        """`reach_at` for all distances up to `span`."""
        return np.array([self.reach_at(distance) for distance in range(self.span + 1)])


@dataclass(frozen=True)
class GradientFlow:
    """The gradient flow of a model on some rows.

    Args:
        loss: the mean loss.
        layers: the flow of each layer and direction.
        n_rows: number of rows that were measured.
        notes: what was left out.
    """

    loss: float
    layers: list[LayerFlow] = field(default_factory=list)
    n_rows: int = 1
    notes: tuple[str, ...] = ()


LossOf = Callable[[Any], tuple[Tensor, int]]
"""A model → the sum of its loss on some rows, and the number of targets."""


def measure_flow(
    model: torch.nn.Module,
    loss_of: LossOf,
    *,
    detailed: bool = True,
) -> GradientFlow:
    """Measure the gradient flow of a model; the model itself does not change.

    Args:
        model: any module with recurrent layers.
        loss_of: computes the loss of a copy of it.
        detailed: whether to also measure `matrix`, `products`, `radius` and `norm`, which take longer.

    Returns:
        The flow; without layers, if the loss depends on none. The loss may not be finite.

    >>> torch.manual_seed(0).seed()                                            # doctest: +SKIP
    >>> layer = torch.nn.RNN(3, 5)
    >>> x = torch.randn(7, 1, 3)
    >>> flow = measure_flow(layer, lambda layer: (layer(x.double())[0][-1].sum(), 1))
    >>> flow.layers[0].span, len(flow.layers[0].loss[0])
    (6, 7)
    """
    copy = replica(model, torch.float64)
    for parameter in copy.parameters():
        parameter.requires_grad_(True)
    with torch.inference_mode(False), torch.enable_grad():
        with replaying(copy) as replay:
            total, count = loss_of(copy)
        loss = total / max(1, count)
        if not bool(torch.isfinite(loss)) or not loss.requires_grad:
            return GradientFlow(float(loss.detach()), [])
        nodes = [node for layer in replay.layers for node in _nodes(layer)]
        given = torch.autograd.grad(loss, nodes, retain_graph=True, allow_unused=True)
        found, place = [], 0
        for layer in replay.layers:
            n = len(_nodes(layer))
            gradients = [
                torch.zeros_like(node) if gradient is None else gradient
                for node, gradient in zip(_nodes(layer), given[place : place + n], strict=True)
            ]
            place += n
            if layer.n_steps and len(layer.lengths):
                found.append(_flow_of(layer, gradients, detailed))
    n_rows = max((len(flow.loss) for flow in found), default=0)
    return GradientFlow(float(loss.detach()), found, n_rows)


def _nodes(layer: ReplayedLayer) -> list[Tensor]:
    """All outputs, then all states, column by column."""
    return [*layer.outputs, *(part for state in layer.states for part in state)]


class _Gradients:
    """∂L/∂ of the outputs and the states of a layer, by column."""

    def __init__(self, layer: ReplayedLayer, gradients: list[Tensor]) -> None:
        T, n = layer.n_steps, len(layer.states[0])
        self.outputs = gradients[:T]
        rest = gradients[T:]
        self.states = [tuple(rest[t * n : (t + 1) * n]) for t in range(T)]

    def entry(self, layer: ReplayedLayer, row: int, column: int, is_last: bool) -> list[Tensor]:
        """What enters the state of a column, by part of the state; also what reads the final state."""
        states = self.states[column]
        parts = [part[row] if is_last else torch.zeros_like(part[row]) for part in states]
        parts[0] = parts[0] + self.outputs[column][row]
        return parts


def _flow_of(layer: ReplayedLayer, gradients: list[Tensor], detailed: bool) -> LayerFlow:
    given = _Gradients(layer, gradients)
    losses, entering, ends = [], [], []
    for row in range(len(layer.lengths)):
        columns = layer.columns(row)
        loss = [_norm([given.outputs[t][row] + given.states[t][0][row]]) for t in columns]
        enter = [
            _norm(given.entry(layer, row, t, place == len(columns) - 1))
            for place, t in enumerate(columns)
        ]
        losses.append(np.array(loss))
        entering.append(np.array(enter))
        ends.append(_last_entry(enter))
    reach = _reach(layer, given, ends)
    entries, matrix = _matrix(layer, given, entering[0]) if detailed else ([], np.zeros((0, 0)))
    blocks = dict(
        zip(block_names(CELLS[layer.kind]), layer.weights.w_hh.chunk(_n(layer)), strict=True)
    )
    return LayerFlow(
        layer.name,
        layer.kind,
        layer.reverse,
        losses,
        entering,
        reach,
        entries,
        matrix,
        _products(layer) if detailed else {},
        {name: spectral_radius(block) for name, block in blocks.items()} if detailed else {},
        {name: spectral_norm(block) for name, block in blocks.items()} if detailed else {},
        _part_flows(layer),
    )


def _n(layer: ReplayedLayer) -> int:
    return CELLS[layer.kind].n_gates


def _norm(parts: Sequence[Tensor]) -> float:
    """The norm of a vector given in parts; scaled first, as the square of 1e-200 is 0."""
    largest = max(float(part.abs().max()) for part in parts)
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(sum(float((part / largest).square().sum()) for part in parts))


def _last_entry(entering: list[float]) -> int | None:
    """The last step at which the loss enters the layer, or None if it enters nowhere."""
    least = _LEAST_ENTRY * max(entering, default=0.0)
    steps = [step for step, norm in enumerate(entering) if norm > 0.0 and norm >= least]
    return steps[-1] if steps else None


def _reach(layer: ReplayedLayer, given: _Gradients, ends: list[int | None]) -> list[Numbers]:
    """For each row, what is left of the last entry at earlier steps, as a share of it."""
    rows = {row: end for row, end in enumerate(ends) if end is not None}
    if not rows:
        return [np.zeros(0) for _ in ends]
    pushed = _pushed(layer, given, rows)
    found = []
    for row, end in enumerate(ends):
        if end is None:
            found.append(np.zeros(0))
            continue
        columns = list(layer.columns(row))
        first = _norm(given.entry(layer, row, columns[end], end == len(columns) - 1))
        norms = [_norm([part[row] for part in pushed[t]]) for t in columns[:end]]
        found.append(np.array([first, *reversed(norms)]) / first)
    return found


def _pushed(
    layer: ReplayedLayer, given: _Gradients, steps: Mapping[int, int]
) -> list[tuple[Tensor, ...]]:
    """The gradient of all states if the loss entered each of these rows only at this step of it."""
    outputs: dict[int, list[Tensor]] = {}
    for row, step in steps.items():
        columns = list(layer.columns(row))
        column = columns[step]
        entry = given.entry(layer, row, column, step == len(columns) - 1)
        if column not in outputs:
            outputs[column] = [torch.zeros_like(part) for part in layer.states[column]]
        for total, part in zip(outputs[column], entry, strict=True):
            total[row] = part
    heads = [part for column in outputs for part in layer.states[column]]
    vectors = [part for parts in outputs.values() for part in parts]
    nodes = [part for state in layer.states for part in state]
    gradients = torch.autograd.grad(heads, nodes, vectors, retain_graph=True, allow_unused=True)
    n = len(layer.states[0])
    whole = [
        torch.zeros_like(node) if gradient is None else gradient
        for node, gradient in zip(nodes, gradients, strict=True)
    ]
    return [tuple(whole[t * n : (t + 1) * n]) for t in range(layer.n_steps)]


def _matrix(
    layer: ReplayedLayer, given: _Gradients, entering: Numbers
) -> tuple[list[int], Numbers]:
    """‖∂L_t/∂(h, c)_k‖ of the first row, for evenly spaced steps t at which the loss enters."""
    steps = np.flatnonzero(entering > 0.0)
    if not len(steps):
        return [], np.zeros((0, len(entering)))
    n_steps, width = len(entering), layer.start[0].shape[1] * len(layer.start)
    most = max(3, min(_MOST_ENTRIES, _WORK_OF_MATRIX // (n_steps * width)))
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), most)).round())
    entries = [int(steps[int(place)]) for place in chosen]
    columns = list(layer.columns(0))
    matrix = np.zeros((len(entries), len(columns)))
    for place, step in enumerate(entries):
        pushed = _pushed(layer, given, {0: step})
        matrix[place, : step + 1] = [
            _norm([part[0] for part in pushed[t]]) for t in columns[: step + 1]
        ]
        matrix[place, step] = entering[step]
    return entries, matrix


def _products(layer: ReplayedLayer) -> dict[int, float]:
    row = int(layer.lengths.argmax())
    chain = Chain(layer, row)
    n = chain.n_steps - 1  # the first step has only the initial state before it
    if n < 1:
        return {}
    return product_norms(
        chain, [*np.unique(np.geomspace(1, n, _SPANS).round()).astype(int).tolist()]
    )


def _part_flows(layer: ReplayedLayer) -> list[PartFlow]:
    columns = layer.lengths.new_tensor(range(layer.n_steps))
    real_TB = (columns.unsqueeze(1) < layer.lengths).to(layer.outputs[0].device)
    if not bool(real_TB.any()):
        return []
    flows = []
    for place, first in enumerate(layer.parts[0]):
        value_TBH = torch.stack([parts[place].value.detach() for parts in layer.parts])
        slope_TBH = torch.stack([parts[place].derivative.detach() for parts in layer.parts])
        most = MOST_DERIVATIVE[first.function]
        slope_NH, value_NH = slope_TBH[real_TB], value_TBH[real_TB]
        flat_NH = slope_NH < SATURATED * most
        middle = 0.5 if first.function == "sigmoid" else 0.0
        is_relu = first.function == "relu"
        steps = list(layer.columns(0))
        flows.append(
            PartFlow(
                first.name,
                first.function,
                float(slope_NH.mean()),
                slope_TBH[steps, 0].mean(1).cpu().numpy(),
                float(flat_NH.double().mean()),
                float((flat_NH & (value_NH < middle)).double().mean()),
                float((flat_NH & (value_NH > middle)).double().mean()),
                float((slope_NH == 0).all(0).double().mean()) if is_relu else 0.0,
                first.function == "sigmoid" and first.name not in STATES,
            )
        )
    return flows
