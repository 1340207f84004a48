"""The Jacobians of the usual cells, as slopes and U, for products without automatic differentiation.

In a cell whose units meet only in the product U h, the Jacobian of a step is

    J_t = ∂s_t / ∂s_{t−1} = E_t + Σ_g diag(D_t,g) U_g

where D_t,g are the derivatives of the state after the step with respect to block g of U h + b', and E_t
those with respect to the state before it; all of them are diagonal. All cells of `ops.cells` are of this
kind: plain networks, LSTM and GRU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled.layers.replay import ReplayedLayer
from unrolled.ops.cells import CELLS, Cell
from unrolled.ops.types import Weights

_MOST_CHECKED = 8


class Slopes:
    """The slopes of all steps and rows of a layer.

    Args:
        by_product: D, `[T, B, P, G, H]`, by column, P the number of tensors of the state: of each of them
            by each block of the product.
        by_state: E, `[T, B, P, P, H]`: of each tensor by each one before the step.
        w_hh: U, `[G·H, H]`.
    """

    def __init__(self, by_product: Tensor, by_state: Tensor, w_hh: Tensor) -> None:
        self._by_product, self._by_state, self._w_hh = by_product, by_state, w_hh

    @classmethod
    def of(cls, layer: ReplayedLayer) -> Slopes | None:
        """The slopes of a layer; None if units of its cell meet in another way, too."""
        cell = CELLS[layer.kind]
        if cell.gates is None or not layer.n_steps:
            return None
        T, B = layer.n_steps, len(layer.start[0])
        weights = Weights(*(weight.detach() for weight in layer.weights.tensors))
        x_ND = torch.cat(layer.inputs).detach()
        before = _before(layer)
        from_x = linear(x_ND, weights.w_ih, weights.b_ih)
        from_h = linear(before[0].detach(), weights.w_hh, weights.b_hh).requires_grad_()
        with torch.enable_grad():
            after = cell.gates(from_x, from_h, before)
        if len(after) != len(before):
            return None
        inputs, products, states = (from_h, *before), [], []
        for part in after:
            given = torch.autograd.grad(part.sum(), inputs, retain_graph=True, allow_unused=True)
            by_product, *by_state = (
                torch.zeros_like(of) if slope is None else slope
                for slope, of in zip(given, inputs, strict=True)
            )
            products.append(by_product.view(T, B, cell.n_gates, -1))
            states.append(torch.stack(by_state, dim=1).view(T, B, len(before), -1))
        slopes = cls(torch.stack(products, 2), torch.stack(states, 2), weights.w_hh)
        return slopes if slopes._are_right(cell, x_ND, before, weights) else None

    def _are_right(
        self, cell: Cell, x_ND: Tensor, before: Sequence[Tensor], weights: Weights
    ) -> bool:
        """Whether uᵀ J of a random u equals that of automatic differentiation, at some of the steps."""
        chosen = torch.linspace(0, len(x_ND) - 1, min(_MOST_CHECKED, len(x_ND))).long()
        given = tuple(part.detach()[chosen].requires_grad_() for part in before)
        generator = torch.Generator().manual_seed(1)
        size = sum(part.shape[1] for part in given)
        u_NS = torch.randn(len(chosen), size, generator=generator).to(x_ND)
        with torch.enable_grad():
            along = (torch.cat(cell.step(x_ND[chosen], given, weights), dim=1) * u_NS).sum()
        wanted_NS = torch.cat(torch.autograd.grad(along, given), dim=1)
        found_NS = self._pulled(
            u_NS, self._by_product.flatten(0, 1)[chosen], self._by_state.flatten(0, 1)[chosen]
        )
        largest_N1 = wanted_NS.abs().amax(1, keepdim=True)
        tolerance = torch.finfo(x_ND.dtype).eps ** 0.5
        return bool(((found_NS - wanted_NS).abs() <= tolerance * largest_N1).all())

    def row(self, columns: Sequence[int], row: int, dtype: torch.dtype) -> Slopes:
        """Those of some columns of a row, `[T, 1, …]`."""
        chosen = torch.tensor(columns, device=self._w_hh.device)
        return Slopes(
            self._by_product[chosen, row : row + 1].to(dtype),
            self._by_state[chosen, row : row + 1].to(dtype),
            self._w_hh.to(dtype),
        )

    def to(self, dtype: torch.dtype) -> Slopes:
        """The same in another type."""
        return Slopes(self._by_product.to(dtype), self._by_state.to(dtype), self._w_hh.to(dtype))

    def zeros(self, *shape: int) -> Tensor:
        """Zeros of its type, on its device."""
        return self._w_hh.new_zeros(shape)

    def jacobian(self, t: int) -> Tensor:
        """`[S, S]`, J_t of the first row."""
        P, G, H = self._by_product[t, 0].shape
        blocks = torch.einsum("pgh,ghk->phk", self._by_product[t, 0], self._w_hh.view(G, H, H))
        whole = torch.diag_embed(self._by_state[t, 0])  # [P, P, H, H]
        whole[:, 0] += blocks
        return whole.transpose(1, 2).reshape(P * H, P * H)

    def back(self, vectors: Tensor, t: int, rows: Sequence[int] | slice = slice(None)) -> Tensor:
        """vᵀ J_t, `[B, S]`, each with the step of its row.

        Args:
            vectors: `[B, S]`.
            t: the column.
            rows: the row of each vector; by default one vector per row.
        """
        return self._pulled(vectors, self._by_product[t][rows], self._by_state[t][rows])

    def _pulled(self, vectors: Tensor, by_product: Tensor, by_state: Tensor) -> Tensor:
        B, P, _, H = by_product.shape
        parts_BP1H = vectors.view(B, P, 1, H)
        moved_BPH = (parts_BP1H * by_state).sum(1)
        moved_BPH[:, 0] += (parts_BP1H * by_product).sum(1).flatten(1) @ self._w_hh
        return moved_BPH.flatten(1)

    def forward(self, vectors: Tensor, t: int) -> Tensor:
        """J_t v, `[B, S]`, each with the step of its row."""
        B, P, G, H = self._by_product[t].shape
        parts_BPH = vectors.view(B, P, H)
        product_BGH = (parts_BPH[:, 0] @ self._w_hh.t()).view(B, 1, G, H)
        by_state = (self._by_state[t] * parts_BPH.unsqueeze(1)).sum(2)
        return (by_state + (self._by_product[t] * product_BGH).sum(2)).flatten(1)


def _before(layer: ReplayedLayer) -> tuple[Tensor, ...]:
    """`[T·B, H]` each, the states before each column's step, as inputs of a gradient."""
    states = list(layer.states)
    before = [*states[1:], layer.start] if layer.reverse else [layer.start, *states[:-1]]
    parts = zip(*before, strict=True)
    return tuple(torch.cat(part).detach().requires_grad_() for part in parts)
