"""A linear-chain conditional random field over the labels of a sequence.

Lafferty, McCallum & Pereira 2001, "Conditional random fields"; as the last layer of a tagger: Lample et
al. 2016, "Neural architectures for named entity recognition", section 2.2. With emissions P (the scores
of the labels at each step), transition weights A, and start and end weights, a path of labels y_1 … y_T
has the score and the probability

    s(y) = start[y_1] + Σ_t P_t[y_t] + Σ_t A[y_t−1, y_t] + end[y_T]
    p(y) = exp(s(y)) / Z,   Z = Σ_ỹ exp(s(ỹ)) over all C^T paths

Z and the marginals come from the forward and the backward recursion (Rabiner 1989, section III.A), which
run here as one loop over T, vectorised over rows, labels and both directions, in float64. The gradient of
log Z with respect to an emission is the label's marginal, so autograd need not record the loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.config import require
from unrolled.errors import ConfigError, DataError
from unrolled.layers.renewal import renewed
from unrolled.metrics.schemes import transitions
from unrolled.ops.access import why_opaque
from unrolled.ops.derivatives import by_definition_only, differentiate
from unrolled.ops.dispatch import check_lengths
from unrolled.quoting import quote
from unrolled.shapes import Bool, Float, Int
from unrolled.wording import count_of

_MOST_STEPS = 16
"""Largest number of steps that `_mixing` tries; beyond it, labels count as not reaching each other."""


@dataclass(frozen=True)
class Allowed:
    """Which labels may begin a row, follow each other and end a row; True means allowed.

    Args:
        labels: the C names, by id.
        starts: `[C]`.
        steps: `[C, C]`, from a label (first index) to the next.
        ends: `[C]`.
    """

    labels: tuple[str, ...]
    starts: Bool[Tensor, " C"]
    steps: Bool[Tensor, "C C"]
    ends: Bool[Tensor, " C"]

    def why_not(self, path: Sequence[int]) -> str | None:
        """Why a row of label ids is not allowed, in words for an error message; None if it is allowed.

        >>> allowed = allowed_transitions(["O", "B-PER", "I-PER"], "bio")
        >>> allowed.why_not([0, 2])
        "label 2 is 'I-PER' and cannot follow 'O'"
        >>> allowed.why_not([1, 2, 0]) is None
        True
        """
        if not path:
            return None
        names, may_follow = self.labels, self._may_follow
        if not self.starts[path[0]]:
            return f"label 1 is {quote(names[path[0]])} and cannot be the first"
        for place, (before, here) in enumerate(pairwise(path), start=2):
            if not may_follow[before][here]:
                return f"label {place} is {quote(names[here])} and cannot follow {quote(names[before])}"
        if not self.ends[path[-1]]:
            return f"label {len(path)} is {quote(names[path[-1]])} and cannot be the last"
        return None

    @cached_property
    def _may_follow(self) -> list[list[bool]]:
        return self.steps.tolist()


def allowed_transitions(labels: Sequence[str], scheme: str) -> Allowed:
    """The transitions that a chunk labelling scheme allows; see `metrics.schemes`.

    Args:
        labels: the names of the labels, by id.
        scheme: "bio", "iob1", "bioes" or "bilou".

    Raises:
        ConfigError: the scheme is unknown, or a label does not belong to it.

    >>> allowed = allowed_transitions(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "bio")
    >>> allowed.starts.tolist(), allowed.steps[1].tolist()
    ([True, True, False, True, False], [True, True, True, True, False])
    """
    found = transitions(labels, scheme)
    parts = (found.starts, found.steps, found.ends)
    # On the CPU, even if another default device is set.
    return Allowed(
        tuple(labels), *(torch.tensor(part, dtype=torch.bool, device="cpu") for part in parts)
    )


class LinearChainCRF(nn.Module):
    """Transition weights, the loss, the best path, marginals and probabilities.

    All weights are initialised to zero: at first each step is an independent softmax.

    Args:
        n_labels: C.
        allowed: the allowed transitions; all others have probability zero, in training and prediction.

    Attributes:
        start_weight: `[C]`.
        transition_weight: `[C, C]`, from a label to the next.
        end_weight: `[C]`.

    Raises:
        ConfigError: `allowed` has a different number of labels, or allows no path of some length.

    All methods take `emissions [B, T, C]` and `lengths [B]`, int64 on the CPU. Values beyond a row's
    length are ignored, even if NaN; a row of length 0 has one path, with probability 1.

    >>> crf = LinearChainCRF(3, allowed_transitions(["O", "B", "I"], "bio"))
    >>> emissions = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 5.0], [4.0, 0.0, 0.0]]])
    >>> crf.best(emissions, torch.tensor([3])).tolist()
    [[1, 2, 0]]
    >>> total, count = crf.loss(emissions, torch.tensor([[1, 2, 0]]), torch.tensor([3]))
    >>> round(total.item(), 3), count
    (0.054, 3)
    """

    _allowed_start: Tensor
    _allowed_step: Tensor
    _allowed_end: Tensor

    def __init__(self, n_labels: int, allowed: Allowed | None = None) -> None:
        super().__init__()
        require(n_labels >= 1, "n_labels", "at least 1", n_labels)
        if allowed is not None and len(allowed.labels) != n_labels:
            raise ConfigError(
                f"the allowed transitions have {len(allowed.labels)} labels, but the CRF has {n_labels}"
            )
        self.allowed = allowed
        self.start_weight = nn.Parameter(torch.zeros(n_labels))
        self.transition_weight = nn.Parameter(torch.zeros(n_labels, n_labels))
        self.end_weight = nn.Parameter(torch.zeros(n_labels))
        self._mixing: int | None = 1
        if allowed is not None:
            _check_paths(allowed)
            self._mixing = _mixing(allowed.steps)
            self.register_buffer("_allowed_start", allowed.starts.clone(), persistent=False)
            self.register_buffer("_allowed_step", allowed.steps.clone(), persistent=False)
            self.register_buffer("_allowed_end", allowed.ends.clone(), persistent=False)

    def loss(
        self,
        emissions: Float[Tensor, "B T C"],
        tags: Int[Tensor, "B T"],
        lengths: Int[Tensor, " B"],
    ) -> tuple[Float[Tensor, ""], int]:
        """−log p of the gold paths, summed over the rows, in nats; and the number of their labels.

        Args:
            tags: ids of the gold labels; values in the padding are ignored.

        Raises:
            DataError: a gold path is not allowed; to report its line, call `Allowed.why_not` first.
            IndexError: an id is not that of a label.
        """
        nats_B = self._nats(emissions, tags, lengths)
        return nats_B.sum().to(_at_least_float32(emissions)), int(lengths.sum())

    def log_prob(
        self,
        emissions: Float[Tensor, "B T C"],
        tags: Int[Tensor, "B T"],
        lengths: Int[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """log p of each row's path, differentiable; arguments and errors as for `loss`."""
        return -self._nats(emissions, tags, lengths).to(_at_least_float32(emissions))

    @torch.no_grad()
    def marginals(
        self, emissions: Float[Tensor, "B T C"], lengths: Int[Tensor, " B"]
    ) -> Float[Tensor, "B T C"]:
        """The marginals p(y_t = c) of each step; zeros in the padding. Without gradients."""
        chain = self._chain(emissions, lengths)
        p_TBC = _lattice(chain, self._scores(), self._mixing, both=True).marginals()
        return p_TBC.transpose(0, 1).to(_at_least_float32(emissions))

    @torch.no_grad()
    def best(
        self, emissions: Float[Tensor, "B T C"], lengths: Int[Tensor, " B"]
    ) -> Int[Tensor, "B T"]:
        """The most probable path of each row (Viterbi 1967); zeros in the padding."""
        chain, scores = self._chain(emissions, lengths), self._scores()
        T, B, C = chain.e_TBC.shape
        if T == 0 or B == 0:
            return torch.zeros(B, T, dtype=torch.int64, device=emissions.device)
        start_C, step_CC, end_C = (weight.double() for weight in scores)
        # One row per later label, so that a maximum reads memory in order.
        into_CC = step_CC.t().contiguous()
        e_TBC = chain.e_TBC
        v_TBC, from_TBC = torch.empty_like(e_TBC), torch.zeros_like(e_TBC, dtype=torch.int64)
        torch.add(e_TBC[0], start_C, out=v_TBC[0])
        for t in range(1, T):
            torch.max(v_TBC[t - 1].unsqueeze(1) + into_CC, 2, out=(v_TBC[t], from_TBC[t]))
            v_TBC[t] += e_TBC[t]
        # Beyond its end a row stays at its last label, so back-tracking can begin at T for all rows.
        here_C = torch.arange(C, device=e_TBC.device)
        from_TBC = torch.where(chain.mask_TB.unsqueeze(2), from_TBC, here_C)
        tag_B1 = (chain.at_end(v_TBC) + end_C).argmax(1, keepdim=True)
        path = [tag_B1]
        for t in range(T - 1, 0, -1):
            tag_B1 = from_TBC[t].gather(1, tag_B1)
            path.append(tag_B1)
        return torch.where(chain.mask_TB.t(), torch.cat(path[::-1], 1), 0)

    def _nats(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        chain = self._chain(emissions, lengths)
        scores = self._scores()
        tags_TB = torch.where(chain.mask_TB, tags.t(), 0)
        C = emissions.shape[2]
        if tags_TB.numel() and not 0 <= int(tags_TB.min()) <= int(tags_TB.max()) < C:
            raise IndexError(
                f"tag out of bounds: the labels are 0 to {C - 1}, got {int(tags_TB.min())} to "
                f"{int(tags_TB.max())}"
            )
        if self.allowed is not None:
            self._check_allowed(tags_TB, chain)
        if why_opaque((emissions, *scores, tags, lengths)) is not None:
            return _definition(emissions, *scores, tags_TB, chain)
        # `needs_input_grad` is also True for a parameter under `no_grad`.
        wanted = torch.is_grad_enabled()
        return _Nats.apply(emissions, *scores, tags_TB, chain, self._mixing, wanted)

    def _scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """The start, transition and end weights; −∞ where not allowed."""
        renewed(self)
        weights = (self.start_weight, self.transition_weight, self.end_weight)
        if self.allowed is None:
            return weights
        masks = (self._allowed_start, self._allowed_step, self._allowed_end)
        start, step, end = (
            torch.where(mask, weight, -torch.inf)
            for mask, weight in zip(masks, weights, strict=True)
        )
        return start, step, end

    def _chain(self, emissions: Tensor, lengths: Tensor) -> _Chain:
        B, T, C = emissions.shape
        check_lengths(lengths, B, T)
        if len(self.start_weight) != C:
            raise ValueError(
                f"emissions must be [B, T, {len(self.start_weight)}], one score per label, got "
                f"{list(emissions.shape)}"
            )
        return _Chain.of(emissions.detach(), lengths)

    def _check_allowed(self, tags_TB: Tensor, chain: _Chain) -> None:
        if not tags_TB.numel():
            return
        starts_B = self._allowed_start[tags_TB[0]] | ~chain.has_steps_B
        steps_TB = self._allowed_step[tags_TB[:-1], tags_TB[1:]] | ~chain.mask_TB[1:]
        ends_B = (
            self._allowed_end[chain.at_end(tags_TB.unsqueeze(2)).squeeze(1)] | ~chain.has_steps_B
        )
        is_good_B = starts_B & steps_TB.all(0) & ends_B
        if bool(is_good_B.all()):
            return
        assert self.allowed is not None
        row = int((~is_good_B).nonzero()[0])
        reason = self.allowed.why_not(tags_TB[chain.mask_TB[:, row], row].tolist())
        raise DataError(
            f"row {row + 1} of the batch: {reason}; correct the labels, or allow all transitions"
        )

    def extra_repr(self) -> str:
        restricted = "" if self.allowed is None else ", restricted"
        return f"{len(self.start_weight)} labels{restricted}"


def _at_least_float32(emissions: Tensor) -> torch.dtype:
    return torch.promote_types(emissions.dtype, torch.float32)


def _check_paths(allowed: Allowed) -> None:
    """Raise an error if rows of some length have no allowed path, and hence no best path."""
    reached, last = allowed.starts, allowed.ends
    before: set[bytes] = set()
    for n in range(1, 2 * len(allowed.labels) + 1):
        if (state := reached.numpy().tobytes()) in before:
            return  # the states repeat from here on
        before.add(state)
        if not bool((reached & last).any()):
            rows = f"rows of {count_of(n, 'label')}"
            raise ConfigError(
                f"no path is allowed for {rows} of {', '.join(allowed.labels)}; add the missing "
                "labels (O, S), or allow all transitions"
            )
        reached = (reached.unsqueeze(1) & allowed.steps).any(0)


def _mixing(steps_CC: Bool[Tensor, "C C"]) -> int | None:
    """The number of steps in which every label can reach every label; None for too many, or never."""
    reached = one = steps_CC.double()
    for n in range(1, min(2 * len(steps_CC), _MOST_STEPS) + 1):
        if bool((reached > 0).all()):
            return n
        reached = ((reached @ one) > 0).double()
    return None


@dataclass(frozen=True)
class _Chain:
    """Emissions in the form that the recursions read.

    Args:
        e_TBC: the emissions in float64, zeros in the padding.
        mask_TB: True for real steps.
        lengths_B: the lengths, on the device of the emissions.
    """

    e_TBC: Tensor
    mask_TB: Tensor
    lengths_B: Tensor

    @classmethod
    def of(cls, emissions_BTC: Tensor, lengths_B: Tensor) -> _Chain:
        lengths_B = lengths_B.to(emissions_BTC.device)
        steps_T1 = torch.arange(emissions_BTC.shape[1], device=emissions_BTC.device).unsqueeze(1)
        mask_TB = steps_T1 < lengths_B
        e_TBC = torch.where(mask_TB.unsqueeze(2), emissions_BTC.transpose(0, 1).double(), 0.0)
        return cls(e_TBC, mask_TB, lengths_B)

    @property
    def has_steps_B(self) -> Tensor:
        return self.lengths_B > 0

    def at_end(self, values_TBD: Tensor) -> Tensor:
        """The value at each row's last step; at step 0 for an empty row."""
        rows_B = torch.arange(len(self.lengths_B), device=self.lengths_B.device)
        return values_TBD[(self.lengths_B - 1).clamp(min=0), rows_B]

    def reversed(self, values_TBD: Tensor) -> Tensor:
        """Each row from its own end to its start; the values after that are meaningless."""
        T, _, D = values_TBD.shape
        steps_T1 = torch.arange(T, device=values_TBD.device).unsqueeze(1)
        back_TB = (self.lengths_B - 1 - steps_T1).clamp(min=0)
        return values_TBD.gather(0, back_TB.unsqueeze(2).expand(-1, -1, D))


def _lattice(
    chain: _Chain, scores: tuple[Tensor, Tensor, Tensor], mixing: int | None, both: bool
) -> _ByProducts | _ByLogarithms:
    """Run the recursions with scaled products if these cannot underflow, else with logarithms.

    Args:
        chain: the emissions.
        scores: start, transition and end scores.
        mixing: the steps in which every label can reach every label; None for too many, or never.
        both: whether to run the backward recursion as well, which marginals need.
    """
    e_TBC = chain.e_TBC
    T, B, C = e_TBC.shape
    start, step, end = (score.detach().double() for score in scores)
    if T and B and mixing is not None:
        # Every label is reached within `mixing` steps, each of which costs at most `price`. So no
        # scaled number of either recursion, nor a product of two, is below float64's smallest.
        price = (
            (e_TBC.amax(2) - e_TBC.amin(2)).amax() + _spread(step) + _spread(start) + _spread(end)
        )
        lowest = 2 * mixing * float(price) + 2 * (mixing + 1) * math.log(C)
        if lowest <= _LOWEST_EXPONENT:
            return _ByProducts(chain, start, step, end, both)
    return _ByLogarithms(chain, start, step, end, both)


_LOWEST_EXPONENT = 700.0
"""exp(−700) is still a normal float64 number."""


def _spread(score: Tensor) -> Tensor:
    """The largest minus the smallest score among those that are allowed."""
    return score.amax() - torch.where(score == -torch.inf, torch.inf, score).amin()


class _ByProducts:
    """Both recursions over exp(score), the values of each step scaled to sum to 1 (Rabiner 1989, V.A).

    a_t = (a_t−1 E) ⊙ e_t from the beginning, and b_t = (b_t+1 Eᵀ) ⊙ e_t from each row's own end, with
    E = exp(A). Both use the same two operations, so they run in one loop, the second on reversed rows.
    """

    def __init__(
        self, chain: _Chain, start_C: Tensor, step_CC: Tensor, end_C: Tensor, both: bool
    ) -> None:
        self._chain = chain
        peak_TB = chain.e_TBC.amax(2)
        e_TBC = (chain.e_TBC - peak_TB.unsqueeze(2)).exp_()
        peaks = [score.amax() for score in (start_C, step_CC, end_C)]
        start, step, end = (
            (score - peak).exp()
            for score, peak in zip((start_C, step_CC, end_C), peaks, strict=True)
        )
        n = 2 if both else 1
        E_NCC = torch.stack([step, step.t()][:n])
        e_TNBC = torch.stack([e_TBC, chain.reversed(e_TBC)] if both else [e_TBC], 1)
        T, B, _ = e_TBC.shape
        before, after = torch.empty_like(e_TNBC), torch.empty_like(e_TNBC)
        sums = e_TNBC.new_empty(T, n, B, 1)
        before[0] = torch.stack([start, end][:n]).unsqueeze(1)
        steps = zip(
            e_TNBC.unbind(0), before.unbind(0), after.unbind(0), sums.unbind(0), strict=True
        )
        past: Tensor | None = None
        for e_NBC, before_NBC, after_NBC, sum_NB1 in steps:
            if past is not None:
                torch.bmm(past, E_NCC, out=before_NBC)
            torch.mul(before_NBC, e_NBC, out=after_NBC)
            torch.sum(after_NBC, 2, keepdim=True, out=sum_NB1)
            past = after_NBC.div_(sum_NB1)
        ended_B = (chain.at_end(after[:, 0]) * end).sum(1)
        logs_TB = sums[:, 0, :, 0].log() + peak_TB
        logs_B = torch.where(chain.mask_TB, logs_TB, 0.0).sum(0)
        logs_B = logs_B + ended_B.log() + peaks[0] + peaks[2] + (chain.lengths_B - 1) * peaks[1]
        self.log_z_B = torch.where(chain.has_steps_B, logs_B, 0.0)
        self._E_CC, self._a_TBC = step, after[:, 0]
        if both:
            self._b_TBC = chain.reversed(after[:, 1])
            self._joint_TBC = before[:, 0] * self._b_TBC
            self._total_TB1 = self._joint_TBC.sum(2, keepdim=True)

    def marginals(self) -> Tensor:
        """`[T, B, C]`, zeros in the padding."""
        return torch.where(self._chain.mask_TB.unsqueeze(2), self._joint_TBC / self._total_TB1, 0.0)

    def pairs(self, share_B: Tensor) -> Tensor:
        """`[C, C]`: the expected number of each transition, with each row weighted by `share_B`."""
        there_TB1 = self._chain.mask_TB[1:].unsqueeze(2)
        later = torch.where(
            there_TB1, self._b_TBC[1:] * (share_B.unsqueeze(1) / self._total_TB1[1:]), 0.0
        )
        # Beyond a row's end the first factor is finite, though meaningless, and the second is zero.
        return self._E_CC * (self._a_TBC[:-1].flatten(0, 1).t() @ later.flatten(0, 1))


class _ByLogarithms:
    """The same recursions with log-sum-exp, for scores of any size; several times slower."""

    def __init__(
        self, chain: _Chain, start_C: Tensor, step_CC: Tensor, end_C: Tensor, both: bool
    ) -> None:
        self._chain, self._step_CC = chain, step_CC
        e_TBC = chain.e_TBC
        n = 2 if both else 1
        step_N1CC = torch.stack([step_CC, step_CC.t()][:n]).unsqueeze(1)
        e_TNBC = torch.stack([e_TBC, chain.reversed(e_TBC)] if both else [e_TBC], 1)
        before, after = torch.empty_like(e_TNBC), torch.empty_like(e_TNBC)
        for t in range(len(e_TNBC)):
            if t:
                reached = torch.logsumexp(after[t - 1].unsqueeze(3) + step_N1CC, 2)
            else:
                reached = torch.stack([start_C, end_C][:n]).unsqueeze(1)
            before[t] = reached
            torch.add(before[t], e_TNBC[t], out=after[t])
        self.log_z_B = torch.zeros_like(chain.lengths_B, dtype=torch.float64)
        if len(e_TBC):
            ended_B = torch.logsumexp(chain.at_end(after[:, 0]) + end_C, 1)
            self.log_z_B = torch.where(chain.has_steps_B, ended_B, 0.0)
        self._before_TBC, self._a_TBC = before[:, 0], after[:, 0]
        if both:
            self._b_TBC = chain.reversed(after[:, 1])

    def marginals(self) -> Tensor:
        """As in `_ByProducts`."""
        joint = (self._before_TBC + self._b_TBC - self.log_z_B.unsqueeze(1)).exp()
        return torch.where(self._chain.mask_TB.unsqueeze(2), joint, 0.0)

    def pairs(self, share_B: Tensor) -> Tensor:
        """As in `_ByProducts`."""
        total = torch.zeros_like(self._step_CC)
        for t in range(1, len(self._a_TBC)):
            before, later = self._a_TBC[t - 1].unsqueeze(2), self._b_TBC[t].unsqueeze(1)
            joint = (before + self._step_CC + later - self.log_z_B.view(-1, 1, 1)).exp()
            there_B11 = self._chain.mask_TB[t].view(-1, 1, 1)
            total += torch.where(there_B11, joint * share_B.view(-1, 1, 1), 0.0).sum(0)
        return total


def _definition(
    emissions: Tensor, start: Tensor, step: Tensor, end: Tensor, tags_TB: Tensor, chain: _Chain
) -> Tensor:
    """log Z − s(y) by the forward recursion alone, differentiable any number of times."""
    e_TBC = torch.where(chain.mask_TB.unsqueeze(2), emissions.transpose(0, 1).double(), 0.0)
    seen = replace(chain, e_TBC=e_TBC)
    # −∞ has no usable derivative; a finite score whose exponential is 0 does.
    start_C, step_CC, end_C = (
        torch.where(score == -torch.inf, _FORBIDDEN, score.double()) for score in (start, step, end)
    )
    log_z_B = e_TBC.new_zeros(e_TBC.shape[1])
    if len(e_TBC):
        reached = [start_C + e_TBC[0]]
        for e_BC in e_TBC[1:].unbind(0):
            reached.append(torch.logsumexp(reached[-1].unsqueeze(2) + step_CC, 1) + e_BC)
        ended_B = torch.logsumexp(seen.at_end(torch.stack(reached)) + end_C, 1)
        log_z_B = torch.where(chain.has_steps_B, ended_B, 0.0)
    return log_z_B - _score(seen, tags_TB, start, step, end)


_FORBIDDEN = -1e30


class _Nats(torch.autograd.Function):
    """−log p of each row's path; its gradient is the expected counts minus the gold counts."""

    @staticmethod
    def forward(
        ctx: Any,
        emissions: Any,
        start: Any,
        step: Any,
        end: Any,
        tags_TB: Any,
        chain: Any,
        mixing: Any,
        wanted: Any,
    ) -> Any:
        wanted = wanted and any(ctx.needs_input_grad[:4])
        lattice = _lattice(chain, (start, step, end), mixing, both=wanted)
        if wanted:
            ctx.lattice, ctx.chain, ctx.tags_TB = lattice, chain, tags_TB
            ctx.dtypes = [tensor.dtype for tensor in (emissions, start, step, end)]
            ctx.save_for_backward(emissions, start, step, end)
        return lattice.log_z_B - _score(chain, tags_TB, start, step, end)

    @staticmethod
    def backward(ctx: Any, d_nats_B: Any) -> Any:
        lattice, chain, tags_TB = ctx.lattice, ctx.chain, ctx.tags_TB
        inputs = ctx.saved_tensors
        if by_definition_only((d_nats_B,)):

            def definition(e: Tensor, start: Tensor, step: Tensor, end: Tensor) -> tuple[Tensor]:
                return (_definition(e, start, step, end, tags_TB, chain),)

            again = differentiate(definition, inputs, ctx.needs_input_grad[:4], (d_nats_B,))
            return *again, None, None, None, None
        d_nats_B = d_nats_B.double()
        share_TB = torch.where(chain.mask_TB, d_nats_B, 0.0)
        d_e_TBC = lattice.marginals().mul_(share_TB.unsqueeze(2))
        d_e_TBC.scatter_add_(2, tags_TB.unsqueeze(2), -share_TB.unsqueeze(2))
        d_step = lattice.pairs(d_nats_B)
        C = len(d_step)
        if len(tags_TB) == 0:
            d_start, d_end = d_step.new_zeros(C), d_step.new_zeros(C)
        else:
            d_start, d_end = d_e_TBC[0].sum(0), chain.at_end(d_e_TBC).sum(0)
        gold_M = (tags_TB[:-1] * C + tags_TB[1:]).flatten()
        d_step.view(-1).scatter_add_(0, gold_M, -share_TB[1:].flatten())
        gradients = (d_e_TBC.transpose(0, 1), d_start, d_step, d_end)
        converted = (tensor.to(kind) for tensor, kind in zip(gradients, ctx.dtypes, strict=True))
        return *converted, None, None, None, None


def _score(chain: _Chain, tags_TB: Tensor, start: Tensor, step: Tensor, end: Tensor) -> Tensor:
    """s(y) of each row, float64."""
    if len(tags_TB) == 0:
        return chain.lengths_B.new_zeros(len(chain.lengths_B), dtype=torch.float64)
    emitted_TB = chain.e_TBC.gather(2, tags_TB.unsqueeze(2)).squeeze(2)
    stepped_TB = torch.where(chain.mask_TB[1:], step.double()[tags_TB[:-1], tags_TB[1:]], 0.0)
    last_B = chain.at_end(tags_TB.unsqueeze(2)).squeeze(1)
    ends_B = start.double()[tags_TB[0]] + end.double()[last_B]
    # In the padding the emissions are zeros; an empty row has neither start nor end.
    return emitted_TB.sum(0) + stepped_TB.sum(0) + torch.where(chain.has_steps_B, ends_B, 0.0)
