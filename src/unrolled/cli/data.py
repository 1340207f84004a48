"""`unrolled data` and `unrolled config`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.cli.options import (
    DATA_SETTINGS_HELP,
    SETTINGS_HELP,
    Files,
    Names,
    Overrides,
    recipe_from_options,
    shown_on,
)
from unrolled.errors import ConfigError

if TYPE_CHECKING:
    pass
from unrolled.cli.app import app


@app.command(usage="Usage: unrolled data [OPTIONS] [FILES...]", help_epilogue=DATA_SETTINGS_HELP)
def data(
    *files: str,
    task: str | None = None,
    valid: Files = (),
    test: Files = (),
    columns: Names = (),
    overrides: Overrides = (),
) -> None:
    """Describe data before training: sizes, labels, lengths, duplicates, unknown words, time and memory.

    Time and memory are measured on this machine, with a few updates of the model on the data.

    Args:
        files: required: one TSV, CSV or JSONL file, parallel text files, or a CoNLL file (.conll,
            .conllu, .iob, .bio, …) with one token per line, plain or compressed (.gz, .bz2, .xz); for a
            language model, text files, folders and glob patterns; or a recipe (.toml), to describe the
            data named in it.
        task: task the data are meant for: translate, language_model, classify, pair, tag or sql. By
            default, inferred: tag for a CoNLL file or a last column named tags; sql for columns named
            question and query; classify or pair for one or two text columns and a last one named label,
            class, sentiment or the like; language_model for a single text file or a folder; otherwise
            translate.
        valid: validation data, in the same formats; by default, a part held out from FILES.
        test: test data; by default, another part held out from FILES.
        columns: columns to read, by name or number, in this order: texts, then the label (for translate:
            source, target). In a CoNLL file, 1 is the first column, -1 the last.
    """
    if not files:
        raise ConfigError("no file given; `unrolled data FILE` describes a data file")
    from rich.console import Console

    from unrolled.cli.work import reported_on_stderr
    from unrolled.data_report.labels import likely_task
    from unrolled.data_report.report import report
    from unrolled.tasks import TASKS

    recipe, rest = (Path(files[0]), files[1:]) if files[0].endswith(".toml") else (None, files)
    named = any(name == "task" for name, _ in overrides)
    if recipe is None and task is None and not named:
        task = likely_task(rest, columns)
    chosen = recipe_from_options(recipe, task, rest, valid, test, columns, None, overrides)
    with reported_on_stderr():
        described = report(TASKS[chosen.task], chosen)
    Console().print(described)


@app.command(help_epilogue=SETTINGS_HELP)
def config(
    recipe: Path | None = None,
    /,
    *,
    task: str | None = None,
    data: Files = (),
    valid: Files = (),
    test: Files = (),
    columns: Names = (),
    seed: int | None = None,
    overrides: Overrides = (),
) -> None:
    """Print a recipe (the settings of a training run, in TOML) with all default values filled in.

    Settings that 'unrolled train' would refuse are refused here, too.

    Args:
        recipe: recipe (a TOML file) to complete with the default values of all other settings.
        task: task whose default settings are printed, if there is no RECIPE; by default translate.
        data: training data to enter in the recipe.
        valid: validation data to enter in the recipe.
        test: test data to enter in the recipe.
        columns: columns to read, by name or number, in this order: texts, then the label (for translate:
            source, target).
        seed: random seed to enter in the recipe.
    """
    from unrolled.tasks import TASKS
    from unrolled.training.checks import check_files, check_recipe

    chosen = recipe_from_options(recipe, task, data, valid, test, columns, seed, overrides)
    about = TASKS[chosen.task]
    check_recipe(chosen, about)
    about.check_pretrained(chosen.model, chosen.text)
    check_files(chosen.data, about)
    print(shown_on(sys.stdout, chosen.to_toml()), end="")
