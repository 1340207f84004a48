"""An ensemble of classifiers as an export: a graph for each member, whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from unrolled.exports.kinds import Kind, Settings, Traces, kind_of
from unrolled.exports.rounding import Precision
from unrolled.exports.runtime import Session
from unrolled.tasks import TASKS
from unrolled.tasks.ensemble import LabelEnsemble, averaged
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.task import AnyTask
from unrolled.training.recipe import Recipe

MEMBERS = "members"
"""The settings of each member in `generate.json`, as far as they differ."""

_OWN = ("share", "part_thresholds", "unseen")


class ExportedEnsemble(LabelEnsemble):
    """Graphs that stand in for the members of an ensemble.

    Args:
        members: the stand-ins.
        thresholds: `[C]`, those of the mean probabilities.
        n_parameters: number of parameters of the models that were exported.
    """

    def __init__(
        self, members: Sequence[torch.nn.Module], thresholds: Sequence[float], n_parameters: int
    ) -> None:
        super().__init__(members)
        head: Any = self.head
        head.thresholds.copy_(torch.tensor(thresholds, dtype=torch.float64))
        self.n_parameters = n_parameters


def kind_of_run(predictor: Any, form: str = "an ONNX export") -> Kind:
    """How a run is exported, and as what, for messages.

    Raises:
        ConfigError: it cannot be exported; the message says why.
    """
    if isinstance(predictor.model, LabelEnsemble):
        return _together(kind_of(TASKS[predictor.task.name], form))
    return kind_of(predictor.task, form)


def restored(
    recipe: Recipe,
    tokenizers: Tokenizers,
    settings: Settings,
    sessions: Mapping[str, Session],
    n_parameters: int,
) -> tuple[AnyTask, torch.nn.Module]:
    """The task and the stand-in model of an export, which may be an ensemble."""
    task: Any = TASKS[recipe.task]
    kind = kind_of(task)
    if MEMBERS in settings:
        kind, task = _together(kind), averaged(task)
    return task, kind.restored(recipe, tokenizers, settings, sessions, n_parameters)


def _file(number: int) -> str:
    return f"model-{number:02}.onnx"


def _together(kind: Kind) -> Kind:
    """How an ensemble of models of a kind is exported."""

    def graphs(model: LabelEnsemble, precision: Precision) -> dict[str, Any]:
        return {
            _file(number): kind.graphs(member, precision)["model.onnx"]
            for number, member in enumerate(model.members, start=1)
        }

    def settings(
        recipe: Recipe, tokenizers: Tokenizers, model: LabelEnsemble, longest: int
    ) -> dict[str, Any]:
        each = [kind.settings(recipe, tokenizers, member, longest) for member in model.members]
        own = [{name: member[name] for name in _OWN} for member in each]
        thresholds: Any = model.head.thresholds
        return {**each[0], "thresholds": thresholds.tolist(), MEMBERS: own}

    def ensemble(
        recipe: Recipe,
        tokenizers: Tokenizers,
        settings: Settings,
        sessions: Mapping[str, Session],
        n_parameters: int,
    ) -> Any:
        members = [
            kind.restored(
                recipe, tokenizers, {**settings, **own}, {"model.onnx": sessions[_file(number)]}, 0
            )
            for number, own in enumerate(settings[MEMBERS], start=1)
        ]
        return ExportedEnsemble(members, settings["thresholds"], n_parameters)

    def probe(task: Any, model: LabelEnsemble, examples: Sequence[Any]) -> Traces:
        for number, member in enumerate(model.members, start=1):
            for name, value in kind.probe(task, member, examples):
                yield f"{name} of member {number}", value

    return replace(kind, graphs=graphs, settings=settings, restored=ensemble, probe=probe)
