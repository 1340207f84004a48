"""The tests of what computes numbers, once for each way in which this machine can compute them.

`make test-sets` runs them with each instruction set of the kernels and without the kernels, on one
thread and on two. Where the kernels are pinned to a narrower instruction set, the libraries of matrix
products are as well: so one machine stands for older ones. What passes here does not hang on how a
processor rounds. Prints a table: what ran, passed, failed and was skipped, and the time it took.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unrolled.kernels import kernels, missing_because

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "build" / "test-sets"
FOLDERS = [
    *(f"tests/{name}" for name in ("ops", "layers", "decoding", "training", "tasks", "vectors")),
    *(f"tests/{name}" for name in ("nn", "baselines", "inspect", "test_predict.py")),
    *(f"tests/test_{name}.py" for name in ("predict_labels", "predict_tags", "end_to_end")),
    *(f"tests/test_{name}.py" for name in ("language_model_cli", "cli_generate", "doctor")),
    *(f"src/unrolled/{name}" for name in ("ops", "layers", "decoding", "training", "tasks")),
    *(f"src/unrolled/{name}" for name in ("nn", "vectors", "baselines", "inspect")),
    "docs",
]
# Files and places of words, a cluster and measured memory are the same whatever computes.
LEFT_OUT = ["formats", "formats_binary", "formats_safetensors", "formats_text", "scale", "memory"]

# What holds the other libraries to an instruction set of ours: PyTorch's own loops, oneDNN, MKL,
# and the OpenBLAS of NumPy and SciPy. Nothing is held back for the widest.
LIBRARIES = {
    "sse2": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}
NAMES = {"none": "no kernels"}


@dataclass(frozen=True)
class Way:
    """One way to compute: an instruction set, or "none", and a number of threads."""

    name: str
    n_threads: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **LIBRARIES.get(self.name, {}),
            "UNROLLED_INSTRUCTION_SET": self.name,
            "OMP_NUM_THREADS": str(self.n_threads),
        }


@dataclass(frozen=True)
class Outcome:
    """What the tests said: the end of what was printed, counts by "passed" and so on, seconds."""

    way: Way
    code: int
    output: str
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        found = re.findall(r"(\d+) (passed|failed|errors?|skipped)", self.output.splitlines()[-1])
        return {what.rstrip("s") if what == "errors" else what: int(n) for n, what in found}

    @property
    def row(self) -> str:
        failed = self.counts.get("failed", 0) + self.counts.get("error", 0)
        return (
            f"{NAMES.get(self.way.name, self.way.name):16}  {self.way.n_threads:7}  "
            f"{self.counts.get('passed', 0):6,}  {failed:6,}  {self.counts.get('skipped', 0):7,}  "
            f"{self.seconds / 60:4.1f} min"
        )

    @property
    def told(self) -> str:
        """What failed, a line each, and where all that was printed is kept."""
        REPORTS.mkdir(parents=True, exist_ok=True)
        path = REPORTS / f"{self.way.name}-{self.way.n_threads}.txt"
        path.write_text(self.output + "\n", encoding="utf-8")
        lines = [line for line in self.output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return "\n".join([*lines[:40], f"{self.output.splitlines()[-1]}: {path.relative_to(ROOT)}"])


def ways(threads: Sequence[int]) -> list[Way]:
    """All ways on one thread; on more the widest instruction set and no kernels, which differ most."""
    names = [*(kernels.instruction_sets() if kernels else []), "none"]
    few = list(dict.fromkeys((names[0], "none")))
    return [Way(name, n) for n in threads for name in (names if n == 1 else few)]


def run(way: Way, arguments: Sequence[str]) -> Outcome:
    """The tests, computed in this way."""
    left_out = [f"--ignore=tests/vectors/test_{name}.py" for name in LEFT_OUT]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *left_out]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *(arguments or FOLDERS)],
        cwd=ROOT,
        env=way.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return Outcome(way, done.returncode, done.stdout.rstrip(), time.perf_counter() - began)


def run_all(chosen: Sequence[Way], arguments: Sequence[str]) -> Iterator[Outcome]:
    """Every way, as many at a time as there are cores for their threads."""
    n_cores = os.cpu_count() or 1
    for n_threads in dict.fromkeys(way.n_threads for way in chosen):
        its = [way for way in chosen if way.n_threads == n_threads]
        with ThreadPoolExecutor(max(1, n_cores // n_threads)) as pool:
            yield from pool.map(lambda way: run(way, arguments), its)


def processor() -> str:
    """Its name, as far as the system tells it."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        found = re.search(r"^model name\s*: (.*)$", listed.read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def main() -> int:
    """Run, print the table, and give 1 where a test failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("arguments", nargs="*", help="for pytest, in place of all that computes")
    asked = parser.parse_args()
    known = kernels.instruction_sets() if kernels else []
    print(
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}, Python {sys.version.split()[0]}"
    )
    print(f"instruction sets: {', '.join(known) or 'none, ' + missing_because}", flush=True)
    print("instruction set   threads  passed  failed  skipped      time", flush=True)
    failed = []
    for outcome in run_all(ways(asked.threads), asked.arguments):
        print(outcome.row, flush=True)
        failed += [outcome] if outcome.code else []
    for outcome in failed:
        print(f"\n{outcome.told}")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
