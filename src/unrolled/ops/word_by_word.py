"""Word-by-word attention: each step of a text attends to another text, given its earlier attention.

Rocktäschel et al. 2016, "Reasoning about entailment with neural attention", eq. 11–13. The first text has
outputs y_1 … y_S, the second h_1 … h_T. Starting from r_0 = 0:

    M_t = tanh(W^y Y + (W^h h_t + W^r r_t−1) ⊗ e_S)
    a_t = softmax(w · M_t)
    r_t = Y a_t + tanh(W^t r_t−1)

W^y Y (`keys`) and W^h H (`known`) do not depend on r and are computed before the loop. Each weight's
gradient is one product over all steps. M_t, with S · A numbers for each row and step, is not stored. It
is not even computed: with

    R_t = (1 − M_t) / 2 = 1 / (1 + exp(2 W^y Y) ⊙ exp(2 (W^h h_t + W^r r_t−1)))

the exponentials of S · A numbers are computed once for all steps. Then w · M_t is −2 w · R_t plus a
constant, which does not affect the softmax, and 1 − M_t² is 4 R_t (1 − R_t).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrolled.ops.access import why_opaque
from unrolled.ops.derivatives import by_definition_only, differentiate
from unrolled.ops.linear import product
from unrolled.shapes import Bool, Float, Int

_LARGEST = {torch.float32: 80.0, torch.float64: 700.0}
"""Up to these magnitudes, exponentials are finite and not 0, so that no product of two is 0 · ∞."""


def word_by_word(
    known: Float[Tensor, "T B A"],
    keys: Float[Tensor, "B S A"],
    values: Float[Tensor, "B S H"],
    mask: Bool[Tensor, "B S"],
    lengths: Int[Tensor, " B"],
    w_seen: Float[Tensor, "A H"],
    w_next: Float[Tensor, "H H"],
    energy: Float[Tensor, " A"],
) -> tuple[Float[Tensor, "B H"], Float[Tensor, "T B S"]]:
    """Return r at each row's true end, and the attention of every step.

    Values in the padding of either text are ignored, even NaN.

    Args:
        known: W^h h_t.
        keys: W^y y_s.
        values: y_s.
        mask: True for real steps of the first text; a row without any gets no attention, and its weights
            are zeros.
        lengths: number of real steps of the second text, int64 on the CPU; a row without any has r = 0.
        w_seen: W^r.
        w_next: W^t.
        energy: w.

    It computes in float32 under autocast.
    """
    if torch.is_autocast_enabled(known.device.type):
        floats = (known, keys, values, w_seen, w_next, energy)
        with torch.autocast(known.device.type, enabled=False):
            known, keys, values, *weights = (tensor.float() for tensor in floats)
            return word_by_word(known, keys, values, mask, lengths, *weights)
    n_steps, n_rows, _ = known.shape
    if n_steps == 0:
        return values.new_zeros(n_rows, values.shape[2]), values.new_zeros(0, *mask.shape)
    is_real_TB = torch.arange(n_steps, device=lengths.device).unsqueeze(1) < lengths
    is_real_TB = is_real_TB.to(known.device)
    known = torch.where(is_real_TB.unsqueeze(2), known, 0.0)
    keys, values = (torch.where(mask.unsqueeze(2), part, 0.0) for part in (keys, values))
    tensors = (known, keys, values, w_seen, w_next, energy)
    if why_opaque((*tensors, mask, is_real_TB)) is not None:
        return _definition(*tensors, mask, is_real_TB)
    # `needs_input_grad` is also True for a parameter under `no_grad`.
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return _WordByWord.apply(*tensors, mask, is_real_TB, wanted)


def _definition(
    known: Tensor,
    keys: Tensor,
    values: Tensor,
    w_seen: Tensor,
    w_next: Tensor,
    energy: Tensor,
    mask: Tensor,
    is_real: Tensor,
) -> tuple[Tensor, Tensor]:
    """The equations, step by step, differentiable any number of times."""
    r_BH, weights = values.new_zeros(values.shape[0], values.shape[2]), []
    lowest = torch.finfo(keys.dtype).min / 2
    for known_BA, real_B1 in zip(known, is_real.unsqueeze(2), strict=True):
        M_BSA = torch.tanh(keys + (known_BA + r_BH @ w_seen.t()).unsqueeze(1))
        a_BS = torch.softmax((M_BSA @ energy).masked_fill(~mask, lowest), 1)
        next_BH = (a_BS.unsqueeze(1) @ values).squeeze(1) + torch.tanh(r_BH @ w_next.t())
        weights.append(torch.where(mask & real_B1, a_BS, 0.0))
        r_BH = torch.where(real_B1, next_BH, r_BH)
    return r_BH, torch.stack(weights)


class _Complement:
    """R = (1 − tanh(k + q)) / 2, from 2 k of all positions and 2 q of each step.

    It is computed as 1 / (1 + exp(2 k) ⊙ exp(2 q)) or, if the exponentials could overflow, as the sigmoid
    of −2 (k + q).
    """

    def __init__(self, keys2_BSA: Tensor, query2_TBA: Tensor, by_exponentials: bool) -> None:
        self._by_exponentials, self._one = by_exponentials, keys2_BSA.new_ones(())
        self._keys_BSA = keys2_BSA.exp() if by_exponentials else -keys2_BSA
        self._queries = query2_TBA.unsqueeze(2).unbind(0)
        self._exp_B1A = torch.empty_like(self._queries[0])
        self._made_BSA = torch.empty_like(keys2_BSA)

    def at(self, t: int) -> Tensor:
        """R of one step, `[B, S, A]`, in memory that the next call overwrites."""
        made_BSA, query_B1A = self._made_BSA, self._queries[t]
        if self._by_exponentials:
            torch.exp(query_B1A, out=self._exp_B1A)
            return torch.addcmul(
                self._one, self._keys_BSA, self._exp_B1A, out=made_BSA
            ).reciprocal_()
        return torch.sub(self._keys_BSA, query_B1A, out=made_BSA).sigmoid_()


class _WordByWord(torch.autograd.Function):
    """One loop with few operations, because for short texts their number determines the cost.

    A row that has ended continues like the others; its r is taken from the step at which it ended, and
    its gradient enters there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        known: Any,
        keys: Any,
        values: Any,
        w_seen: Any,
        w_next: Any,
        energy: Any,
        mask: Any,
        is_real: Any,
        wanted: Any,
    ) -> Any:
        T, B, A = known.shape
        S, H = values.shape[1:]
        keys2_BSA, w_seen2 = 2 * keys, 2 * w_seen
        # The contributions of r to 2 q and to the argument of tanh(W^t r), concatenated.
        into_HJ = torch.cat([w_seen2, w_next]).t().contiguous()
        moved_TBJ = torch.cat([2 * known, known.new_zeros(T, B, H)], 2)
        fits = _fits(keys2_BSA, moved_TBJ, values, w_seen2)
        complement = _Complement(keys2_BSA, moved_TBJ[:, :, :A], fits)
        passed_TBH, r_TBH = values.new_empty(T, B, H), values.new_zeros(T + 1, B, H)
        weights_TBS, energies_M = known.new_empty(T, B, S), known.new_empty(B * S)
        lowest = torch.finfo(keys.dtype).min / 2
        hidden_M = keys.new_zeros(B, S).masked_fill_(~mask, lowest).flatten()
        down_A = -2 * energy
        passed, weights, r = (part.unbind(0) for part in (passed_TBH, weights_TBS, r_TBH))
        looks, means = weights_TBS.unsqueeze(2).unbind(0), r_TBH.unsqueeze(2).unbind(0)
        plus = passed_TBH.unsqueeze(2).unbind(0)
        moved, to_pass = moved_TBJ.unbind(0), moved_TBJ[:, :, A:].unbind(0)
        for t in range(T):
            moved[t].addmm_(r[t], into_HJ)
            torch.tanh(to_pass[t], out=passed[t])
            R_MA = complement.at(t).view(B * S, A)
            torch.addmv(hidden_M, R_MA, down_A, out=energies_M)
            torch.softmax(energies_M.view(B, S), 1, out=weights[t])
            torch.baddbmm(plus[t], looks[t], values, out=means[t + 1])
        weights_TBS = torch.where(mask & is_real.unsqueeze(2), weights_TBS, 0.0)
        ends_B = is_real.sum(0)
        if wanted:
            ctx.fits = fits
            ctx.set_materialize_grads(False)
            made = (weights_TBS, moved_TBJ, passed_TBH, r_TBH, ends_B)
            given = (known, keys, values, w_seen, w_next, energy, mask, is_real)
            ctx.save_for_backward(keys2_BSA, *given, *made)
        return r_TBH[ends_B, torch.arange(B, device=ends_B.device)], weights_TBS

    @staticmethod
    def backward(ctx: Any, d_r: Any, d_weights: Any) -> Any:
        keys2_BSA, *given = ctx.saved_tensors[:9]
        if by_definition_only((d_r, d_weights)):
            wanted = ctx.needs_input_grad[:8]
            return *differentiate(_definition, given, wanted, (d_r, d_weights)), None
        _, _, values, w_seen, w_next, energy, _, _ = given
        made = ctx.saved_tensors[9:]
        weights_TBS, moved_TBJ, passed_TBH, r_TBH, ends_B = made
        (T, B, H), A = passed_TBH.shape, len(energy)
        complement = _Complement(keys2_BSA, moved_TBJ[:, :, :A], ctx.fits)
        # The gradients de of a step's energies sum to 0 over S. So the gradient of w, Σ de M, is
        # −2 Σ de R, and that of k + q is 4 w ⊙ de R (1 − R). The factors are applied after the loop, or
        # to W^r.
        factor_A = 4 * energy
        w_back_AH = factor_A.unsqueeze(1) * w_seen
        d_query_TBA, d_passed_TBH = values.new_empty(T, B, A), values.new_empty(T, B, H)
        d_r_TBH = values.new_zeros(T, B, H)
        if d_r is not None:
            has_ended_TB = torch.arange(1, T + 1, device=ends_B.device).unsqueeze(1) == ends_B
            d_r_TBH = torch.where(has_ended_TB.unsqueeze(2), d_r, 0.0)
        slope_BSA, slopes_BSA = torch.empty_like(keys2_BSA), torch.zeros_like(keys2_BSA)
        d_energy_B1A = energy.new_zeros(B, 1, A)
        values_BHS = values.transpose(1, 2)
        weights, passed, now = (part.unbind(0) for part in (weights_TBS, passed_TBH, d_r_TBH))
        rows = d_r_TBH.unsqueeze(2).unbind(0)
        given = None if d_weights is None else d_weights.unsqueeze(2).unbind(0)
        d_query, d_passed = d_query_TBA.unbind(0), d_passed_TBH.unbind(0)
        d_queries = d_query_TBA.unsqueeze(2).unbind(0)
        for t in reversed(range(T)):
            if t < T - 1:
                now[t].addmm_(d_query[t + 1], w_back_AH).addmm_(d_passed[t + 1], w_next)
            d_weights_B1S = torch.bmm(rows[t], values_BHS)
            if given is not None:
                d_weights_B1S += given[t]
            d_energies_BS = _softmax_backward(
                d_weights_B1S.squeeze(1), weights[t], 1, weights_TBS.dtype
            )
            R_BSA, d_energies_B1S = complement.at(t), d_energies_BS.unsqueeze(1)
            d_energy_B1A.baddbmm_(d_energies_B1S, R_BSA)
            torch.addcmul(R_BSA, R_BSA, R_BSA, value=-1, out=slope_BSA)
            slopes_BSA.addcmul_(slope_BSA, d_energies_BS.unsqueeze(2))
            torch.bmm(d_energies_B1S, slope_BSA, out=d_queries[t])
            _tanh_backward(now[t], passed[t], grad_input=d_passed[t])
        d_query_TBA *= factor_A
        flat_r = r_TBH[:-1].flatten(0, 1).t()
        return (
            d_query_TBA,
            slopes_BSA.mul_(factor_A),
            torch.bmm(weights_TBS.permute(1, 2, 0), d_r_TBH.transpose(0, 1)),
            product(d_query_TBA.flatten(0, 1).t(), flat_r),
            product(d_passed_TBH.flatten(0, 1).t(), flat_r),
            d_energy_B1A.sum((0, 1)).mul_(-2),
            None,
            None,
            None,
        )


_softmax_backward = torch.ops.aten._softmax_backward_data
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def _fits(keys2: Tensor, moved: Tensor, values: Tensor, w_seen2: Tensor) -> bool:
    """Whether all exponentials are certain to be finite. |r| is at most the largest |y| plus 1.

    On other devices than the CPU this is False, because finding out would require waiting for the device.
    """
    largest = _LARGEST.get(keys2.dtype, 0.0)
    if keys2.device.type != "cpu" or not keys2.numel():
        return False
    from_r = w_seen2.abs().sum(1).amax() * (values.abs().amax() + 1)
    return bool(keys2.abs().amax() <= largest) and bool(moved.abs().amax() + from_r <= largest)
