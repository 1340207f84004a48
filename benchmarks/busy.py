"""Measure training beside busy programs: with one thread, with all, and with the default, which chooses.

    python benchmarks/busy.py [--neighbours 0 1 2 4] [--seconds 6] [--rounds 3] [--data FILE]

The model and its training are those of the translation recipe, by default on the phrasebook.
A neighbour is a program that does nothing but count. For each number of neighbours, three trainings take
turns of `--seconds`; printed are the tokens per second over all turns, and the seconds by which the first
eight updates of the default, with its first comparison, took longer than at the speed of one thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from unrolled.__main__ import share_cores

share_cores(os.environ)  # as the command line, before OpenMP is loaded

import torch  # noqa: E402

from unrolled.cli.demo_run import recipe as demo_recipe  # noqa: E402
from unrolled.samples.phrasebook.generator import generate, write  # noqa: E402
from unrolled.tasks.translate import TASK  # noqa: E402
from unrolled.text.splits import DataConfig  # noqa: E402
from unrolled.training.kinds import Prepared, build_loader, prepare  # noqa: E402
from unrolled.training.recipe import Recipe, recipe_from_toml  # noqa: E402
from unrolled.training.threads import FIRST, ROUNDS  # noqa: E402
from unrolled.training.trainer import Trainer  # noqa: E402

RECIPE = Path(__file__).parents[1] / "recipes" / "translate-tatoeba.toml"


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Run this number of busy programs."""
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(number)]
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


def begun(recipe: Recipe, prepared: Prepared, threads: int, folder: Path) -> Trainer:
    """A training that has just begun, with this setting of `training.threads`."""
    chosen = replace(recipe, training=replace(recipe.training, threads=threads))
    trainer = Trainer(chosen, TASK, build_loader(chosen, TASK, prepared), folder)
    trainer.begin()
    return trainer


def rates(trainers: Sequence[Trainer], most: int, seconds: float, rounds: int) -> list[float]:
    """Tokens per second of each training in its turns, and the seconds that the first comparison cost."""
    tokens, spent, warm = [0] * len(trainers), [0.0] * len(trainers), (0, 0.0)
    for turn in range(-1, rounds):  # the first one warms up
        for index, trainer in enumerate(trainers):
            is_fixed = trainer.config.threads > 0
            torch.set_num_threads(trainer.config.threads or most)
            warm_up = FIRST if is_fixed else FIRST + 2 * ROUNDS
            first, start, n_updates = trainer.progress.n_tokens, time.perf_counter(), 0
            while n_updates < warm_up if turn < 0 else time.perf_counter() - start < seconds:
                trainer.update()
                n_updates += 1
            if turn >= 0:
                tokens[index] += trainer.progress.n_tokens - first
                spent[index] += time.perf_counter() - start
            elif not is_fixed:
                warm = trainer.progress.n_tokens - first, time.perf_counter() - start
    one, *others = (n / s for n, s in zip(tokens, spent, strict=True))
    return [one, *others, warm[1] - warm[0] / one]


def main() -> int:
    """Parse the command line, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neighbours", nargs="+", type=int, default=[0, 1, 2, 4])
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each training")
    parser.add_argument("--demo", action="store_true", help="the demo's model, a twentieth of it")
    parser.add_argument("--data", nargs="+", default=[], help="by default the phrasebook")
    parser.add_argument("--columns", nargs=2, default=["en", "es"])
    options = parser.parse_args()
    most = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name), tuple(options.data)
        if not files:
            write(folder, generate())
            files = (str(folder / "train.tsv"),)
        recipe = recipe_from_toml(RECIPE, TASK)
        if options.demo:
            recipe = demo_recipe(folder, "additive", 1600)
        data = DataConfig(train=files, columns=tuple(options.columns), max_length=100)
        recipe = replace(recipe, data=data)
        prepared = prepare(recipe, TASK)
        print(f"torch {torch.__version__}, {most} threads; target tokens per second")
        print(
            "| busy neighbours | 1 thread | all threads | default | default / 1 | first comparison, s |",
            flush=True,
        )
        print("|---|---|---|---|---|---|")
        for number in options.neighbours:
            trainers = []
            for threads in (1, most, 0):
                torch.set_num_threads(most)
                trainers.append(begun(recipe, prepared, threads, folder))
            with neighbours(number):
                one, all_of_them, default, lost = rates(
                    trainers, most, options.seconds, options.rounds
                )
            print(
                f"| {number} | {one:,.0f} | {all_of_them:,.0f} | {default:,.0f} "
                f"| {default / one:.2f} | {lost:.1f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
