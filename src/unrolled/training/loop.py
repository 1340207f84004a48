"""Training as a generator of events.

    for event in fit(recipe, "runs/phrasebook"):
        print(event)

The code that reads the events decides when to stop: closing the generator saves a checkpoint from which
`resume=True` continues bit for bit as if training had not been interrupted. By default, the number of
threads is chosen while it trains; then this holds as far as the same is chosen (`training/threads.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from unrolled import config, storage
from unrolled.errors import ConfigError, did_you_mean
from unrolled.reporting import begun
from unrolled.system import trim_memory
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import AnyTask
from unrolled.text.config import TextConfig
from unrolled.training import checkpoint, compatibility, new_words, pretrained, run_folder
from unrolled.training.checks import check_files, check_recipe
from unrolled.training.device import choose_device, within_memory
from unrolled.training.distill import check_same_teacher, check_teacher
from unrolled.training.events import (
    Best,
    Evaluated,
    Event,
    Finished,
    Inspected,
    Saved,
    Started,
    Step,
    Warned,
)
from unrolled.training.kinds import build_loader, prepare
from unrolled.training.recipe import Recipe
from unrolled.training.split_file import check_data
from unrolled.training.trainer import Trainer
from unrolled.training.weights import check_weights

__all__ = [
    "Best",
    "Evaluated",
    "Event",
    "Finished",
    "Inspected",
    "Run",
    "Saved",
    "Started",
    "Step",
    "Warned",
    "fit",
    "train",
]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: the run folder.
        steps: number of updates done.
        best: the evaluation whose weights are the run's model.
        reason: the stopping criterion that ended it.
    """

    folder: Path
    steps: int
    best: Best | None
    reason: str


_UPDATES_BETWEEN_TRIMS = 100


def train(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    task: AnyTask | None = None,
    resume: bool = False,
    force: bool = False,
    start_from: str | os.PathLike[str] | None = None,
    inspect_every: int = 0,
) -> Run:
    r"""Train to the end. The arguments and errors are those of `fit`, which also reports progress.

    >>> import tempfile
    >>> from unrolled.tasks.seq2seq import TranslateConfig
    >>> from unrolled.text.splits import DataConfig
    >>> from unrolled.training.config import TrainingConfig
    >>> lines = ["en\tes", *(f"{n} cats\t{n} gatos" for n in range(40))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = Path(folder, "cats.tsv")
    ...     _ = data.write_text("\n".join(lines), encoding="utf-8")
    ...     recipe = Recipe(
    ...         data=DataConfig(train=(str(data),)),
    ...         model=TranslateConfig(embedding_size=3, encoder_size=5, hidden_size=7),
    ...         training=TrainingConfig(max_steps=2),
    ...     )
    ...     run = train(recipe, Path(folder, "run"))
    >>> run.steps, run.reason
    (2, 'max_steps')
    """
    events = fit(
        recipe,
        out,
        task=task,
        resume=resume,
        force=force,
        start_from=start_from,
        inspect_every=inspect_every,
    )
    *_, end = events
    assert isinstance(end, Finished)
    return Run(Path(out), end.step, end.best, end.reason)


def fit(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    task: AnyTask | None = None,
    resume: bool = False,
    force: bool = False,
    start_from: str | os.PathLike[str] | None = None,
    inspect_every: int = 0,
) -> Generator[Event, None, None]:
    r"""Train, and yield events: `Started`, then `Step`, `Evaluated` and `Saved`, then `Finished`.

    `Warned` comes when the loss jumps far above that of the first update.

    The call itself checks what it can; training happens as the events are read. Until the last event is
    read or the generator is closed, no other process can write `out`.

    Args:
        recipe: the recipe of the run.
        out: the run folder to create or resume.
        task: the task, if it is not one of `TASKS`.
        resume: resume the run in `out`, or start it if there is none; the recipe of a resumed run may
            differ only in limits and intervals.
        force: replace the run in `out`; refused if the folder holds anything else.
        start_from: a run whose best weights and tokenizers to start from, on the recipe's data.
        inspect_every: number of updates between inspections of the gradients, each an `Inspected` event;
            0 = none. They are put off where they would take more than 4% of the time of training, and
            change neither weights nor random numbers.

    Raises:
        ConfigError: the recipe contradicts itself, the run it resumes, or the run it starts from; or
            `inspect_every` is below 0.
        RunError: `out` exists or is being written by another process, a run folder is missing or
            damaged, or the disk is full.
        DataError: a data file cannot be read as requested.
        NonFiniteError: a loss or gradient is not finite; the message has a diagnosis of the gradients.
        UnavailableError: the device or precision is not available, or memory ran out.

    >>> import pathlib, tempfile
    >>> from unrolled.tasks.seq2seq import TranslateConfig
    >>> from unrolled.text.splits import DataConfig
    >>> from unrolled.training.config import TrainingConfig
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> lines = ["en\tes", *(f"{n} cats\t{n} gatos" for n in range(40))]
    >>> _ = (folder / "cats.tsv").write_text("\n".join(lines), encoding="utf-8")
    >>> recipe = Recipe(
    ...     data=DataConfig(train=(str(folder / "cats.tsv"),)),
    ...     model=TranslateConfig(embedding_size=3, encoder_size=5, hidden_size=7),
    ...     training=TrainingConfig(max_steps=2),
    ... )
    >>> [type(event).__name__ for event in fit(recipe, folder / "run")]
    ['Started', 'Step', 'Evaluated', 'Saved', 'Finished']
    """
    config.require(inspect_every >= 0, "inspect_every", "at least 0", inspect_every)
    task = task or _task_named(recipe.task)
    if recipe.model is None:
        recipe = replace(recipe, model=task.Config())
    check_recipe(recipe, task)
    out = Path(os.path.realpath(out))  # so that all names of the folder share one lock
    source = None if start_from is None else Path(start_from)
    if resume and (force or source is not None):
        raise ConfigError("--resume cannot be combined with --force or --from; remove them")
    if resume and run_folder.is_there(out):
        recipe = compatibility.with_unnamed(out, recipe)
    recipe = pretrained.completed(recipe, task)
    with storage.locked(out):
        goes_on = _goes_on(recipe, out, resume, force)
        if resume and not goes_on:
            source = run_folder.begun_from(out)
    if source is not None:
        run_folder.check_single(source, "training starts from")
        recipe = _with_text_of(source, recipe, task)
    elif not goes_on:
        task.check_pretrained(recipe.model, recipe.text)
        pretrained.check_sources_fit(recipe, task)
    check_teacher(recipe, task)
    if not goes_on:
        pretrained.check_layer_settings(recipe, source)
        new_words.check(recipe, source)
        choose_device(recipe.training)
        check_files(recipe.data, task)
    return _events(recipe, task, out, source, resume, force, inspect_every)


def _goes_on(recipe: Recipe, out: Path, resume: bool, force: bool) -> bool:
    """Whether there is a run to resume; refuses anything else at `out`. Call it under a lock."""
    if resume and run_folder.is_there(out):
        run_folder.check_single(out, "`fit` resumes")
        compatibility.check_changes(out, recipe)
        return True
    run_folder.check_free(out, force)
    return False


def _events(
    recipe: Recipe,
    task: AnyTask,
    out: Path,
    source: Path | None,
    resume: bool,
    force: bool,
    inspect_every: int,
) -> Generator[Event, None, None]:
    began = time.perf_counter()
    hint = task.kind.memory_hint.format(training=recipe.training, data=recipe.data)
    memory = within_memory(hint)
    with storage.locked(out) as lock, memory:
        # Check again, now that no other process can change the folder until the end.
        goes_on = _goes_on(recipe, out, resume, force)
        if goes_on:
            trainer = _resumed(recipe, task, out, began)
        else:
            trainer = _new(recipe, task, out, source, lock, began)
        trainer.inspector.every_n_steps = inspect_every
        started = trainer.started()
        for note in (_when_too_late(trainer), trainer.unfreezing.note(trainer.config)):
            if note is not None:
                started = replace(started, notes=(*started.notes, note))
        if not recipe.training.has_fixed_limit:
            note = _when_it_ends(trainer)
            started = replace(started, notes=(*started.notes, note))
        if resume and not goes_on:
            note = f"there was no run to resume in {out}, so training starts at step 0"
            started = replace(started, notes=(note, *started.notes))
        try:
            yield started
            while True:
                yield from _what_is_due(trainer)
                reason = trainer.reason_to_end()
                if reason is not None:
                    break
                trainer.estimate_ending()
                trainer.update()
                yield from trainer.observations
                if trainer.progress.step % _UPDATES_BETWEEN_TRIMS == 0:
                    trim_memory()
            yield from _at_the_end(trainer)
            progress = trainer.progress
            yield Finished(progress.step, reason, progress.best, trainer.seconds)
        except GeneratorExit:
            trainer.save()
            raise
        finally:
            trainer.release_threads()


def _when_it_ends(trainer: Trainer) -> str:
    """The stopping criterion of a run that has no fixed limit."""
    ending = trainer.config.end_of_patience(trainer.steps_per_epoch)
    return (
        f"training stops {ending} (training.patience); for a fixed limit, set "
        "training.max_minutes, max_epochs or max_steps"
    )


def _when_too_late(trainer: Trainer) -> str | None:
    """A note if preparing the data took longer than the whole run may take."""
    limit, seconds = trainer.config.max_minutes * 60, trainer.preparing_seconds
    if not 0 < limit <= seconds or trainer.progress.step:
        return None
    return (
        f"reading and preparing the data took {seconds:.0f} s, and the whole run may take {limit:.0f} s, "
        "so that only one update is made; raise training.max_minutes"
    )


def _new(
    recipe: Recipe,
    task: AnyTask,
    out: Path,
    source: Path | None,
    lock: storage.Lock,
    began: float,
) -> Trainer:
    """Create a run at step 0, and save it."""
    with run_folder.beginning(out, recipe, lock, source) as partial:
        tokenizers: Tokenizers | None = None
        if source is not None:
            tokenizers = run_folder.load_tokenizers(source)
            check_weights(recipe, task, tokenizers, source / checkpoint.MODEL_FILE)
            tokenizers = new_words.extended(recipe, tokenizers)
        prepared = prepare(recipe, task, tokenizers)
        begun("building the model")
        trainer = Trainer(recipe, task, build_loader(recipe, task, prepared), partial, began)
        if source is None:
            trainer.begin()
            trainer.notes += pretrained.notes_on(recipe, task, prepared)
        else:
            trainer.begin_with(source)
        run_folder.fill(partial, prepared, recipe.data, trainer.notes)
        trainer.end_preparation()
        trainer.save()
        trainer.write_card(out.name)
        run_folder.commit(partial, out)
    trainer.folder = out
    return trainer


def _resumed(recipe: Recipe, task: AnyTask, out: Path, began: float) -> Trainer:
    """Restore a run from its last checkpoint."""
    tokenizers = run_folder.load_tokenizers(out)
    check_weights(recipe, task, tokenizers, checkpoint.last_weights(out))
    found = replace(recipe, data=check_data(out, recipe.data))
    prepared = prepare(found, task, tokenizers)
    check_same_teacher(out, prepared)
    begun("restoring the last checkpoint")
    trainer = Trainer(recipe, task, build_loader(recipe, task, prepared), out, began)
    trainer.restore()
    trainer.end_preparation()
    run_folder.accept_changes(out, recipe)
    return trainer


def _what_is_due(trainer: Trainer) -> Generator[Event, None, None]:
    """Log, evaluate and save if it is due after an update, unless already done before a resume."""
    config, progress = trainer.config, trainer.progress
    if trainer.is_due(config.log_every_n_steps, progress.logged_step):
        yield trainer.log()
    if trainer.evaluation_is_due():
        yield from _evaluate(trainer, is_scheduled=True)
    if trainer.is_due(config.checkpoint_every_n_steps, trainer.saved_step):
        yield from _save(trainer)


def _at_the_end(trainer: Trainer) -> Generator[Event, None, None]:
    """Log, evaluate and save what the intervals have not covered."""
    progress = trainer.progress
    if progress.logged_step < progress.step:
        yield trainer.log()
    if progress.evaluated_step < progress.step:
        yield from _evaluate(trainer, is_scheduled=False)
    if trainer.score_best():
        trainer.write_card(trainer.folder.name)
    yield from _save(trainer)


def _evaluate(trainer: Trainer, is_scheduled: bool) -> Generator[Event, None, None]:
    event = trainer.evaluate(is_scheduled)
    if not is_scheduled:  # the last one
        trainer.score_best()
    # Save before the event, so that the best model is on the disk if the reader stops here.
    saved = list(_save(trainer)) if event.is_best else []
    if saved:
        trainer.write_card(trainer.folder.name)
    yield event
    yield from saved


def _save(trainer: Trainer) -> Generator[Event, None, None]:
    path = trainer.save()
    if path is not None:
        yield Saved(trainer.progress.step, path)


def _task_named(name: str) -> AnyTask:
    from unrolled.tasks import TASKS

    if name not in TASKS:
        hint = did_you_mean(name, TASKS) or f"; choose from {', '.join(TASKS)}"
        raise ConfigError(f"unknown task '{name}'{hint}")
    return TASKS[name]


def _with_text_of(source: Path, recipe: Recipe, task: AnyTask) -> Recipe:
    """The recipe with the `[text]` section of the run whose tokenizers are used."""
    compatibility.check_same_model(source, recipe, task)
    text = config.from_mapping(TextConfig, run_folder.read_config(source)["text"], "text")
    return replace(recipe, text=text)
