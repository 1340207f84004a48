"""Processor time of `unrolled predict RUN TEXT` from start to end, without torch and with it.

    python benchmarks/cold_start.py RUN [RUN …] [--texts TEXT …] [--rounds 5]
    python benchmarks/cold_start.py RUN --command generate --texts --prompt "The " --max-tokens 100

Each process answers once; the two kinds take turns. What they print must be the same.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

QUICK = "import sys; from unrolled import cli; sys.exit(cli.main(sys.argv[1:]))"
SLOW = (
    "from unrolled.predictors import continuing, without_torch\n"
    f"continuing.opened = without_torch.opened = lambda *_: None\n{QUICK}"
)


def answered(program: str, command: str, arguments: list[str]) -> tuple[float, str]:
    """The seconds of user and system time of a process, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = [sys.executable, "-c", program, command, *arguments]
    done = subprocess.run(whole, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return seconds, done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run folders")
    default = ["The old teacher does not read the red books."]
    parser.add_argument("--rounds", type=int, default=5)
    commands = ["predict", "generate", "complete"]
    parser.add_argument("--command", choices=commands, default="predict")
    parser.add_argument(
        "--texts",
        nargs=argparse.REMAINDER,
        default=default,
        help="what follows the run, up to the end; two texts for pairs",
    )
    arguments = parser.parse_args()
    for run in arguments.runs:
        seconds: dict[str, list[float]] = {"without torch": [], "with torch": []}
        for _ in range(arguments.rounds):
            printed = set()
            for name, program in zip(seconds, (QUICK, SLOW), strict=True):
                taken, output = answered(program, arguments.command, [run, *arguments.texts])
                seconds[name].append(taken)
                printed.add(output)
            if len(printed) > 1:
                raise SystemExit(f"{run}: different answers: {printed}")
        medians = [f"{name} {statistics.median(each):.2f} s" for name, each in seconds.items()]
        print(f"{run}: median of {arguments.rounds}: {', '.join(medians)}")


if __name__ == "__main__":
    main()
