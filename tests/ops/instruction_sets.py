"""The instruction sets to test: all that this machine supports, or the one that is pinned."""

from __future__ import annotations

import os

from unrolled.kernels import kernels

INSTRUCTION_SETS: list[str] = []
if kernels is not None:
    is_pinned = "UNROLLED_INSTRUCTION_SET" in os.environ
    INSTRUCTION_SETS = [kernels.instruction_set()] if is_pinned else kernels.instruction_sets()
