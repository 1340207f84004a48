"""What the non-linearities of a layer do to the gradient: their derivatives, and what passes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.layers.replay import ReplayedLayer
from unrolled.ops.cells import CELLS
from unrolled.ops.recorded import MOST_DERIVATIVE, STATES, derivative_of

Numbers = NDArray[np.float64]

SATURATED = 0.05
"""A unit is saturated where its derivative is below this share of the largest possible one: 0.0125 of a
sigmoid, so that it is below 0.0127 or above 0.987; 0.05 of a tanh, so that it is beyond ±0.975. A
gradient that passes there is divided by twenty or more."""


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
        is_sum: whether its argument is a sum of products with weights.
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
    is_sum: bool = True


def nodes_of_sums(layer: ReplayedLayer) -> list[Tensor]:
    """The results of the non-linearities of sums of products with weights, column by column."""
    places = _sums(layer)
    return [parts[place].value for parts in layer.parts for place in places]


def _sums(layer: ReplayedLayer) -> list[int]:
    """The places of the non-linearities of sums: those that are named like a block of the weights.

    Of a cell without such names, all of them.
    """
    if not layer.parts:
        return []
    blocks = CELLS[layer.kind].blocks
    places = [place for place, part in enumerate(layer.parts[0]) if part.name in blocks]
    return places or list(range(len(layer.parts[0])))


def arriving(
    layer: ReplayedLayer, gradients: Sequence[Tensor], entries: Sequence[Tensor]
) -> list[float]:
    """`LayerFlow.arriving`.

    Args:
        layer: the layer.
        gradients: the gradient of the loss with respect to each of `nodes_of_sums`.
        entries: `[T, B, H]` each, what enters each tensor of the state.
    """
    places = _sums(layer)
    sums_B = torch.zeros_like(entries[0][0, :, 0])
    for t, parts in enumerate(layer.parts):
        for order, place in enumerate(places):
            part, given_BH = parts[place], gradients[t * len(places) + order]
            sums_B = sums_B + (part.derivative.detach() * given_BH).abs().sum(1)
    entering_B = sum(part.abs().sum((0, 2)) for part in entries)
    shares: list[float] = (sums_B / entering_B)[entering_B > 0].tolist()
    return shares


def part_flows(layer: ReplayedLayer) -> list[PartFlow]:
    """The derivatives of each non-linearity of a layer."""
    columns = layer.lengths.new_tensor(range(layer.n_steps))
    real_TB = (columns.unsqueeze(1) < layer.lengths).to(layer.outputs[0].device)
    if not bool(real_TB.any()):
        return []
    flows, sums = [], _sums(layer)
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
                place in sums,
            )
        )
    return flows
