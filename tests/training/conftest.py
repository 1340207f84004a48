"""Data for the tests' own task, and a single thread for its tiny matrix products."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test modules are imported by path, which leaves their neighbours unfindable.
sys.path.insert(0, str(Path(__file__).parent))

from counting import write_data


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "numbers.tsv")
