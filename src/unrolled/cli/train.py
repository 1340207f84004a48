"""`unrolled train`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from unrolled import storage
from unrolled.cli.options import (
    SETTINGS_HELP,
    Files,
    Names,
    Overrides,
    out_for,
    recipe_from_options,
    settings_to_start_from,
)
from unrolled.errors import ConfigError
from unrolled.wording import count_of

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
    inspect_every: int = 0,
    baselines: Annotated[
        tuple[str, ...] | None, Parameter(consume_multiple=True, show_default=False)
    ] = None,
    overrides: Overrides = (),
) -> None:
    """Train a model and save it to a run folder.

    Args:
        recipe: recipe of the run (a TOML file of settings); settings that are not in it have their
            default values.
        task: task to train for, if there is no RECIPE: translate, language_model, classify, pair, tag or
            sql; by default translate.
        data: training data: one TSV, CSV or JSONL file, or parallel text files, plain or compressed
            (.gz, .bz2, .xz); for tag, also a CoNLL file (.conll, .conllu, .iob, .bio, …) with one token
            per line; for a language model, text files, folders and glob patterns.
        valid: validation data, for early stopping. By default, up to 5% of --data is held out so that
            no text occurs in both parts; for a language model, 5% near the text's end, or 5% of the
            files if there are at least 20 and each is a document.
        test: test data, for the final scores; by default, another part is held out in the same way.
        columns: columns to read, by name or number, in this order: texts, then the label (for translate:
            source, target). In a CoNLL file, 1 is the first column, -1 the last.
        seed: random seed; by default that of the recipe, or 1.
        out: folder to create for the run; by default runs/NAME, where NAME is the name of the recipe or
            data file up to its first dot.
        resume: resume the run in the folder from its last checkpoint, as if it had never stopped; if
            there is no run in the folder, start a new one. To resume, --resume --out FOLDER is
            enough: the settings are read from the folder.
        force: replace the existing run in the folder. A folder that contains other files is never
            replaced.
        start_from: run to start from (fine-tuning): its best weights, its vocabulary and, without
            RECIPE, its task, model settings and decoding settings.
        inspect_every: number of updates between inspections of the gradients, which say whether they
            vanish or explode and what to change; 0 for none. Inspections that would take more than 4% of
            the time of training are put off.
        baselines: for classify, pair and tag: also fit simple baselines on the same data (n-gram models;
            for tag, the most frequent tag of each word, and a classifier of single tokens), and save
            them in the run folder: all, or those that are named, separated by commas. For classify and
            pair: majority, unigrams, bigrams, trigrams, nb_logistic, nb_svm; for tag: frequent_tag,
            token_logistic. Needs scikit-learn.
    """
    if inspect_every < 0:
        raise ConfigError(f"--inspect-every must be at least 0, got {inspect_every}")
    recipe, baselines = _recipe_among(recipe, baselines)
    if resume and recipe is None and task is None and out is not None and _is_begun(out, data):
        from unrolled.training.run_folder import begun_recipe, unnamed_settings

        recipe = begun_recipe(out)
        typed = {name for name, _ in overrides}
        unnamed = [setting for setting in unnamed_settings(out) if setting[0] not in typed]
        overrides = (*unnamed, *overrides)
    base = {}
    if start_from is not None and recipe is None:
        from unrolled.training.run_folder import read_config

        config = read_config(start_from)
        if task is not None and config["task"] != task:
            raise ConfigError(
                f"{start_from} was trained for task '{config['task']}', not '{task}'; a run can start "
                "only from a run of its own task: leave out --task, or --from"
            )
        base = settings_to_start_from(config)
    chosen = recipe_from_options(recipe, task, data, valid, test, columns, seed, overrides, base)
    if out is None:
        out = out_for(recipe, chosen, "runs", "run")

    from unrolled.cli.progress import show
    from unrolled.tasks import TASKS
    from unrolled.training.loop import fit

    if baselines is not None:  # fail before an hour of training, not after it
        if not TASKS[chosen.task].kind.has_baselines:
            *names, last = (name for name, each in TASKS.items() if each.kind.has_baselines)
            raise ConfigError(
                f"--baselines is only available for {', '.join(names)} and {last}, not for "
                f"'{chosen.task}'; remove it"
            )
        from unrolled.baselines.sklearn_models import Scikit
        from unrolled.predictors.run_baselines import chosen_baselines

        chosen_baselines(TASKS[chosen.task], baselines)
        Scikit.load()
    events = fit(
        chosen,
        out,
        resume=resume,
        force=force,
        start_from=start_from,
        inspect_every=inspect_every,
    )
    show(events, out, TASKS[chosen.task].use, chosen.training)
    if baselines is not None:
        print_baselines(out, baselines)


def _is_begun(out: Path, data: Sequence[str]) -> bool:
    """Whether there is a run to resume; if not, there must be data for a new one."""
    from unrolled.training.run_folder import begun_recipe

    recipe = begun_recipe(out)
    if recipe.is_file():
        return True
    if data:
        return False
    problem = " is not a run folder" if recipe.parent.exists() else ": no such run folder"
    raise ConfigError(f"{out}{problem}; to start a run, give a recipe, or --task and --data")


def _recipe_among(
    recipe: Path | None, baselines: tuple[str, ...] | None
) -> tuple[Path | None, tuple[str, ...] | None]:
    """The recipe, also if it follows --baselines, where it is read as the name of one."""
    if baselines is None or recipe is not None:
        return recipe, baselines
    files = [name for name in baselines if name.endswith(".toml")]
    rest = tuple(name for name in baselines if not name.endswith(".toml"))
    return (Path(files[0]) if files else None), rest


def print_baselines(run: Path, names: Sequence[str] = ()) -> None:
    """Fit and save the baselines of a run, and print the validation score of each.

    In a log, the lines are `event=… key=value …`, like those of training.

    Args:
        run: the run folder.
        names: which to fit, as for `chosen_baselines`; by default all.
    """
    from unrolled.baselines.config import baseline_title
    from unrolled.cli.screen import (
        default_console,
        duration,
        key_values,
        print_command,
        print_parts,
        print_text,
    )
    from unrolled.metrics.display import title
    from unrolled.predictors.load import load_labels
    from unrolled.predictors.run_baselines import BaselinePlan, baseline_metric, fit_run_baselines

    predictor = load_labels(run)
    metric = baseline_metric(predictor)
    console, unit = default_console(), predictor.task.unit

    def announce(plan: BaselinePlan) -> None:
        names, seconds = ", ".join(map(baseline_title, plan.names)), max(1, sum(plan.seconds))
        if not console.is_terminal:
            values = {"fitting": ", ".join(plan.names), f"{unit}s": plan.n_rows}
            values |= {"tokens": plan.n_tokens, "expected_seconds": round(seconds)}
            line = key_values("baselines", values)
            print_command(console, line)
            return
        rows = f"{count_of(plan.n_rows, unit)}, {plan.n_tokens:,} tokens"
        rest = f"about {duration(seconds)} on an idle machine"
        print_text(console, f"baselines: fitting {names} on {rows}; {rest}")

    with storage.locked(Path(os.path.realpath(run))):
        for fitted in fit_run_baselines(predictor, names, announce):
            percent = 100 * fitted.score
            if not console.is_terminal:
                scores = {"name": fitted.name, f"valid_{metric}": percent, "c": fitted.c}
                rest = {"features": fitted.n_features, "seconds": round(fitted.seconds, 1)}
                print_command(console, key_values("baseline", {**scores, **rest}))
                continue
            parts = [
                f"baseline {baseline_title(fitted.name)}",
                f"valid {title(metric)} {percent:.2f}",
            ]
            parts += [] if fitted.c is None else [f"C {fitted.c:g}"]
            parts += [f"{fitted.n_features:,} features", f"{fitted.seconds:.1f} s"]
            print_parts(console, parts)
