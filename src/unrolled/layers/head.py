"""The output layer and its loss in one object, so that training never stores B·T·V numbers."""

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
from unrolled.ops.linear import linear, linear_in_float32
from unrolled.shapes import Float, Int


class SoftmaxHead(nn.Module):
    """logits = W h + b over V words, with the cross-entropy computed block by block.

    Args:
        hidden_size: width of h.
        n_words: V.
        weight: a parameter `[V, hidden_size]` to share, e.g. that of an embedding (tied weights).

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
        """Compute the unnormalised scores of all words."""
        renewed(self)
        return linear(hidden, self.weight, self.bias)

    def logits_of(
        self, hidden: Float[Tensor, "*rows H"], ids: Int[Tensor, " N"]
    ) -> Float[Tensor, "*rows N"]:
        """Compute the unnormalised scores of some words, and read the weights of no others."""
        if type(self).logits is not SoftmaxHead.logits:
            return self.logits(hidden)[..., ids]
        renewed(self)
        return linear(hidden, self.weight[ids], self.bias[ids])

    def loss(
        self,
        hidden: Float[Tensor, "M H"],
        targets: Int[Tensor, " M"],
        smoothing: float = 0.0,
    ) -> tuple[Float[Tensor, ""], int]:
        """Cross-entropy against the targets, summed over the rows, in nats; and the number of rows.

        With label smoothing ε, the target distribution is (1 − ε) on the target word plus ε / V on
        every word (Szegedy et al. 2016, section 7).
        """
        renewed(self)
        total = softmax_cross_entropy(hidden, self.weight, self.bias, targets, smoothing)
        return total, len(targets)

    def top_k(
        self, hidden: Float[Tensor, "M H"], k: int
    ) -> tuple[Float[Tensor, "M k"], Int[Tensor, "M k"]]:
        """Log-probabilities and ids of the k most probable words, best first."""
        logits = self.logits(hidden)
        values, ids = logits.topk(k, dim=-1)
        return values - logits.logsumexp(-1, keepdim=True), ids


class CopyHead(SoftmaxHead):
    """A softmax head that can also copy source words, including words that are not in the vocabulary.

    See, Liu & Manning 2017, "Get to the point: summarization with pointer-generator networks", eq. 8–9.
    With attention a_s over the steps of a source, where copying step s writes the word ids_s:

        g = σ(u · h + c)                            the probability of generating rather than copying
        p(w) = g softmax(W h + b)_w + (1 − g) Σ_{s: ids_s = w} a_s

    In the paper, g is computed from the context, the decoder's state and its input; here it is computed
    from h, the output, which combines the context and the state.

    Ids 0 … V − 1 are the words of the vocabulary. Id V + s is the word at step s of the row's own source,
    if that word is in no vocabulary; equal words share the id of the first one.

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
            hidden: the vectors from which the words are predicted.
            looked: the attention weights of each row, which sum to 1.
            ids: the word of each step, below V + S.
        """
        generated = self.logits(hidden).log_softmax(-1)
        gate = linear(hidden, self.gate_weight, self.gate_bias)
        n_steps = looked.shape[-1]
        generated = nn.functional.pad(generated, (0, n_steps), value=-torch.inf)
        copied = torch.zeros_like(generated).scatter_add_(-1, ids, looked.to(generated.dtype))
        log_gate, log_rest = _log_gates(gate)
        return torch.logaddexp(generated + log_gate, copied.log() + log_rest)

    def loss(  # type: ignore[override]  # it needs the attention weights
        self,
        hidden: Float[Tensor, "M H"],
        targets: Int[Tensor, " M"],
        smoothing: float = 0.0,
        *,
        looked: Float[Tensor, "M S"],
        ids: Int[Tensor, "M S"],
    ) -> tuple[Float[Tensor, ""], int]:
        """−log p(target), summed over the rows, in nats; and the number of rows.

        Label smoothing ε only applies to generated words: (1 − ε) times the above, plus ε / V times the
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
                # The logits of a block are computed again in the backward pass instead of being stored.
                parts.append(checkpoint(self._block_loss, *block, use_reentrant=False))
            else:
                parts.append(self._block_loss(*block))
        total = torch.stack(parts).sum() if parts else hidden.sum()
        return total, len(targets)

    def _block_loss(
        self, hidden: Tensor, targets: Tensor, looked: Tensor, ids: Tensor, smoothing: float
    ) -> Tensor:
        n_words = len(self.weight)
        logits = _at_least_float32(linear_in_float32(hidden, self.weight, self.bias))
        log_probs = logits.log_softmax(1)
        gate = _at_least_float32(linear(hidden, self.gate_weight, self.gate_bias))
        log_gate, log_rest = (part.squeeze(1) for part in _log_gates(gate))
        is_word = targets < n_words
        generated = log_probs.gather(1, torch.where(is_word, targets, 0).unsqueeze(1)).squeeze(1)
        chance = (looked * (ids == targets.unsqueeze(1))).sum(1).to(generated.dtype)
        tiny = torch.finfo(chance.dtype).tiny
        # A vocabulary word that does not occur in the source has copy probability 0, with logarithm −∞;
        # for a word that can only be copied, the probability may underflow.
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
    """Adaptive softmax: frequent words have their own logits; rare words are grouped into clusters.

    Grave, Joulin, Cissé, Grangier & Jégou 2017, "Efficient softmax approximation for GPUs". The
    probability of a rare word is that of its cluster times its own within the cluster. The latter is
    computed from a narrower hidden vector (each cluster has a quarter of the width of the previous one).
    It is a model in its own right and not an approximation: training and evaluation use the same,
    normalised distribution.

    Ids must be in order of decreasing frequency, as in the word vocabularies of this package: four
    special words with ids 0 to 3, then the words by count. The special words belong to the frequent ones.

    Args:
        hidden_size: width of h.
        n_words: V.
        cutoffs: the first id of each cluster, in increasing order, each at least 1 and below V; ids below
            the first cutoff are the frequent words.

    Attributes:
        layers: `torch.nn.AdaptiveLogSoftmaxWithLoss`, which holds the parameters and defines the values;
            matrix products are computed as in `SoftmaxHead`.

    Raises:
        ConfigError: the cutoffs are invalid, or too many for the hidden size.

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
                "cutoffs must be increasing ids, each at least 1 and below the number of words, "
                f"{n_words}, got {edges}"
            )
        # Each cluster has a quarter of the width of the previous one, which must not become 0.
        if hidden_size < 4 ** len(edges):
            raise ConfigError(
                f"{len(edges)} cutoffs need a hidden size of at least {4 ** len(edges)}, got "
                f"{hidden_size}; use fewer cutoffs"
            )
        self.layers = nn.AdaptiveLogSoftmaxWithLoss(hidden_size, n_words, edges)

    def _clusters(self) -> list[tuple[Tensor, Tensor]]:
        """The two weights of each cluster: the projection to its width, and its output layer."""
        tail: Any = self.layers.tail
        return [(renewed(narrow).weight, renewed(words).weight) for narrow, words in tail]

    def logits(self, hidden: Float[Tensor, "*rows H"]) -> Float[Tensor, "*rows V"]:
        """Log-probabilities of all words; as they are normalised, log-softmax leaves them unchanged."""
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
        """Cross-entropy against the targets, summed over the rows, in nats; and the number of rows."""
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
        """Log-probabilities and ids of the k most probable words, best first."""
        values, ids = self.logits(hidden).topk(k, dim=-1)
        return values, ids


class SampledHead(SoftmaxHead):
    """Sampled softmax: a softmax head that is trained on the target word and a sample of the others.

    Jean, Cho, Memisevic & Bengio 2015, "On using very large target vocabulary", section 3, equation 10:
    the loss of a row is the cross-entropy over its target word and the sampled words, with the logarithm
    of a word's expected count in the sample subtracted from its logit. All rows of a batch share one
    sample; if it contains the target word of a row, the word is counted only once in that row. In
    evaluation mode, the loss is that of the full softmax, so perplexities always refer to the full
    softmax. `logits` and `top_k` always use the full softmax.

    Words are drawn without replacement from Zipf's law, p(w) = log((w + 2) / (w + 1)) / log(V + 1). Ids
    must therefore be in order of decreasing frequency, as in the word vocabularies of this package (four
    special words first). With E_w exponentially distributed, the n words with the smallest E_w / p(w) are
    such a sample. Given the next smallest value, τ, word w is in the sample with probability
    1 − exp(−τ p(w)), whose logarithm is subtracted. If all words are drawn, τ is infinite, and the loss
    is that of the full softmax.

    Args:
        hidden_size: width of h.
        n_words: V.
        n_samples: number of words drawn per batch, 1…V.
        weight: a parameter `[V, hidden_size]` to share.

    Attributes:
        sparse: whether the weight's gradient in training has only the rows of target and sampled words,
            for `lazy_adam`.

    Raises:
        ConfigError: `n_samples` is out of range.

    In training, M · (n_samples + 1) logits are stored at once.

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
                f"n_samples must be at least 1 and at most the number of words, {n_words}, got "
                f"{n_samples}"
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
        """Cross-entropy (sampled in training), summed over the rows, in nats; and the number of rows.

        Raises:
            ConfigError: label smoothing in training, which would need the logits of all words.
        """
        if not self.training:
            return super().loss(hidden, targets, smoothing)
        if smoothing:
            raise ConfigError(
                f"sampled softmax does not support label smoothing: set it to 0, got {smoothing}"
            )
        renewed(self)
        sampled, log_expected = self._sample()
        ids = torch.cat([sampled, targets])
        weights = nn.functional.embedding(ids, self.weight, sparse=self.sparse)
        biases = self.bias[ids] - log_expected[ids]
        n = self.n_samples
        others = _at_least_float32(linear_in_float32(hidden, weights[:n], None)).add_(biases[:n])
        gold = (hidden * weights[n:]).sum(1) + biases[n:]
        place = torch.full_like(log_expected, -1, dtype=torch.int64)
        place[sampled] = torch.arange(n, device=place.device)
        hits = (place[targets] >= 0).nonzero().squeeze(1)
        others[hits, place[targets[hits]]] = -torch.inf
        total = nn.functional.cross_entropy(
            torch.cat([gold.unsqueeze(1), others], 1), torch.zeros_like(targets), reduction="sum"
        )
        return total, len(targets)

    @torch.no_grad()
    def _sample(self) -> tuple[Int[Tensor, " n"], Float[Tensor, " V"]]:
        """The sampled words, and the log-probability of every word to be in the sample."""
        keys = torch.empty_like(self.zipf).exponential_() / self.zipf
        n_words = len(keys)
        values, ids = keys.topk(min(self.n_samples + 1, n_words), largest=False)
        threshold = values[-1] if self.n_samples < n_words else values.new_tensor(torch.inf)
        return ids[: self.n_samples], (-torch.expm1(-threshold * self.zipf)).log()


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
