"""Size the variants of a plan: solve their widths, and count parameters and multiply-adds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unrolled import config, documents, storage
from unrolled.comparison.costs import multiply_adds_per_token
from unrolled.comparison.grid import Variant
from unrolled.comparison.matching import (
    Solution,
    Solver,
    build,
    count_embedding_parameters,
    count_parameters,
    solve,
)
from unrolled.comparison.plan import (
    VARIANTS_FILE,
    Plan,
    SizedVariant,
    Sizing,
    sizing_from,
)
from unrolled.errors import ConfigError, RunError
from unrolled.tasks import TASKS
from unrolled.tasks.beside import LEARNED
from unrolled.tasks.embeddings import sections
from unrolled.training.checks import check_files, check_recipe
from unrolled.training.kinds import Prepared, prepare
from unrolled.training.recipe import Recipe


def sized(plan: Plan, folder: Path) -> Sizing:
    """The sizes of all variants: those in the folder of the comparison, or computed from the data.

    Variants that are added have the parameters of those that are there.

    Raises:
        ConfigError: a variant cannot be built, or its parameters cannot match.
        DataError: the data cannot be read.
    """
    stored = _stored(folder / VARIANTS_FILE)
    wanted = [(each.key, each.settings) for each in plan.variants]
    if stored and [(each.key, each.settings) for each in stored.variants] == wanted:
        return stored
    check_data(plan)
    return compute_sizes(plan, stored)


def write_sizes(sizing: Sizing, folder: Path) -> None:
    """Write `variants.json`.

    Raises:
        RunError: the file cannot be written.
    """
    text = json.dumps(dataclasses.asdict(sizing), indent=1, ensure_ascii=False) + "\n"
    storage.write_whole(folder / VARIANTS_FILE, text.encode(), "start the same command again")


def _stored(path: Path) -> Sizing | None:
    try:
        return sizing_from(documents.read_json(path))
    except (RunError, KeyError, TypeError, ValueError, AttributeError):
        return None


def compute_sizes(plan: Plan, before: Sizing | None = None) -> Sizing:
    """The sizes of all variants of a plan that `check_plan` has accepted; see `sized`.

    Args:
        plan: the plan.
        before: the sizes of the variants that are there already.
    """
    base, data = plan.base, _Data()
    task = TASKS[base.task]
    recipes = {variant.key: plan.recipe_of(variant.settings) for variant in plan.variants}
    for variant in plan.variants:
        with about(variant):
            build(recipes[variant.key], task, data.of(recipes[variant.key]).tokenizers)
    target, notes = 0, list[str]()
    widths: dict[str, dict[str, int]] = {variant.key: {} for variant in plan.variants}
    if plan.match:
        solver = Solver(base, task, data.of(base).tokenizers)
        solvers = {
            key: Solver(each, task, data.of(each).tokenizers) for key, each in recipes.items()
        }
        shared = solver.given if before else solver.shared(list(solvers.values())) or solver.given
        target = before.target if before else shared.parameters
        if shared.widths != solver.given.widths:
            notes.append(_adjusted(solver.given, shared))
        for variant in plan.variants:
            solution = solve(
                solvers[variant.key],
                target,
                variant.name,
                lambda: _ADDED if before else solver.suggestion(list(solvers.values())),
            )
            widths[variant.key] = dict(solution.widths)
    found = [_sized(plan, each, widths[each.key], data) for each in plan.variants]
    part = "test" if data.of(base).sizes.get("test", 0) else "valid"
    notes = list(before.notes) if before else [*notes, *_notes(plan, part)]
    return Sizing(tuple(found), target, part, tuple(notes))


_ADDED = "compare all variants in a new folder (--out)"


def _adjusted(given: Solution, shared: Solution) -> str:
    changed = " and ".join(
        f"{name} {width} in place of {given.widths[name]}"
        for name, width in shared.widths.items()
        if width != given.widths[name]
    )
    return (
        f"the variants match the recipe with {changed}, the nearest width that all can match, which has "
        f"{shared.parameters:,} parameters in place of {given.parameters:,}"
    )


def check_plan(plan: Plan) -> None:
    """Refuse settings that can be refused before data are read.

    Raises:
        ConfigError: a setting or a combination of settings is invalid.
    """
    if not plan.axes:
        raise ConfigError(
            "nothing varies; give a setting and its values: --over model.cell=gru,lstm"
        )
    both = {axis.name for axis in plan.axes} & {axis.name for axis in plan.tuned}
    if both:
        raise ConfigError(f"{min(both)} is given to --over and to --tune; remove one of them")
    if plan.match:
        for axis in (*plan.axes, *plan.tuned):
            if axis.name in plan.match:
                raise ConfigError(
                    f"{axis.name} is the width that is solved for equal parameters, so it cannot vary; "
                    "add --no-match"
                )
    for variant in plan.variants:
        for values in plan.trials:
            with about(variant):
                recipe = plan.recipe_of((*variant.settings, *values))
                check_recipe(recipe, TASKS[recipe.task])


def check_data(plan: Plan) -> None:
    """Check that the files of a plan are there.

    Raises:
        ConfigError: a pattern names no file.
        DataError: a file cannot be read.
    """
    check_files(plan.base.data, TASKS[plan.base.task])


@contextmanager
def about(variant: Variant) -> Iterator[None]:
    """Name the variant in errors about its settings."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"variant '{variant.name}' cannot be built: {error}") from None


class _Data:
    """The prepared data of recipes, read once for all that read the same."""

    def __init__(self) -> None:
        self._prepared: dict[Hashable, Prepared] = {}

    def of(self, recipe: Recipe) -> Prepared:
        """The data of a recipe."""
        Config: Any = type(recipe.model)
        tables = [getattr(recipe.model, name) for name in sections(Config)]
        learned = {name: getattr(recipe.model, name, None) for name in LEARNED}
        settings = [config.to_mapping(each) for each in (recipe.data, recipe.text, *tables)]
        key = json.dumps([*settings, learned])
        if key not in self._prepared:
            self._prepared[key] = prepare(recipe, TASKS[recipe.task])
        return self._prepared[key]


def _sized(plan: Plan, variant: Variant, widths: dict[str, int], data: _Data) -> SizedVariant:
    settings = (*variant.settings, *((name, str(width)) for name, width in widths.items()))
    recipe = plan.recipe_of(settings)
    task, prepared = TASKS[recipe.task], data.of(recipe)
    model = build(recipe, task, prepared.tokenizers)
    return SizedVariant(
        variant.name,
        variant.key,
        variant.settings,
        widths,
        count_parameters(model),
        count_embedding_parameters(model),
        multiply_adds_per_token(recipe, task, prepared),
    )


def _notes(plan: Plan, part: str) -> Iterator[str]:
    training = plan.base.training
    if part == "valid":
        yield (
            "there are no test data, so that scores are on the validation data, on which the best "
            "weights of each run were also chosen"
        )
    if training.max_minutes:
        yield (
            "training.max_minutes limits the time of a run, so that variants make different numbers of "
            "updates and results differ between machines; set training.max_steps for equal updates"
        )
    elif not training.has_fixed_limit:
        yield "each run stops when it no longer improves, so that runs make different numbers of updates"
    changed = [
        axis.name
        for axis in (*plan.axes, *plan.tuned)
        if axis.name.startswith(("data.", "text.", "training.max_tokens", "training.accumulate"))
        and axis.name != "data.word_order"
    ]
    if changed:
        yield f"the batches of variants differ, because {', '.join(changed)} differs"
