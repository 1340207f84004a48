"""The figures of a gradient flow as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unrolled.wording import percent

if TYPE_CHECKING:
    from unrolled.diagnosis.flow import GradientFlow

EXPLAINED = (
    "share of the last step's gradient that is left after so many steps; norm of the product of "
    "Jacobians; spectral radius and norm of the recurrent weights:"
)
"""What the columns of `flow_rows` are."""


def flow_rows(flow: GradientFlow) -> list[list[str]]:
    """The figures of each layer and direction as rows of a table."""
    rows = [["layer", "steps", "after 1", "after 10", "after all", "log10 ‖ΠJ‖", "radius", "norm"]]
    for layer in flow.layers:
        span = layer.span
        product = max(layer.products.items(), default=None)
        rows.append(
            [
                layer.name,
                f"{span + 1:,}",
                f"{layer.reach_at(1):.2g}" if span >= 1 else "–",
                f"{layer.reach_at(10):.2g}" if span >= 10 else "–",
                f"{layer.reach_at(span):.2g}" if span >= 1 else "–",
                f"{product[1]:z.1f}" if product else "–",
                f"{max(layer.radius.values()):.2f}" if layer.radius else "–",
                f"{max(layer.norm.values()):.2f}" if layer.norm else "–",
            ]
        )
    return rows


def part_rows(flow: GradientFlow) -> list[list[str]]:
    """The derivatives of each non-linearity as rows of a table."""
    rows = [["layer", "part", "mean derivative", "saturated", "low", "high"]]
    for layer in flow.layers:
        for part in layer.parts:
            name = f"{part.name} ({part.function})"
            shares = [percent(each) for each in (part.saturated, part.low, part.high)]
            rows.append([layer.name, name, f"{part.derivative:.3f}", *shares])
    return rows
