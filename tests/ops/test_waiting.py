"""Threads of a kernel that wait for each other soon give the core back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from unrolled.kernels import kernels

N_STEPS = 500
LONGEST_WAIT = 3e-4
"""Seconds of processor time that a thread may spend waiting for one step of another on its core."""

PROGRAM = f"""
import os, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import torch
from unrolled import nn, ops

layer, x = nn.LSTM(128, 256), torch.randn({N_STEPS}, 1, 128)
seconds = []
with torch.inference_mode(), ops.using("native"):
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        layer(x)
        start = time.process_time()
        layer(x)
        seconds.append(time.process_time() - start)
print(*seconds)
"""


@pytest.mark.skipif(kernels is None, reason="the kernels are not built")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs threads on one core")
def test_threads_on_one_core_do_not_spin_until_it_is_taken_from_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"UNROLLED_THREADS_FROM": "own"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    alone, together = map(float, done.stdout.split())
    assert together < alone + N_STEPS * LONGEST_WAIT
