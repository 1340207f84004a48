"""The output layer and its loss, in one object, so that training never holds B·T·V numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unrolled.errors import ConfigError
from unrolled.layers.renewal import renewed
from unrolled.ops.cross_entropy import FLOATS_AT_ONCE, LEAST_ROWS, softmax_cross_entropy
from unrolled.ops.linear import linear
from unrolled.shapes import Float, Int


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
        renewed(self)
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
        renewed(self)
        total = softmax_cross_entropy(hidden, self.weight, self.bias, targets, smoothing)
        return total, len(targets)

    def top_k(
        self, hidden: Float[Tensor, "M H"], k: int
    ) -> tuple[Float[Tensor, "M k"], Int[Tensor, "M k"]]:
        """Log-probabilities and ids of the k likeliest words, best first."""
        logits = self.logits(hidden)
        values, ids = logits.topk(k, dim=-1)
        return values - logits.logsumexp(-1, keepdim=True), ids


class CopyHead(SoftmaxHead):
    """A softmax head that can also copy words which attention looks at, known to it or not.

    See, Liu & Manning 2017, "Get to the point: summarization with pointer-generator networks", eq. 8–9.
    With attention a_s over the steps of a source, of which step s writes the word ids_s when copied:

        g = σ(u · h + c)                            the chance to generate rather than copy
        p(w) = g softmax(W h + b)_w + (1 − g) Σ_{s: ids_s = w} a_s

    In the paper g reads the context, the decoder's state and its input; here it reads h, the output that
    is made of the context and the state.

    Ids 0 … V − 1 are the words of the vocabulary. Id V + s is the word at step s of the row's own source,
    where that word is in no vocabulary; of equal words it is the first one's.

    Args:
        hidden_size: width of h.
        n_words: V.
        weight: a parameter `[V, hidden_size]` to share.

    >>> head = CopyHead(3, 5)
    >>> looked, ids = torch.tensor([[0.25, 0.75]]), torch.tensor([[4, 6]])
    >>> head.log_probs(torch.zeros(1, 3), looked, ids).exp().sum().round(decimals=4).item()
    1.0
    """

    def __init__(self, hidden_size: int, n_words: int, weight: Tensor | None = None) -> None:
        super().__init__(hidden_size, n_words, weight)
        self.gate_weight = nn.Parameter(torch.empty(1, hidden_size))
        self.gate_bias = nn.Parameter(torch.zeros(1))
        nn.init.xavier_uniform_(self.gate_weight)

    def log_probs(
        self,
        hidden: Float[Tensor, "*rows H"],
        looked: Float[Tensor, "*rows S"],
        ids: Int[Tensor, "*rows S"],
    ) -> Float[Tensor, "*rows W"]:
        """Log-probabilities of the V words and of the S steps of the source, W = V + S.

        Args:
            hidden: what the words are predicted from.
            looked: the attention of each row, which sums to 1.
            ids: the word of each step, below V + S.
        """
        generated = self.logits(hidden).log_softmax(-1)
        gate = linear(hidden, self.gate_weight, self.gate_bias)
        n_steps = looked.shape[-1]
        generated = nn.functional.pad(generated, (0, n_steps), value=-torch.inf)
        copied = torch.zeros_like(generated).scatter_add_(-1, ids, looked.to(generated.dtype))
        log_gate, log_rest = _log_gates(gate)
        return torch.logaddexp(generated + log_gate, copied.log() + log_rest)

    def loss(  # type: ignore[override]  # it needs what attention looked at
        self,
        hidden: Float[Tensor, "M H"],
        targets: Int[Tensor, " M"],
        smoothing: float = 0.0,
        *,
        looked: Float[Tensor, "M S"],
        ids: Int[Tensor, "M S"],
    ) -> tuple[Float[Tensor, ""], int]:
        """−log p(target), summed over the rows, in nats; and how many rows.

        Label smoothing ε is of the generated words alone: (1 − ε) times the above, and ε / V times the
        cross-entropy of each word under the softmax.

        Args:
            hidden, looked, ids: as for `log_probs`.
            targets: ids below V + S.
            smoothing: ε.
        """
        renewed(self)
        n_rows = max(LEAST_ROWS, FLOATS_AT_ONCE // len(self.weight))
        parts = []
        for start in range(0, len(targets), n_rows):
            rows = slice(start, start + n_rows)
            block = (hidden[rows], targets[rows], looked[rows], ids[rows], smoothing)
            if len(targets) > n_rows and torch.is_grad_enabled():
                # The logits of a block are made again in the backward pass, rather than all kept.
                parts.append(checkpoint(self._block_loss, *block, use_reentrant=False))
            else:
                parts.append(self._block_loss(*block))
        total = torch.stack(parts).sum() if parts else hidden.sum()
        return total, len(targets)

    def _block_loss(
        self, hidden: Tensor, targets: Tensor, looked: Tensor, ids: Tensor, smoothing: float
    ) -> Tensor:
        n_words = len(self.weight)
        logits = _at_least_float32(linear(hidden, self.weight, self.bias))
        log_probs = logits.log_softmax(1)
        gate = _at_least_float32(linear(hidden, self.gate_weight, self.gate_bias))
        log_gate, log_rest = (each.squeeze(1) for each in _log_gates(gate))
        is_word = targets < n_words
        generated = log_probs.gather(1, torch.where(is_word, targets, 0).unsqueeze(1)).squeeze(1)
        chance = (looked * (ids == targets.unsqueeze(1))).sum(1).to(generated.dtype)
        tiny = torch.finfo(chance.dtype).tiny
        # A word of the vocabulary that is in no source has no copying part, whose logarithm is no number;
        # of one that can only be copied the chance may underflow.
        is_copied = chance > 0
        copied = torch.where(is_copied, chance, 1.0).log()
        copied = torch.where(is_copied, copied, math.log(tiny)) + log_rest
        both = torch.logaddexp(generated + log_gate, copied)
        only_generated = torch.where(is_word & ~is_copied, generated + log_gate, both)
        log_p = torch.where(is_word, only_generated, copied)
        if not smoothing:
            return -log_p.sum()
        return -(1 - smoothing) * log_p.sum() - smoothing * log_probs.mean(1).sum()


def _log_gates(gate: Tensor) -> tuple[Tensor, Tensor]:
    """log σ(x) and log (1 − σ(x))."""
    return nn.functional.logsigmoid(gate), nn.functional.logsigmoid(-gate)


class AdaptiveHead(nn.Module):
    """Adaptive softmax: frequent words have logits of their own, rare ones share those of a cluster.

    Grave, Joulin, Cissé, Grangier & Jégou 2017, "Efficient softmax approximation for GPUs". A rare word's
    probability is its cluster's, times its own inside the cluster, computed from a narrower hidden vector
    (a quarter of the width from one cluster to the next). It is a model of its own and not an
    approximation: training and evaluation are of the same, normalised distribution.

    Ids must be in the order of falling frequency. A word vocabulary of this package is: four special
    words, ids 0 to 3, then the words by count. The special ones belong to the frequent words.

    Args:
        hidden_size: width of h.
        n_words: V.
        cutoffs: where the clusters begin, rising, each at least 1 and below V; ids below the first
            are the frequent words.

    Attributes:
        layers: `torch.nn.AdaptiveLogSoftmaxWithLoss`, which holds the parameters and defines the values;
            its products are made as those of `SoftmaxHead`.

    Raises:
        ConfigError: cutoffs that cannot be.

    >>> head = AdaptiveHead(16, 100, [10, 40])
    >>> total, count = head.loss(torch.randn(7, 16), torch.tensor([0, 9, 10, 39, 40, 99, 3]))
    >>> count, total.shape, head.logits(torch.randn(3, 16)).exp().sum(1).round(decimals=3).tolist()
    (7, torch.Size([]), [1.0, 1.0, 1.0])
    """

    def __init__(self, hidden_size: int, n_words: int, cutoffs: Sequence[int]) -> None:
        super().__init__()
        edges = list(cutoffs)
        if not edges or edges != sorted(set(edges)) or edges[0] < 1 or edges[-1] >= n_words:
            raise ConfigError(
                f"cutoffs must be rising ids, each at least 1 and below the {n_words} words, got {edges}"
            )
        # From one cluster to the next the width is a quarter, and never nothing.
        if hidden_size < 4 ** len(edges):
            raise ConfigError(
                f"{len(edges)} cutoffs need a hidden size of at least {4 ** len(edges)}, got "
                f"{hidden_size}; take fewer"
            )
        self.layers = nn.AdaptiveLogSoftmaxWithLoss(hidden_size, n_words, edges)

    def _clusters(self) -> list[tuple[Tensor, Tensor]]:
        """Each cluster's two weights: into its narrower vector, and onto its words."""
        tail: Any = self.layers.tail
        return [(renewed(narrow).weight, renewed(words).weight) for narrow, words in tail]

    def logits(self, hidden: Float[Tensor, "*rows H"]) -> Float[Tensor, "*rows V"]:
        """Log-probabilities of all words; being normalised, they are their own log-softmax."""
        layers, rows = self.layers, hidden.reshape(-1, hidden.shape[-1])
        first = linear(rows, renewed(layers.head).weight).log_softmax(1)
        n_frequent = layers.shortlist_size
        parts = [first[:, :n_frequent]]
        for cluster, (narrow, words) in enumerate(self._clusters()):
            inside = linear(linear(rows, narrow), words).log_softmax(1)
            parts.append(inside + first[:, n_frequent + cluster, None])
        return torch.cat(parts, 1).view(*hidden.shape[:-1], layers.n_classes)

    def loss(
        self, hidden: Float[Tensor, "M H"], targets: Int[Tensor, " M"]
    ) -> tuple[Float[Tensor, ""], int]:
        """Cross-entropy against the targets, summed over the rows, in nats; and how many rows."""
        layers = self.layers
        first, total = targets.clone(), hidden.new_zeros(())
        edges = [*layers.cutoffs]
        for cluster, (narrow, words) in enumerate(self._clusters()):
            start, end = edges[cluster : cluster + 2]
            here = ((targets >= start) & (targets < end)).nonzero().squeeze(1)
            first[here] = layers.shortlist_size + cluster
            x = linear(hidden.index_select(0, here), narrow)
            total = total + softmax_cross_entropy(x, words, None, targets[here] - start)
        frequent = renewed(layers.head).weight
        return total + softmax_cross_entropy(hidden, frequent, None, first), len(targets)

    def top_k(
        self, hidden: Float[Tensor, "M H"], k: int
    ) -> tuple[Float[Tensor, "M k"], Int[Tensor, "M k"]]:
        """Log-probabilities and ids of the k likeliest words, best first."""
        values, ids = self.logits(hidden).topk(k, dim=-1)
        return values, ids


class SampledHead(SoftmaxHead):
    """A softmax head that is trained on the right word and a sample of the others.

    Jean, Cho, Memisevic & Bengio 2015, "On using very large target vocabulary", section 3, equation 10:
    each row's loss is the cross-entropy among its right word and the sampled ones, the logarithm of how
    often a word is expected in the sample subtracted from its logit. All rows of a batch share one
    sample; where it holds a row's right word, that row does not see it twice. In `eval` the loss is the
    full softmax's, so that a perplexity is always the full one, as are `logits` and `top_k`.

    Words are drawn without replacement from Zipf's law, p(w) = log((w + 2) / (w + 1)) / log(V + 1): ids
    must be in the order of falling frequency, as those of this package's word vocabularies are (four
    special words first). With E_w exponentially distributed, the n words of smallest E_w / p(w) are such
    a draw, and given the next smallest, τ, word w is in it with probability 1 − exp(−τ p(w)), which is
    what is subtracted. With all words drawn τ is infinite, and the loss is the full one.

    Args:
        hidden_size: width of h.
        n_words: V.
        n_samples: words drawn for each batch, 1…V.
        weight: a parameter `[V, hidden_size]` to share.

    Attributes:
        sparse: whether the weight's gradient in training has only the rows of right and sampled words,
            for `lazy_adam`.

    Raises:
        ConfigError: `n_samples` is out of range.

    It holds M · (n_samples + 1) logits at once.

    >>> head = SampledHead(3, 101, n_samples=7)
    >>> hidden, targets = torch.randn(5, 3), torch.tensor([0, 100, 1, 2, 0])
    >>> total, count = head.loss(hidden, targets)
    >>> bool(head.eval().loss(hidden, targets)[0] > total), count
    (True, 5)
    """

    def __init__(
        self,
        hidden_size: int,
        n_words: int,
        n_samples: int,
        weight: Tensor | None = None,
    ) -> None:
        if not 1 <= n_samples <= n_words:
            raise ConfigError(
                f"n_samples must be at least 1 and at most the {n_words} words, got {n_samples}"
            )
        super().__init__(hidden_size, n_words, weight)
        self.n_samples, self.sparse = n_samples, False
        ranks = torch.arange(1, n_words + 1, dtype=torch.float64)
        zipf = (1 / ranks).log1p() / ranks.new_tensor(n_words + 1).log()
        self.zipf: Tensor
        self.register_buffer("zipf", zipf.float(), persistent=False)

    def loss(
        self,
        hidden: Float[Tensor, "M H"],
        targets: Int[Tensor, " M"],
        smoothing: float = 0.0,
    ) -> tuple[Float[Tensor, ""], int]:
        """Cross-entropy summed over the rows, in nats, and how many rows; in training the sampled one.

        Raises:
            ConfigError: label smoothing in training, which would need the logits of all words.
        """
        if not self.training:
            return super().loss(hidden, targets, smoothing)
        if smoothing:
            raise ConfigError(
                f"a sampled softmax has no label smoothing: set it to 0, got {smoothing}"
            )
        renewed(self)
        sampled, log_expected = self._sample()
        ids = torch.cat([sampled, targets])
        weights = nn.functional.embedding(ids, self.weight, sparse=self.sparse)
        biases = self.bias[ids] - log_expected[ids]
        n = self.n_samples
        others = _at_least_float32(linear(hidden, weights[:n])).add_(biases[:n])
        right = (hidden * weights[n:]).sum(1) + biases[n:]
        place = torch.full_like(log_expected, -1, dtype=torch.int64)
        place[sampled] = torch.arange(n, device=place.device)
        hits = (place[targets] >= 0).nonzero().squeeze(1)
        others[hits, place[targets[hits]]] = -torch.inf
        total = nn.functional.cross_entropy(
            torch.cat([right.unsqueeze(1), others], 1), torch.zeros_like(targets), reduction="sum"
        )
        return total, len(targets)

    @torch.no_grad()
    def _sample(self) -> tuple[Int[Tensor, " n"], Float[Tensor, " V"]]:
        """The drawn words, and for every word the logarithm of its chance to have been drawn."""
        keys = torch.empty_like(self.zipf).exponential_() / self.zipf
        n_words = len(keys)
        values, ids = keys.topk(min(self.n_samples + 1, n_words), largest=False)
        threshold = values[-1] if self.n_samples < n_words else values.new_tensor(torch.inf)
        return ids[: self.n_samples], (-torch.expm1(-threshold * self.zipf)).log()


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
