"""A short run of the fuzz; `python tests/fuzz/fuzz.py` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzz forks a process for its cases")
def test_damaged_small_files_end_in_one_sentence() -> None:
    names = ["config.toml", "pointer.json", "labels.json", "split.json", "record.json"]
    done = subprocess.run(
        [sys.executable, str(FUZZ), *names, "--per-file", "3"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cases in" in done.stdout
