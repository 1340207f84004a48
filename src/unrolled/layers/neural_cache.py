"""A cache of recent hidden states, which makes the words that followed them likelier again."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from unrolled.config import require
from unrolled.shapes import Float, Int

_STEPS_AT_ONCE = 256


class ContinuousCache:
    """The model's distribution mixed with one over the words of the last `size` steps.

    Grave, Joulin & Usunier 2017, "Improving neural language models with a continuous cache", equations 3
    and 5. With hidden states h_i and the words x_{i+1} that followed them,

        p_cache(w | h_t)  ∝  Σ_{i = t−size}^{t−1} [x_{i+1} = w] · exp(θ h_t · h_i)
        p(w)              =  (1 − λ) · p_model(w) + λ · p_cache(w)

    It needs no training and works on any model while it is evaluated. It reads one text from its start to
    its end: what `log_probs` and `of_targets` are given is appended, after it was used to predict, and
    stays for the windows that follow. At the very start, with nothing cached, p is p_model.

    Args:
        size: steps that are remembered, at least 1.
        theta: θ, at least 0: how much nearer states count; 0 is a unigram cache.
        weight: λ, 0…1, below 1.

    Raises:
        ConfigError: a value out of range.

    No gradients flow through it.

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
        """Forget everything, for another text."""
        self._hidden: Tensor | None = None
        self._words: Tensor | None = None

    @torch.no_grad()
    def log_probs(
        self,
        hidden: Float[Tensor, "T H"],
        log_probs: Float[Tensor, "T V"],
        targets: Int[Tensor, " T"],
    ) -> Float[Tensor, "T V"]:
        """The mixed log-probabilities of all words at each step.

        Args:
            hidden: h_t, what the model's output layer reads.
            log_probs: the model's, normalised.
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
        """The mixed log-probabilities of the words that followed, from the model's for them alone.

        This is all a perplexity needs, and costs T · (T + size) numbers, not T · V.
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
        """Each step's share for each of N cached steps, their words, and whether a step sees any.

        The window itself is part of the N, each step seeing what came before it; then it is cached.
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
        # A step that sees nothing has a row of NaN here, which nobody reads.
        shares = scores.softmax(1).nan_to_num_(0.0)
        self._hidden, self._words = keys[-self.size :].clone(), words[-self.size :].clone()
        return shares, words, seen.any(1)


def _windows(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(_STEPS_AT_ONCE) for tensor in tensors), strict=True)
