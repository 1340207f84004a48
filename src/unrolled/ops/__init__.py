"""What recurrence means and how fast it runs: one layer, one direction, over rows of any length.

    unroll       run it, with the first implementation that can
    unroll_both  the same for both directions of a layer at once
    using        pin one implementation; `pinned` tells which
    explain      which would run, and why the others would not

Only this package is time-major. It knows tensors and nothing of modules, text or tasks.
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
