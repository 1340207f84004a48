"""The installed version of Unrolled, and memory that the C library holds back."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache


def package_version() -> str:
    """The version of the installed package; "" if it is run from source without being installed."""
    from importlib import metadata  # `unrolled --help` does without it

    try:
        return metadata.version("unrolled")
    except metadata.PackageNotFoundError:
        return ""


def n_cores() -> int:
    """The number of cores that this process may use."""
    # macOS and Windows cannot tell which.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def trim_memory() -> None:
    """Return the allocator's free memory to the system, where the C library can (glibc).

    Batches of ever-changing shapes fragment the heap: without this, a run grows by some 10 MB per
    update, to several times what it needs (NOTES.md). Takes about 45 ms.
    """
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


@cache
def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
