"""A labelling recipe over several seeds and variants: chosen on validation data, tested once.

    python benchmarks/label_results.py recipes/sst2.toml --runs runs/sst2 --baselines
    python benchmarks/label_results.py recipes/snli.toml --runs runs/snli \
        --vary model.encoder independent conditional [--compare conditional independent]
    … --test docs/results.jsonl

Without `--test` it trains what is missing, seed by seed, fits the baselines on the first seed's parts,
and prints the scores of the validation part. With `--test` it also reads the test part, once: the scores
of each run go to the file of results with date and commit, and its answers into the run's folder, from
where every later table and comparison is made. Means over seeds have Student's 95 % interval;
`--compare A B` draws examples and seeds (`unrolled.metrics.intervals.paired_bootstrap`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from unrolled.cli.train import print_baselines
from unrolled.metrics.intervals import over_seeds, paired_bootstrap
from unrolled.metrics.tally import Scorable
from unrolled.predictors.labels import LabelPredictor
from unrolled.predictors.load import load
from unrolled.predictors.results_file import record
from unrolled.predictors.run_baselines import (
    BASELINES_FOLDER,
    baseline_inputs,
    load_run_baselines,
)
from unrolled.tasks import TASKS
from unrolled.training.loop import train
from unrolled.training.recipe import Recipe, recipe_from_toml
from unrolled.training.run_folder import CONFIG_FILE

ANSWERS, SCORES = "test-answers.json", "scores.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs' folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument(
        "--vary", nargs="+", metavar=("KEY", "VALUE"), help="e.g. model.cell lstm gru"
    )
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"))
    parser.add_argument("--baselines", action="store_true", help="bag-of-words baselines, too")
    parser.add_argument("--test", type=Path, help="read the test part, once; append to this file")
    parser.add_argument("--metric", help="what to print and compare; by default training.metric")
    parser.add_argument("--compare", nargs=2, action="append", default=[], metavar=("A", "B"))
    arguments = parser.parse_args()
    key, *values = arguments.vary or ("", "")
    if key and not values:
        parser.error("--vary takes a key and its values")
    metric, runs = arguments.metric, {}
    for value in values:
        given = [*arguments.set, *([(key, value)] if key else [])]
        recipe = recipe_from_toml(arguments.recipe, TASKS, given)
        metric = metric or recipe.training.metric
        name = value or arguments.recipe.stem
        runs[name] = [
            one_run(recipe, arguments.runs / f"{name}-{seed}", seed) for seed in arguments.seeds
        ]
    first = next(iter(runs.values()))[0]
    if arguments.baselines and not (first / BASELINES_FOLDER).is_dir():
        print_baselines(first)
    table("validation", runs, "valid", metric)
    if arguments.test:
        for name, folders in runs.items():
            for folder in folders:
                about = {"recipe": arguments.recipe.stem, "variant": name}
                test(folder, arguments.test, **about, settings=dict(arguments.set))
        table("test", runs, "test", metric)
        baselines(first, runs, metric)
        for a, b in arguments.compare:
            found = paired_bootstrap(tallies(runs[a]), tallies(runs[b]), metric)
            print(f"\nA: {a}; B: {b}", *found.lines(), sep="\n")


def one_run(recipe: Recipe, folder: Path, seed: int) -> Path:
    """Train, unless it was done; keep the scores of the validation part."""
    kept, recipe = folder / SCORES, replace(recipe, seed=seed)
    if kept.is_file():
        if recipe_from_toml(folder / CONFIG_FILE, TASKS) != recipe:
            raise SystemExit(f"{folder} is of another recipe; name another folder with --runs")
        return folder
    start = time.perf_counter()
    run = train(recipe, folder, resume=folder.is_dir())
    seconds = time.perf_counter() - start
    predictor = load_labels(folder)
    found = predictor.evaluate(predictor.held_out("valid")).figures()
    scores = {name: value for name, value in found.items() if isinstance(value, float)}
    about = {"steps": run.steps, "best_step": run.best and run.best.step, "seconds": seconds}
    kept.write_text(json.dumps({"valid": scores, **about}), encoding="utf-8")
    print(f"{folder}: {seconds:.0f} s, {run.steps} steps, {scores}", flush=True)
    return folder


def test(folder: Path, results: Path, **about: object) -> None:
    """Read the test part, unless it was read; keep the answers."""
    if (folder / ANSWERS).is_file():
        return
    predictor = load_labels(folder)
    rows = predictor.held_out("test")
    seed = predictor.recipe.seed
    evaluation = predictor.evaluate(rows, shuffle_words=seed)
    record(evaluation, results, run=folder.name, data="test", seed=seed, **about)
    answers = {
        "scores": evaluation.figures(),
        "answers": [each.labels for each in evaluation.predictions],
    }
    (folder / ANSWERS).write_text(json.dumps(answers), encoding="utf-8")


def load_labels(folder: Path) -> LabelPredictor:
    predictor = load(folder)
    if not isinstance(predictor, LabelPredictor):
        raise SystemExit(f"{folder} is no run with labels; give a recipe of classify, pair or tag")
    return predictor


def scores_of(folder: Path, part: str, metric: str) -> float:
    if part == "valid":
        found: float = json.loads((folder / SCORES).read_text(encoding="utf-8"))["valid"][metric]
        return found
    figures = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))["scores"]
    score: float = figures[metric]
    return score


def tallies(folders: Sequence[Path]) -> list[Scorable]:
    """Of each run's kept answers."""
    predictor = load_labels(folders[0])
    truth = [predictor.gold(row) for row in predictor.held_out("test")]
    kept = (
        json.loads((folder / ANSWERS).read_text(encoding="utf-8"))["answers"] for folder in folders
    )
    return [predictor.tally(truth, [as_gold(names, predictor) for names in each]) for each in kept]


def as_gold(names: Sequence[str], predictor: LabelPredictor) -> Any:
    """An answer as `LabelPredictor.gold` has it."""
    if predictor.task.by_token:
        return list(names)
    return frozenset(names) if predictor.labels.multi_label else names[0]


def table(title: str, runs: dict[str, list[Path]], part: str, metric: str) -> None:
    shuffled = " words shuffled |" if part == "test" else ""
    print(f"\n| {title} | {metric} | 95 % of the mean | seeds |{shuffled}")
    print("|---|---|---|---|" + "---|" * bool(shuffled))
    for name, folders in runs.items():
        scores = [scores_of(folder, part, metric) for folder in folders]
        interval = over_seeds(scores) if len(scores) > 1 else None
        cells = [
            name,
            f"{mean(scores):.2f}",
            f"{interval.low:.2f} – {interval.high:.2f}" if interval else "",
            " ".join(f"{each:.2f}" for each in scores),
        ]
        if shuffled:
            kept = [json.loads((each / ANSWERS).read_text(encoding="utf-8")) for each in folders]
            cells.append(f"{mean(each['scores']['shuffled'][metric] for each in kept):.2f}")
        print("| " + " | ".join(cells) + " |", flush=True)


def baselines(first: Path, runs: dict[str, list[Path]], metric: str) -> None:
    """The first run's baselines on the test part, and what the runs have over them."""
    loaded = load_run_baselines(first)
    if not loaded:
        return
    predictor = load_labels(first)
    texts, truth = baseline_inputs(predictor, predictor.held_out("test"))
    names = list(runs)
    print(f"\n| baseline | {metric} |" + "".join(f" {name} over it |" for name in names))
    print("|---|---|" + "---|" * len(names))
    for baseline_name, baseline in loaded.items():
        tally = predictor.tally(truth, baseline.predict(texts))
        cells = []
        for name in names:
            found = paired_bootstrap(tallies(runs[name]), [tally], metric, n_resamples=2_000)
            cells.append(
                f"{100 * found.difference:+.2f} ({100 * found.low:+.2f} to {100 * found.high:+.2f})"
            )
        print(f"| {baseline_name} | {100 * found.b:.2f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
