"""`unrolled data` and `unrolled config`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.cli.options import (
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


@app.command(help_epilogue=SETTINGS_HELP)
def data(
    *files: str,
    task: str | None = None,
    valid: Files = (),
    test: Files = (),
    columns: Names = (),
    overrides: Overrides = (),
) -> None:
    """Look at data before training: sizes, labels, lengths, duplicates, unknown words, time and memory.

    Args:
        files: one TSV, CSV or JSONL file, or parallel text files, plain or packed (.gz, .bz2,
            .xz); a file with a token on each line (.conll); or a recipe, whose data are looked at.
        task: what the data are for: translate, classify, pair or tag. By default what their names say: a
            .conll file holds tags, and a last column called label makes one text classify, two pair.
        valid: data for validation; by default a part of the files.
        test: data for the test; by default another such part.
        columns: which columns to read, by name.
    """
    if not files:
        raise ConfigError("no file given; `unrolled data FILE` describes a data file")
    from rich.console import Console

    from unrolled.data_report.labels import likely_task
    from unrolled.data_report.report import report
    from unrolled.tasks import TASKS

    recipe, rest = (Path(files[0]), files[1:]) if files[0].endswith(".toml") else (None, files)
    if recipe is None and task is None:
        task = likely_task(rest, columns)
    chosen = recipe_from_options(recipe, task, rest, valid, test, columns, None, overrides)
    budget = chosen.training.max_tokens
    Console().print(report(TASKS[chosen.task], chosen.data, chosen.text, budget))


@app.command(help_epilogue=SETTINGS_HELP)
def config(
    recipe: Path | None = None,
    /,
    *,
    task: str | None = None,
    data: Files = (),
    overrides: Overrides = (),
) -> None:
    """Print the resolved recipe, every setting included, as TOML.

    Args:
        recipe: TOML file; what it leaves out has defaults.
        task: what to train for, when there is no recipe.
        data: training data.
    """
    chosen = recipe_from_options(recipe, task, data, (), (), (), None, overrides)
    print(shown_on(sys.stdout, chosen.to_toml()), end="")
