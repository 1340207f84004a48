"""A short run of the campaign of kills; the long one is `python tests/kills/campaign.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_runs_killed_at_random_instants_end_alike() -> None:
    script = Path(__file__).with_name("campaign.py")
    folders = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, script, "--kinds", "classify", "--trials", "2", "--pairs", "1"],
        env={**os.environ, "PYTHONPATH": folders, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("classify")
