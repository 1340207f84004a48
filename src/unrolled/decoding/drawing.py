"""One token from a distribution, without torch; `decoding.sampling` draws for many rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.decoding.config import DecodingConfig


def drawn(log_probs_V: NDArray[Any], uniform: float, config: DecodingConfig) -> int:
    """Draw a token by inverting the cumulative distribution at `uniform`, in [0, 1).

    The distribution is that of `decoding.sampling.draw`.

    >>> [drawn(np.log([0.1, 0.2, 0.7]), u, DecodingConfig()) for u in (0.05, 0.25, 0.35)]
    [0, 1, 2]
    >>> drawn(np.log([0.1, 0.2, 0.7]), 0.05, DecodingConfig(top_p=0.6))
    2
    """
    V = len(log_probs_V)
    sharpened_V = log_probs_V.astype(np.float64) / config.temperature
    tokens = None
    if 0 < config.top_k < V or config.top_p < 1:
        tokens = best(sharpened_V, min(config.top_k or V, V))
        sharpened_V = sharpened_V[tokens]
    weights_V = np.exp(sharpened_V - sharpened_V.max())
    p_V = weights_V / weights_V.sum()
    cumulative_V = p_V.cumsum()
    last = len(p_V) - 1
    if config.top_p < 1:
        last = max(0, int((cumulative_V - p_V < config.top_p).sum()) - 1)
    at = uniform * cumulative_V[last]
    place = min(int(cumulative_V.searchsorted(at, side="right")), last)
    return place if tokens is None else int(tokens[place])


def best(values_V: NDArray[Any], n: int) -> NDArray[Any]:
    """The places of the n largest values, best first; of equal values, the first ones first.

    >>> best(np.array([1.0, 3.0, 2.0, 3.0]), 3).tolist()
    [1, 3, 2]
    """
    V = len(values_V)
    places = np.arange(V)
    if n < V:
        least = np.partition(values_V, V - n)[V - n]
        # More than n if values are equal; the sort below is stable.
        places = np.flatnonzero(~(values_V < least))
    found: NDArray[Any] = places[np.argsort(-values_V[places], kind="stable")][:n]
    return found
