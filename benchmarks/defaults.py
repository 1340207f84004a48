"""Train on public data sets with one command and no settings; measure time, memory and test scores.

    python benchmarks/label_sets.py SETS tables --sets trec sst2 imdb snli
    unrolled sample tagging tables/tagging
    python benchmarks/defaults.py SETS tables --out runs/defaults --record docs/results.jsonl
    python benchmarks/defaults.py SETS tables --out runs/sizes --only snli tatoeba --rows 100 1000 10000
    python benchmarks/defaults.py SETS tables --out runs/curve --only sst2 --rows 50 100 500 2000 \
        --pretrained runs/sst-forward runs/sst-backward --set model.ngrams 2

Each set is trained by `unrolled train --task TASK --data FILE`, with the files of its official split, and
evaluated once on the test set by `unrolled evaluate`. With `--rows`, only some rows of the training file
are used, spread evenly over it and its labels, and the score is that of the validation set. With
`--pretrained`, the encoder starts with language models, and with `--set`, all runs have a setting. The
best n-gram baseline of a run is printed beside it. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

UNROLLED = (sys.executable, "-m", "unrolled")


@dataclass(frozen=True)
class DataSet:
    """A data set and the score it is judged by.

    Args:
        task: the task it is for.
        train, valid, test: files of each part, relative to the folder of the public data sets or, with
            a leading "tables/", to that of the tables; no file if a part is cut from the training data.
        score: key of the score in the record of an evaluation.
    """

    task: str
    train: tuple[str, ...]
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    score: str = "accuracy"


def _multi30k(part: str) -> tuple[str, ...]:
    return f"multi30k-en-de/{part}.de.gz", f"multi30k-en-de/{part}.en.gz"


def _parts(task: str, folder: str, score: str, ending: str = "tsv") -> DataSet:
    """A set with one file for each part."""
    train, valid, test = ((f"{folder}/{part}.{ending}",) for part in ("train", "valid", "test"))
    return DataSet(task, train, valid, test, score)


def _no_valid(name: str) -> DataSet:
    """A set for classification without a validation file."""
    return DataSet("classify", (f"tables/{name}/train.tsv",), test=(f"tables/{name}/test.tsv",))


DATA_SETS = {
    "trec": _no_valid("trec"),
    "sst2": _parts("classify", "tables/sst2", "accuracy"),
    "sst2_joined": _parts("classify", "tables/sst2_joined", "accuracy"),
    "trec_joined": _no_valid("trec_joined"),
    "imdb": _no_valid("imdb"),
    "snli": _parts("pair", "tables/snli", "accuracy"),
    "tagging": _parts("tag", "tables/tagging", "f1", "conll"),
    "multi30k": DataSet(
        "translate",
        _multi30k("train"),
        _multi30k("val"),
        _multi30k("test_2016_flickr"),
        "bleu",
    ),
    "tatoeba": _parts("translate", "tatoeba-en-es", "bleu"),
    "shakespeare": DataSet(
        "language_model", ("tinyshakespeare/input.txt",), score="bits_per_character"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, help="folder of the public data sets")
    parser.add_argument("tables", type=Path, help="folder written by label_sets.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the run folders")
    parser.add_argument("--only", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    parser.add_argument("--rows", type=int, nargs="+", help="numbers of training rows")
    parser.add_argument("--pretrained", nargs="+", default=[], help="language models to start with")
    parser.add_argument(
        "--set",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="setting of all runs",
    )
    parser.add_argument("--record", type=Path, help="file to append the test scores to")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| set | rows | minutes | steps | peak memory | part | score | best n-gram baseline |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.only:
        for n_rows in options.rows or [None]:
            print(run(name, n_rows, options), flush=True)


def run(name: str, n_rows: int | None, options: argparse.Namespace) -> str:
    """Train and evaluate one set; returns a row of the table."""
    data_set = DATA_SETS[name]
    folder: Path = options.out / (name if n_rows is None else f"{name}-{n_rows}")
    parts = {
        part: [str(_path(file, options)) for file in getattr(data_set, part)]
        for part in ("train", "valid", "test")
    }
    if n_rows is not None:
        if not parts["valid"]:
            rest, parts["valid"] = _held_out(Path(parts["train"][0]), options.out)
            parts["train"] = [rest]
        parts["train"] = [
            str(_shortened(Path(file), n_rows, folder, data_set.task)) for file in parts["train"]
        ]
    cost_file = folder.with_suffix(".cost.json")
    if not cost_file.exists():
        files = [
            word
            for part, option in (("train", "--data"), ("valid", "--valid"), ("test", "--test"))
            if parts[part]
            for word in (option, *parts[part])
        ]
        started = [word for run in options.pretrained for word in ("--model.pretrained", run)]
        changed = [word for key, value in options.set for word in (f"--{key}", value)]
        command = ["--task", data_set.task, *files, *started, *changed, "--out", str(folder)]
        cost = _train(command, folder)
        cost_file.write_text(json.dumps(cost), encoding="utf-8")
    cost = json.loads(cost_file.read_text(encoding="utf-8"))
    part = "valid" if n_rows is not None or data_set.task == "language_model" else "test"
    score = _evaluate(folder, part, data_set.score, options.record if n_rows is None else None)
    rows = "all" if n_rows is None else f"{n_rows:,}"
    return (
        f"| {name} | {rows} | {cost['seconds'] / 60:.1f} | {_last_step(folder):,} | "
        f"{cost['n_bytes'] / 2**30:.1f} GiB | {part} | {data_set.score} {score:.2f} | "
        f"{_best_baseline(folder)} |"
    )


def _path(file: str, options: argparse.Namespace) -> Path:
    tables = file.removeprefix("tables/")
    return Path(options.sets / file if tables == file else options.tables / tables)


def _shortened(file: Path, n_rows: int, folder: Path, task: str) -> Path:
    """A copy of some rows of a table, with its header, or of some lines of other text.

    Labelled texts are ordered by their labels, so that each label has its share.
    """
    short = folder.with_suffix(f".{file.name.removesuffix('.gz')}")
    header, rows = _rows_of(file)
    if task in ("classify", "pair"):
        rows.sort(key=lambda row: row.rpartition("\t")[2])
    short.write_text("".join([*header, *_evenly(rows, n_rows)]), encoding="utf-8")
    return short


def _held_out(file: Path, out: Path) -> tuple[str, list[str]]:
    """Copies of a table without some of its rows, and of these: the same for all sizes."""
    header, rows = _rows_of(file)
    valid = _evenly(range(len(rows)), min(1_000, len(rows) // 10))
    kept = set(range(len(rows))) - set(valid)
    parts = {"rest": sorted(kept), "valid": valid}
    for name, chosen in parts.items():
        path = out / f"{file.parent.name}-{name}.tsv"
        path.write_text("".join([*header, *(rows[i] for i in chosen)]), encoding="utf-8")
    return str(out / f"{file.parent.name}-rest.tsv"), [str(out / f"{file.parent.name}-valid.tsv")]


def _rows_of(file: Path) -> tuple[list[str], list[str]]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8", newline="\n") as source:
        lines = list(source)
    n_header = int(file.suffix == ".tsv")
    return lines[:n_header], lines[n_header:]


def _evenly(rows: Sequence[T], n: int) -> list[T]:
    return (
        [rows[i * len(rows) // n] for i in range(min(n, len(rows)))] if n < len(rows) else [*rows]
    )


def _best_baseline(folder: Path) -> str:
    """The score of the best baseline, from the sentence that closes training."""
    log = folder.with_suffix(".log").read_text(encoding="utf-8")
    found = re.search(r"baseline \(([^)]*)\) has ([\d.]+)", log)
    return f"{found[1]} {found[2]}" if found else ""


def _train(options: Sequence[str], folder: Path) -> dict[str, float]:
    """Train with a log next to the run folder; returns wall-clock seconds and peak memory in bytes."""
    began = time.perf_counter()
    with folder.with_suffix(".log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([*UNROLLED, "train", *options], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"training failed; see {log.name}")
    return {"seconds": time.perf_counter() - began, "n_bytes": usage.ru_maxrss * 1024}


def _evaluate(folder: Path, part: str, score: str, record: Path | None) -> float:
    """Evaluate a run once; a later call reads the score from the file next to the run folder."""
    own = folder.with_suffix(f".{part}.jsonl")
    if not own.exists():
        command = [*UNROLLED, "evaluate", str(folder), "--split", part, "--record", str(own)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if record is not None:
            with record.open("a", encoding="utf-8") as file:
                file.writelines(_as_defaults(own, folder.name))
    entry = json.loads(own.read_text(encoding="utf-8").splitlines()[-1])
    return float(entry[score])


def _as_defaults(own: Path, name: str) -> Iterator[str]:
    """The lines of a record, named after the set, with "defaults" as the recipe."""
    for line in own.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line) | {"run": name, "recipe": "defaults"}
        yield json.dumps(entry, ensure_ascii=False) + "\n"


def _last_step(folder: Path) -> int:
    with (folder / "metrics.jsonl").open(encoding="utf-8") as file:
        return max(json.loads(line)["step"] for line in file)


if __name__ == "__main__":
    main()
