"""Probabilities from scores."""

from __future__ import annotations

import numpy as np

from unrolled.inference.recurrence import Floats


def softmax(scores_C: Floats) -> Floats:
    """Probabilities that sum to 1 over the last axis."""
    powers = np.exp(scores_C - scores_C.max(axis=-1, keepdims=True))
    found: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return found
