"""The data of the tests' own task, and one thread for its tiny products."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Test modules are imported by path, which leaves their neighbours unfindable.
sys.path.insert(0, str(Path(__file__).parent))

from counting import write_data


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "numbers.tsv")
