"""Norms of products of Jacobians of a recurrence, and the spectrum of its recurrent weights.

With s_t = (h_t, c_t) the state and J_t = ∂s_t / ∂s_{t−1}, the gradient of a loss at step t at step k is
∂L_t/∂s_t · J_t J_{t−1} … J_{k+1}, at most ‖∂L_t/∂s_t‖ times the spectral norm of the product. Pascanu,
Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", section 2. All norms
are returned as logarithms to the base 10, because products over hundreds of steps leave the range of
floating-point numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unrolled.diagnosis.slopes import Slopes
from unrolled.layers.replay import ReplayedLayer
from unrolled.ops.cells import CELLS
from unrolled.ops.types import Weights

LARGEST_EXACT = 128
"""The widest state whose Jacobians are multiplied; for wider ones, only vectors are."""

_ITERATIONS = 12
_LONG = 50  # steps after which one turn is enough
_PRECISION = 0.01  # of a logarithm, about 2%
_LARGEST_EIGENVALUES = 128
_LARGEST_SINGULAR = 256
_SQUARINGS = 12


class Chain:
    """The steps of one row of a layer, each with the state before it as an input.

    Args:
        layer: the layer.
        row: the row.
        slopes: those of the layer; None for automatic differentiation.

    Wide states are computed in float32, which is enough because vectors are normalised at every step.
    """

    def __init__(self, layer: ReplayedLayer, row: int, slopes: Slopes | None = None) -> None:
        columns = list(layer.columns(row))
        self.size = sum(part.shape[1] for part in layer.start)
        dtype = layer.start[0].dtype if self.size <= LARGEST_EXACT else torch.float32

        def of_row(part: Tensor) -> Tensor:
            return part[row : row + 1].detach().to(dtype)

        self._weights = Weights(*(w.detach().to(dtype) for w in layer.weights.tensors))
        self._cell = CELLS[layer.kind]
        self._inputs = [of_row(layer.inputs[t]) for t in columns]
        states = [layer.start, *(layer.states[t] for t in columns[:-1])]
        self._before = [tuple(map(of_row, state)) for state in states]
        self.n_steps = len(columns)
        self._slopes = None if slopes is None else slopes.row(columns, row, dtype)

    def after(self, steps: slice, before: tuple[Tensor, ...]) -> Tensor:
        """`[T, S]`, the states after some steps, given those before them."""
        x = torch.cat(self._inputs[steps])
        return torch.cat(self._cell.step(x, before, self._weights), dim=1)

    def before(self, steps: slice) -> tuple[Tensor, ...]:
        """`[T, H]` each, the states before some steps, as inputs of a gradient."""
        parts = zip(*self._before[steps], strict=True)
        return tuple(torch.cat(part).requires_grad_() for part in parts)

    def jacobians(self) -> Iterator[Tensor]:
        """J_t of every step, `[S, S]`, S the width of the state, from the last step to the first."""
        if self._slopes is not None:
            yield from map(self._slopes.jacobian, reversed(range(self.n_steps)))
            return
        before = self.before(slice(None))
        with torch.enable_grad():
            after = self.after(slice(None), before)
        rows = [
            torch.cat(torch.autograd.grad(after[:, unit].sum(), before, retain_graph=True), dim=1)
            for unit in range(self.size)
        ]
        yield from reversed(torch.stack(rows, dim=1).unbind(0))

    def back(self, vector: Tensor, last: int, first: int) -> tuple[Tensor, float]:
        """vᵀ J_last … J_first, normalised, and the logarithm of its norm."""
        move = self._back if self._slopes is None else self._slopes.back
        log = 0.0
        for t in range(last, first - 1, -1):
            vector, log = _normalised(move(vector, t), log)
        return vector, log

    def forward(self, vector: Tensor, last: int, first: int) -> tuple[Tensor, float]:
        """J_last … J_first v, normalised, and the logarithm of its norm."""
        move = self._forward if self._slopes is None else self._slopes.forward
        log = 0.0
        for t in range(first, last + 1):
            vector, log = _normalised(move(vector, t), log)
        return vector, log

    def _back(self, vector: Tensor, t: int) -> Tensor:
        before = self.before(slice(t, t + 1))
        with torch.enable_grad():
            # A scalar, because torch imports a large library for gradients of anything else.
            along = (self.after(slice(t, t + 1), before) * vector).sum()
        return torch.cat(torch.autograd.grad(along, before), 1)

    def _forward(self, vector: Tensor, t: int) -> Tensor:
        before = self.before(slice(t, t + 1))
        with torch.enable_grad():
            after = self.after(slice(t, t + 1), before)
            # uᵀ J is linear in u, and the gradient of (uᵀ J) v with respect to u is J v.
            any_u = torch.zeros_like(after).requires_grad_()
            along = (after * any_u).sum()
            back = torch.cat(torch.autograd.grad(along, before, create_graph=True), 1)
            along = (back * vector).sum()
        return torch.autograd.grad(along, any_u)[0]


def _normalised(vector: Tensor, log: float) -> tuple[Tensor, float]:
    norm = float(vector.norm())
    if norm == 0.0 or not math.isfinite(norm):
        return vector, (-math.inf if norm == 0.0 else math.inf)
    return vector / norm, log + math.log10(norm)


def product_norms(chain: Chain, spans: Sequence[int]) -> dict[int, float]:
    """The logarithm of ‖J_T … J_{T−d+1}‖₂ for spans of d steps up to the last.

    Exact for states of at most `LARGEST_EXACT`; for wider ones by power iteration, which multiplies
    vectors from both sides in turn, and only for the longest span. The largest singular value of a long
    product stands out, so a few turns are enough.

    Args:
        chain: the steps.
        spans: numbers of steps, each at most that of the chain.
    """
    wanted = sorted({span for span in spans if 0 < span <= chain.n_steps})
    if not wanted:
        return {}
    if chain.size <= LARGEST_EXACT:
        return _exact(chain, wanted)
    return {wanted[-1]: _by_vectors(chain, wanted[-1])}


def _exact(chain: Chain, spans: Sequence[int]) -> dict[int, float]:
    found: dict[int, float] = {}
    log = 0.0
    like = chain.before(slice(0, 1))[0]
    product = torch.eye(chain.size, dtype=like.dtype, device=like.device)
    for distance, jacobian in zip(range(1, spans[-1] + 1), chain.jacobians(), strict=False):
        product = product @ jacobian
        scale = float(product.abs().max())
        if scale == 0.0 or not math.isfinite(scale):
            rest = [span for span in spans if span >= distance]
            return found | dict.fromkeys(rest, -math.inf if scale == 0.0 else math.inf)
        product, log = product / scale, log + math.log10(scale)
        if distance in spans:
            norm = float(torch.linalg.matrix_norm(product, ord=2))
            found[distance] = log + math.log10(norm)
    return found


def _by_vectors(chain: Chain, span: int) -> float:
    """By power iteration on PᵀP; Golub and Van Loan, "Matrix computations", section 8.2."""
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(1, chain.size, generator=generator, dtype=chain._inputs[0].dtype)
    vector = vector.to(chain._inputs[0].device) / vector.norm()
    last, first = chain.n_steps - 1, chain.n_steps - span
    vector, log = chain.back(vector, last, first)
    estimate = math.nan
    for _ in range(_ITERATIONS):
        if not math.isfinite(log):
            return log
        moved, forth = chain.forward(vector, last, first)
        if not math.isfinite(forth) or span >= _LONG:
            return forth
        vector, log = chain.back(moved, last, first)
        done, estimate = abs(log - forth) < _PRECISION, log
        if done:
            break
    return estimate


def spectral_radius(square: Tensor) -> float:
    """The largest magnitude of an eigenvalue of a matrix.

    From all eigenvalues up to a width of 128; for wider matrices by Gelfand's formula, ‖Aᵏ‖^(1/k), with
    k = 4,096 by repeated squaring.

    >>> round(spectral_radius(torch.tensor([[0.0, 2.0], [2.0, 0.0]])), 6)
    2.0
    """
    square = square.detach()
    if not bool(square.isfinite().all()):
        return math.nan
    if len(square) <= _LARGEST_EIGENVALUES:
        return float(torch.linalg.eigvals(square.double().cpu()).abs().max())
    power, log = square.float(), 0.0
    for squaring in range(_SQUARINGS + 1):
        norm = float(torch.linalg.matrix_norm(power))
        if norm == 0.0:
            return 0.0
        power, log = power / norm, log + math.log(norm) / 2**squaring
        power = power @ power
    return math.exp(log)


def spectral_norm(matrix: Tensor) -> float:
    """The largest singular value of a matrix."""
    matrix = matrix.detach()
    if not bool(matrix.isfinite().all()):
        return math.nan
    vector = matrix.new_ones(matrix.shape[1]) + torch.arange(matrix.shape[1]).to(matrix) * 1e-3
    if min(matrix.shape) <= _LARGEST_SINGULAR:
        return float(torch.linalg.matrix_norm(matrix, ord=2))
    norm = 0.0
    for _ in range(60):
        vector = matrix.t() @ (matrix @ (vector / vector.norm()))
        norm = float(vector.norm()) ** 0.5
    return norm
