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
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.diagnosis.jacobians import Chain, product_norms, spectral_norm, spectral_radius
from unrolled.diagnosis.tables import EXPLAINED, flow_rows
from unrolled.layers.replay import ReplayedLayer, replaying, replica
from unrolled.metrics.display import aligned
from unrolled.ops.cells import CELLS
from unrolled.ops.recorded import MOST_DERIVATIVE, STATES, block_names, derivative_of
from unrolled.wording import count_of

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


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        left = self.reach_at(self.span) if self.span else math.nan
        return f"LayerFlow({self.name!r}, {self.kind}, {left:.2g} left after {self.span} steps)"

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


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"GradientFlow(loss={self.loss:.4g}, {count_of(len(self.layers), 'layer')})"

    def _repr_html_(self) -> str:
        """The figures of each layer, for a notebook."""
        return f"<pre>{escape(chr(10).join([EXPLAINED, *aligned(flow_rows(self), _WIDTH)]))}</pre>"


_WIDTH = 160

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
        if not nodes:
            return GradientFlow(float(loss.detach()), [])
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


class _Entries:
    """What enters the state of each step of a layer, and ∂L/∂h_t; each `[T, B, H]`, by column.

    At a row's last step in reading order, what reads the final state enters, too.
    """

    def __init__(self, layer: ReplayedLayer, gradients: list[Tensor]) -> None:
        T, n = layer.n_steps, len(layer.states[0])
        outputs_TBH = torch.stack(gradients[:T])
        states = [torch.stack(gradients[T + part :: n]) for part in range(n)]
        last_B = torch.zeros_like(layer.lengths) if layer.reverse else layer.lengths - 1
        is_last_TB1 = (torch.arange(T).unsqueeze(1) == last_B).unsqueeze(2).to(outputs_TBH.device)
        self.parts = [torch.where(is_last_TB1, part, 0.0) for part in states]
        self.parts[0] = self.parts[0] + outputs_TBH
        self.norms = _norms(self.parts)
        self.loss = _norms([outputs_TBH + states[0]])


def _norms(parts: Sequence[Tensor]) -> Numbers:
    """The norms over the last dimension of vectors in parts; scaled, as the square of 1e-200 is 0."""
    whole = torch.cat(list(parts), dim=-1)
    largest = whole.abs().amax(-1, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    norms: Numbers = ((whole / scale).norm(dim=-1) * scale.squeeze(-1)).cpu().numpy()
    return norms


def _flow_of(layer: ReplayedLayer, gradients: list[Tensor], detailed: bool) -> LayerFlow:
    entries = _Entries(layer, gradients)
    order = [list(layer.columns(row)) for row in range(len(layer.lengths))]
    entering = [entries.norms[columns, row] for row, columns in enumerate(order)]
    ends = [_last_entry(norms) for norms in entering]
    at, matrix = _matrix(layer, entries, entering[0]) if detailed else ([], np.zeros((0, 0)))
    cell = CELLS[layer.kind]
    blocks = dict(zip(block_names(cell), layer.weights.w_hh.chunk(cell.n_gates), strict=True))
    return LayerFlow(
        layer.name,
        layer.kind,
        layer.reverse,
        [entries.loss[columns, row] for row, columns in enumerate(order)],
        entering,
        _reach(layer, entries, ends),
        at,
        matrix,
        _products(layer) if detailed else {},
        {name: spectral_radius(block) for name, block in blocks.items()} if detailed else {},
        {name: spectral_norm(block) for name, block in blocks.items()} if detailed else {},
        _part_flows(layer),
    )


def _last_entry(entering: Numbers) -> int | None:
    """The last step at which the loss enters the layer, or None if it enters nowhere."""
    steps = np.flatnonzero(
        (entering > 0.0) & (entering >= _LEAST_ENTRY * entering.max(initial=0.0))
    )
    return int(steps[-1]) if len(steps) else None


def _reach(layer: ReplayedLayer, entries: _Entries, ends: list[int | None]) -> list[Numbers]:
    """For each row, what is left of the last entry at earlier steps, as a share of it."""
    steps = {row: end for row, end in enumerate(ends) if end is not None}
    if not steps:
        return [np.zeros(0) for _ in ends]
    pushed = _pushed(layer, entries, steps)
    found = []
    for row, end in enumerate(ends):
        if end is None:
            found.append(np.zeros(0))
            continue
        columns = list(layer.columns(row))
        norms = [entries.norms[columns[end], row], *pushed[columns[:end], row][::-1]]
        found.append(np.array(norms) / norms[0])
    return found


def _pushed(layer: ReplayedLayer, entries: _Entries, steps: Mapping[int, int]) -> Numbers:
    """`[T, B]`, the norms of the gradient of the states if the loss entered each row only at one step."""
    total = torch.zeros((), dtype=layer.start[0].dtype, device=layer.start[0].device)
    columns = {row: list(layer.columns(row))[step] for row, step in steps.items()}
    for column in sorted(set(columns.values())):
        rows = [row for row in columns if columns[row] == column]
        for state, part in zip(layer.states[column], entries.parts, strict=True):
            vector = torch.zeros_like(state)
            vector[rows] = part[column, rows]
            total = total + (state * vector).sum()
    nodes = [part for state in layer.states for part in state]
    given = torch.autograd.grad(total, nodes, retain_graph=True, allow_unused=True)
    whole = [
        torch.zeros_like(node) if gradient is None else gradient
        for node, gradient in zip(nodes, given, strict=True)
    ]
    n = len(layer.states[0])
    return _norms([torch.stack(whole[part::n]) for part in range(n)])


def _matrix(
    layer: ReplayedLayer, entries: _Entries, entering: Numbers
) -> tuple[list[int], Numbers]:
    """‖∂L_t/∂(h, c)_k‖ of the first row, for evenly spaced steps t at which the loss enters."""
    steps = np.flatnonzero(entering > 0.0)
    if not len(steps):
        return [], np.zeros((0, len(entering)))
    n_steps, width = len(entering), layer.start[0].shape[1] * len(layer.start)
    most = max(3, min(_MOST_ENTRIES, _WORK_OF_MATRIX // (n_steps * width)))
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), most)).round())
    at = [int(steps[int(place)]) for place in chosen]
    columns = list(layer.columns(0))
    matrix = np.zeros((len(at), len(columns)))
    for place, step in enumerate(at):
        matrix[place, : step + 1] = _pushed(layer, entries, {0: step})[columns[: step + 1], 0]
        matrix[place, step] = entering[step]
    return at, matrix


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
        slope_TBH = derivative_of(first.function, value_TBH)
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
