"""The recurrence and its implementations: one layer, one direction, over rows of different lengths.

    unroll       run it, with the first implementation that can
    unroll_both  the same for both directions of a layer at once
    using        pin one implementation; `pinned` returns its name
    explain      which implementation would run, and why the others would not

Only this package is time-major. It deals with tensors and knows nothing of modules, text or tasks.
"""

from unrolled.ops.dispatch import (
    IMPLEMENTATIONS,
    Explanation,
    choose,
    explain,
    initial_state,
    pinned,
    unroll,
    unroll_both,
    using,
)
from unrolled.ops.types import Kind, State, Weights

__all__ = [
    "IMPLEMENTATIONS",
    "Explanation",
    "Kind",
    "State",
    "Weights",
    "choose",
    "explain",
    "initial_state",
    "pinned",
    "unroll",
    "unroll_both",
    "using",
]
