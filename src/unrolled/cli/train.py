"""`unrolled train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from unrolled import storage
from unrolled.cli.options import (
    SETTINGS_HELP,
    Files,
    Names,
    Overrides,
    default_out,
    recipe_from_options,
    settings_to_start_from,
)
from unrolled.errors import ConfigError

if TYPE_CHECKING:
    pass
from unrolled.cli.app import app


@app.command(help_epilogue=SETTINGS_HELP)
def train(
    recipe: Path | None = None,
    /,
    *,
    task: str | None = None,
    data: Files = (),
    valid: Files = (),
    test: Files = (),
    columns: Names = (),
    seed: int | None = None,
    out: Path | None = None,
    resume: bool = False,
    force: bool = False,
    start_from: Annotated[Path | None, Parameter(name="--from")] = None,
    baselines: bool = False,
    overrides: Overrides = (),
) -> None:
    """Train a model and save it to a run folder.

    Args:
        recipe: recipe of the run, a TOML file; settings it does not name have their defaults.
        task: task to train for, instead of a recipe: translate (the default), language_model, classify,
            pair or tag.
        data: training data: one TSV, CSV or JSONL file, or parallel text files, plain or compressed
            (.gz, .bz2, .xz); for tag, also a .conll file with one token per line; for a language model,
            text files, folders and patterns.
        valid: validation data, for early stopping. By default a part of --data is held out: rows that
            share no sentence with the rest; for a language model, the end of the text, or some of its
            files if there are at least 20.
        test: test data, for the final scores; by default another part is held out in the same way.
        columns: names of the columns to read, in the order the task expects; of a .conll file, numbers,
            from 1, or from the end, -1.
        seed: random seed; by default that of the recipe, or 1.
        out: run folder; by default runs/NAME, where NAME is that of the recipe or data file.
        resume: resume the run in the folder exactly from its last checkpoint, or start it if there is
            none.
        force: replace the run in the folder; refused if the folder holds anything else.
        start_from: finished run to take weights and vocabulary from (fine-tuning).
        baselines: for classify, pair and tag: also fit bag-of-words baselines, which ignore word order,
            on the same data, and save them in the run folder.
    """
    if resume and recipe is None and task is None and not data and out is not None:
        from unrolled.training.run_folder import begun_recipe, unnamed_settings

        recipe = begun_recipe(out)
        typed = {name for name, _ in overrides}
        unnamed = [setting for setting in unnamed_settings(out) if setting[0] not in typed]
        overrides = (*unnamed, *overrides)
    base = {}
    if start_from is not None and recipe is None:
        from unrolled.training.run_folder import read_config

        base = settings_to_start_from(read_config(start_from))
    chosen = recipe_from_options(recipe, task, data, valid, test, columns, seed, overrides, base)
    if out is None:
        name = str(recipe) if recipe else next(iter(chosen.data.train), None)
        if name is None:
            raise ConfigError("no training data; give a recipe or --data FILE")
        out = default_out(name, "runs", "run")

    from unrolled.cli.progress import show
    from unrolled.tasks import TASKS
    from unrolled.training.loop import fit

    if baselines:  # fail before an hour of training, not after it
        if not TASKS[chosen.task].kind.has_baselines:
            *names, last = (name for name, each in TASKS.items() if each.kind.has_baselines)
            raise ConfigError(
                f"--baselines is only available for {', '.join(names)} and {last}, not for "
                f"'{chosen.task}'; remove it"
            )
        from unrolled.baselines.sklearn_models import Scikit

        Scikit.load()
    events = fit(chosen, out, resume=resume, force=force, start_from=start_from)
    show(events, out, TASKS[chosen.task].use)
    if baselines:
        print_baselines(out)


def print_baselines(run: Path) -> None:
    """Fit and save the baselines of a run, and print the validation score of each."""
    from unrolled.predictors.load import load_labels
    from unrolled.predictors.run_baselines import baseline_metric, fit_run_baselines

    metric = baseline_metric(load_labels(run))
    with storage.locked(Path(os.path.realpath(run))):
        for fitted in fit_run_baselines(run):
            chosen = "" if fitted.c is None else f" · C {fitted.c:g}"
            print(
                f"baseline {fitted.name} · valid {metric} {100 * fitted.score:.2f}{chosen} · "
                f"{fitted.n_features:,} n-grams · {fitted.seconds:.1f} s",
                flush=True,
            )
