"""Damage every file of a run folder and every reader's input; nothing worse than a sentence may come.

    python tests/fuzz/fuzz.py --seed 1 --per-file 300
    python tests/fuzz/fuzz.py --seed 1 --per-file 300 classify/config   # targets with this in their name

A case is accepted, or refused by one sentence and exit code 2. Faults are: a traceback, more than 10
seconds, more than 1 GB of memory, a process that dies, anything written or removed outside the folder,
and a message that is longer than any may be or that a terminal would obey. Cases run one after another
in a process forked for them, which is replaced when it dies or is killed. For Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutations import mutated
from targets import Target, build, chosen, targets

from unrolled.quoting import LONGEST_MESSAGE, escape

SECONDS = 10  # of the processor: on a busy machine the clock says little
WAITED_SECONDS = 120
BYTES = 1 << 30  # in memory
ADDRESSES = 8 << 30  # libraries claim far more than they use
GOOD = ("accepted", "refused")


@dataclass
class Result:
    """What became of the cases of a target.

    Args:
        counts: of outcomes.
        faults: number of the case, outcome and what was said, of each that is a fault.
        peak: the most memory of a process, in bytes over what it began with.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    peak: int = 0

    def add(self, case: int, outcome: str, about: str, peak: int = 0) -> None:
        """Count a case."""
        self.counts[outcome] += 1
        self.peak = max(self.peak, peak)
        if outcome not in GOOD:
            self.faults.append((case, outcome, about))


def fuzz(target: Target, seed: int, n_cases: int, place: Path) -> Result:
    """Run all cases of a target.

    Args:
        target: what is damaged, and who reads it.
        seed: of the damage; a case depends on it, the target's name and its own number alone.
        n_cases: how many.
        place: an empty folder to work in.
    """
    result, case = Result(), 0
    while case < n_cases:
        reader, writer = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os.close(reader)
            _run_cases(target, seed, range(case, n_cases), place, writer)
        os.close(writer)
        case = _watch(child, reader, case, n_cases, result)
        os.close(reader)
    return result


def damage(target: Target, seed: int, case: int) -> bytes:
    """The damaged content of a case."""
    draw = random.Random(zlib.crc32(f"{seed} {target.name} {case}".encode()))
    return mutated((target.folder / target.file).read_bytes(), target.file, draw)


def _watch(child: int, reader: int, case: int, n_cases: int, result: Result) -> int:
    """Count what a process reports until it ends or is ended; returns the next case."""
    buffer, is_killed = b"", False
    began, used = time.monotonic(), _processor_seconds(child)
    while True:
        ready, _, _ = select.select([reader], [], [], 0.5)
        if not ready:
            is_late = time.monotonic() - began > WAITED_SECONDS
            if is_late or _processor_seconds(child) - used > SECONDS:
                os.kill(child, signal.SIGKILL)
                is_killed = True
            continue
        new = os.read(reader, 1 << 16)
        if not new:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status == 0:  # all done, or given up because of its memory
                return case
            if case < n_cases:
                result.add(case, *(("hang", "") if is_killed else ("died", f"exit code {status}")))
            return case + 1
        *lines, buffer = (buffer + new).split(b"\n")
        for line in lines:
            result.add(case, *json.loads(line))
            case += 1
        began, used = time.monotonic(), _processor_seconds(child)


def _processor_seconds(process: int) -> float:
    """What a process has used of the processor; 0 once it has ended."""
    try:
        ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0.0
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _run_cases(target: Target, seed: int, cases: range, place: Path, writer: int) -> None:
    """The forked process, which never comes back from here."""
    try:
        addresses = _memory(os.getpid())[1] + ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
        os.fsync = lambda _: (
            None
        )  # what it is for is tried elsewhere, and it takes most of the time
        before = _memory(os.getpid())[0]
        for case in cases:
            outcome, about = run_case(target, damage(target, seed, case), place)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
            if peak > BYTES:
                outcome, about = "memory", f"{peak:,} bytes; {about}"
            os.write(writer, json.dumps([outcome, about[:2000], peak]).encode() + b"\n")
            if outcome == "memory":
                break
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _memory(process: int) -> tuple[int, int]:
    """Bytes of a process in memory, and of its addresses."""
    n_all, n_resident = (int(n) for n in Path(f"/proc/{process}/statm").read_text().split()[:2])
    return n_resident * resource.getpagesize(), n_all * resource.getpagesize()


def run_case(target: Target, content: bytes, place: Path) -> tuple[str, str]:
    """What becomes of one damaged file: an outcome, and what was said."""
    inside, outside = place / "inside" / "deep", place / "outside"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.rmtree(outside, ignore_errors=True)
    outside.mkdir(parents=True)
    for name in ("bait.json", "bait.safetensors"):
        (outside / name).write_bytes(b"precious")
    folder = inside / target.folder.name
    shutil.copytree(target.folder, folder)
    (folder / target.file).write_bytes(content)
    if target.then is not None:
        try:
            target.then(folder)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return "refused", "cannot be made believable"
    outcome, about = _outcome(target, folder)
    if sorted((path.name, path.read_bytes()) for path in outside.iterdir()) != [
        ("bait.json", b"precious"),
        ("bait.safetensors", b"precious"),
    ]:
        return "outside", "a file outside the folder was changed"
    return outcome, about


def _outcome(target: Target, folder: Path) -> tuple[str, str]:
    output = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = target.call(folder)
    except BaseException:
        said = traceback.format_exc()
        return ("memory" if "MemoryError" in said else "traceback"), said[-1500:]
    said = errors.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]
    if "out of memory" in said or "can't allocate" in said:
        return "memory", said
    if code == 0:
        return "accepted", ""
    sentence = said.rpartition("unrolled: ")[2].removesuffix("\n")
    if code != 2 or "unrolled: " not in said:
        return "code", f"{code}: {said}"
    if escape(sentence) != sentence or len(sentence) > LONGEST_MESSAGE:
        return "message", sentence
    return "refused", sentence


def main() -> int:
    """Run what the command line asks for, and print a line for each target; 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="parts of the names of targets; all without")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-file", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unrolled-fuzz-") as temporary:
        return _run_all(given.names, given.seed, given.per_file, Path(temporary))


def prepare(folder: Path) -> list[Target]:
    """Everything to damage, made in a process of its own so that none of its threads are forked."""
    os.environ["UNROLLED_CACHE"] = str(folder / "unused-cache")
    child = os.fork()
    if not child:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                build(folder)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit("the files to damage cannot be made")
    return list(targets(folder))


def load_everything() -> None:
    """Import what every case needs, on one thread: a forked process has no others."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # the library warns after a fork otherwise
    import torch

    for module in ("unrolled.cli.app", "unrolled.predictors.load", "unrolled.vectors.train"):
        importlib.import_module(module)
    torch.set_num_threads(1)


def _run_all(names: Sequence[str], seed: int, n_cases: int, temporary: Path) -> int:
    load_everything()
    every = prepare(temporary / "folders")
    (temporary / "place").mkdir()
    os.chdir(temporary / "place")
    total: Counter[str] = Counter()
    began = time.perf_counter()
    for target in chosen(every, names):
        result = fuzz(target, seed, n_cases, temporary / "place")
        total += result.counts
        figures = ", ".join(f"{n} {outcome}" for outcome, n in sorted(result.counts.items()))
        print(f"{target.name:50} {figures}; {result.peak >> 20} MB", flush=True)
        for outcome, (case, about) in _first(result.faults).items():
            print(f"    case {case}, {outcome}: {about[-700:]}", flush=True)
    print(f"{sum(total.values()):,} cases in {time.perf_counter() - began:.0f} s: {dict(total)}")
    return 1 if total.keys() - set(GOOD) else 0


def _first(faults: Sequence[tuple[int, str, str]]) -> dict[str, Any]:
    """The first fault of each kind."""
    found: dict[str, Any] = {}
    for case, outcome, about in faults:
        last = about.strip().rpartition("\n")[2][:60] if outcome == "traceback" else ""
        found.setdefault(f"{outcome} {last}".strip(), (case, about))
    return found


if __name__ == "__main__":
    sys.exit(main())
