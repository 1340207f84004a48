"""All steps of word-by-word attention: each step of a text looks at another, and passes on what it saw.

Rocktäschel et al. 2016, "Reasoning about entailment with neural attention", eq. 11–13. The first text has
outputs y_1 … y_S, the second h_1 … h_T. From r_0 = 0:

    M_t = tanh(W^y Y + (W^h h_t + W^r r_t−1) ⊗ e_S)
    a_t = softmax(w · M_t)
    r_t = Y a_t + tanh(W^t r_t−1)

W^y Y (`keys`) and W^h H (`known`) do not depend on r and are made before the loop. M_t, S · A numbers for
each row and step, is made again by the backward pass, unless all of them are few. Each weight's gradient
is one product over all steps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.ops.linear import product
from unrolled.shapes import Bool, Float, Int

KEPT_FLOATS = 1 << 22
"""T · B · S · A up to which the tanh of every step is kept (16 MB in float32) rather than made again."""

_softmax_backward = torch.ops.aten._softmax_backward_data
_tanh_backward = torch.ops.aten.tanh_backward


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
    """r at each row's true end, and the attention of every step.

    What stands in the padding of either text is never visible, NaN included.

    Args:
        known: W^h h_t.
        keys: W^y y_s.
        values: y_s.
        mask: the real steps of the first text, True where kept; a row without any is attended to by
            nothing, and its weights are zeros.
        lengths: the real steps of the second text, int64 on the CPU; a row without any has r = 0.
        w_seen: W^r.
        w_next: W^t.
        energy: w.

    It has first derivatives only, and keeps float32 under autocast.
    """
    if torch.is_autocast_enabled(known.device.type):
        floats = (known, keys, values, w_seen, w_next, energy)
        with torch.autocast(known.device.type, enabled=False):
            known, keys, values, *weights = (tensor.float() for tensor in floats)
            return word_by_word(known, keys, values, mask, lengths, *weights)
    n_steps, n_rows, _ = known.shape
    if n_steps == 0:
        return values.new_zeros(n_rows, values.shape[2]), values.new_zeros(0, *mask.shape)
    has_ended_TB = torch.arange(n_steps).unsqueeze(1) >= lengths
    known = torch.where(has_ended_TB.unsqueeze(2).to(known.device), 0.0, known)
    keys, values = (torch.where(mask.unsqueeze(2), part, 0.0) for part in (keys, values))
    tensors = (known, keys, values, torch.cat([w_seen, w_next]), energy)
    # `needs_input_grad` is True for a parameter under `no_grad` too.
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return _WordByWord.apply(*tensors, mask, has_ended_TB, wanted)


class _WordByWord(torch.autograd.Function):
    @staticmethod
    def forward(ctx, known, keys, values, weight, energy, mask, has_ended, wanted):
        T, B, A = known.shape
        S, H = values.shape[1:]
        keeps = wanted and T * B * S * A <= KEPT_FLOATS
        tanh_TBSA = keys.new_empty(T if keeps else 1, B, S, A)
        query_TBA, weights_TBS = torch.empty_like(known), known.new_empty(T, B, S)
        passed_TBH, r_TBH = values.new_zeros(T, B, H), values.new_zeros(T + 1, B, H)
        hidden_BS, lowest = ~mask, torch.finfo(keys.dtype).min
        frozen = _where_any(has_ended, known.device)
        for t in range(T):
            query_BA, tanh_BSA = query_TBA[t], tanh_TBSA[t if keeps else 0]
            if t:
                moved = product(r_TBH[t], weight)
                torch.add(known[t], moved[:, :A], out=query_BA)
                torch.tanh(moved[:, A:], out=passed_TBH[t])
            else:
                query_BA.copy_(known[0])
            torch.add(keys, query_BA.unsqueeze(1), out=tanh_BSA).tanh_()
            energies_BS = (tanh_BSA.view(B * S, A) @ energy).view(B, S)
            torch.softmax(energies_BS.masked_fill_(hidden_BS, lowest), 1, out=weights_TBS[t])
            _mean(values, weights_TBS[t], passed_TBH[t], r_TBH[t + 1])
            if (ended_B1 := frozen[t]) is not None:
                r_TBH[t + 1] = torch.where(ended_B1, r_TBH[t], r_TBH[t + 1])
        seen_TBS = mask & ~has_ended.unsqueeze(2).to(mask.device)
        weights_TBS = torch.where(seen_TBS, weights_TBS, 0.0)
        if wanted:
            kept = tanh_TBSA if keeps else None
            ctx.has_ended = has_ended
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(
                keys, values, weight, energy, weights_TBS, query_TBA, passed_TBH, r_TBH, kept
            )
        return r_TBH[T].clone(), weights_TBS

    @staticmethod
    @once_differentiable
    def backward(ctx, d_r, d_weights):
        keys, values, weight, energy, weights_TBS, query_TBA, passed_TBH, r_TBH, kept = (
            ctx.saved_tensors
        )
        T, B, A = query_TBA.shape
        H = values.shape[2]
        frozen = _where_any(ctx.has_ended, keys.device)
        d_r_TBH, d_moved_TBJ = torch.empty_like(passed_TBH), keys.new_empty(T, B, A + H)
        # With de the gradient of the energies, whose sum over S is 0, M's part of it is
        # w ⊙ de (1 − M²): the sum over S is −w ⊙ Σ de M², and w is multiplied in once at the end.
        d_energies_TBS = torch.empty_like(weights_TBS)
        from_squares_BSA, d_energy_B1A = torch.zeros_like(keys), keys.new_zeros(B, 1, A)
        tanh_BSA, square_BSA = torch.empty_like(keys), torch.empty_like(keys)
        d_r = values.new_zeros(B, H) if d_r is None else d_r
        for t in reversed(range(T)):
            ended_B1 = frozen[t]
            now = d_r if ended_B1 is None else torch.where(ended_B1, 0.0, d_r)
            d_r_TBH[t] = now
            d_weights_BS = torch.bmm(values, now.unsqueeze(2)).squeeze(2)
            if d_weights is not None:
                d_weights_BS += d_weights[t]
            d_energies_BS = _softmax_backward(d_weights_BS, weights_TBS[t], 1, keys.dtype)
            d_energies_TBS[t] = d_energies_BS
            if kept is None:
                torch.add(keys, query_TBA[t].unsqueeze(1), out=tanh_BSA).tanh_()
            else:
                tanh_BSA = kept[t]
            d_energy_B1A.baddbmm_(d_energies_BS.unsqueeze(1), tanh_BSA)
            torch.mul(tanh_BSA, tanh_BSA, out=square_BSA)
            from_squares_BSA.addcmul_(square_BSA, d_energies_BS.unsqueeze(2))
            d_query_BA = torch.bmm(d_energies_BS.unsqueeze(1), square_BSA).squeeze(1)
            torch.mul(d_query_BA, energy, out=d_moved_TBJ[t, :, :A]).neg_()
            d_moved_TBJ[t, :, A:] = _tanh_backward(now, passed_TBH[t])
            before = product(d_moved_TBJ[t], weight.t())
            d_r = before if ended_B1 is None else torch.where(ended_B1, d_r, before)
        flat = d_moved_TBJ.flatten(0, 1)
        return (
            d_moved_TBJ[:, :, :A],
            (d_energies_TBS.sum(0).unsqueeze(2) - from_squares_BSA) * energy,
            torch.bmm(weights_TBS.permute(1, 2, 0), d_r_TBH.transpose(0, 1)),
            product(flat.t(), r_TBH[:-1].flatten(0, 1).t()),
            d_energy_B1A.sum((0, 1)),
            None,
            None,
            None,
        )


def _mean(values: Tensor, weights_BS: Tensor, plus_BH: Tensor, out_BH: Tensor) -> None:
    """Σ_s a_s y_s + plus."""
    torch.baddbmm(plus_BH.unsqueeze(1), weights_BS.unsqueeze(1), values, out=out_BH.unsqueeze(1))


def _where_any(has_ended: Tensor, device: torch.device) -> list[Tensor | None]:
    """Of each step the rows that have ended, `[B, 1]`; None where all go on."""
    steps = has_ended.unsqueeze(2).to(device)
    return [
        step if is_any else None
        for step, is_any in zip(steps.unbind(0), has_ended.any(1).tolist(), strict=True)
    ]
