"""`unrolled inspect`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from unrolled.cli.app import app
from unrolled.cli.options import (
    SETTINGS_HELP,
    Files,
    Names,
    Overrides,
    print_message,
    recipe_from_options,
    shown_on,
    text_width,
)
from unrolled.errors import ConfigError


@app.command(
    usage="Usage: unrolled inspect [OPTIONS] RUN TEXTS... | RECIPE", help_epilogue=SETTINGS_HELP
)
def inspect(
    run: Path | None = None,
    /,
    *texts: str,
    answer: str | None = None,
    database: str | None = None,
    csv: Path | None = None,
    out: Path | None = None,
    task: str | None = None,
    data: Files = (),
    columns: Names = (),
    overrides: Overrides = (),
) -> None:
    """Show how gradients flow through a model, whether they vanish or explode, and what to change.

    Of a trained run, on a text; of a recipe, on a few rows of its training data, before anything is
    trained.

    Args:
        run: a run folder, or a recipe (a TOML file).
        texts: the text that the run reads; two texts for a run on pairs.
        answer: the label, tags or output whose loss is looked at; by default what the model predicts.
        database: for a run that answers questions with queries, the database (an SQLite file).
        csv: file for all gates and states, one line for each layer, token and unit.
        out: file for a page (.html) with the gates, states and gradients over the words.
        task: task of a model to inspect before training, if there is no RECIPE.
        data: training data of a model to inspect before training, as for 'unrolled train'.
        columns: columns of the data to read, as for 'unrolled train'.
    """
    _check_outputs(csv, out)
    if run is not None and _is_trained(run):
        if task is not None or data or columns or overrides:
            raise ConfigError(
                f"{run} is a trained run; leave out --task, --data, --columns and settings, or give a "
                "recipe"
            )
        _inspect_run(run, texts, answer, database, csv, out)
        return
    given = {
        "a text": texts,
        "--answer": answer,
        "--database": database,
        "--csv": csv,
        "--out": out,
    }
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name} needs a trained run, and {run or 'there'} is none")
    if run is None and not data:
        raise ConfigError("nothing to inspect; give a run and a text, or a recipe, or --data FILE")
    from unrolled.cli.work import reported_on_stderr
    from unrolled.inspect.gradient_flow import inspect_recipe

    recipe = recipe_from_options(run, task, data, (), (), columns, None, overrides)
    with reported_on_stderr():
        inspected = inspect_recipe(recipe)
    _print(inspected)


def _is_trained(path: Path) -> bool:
    from unrolled.training.run_folder import is_run

    if path.suffix == ".toml" and not path.is_dir():
        return False
    if not path.exists():
        raise ConfigError(f"{path}: no such run or recipe")
    if path.is_dir() and not is_run(path):
        raise ConfigError(f"{path} is not a run folder")
    return path.is_dir()


def _check_outputs(csv: Path | None, out: Path | None) -> None:
    """Refuse what cannot be written before anything is computed."""
    for option, path, ending in (("--csv", csv, ".csv"), ("--out", out, ".html")):
        if path is None:
            continue
        if path.suffix.lower() != ending:
            raise ConfigError(f"{option} {path}: end the file name in {ending}")
        if not path.parent.is_dir():
            raise ConfigError(
                f"cannot write {path}: folder '{path.parent}' does not exist; create it, or choose "
                "another"
            )


def _inspect_run(
    run: Path,
    texts: tuple[str, ...],
    answer: str | None,
    database: str | None,
    csv: Path | None,
    out: Path | None,
) -> None:
    from unrolled.inspect.example import example_of
    from unrolled.inspect.gradient_flow import inspect_example
    from unrolled.inspect.trace import trace_example
    from unrolled.predictors.load import load

    if not texts:
        raise ConfigError(f'give a text to read: unrolled inspect {run} "…"')
    predictor = load(run)
    wanted: Any = answer.split() if answer and _is_tagger(predictor) else answer
    text: Any = texts[0] if len(texts) == 1 else texts
    example = example_of(predictor, text, wanted, database)
    inspected = inspect_example(predictor, example)
    if example.answer:
        print(shown_on(sys.stdout, f"answer: {example.answer}"))
    _print(inspected)
    if csv is not None or out is not None:
        trace = trace_example(predictor.model, example)
        if csv is not None:
            print_message(f"wrote {trace.write_csv(csv)}", prefix="")
        if out is not None:
            from unrolled.inspect.report import write_report

            print_message(f"wrote {write_report(trace, inspected, out)}", prefix="")


def _is_tagger(predictor: Any) -> bool:
    return bool(getattr(predictor.task, "by_token", False))


def _print(inspected: Any) -> None:
    for line in inspected.lines(text_width()):
        print(shown_on(sys.stdout, line))
