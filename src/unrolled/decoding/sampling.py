"""Sampling: draw tokens from the model's distribution, with temperature, top-k and top-p."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unrolled.decoding.config import DecodingConfig
from unrolled.decoding.independent import follow
from unrolled.decoding.types import Hypothesis, StepModel, StepState
from unrolled.shapes import Float, Int


def draw(
    log_probs: Float[Tensor, "B Q V"],
    uniforms: Float[Tensor, "B Q"],
    config: DecodingConfig,
) -> Int[Tensor, "B Q"]:
    """Draw one token per hypothesis by inverting the cumulative distribution at `uniforms`, in [0, 1).

    The distribution is softmax(log_probs / temperature). `top_k` restricts it to its k most probable
    tokens; `top_p` restricts the rest, renormalised, to the smallest set of most probable tokens that
    holds this share of it (the nucleus of Holtzman et al. 2020, section 3.1).

    >>> log_probs = torch.tensor([[[0.1, 0.2, 0.7]]]).log()
    >>> [draw(log_probs, torch.tensor([[u]]), DecodingConfig()).item() for u in (0.05, 0.25, 0.35)]
    [0, 1, 2]
    >>> draw(log_probs, torch.tensor([[0.05]]), DecodingConfig(top_p=0.6)).item()
    2
    """
    V = log_probs.shape[2]
    # float64, so that rounding in the sum over a large vocabulary does not shift the boundaries.
    sharpened_BQV = log_probs.double() / config.temperature
    if 0 < config.top_k < V or config.top_p < 1:
        n_candidates = min(config.top_k or V, V)
        candidates_BQV, tokens_BQV = sharpened_BQV.topk(n_candidates, 2)
    else:
        candidates_BQV, tokens_BQV = sharpened_BQV, None
    probabilities_BQV = candidates_BQV.softmax(2)
    cumulative_BQV = probabilities_BQV.cumsum(2)
    last_BQ1 = torch.full_like(uniforms, cumulative_BQV.shape[2] - 1).long().unsqueeze(2)
    if config.top_p < 1:
        before_BQV = cumulative_BQV - probabilities_BQV
        last_BQ1 = (before_BQV < config.top_p).sum(2, keepdim=True) - 1
    mass_BQ1 = cumulative_BQV.gather(2, last_BQ1)
    at_BQ1 = uniforms.double().unsqueeze(2) * mass_BQ1
    chosen_BQ1 = torch.searchsorted(cumulative_BQV, at_BQ1, right=True).minimum(last_BQ1)
    if tokens_BQV is not None:
        chosen_BQ1 = tokens_BQV.gather(2, chosen_BQ1)
    return chosen_BQ1.squeeze(2)


def sample(
    step_model: StepModel,
    state: StepState,
    limits: Sequence[int],
    *,
    config: DecodingConfig,
    bos_id: int,
    eos_id: int,
    barred: Tensor,
    keys: Sequence[int],
    with_attention: bool = False,
) -> list[list[Hypothesis]]:
    """Draw `config.n_best` independent samples per sentence, possibly equal; arguments as in `follow`.

    Each sentence has its own random generator, seeded with `config.seed` and its key, so its samples do
    not depend on the batch it is in. Log-probabilities and scores are the model's own, before
    temperature, top-k and top-p.
    """
    uniforms = [
        _uniforms(config.seed, key, limit, config.n_best)
        for key, limit in zip(keys, limits, strict=True)
    ]

    def choose(log_probs_BQV: Tensor, step: int, sentences: list[int]) -> Tensor:
        uniforms_BQ = torch.from_numpy(np.stack([uniforms[index][step] for index in sentences]))
        return draw(log_probs_BQV, uniforms_BQ.to(log_probs_BQV.device), config)

    return follow(
        step_model,
        state,
        limits,
        choose,
        config.n_best,
        alpha=config.length_penalty,
        bos_id=bos_id,
        eos_id=eos_id,
        barred=barred,
        with_attention=with_attention,
    )


def _uniforms(seed: int, key: int, limit: int, n_paths: int) -> np.ndarray:
    return np.random.default_rng([seed, key]).random((limit, n_paths))
