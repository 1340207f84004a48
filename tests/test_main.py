"""The entry point of the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from unrolled.__main__ import share_cores


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_idle_threads_sleep_soon_unless_the_user_decides(
    given: dict[str, str], spins: str | None
) -> None:
    environment = dict(given)
    share_cores(environment)
    assert environment.get("GOMP_SPINCOUNT") == spins


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is that of GNU's OpenMP")
def test_the_setting_reaches_openmp_before_it_is_loaded() -> None:
    program = (
        "import os, sys, runpy\n"
        "sys.argv = ['unrolled', 'doctor']\n"
        "try: runpy.run_module('unrolled', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' in sys.modules\n"
    )
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr
