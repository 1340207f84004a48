"""One thread for these tests: their tensors are so small that a second one only waits."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    pass
