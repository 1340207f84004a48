"""Arrays that the kernels would misread are refused before their address is used."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.vectors.kernels import native

pytestmark = pytest.mark.skipif(native.why_not() is not None, reason="without the kernels")

IDS = np.array([0, 1, -1, 0], np.int32)
STARTS = np.array([0, 1, 3], np.int64)
WORDS = np.array([7, 8, 9], np.int32)


def test_plain_arrays_are_read() -> None:
    assert native.expand(IDS, STARTS, WORDS).tolist() == [7, 8, 9, -1, 7]


@pytest.mark.parametrize(
    "ids",
    [IDS.astype(np.int64), IDS.astype(">i4"), np.repeat(IDS, 2)[::2], IDS[::-1]],
    ids=["wider", "other byte order", "apart", "backwards"],
)
def test_other_types_and_strides_are_refused(ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match="the kernels expect a contiguous array of int32"):
        native.expand(ids, STARTS, WORDS)


def test_a_read_only_array_is_not_written() -> None:
    ids = np.zeros(3, np.int32)
    ids.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        native._address(ids, np.int32, is_written=True)
