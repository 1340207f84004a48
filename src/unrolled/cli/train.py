"""`unrolled train`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from unrolled.cli.app import app
from unrolled.cli.baseline_view import (
    check_baselines,
    close_training,
    print_baselines,
    with_choice,
)
from unrolled.cli.options import (
    SETTINGS_HELP,
    Files,
    Names,
    Overrides,
    default_out,
    out_for,
    recipe_from_options,
    settings_to_start_from,
)
from unrolled.errors import ConfigError
from unrolled.wording import count_of

if TYPE_CHECKING:
    from unrolled.training.ensemble import EnsembleEvent
    from unrolled.training.events import Event
    from unrolled.training.recipe import Recipe

__all__ = ["print_baselines", "train"]


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
    ensemble: Annotated[int | None, Parameter(show_default=False)] = None,
    distill: Path | None = None,
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
            source, target). In a CoNLL file, 1 is the first column, -1 the last. For a language model:
            columns of a table whose texts are read, each as a document.
        seed: random seed; by default that of the recipe, or 1.
        out: folder to create for the run; by default runs/NAME, where NAME is the name of the recipe or
            data file up to its first dot.
        resume: resume the run in the folder from its last checkpoint, as if it had never stopped; if
            there is no run in the folder, start a new one. To resume, --resume --out FOLDER is
            enough: the settings are read from the folder.
        force: replace the existing run in the folder. A folder that contains other files is never
            replaced.
        start_from: run to start from (fine-tuning): its best weights, its vocabulary and, without
            RECIPE, its task, model settings and decoding settings. To start the encoder of another task
            with a language model, set --model.pretrained.
        inspect_every: number of updates between inspections of the gradients, which say whether they
            vanish or explode and what to change; 0 for none. Inspections that would take more than 4% of
            the time of training are put off.
        ensemble: number of models to train, with this seed and the numbers after it, in one folder. They
            predict together: labels with the mean of their probabilities, text, queries and code with
            the mean of their next-token distributions in one search. Interrupted, the same command goes
            on; with a larger number, it adds models. Not for language_model.
        distill: for classify and pair: run of the same task, such as an ensemble, whose probabilities
            the model learns beside the labels; the same as --training.teacher.
        baselines: for classify, pair and tag: which simple baselines to fit on the same data (n-gram
            models; for tag, the most frequent tag of each word, and a classifier of single tokens), and
            to save in the run folder: all, or those that are named, separated by commas. For classify and
            pair: majority, unigrams, bigrams, trigrams, nb_logistic, nb_svm; for tag: frequent_tag,
            token_logistic. Needs scikit-learn. By default, if scikit-learn is installed, nb_svm and
            bigrams, or both for tag, in at most about two minutes; none: no baselines, also when the run
            is resumed.
    """
    if inspect_every < 0:
        raise ConfigError(f"--inspect-every must be at least 0, got {inspect_every}")
    recipe, baselines = _recipe_among(recipe, baselines)
    if resume and recipe is None and task is None and out is not None and _is_begun(out, data):
        from unrolled.training.run_folder import begun_recipe, unnamed_settings

        recipe = begun_recipe(out)
        ensemble = _members_in(out) if ensemble is None else ensemble
        typed = {name for name, _ in overrides}
        unnamed = [setting for setting in unnamed_settings(out) if setting[0] not in typed]
        overrides = (*unnamed, *overrides)
    base = {}
    if start_from is not None and recipe is None:
        from unrolled.training.run_folder import read_config

        config = read_config(start_from)
        if task is not None and config["task"] != task:
            instead = "leave out --task, or --from"
            if config["task"] == "language_model":
                instead = (
                    f"to start its encoder with a language model, --model.pretrained {start_from}"
                )
            raise ConfigError(
                f"{start_from} was trained for task '{config['task']}', not '{task}'; a run can start "
                f"only from a run of its own task: {instead}"
            )
        base = settings_to_start_from(config)
    if distill is not None:
        if any(name == "training.teacher" for name, _ in overrides):
            raise ConfigError("--distill and --training.teacher set the same field; use one")
        overrides = (*overrides, ("training.teacher", str(distill)))
    begun = None
    if resume or ensemble is not None:
        begun = default_out(data[0], "runs", "run") if out is None and data else out
    chosen = recipe_from_options(
        recipe, task, data, valid, test, columns, seed, overrides, base, begun
    )
    if out is None:
        out = out_for(recipe, chosen, "runs", "run")

    from unrolled.cli.ensemble_view import show_ensemble
    from unrolled.cli.progress import show
    from unrolled.tasks import TASKS
    from unrolled.tasks.language_model import with_use
    from unrolled.training.loop import fit

    check_baselines(TASKS[chosen.task], baselines)  # not after an hour of training
    use = with_use(TASKS[chosen.task], chosen.model).use
    with _named_as_typed(distill):
        if ensemble is not None:
            members = _members(chosen, out, ensemble, resume, force, start_from, inspect_every)
            show_ensemble(with_choice(members, out, baselines), out, use, chosen.training)
        else:
            events = fit(
                chosen,
                out,
                resume=resume,
                force=force,
                start_from=start_from,
                inspect_every=inspect_every,
            )
            if recipe is None and not base and not resume:
                events = _with_note(events, _note_on_settings(chosen, overrides))
            show(with_choice(events, out, baselines), out, use, chosen.training)
    close_training(out, TASKS[chosen.task], baselines)


@contextmanager
def _named_as_typed(distill: Path | None) -> Iterator[None]:
    """Name the option in errors about the setting that --distill sets."""
    try:
        yield
    except ConfigError as error:
        setting, _, problem = str(error).partition(": ")
        if distill is None or setting != "training.teacher":
            raise
        raise ConfigError(f"--distill: {problem}") from None


def _note_on_settings(recipe: Recipe, overrides: Overrides) -> str:
    """The settings that suit the amount of data, in words; "" if there are none."""
    from unrolled.training.sized import measured, sized_settings

    settings = sized_settings(recipe.task, recipe.data.train, dict(overrides), recipe)
    if not settings:
        return ""
    n_rows, _ = measured(tuple(recipe.data.train))
    named = ", ".join(f"{name} = {value}" for name, value in settings.items())
    return f"settings that suit about {count_of(n_rows, 'row')}: {named}"


def _with_note(events: Generator[Event, None, None], note: str) -> Generator[Event, None, None]:
    """The events, with one more note at the start."""
    from unrolled.training.events import Started

    with closing(events):
        for event in events:
            if note and isinstance(event, Started):
                event = replace(event, notes=(*event.notes, note))
            yield event


def _members_in(out: Path) -> int | None:
    """The number of members if a folder is an ensemble."""
    from unrolled.training.run_folder import is_ensemble

    if not is_ensemble(out):
        return None
    from unrolled.training.ensemble import members_of

    return members_of(out)


def _members(
    recipe: Recipe,
    out: Path,
    n_members: int,
    resume: bool,
    force: bool,
    start_from: Path | None,
    inspect_every: int,
) -> Generator[EnsembleEvent, None, None]:
    """The events of training an ensemble."""
    from unrolled.training.ensemble import fit_ensemble

    if start_from is not None:
        raise ConfigError(
            "--from starts one run from another, and --ensemble trains models from different starts; "
            "remove one of them"
        )
    if resume and force:
        raise ConfigError("--resume cannot be combined with --force or --from; remove them")
    return fit_ensemble(recipe, out, n_members, force=force, inspect_every=inspect_every)


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
