"""Ensembles: a run folder that holds runs with different seeds, whose probabilities are averaged.

    config.toml          the complete recipe, with the seed of the first member
    ensemble.json        the members, their validation scores, and what was derived from their mean
    members/seed-<n>/    ordinary runs
    tokenizer-<role>.json, labels.json, split.json, README.md    as in a run, once all members are trained

The same call goes on after a kill at any time: members resume from their checkpoints, and `ensemble.json`
says last that all is there. The members' data, tokenizers and labels are equal, because only the seed of
training differs.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrolled import config, documents, storage
from unrolled.errors import ConfigError, RunError
from unrolled.quoting import shell_command
from unrolled.reporting import begun
from unrolled.tasks.ensemble import Ensemble, check_kind, together
from unrolled.tasks.roles import LABELS
from unrolled.tasks.task import AnyTask
from unrolled.training import checkpoint, compatibility, run_folder
from unrolled.training.checks import check_files, check_recipe
from unrolled.training.device import autocast, choose_device
from unrolled.training.ensemble_record import MOST_MEMBERS, EnsembleRecord
from unrolled.training.events import Best, Event, Finished
from unrolled.training.kinds import build_loader, prepare
from unrolled.training.loop import fit
from unrolled.training.recipe import Recipe
from unrolled.training.run_folder import ENSEMBLE_FILE, MEMBERS, SavedRun
from unrolled.training.split_file import SPLIT_FILE, SplitRecord, check_data
from unrolled.wording import count_of


@dataclass(frozen=True)
class MemberStarted:
    """The next member is trained, or goes on; its own events follow.

    Args:
        number: its number, from 1.
        n_members: number of members.
        seed: its seed.
        folder: its run folder.
        is_finished: whether it was trained before, so that no events follow.
    """

    number: int
    n_members: int
    seed: int
    folder: Path
    is_finished: bool


@dataclass(frozen=True)
class EnsembleFinished:
    """All members are trained, and their mean is scored on the validation part.

    Args:
        folder: the folder of the ensemble.
        metric: the metric by which the best weights of each member were chosen.
        scores: scores of the mean, as in `Evaluated`.
        members: the best evaluation of each member; None for one without any.
    """

    folder: Path
    metric: str
    scores: Mapping[str, float]
    members: Sequence[Best | None]


EnsembleEvent = MemberStarted | EnsembleFinished | Event


def member_folder(folder: Path, seed: int) -> Path:
    """The run folder of a member."""
    return folder / MEMBERS / f"seed-{seed}"


def members_of(folder: Path) -> int:
    """The number of members of an ensemble, trained or not.

    Raises:
        RunError: its record is missing or damaged.
    """
    return len(EnsembleRecord.load(folder).seeds)


def fit_ensemble(
    recipe: Recipe,
    out: str | os.PathLike[str],
    n_members: int,
    *,
    task: AnyTask | None = None,
    force: bool = False,
    inspect_every: int = 0,
) -> Generator[EnsembleEvent, None, None]:
    """Train a recipe with several seeds, and yield events: of each member, and `EnsembleFinished`.

    If the folder holds this ensemble, it goes on where it was interrupted; with more members, only those
    that are missing are trained. Closing the generator saves a checkpoint of the current member.

    Args:
        recipe: the recipe; the members' seeds are `recipe.seed` and the numbers after it.
        out: the folder to create or to go on with.
        n_members: number of members, from 2 to 100.
        task: the task, if it is not one of `TASKS`.
        force: replace the run or ensemble in `out`.
        inspect_every: as for `fit`.

    Raises:
        ConfigError: the task has no ensembles, or the ensemble in `out` has another recipe or more
            members; otherwise as for `fit`.
        RunError: as for `fit`.
        DataError: as for `fit`.
    """
    config.require(
        2 <= n_members <= MOST_MEMBERS, "ensemble", f"from 2 to {MOST_MEMBERS}", n_members
    )
    from unrolled.tasks import TASKS

    task = task or TASKS[recipe.task]
    check_kind(task)
    if recipe.model is None:
        recipe = replace(recipe, model=task.Config())
    check_recipe(recipe, task)
    folder = Path(os.path.realpath(out))
    with storage.locked(folder) as lock:
        plan = _planned(folder, recipe, task, n_members, force, lock)
    return _events(folder, recipe, task, plan, inspect_every)


def _planned(
    folder: Path, recipe: Recipe, task: AnyTask, n_members: int, force: bool, lock: storage.Lock
) -> EnsembleRecord:
    """The plan in a folder, for these members, or a new one."""
    seeds = tuple(recipe.seed + number for number in range(n_members))
    if is_ensemble(folder) and not force:
        plan = EnsembleRecord.load(folder)
        compatibility.check_settings(folder, recipe)
        if len(plan.seeds) > n_members:
            raise ConfigError(
                f"{folder} has {len(plan.seeds)} members, and {n_members} were asked for; ask for "
                f"{len(plan.seeds)} or more, or choose another name (--out)"
            )
        old = run_folder.settings_of(folder, recipe)
        if old != run_folder.flat(config.to_mapping(recipe)):  # other limits: all members go on
            run_folder.accept_changes(folder, recipe)
            plan = EnsembleRecord(seeds, {})
            plan.save(folder)
        elif len(plan.seeds) < n_members:
            plan = EnsembleRecord(seeds, plan.finished)
            plan.save(folder)
        return plan
    run_folder.check_free(folder, force)
    choose_device(recipe.training)
    check_files(recipe.data, task)
    task.check_pretrained(recipe.model, recipe.text)
    plan = EnsembleRecord(seeds, {})
    with run_folder.beginning(folder, recipe, lock) as partial:
        plan.save(partial)
        run_folder.commit(partial, folder)
    return plan


def _events(
    folder: Path, recipe: Recipe, task: AnyTask, plan: EnsembleRecord, inspect_every: int
) -> Generator[EnsembleEvent, None, None]:
    with storage.locked(folder):
        for number, seed in enumerate(plan.seeds, start=1):
            member = member_folder(folder, seed)
            is_finished = seed in plan.finished
            yield MemberStarted(number, len(plan.seeds), seed, member, is_finished)
            if is_finished:
                continue
            events = fit(
                replace(recipe, seed=seed),
                member,
                task=task,
                resume=True,
                inspect_every=inspect_every,
            )
            for event in _closing(events):
                yield event
                if isinstance(event, Finished):
                    plan = replace(plan, finished={**plan.finished, seed: event.best}, scores=None)
                    plan.save(folder)
        if not plan.is_complete:
            plan = _completed(folder, recipe, task, plan)
        assert plan.scores is not None
        best = [plan.finished[seed] for seed in plan.seeds]
        yield EnsembleFinished(folder, recipe.training.metric, plan.scores, best)


def _closing(events: Generator[Event, None, None]) -> Iterator[Event]:
    """The events of a run, which is closed with its reader."""
    try:
        yield from events
    finally:
        events.close()


def _completed(folder: Path, recipe: Recipe, task: AnyTask, plan: EnsembleRecord) -> EnsembleRecord:
    """Score the mean of trained members, and write the files of the ensemble, the record last."""
    begun("scoring the ensemble")
    members = [member_folder(folder, seed) for seed in plan.seeds]
    _copy_shared(folder, members)
    device = choose_device(recipe.training)
    runs = [run_folder.load_run(member, task, device) for member in members]
    task_of_mean, model = together(task, [run.model for run in runs])
    found = replace(recipe, data=check_data(folder, recipe.data))
    tokenizers = run_folder.load_tokenizers(folder)
    loader = build_loader(found, task_of_mean, prepare(found, task, tokenizers))
    model.to(device).eval()
    scores = loader.scores(model, found, device, autocast(recipe.training, device))
    derived = {name: _as_json(value) for name, value in model.derived().items()}
    plan = replace(plan, scores=scores, derived=derived)
    n_parameters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    card = "\n".join(_card(folder.name, task, recipe, plan, n_parameters)) + "\n"
    with checkpoint.writing(folder / "README.md", members[0]):
        run_folder.write_file(folder / "README.md", card)
    plan.save(folder)
    return plan


def _copy_shared(folder: Path, members: Sequence[Path]) -> None:
    """Copy what all members have in common.

    Raises:
        RunError: a member has other tokenizers or labels, or a file cannot be written.
    """
    contents = SplitRecord.load(members[0]).contents
    for member in members[1:]:
        if SplitRecord.load(member).contents != contents:
            raise RunError(
                f"{member} has other tokenizers or labels than {members[0]}, so they cannot be averaged; "
                "restore it from a copy, or train the ensemble again (--force)"
            )
    for name in (*contents, SPLIT_FILE):
        content = documents.read_bytes(members[0] / Path(name).name, _MOST_BYTES)
        storage.write_whole(folder / Path(name).name, content, "start the same command again")


_MOST_BYTES = 1 << 31


def _card(
    name: str, task: AnyTask, recipe: Recipe, plan: EnsembleRecord, n_parameters: int
) -> Iterator[str]:
    best = [plan.finished[seed] for seed in plan.seeds]
    scores = plan.scores or {}
    yield f"# {name}\n"
    yield (
        f"The mean of {count_of(len(plan.seeds), 'model')} for the task `{recipe.task}`, trained with "
        "Unrolled from different seeds.\n"
    )
    yield "## Use\n"
    yield f"```\nunrolled {task.use.format(run=shell_command(name))}\n```\n"
    yield (
        f"```python\nimport unrolled\nmodel = unrolled.load({json.dumps(name, ensure_ascii=False)})\n"
        f"{task.example_call}\n```\n"
    )
    yield "## Quality on the validation part\n"
    if scores:
        yield f"| run | {' | '.join(scores)} |\n|---|{'---|' * len(scores)}"
        for seed, one in zip(plan.seeds, best, strict=True):
            cells = ("" if one is None else _cell(one.scores.get(score)) for score in scores)
            yield f"| {MEMBERS}/seed-{seed} | {' | '.join(cells)} |"
        yield f"| ensemble | {' | '.join(map(_cell, scores.values()))} |\n"
    else:
        yield "Not scored.\n"
    yield "## Model\n"
    yield f"{n_parameters:,} parameters. All settings: `{run_folder.CONFIG_FILE}`.\n"
    yield "## Made with\n"
    yield f"```\n{shell_command(Path(sys.argv[0]).name, *sys.argv[1:])}\n```"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def is_ensemble(folder: Path) -> bool:
    """Whether a folder is an ensemble."""
    return run_folder.is_ensemble(folder)


def load_ensemble(
    folder: Path, task: AnyTask | None = None, device: torch.device | str = "cpu"
) -> SavedRun:
    """Read an ensemble; as `load_run`.

    Raises:
        RunError: a member is missing or damaged, or not all members are trained.
    """
    plan = EnsembleRecord.load(folder)
    if not plan.is_complete:
        n_done = sum(seed in plan.finished for seed in plan.seeds)
        raise RunError(
            f"{folder} is an ensemble with {n_done} of {count_of(len(plan.seeds), 'member')} trained; "
            f"go on with: {shell_command('unrolled', 'train')} --resume --out {shell_command(folder)}"
        )
    recipe, task = run_folder.read_recipe(folder, task)
    tokenizers = run_folder.load_tokenizers(folder)
    models: list[nn.Module] = []
    for seed in plan.seeds:
        member = run_folder.load_run(member_folder(folder, seed), task, device)
        if _labels(member.tokenizers) != _labels(tokenizers):
            raise RunError(
                f"{member.folder} has other labels than {folder}; restore it from a copy"
            )
        models.append(member.model)
    try:
        task_of_mean, model = together(task, models)
    except ConfigError as error:
        raise RunError(f"{folder}: {error}") from None
    _set_derived(model, plan.derived or {}, folder / ENSEMBLE_FILE)
    return SavedRun(folder, recipe, task_of_mean, tokenizers, model.to(device).eval())


def _as_json(buffer: Tensor) -> Any:
    """A buffer as numbers; −∞ as null, as JSON has no infinity."""
    value: Any = buffer.tolist()
    return None if value == -math.inf else value


def _labels(tokenizers: Mapping[str, Any]) -> Any:
    return tokenizers[LABELS].names if LABELS in tokenizers else None


def _set_derived(model: Ensemble, values: Mapping[str, Any], path: Path) -> None:
    own = model.derived()
    try:
        if values.keys() != own.keys():
            raise ValueError
        for name, buffer in own.items():
            found = values[name]
            value = torch.tensor(-math.inf if found is None else found, dtype=buffer.dtype)
            if value.shape != buffer.shape or value.isnan().any():
                raise ValueError
            buffer.copy_(value)
    except (TypeError, ValueError, RuntimeError):
        raise checkpoint.damaged(path, "its thresholds do not fit the members") from None
