"""Many rows of ids, stored compactly."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MOST_OF_16_BITS = 1 << 16


class IdRows:
    """Rows of ids, which take 2 or 4 bytes each instead of 8 for a list of integers.

    Args:
        n_ids: number of different ids; all are below it.

    >>> rows = IdRows(9)
    >>> rows.append([4, 5])
    >>> rows.append([])
    >>> rows[0], rows[1], len(rows), rows.ids.tolist()
    ([4, 5], [], 2, [4, 5])
    """

    def __init__(self, n_ids: int) -> None:
        self._ids = array("H" if n_ids <= _MOST_OF_16_BITS else "I")
        self._starts = array("q", [0])

    def append(self, row: Sequence[int]) -> None:
        """Add a row."""
        self._ids.extend(row)
        self._starts.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, place: int) -> list[int]:
        return self._ids[self._starts[place] : self._starts[place + 1]].tolist()

    @property
    def ids(self) -> NDArray[np.unsignedinteger]:
        """The ids of all rows, one after another; no row can be added while they are referred to."""
        return np.frombuffer(self._ids, self._ids.typecode)
