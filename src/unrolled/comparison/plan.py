"""The plan of a comparison: what is compared and how, as stored in `plan.toml`, and the runs that follow.

plan.toml        the recipe, the settings that vary, and how they are compared
variants.json    the solved widths, parameters and multiply-adds of each variant
runs/            an ordinary run folder for each run
results/         the scores of each finished run
costs/           what was measured of each finished run
logs/            what a run that is not finished wrote on standard error
compare.json     the comparison; equal bit for bit however often it was interrupted
costs.json       times, memory and sizes
compare.csv      one row for each run
report.html      one page
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from unrolled import config, documents, storage
from unrolled.comparison.grid import (
    Axis,
    Override,
    Variant,
    axes_of,
    combinations_of,
    key_of,
    unique_keys,
    variants_of,
)
from unrolled.errors import ConfigError, RunError
from unrolled.quoting import listed
from unrolled.training.recipe import Recipe

PLAN_FILE = "plan.toml"
VARIANTS_FILE = "variants.json"
RUNS, RESULTS, COSTS, LOGS = "runs", "results", "costs", "logs"
FIRST_LINE = "# Unrolled comparison, format 1"

_MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Args:
        recipe: the recipe without the settings that vary, as tables.
        over: the settings that vary, `SETTING=VALUE,VALUE` each.
        tune: the settings that are chosen for each variant on validation data, likewise.
        seeds: number of seeds; the first is that of the recipe.
        match: the widths that are solved so that all variants have equal parameters; () for none.
        score: the score that is compared; "" for the usual one of the task.
        threads: CPU threads of each run.
        command: the command that planned it, for the page.
    """

    recipe: object
    over: tuple[str, ...]
    tune: tuple[str, ...] = ()
    seeds: Annotated[int, config.Range(1, 1000)] = 5
    match: tuple[str, ...] = ("model.hidden_size",)
    score: str = ""
    threads: config.Threads = 1
    command: str = ""

    def __post_init__(self) -> None:
        config.check_fields(self, "")

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The settings that vary."""
        return axes_of(self.over, "--over")

    @property
    def tuned(self) -> tuple[Axis, ...]:
        """The settings that are tuned."""
        return axes_of(self.tune, "--tune")

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All combinations of the settings that vary."""
        return variants_of(self.axes)

    @property
    def trials(self) -> list[tuple[Override, ...]]:
        """The combinations of tuned values that each variant tries; one, without settings, if none."""
        return combinations_of(self.tuned)

    @cached_property
    def base(self) -> Recipe:
        """The recipe without the settings that vary."""
        return self.recipe_of(())

    @property
    def seed_numbers(self) -> range:
        """The seeds."""
        first = self.base.seed
        return range(first, first + self.seeds)

    def recipe_of(self, settings: Iterable[Override]) -> Recipe:
        """The recipe with some settings, and the threads of a run.

        Raises:
            ConfigError: a setting is unknown or has a wrong value.
        """
        from unrolled.tasks import TASKS

        assert isinstance(self.recipe, Mapping)
        overrides = [*settings, ("training.threads", str(self.threads))]
        return Recipe.from_mapping(self.recipe, TASKS, overrides)


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid.

    Args:
        key: name of its folder.
        variant: key of its variant.
        seed: its seed.
        tuned: values of the tuned settings.
        recipe: its complete recipe.
    """

    key: str
    variant: str
    seed: int
    tuned: tuple[Override, ...]
    recipe: Recipe


@dataclass(frozen=True)
class SizedVariant:
    """A variant with its widths, from `variants.json`.

    Args:
        name: see `Variant`.
        key: see `Variant`.
        settings: see `Variant`.
        widths: the solved widths by setting; {} if none are solved.
        parameters: number of weights.
        embedding_parameters: the part of it in embedding tables.
        multiply_adds: multiply-adds per token of the forward pass.
    """

    name: str
    key: str
    settings: tuple[Override, ...]
    widths: Mapping[str, int]
    parameters: int
    embedding_parameters: int
    multiply_adds: int

    @property
    def overrides(self) -> tuple[Override, ...]:
        """All settings in which it differs from the recipe."""
        return (*self.settings, *((name, str(width)) for name, width in self.widths.items()))


@dataclass(frozen=True)
class Sizing:
    """The content of `variants.json`.

    Args:
        variants: the variants.
        target: number of parameters of the recipe, which all variants match; 0 if they are not matched.
        part: the part that scores are computed on, "test" or "valid".
        notes: notes for the reader of the comparison.
    """

    variants: tuple[SizedVariant, ...]
    target: int
    part: str
    notes: tuple[str, ...] = ()


def runs_of(
    plan: Plan, variant: SizedVariant
) -> dict[tuple[tuple[Override, ...], int], PlannedRun]:
    """All runs that a variant may need, by tuned values and seed."""
    trials = plan.trials
    keys = unique_keys([key_of(values) for values in trials])
    runs = {}
    for values, trial in zip(trials, keys, strict=True):
        recipe = plan.recipe_of((*variant.overrides, *values))
        for seed in plan.seed_numbers:
            key = "-".join(filter(None, (variant.key, trial, f"seed{seed}")))
            seeded = dataclasses.replace(recipe, seed=seed)
            runs[values, seed] = PlannedRun(key, variant.key, seed, values, seeded)
    return runs


def is_comparison(folder: Path) -> bool:
    """Whether a folder holds a comparison, by the first line of its plan."""
    try:
        return documents.read_bytes(folder / PLAN_FILE, _MOST_BYTES).startswith(FIRST_LINE.encode())
    except RunError:
        return False


def read_plan(folder: Path) -> Plan:
    """The plan of a comparison.

    Raises:
        ConfigError: the folder holds none.
        RunError: the plan is damaged.
    """
    if not is_comparison(folder):
        raise ConfigError(
            f"{folder} holds no comparison; to start one, give a recipe, or --task and --data"
        )
    path = folder / PLAN_FILE
    mapping = documents.read_toml(path, _MOST_BYTES)
    try:
        return config.from_mapping(Plan, mapping)
    except ConfigError as error:
        raise RunError(f"{path} is damaged ({error}); restore it from a copy") from None


def write_plan(folder: Path, plan: Plan) -> None:
    """Create the folder of a comparison, or update its plan.

    Raises:
        RunError: it cannot be written.
    """
    with storage.writing(folder, "start the same command again"):
        for name in ("", RUNS, RESULTS, COSTS, LOGS):
            storage.make_folder(folder / name)
    text = f"{FIRST_LINE}\n\n{config.to_toml(plan)}"
    storage.write_whole(folder / PLAN_FILE, text.encode(), "start the same command again")


def continued(plan: Plan, folder: Path) -> Plan:
    """The plan to go on with in a folder, which is new or holds the same comparison.

    The number of seeds, the score and the values of the settings that vary may change: finished runs
    remain. The threads of a run stay, because other threads can change the last bit of a result.

    Raises:
        ConfigError: the folder holds another comparison, or something else.
    """
    if not is_comparison(folder):
        if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            raise ConfigError(
                f"{folder} exists and holds no comparison; choose another folder (--out)"
            )
        return plan
    before = read_plan(folder)
    plan = dataclasses.replace(plan, threads=before.threads)
    for what, old, new in _contents(before, plan):
        if old != new:
            raise ConfigError(
                f"{folder} holds another comparison: its {what} is {_shown(old)}, not {_shown(new)}; "
                "choose another folder (--out)"
            )
    return plan


def _contents(before: Plan, plan: Plan) -> Iterable[tuple[str, Any, Any]]:
    """What must stay, for both plans, in words."""
    old, new = _flat(before.base), _flat(plan.base)
    yield from ((name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys()))
    yield "--over", [axis.name for axis in before.axes], [axis.name for axis in plan.axes]
    yield "--tune", list(before.tune), list(plan.tune)
    yield "matching", list(before.match), list(plan.match)


def _flat(recipe: Recipe) -> dict[str, Any]:
    """The settings by dotted name; those that are newer than the plan have their defaults."""
    from unrolled.training.run_folder import flat

    return flat(config.to_mapping(recipe))


def _shown(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return listed([str(each) for each in value], most=5) if value else "none"
    return "not set" if value in (None, "") else str(value)


def sizing_from(mapping: Any) -> Sizing:
    """Rebuild the content of `variants.json`.

    Raises:
        KeyError, TypeError, ValueError: it is not that.
    """
    variants = tuple(
        SizedVariant(
            str(each["name"]),
            str(each["key"]),
            tuple((str(name), str(value)) for name, value in each["settings"]),
            {str(name): int(width) for name, width in each["widths"].items()},
            int(each["parameters"]),
            int(each["embedding_parameters"]),
            int(each["multiply_adds"]),
        )
        for each in mapping["variants"]
    )
    if mapping["part"] not in ("test", "valid"):
        raise ValueError
    notes = tuple(str(note) for note in mapping["notes"])
    return Sizing(variants, int(mapping["target"]), mapping["part"], notes)
