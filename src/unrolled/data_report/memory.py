"""Memory that training takes, from the memory of this process while it trains on a few batches.

Batches of ever-changing shapes fragment the heap (`system.trim_memory`): over an epoch, up to 4 times the
memory of the largest batch was measured. So memory is estimated as that before the first update, with the
state of the optimizer, and the memory of the largest batch times 1 + n / 10 for n updates, at most 4.
For running text all batches have the same shape, and it counts once. Reading the data may take more.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import torch

from unrolled.system import trim_memory

_MOST_GROWTH = 4.0
_GROWTH_PER_UPDATE = 0.1


class MemoryGauge:
    """The peak memory before and after the first update, which must be on the largest batch.

    Args:
        device: device of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        trim_memory()
        self._peak_before = _peak() or 0
        self._before = _reset_peak()
        self._batch = 0

    def note_first_update(self, n_new_bytes: int) -> None:
        """Measure the largest batch.

        Args:
            n_new_bytes: gradients and optimizer state, which the first update created.
        """
        peak = _peak()
        if self._before is not None and peak is not None:
            self._before += n_new_bytes
            self._batch = max(0, peak - self._before)

    def estimate(self, n_updates: int, has_fixed_shape: bool) -> int | None:
        """The peak memory of training in bytes; None if the system does not tell.

        Args:
            n_updates: number of updates of an epoch.
            has_fixed_shape: whether all batches have the same shape.
        """
        if self._device.type == "cuda":
            return torch.cuda.max_memory_reserved(self._device)
        peak = _peak()
        if peak is None or self._before is None:
            return peak
        growth = 1.0 if has_fixed_shape else min(_MOST_GROWTH, 1 + _GROWTH_PER_UPDATE * n_updates)
        return max(self._peak_before, peak, round(self._before + growth * self._batch))


def _peak() -> int | None:
    """The highest memory use of the process, since `_reset_peak` if the system can."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peak() -> int | None:
    """Forget the highest memory use; returns the present use in bytes, None if the system cannot."""
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
