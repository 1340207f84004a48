"""Kill a comparison at random instants, and see that its results are those of one that was left alone.

    python tests/comparison/campaign.py                # 2 × 3 variants, 3 seeds, 5 kills, and Dask
    python tests/comparison/campaign.py --kills 2 --jobs 1 --seed 7 --no-dask

Every kill is a SIGKILL of the command at a random instant; the runs that it was making notice that it is
gone. The same command then goes on. At the end `compare.json` must be equal bit for bit. The same
comparison is made once more on a Dask cluster of this machine. Ends with 1 where something differed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

RECIPE = """\
task = "classify"

[data]
train = ["{data}"]
valid_size = 20
test_size = 20

[model]
embedding_size = 4
hidden_size = 82
dropout_rate = 0.2

[training]
max_steps = 30
max_tokens = 100
learning_rate = 0.01
evaluate_every_n_steps = 5
checkpoint_every_n_steps = 2
log_every_n_steps = 1
patience = 0
metric = "accuracy"
device = "cpu"
threads = 1
"""


def write_recipe(folder: Path) -> Path:
    """The recipe and its data."""
    draw = random.Random(1)
    words = ["red", "blue", "green", "old", "new", "cold", "warm", "tall"]
    texts = {" ".join(draw.choice(words) for _ in range(draw.randint(2, 9))) for _ in range(400)}
    lines = [f"{text}\t{'yes' if 'red' in text else 'no'}\n" for text in sorted(texts)]
    data = folder / "texts.tsv"
    data.write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")
    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE.format(data=data.as_posix()), encoding="utf-8")
    return recipe


def command_of(recipe: Path, out: Path, more: Sequence[str]) -> list[str]:
    """The command of the comparison."""
    over = ["--over", "model.bidirectional=true,false", "--over", "model.cell=rnn,gru,lstm"]
    words = ["compare", str(recipe), *over, "--out", str(out), *more]
    return [sys.executable, "-m", "unrolled", *words]


def run_to_end(command: Sequence[str]) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def n_finished(out: Path) -> int:
    """Number of runs that have a result."""
    return len(list((out / "results").glob("*.json")))


def main() -> int:
    """Run the campaign; returns 1 if something differed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each variant")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dask", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_recipe(folder)
        seeds = ["--seeds", str(options.seeds)]
        jobs = [*seeds, "--jobs", str(options.jobs)]
        began = time.monotonic()
        run_to_end(command_of(recipe, folder / "alone", jobs))
        seconds = time.monotonic() - began
        expected = (folder / "alone" / "compare.json").read_bytes()
        print(f"left alone: {n_finished(folder / 'alone')} runs in {seconds:.0f} s", flush=True)
        command = command_of(recipe, folder / "killed", jobs)
        for _ in range(options.kills):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            instant = draw.uniform(0.1, 0.5) * seconds
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(instant)
            process.kill()
            process.wait()
            print(
                f"killed after {instant:.1f} s with {n_finished(folder / 'killed')} runs",
                flush=True,
            )
        run_to_end(command)
        results = {"killed": folder / "killed"}
        if options.dask:
            results["dask"] = on_dask(recipe, folder / "dask", options.jobs, seeds)
        equal = {
            what: (out / "compare.json").read_bytes() == expected for what, out in results.items()
        }
    for what, is_equal in equal.items():
        print(f"{what}: compare.json is {'equal bit for bit' if is_equal else 'DIFFERENT'}")
    return 0 if all(equal.values()) else 1


def on_dask(recipe: Path, out: Path, n_workers: int, seeds: Sequence[str]) -> Path:
    """Make the comparison on a cluster of this machine."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        run_to_end(command_of(recipe, out, [*seeds, "--cluster", cluster.scheduler_address]))
    return out


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
