"""Train recurrent layers on tasks with long dependencies: which learn them, and what the gradients say.

    export OMP_NUM_THREADS=1
    python benchmarks/long_range.py --out runs/long-range [--record docs/results.jsonl]
    python benchmarks/long_range.py --out runs/long-range --tasks adding --cells GRU LSTM --lengths 50 150
    python benchmarks/long_range.py --out runs/long-range --tasks adding --lengths 150 --figure FILE.png
    python benchmarks/long_range.py --out runs/long-range --tasks adding --untrained

Settings are those of recipes/adding.toml, copy-memory.toml and digits.toml, with another learning rate
for cells without gates. A run ends when 98% of the validation rows are right, or after `--steps` updates;
finished runs are not repeated. The table has, for each run, the test rows that are right (of copy memory:
the symbols), the updates after which 90% of the validation rows were right, seconds of processor time,
what is left of the gradient of the last step at the first one, and the diagnosis, both before and after
training. With `--figure`, the finished runs of one task and length are drawn: what is left of the
gradient after each number of steps back. With `--untrained`, nothing is trained: the table has the
gradients of new models, of each cell at each length.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.diagnosis.flow import measure_flow
from unrolled.diagnosis.verdict import VANISHED, judge
from unrolled.errors import NonFiniteError
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.load import load
from unrolled.predictors.results_file import record
from unrolled.samples import adding, copy_memory, digits
from unrolled.tasks import TASKS
from unrolled.text.rows import Row
from unrolled.training.events import Evaluated
from unrolled.training.inspection import N_ROWS, loss_of_sample, settings_of
from unrolled.training.kinds import build_loader, prepare
from unrolled.training.loop import fit
from unrolled.training.recipe import Recipe, recipe_from_toml

RECIPES = Path(__file__).parent.parent / "recipes"

CELLS: Mapping[str, Mapping[str, str]] = {
    "tanh RNN": {"model.cell": "rnn", "training.learning_rate": "1e-3"},
    "IRNN": {
        "model.cell": "rnn_relu",
        "model.recurrent_init": "identity",
        "training.learning_rate": "1e-3",
    },
    "GRU": {"model.cell": "gru", "training.learning_rate": "1e-2"},
    "LSTM": {"model.cell": "lstm", "training.learning_rate": "1e-2"},
    "LSTM, forget bias 3": {
        "model.cell": "lstm",
        "model.forget_bias": "3.0",
        "training.learning_rate": "1e-2",
    },
}
"""Settings of each cell; the rate is the best of 1e-3, 3e-3 and 1e-2 on adding with 50 digits."""

COLOURS = dict(zip(CELLS, ("#888888", "#cc79a7", "#0072b2", "#d55e00", "#009e73"), strict=True))

LENGTHS = {
    "adding": (50, 150, 400, 750),
    "copy-memory": (10, 50, 150, 400),
    "digits": (8, 14, 20, 28),
}
"""Lengths of each task; of images, the pixels of a side."""

CHANCE = {"adding": 10.0, "copy-memory": 12.5, "digits": 10.0}

_SOLVED, _LEARNED = 98.0, 90.0
_N_ROWS = (10_000, 500, 1_000)
_FEW_ROWS = (200, 10, 10)
_BATCH = 16
_RESULT = "result.json"
_LEAST_DRAWN = 1e-20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for data and run folders")
    parser.add_argument("--tasks", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--lengths", type=int, nargs="+", help="by default those of each task")
    parser.add_argument("--steps", type=int, default=2_500, help="most updates of a run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"))
    parser.add_argument("--table", action="store_true", help="only print the finished runs")
    parser.add_argument("--untrained", action="store_true", help="only measure new models")
    parser.add_argument("--record", type=Path, help="file to append the results to")
    parser.add_argument("--figure", type=Path, help="only draw the gradients of finished runs")
    options = parser.parse_args()
    if options.figure:
        draw(options)
        return
    if options.untrained:
        print("\n".join(untrained(options)))
        return
    if not options.table:
        # Short sequences first, so that a table is there early.
        for place in range(len(options.lengths or LENGTHS["adding"])):
            for task in options.tasks:
                for cell in options.cells:
                    run(task, cell, (options.lengths or LENGTHS[task])[place], options)
    print("\n".join(table(options)))


def run(task: str, cell: str, length: int, options: argparse.Namespace) -> None:
    """Train and measure one cell, unless that has been done."""
    folder = _folder(task, cell, length, options)
    result_file = folder.with_name(f"{folder.name}.{_RESULT}")
    if result_file.exists():
        return
    recipe = _recipe(task, cell, length, options)
    began = time.process_time()  # of the processor, whatever else runs
    evaluations: list[tuple[int, float]] = []
    problem = ""
    try:
        with closing(fit(recipe, folder, force=True)) as events:
            for event in events:
                if isinstance(event, Evaluated):
                    evaluations.append((event.step, event.scores[recipe.training.metric]))
                    if evaluations[-1][1] >= _SOLVED:
                        break
    except NonFiniteError as error:
        problem = str(error)
    seconds = time.process_time() - began
    predictor = load(folder)
    assert isinstance(predictor, LabelPredictor)
    rows = predictor.held_out("test")
    evaluated = predictor.evaluate(rows)
    result = {
        "task": task,
        "cell": cell,
        "length": length,
        "seed": options.seed,
        "settings": dict(options.set),
        "steps": evaluations[-1][0] if evaluations else 0,
        "steps_to_90": next((at for at, score in evaluations if score >= _LEARNED), None),
        "evaluations": evaluations,
        "seconds": round(seconds, 1),
        "problem": problem,
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "test": round(100 * evaluated.scores[recipe.training.metric], 2),
        **gradients(predictor, rows[:N_ROWS]),
    }
    if options.record:
        record(evaluated, options.record, benchmark="long_range", **_summary(result))
    result_file.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(_summary(result), flush=True)


def untrained(options: argparse.Namespace) -> Iterator[str]:
    """What is left of the gradient at the first step, of new models, as a table in Markdown."""
    yield f"| task | steps | {' | '.join(options.cells)} |"
    yield f"|---|--:|{'--:|' * len(options.cells)}"
    for task in options.tasks:
        for length in options.lengths or LENGTHS[task]:
            found = [_of_new_model(task, cell, length, options) for cell in options.cells]
            shares = (f"{each['left']:.0e} ({each['kind']})" for each in found)
            yield f"| {task} | {found[0]['span'] + 1} | {' | '.join(shares)} |"


def _of_new_model(task: str, cell: str, length: int, options: argparse.Namespace) -> dict[str, Any]:
    recipe = _recipe(task, cell, length, options, n_rows=_FEW_ROWS)
    kind = TASKS[recipe.task]
    loader = build_loader(recipe, kind, prepare(recipe, kind))
    torch.manual_seed(recipe.seed)
    model: Any = kind.build(recipe.model, loader.tokenizers)
    return _gradient(model, loss_of_sample(loader), recipe)


def _folder(task: str, cell: str, length: int, options: argparse.Namespace) -> Path:
    out: Path = options.out
    return out / f"{task}-{cell.replace(', ', '-').replace(' ', '-')}-{length}-{options.seed}"


def _recipe(
    task: str,
    cell: str,
    length: int,
    options: argparse.Namespace,
    n_rows: tuple[int, int, int] = _N_ROWS,
) -> Recipe:
    ending = "conll" if task == "copy-memory" else "tsv"
    data = options.out / ("data" if n_rows == _N_ROWS else "few") / f"{task}-{length}"
    _generate(task, length, data, n_rows)
    n_steps = {"copy-memory": length + 20, "digits": length * length}.get(task, length)
    settings = {
        **{f"data.{part}": str(data / f"{part}.{ending}") for part in ("train", "valid", "test")},
        **CELLS[cell],
        "training.max_tokens": str(_BATCH * n_steps),
        "training.max_steps": str(options.steps),
        "training.evaluate_every_n_steps": "250",
        **dict(options.set),
    }
    recipe = recipe_from_toml(RECIPES / f"{task}.toml", TASKS, list(settings.items()))
    return replace(recipe, seed=options.seed)


def _generate(task: str, length: int, folder: Path, n_rows: tuple[int, int, int]) -> None:
    if folder.exists():
        return
    if task == "adding":
        adding.write(folder, adding.generate(*n_rows, length))
    elif task == "copy-memory":
        copy_memory.write(folder, copy_memory.generate(*n_rows, length))
    else:
        digits.write(folder, digits.generate(*n_rows, length))


def gradients(predictor: LabelPredictor, rows: Sequence[Row]) -> dict[str, Any]:
    """The gradients on some rows, of a new model of the recipe and of the trained one."""
    recipe, task, tokenizers = predictor.recipe, predictor.task, predictor.tokenizers
    batch = task.collate([task.encode(row.fields, tokenizers, recipe.data) for row in rows])

    def loss_of(model: Any) -> Any:
        return task.evaluate_loss(model, batch)

    torch.manual_seed(recipe.seed)
    new = task.build(recipe.model, tokenizers)
    return {
        "before": _gradient(new, loss_of, recipe),
        "after": _gradient(predictor.model, loss_of, recipe),
    }


def _gradient(model: Any, loss_of: Callable[[Any], Any], recipe: Recipe) -> dict[str, Any]:
    flow = measure_flow(model, loss_of, detailed=False)
    verdict = judge(flow, None, settings_of(recipe))
    (layer,) = flow.layers
    return {
        "left": layer.reach_at(layer.span),
        "span": layer.span,
        "curve": [float(f"{share:.3g}") for share in layer.curve],
        "kind": verdict.kind,
        "verdict": str(verdict),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a result."""
    left_out = ("evaluations", "before", "after", "seconds")
    summary = {name: value for name, value in result.items() if name not in left_out}
    summary["training_seconds"] = result["seconds"]
    for when in ("before", "after"):
        for name in ("left", "kind"):
            summary[f"{name}_{when}"] = result[when][name]
    return summary


def finished(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The results of all runs that are finished."""
    for task in options.tasks:
        for length in options.lengths or LENGTHS[task]:
            for cell in options.cells:
                folder = _folder(task, cell, length, options)
                file = folder.with_name(f"{folder.name}.{_RESULT}")
                if file.exists():
                    yield json.loads(file.read_text(encoding="utf-8"))


def table(options: argparse.Namespace) -> Sequence[str]:
    """The finished runs as a table in Markdown."""
    lines = [
        "| task | steps | cell | test, % | updates to 90% | updates | seconds | gradient left: before | "
        "after | diagnosis: before | after |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|---|---|",
    ]
    return [*lines, *map(_row, finished(options))]


def _row(result: Mapping[str, Any]) -> str:
    before, after = result["before"], result["after"]
    steps = result["steps_to_90"]
    cells = [
        result["task"],
        str(before["span"] + 1),
        result["cell"],
        f"{result['test']:.1f}",
        f"{steps:,}" if steps else "–",
        f"{result['steps']:,}" + (" (not finite)" if result["problem"] else ""),
        f"{result['seconds']:.0f}",
        *(f"{each['left']:.1g}" for each in (before, after)),
        *(each["kind"] for each in (before, after)),
    ]
    return f"| {' | '.join(cells)} |"


def draw(options: argparse.Namespace) -> None:
    """Draw what is left of the gradient against the steps back, before and after training."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
    results = list(finished(options))
    for axis, when in zip(axes, ("before", "after"), strict=True):
        for result in results:
            curve = np.maximum(result[when]["curve"], _LEAST_DRAWN)
            right = f", {result['test']:.0f}% right" if when == "after" else ""
            axis.plot(curve, COLOURS[result["cell"]], label=f"{result['cell']}{right}")
        axis.axhline(VANISHED, color="#888888", linewidth=0.8, linestyle=":")
        axis.set(title=f"{when} training", xlabel="steps back", yscale="log")
        axis.legend(fontsize=7, frameon=False)
    axes[0].set_ylabel("share of the gradient that is left")
    figure.savefig(options.figure, dpi=120)
    print(f"figure: {options.figure}")


if __name__ == "__main__":
    main()
