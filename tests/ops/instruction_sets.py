"""The instruction sets to test: all that this machine supports, or the one that is pinned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from unrolled.kernels import kernels

INSTRUCTION_SETS: list[str] = []
if kernels is not None:
    is_pinned = "UNROLLED_INSTRUCTION_SET" in os.environ
    INSTRUCTION_SETS = [kernels.instruction_set()] if is_pinned else kernels.instruction_sets()


@contextmanager
def restored() -> Iterator[None]:
    """Pin again at the end what is pinned now; without kernels, nothing."""
    before = None if kernels is None else kernels.instruction_set()
    try:
        yield
    finally:
        if kernels is not None:
            kernels.use_instruction_set(before)


def pinned() -> Iterator[str]:
    """Every instruction set, pinned in turn (inside `restored`); without kernels, "none" once."""
    for name in INSTRUCTION_SETS:
        kernels.use_instruction_set(name)
        yield name
    if not INSTRUCTION_SETS:
        yield "none"
