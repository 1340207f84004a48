"""Texts to count, and the implementations that count them."""

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
    """`native`, once for each instruction set of this machine, and `plain`."""
    if request.param == "plain":
        yield "plain"
        return
    before = kernels.instruction_set()
    kernels.use_instruction_set(request.param)
    yield "native"
    kernels.use_instruction_set(before)


@pytest.fixture
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disk, where hundreds of files are written."""
    monkeypatch.setattr(storage, "flush", lambda stream: stream.flush())
    monkeypatch.setattr(storage, "flush_folder", lambda path: None)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 lines of 97 words."""
    path = tmp_path_factory.mktemp("text") / "zipf.txt"
    path.write_text("\n".join(zipf_lines(400, 97, seed=5)), encoding="utf-8")
    return path
