"""A cache of recent hidden states, which raises the probability of the words that followed them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from unrolled.config import require
from unrolled.shapes import Float, Int

_STEPS_AT_ONCE = 256


class ContinuousCache:
    """Continuous cache: mix the model's distribution with one over the words of the last `size` steps.

    Grave, Joulin & Usunier 2017, "Improving neural language models with a continuous cache", equations 3
    and 5. With hidden states h_i and the words x_{i+1} that followed them,

        p_cache(w | h_t)  ∝  Σ_{i = t−size}^{t−1} [x_{i+1} = w] · exp(θ h_t · h_i)
        p(w)              =  (1 − λ) · p_model(w) + λ · p_cache(w)

    The cache needs no training and works with any model at evaluation time. It reads one text from start
    to end: the steps passed to `log_probs` and `of_targets` are first predicted, then appended to the
    cache and kept for the windows that follow. At the very start, with an empty cache, p is p_model.

    Args:
        size: number of steps that are cached, at least 1.
        theta: θ, at least 0: how strongly similar states are preferred; 0 is a unigram cache.
        weight: λ, at least 0 and below 1.

    Raises:
        ConfigError: a value is out of range.

    It has no gradients.

    >>> cache = ContinuousCache(size=2, theta=0.0, weight=0.5)
    >>> even = torch.full((3, 4), 0.25).log()
    >>> mixed = cache.log_probs(torch.zeros(3, 5), even, torch.tensor([1, 2, 2]))
    >>> mixed.exp()[2].tolist()
    [0.125, 0.375, 0.375, 0.125]
    """

    def __init__(self, size: int, theta: float = 0.3, weight: float = 0.1) -> None:
        require(size >= 1, "size", "at least 1", size)
        require(0 <= theta < math.inf, "theta", "at least 0", theta)
        require(0 <= weight < 1, "weight", "at least 0 and below 1", weight)
        self.size, self.theta, self.weight = size, theta, weight
        self.clear()

    def __str__(self) -> str:
        return f"continuous cache of {self.size}, θ = {self.theta:g}, λ = {self.weight:g}"

    def clear(self) -> None:
        """Empty the cache, before another text."""
        self._hidden: Tensor | None = None
        self._words: Tensor | None = None

    @torch.no_grad()
    def log_probs(
        self,
        hidden: Float[Tensor, "T H"],
        log_probs: Float[Tensor, "T V"],
        targets: Int[Tensor, " T"],
    ) -> Float[Tensor, "T V"]:
        """Return the mixed log-probabilities of all words at each step.

        Args:
            hidden: h_t, the input of the model's output layer.
            log_probs: the model's normalised log-probabilities.
            targets: the words that followed, x_{t+1}.
        """
        mixed = []
        for h, model, words in _windows(hidden, log_probs, targets):
            shares, cached, has_any = self._look_up(h, words)
            from_cache = model.new_zeros(model.shape)
            from_cache.scatter_add_(1, cached.expand(len(h), -1), shares)
            mixed.append(self._mix(model, from_cache, has_any.unsqueeze(1)))
        return torch.cat(mixed) if mixed else log_probs.clone()

    @torch.no_grad()
    def of_targets(
        self,
        hidden: Float[Tensor, "T H"],
        log_probs: Float[Tensor, " T"],
        targets: Int[Tensor, " T"],
    ) -> Float[Tensor, " T"]:
        """Return the mixed log-probabilities of the target words, given the model's for them alone.

        This is all that a perplexity needs, and takes T · (T + size) numbers instead of T · V.
        """
        mixed = []
        for h, model, words in _windows(hidden, log_probs, targets):
            shares, cached, has_any = self._look_up(h, words)
            from_cache = shares.masked_fill_(cached != words.unsqueeze(1), 0.0).sum(1)
            mixed.append(self._mix(model, from_cache, has_any))
        return torch.cat(mixed) if mixed else log_probs.clone()

    def _mix(self, model: Tensor, from_cache: Tensor, has_any: Tensor) -> Tensor:
        if not self.weight:
            return model
        own = model + math.log1p(-self.weight)
        both = torch.logaddexp(own, (from_cache * self.weight).log())
        return torch.where(has_any, both, model)

    def _look_up(
        self, hidden: Tensor, targets: Tensor
    ) -> tuple[Float[Tensor, "T N"], Int[Tensor, " N"], Tensor]:
        """The weight of each of N cached steps at each step, their words, and whether a step sees any.

        The window itself is part of the N steps, and each step sees only those before it. The window is
        cached afterwards.
        """
        if self._hidden is None or self._words is None:
            self._hidden, self._words = hidden[:0].clone(), targets[:0].clone()
        n_old, n_new = len(self._hidden), len(hidden)
        keys, words = torch.cat([self._hidden, hidden]), torch.cat([self._words, targets])
        scores = (hidden @ keys.t()).mul_(self.theta)
        place = torch.arange(n_old, n_old + n_new, device=hidden.device).unsqueeze(1)
        other = torch.arange(n_old + n_new, device=hidden.device)
        seen = (other < place) & (other >= place - self.size)
        scores.masked_fill_(~seen, -torch.inf)
        # A step that sees nothing gets a row of NaN here, which is never read.
        shares = scores.softmax(1).nan_to_num_(0.0)
        self._hidden, self._words = keys[-self.size :].clone(), words[-self.size :].clone()
        return shares, words, seen.any(1)


def _windows(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(_STEPS_AT_ONCE) for tensor in tensors), strict=True)
