"""Score trained models of queries, and two baselines, on a table of questions.

    python benchmarks/sql_results.py tables/geo/question --part test --dialect mysql \\
      --runs runs/geo-1 runs/geo-2 --record docs/results.jsonl

Prints a row for each run, their mean, and a row for each baseline, fitted on train-valid.tsv if there is
one, otherwise on train.tsv. `--decoding.…` options are passed on, for comparisons without a part:

    … --decoding.grammar false
    … --decoding.execution first
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from unrolled.baselines.queries import NearestQuestion, TemplateClassifier
from unrolled.sql.examples import read_query_rows
from unrolled.sql.scoring import Gold, score

SHOWN = ("exact", "normalized", "components", "set_match", "execution", "valid", "answered")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with train.tsv and the other parts")
    parser.add_argument("--part", default="valid", help="name of the table to score on")
    parser.add_argument("--dialect", default="sqlite", help="dialect of the queries")
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    parser.add_argument("--record", type=Path, help="file to append the scores of the runs to")
    options, decoding = parser.parse_known_args()
    print(f"| | {' | '.join(name.replace('_', ' ') for name in SHOWN)} |")
    print("|---" * (len(SHOWN) + 1) + "|")
    scored = []
    for run in options.runs:
        scored.append(_of_run(run, options, decoding))
        _print(run.name, scored[-1])
    if len(scored) > 1:
        means = {name: statistics.mean(each[name] for each in scored) for name in SHOWN}
        _print(f"mean of {len(scored)}", means)
    for name, scores in _of_baselines(options):
        _print(name, scores)


def _of_run(run: Path, options: argparse.Namespace, decoding: Sequence[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.jsonl"
        table = options.folder / f"{options.part}.tsv"
        command = ["evaluate", str(run), "--data", str(table), "--record", str(record), *decoding]
        subprocess.run(
            [sys.executable, "-m", "unrolled", *command], check=True, stdout=subprocess.DEVNULL
        )
        lines = record.read_text(encoding="utf-8")
    if options.record is not None:
        with options.record.open("a", encoding="utf-8") as file:
            file.write(lines)
    found: dict[str, float] = json.loads(lines)
    return found


def _of_baselines(options: argparse.Namespace) -> list[tuple[str, Mapping[str, float]]]:
    both = options.folder / "train-valid.tsv"
    train = read_query_rows(both if both.exists() else options.folder / "train.tsv", "train")
    rows = read_query_rows(options.folder / f"{options.part}.tsv", "test")
    golds = [Gold(row.texts[2], row.texts[1], options.dialect) for row in rows]
    found = list[tuple[str, Mapping[str, float]]]()
    for baseline in (NearestQuestion, TemplateClassifier):
        began = time.perf_counter()
        fitted = baseline(train, options.dialect)
        answers = fitted.predict_rows(rows)
        seconds = time.perf_counter() - began
        found.append((f"{baseline.__name__} ({seconds:.0f} s)", score(answers, golds)))
    return found


def _print(name: str, scores: Mapping[str, float]) -> None:
    cells = (f"{scores[each]:.1f}" if each in scores else "–" for each in SHOWN)
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
