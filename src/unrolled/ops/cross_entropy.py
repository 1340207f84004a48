"""Softmax cross-entropy of a linear layer, with its gradients, without storing all logits.

With vocabularies of thousands of words, this is half of the arithmetic of training. In float32 on the
CPU it runs on our kernels (`native/cross_entropy.h`), otherwise in blocks of rows with matrix products.
Loss and gradients are computed in one pass; the backward pass only scales the gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from unrolled.ops import bfloat16, mixed, native
from unrolled.ops.access import dense, why_opaque
from unrolled.ops.derivatives import by_definition_only, differentiate
from unrolled.ops.linear import linear, product
from unrolled.shapes import Float, Int

FLOATS_AT_ONCE = 1 << 22
"""Logits stored at a time, 16 MB, if no kernel runs. With fewer rows in a block, the weight's gradient,
as large as the weight, is read and written too often; with more, the logits do not fit in the cache."""

LEAST_ROWS = 32
"""Minimum number of rows in a block, regardless of the number of words."""

WORDS_AT_ONCE = 2048
"""Rows of the weight's gradient computed at a time, so that each addend is still in the cache."""

LEAST_WORDS = 512
"""Minimum number of words at which packing the hidden vectors for the kernels is worthwhile."""

LEAST_MIXED_WORDS = 32
"""The same for the kernels in mixed precision."""

_LEAST_SHARED_WORK = 1 << 16
"""Multiply-adds below which a second thread costs more than it saves."""


def softmax_cross_entropy(
    hidden: Float[Tensor, "M H"],
    weight: Float[Tensor, "V H"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " M"],
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """−log softmax(W h + b)[target], summed over the rows, in nats.

    Args:
        hidden, weight, bias: input and parameters of the linear layer.
        targets: the target word of each row.
        smoothing: ε: the target distribution is (1 − ε) on the target word plus ε / V on every word
            (Szegedy et al. 2016, section 7).

    Raises:
        IndexError: a target is not the id of a word.
        ValueError: shapes or types do not match.

    Under autocast with bfloat16, where the kernels have AMX, the definition is
    `unrolled.ops.bfloat16.softmax_cross_entropy`. Otherwise under autocast, and for second derivatives,
    all logits are computed at once, as torch would.
    """
    _check(hidden, weight, bias, targets)
    if why_not_mixed(hidden, weight, bias) is None and why_opaque((targets,)) is None:
        with torch.autocast("cpu", enabled=False):
            return _run(hidden, weight, bias, targets, smoothing, is_mixed=True)
    if (
        torch.is_autocast_enabled(hidden.device.type)
        or why_opaque((hidden, weight, bias, targets)) is not None
    ):
        return _definition(hidden, weight, bias, targets, smoothing)
    return _run(hidden, weight, bias, targets, smoothing, is_mixed=False)


def _run(hidden: Any, weight: Any, bias: Any, targets: Any, smoothing: Any, is_mixed: bool) -> Any:
    # `needs_input_grad` is also True for a parameter under `no_grad`.
    grad_enabled = torch.is_grad_enabled()
    return _CrossEntropy.apply(hidden, weight, bias, targets, smoothing, is_mixed, grad_enabled)


def _check(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> None:
    """Check all shapes, because the kernels read memory according to them."""
    (M, H), V = hidden.shape, len(weight)
    wanted = {"weight": (V, H), "bias": (V,), "targets": (M,)}
    given = {"weight": weight, "bias": bias, "targets": targets}
    for name, tensor in given.items():
        if tensor is not None and tuple(tensor.shape) != wanted[name]:
            raise ValueError(f"{name} must be {list(wanted[name])}, got {list(tensor.shape)}")
    if targets.dtype is not torch.int64:
        raise ValueError(f"targets must be torch.int64, got {targets.dtype}")


def _definition(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
) -> Tensor:
    logits = linear(hidden, weight, bias)
    if logits.dtype is not torch.float64:
        logits = logits.float()
    return torch.nn.functional.cross_entropy(
        logits, targets, reduction="sum", label_smoothing=smoothing
    )


def why_not(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    """Why the kernels cannot run this, as one sentence, else None."""
    if not hidden.numel():
        return "there is nothing to compute"
    if len(weight) < LEAST_WORDS:
        return "too few words to be worth packing the hidden vectors for the kernels"
    return native.why_not_with([hidden, weight] if bias is None else [hidden, weight, bias])


def why_not_mixed(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    """Why the kernels for mixed precision should not run this, as one sentence, else None."""
    if not hidden.numel():
        return "there is nothing to compute"
    if len(weight) < LEAST_MIXED_WORDS:
        return "too few words to be worth packing the hidden vectors for the kernels"
    parameters = [weight] if bias is None else [weight, bias]
    return mixed.why_not_now([hidden], parameters) or mixed.not_worth_it()


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Any,
        weight: Any,
        bias: Any,
        targets: Any,
        smoothing: Any,
        is_mixed: Any,
        grad_enabled: Any,
    ) -> Any:
        wanted = grad_enabled and any(ctx.needs_input_grad[:3])
        if len(targets) and not 0 <= targets.min() <= targets.max() < len(weight):
            raise IndexError(
                f"target out of bounds: the words are 0 to {len(weight) - 1}, got "
                f"{int(targets.min())} to {int(targets.max())}"
            )
        by_kernels = is_mixed or why_not(hidden, weight, bias) is None
        run = _by_kernels if by_kernels else _by_blocks
        read = hidden.bfloat16() if is_mixed else hidden
        total, gradients = run(read, weight, bias, targets, smoothing, wanted)
        if wanted:
            ctx.smoothing, ctx.is_mixed = smoothing, is_mixed
            ctx.save_for_backward(*gradients, hidden, weight, bias, targets)
        return total

    @staticmethod
    def backward(ctx: Any, d_total: Any) -> Any:
        *gradients, hidden, weight, bias, targets = ctx.saved_tensors
        if by_definition_only((d_total,)):
            wanted = ctx.needs_input_grad[:3]

            define = bfloat16.softmax_cross_entropy if ctx.is_mixed else _definition

            def definition(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor]:
                return (define(hidden, weight, bias, targets, ctx.smoothing),)

            again = differentiate(definition, (hidden, weight, bias), wanted, (d_total,))
            return *again, None, None, None, None
        # If the loss itself is differentiated, the gradients need no copy; the weight's is the largest of
        # all. Changing them in place before another backward pass raises autograd's error, because they
        # are saved tensors.
        if d_total.device.type != "cpu" or d_total != 1:
            gradients = [None if gradient is None else gradient * d_total for gradient in gradients]
        d_hidden, d_weight, d_bias = gradients
        return d_hidden.to(hidden.dtype), d_weight, d_bias, None, None, None, None


_Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def _by_kernels(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    wanted: bool,
) -> tuple[Tensor, _Gradients]:
    (M, H), V = hidden.shape, len(weight)
    entering = [None if t is None else t.contiguous() for t in (hidden, weight, bias)]
    targets = dense(targets, torch.int64)
    nats = weight.new_empty(M)
    gradients = [
        torch.empty_like(t, dtype=weight.dtype, memory_format=torch.contiguous_format)
        if wanted and t is not None
        else None
        for t in entering
    ]
    n_threads = torch.get_num_threads() if M * H * V >= _LEAST_SHARED_WORK else 1
    addresses = [0 if t is None else t.data_ptr() for t in (*entering, targets, nats, *gradients)]
    is_mixed = hidden.dtype is torch.bfloat16
    native.kernels.cross_entropy(is_mixed, M, H, V, smoothing, *addresses, n_threads)
    d_hidden, d_weight, d_bias = gradients
    return nats.double().sum().float(), (d_hidden, d_weight, d_bias)


def _by_blocks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    wanted: bool,
) -> tuple[Tensor, _Gradients]:
    n_words = len(weight)
    on_cpu = hidden.device.type == "cpu"
    total = hidden.new_zeros((), dtype=torch.float64)
    d_hidden = d_weight = d_bias = None
    if wanted:
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.empty_like(weight) if len(hidden) else torch.zeros_like(weight)
        d_bias = None if bias is None else torch.zeros_like(bias)
    for rows in _slices(len(hidden), max(LEAST_ROWS, FLOATS_AT_ONCE // n_words)):
        x, y = hidden[rows], targets[rows].unsqueeze(1)
        logits = product(x, weight)
        if bias is not None:
            logits.add_(bias)
        probabilities = torch.softmax(logits, 1)
        total += _nats(logits, probabilities, y, smoothing).double().sum()
        if d_hidden is None or d_weight is None:
            continue
        d_logits = probabilities
        if smoothing:
            d_logits.sub_(smoothing / n_words)
        d_logits.scatter_add_(1, y, d_logits.new_full(y.shape, smoothing - 1.0))
        d_hidden[rows] = product(d_logits, weight.t())
        for words in _slices(n_words, WORDS_AT_ONCE if on_cpu else n_words):
            addend = product(d_logits[:, words].t(), x.t())
            if rows.start:
                d_weight[words] += addend
            else:
                d_weight[words] = addend
        if d_bias is not None:
            d_bias += d_logits.sum(0)
    return total.to(hidden.dtype), (d_hidden, d_weight, d_bias)


def _nats(logits: Tensor, probabilities: Tensor, targets_M1: Tensor, smoothing: float) -> Tensor:
    """Each row's cross-entropy, from differences of logits, as all may share a large constant."""
    nats = probabilities.gather(1, targets_M1).log_().neg_().squeeze(1)
    target = logits.gather(1, targets_M1).squeeze(1)
    # Near the smallest float, a probability loses its digits. There we use log Σ exp = max − log p, with
    # p the probability of the largest logit, which is at least 1 / V and cannot vanish.
    number = torch.finfo(logits.dtype)
    vanished = (nats > -math.log(number.tiny / number.eps)).nonzero().squeeze(1)
    if len(vanished):
        largest = logits[vanished].amax(1)
        nats[vanished] = largest - target[vanished] - probabilities[vanished].amax(1).log_()
    return nats + smoothing * (target - logits.mean(1)) if smoothing else nats


def _slices(length: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, length, size))
