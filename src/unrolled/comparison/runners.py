"""Where runs are made: in processes of this machine, or on a Dask cluster, one task for each run.

Both start the same process for a run (`comparison.job`), so that a run that is interrupted resumes
exactly, and Ctrl-C, a kill of this process and the loss of a worker end in the same way. On a cluster,
the folder of the comparison must be on a file system that all workers share.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from unrolled.comparison.job import STOPPED, Job, line_of
from unrolled.errors import UnavailableError, missing_package
from unrolled.quoting import one_message

_PATIENCE = 30.0  # seconds for processes to write a checkpoint and end
_POLL = 0.1


@dataclass(frozen=True)
class Ended:
    """A run has ended.

    Args:
        key: key of the run.
        problem: why it has no result; "" if it has one.
    """

    key: str
    problem: str


class Runner(Protocol):
    """What makes runs, some at a time.

    Attributes:
        n_free: number of runs that can be started now.
    """

    @property
    def n_free(self) -> int: ...

    def start(self, key: str, job: Job, log: Path) -> None:
        """Start a run."""

    def wait(self, seconds: float) -> list[Ended]:
        """Wait until a run has ended, but not much longer than `seconds`."""

    def close(self) -> None:
        """Stop all runs, with a checkpoint where there is something to save."""


class LocalRunner:
    """Runs in processes of this machine.

    Args:
        n_jobs: number of runs at a time.
    """

    def __init__(self, n_jobs: int) -> None:
        self._n_jobs = n_jobs
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    @property
    def n_free(self) -> int:
        """See `Runner`."""
        return self._n_jobs - len(self._running)

    def start(self, key: str, job: Job, log: Path) -> None:
        """See `Runner`."""
        self._running[key] = (begin(job, log), log)

    def wait(self, seconds: float) -> list[Ended]:
        """See `Runner`."""
        until = time.monotonic() + seconds
        while True:
            ended = [
                key for key, (process, _) in self._running.items() if process.poll() is not None
            ]
            if ended or time.monotonic() >= until:
                return [self._ended(key) for key in ended]
            time.sleep(_POLL)

    def _ended(self, key: str) -> Ended:
        process, log = self._running.pop(key)
        _close_input(process)
        return Ended(key, problem_of(process.returncode, log))

    def close(self) -> None:
        """See `Runner`."""
        for process, _ in self._running.values():
            _close_input(process)
        until = time.monotonic() + _PATIENCE
        for process, _ in self._running.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()  # runs survive it
                process.wait()
        self._running.clear()


class ClusterRunner:
    """Runs as tasks of a Dask cluster.

    Args:
        address: address of the scheduler, or a `distributed.Client`.

    Raises:
        UnavailableError: Dask is not installed, or no scheduler answers.
    """

    def __init__(self, address: Any) -> None:
        try:
            import distributed
        except ImportError:
            raise missing_package("--cluster", "dask.distributed", "scale") from None
        self._is_ours = isinstance(address, str)
        if isinstance(address, str):
            try:
                address = distributed.Client(address)
            except (OSError, ValueError) as error:
                raise UnavailableError(
                    f"no Dask scheduler answers at {address} ({error}); check --cluster"
                ) from None
        self._client = address
        self._running: dict[str, Any] = {}

    @property
    def n_free(self) -> int:
        """Any number: the scheduler keeps what no worker is free for."""
        return sys.maxsize

    def start(self, key: str, job: Job, log: Path) -> None:
        """See `Runner`."""
        # Retried, because the loss of a worker says nothing about the run, which resumes elsewhere.
        self._running[key] = self._client.submit(run_to_end, job, str(log), pure=False, retries=3)

    def wait(self, seconds: float) -> list[Ended]:
        """See `Runner`."""
        from distributed import wait

        with suppress(TimeoutError):
            wait(list(self._running.values()), timeout=seconds, return_when="FIRST_COMPLETED")
        ended = [key for key, future in self._running.items() if future.done()]
        return [self._ended(key) for key in ended]

    def _ended(self, key: str) -> Ended:
        future = self._running.pop(key)
        if future.status == "finished":
            return Ended(key, str(future.result()))
        if future.status in ("cancelled", "lost"):
            raise UnavailableError(
                "the connection to the Dask cluster was lost; restart the cluster, or leave out "
                "--cluster, and start the same command again"
            )
        error = future.exception()
        return Ended(
            key, f"a worker failed ({type(error).__name__}: {one_message(str(error), 200)})"
        )

    def close(self) -> None:
        """Cancel what has not started; a worker ends the run that it makes when it can."""
        with suppress(Exception):  # the cluster may be gone already
            self._client.cancel(list(self._running.values()))
        self._running.clear()
        if self._is_ours:
            with suppress(Exception):
                self._client.close()


def begin(job: Job, log: Path) -> subprocess.Popen[bytes]:
    """Start the process of a run, which ends when this one does."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "unrolled.comparison.job"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environment(os.environ, job.threads),
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it could not start; its log says why
        process.stdin.write(line_of(job))
        process.stdin.flush()
    return process


def run_to_end(job: Job, log: str) -> str:
    """Make a run in a process, and wait for it; returns why it has no result, or ""."""
    path = Path(log)
    process = begin(job, path)
    try:
        process.wait()
    finally:
        _close_input(process)
    return problem_of(process.returncode, path)


def problem_of(code: int | None, log: Path) -> str:
    """Why a run that has ended has no result; "" if it has one, and its log is then removed."""
    if code == 0:
        log.unlink(missing_ok=True)
        return ""
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        written = [line for line in lines if line.strip()]
        if written:
            return one_message(written[-1])
    if code is not None and code < 0:
        return f"its process was killed (signal {-code}); start the same command again"
    return "it was stopped" if code == STOPPED else f"its process ended with code {code}"


def _environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    return {**environment, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
