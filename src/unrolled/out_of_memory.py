"""Detection of out-of-memory errors, which libraries report in different ways.

It imports nothing, because an import may fail for lack of memory.
"""

from __future__ import annotations

_MESSAGES = (
    "DefaultCPUAllocator",  # torch on the CPU
    "not enough memory",
    "out of memory",
    "annot allocate memory",  # the operating system's, capitalized or not
    "failed to map segment",  # of a shared library
    "can't start new thread",
)
_SYSTEM_ERROR_MESSAGES = ("without setting an exception", "without raising an exception")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, is an out-of-memory error.

    >>> is_out_of_memory(ImportError("libtorch.so: failed to map segment from shared object"))
    True
    """
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        is_system_error = isinstance(error, SystemError)
        messages = _MESSAGES + _SYSTEM_ERROR_MESSAGES if is_system_error else _MESSAGES
        if isinstance(error, MemoryError) or any(text in str(error) for text in messages):
            return True
        error = error.__cause__ or error.__context__
    return False
