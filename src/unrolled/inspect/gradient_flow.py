"""The gradient flow of a trained run on a text, or of a recipe on its data before it is trained.

The measurement is in `unrolled.diagnosis`, which training uses, too; here it meets runs and recipes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from unrolled.diagnosis.flow import GradientFlow, LayerFlow, measure_flow
from unrolled.diagnosis.tables import EXPLAINED, flow_rows, part_rows
from unrolled.diagnosis.updates import Updates
from unrolled.diagnosis.verdict import Verdict, judge
from unrolled.errors import ConfigError
from unrolled.inspect.example import Example, Matching, Tokens, example_of
from unrolled.metrics.display import GAP, aligned
from unrolled.predictors.load import AnyPredictor
from unrolled.tasks import TASKS
from unrolled.tasks.task import AnyTask
from unrolled.training.checks import check_files, check_recipe
from unrolled.training.inspection import N_ROWS, loss_of_sample, settings_of, try_updates
from unrolled.training.kinds import build_loader, prepare
from unrolled.training.recipe import Recipe
from unrolled.wording import count_of, wrapped

__all__ = ["GradientFlow", "Inspection", "LayerFlow", "Verdict", "inspect_recipe", "inspect_run"]

_METRICS = "metrics.jsonl"


_LEAST_NAME = 16  # characters


@dataclass(frozen=True, repr=False)
class Inspection:
    """What was measured of a model, and the diagnosis.

    Args:
        flow: the gradient flow.
        verdict: the diagnosis.
        updates: what updates did: of a recipe, trial updates; of a run, its losses; None if not known.
        about: what was measured, in words.
        notes: what was cut or left out.
        tokens: of a text, the token of each step of each layer, by its name.
    """

    flow: GradientFlow
    verdict: Verdict
    updates: Updates | None
    about: str
    notes: tuple[str, ...] = ()
    tokens: Mapping[str, Tokens] = field(default_factory=dict)

    def __repr__(self) -> str:
        n = count_of(len(self.flow.layers), "layer")
        return f"Inspection({self.verdict.kind!r}, loss={self.flow.loss:.4g}, {n})"

    def _repr_html_(self) -> str:
        """The diagnosis and the gradient over the words, for a notebook."""
        from unrolled.inspect.report import in_notebook, sections_of_inspection

        return in_notebook(sections_of_inspection(self))

    def lines(self, width: int) -> Iterator[str]:
        """The diagnosis and its numbers, as text."""
        yield from wrapped(self.about, width)
        for note in self.notes:
            yield from wrapped(f"note: {note}", width)
        yield ""
        for line in self.verdict.lines():
            yield from wrapped(line, width)
        yield ""
        yield from wrapped(EXPLAINED, width)
        yield from aligned(_with_ends_of_names(flow_rows(self.flow), width), width)
        headings, *rows = part_rows(self.flow)
        for name, parts in groupby(rows, itemgetter(0)):
            yield ""
            yield from wrapped(name, width)
            yield from aligned([headings[1:], *(row[1:] for row in parts)], width)
        if self.updates is not None and self.updates.ratios:
            yield ""
            yield from aligned(
                [
                    ["update of", "share of its norm"],
                    *(
                        [group or "model", f"{ratio:.3g}"]
                        for group, ratio in self.updates.ratios.items()
                    ),
                ],
                width,
            )


def _with_ends_of_names(rows: list[list[str]], width: int) -> list[list[str]]:
    """Shorten long names of layers at their beginning, as they differ at the end."""
    others = [max(map(len, column)) + GAP for column in zip(*rows, strict=True)]
    room = max(_LEAST_NAME, width - sum(others[1:]))
    return [
        [name if len(name) <= room else f"…{name[1 - room :]}", *cells] for name, *cells in rows
    ]


def inspect_run(
    predictor: AnyPredictor,
    text: str | Sequence[str],
    answer: str | Sequence[str] | None = None,
    database: str | None = None,
) -> Inspection:
    """Measure the gradient flow of a trained run on a text, and diagnose it.

    The arguments and errors are those of `trace.trace_text`; the loss is that of the answer. The losses
    of the run's training count, too: a loss that rose far above its start is a diagnosis.

    Raises:
        ConfigError: the model has no recurrent layer; otherwise as for `trace_text`.
    """
    return inspect_example(predictor, example_of(predictor, text, answer, database))


def inspect_example(predictor: AnyPredictor, example: Example) -> Inspection:
    """`inspect_run` of an encoded example."""
    flow = measure_flow(predictor.model, example.loss)
    _check(flow)
    updates = losses_of_run(predictor.folder) if predictor.folder is not None else None
    verdict = judge(flow, updates, settings_of(predictor.recipe))
    longest = max((layer.span + 1 for layer in flow.layers), default=0)
    about = (
        f"gradients of the loss of one text ({flow.loss:.4g} nats per target), over at most "
        f"{count_of(longest, 'step')}"
    )
    matching = Matching(example)
    tokens = {
        layer.name: matching.tokens(layer.name, [len(row) for row in layer.loss])
        for layer in flow.layers
    }
    return Inspection(flow, verdict, updates, about, example.notes, tokens)


def _check(flow: GradientFlow) -> None:
    if not flow.layers and flow.loss == flow.loss:
        raise ConfigError(
            "this model has no recurrent layer that the loss depends on, so there is nothing to inspect"
        )


def losses_of_run(folder: Path) -> Updates | None:
    """The first and the last training loss of a run, from its `metrics.jsonl`; None if it has none."""
    try:
        lines = (folder / _METRICS).read_text(encoding="utf-8").splitlines()
        events = [event for event in map(json.loads, lines) if event.get("event") == "step"]
        first, last = events[0], events[-1]
        return Updates(
            float(last["learning_rate"]),
            first_loss=float(first["loss"]),
            last_loss=float(last["loss"]),
            grad_norm=float(last["grad_norm"]),
        )
    except (OSError, ValueError, KeyError, IndexError, AttributeError, TypeError):
        return None  # it is only a log


def inspect_recipe(recipe: Recipe, task: AnyTask | None = None) -> Inspection:
    """Diagnose the model of a recipe before it is trained, on a few rows of its training data.

    The gradient flow is that of the new model; ten updates of a copy on the same rows show whether the
    learning rate is too high. Nothing is written.

    Args:
        recipe: the recipe, with data.
        task: the task, if it is not one of `TASKS`.

    Raises:
        ConfigError: the recipe contradicts itself, or the model has no recurrent layer.
        DataError: a data file cannot be read.
    """
    task = task or TASKS[recipe.task]
    if recipe.model is None:
        recipe = replace(recipe, model=task.Config())
    check_recipe(recipe, task)
    task.check_pretrained(recipe.model, recipe.text)
    check_files(recipe.data, task)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    loader = build_loader(recipe, task, prepare(recipe, task))
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model: Any = task.build(recipe.model, loader.tokenizers)
        loader.prepare(model)
        task.load_pretrained(model, loader.tokenizers)
    loss_of = loss_of_sample(loader)
    flow = measure_flow(model, loss_of)
    _check(flow)
    updates = try_updates(model, loss_of, recipe.training)
    verdict = judge(flow, updates, settings_of(recipe))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    about = (
        f"a new model of task '{task.name}' with {parameters:,} parameters, on "
        f"{count_of(min(N_ROWS, flow.n_rows), 'row')} of its training data; nothing was trained"
    )
    return Inspection(flow, verdict, updates, about)
