"""What it costs to look inside: seconds for a text of 200 tokens, and the share of the time of training.

    export OMP_NUM_THREADS=1
    python benchmarks/inspection.py [--tokens 200] [--tasks translate classify] [--every 5]

Models have the default sizes of their task and random weights; a translator also writes 200 tokens. Times
are those of the processor: `trace` for all gates and states, `flow` for the gradient flow with its
diagnosis. Then a small classifier is trained with and without `--inspect-every`, five times in turn, and
the medians are compared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

import unrolled
from unrolled.inspect.example import example_of
from unrolled.inspect.gradient_flow import inspect_example
from unrolled.inspect.trace import trace_example
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.seq2seq import Predictor
from unrolled.samples import adding
from unrolled.tasks import TASKS
from unrolled.text.rows import Row
from unrolled.training.events import Inspected

WORDS = ["the", "red", "cat", "sees", "a", "big", "dog", "near", "two", "old", "trees"]
MEASURED = ("translate", "classify", "pair", "tag", "language_model")
_N_TIMES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--tasks", nargs="+", choices=MEASURED, default=list(MEASURED))
    parser.add_argument("--every", type=int, default=5, help="updates between inspections")
    parser.add_argument("--steps", type=int, default=300, help="updates of each run; 0 for no run")
    options = parser.parse_args()
    print(f"{'task':16}{'trace':>8}{'flow':>8}  seconds")
    for name in options.tasks:
        trace, flow = seconds_of(name, options.tokens)
        print(f"{name:16}{trace:8.2f}{flow:8.2f}", flush=True)
    if options.steps:
        slower(options.every, options.steps)


def seconds_of(name: str, n_tokens: int) -> tuple[float, float]:
    """Seconds of a trace and of the gradient flow; the second of two times."""
    text = " ".join((WORDS * n_tokens)[:n_tokens])
    predictor = predictor_of(name, text)
    given = (text, text) if name == "pair" else text
    example = example_of(predictor, given, text if name == "translate" else None)
    for _ in range(2):
        start = time.process_time()
        trace_example(predictor.model, example)
        traced = time.process_time()
        inspect_example(predictor, example)
        done = time.process_time()
    return traced - start, done - traced


def predictor_of(name: str, text: str) -> Any:
    """A new model of a task, with its default sizes."""
    task: Any = TASKS[name]
    recipe = unrolled.Recipe.from_mapping({"task": name, "text": {"kind": "word"}}, TASKS)
    torch.manual_seed(1)
    model = task.Config() if recipe.model is None else recipe.model
    if name == "language_model":
        roles = {"text": task.train_tokenizer([text], recipe.text)}
        return LanguagePredictor(recipe, task, roles, task.build(model, roles).eval())
    words = tuple(text.split())
    rows: Any = {
        "translate": [(text, text)],
        "classify": [(text, "yes"), (text, "no")],
        "pair": [(text, text, "yes"), (text, text, "no")],
        "tag": [(words, ("A", "B") * (len(words) // 2) + ("A",) * (len(words) % 2))],
    }[name]
    numbered = [Row(fields, number) for number, fields in enumerate(rows, start=1)]
    extra = () if name == "translate" else (recipe.data,)
    roles = task.train_tokenizers(numbered, recipe.text, *extra)
    kind = Predictor if name == "translate" else LabelPredictor
    return kind(recipe, task, roles, task.build(model, roles).eval())


def slower(every: int, n_steps: int) -> None:
    """Train with and without inspections, and print the share of their time."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "adding.tsv"
        rows = adding.generate(n_train=2_000, n_valid=0, n_test=0, length=30).train
        data.write_text("".join(f"{row.text}\t{row.label}\n" for row in rows), encoding="utf-8")
        mapping = {
            "task": "classify",
            "data": {"train": [str(data)]},
            "model": {"hidden_size": 64, "embedding_size": 32},
            "training": {"max_steps": n_steps, "threads": 1},
        }
        recipe = unrolled.Recipe.from_mapping(mapping, TASKS)
        times: dict[int, list[float]] = {0: [], every: []}
        found: list[Inspected] = []
        for number in range(_N_TIMES):
            for n, seconds in times.items():
                start = time.process_time()
                events = list(unrolled.fit(recipe, Path(folder) / f"{number}-{n}", inspect_every=n))
                seconds.append(time.process_time() - start)
                found = [event for event in events if isinstance(event, Inspected)] or found
    plain, inspected = (median(seconds) for seconds in times.values())
    print(
        f"training, {n_steps:,} updates: {plain:.1f} s, with {len(found)} inspections "
        f"{inspected:.1f} s, {100 * (inspected / plain - 1):+.1f}%"
    )


if __name__ == "__main__":
    main()
