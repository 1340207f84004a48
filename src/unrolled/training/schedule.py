"""The learning rate of each update."""

from __future__ import annotations

import math
from typing import assert_never

from unrolled.training.config import TrainingConfig


def learning_rate(
    config: TrainingConfig, step: int, fraction_done: float = 0.0, n_reductions: int = 0
) -> float:
    """The learning rate of one update.

    With base rate r, step n counted from 1, w warm-up steps, and the share d of training completed
    before the step:

        constant      r · min(1, n / w)
        plateau       r · min(1, n / w) · factor^reductions
        linear        r · min(n / w, 1 − d)
        inverse_sqrt  r · min(n / w, √(w / n)), w at least 1      Vaswani et al. 2017, section 5.3
        slanted       r · (1 + p (ratio − 1)) / ratio             Howard & Ruder 2018, eq. 3, where
                      p = d / cut up to d = cut, then (1 − d) / (1 − cut)

    Args:
        config: schedule and its parameters.
        step: number of the update, from 1.
        fraction_done: d, 0…1.
        n_reductions: number of reductions by the plateau schedule so far.

    >>> config = TrainingConfig(schedule="inverse_sqrt", learning_rate=0.5, warmup_steps=4)
    >>> [learning_rate(config, step) for step in (1, 4, 16)]
    [0.125, 0.5, 0.25]
    """
    warmup = config.warmup_steps
    rise = step / warmup if step < warmup else 1.0
    match config.schedule:
        case "plateau":
            factor = rise * config.plateau_factor**n_reductions
        case "linear":
            factor = min(rise, 1.0 - fraction_done)
        case "inverse_sqrt":
            factor = min(rise, math.sqrt(max(1, warmup) / step))
        case "slanted":
            cut, ratio = config.slanted_cut, config.slanted_ratio
            rises = fraction_done < cut
            share = fraction_done / cut if rises else (1.0 - fraction_done) / (1.0 - cut)
            factor = (1.0 + share * (ratio - 1.0)) / ratio
        case "constant":
            factor = rise
        case unknown:
            assert_never(unknown)
    return config.learning_rate * factor
