"""The element-wise half of a step: the gates, given the matrix products.

A decoder with input feeding cannot be unrolled in advance, so it runs step by step: `ops.linear` computes
the products, and these functions finish the step. They equal the reference steps in value and gradient,
as tests check, and have hand-written derivatives that access memory less often than autograd. Letters and
gate order are those of `torch.nn`: i f g o, r z n.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrolled.ops.access import why_opaque
from unrolled.ops.derivatives import by_definition_only, differentiate
from unrolled.shapes import Float

_sigmoid_backward = torch.ops.aten.sigmoid_backward
_tanh_backward = torch.ops.aten.tanh_backward


def lstm_gates(
    gates: Float[Tensor, "B GH"], c: Float[Tensor, "B H"]
) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
    """c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g),  h' = σ(o) ⊙ tanh(c')  (Gers et al. 2000).

    Args:
        gates: W x + U h + b, the four blocks i f g o concatenated.
        c: the cell state before the step.

    Returns:
        (h', c').
    """
    if why_opaque((gates, c)) is not None:
        return _definition(gates, c)
    return _LstmGates.apply(gates, c)


def _definition(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class _LstmGates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Any, c: Any) -> Any:
        H = c.shape[1]
        i_f = torch.sigmoid(gates[:, : 2 * H])
        i, f = i_f[:, :H], i_f[:, H:]
        g = torch.tanh(gates[:, 2 * H : 3 * H])
        o = torch.sigmoid(gates[:, 3 * H :])
        new_c = torch.addcmul(f * c, i, g)
        tanh_c = torch.tanh(new_c)
        ctx.save_for_backward(gates, i_f, g, o, c, tanh_c)
        return o * tanh_c, new_c

    @staticmethod
    def backward(ctx: Any, dh: Any, dnew_c: Any) -> Any:
        gates, i_f, g, o, c, tanh_c = ctx.saved_tensors
        if by_definition_only((dh, dnew_c)):
            return tuple(differentiate(_definition, (gates, c), ctx.needs_input_grad, (dh, dnew_c)))
        H = c.shape[1]
        i, f = i_f[:, :H], i_f[:, H:]
        dc = _tanh_backward(dh * o, tanh_c).add_(dnew_c)
        dgates = torch.empty(len(c), 4 * H, dtype=c.dtype, device=c.device)
        torch.mul(dc, g, out=dgates[:, :H])
        torch.mul(dc, c, out=dgates[:, H : 2 * H])
        dgates[:, : 2 * H] = _sigmoid_backward(dgates[:, : 2 * H], i_f)
        dgates[:, 2 * H : 3 * H] = _tanh_backward(dc * i, g)
        dgates[:, 3 * H :] = _sigmoid_backward(dh * tanh_c, o)
        return dgates, dc.mul_(f)


def gru_gates(
    from_x: Float[Tensor, "B GH"], from_h: Float[Tensor, "B GH"], h: Float[Tensor, "B H"]
) -> Float[Tensor, "B H"]:
    """r, z = σ(·);  n = tanh(n_x + r ⊙ n_h);  h' = (1 − z) ⊙ n + z ⊙ h, the reset-after GRU.

    Args:
        from_x: W x + b, blocks r z n.
        from_h: U h + b', blocks r z n.
        h: the state before the step.
    """
    H = h.shape[1]
    r, z = torch.sigmoid(from_x[:, : 2 * H] + from_h[:, : 2 * H]).chunk(2, dim=1)
    n = torch.tanh(torch.addcmul(from_x[:, 2 * H :], r, from_h[:, 2 * H :]))
    return torch.lerp(n, h, z)
