"""A lack of memory, which libraries tell in several ways; it imports nothing that could lack it."""

from __future__ import annotations

_SAID = (
    "DefaultCPUAllocator",  # torch's, on the CPU
    "not enough memory",
    "out of memory",
    "annot allocate memory",  # the system's, with and without a capital
    "failed to map segment",  # of a shared library
    "can't start new thread",
)
_SAID_BY_PYTHON = ("without setting an exception", "without raising an exception")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is a lack of memory.

    >>> is_out_of_memory(ImportError("libtorch.so: failed to map segment from shared object"))
    True
    """
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        said = _SAID + _SAID_BY_PYTHON if isinstance(error, SystemError) else _SAID
        if isinstance(error, MemoryError) or any(words in str(error) for words in said):
            return True
        error = error.__cause__ or error.__context__
    return False
