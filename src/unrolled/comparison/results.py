"""The results of a comparison: `compare.json` and `costs.json`, from the files of the finished runs.

`compare.json` depends only on the plan and on the results of runs, which are exact however often a run
was interrupted. What depends on the machine and the moment is in `costs.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unrolled import config, documents, storage
from unrolled.comparison import statistics
from unrolled.comparison.plan import COSTS, RUNS, PlannedRun, SizedVariant
from unrolled.comparison.schedule import Grid
from unrolled.errors import RunError
from unrolled.metrics.display import title
from unrolled.quoting import listed

COMPARE_FILE, COSTS_FILE = "compare.json", "costs.json"
FORMAT = "Unrolled comparison 1"

COST_NAMES = ("seconds", "tokens_per_second", "peak_bytes", "step_microseconds", "model_bytes")
"""What is measured of each run."""

Json = dict[str, Any]


def compared(grid: Grid) -> Json:
    """The content of `compare.json`, of the runs that are finished so far."""
    plan, sizing = grid.plan, grid.sizing
    score = _score_of(grid)
    runs = {each.key: [_run(grid, run) for run in grid.seeds(each)] for each in sizing.variants}
    variants = [_variant(grid, each, runs[each.key], score) for each in sizing.variants]
    results = [run for each in runs.values() for run in each if run["state"] == "finished"]
    notes = list(sizing.notes)
    if results and not any(score in run["scores"] for run in results):
        names = listed(results[0]["scores"], most=20)
        notes.append(f"the runs have no score '{score}'; choose another with --score: {names}")
    are_comparable = len({run["data"] for run in results}) <= 1
    if not are_comparable:
        notes.append(
            "the variants were scored on different data, so that their scores cannot be compared"
        )
    return {
        "format": FORMAT,
        "task": plan.base.task,
        "over": {axis.name: list(axis.values) for axis in plan.axes},
        "tune": {axis.name: list(axis.values) for axis in plan.tuned},
        "seeds": list(plan.seed_numbers),
        "score": score,
        "smaller_is_better": statistics.smaller_is_better(score),
        "part": sizing.part,
        "examples": results[0]["examples"] if results else None,
        "target_parameters": sizing.target or None,
        "solved": list(plan.match),
        "n_runs": grid.n_runs,
        "n_done": grid.n_done,
        "notes": notes,
        "variants": variants,
        "differences": _differences(variants, results, score) if are_comparable else [],
        "recipe": config.to_mapping(plan.base),
    }


def _score_of(grid: Grid) -> str:
    """The score that is compared: that of the plan, the metric of training, or the usual one."""
    plan = grid.plan
    if plan.score:
        return plan.score
    if plan.base.training.metric != "loss":
        return plan.base.training.metric
    for result in grid.results.values():
        names = list(result.get("scores", ()))
        if "bits_per_character" in names:
            return "bits_per_character" if plan.base.text.kind == "char" else "perplexity"
        if names:
            return str(names[0])
    return ""


def _run(grid: Grid, run: PlannedRun) -> Json:
    """What is known of a run: finished, failed, because its loss is not finite, or missing."""
    about: Json = {"seed": run.seed, "folder": f"{RUNS}/{run.key}"}
    result = grid.results.get(run.key)
    if result is None:
        return {**about, "state": "missing", "problem": grid.failed.get(run.key, "")}
    if "problem" in result:
        return {**about, "state": "failed", "problem": result["problem"]}
    return {**about, "state": "finished", "problem": "", **result}


def _variant(grid: Grid, variant: SizedVariant, runs: Sequence[Json], score: str) -> Json:
    finished = [run for run in runs if run["state"] == "finished"]
    scores = _scores(finished, score)
    tuned = grid.chosen(variant)
    target = grid.sizing.target
    return {
        "name": variant.name,
        "key": variant.key,
        "settings": dict(variant.settings),
        "widths": dict(variant.widths),
        "parameters": variant.parameters,
        "embedding_parameters": variant.embedding_parameters,
        "mismatch": variant.parameters / target - 1 if target else None,
        "multiply_adds": variant.multiply_adds,
        "tuned": None if tuned is None else dict(tuned),
        "trials": _trials(grid, variant),
        "n": len(scores),
        "n_failed": sum(run["state"] == "failed" for run in runs),
        **_interval(list(scores.values())),
        "scores": _all_scores(finished),
        "curve": _curve(finished),
        "by_length": _by_length(finished, score),
        "runs": runs,
    }


def _trials(grid: Grid, variant: SizedVariant) -> list[Json]:
    trials = grid.trials(variant)
    if len(trials) == 1:
        return []
    found = []
    for run in trials:
        result = grid.results.get(run.key, {})
        about = {"settings": dict(run.tuned), "value": result.get("value")}
        found.append({**about, "problem": result.get("problem", "")})
    return found


def _scores(runs: Iterable[Json], score: str) -> dict[int, float]:
    """The score by seed, of runs in which it is finite."""
    values = {run["seed"]: run["scores"].get(score) for run in runs}
    return {seed: value for seed, value in values.items() if value is not None}


def _interval(values: Sequence[float]) -> Json:
    interval = statistics.mean_over_seeds(values)
    if interval is None:
        return {"mean": None, "low": None, "high": None}
    low, high = (interval.low, interval.high) if len(values) > 1 else (None, None)
    return {"mean": interval.value, "low": low, "high": high}


def _all_scores(runs: Sequence[Json]) -> Json:
    """Mean and interval of every score."""
    names = list(dict.fromkeys(name for run in runs for name in run["scores"]))
    return {name: _interval(list(_scores(runs, name).values())) for name in names}


def _curve(runs: Sequence[Json]) -> list[Json]:
    """The metric on validation data at the steps at which all runs were evaluated."""
    if not runs:
        return []
    curves = [{step: value for step, value in run["curve"] if value is not None} for run in runs]
    steps = [step for step in curves[0] if all(step in curve for curve in curves)]
    return [
        {"step": step, **_interval([curve[step] for curve in curves])} for step in sorted(steps)
    ]


def _by_length(runs: Sequence[Json], score: str) -> list[Json]:
    """The score in groups of rows by the length of their source; [] for tasks without written output."""
    groups = [run["by_length"] for run in runs if run.get("by_length")]
    found = []
    for same in zip(*groups, strict=False):
        values = [group["scores"].get(score) for group in same]
        about = {name: same[0][name] for name in ("shortest", "longest", "examples")}
        found.append({**about, **_interval([value for value in values if value is not None])})
    return found


def _differences(variants: Sequence[Json], results: Sequence[Json], score: str) -> list[Json]:
    if not results:
        return []
    scores = {
        each["name"]: _scores([run for run in each["runs"] if run["state"] == "finished"], score)
        for each in variants
    }
    is_share = not statistics.smaller_is_better(score)
    step = 100 / max(1, results[0]["examples"]) if is_share else 0.0
    found = []
    for difference in statistics.differences(scores, step=step):
        words = statistics.sentence(difference, score, title(score))
        found.append({**asdict(difference), "differs": difference.differs, "sentence": words})
    return found


_SUMMARIZED = ("name", "settings", "widths", "parameters", "tuned", "mean", "low", "high")


def summary(data: Json) -> Json:
    """What a line of a results file says of `compare.json`: every variant with its scores by seed."""
    about = {name: data[name] for name in ("task", "part", "examples", "score", "over", "tune")}
    variants = [
        {
            **{name: variant[name] for name in _SUMMARIZED},
            "by_seed": _scores(
                [run for run in variant["runs"] if run["state"] == "finished"], data["score"]
            ),
        }
        for variant in data["variants"]
    ]
    claims = [difference["sentence"] for difference in data["differences"]]
    return {**about, "variants": variants, "differences": claims}


def costs_of(grid: Grid) -> Json:
    """The content of `costs.json`: what was measured of each run, and means by variant."""
    runs: dict[str, Json] = {}
    variants: dict[str, Json] = {}
    for variant in grid.sizing.variants:
        measured = []
        for run in grid.seeds(variant):
            costs = _read_costs(grid, run) if run.key in grid.results else None
            if costs is not None:
                runs[run.key] = costs
                measured.append(costs)
        variants[variant.key] = {
            name: _interval([each[name] for each in measured if each.get(name) is not None])
            for name in COST_NAMES
        }
    return {"format": "Unrolled costs 1", "variants": variants, "runs": runs}


def _read_costs(grid: Grid, run: PlannedRun) -> Json | None:
    try:
        costs = documents.read_json(grid.file(COSTS, run))
    except RunError:  # of a run that failed
        return None
    return costs if isinstance(costs, dict) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of results.

    Raises:
        RunError: it cannot be written.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    storage.write_whole(path, text.encode(), "start the same command again")
