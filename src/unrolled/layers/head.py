"""The output layer and its loss, in one object, so that training never holds B·T·V numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unrolled.ops.linear import linear, product
from unrolled.shapes import Float, Int

ROWS_AT_ONCE = 512
"""Rows of logits held at a time: at 8,000 words 16 MB, about a core's share of the outer cache."""


class SoftmaxHead(nn.Module):
    """logits = W h + b over V words, with the cross-entropy computed block by block.

    Args:
        hidden_size: width of h.
        n_words: V.
        weight: a parameter `[V, hidden_size]` to share, e.g. an embedding's (tied weights).

    >>> head = SoftmaxHead(3, 5)
    >>> total, count = head.loss(torch.randn(7, 3), torch.tensor([0, 1, 2, 3, 4, 0, 1]))
    >>> count, total.shape
    (7, torch.Size([]))
    """

    def __init__(self, hidden_size: int, n_words: int, weight: Tensor | None = None) -> None:
        super().__init__()
        self.weight = (
            weight if weight is not None else nn.Parameter(torch.empty(n_words, hidden_size))
        )
        self.bias = nn.Parameter(torch.zeros(n_words))
        if weight is None:
            nn.init.xavier_uniform_(self.weight)

    def logits(self, hidden: Float[Tensor, "*rows H"]) -> Float[Tensor, "*rows V"]:
        """Unnormalised scores of all words."""
        return linear(hidden, self.weight, self.bias)

    def loss(
        self,
        hidden: Float[Tensor, "M H"],
        targets: Int[Tensor, " M"],
        smoothing: float = 0.0,
    ) -> tuple[Float[Tensor, ""], int]:
        """Cross-entropy against the targets, summed over the rows, in nats; and how many rows.

        With label smoothing ε the target distribution is (1 − ε) on the right word plus ε / V on
        every word (Szegedy et al. 2016, section 7).
        """
        if torch.is_autocast_enabled(hidden.device.type):
            logits = self.logits(hidden).float()
            total = nn.functional.cross_entropy(
                logits, targets, reduction="sum", label_smoothing=smoothing
            )
        else:
            total = _CrossEntropy.apply(
                hidden, self.weight, self.bias, targets, smoothing, torch.is_grad_enabled()
            )
        return total, len(targets)

    def top_k(
        self, hidden: Float[Tensor, "M H"], k: int
    ) -> tuple[Float[Tensor, "M k"], Int[Tensor, "M k"]]:
        """Log-probabilities and ids of the k likeliest words, best first."""
        logits = self.logits(hidden)
        values, ids = logits.topk(k, dim=-1)
        return values - logits.logsumexp(-1, keepdim=True), ids


class _CrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over blocks of rows; backward only scales them."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, smoothing, grad_enabled):
        # `needs_input_grad` is True for a parameter under `no_grad` too.
        needs_gradients = grad_enabled and any(ctx.needs_input_grad[:3])
        n_words = len(weight)
        total = hidden.new_zeros((), dtype=torch.float64)
        if needs_gradients:
            d_hidden = torch.empty_like(hidden)
            d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for start in range(0, len(hidden), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            x, y = hidden[rows], targets[rows].unsqueeze(1)
            logits = product(x, weight).add_(bias)
            largest = logits.amax(1)
            right = logits.gather(1, y).squeeze(1)
            mean = logits.mean(1) if smoothing else right
            probabilities = torch.softmax(logits, 1)
            # log Σ exp = max − log(its probability), which is at least 1 / V and cannot vanish.
            # Differences first: the loss is small beside logits that share a large constant.
            above = (1 - smoothing) * (largest - right) + smoothing * (largest - mean)
            total += (above - probabilities.amax(1).log_()).double().sum()
            if needs_gradients:
                d_logits = probabilities
                if smoothing:
                    d_logits.sub_(smoothing / n_words)
                d_logits.scatter_add_(1, y, d_logits.new_full(y.shape, smoothing - 1.0))
                d_hidden[rows] = product(d_logits, weight.t())
                d_weight += product(d_logits.t(), x.t())
                d_bias += d_logits.sum(0)
        if needs_gradients:
            ctx.save_for_backward(d_hidden, d_weight, d_bias)
        return total.to(hidden.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_total):
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        return d_hidden * d_total, d_weight * d_total, d_bias * d_total, None, None, None
