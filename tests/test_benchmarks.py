"""Benchmarks are run rarely; check that their imports still work."""

from __future__ import annotations

import runpy
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
def test_a_benchmark_imports_and_has_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    code: object = None
    try:
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr().out
    if name in MODULES:
        assert (code, printed) == (None, "")
    else:
        assert code == 0
        assert printed.startswith(f"usage: {name}")
