"""Fixtures: a text, and the implementations of counting and training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from brute_force import zipf_lines
from instruction_sets import INSTRUCTION_SETS

from unrolled import storage
from unrolled.kernels import kernels

IMPLEMENTATIONS = [*INSTRUCTION_SETS, "plain"]


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """`native` with each instruction set of this machine, and `plain`."""
    if request.param == "plain":
        yield "plain"
        return
    before = kernels.instruction_set()
    kernels.use_instruction_set(request.param)
    yield "native"
    kernels.use_instruction_set(before)


@pytest.fixture
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip flushing to disk in tests that write hundreds of files."""
    monkeypatch.setattr(storage, "flush", lambda stream: stream.flush())
    monkeypatch.setattr(storage, "flush_folder", lambda path: None)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 400 lines with 97 different words."""
    path = tmp_path_factory.mktemp("text") / "zipf.txt"
    path.write_text("\n".join(zipf_lines(400, 97, seed=5)), encoding="utf-8")
    return path
