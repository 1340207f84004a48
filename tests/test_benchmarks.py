"""Benchmarks are run rarely; check that their imports still work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PROGRAMS = sorted(path.name for path in BENCHMARKS.glob("*.py"))
MODULES = {"convert_sets.py", "onnx_step.py"}
"""Imported by programs, and none themselves."""

NEEDS = {"cells.py": "matplotlib"}
"""Packages that a core installation does not have and that a program imports at once."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_imports_and_has_help(name: str, tmp_path: Path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    done = subprocess.run(
        [sys.executable, BENCHMARKS / name, "--help"],
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"MPLCONFIGDIR": str(tmp_path)},
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    if name in MODULES:
        assert done.stdout == ""
    else:
        assert done.stdout.startswith(f"usage: {name}")
