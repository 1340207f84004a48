"""Size and speed of a language model exported as C.

    python benchmarks/c_export.py RUN

For each precision and option of the compiler (that of the environment variable CC): bytes of code and
constants (without text.h and main.c), of the largest stack frame (GCC), and microseconds of processor
time for a step with the distribution of the next token, the least of 100 times 20 steps; beside them the
step of the model in Python.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import unrolled
from unrolled.exports.c import compiler, export_c

STEPS = """\
#include <stdio.h>
#include <time.h>

#include "model.h"

void step(struct model_state *state, int32_t token, float *log_probs);

int main(void)
{
    static float log_probs[MODEL_N_TOKENS];
    static struct model_state state;
    double least = 1e9;
    long i, part;
    model_begin(&state);
    for (part = 0; part < 100; part++) {
        const clock_t begin = clock();
        double time;
        for (i = 0; i < 20; i++)
            step(&state, (int32_t)(4 + i % (MODEL_N_TOKENS - 4)), log_probs);
        time = (double)(clock() - begin) / CLOCKS_PER_SEC * 1e6 / 20;
        if (time < least)
            least = time;
    }
    printf("%.2f ", least);
    printf("%g\\n", (double)log_probs[5]);
    return 0;
}
"""
LIBRARY = """\
#include "model.h"

void step(struct model_state *state, int32_t token, float *log_probs);

void step(struct model_state *state, int32_t token, float *log_probs)
{
    model_step(state, token);
    model_log_probs(state, log_probs);
}
"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    predictor: Any = unrolled.load(parser.parse_args().run)
    n = sum(parameter.numel() for parameter in predictor.model.parameters())
    print(f"{n:,} parameters; a step in Python: {_in_python(predictor):.0f} µs")
    command = compiler.find()
    assert command is not None, "there is no C compiler"
    for precision in ("float32", "int8"):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "c"
            agreement = export_c(predictor, folder, precision)
            print(f"{precision}: {agreement.worst:.1e}, {agreement.cost}")
            (folder / "steps.c").write_text(STEPS)
            (folder / "library.c").write_text(LIBRARY)
            for options in (["-Os"], ["-O2"], ["-O3"], ["-O3", "-march=native"]):
                _measure([*command], folder, options)


def _measure(command: list[str], folder: Path, options: list[str]) -> None:
    build = [*command, "-std=c99", *options]
    stack = ["-fstack-usage"] if "gcc" in command[0] or command[0] == "cc" else []
    subprocess.run([*build, *stack, "-c", "library.c"], cwd=folder, check=True)
    subprocess.run([*build, "-o", "steps", "steps.c", "library.o", "-lm"], cwd=folder, check=True)
    size = subprocess.run(
        ["size", "library.o"], cwd=folder, check=True, capture_output=True, text=True
    )
    done = subprocess.run(["./steps"], cwd=folder, check=True, capture_output=True, text=True)
    n_bytes = int(size.stdout.splitlines()[1].split()[0])
    usage = folder / "library.su"
    frame = (
        max((int(line.split("\t")[1]) for line in usage.open()), default=0) if usage.exists() else 0
    )
    print(
        f"  {' '.join(options)}: {n_bytes:,} bytes of code and constants, {frame:,} of the largest stack "
        f"frame, {done.stdout.split()[0]} µs"
    )


def _in_python(predictor: Any) -> float:
    model, n = predictor.model, 500
    with torch.no_grad():
        state = model.start(1)
        begin = time.process_time()
        for i in range(n):
            hidden, state = model.step(torch.tensor([4 + i % 50]), state)
            model.head.logits(hidden).log_softmax(1)
    return (time.process_time() - begin) / n * 1e6


if __name__ == "__main__":
    main()
