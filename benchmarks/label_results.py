"""Train a label recipe with several seeds and variants; compare them, and test once.

    python benchmarks/label_results.py recipes/sst2.toml --runs runs/sst2 --baselines
    python benchmarks/label_results.py recipes/snli.toml --runs runs/snli \
        --vary model.encoder independent conditional [--compare conditional independent]
    … --test docs/results.jsonl

Without `--test`, missing runs are trained, the baselines are fitted on the split of the first seed, and
the scores on the validation set are printed. With `--test`, each run is also evaluated on the test set,
once: its scores are appended to the results file with date and commit, and its predictions are saved in
the run folder, from which all later tables and comparisons are made. Means over seeds have a 95 %
interval by Student's t; `--compare A B` resamples examples and seeds
(`unrolled.metrics.intervals.paired_bootstrap`). With `--ensemble`, the mean of the probabilities of all
seeds is one more variant, without training.
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
from unrolled.training.ensemble import fit_ensemble, member_folder
from unrolled.training.loop import train
from unrolled.training.recipe import Recipe, recipe_from_toml
from unrolled.training.run_folder import CONFIG_FILE

ANSWERS, SCORES = "test-answers.json", "scores.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="recipe of a classify, pair or tag task")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the run folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument(
        "--vary",
        nargs="+",
        metavar=("KEY", "VALUE"),
        help="setting and values to compare, e.g. model.cell lstm gru",
    )
    parser.add_argument(
        "--set",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="setting of all runs",
    )
    parser.add_argument(
        "--baselines", action="store_true", help="also fit the bag-of-words baselines"
    )
    parser.add_argument(
        "--ensemble", action="store_true", help="also average the probabilities of the seeds"
    )
    parser.add_argument(
        "--test", type=Path, help="evaluate once on the test set; append the scores to this file"
    )
    parser.add_argument("--metric", help="metric to print and compare; by default training.metric")
    parser.add_argument(
        "--compare",
        nargs=2,
        action="append",
        default=[],
        metavar=("A", "B"),
        help="two variants to compare on the test set by paired bootstrap",
    )
    arguments = parser.parse_args()
    key, *values = arguments.vary or ("", "")
    if key and not values:
        parser.error("--vary needs a setting and its values")
    metric, runs = arguments.metric, {}
    for value in values:
        settings = [*arguments.set, *([(key, value)] if key else [])]
        recipe = recipe_from_toml(arguments.recipe, TASKS, settings)
        metric = metric or recipe.training.metric
        name = value or arguments.recipe.stem
        runs[name] = [
            one_run(recipe, arguments.runs / f"{name}-{seed}", seed) for seed in arguments.seeds
        ]
        if arguments.ensemble:
            folder = arguments.runs / f"{name}-ensemble"
            runs[f"{name}, ensemble"] = [average(recipe, runs[name], arguments.seeds, folder)]
    first = next(iter(runs.values()))[0]
    if arguments.baselines and not (first / BASELINES_FOLDER).is_dir():
        print_baselines(first)
    table("validation", runs, "valid", metric)
    if arguments.test:
        for name, folders in runs.items():
            for folder in folders:
                labels = {"recipe": arguments.recipe.stem, "variant": name}
                test(folder, arguments.test, **labels, settings=dict(arguments.set))
        table("test", runs, "test", metric)
        baselines(first, runs, metric)
        for a, b in arguments.compare:
            comparison = paired_bootstrap(tallies(runs[a]), tallies(runs[b]), metric)
            print(f"\nA: {a}; B: {b}", *comparison.lines(), sep="\n")


def one_run(recipe: Recipe, folder: Path, seed: int) -> Path:
    """Train a run, unless it exists, and save its validation scores."""
    scores_file, recipe = folder / SCORES, replace(recipe, seed=seed)
    if scores_file.is_file():
        if recipe_from_toml(folder / CONFIG_FILE, TASKS) != recipe:
            raise SystemExit(
                f"{folder} was trained with another recipe; choose another folder with --runs"
            )
        return folder
    start = time.perf_counter()
    run = train(recipe, folder, resume=folder.is_dir())
    seconds = time.perf_counter() - start
    best_step = run.best and run.best.step
    save_scores(folder, steps=run.steps, best_step=best_step, seconds=seconds)
    return folder


def average(recipe: Recipe, runs: Sequence[Path], seeds: Sequence[int], folder: Path) -> Path:
    """Make an ensemble of trained runs, unless it exists, and save its validation scores."""
    if (folder / SCORES).is_file():
        return folder
    if list(seeds) != list(range(seeds[0], seeds[0] + len(seeds))):
        raise SystemExit(f"--ensemble needs consecutive --seeds, not {seeds}")
    events = fit_ensemble(replace(recipe, seed=seeds[0]), folder, len(seeds))
    for seed, run in zip(seeds, runs, strict=True):
        member = member_folder(folder, seed)
        member.parent.mkdir(exist_ok=True)
        if not member.exists():
            member.symlink_to(run.resolve(), target_is_directory=True)
    for _ in events:
        pass
    save_scores(folder)
    return folder


def save_scores(folder: Path, **details: object) -> None:
    predictor = load_labels(folder)
    figures = predictor.evaluate(predictor.held_out("valid")).figures()
    scores = {name: value for name, value in figures.items() if isinstance(value, float)}
    (folder / SCORES).write_text(json.dumps({"valid": scores, **details}), encoding="utf-8")
    print(f"{folder}: {details}, {scores}", flush=True)


def test(folder: Path, results: Path, **labels: object) -> None:
    """Evaluate a run on the test set, unless that was done, and save its predictions."""
    if (folder / ANSWERS).is_file():
        return
    predictor = load_labels(folder)
    rows = predictor.held_out("test")
    seed = predictor.recipe.seed
    evaluation = predictor.evaluate(rows, shuffle_words=seed)
    record(evaluation, results, run=folder.name, data="test", seed=seed, **labels)
    answers = {
        "scores": evaluation.figures(),
        "answers": [prediction.labels for prediction in evaluation.predictions],
    }
    (folder / ANSWERS).write_text(json.dumps(answers), encoding="utf-8")


def load_labels(folder: Path) -> LabelPredictor:
    predictor = load(folder)
    if not isinstance(predictor, LabelPredictor):
        raise SystemExit(f"{folder} does not predict labels; give a classify, pair or tag recipe")
    return predictor


def scores_of(folder: Path, part: str, metric: str) -> float:
    if part == "valid":
        figures = json.loads((folder / SCORES).read_text(encoding="utf-8"))["valid"]
    else:
        figures = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))["scores"]
    score: float = figures[metric]
    return score


def tallies(folders: Sequence[Path]) -> list[Scorable]:
    """Tallies of the saved predictions of each run."""
    predictor = load_labels(folders[0])
    truth = [predictor.gold(row) for row in predictor.held_out("test")]
    saved = (
        json.loads((folder / ANSWERS).read_text(encoding="utf-8"))["answers"] for folder in folders
    )
    return [
        predictor.tally(truth, [as_gold(names, predictor) for names in answers])
        for answers in saved
    ]


def as_gold(names: Sequence[str], predictor: LabelPredictor) -> Any:
    """A saved prediction in the form of `LabelPredictor.gold`."""
    if predictor.task.by_token:
        return list(names)
    return frozenset(names) if predictor.labels.multi_label else names[0]


def table(title: str, runs: dict[str, list[Path]], part: str, metric: str) -> None:
    shuffled = " words shuffled |" if part == "test" else ""
    print(f"\n| {title} | mean {metric} | 95 % interval | seeds |{shuffled}")
    print("|---|---|---|---|" + "---|" * bool(shuffled))
    for name, folders in runs.items():
        scores = [scores_of(folder, part, metric) for folder in folders]
        interval = over_seeds(scores) if len(scores) > 1 else None
        cells = [
            name,
            f"{mean(scores):.2f}",
            f"{interval.low:.2f} – {interval.high:.2f}" if interval else "",
            " ".join(f"{score:.2f}" for score in scores),
        ]
        if shuffled:
            saved = [
                json.loads((folder / ANSWERS).read_text(encoding="utf-8")) for folder in folders
            ]
            cells.append(f"{mean(run['scores']['shuffled'][metric] for run in saved):.2f}")
        print("| " + " | ".join(cells) + " |", flush=True)


def baselines(first: Path, runs: dict[str, list[Path]], metric: str) -> None:
    """Print the scores of the first run's baselines on the test set, and the runs' differences."""
    loaded = load_run_baselines(first)
    if not loaded:
        return
    predictor = load_labels(first)
    texts, truth = baseline_inputs(predictor, predictor.held_out("test"))
    names = list(runs)
    print(f"\n| baseline | {metric} |" + "".join(f" {name} − baseline |" for name in names))
    print("|---|---|" + "---|" * len(names))
    for baseline_name, baseline in loaded.items():
        tally = predictor.tally(truth, baseline.predict(texts))
        cells = []
        for name in names:
            result = paired_bootstrap(tallies(runs[name]), [tally], metric, n_resamples=2_000)
            low, high = 100 * result.low, 100 * result.high
            cells.append(f"{100 * result.difference:+.2f} ({low:+.2f} to {high:+.2f})")
        print(f"| {baseline_name} | {100 * result.b:.2f} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
