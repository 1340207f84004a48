"""Measure how long a trained model takes to answer a question about a database, one question at a time.

    python benchmarks/sql_cost.py runs/geo tables/geo/question/valid.tsv [--threads 1]

With the grammar, which only lets a model write what exists, and without it, in alternating rounds; and
on a database of 22 tables with 352 columns. Nothing is printed if an answer found with the grammar is not
one SELECT that runs, or if a second round gives other answers than the first.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

import unrolled
from unrolled.predictors.queries import QueryPredictor
from unrolled.sql.database import Database
from unrolled.sql.examples import read_query_rows
from unrolled.sql.parsing import QueryError
from unrolled.tasks.sql.answers import QueryDecoding

ROUNDS = 3
N_TABLES, N_COLUMNS = 22, 16
NAMES = ("name", "city", "price", "year", "colour", "weight", "owner", "state")


def timed(
    predictor: QueryPredictor, asked: Sequence[tuple[str, str]], grammar: bool
) -> tuple[list[str], float]:
    """The queries, and the median time of a question in milliseconds."""
    decoding = predictor.recipe.decoding
    assert isinstance(decoding, QueryDecoding)
    decoding = replace(decoding, grammar=grammar)
    answers, seconds = [], []
    for question, database in asked:
        began = time.perf_counter()
        (prediction,) = predictor.predict(question, database, decoding)
        seconds.append(time.perf_counter() - began)
        answers.append(prediction.text)
    return answers, statistics.median(seconds) * 1e3


def problem_of(answers: Sequence[str], asked: Sequence[tuple[str, str]]) -> str:
    """Why an answer is no query that runs; "" if all of them are."""
    for answer, (question, path) in zip(answers, asked, strict=True):
        if not answer:
            continue
        with closing(Database(path)) as database:
            try:
                database.run(answer)
            except QueryError as error:
                return f"the answer to {question!r} does not run: {error}"
    return ""


def write_wide_database(path: Path) -> None:
    """Write a database of 22 tables with 16 columns each, and one row in each table."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in range(N_TABLES):
            names = [f"{NAMES[i % len(NAMES)]}_{i // len(NAMES)}" for i in range(N_COLUMNS - 1)]
            columns = ", ".join(f"{name} TEXT" for name in names)
            connection.execute(f"CREATE TABLE group_{table} (id INTEGER PRIMARY KEY, {columns})")
            values = ", ".join(f"'{name} of {table}'" for name in names)
            connection.execute(f"INSERT INTO group_{table} VALUES (1, {values})")


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of a model of the task sql")
    parser.add_argument("table", type=Path, help="questions, databases and queries")
    parser.add_argument("--n", type=int, default=50, help="number of questions")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    predictor = unrolled.load_queries(options.run)
    rows = read_query_rows(options.table, "test")[: options.n]
    asked = [(row.texts[0], row.texts[1]) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "wide.sqlite"
        write_wide_database(wide)
        kinds: dict[str, tuple[list[tuple[str, str]], bool]] = {
            "with the grammar": (asked, True),
            "without it": (asked, False),
            "352 columns, with the grammar": (
                [(question, str(wide)) for question, _ in asked],
                True,
            ),
            "352 columns, without it": ([(question, str(wide)) for question, _ in asked], False),
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        first: dict[str, list[str]] = {}
        for number in range(ROUNDS + 1):  # the first round reads the databases and is not counted
            for kind, (questions, grammar) in kinds.items():
                answers, milliseconds = timed(predictor, questions, grammar)
                problem = problem_of(answers, questions) if grammar else ""
                if not problem and first.setdefault(kind, answers) != answers:
                    problem = f"{kind}: round {number} gave other answers than the first"
                if problem:
                    print(f"nothing is measured: {problem}", file=sys.stderr)
                    return 1
                if number:
                    times[kind].append(milliseconds)
    print(f"{len(asked)} questions, one at a time, {options.threads} thread(s)")
    for kind, rounds in times.items():
        listed = ", ".join(f"{milliseconds:.1f}" for milliseconds in rounds)
        print(f"{kind}: median {statistics.median(rounds):.1f} ms a question (rounds {listed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
