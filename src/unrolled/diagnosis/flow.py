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

from unrolled.diagnosis.jacobians import (
    LARGEST_EXACT,
    Chain,
    product_norms,
    spectral_norm,
    spectral_radius,
)
from unrolled.diagnosis.parts import PartFlow, arriving, nodes_of_sums, part_flows
from unrolled.diagnosis.slopes import Slopes
from unrolled.diagnosis.tables import EXPLAINED, flow_rows
from unrolled.layers.replay import ReplayedLayer, replaying, replica
from unrolled.metrics.display import aligned
from unrolled.ops.cells import CELLS
from unrolled.ops.recorded import block_names
from unrolled.wording import count_of

Numbers = NDArray[np.float64]

_LEAST_ENTRY = 1e-3
"""The last step at which the loss enters a layer is the last with this share of the largest entry."""

_MOST_ENTRIES = 12
_WORK_OF_MATRIX = 300_000  # entries × steps × width
_SPANS = 16


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
        arriving: for each row, Σ_t |∂L/∂a_t| / Σ_t |∂L_t/∂s_t|, the absolute values summed over all
            numbers: a_t are the sums in the gates and candidates, such as W x_t + U h_{t−1} + b. Only
            what arrives there changes weights. Empty if it is not known.
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
    arriving: Sequence[float] = ()

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
    def arrives(self) -> float:
        """The mean of `arriving`; NaN if it is not known."""
        return float(np.mean(self.arriving)) if len(self.arriving) else math.nan

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
    """All outputs, then all states, column by column, then what the sums with weights lead to."""
    states = [part for state in layer.states for part in state]
    return [*layer.outputs, *states, *nodes_of_sums(layer)]


class _Entries:
    """What enters the state of each step of a layer, and ∂L/∂h_t; each `[T, B, H]`, by column.

    At a row's last step in reading order, what reads the final state enters, too.
    """

    def __init__(self, layer: ReplayedLayer, gradients: list[Tensor]) -> None:
        T, n = layer.n_steps, len(layer.states[0])
        outputs_TBH = torch.stack(gradients[:T])
        states = [torch.stack(gradients[T + part : T + T * n : n]) for part in range(n)]
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
    slopes = Slopes.of(layer)
    reach, at, matrix = _reach_and_matrix(layer, entries, entering, slopes, detailed)
    cell = CELLS[layer.kind]
    blocks = dict(zip(block_names(cell), layer.weights.w_hh.chunk(cell.n_gates), strict=True))
    return LayerFlow(
        layer.name,
        layer.kind,
        layer.reverse,
        [entries.loss[columns, row] for row, columns in enumerate(order)],
        entering,
        reach,
        at,
        matrix,
        _products(layer, slopes) if detailed else {},
        {name: spectral_radius(block) for name, block in blocks.items()} if detailed else {},
        {name: spectral_norm(block) for name, block in blocks.items()} if detailed else {},
        part_flows(layer),
        arriving(layer, gradients[(1 + len(layer.start)) * layer.n_steps :], entries.parts),
    )


def _last_entry(entering: Numbers) -> int | None:
    """The last step at which the loss enters the layer, or None if it enters nowhere."""
    steps = np.flatnonzero(
        (entering > 0.0) & (entering >= _LEAST_ENTRY * entering.max(initial=0.0))
    )
    return int(steps[-1]) if len(steps) else None


def _reach_and_matrix(
    layer: ReplayedLayer,
    entries: _Entries,
    entering: list[Numbers],
    slopes: Slopes | None,
    detailed: bool,
) -> tuple[list[Numbers], list[int], Numbers]:
    """`LayerFlow.reach`, and `entries` and `matrix` if it is detailed."""
    ends = [_last_entry(norms) for norms in entering]
    last = [(row, end) for row, end in enumerate(ends) if end is not None]
    at = _chosen_entries(layer, entering[0]) if detailed else []
    asked = [*last, *((0, step) for step in at)]
    order = [list(layer.columns(row)) for row in range(len(ends))]
    places = [(row, order[row][step]) for row, step in asked]
    norms = _pushed(layer, entries, places, slopes) if asked else np.zeros((layer.n_steps, 0))
    reach = [np.zeros(0) for _ in ends]
    for number, (row, end) in enumerate(last):
        left = norms[order[row][: end + 1], number][::-1]
        reach[row] = left / left[0]
    matrix = np.zeros((len(at), len(order[0]) if detailed else 0))
    for number, step in enumerate(at):
        matrix[number, : step + 1] = norms[order[0][: step + 1], len(last) + number]
    return reach, at, matrix


def _chosen_entries(layer: ReplayedLayer, entering: Numbers) -> list[int]:
    """Evenly spaced steps of the first row at which the loss enters."""
    steps = np.flatnonzero(entering > 0.0)
    n_steps, width = len(entering), layer.start[0].shape[1] * len(layer.start)
    most = max(3, min(_MOST_ENTRIES, _WORK_OF_MATRIX // max(1, n_steps * width)))
    if not len(steps):
        return []
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), most)).round())
    return [int(steps[int(place)]) for place in chosen]


def _pushed(
    layer: ReplayedLayer,
    entries: _Entries,
    places: Sequence[tuple[int, int]],
    slopes: Slopes | None,
) -> Numbers:
    """`[T, N]`, the norms of the gradient of the states, by column, if the loss enters only there.

    Args:
        layer: the layer.
        entries: what enters it.
        places: row and column of each of the N entries.
        slopes: those of the layer; None for automatic differentiation.

    Wide states are computed in float32, with vectors that are normalised at every step.
    """
    norms = np.zeros((layer.n_steps, len(places)))
    if slopes is None:
        for number, place in enumerate(places):
            norms[:, number] = _pushed_by_autograd(layer, entries, *place)
        return norms
    rows, width = [row for row, _ in places], layer.start[0].shape[1] * len(layer.start)
    slopes = slopes.to(torch.float64 if width <= LARGEST_EXACT else torch.float32)
    vectors, scales = slopes.zeros(len(places), width), np.zeros(len(places))
    columns = range(layer.n_steps) if layer.reverse else range(layer.n_steps - 1, -1, -1)
    for column in columns:
        for number, (row, entered) in enumerate(places):
            if entered == column:
                scales[number] = entries.norms[column, row]
                whole = torch.cat([part[column, row] for part in entries.parts])
                vectors[number] = whole / scales[number]
        norms[column] = scales
        vectors = slopes.back(vectors, column, rows)
        lengths = vectors.norm(dim=1, keepdim=True)
        vectors = vectors / torch.where(lengths > 0, lengths, 1.0)
        scales *= lengths.squeeze(1).double().cpu().numpy()
    return norms


def _pushed_by_autograd(layer: ReplayedLayer, entries: _Entries, row: int, column: int) -> Numbers:
    """`[T]`, the same for one entry."""
    start = layer.states[column]
    parts = zip(start, entries.parts, strict=True)
    whole = torch.stack([(state[row] * part[column, row]).sum() for state, part in parts]).sum()
    nodes = [part for state in layer.states for part in state]
    given = torch.autograd.grad(whole, nodes, retain_graph=True, allow_unused=True)
    rows = [
        torch.zeros_like(node[row]) if gradient is None else gradient[row]
        for node, gradient in zip(nodes, given, strict=True)
    ]
    n = len(start)
    return _norms([torch.stack(rows[part::n]) for part in range(n)])


def _products(layer: ReplayedLayer, slopes: Slopes | None) -> dict[int, float]:
    row = int(layer.lengths.argmax())
    chain = Chain(layer, row, slopes)
    n = chain.n_steps - 1  # the first step has only the initial state before it
    if n < 1:
        return {}
    return product_norms(
        chain, [*np.unique(np.geomspace(1, n, _SPANS).round()).astype(int).tolist()]
    )
