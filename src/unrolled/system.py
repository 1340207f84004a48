"""Memory that the C library holds back."""

from __future__ import annotations

import ctypes
import sys
from functools import cache


def trim_memory() -> None:
    """Hand the allocator's free memory back to the system, where the C library can (glibc).

    Batches of ever new shapes leave holes that no later one fills: without this a run grows by some
    10 MB an update, to several times what it needs (NOTES.md). Takes about 45 ms.
    """
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


@cache
def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
