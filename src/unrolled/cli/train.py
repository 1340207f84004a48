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
        recipe: TOML file that describes the run; what it leaves out has defaults.
        task: what to train for, when there is no recipe.
        data: training data: one TSV, CSV or JSONL file, or parallel text files, plain or packed (.gz,
            .bz2, .xz); for a language model, text files, folders and patterns; for tags, a file with a
            token on each line too (.conll).
        valid: data for early stopping; by default a part of --data that shares no sentence with it,
            and of running text its end.
        test: data for the final scores; by default another such part.
        columns: which columns to read, by name, in the order that the task expects; where a token
            stands on each line, by number, from 1, or from the end, -1.
        seed: start of every random choice.
        out: run folder; by default runs/ and the name of the recipe or data file.
        resume: go on with the run in the folder, exactly where its last checkpoint stands; where none was
            begun yet, start it.
        force: replace the run in the folder; refused where the folder holds anything else.
        start_from: a finished run whose weights and vocabulary to start from (fine-tuning).
        baselines: of a task that answers with labels: also fit bag-of-words baselines on the same data,
            which cannot see order, and keep them in the run folder.
    """
    if resume and recipe is None and task is None and not data and out is not None:
        from unrolled.training.run_folder import begun_recipe, unnamed_settings

        recipe = begun_recipe(out)
        typed = {name for name, _ in overrides}
        unnamed = [each for each in unnamed_settings(out) if each[0] not in typed]
        overrides = (*unnamed, *overrides)
    base = {}
    if start_from is not None and recipe is None:
        from unrolled.training.run_folder import read_config

        base = settings_to_start_from(read_config(start_from))
    chosen = recipe_from_options(recipe, task, data, valid, test, columns, seed, overrides, base)
    if out is None:
        name = str(recipe) if recipe else next(iter(chosen.data.train), None)
        if name is None:
            raise ConfigError("nothing to train on; give a recipe or --data FILE")
        out = default_out(name, "runs", "run")

    from unrolled.cli.progress import show
    from unrolled.tasks import TASKS
    from unrolled.training.loop import fit

    if baselines:  # what they could not do is known before an hour of training
        if not TASKS[chosen.task].kind.has_baselines:
            *names, last = (name for name, each in TASKS.items() if each.kind.has_baselines)
            raise ConfigError(
                f"--baselines is only available for {', '.join(names)} and {last}, not for "
                f"'{chosen.task}'; leave it out"
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
