"""Compare word vectors with Stanford's GloVe, on the same text with the same settings.

    git clone https://github.com/stanfordnlp/GloVe && make -C GloVe
    python benchmarks/glove.py TEXT --reference GloVe/build [--sizes 50 100 300] [--epochs 15]

The reference is not part of this project. It is built separately with its Makefile, or with other flags
(`make CFLAGS="-Ofast -march=native -lm -pthread"`), and its programs run as in its own demo. The
vocabularies and counts must be equal, otherwise the comparison stops. Reported are the time, peak memory
and disk space of each stage, and for both sets of vectors the loss of eq. 8 over all non-zeros, halved
and averaged; this differs from the running mean that each program prints. The folder `--work` keeps both
sets of vectors (`ours-100`, `glove-100.bin`) for `unrolled vectors evaluate`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from unrolled.kernels import kernels
from unrolled.vectors.counting.cooccurrence import Counts
from unrolled.vectors.counting.vocabulary import Vocabulary
from unrolled.vectors.formats.detect import write_vectors

OURS = """
import json, sys, time
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.events import Epoch, Read, VocabularyMade
from unrolled.vectors.train import fit_vectors
start, counted, epochs = time.perf_counter(), 0.0, []
for event in fit_vectors(VectorsConfig(**json.loads(sys.argv[1])), sys.argv[2], sys.argv[3], force=True):
    if isinstance(event, Epoch):
        epochs.append(event.seconds)
    else:
        counted = counted if epochs else time.perf_counter() - start
print(json.dumps({"counted": counted, "epochs": epochs, "all": time.perf_counter() - start}))
"""


# A process inherits the peak memory of its parent, so each one is started by a small launcher.
LAUNCHER = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
status = subprocess.call(json.loads(sys.argv[1]))
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([time.perf_counter() - start, peak * 1024, status]), file=sys.stderr)
"""


def measured(command: list[str], **options) -> tuple[float, int, str]:
    """Run a command; return seconds, peak memory in bytes, and its output."""
    launcher = [sys.executable, "-c", LAUNCHER, json.dumps([str(part) for part in command])]
    options = {"stdout": subprocess.PIPE, **options}
    done = subprocess.run(launcher, stderr=subprocess.PIPE, **options)
    seconds, peak, status = json.loads(done.stderr.decode(errors="replace").splitlines()[-1])
    if status:
        sys.exit(f"{command[0]} failed with exit status {status}")
    return seconds, peak, (done.stdout or b"").decode(errors="replace")


def report(name: str, seconds: float, memory: int, disk: int) -> None:
    cells = (name, f"{seconds:.2f} s", f"{memory / 1e6:,.0f} MB", f"{disk / 1e6:,.0f} MB")
    print("| " + " | ".join(cells) + " |", flush=True)


def size_of(*paths: Path) -> int:
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


def reference_counts(arguments, text: Path, work: Path, build: Path) -> float:
    """Run the three programs before training; return their total time in seconds."""
    vocabulary, counts, shuffled = (
        work / name for name in ("vocab.txt", "counts.bin", "shuffled.bin")
    )
    memory: list[str | Path] = ["-memory", str(arguments.memory), "-verbose", "0"]
    stages: list[tuple[str, list[str | Path], Path, Path]] = [
        (
            "vocab_count",
            ["-min-count", str(arguments.min_count), "-verbose", "0"],
            text,
            vocabulary,
        ),
        (
            "cooccur",
            ["-vocab-file", vocabulary, "-window-size", str(arguments.window), *memory],
            text,
            counts,
        ),
        ("shuffle", memory, counts, shuffled),
    ]
    total = 0.0
    for name, options, source, target in stages:
        with source.open("rb") as stdin, target.open("wb") as stdout:
            command = [str(build / name), *map(str, options)]
            seconds, peak, _ = measured(command, stdin=stdin, stdout=stdout, cwd=work)
        total += seconds
        report(f"GloVe {name}", seconds, peak, size_of(target))
    return total


def agree(work: Path, folder: Path) -> None:
    """Stop if vocabularies or counts differ."""
    lines = (work / "vocab.txt").read_bytes().decode("utf-8", "replace").split("\n")[:-1]
    theirs = dict(line.rsplit(" ", 1) for line in lines)
    vocabulary = Vocabulary.load(folder / "vocabulary.tsv")
    ours = dict(zip(vocabulary.words, map(str, vocabulary.counts.tolist()), strict=True))
    if theirs != ours:
        sys.exit(f"the vocabularies differ in {len(theirs.items() ^ ours.items()):,} entries")
    record = np.dtype([("row", "<i4"), ("column", "<i4"), ("value", "<f8")])
    records = np.fromfile(work / "counts.bin", record)
    ranks = vocabulary.ranks()
    rank = np.array([ranks[word] for word in theirs])
    keys = rank[records["row"] - 1] * len(rank) + rank[records["column"] - 1]
    order = np.argsort(keys)
    counts = Counts.open(folder / "counts")
    whole = counts.read(0, counts.n_words)
    rows = np.repeat(np.arange(counts.n_words), np.diff(whole.ends).astype(np.int64))
    if not np.array_equal(keys[order], rows * len(rank) + whole.columns):
        sys.exit("the counts have different non-zeros")
    error = np.max(np.abs(records["value"][order] / whole.values - 1))
    print(
        f"\nsame vocabulary and non-zeros ({counts.n_nonzeros:,}); maximum relative difference of counts "
        f"{error:.1e}\n"
    )
    if error > 1e-5:
        sys.exit("the counts differ by more than 1e-5")


def loss_of(folder: Path, tensors: dict[str, np.ndarray], x_max: float, alpha: float) -> float:
    """Mean of f(X_ij) diff² / 2."""
    counts, total = Counts.open(folder / "counts"), 0.0
    for first, stop in counts.batches(1 << 19):
        some = counts.read(first, stop)
        rows = first + np.repeat(np.arange(stop - first), np.diff(some.ends).astype(np.int64))
        products = np.einsum("nd,nd->n", tensors["w"][rows], tensors["w_context"][some.columns])
        diff = (
            products + tensors["b"][rows] + tensors["b_context"][some.columns] - np.log(some.values)
        )
        total += float(np.sum(np.minimum(1, some.values / x_max) ** alpha * diff**2) / 2)
    return total / counts.n_nonzeros


def reference_vectors(work: Path, folder: Path, size: int) -> dict[str, np.ndarray]:
    """Read the parameters from the reference's binary file, in the order of our ranks."""
    lines = (work / "vocab.txt").read_bytes().decode("utf-8", "replace").split("\n")[:-1]
    ranks = Vocabulary.load(folder / "vocabulary.tsv").ranks()
    order = np.argsort([ranks[line.rsplit(" ", 1)[0]] for line in lines])
    values = np.fromfile(work / "vectors.bin", "<f8").reshape(2, -1, size + 1)[:, : len(lines)]
    main, context = values[0][order], values[1][order]
    return {
        "w": main[:, :size].astype(np.float32),
        "b": main[:, size].astype(np.float32),
        "w_context": context[:, :size].astype(np.float32),
        "b_context": context[:, size].astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="text file, UTF-8, words separated by spaces")
    parser.add_argument("--reference", type=Path, help="folder of the compiled reference programs")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100], help="widths of the vectors to train"
    )
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--x-max", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--memory", type=float, default=4.0, help="memory limit of both programs in gigabytes"
    )
    parser.add_argument("--work", type=Path, help="working folder; by default a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        compare(arguments, arguments.work or Path(temporary))


def compare(arguments, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    build = arguments.reference and arguments.reference.resolve()
    text = arguments.text.resolve()
    used = kernels.instruction_set() if kernels else "NumPy"
    print(
        f"{text.name}, {text.stat().st_size / 1e6:,.0f} MB; window {arguments.window}, x_max "
        f"{arguments.x_max:g}, {arguments.epochs} epochs, {arguments.threads} threads, {used}\n"
    )
    print("| stage | time | memory | disk |\n|---|---|---|---|")
    before = reference_counts(arguments, text, work, build) if build else 0.0
    summary = []
    for number, size in enumerate(arguments.sizes):
        settings = {
            "size": size,
            "window": arguments.window,
            "min_count": arguments.min_count,
            "x_max": arguments.x_max,
            "rate": arguments.rate,
            "epochs": arguments.epochs,
            "threads": arguments.threads,
            "memory": f"{arguments.memory:g}GB",
        }
        folder = work / f"ours-{size}"
        command = [sys.executable, "-c", OURS, json.dumps(settings), str(text), str(folder)]
        seconds, memory, printed = measured(command)
        times = json.loads(printed.splitlines()[-1])
        epoch = float(np.median(times["epochs"]))
        report(f"ours, D = {size}, counting", times["counted"], memory, size_of(folder / "counts"))
        report(f"ours, D = {size}, one epoch (median)", epoch, memory, 0)
        report(f"ours, D = {size}, total", seconds, memory, size_of(folder))
        loss = loss_of(folder, load_file(folder / "vectors.safetensors"), arguments.x_max, 0.75)
        if build is None:
            summary.append((size, seconds, float("nan"), loss, float("nan")))
            continue
        if not number:
            agree(work, folder)
        command = [
            *(str(build / "glove"), "-save-file", "vectors", "-input-file", "shuffled.bin"),
            *("-vocab-file", "vocab.txt", "-vector-size", str(size), "-binary", "1"),
            *("-threads", str(arguments.threads), "-iter", str(arguments.epochs), "-eta"),
            *(str(arguments.rate), "-x-max", str(arguments.x_max), "-verbose", "0"),
        ]
        trained, memory, _ = measured(command, cwd=work)
        report(f"GloVe glove, D = {size}", trained, memory, size_of(work / "vectors.bin"))
        theirs = reference_vectors(work, folder, size)
        words = Vocabulary.load(folder / "vocabulary.tsv").words
        write_vectors(work / f"glove-{size}.bin", words, theirs["w"] + theirs["w_context"])
        their_loss = loss_of(folder, theirs, arguments.x_max, 0.75)
        summary.append((size, seconds, before + trained, loss, their_loss))
    print("\n| D | ours | GloVe | speedup | loss, ours | loss, GloVe |\n|---|---|---|---|---|---|")
    for size, ours, reference, loss, their_loss in summary:
        print(
            f"| {size} | {ours:.1f} s | {reference:.1f} s | {reference / ours:.1f}× | {loss:.5f} | "
            f"{their_loss:.5f} |"
        )


if __name__ == "__main__":
    main()
