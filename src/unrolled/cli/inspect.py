"""`unrolled inspect`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from unrolled.quoting import shell_command, shorten
from unrolled.storage import writing
from unrolled.wording import count_of

if TYPE_CHECKING:
    from unrolled.inspect.inspected import InspectedText


_LONGEST_COMMAND = 1000  # the text may be long


@app.command(
    usage="Usage: unrolled inspect [OPTIONS] RUN TEXTS... | RECIPE", help_epilogue=SETTINGS_HELP
)
def inspect(
    run: Path | None = None,
    /,
    *texts: str,
    answer: str | None = None,
    database: str | None = None,
    compare: Path | None = None,
    out: Path | None = None,
    figures: Path | None = None,
    csv: Path | None = None,
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
        compare: another run of the same task, to be shown beside RUN on the same text.
        out: file for a page (.html): diagnosis, gradients, contribution of each word, beam search, next
            tokens, attention, gates and states.
        figures: folder for the figures of this page, each as .svg, .png and .csv.
        csv: file for all gates and states, one line for each layer, token and unit.
        task: task of a model to inspect before training, if there is no RECIPE.
        data: training data of a model to inspect before training, as for 'unrolled train'.
        columns: columns of the data to read, as for 'unrolled train'.
    """
    outputs = _Outputs(out, figures, csv)
    outputs.check()
    if run is not None and _is_trained(run):
        if task is not None or data or columns or overrides:
            raise ConfigError(
                f"{run} is a trained run; leave out --task, --data, --columns and settings, or give a "
                "recipe"
            )
        if compare is not None and csv is not None:
            raise ConfigError("--csv writes the gates of one run; leave out --compare")
        if compare is not None and not _is_trained(compare):
            raise ConfigError(f"{compare} is a recipe; --compare needs a trained run")
        runs = [run] if compare is None else [run, compare]
        _inspect_runs(runs, texts, answer, database, outputs)
        return
    given = {
        "a text": texts,
        "--answer": answer,
        "--database": database,
        "--compare": compare,
        "--out": out,
        "--figures": figures,
        "--csv": csv,
    }
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name} needs a trained run, and {run or 'there'} is none")
    if run is None and not data:
        raise ConfigError("nothing to inspect; give a run and a text, or a recipe, or --data FILE")
    from unrolled.cli.work import reported_on_stderr
    from unrolled.inspect.gradient_flow import inspect_recipe

    recipe = recipe_from_options(run, task, data, (), (), columns, None, overrides, counting=False)
    with reported_on_stderr():
        inspected = inspect_recipe(recipe)
    _print(inspected)


def _is_trained(path: Path) -> bool:
    from unrolled.exports.folder import is_export
    from unrolled.training.run_folder import is_run

    if path.suffix == ".toml" and not path.is_dir():
        return False
    if not path.exists():
        raise ConfigError(f"{path}: no such run or recipe")
    if is_export(path):
        raise ConfigError(
            f"{path} is an export, which has no gradients; inspect the run it is made of"
        )
    if path.is_dir() and not is_run(path):
        raise ConfigError(f"{path} is not a run folder")
    return path.is_dir()


@dataclass(frozen=True)
class _Outputs:
    """The files to write."""

    out: Path | None
    figures: Path | None
    csv: Path | None

    def __bool__(self) -> bool:
        return any(path is not None for path in (self.out, self.figures, self.csv))

    def check(self) -> None:
        """Refuse what cannot be written before anything is computed."""
        for option, path, ending in (("--csv", self.csv, ".csv"), ("--out", self.out, ".html")):
            if path is not None and path.suffix.lower() != ending:
                raise ConfigError(f"{option} {path}: end the file name in {ending}")
        for path in (self.out, self.figures, self.csv):
            if path is not None and not path.parent.is_dir():
                raise ConfigError(
                    f"cannot write {path}: folder '{path.parent}' does not exist; create it, or choose "
                    "another"
                )
        if self.figures is not None:
            if self.figures.exists() and not self.figures.is_dir():
                raise ConfigError(f"--figures {self.figures} is a file; name a folder")
            from unrolled.inspect.drawing import check_matplotlib

            check_matplotlib()

    def write(self, models: Sequence[InspectedText]) -> None:
        """Write the files, and print their names."""
        written = []
        if self.csv is not None:
            written.append(str(models[0].trace.write_csv(self.csv)))
        if self.out is not None:
            from unrolled.inspect.inspected import write_pages

            command = shorten(shell_command("unrolled", *sys.argv[1:]), _LONGEST_COMMAND)
            written.append(str(write_pages(models, self.out, command)))
        if self.figures is not None:
            files = [each.write_figures(folder) for each, folder in self._folders(models)]
            written.append(f"{count_of(sum(map(len, files)), 'file')} to {self.figures}")
        for each in written:
            print_message(f"wrote {each}", prefix="")

    def _folders(self, models: Sequence[InspectedText]) -> Iterator[tuple[InspectedText, Path]]:
        """The folder for the figures of each model: that of the option, or one in it for each."""
        assert self.figures is not None
        if len(models) == 1:
            yield models[0], self.figures
            return
        with writing(self.figures, "try again"):
            self.figures.mkdir(exist_ok=True)
        for number, each in enumerate(models, start=1):
            yield each, self.figures / f"{number}-{Path(each.name).name}"


def _inspect_runs(
    runs: Sequence[Path],
    texts: tuple[str, ...],
    answer: str | None,
    database: str | None,
    outputs: _Outputs,
) -> None:
    from unrolled.inspect.example import example_of
    from unrolled.inspect.gradient_flow import inspect_example
    from unrolled.inspect.inspected import check_comparable, comparison_lines, inspected_example
    from unrolled.predictors.load import load

    if not texts:
        raise ConfigError(f'give a text to read: unrolled inspect {runs[0]} "…"')
    predictors = [load(run) for run in runs]
    for other in predictors[1:]:
        check_comparable(predictors[0], other)
    text: Any = texts[0] if len(texts) == 1 else texts
    wanted: Any = answer.split() if answer and _is_tagger(predictors[0]) else answer
    examples = [example_of(predictor, text, wanted, database) for predictor in predictors]
    if len(runs) == 1:
        if examples[0].answer:
            print(shown_on(sys.stdout, f"answer: {examples[0].answer}"))
        if not outputs:
            _print(inspect_example(predictors[0], examples[0]))
            return
    models = list(map(inspected_example, predictors, examples))
    if len(models) == 1:
        _print(models[0].inspection)
    else:
        for line in comparison_lines(models, text_width()):
            print(shown_on(sys.stdout, line))
    outputs.write(models)


def _is_tagger(predictor: Any) -> bool:
    return bool(getattr(predictor.task, "by_token", False))


def _print(inspected: Any) -> None:
    for line in inspected.lines(text_width()):
        print(shown_on(sys.stdout, line))
