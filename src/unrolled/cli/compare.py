"""`unrolled compare`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from unrolled.cli.app import app
from unrolled.cli.options import (
    SETTINGS_HELP,
    Files,
    Names,
    Overrides,
    out_for,
    recipe_from_options,
    shown_on,
    text_width,
)
from unrolled.errors import ConfigError, RunError
from unrolled.quoting import shell_command
from unrolled.wording import count_of

if TYPE_CHECKING:
    from unrolled.comparison.plan import Plan
    from unrolled.comparison.runners import Runner

Repeated = Annotated[tuple[str, ...], Parameter(show_default=False)]

_MOST_JOBS = 1024


@app.command(help_epilogue=SETTINGS_HELP)
def compare(
    recipe: Path | None = None,
    /,
    *,
    over: Repeated = (),
    seeds: Annotated[int | None, Parameter(show_default="5")] = None,
    tune: Repeated = (),
    no_match: bool = False,
    score: str | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    out: Path | None = None,
    record: Path | None = None,
    task: str | None = None,
    data: Files = (),
    valid: Files = (),
    test: Files = (),
    columns: Names = (),
    overrides: Overrides = (),
) -> None:
    """Compare variants of a recipe with equal parameters and several seeds, in quality and in cost.

    Every combination of the values of --over is trained once for each seed. The same command goes on
    where it was interrupted; so does --out FOLDER alone. Results are in the folder: compare.json,
    costs.json, compare.csv and report.html; each run is an ordinary run folder in runs.

    Args:
        recipe: recipe to vary (a TOML file of settings).
        over: a setting and its values, such as model.cell=rnn,gru,lstm; repeat the option to vary several
            settings. Any setting can vary, except those that choose the data to score on.
        seeds: number of runs of each variant; run i has the same seed in all variants, and so the same
            order of the data.
        tune: a setting and its values, from which the best is chosen for each variant on validation data
            with the first seed, such as training.learning_rate=1e-3,2e-3,5e-3; repeat the option to try
            all combinations.
        no_match: keep the widths of the recipe. By default, the width of each variant
            (model.hidden_size, and model.encoder_size in proportion) is solved so that all variants have
            the parameters of the recipe, to 0.5%.
        score: score to compare; by default training.metric, or if that is the loss the usual score of
            the task.
        jobs: number of runs at a time on this machine, which share its threads.
        cluster: address of a Dask scheduler, to make each run on a worker; the folder must be on a file
            system that all workers share.
        out: folder of the comparison; by default comparisons/NAME, where NAME is the name of the recipe
            or data file up to its first dot.
        record: file to append the scores of all variants to, as one line of JSON with the date and, if
            known, Unrolled's commit, once all runs are finished.
        task: task to train for, if there is no RECIPE.
        data: training data, as for 'unrolled train'.
        valid: validation data; by default, held out from the training data.
        test: test data, which variants are scored on; by default, held out likewise.
        columns: columns to read, as for 'unrolled train'.
    """
    if not 1 <= jobs <= _MOST_JOBS:
        raise ConfigError(f"--jobs must be from 1 to {_MOST_JOBS}, got {jobs}")
    if cluster is not None and jobs != 1:
        raise ConfigError("--jobs is for this machine; the workers of --cluster set their number")
    if seeds is not None and not 1 <= seeds <= 1000:
        raise ConfigError(f"--seeds must be from 1 to 1000, got {seeds}")
    if record is not None and (record.is_dir() or not record.parent.is_dir()):
        raise ConfigError(f"cannot append to {record}; name a file in an existing folder")
    from unrolled.comparison.plan import read_plan

    is_new = recipe is not None or bool(data) or task is not None
    if not is_new:
        if out is None:
            raise ConfigError("nothing to compare; give a recipe, or --task and --data")
        given = {"--over": over, "--tune": tune, "--no-match": no_match, "a setting": overrides}
        for option in (option for option, value in given.items() if value):
            raise ConfigError(
                f"{option} is part of the plan in {out}; leave it out, or give the recipe, too"
            )
        plan = _changed(read_plan(out), seeds, score)
    else:
        chosen = recipe_from_options(
            recipe, task, data, valid, test, columns, None, overrides, counting=False
        )
        _check_overrides((*over, *tune), overrides)
        plan = _plan_of(chosen, over, tune, no_match, jobs, cluster)
        plan = _changed(plan, seeds, score)
        if out is None:
            out = out_for(recipe, chosen, "comparisons", "comparison")
    _compare(plan, out, jobs, cluster, record)


def _check_overrides(axes: Sequence[str], overrides: Sequence[tuple[str, str | None]]) -> None:
    names = {name for name, _ in overrides}
    for axis in axes:
        name = axis.partition("=")[0].strip().replace("-", "_")
        if name in names:
            raise ConfigError(f"--{name} is given, but {name} varies; remove --{name}")


def _plan_of(
    chosen: Any,
    over: Sequence[str],
    tune: Sequence[str],
    no_match: bool,
    jobs: int,
    cluster: str | None,
) -> Plan:
    import torch

    from unrolled.comparison.matching import solved_settings
    from unrolled.comparison.plan import Plan
    from unrolled.config import to_mapping
    from unrolled.tasks import TASKS

    if chosen.model is None:
        chosen = dataclasses.replace(chosen, model=TASKS[chosen.task].Config())
    threads = chosen.training.threads
    if not threads:
        threads = 1 if cluster else max(1, torch.get_num_threads() // jobs)
    return Plan(
        recipe=to_mapping(chosen),
        over=tuple(over),
        tune=tuple(tune),
        match=() if no_match else solved_settings(chosen),
        threads=threads,
        command=shell_command("unrolled", *sys.argv[1:]),
    )


def _changed(plan: Plan, seeds: int | None, score: str | None) -> Plan:
    if seeds is not None:
        plan = dataclasses.replace(plan, seeds=seeds)
    return plan if score is None else dataclasses.replace(plan, score=score)


def _compare(plan: Plan, out: Path, jobs: int, cluster: str | None, record: Path | None) -> None:
    from unrolled.cli.compare_view import CompareView
    from unrolled.cli.progress import follow
    from unrolled.cli.screen import default_console
    from unrolled.comparison.compare import PAGE_FILE, compare
    from unrolled.comparison.plan import PLAN_FILE
    from unrolled.comparison.report import lines_of
    from unrolled.comparison.runners import ClusterRunner, LocalRunner

    runner: Runner = LocalRunner(jobs) if cluster is None else ClusterRunner(cluster)
    view = CompareView(out)
    follow(
        compare(plan, out, runner),
        view,
        console=default_console(),
        resume=(out / PLAN_FILE, shell_command("unrolled", "compare", "--out", out)),
    )
    assert view.data is not None
    for line in lines_of(view.data, view.costs, text_width()):
        print(shown_on(sys.stdout, line))
    print()
    print(shown_on(sys.stdout, f"report: {out / PAGE_FILE}"))
    if view.failed:
        key, problem = next(iter(view.failed.items()))
        raise RunError(
            f"{count_of(len(view.failed), 'run')} of {view.data['n_runs']} ended without a result; the "
            f"first is {key}: {problem}; to try again, start the same command"
        )
    if record is not None:
        from unrolled.comparison.results import summary
        from unrolled.predictors.results_file import record_figures

        record_figures(summary(view.data), record, comparison=out.name)
