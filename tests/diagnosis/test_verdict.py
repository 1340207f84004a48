"""The diagnosis is right on planted cases, and each cure is a setting that the recipe has."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from planted import Planted, cases

import unrolled
from unrolled.diagnosis import verdict as verdicts
from unrolled.diagnosis.flow import GradientFlow, LayerFlow
from unrolled.diagnosis.parts import PartFlow
from unrolled.diagnosis.updates import Updates, largest_of, snapshot, update_ratios
from unrolled.diagnosis.verdict import NAMES, judge
from unrolled.ops.cells import cell_named
from unrolled.tasks import TASKS
from unrolled.training.inspection import settings_of

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = cases()
TESTED = [case for case in CASES if case.is_quick or case.setting.seed == 1]
"""`planted.py` itself goes through all of them."""


@pytest.mark.parametrize("case", TESTED, ids=[f"{case.name}-{case.setting}" for case in TESTED])
def test_planted_cases_get_their_diagnosis(case: Planted) -> None:
    assert case.judged().kind == case.wanted, case.known


def test_there_are_planted_cases_of_every_kind() -> None:
    assert len(TESTED) >= 100
    assert {case.wanted for case in TESTED} == set(NAMES) - {"non_finite"}
    settings = [case.setting for case in TESTED]
    for name in ("T", "H", "B", "seed", "dtype"):
        assert len({getattr(setting, name) for setting in settings}) > 1


def flow_with(
    curve: list[float], kind: str = "rnn_tanh", arriving: float = 1.0, **part: float
) -> GradientFlow:
    """The flow of one layer and row, with this reach."""
    function = str(part.pop("function", "tanh"))  # type: ignore[arg-type]
    shares = {"derivative": 0.5, "saturated": 0.0, "low": 0.0, "high": 0.0, "dead": 0.0} | part
    flow_of_part = PartFlow("h", function, by_step=np.zeros(0), is_gate=False, **shares)
    steps = [np.ones(max(len(curve), 20))]
    layer = LayerFlow(
        "layer", kind, False, steps, steps, [np.array(curve)], [], np.zeros((0, 0)), {}, {"h": 1.7},
        {"h": 2.0}, [flow_of_part], [arriving],
    )  # fmt: skip
    return GradientFlow(1.0, [layer])


HEALTHY = flow_with([1.0, 0.9, 0.8])


def test_thresholds_divide_the_diagnoses() -> None:
    assert judge(HEALTHY).kind == "healthy"
    assert judge(flow_with([1.0, 0.0011])).kind == "healthy"
    assert judge(flow_with([1.0, 0.0009])).kind == "vanishing"
    assert judge(flow_with([1.0, 0.0])).kind == "vanishing"
    assert judge(flow_with([1.0, 9.9])).kind == "healthy"
    assert judge(flow_with([1.0, 10.1, 0.1])).kind == "exploding"
    assert judge(flow_with([1.0, math.inf])).kind == "exploding"
    assert judge(flow_with([1.0, 0.5], dead=0.51, function="relu")).kind == "dead_relu"
    assert judge(flow_with([1.0])).kind == "healthy"
    assert judge(GradientFlow(math.inf)).kind == "non_finite"


def test_growth_in_proportion_to_the_distance_is_no_explosion() -> None:
    def kind(last: float, n_steps: int) -> str:
        return judge(flow_with([1.0] * n_steps + [last])).kind

    assert (kind(49.0, 50), kind(51.0, 50)) == ("healthy", "exploding")
    assert (kind(9.0, 5), kind(11.0, 5)) == ("healthy", "exploding")
    assert kind(999.0, 2000) == "healthy"
    evidence = judge(flow_with([1.0] * 50 + [49.0])).findings[0].evidence
    assert evidence.endswith(
        "; 50 steps earlier, it is 49 times as large, less than the nearer steps together"
    )


def test_saturation_needs_a_gradient_that_does_not_arrive() -> None:
    def kinds(saturated: float, arriving: float = 1.0, last: float = 0.5) -> tuple[str, ...]:
        flow = flow_with([1.0, last], saturated=saturated, arriving=arriving)
        return judge(flow).kinds

    assert kinds(1.0) == ("healthy",)
    assert kinds(0.51, arriving=0.011) == ("healthy",)
    assert kinds(0.51, arriving=0.009) == ("saturated",)
    assert kinds(0.49, arriving=0.009) == ("healthy",)
    assert kinds(1.0, last=0.0011) == ("healthy",)
    assert kinds(0.51, last=0.0009) == ("saturated", "vanishing")
    assert kinds(0.49, last=0.0009) == ("vanishing",)
    assert kinds(1.0, arriving=math.nan) == ("healthy",)
    evidence = judge(flow_with([1.0, 0.5], saturated=0.9, arriving=1e-5)).findings[0].evidence
    assert "only 1e-05 of the gradient that enters the states arrives at the weights" in evidence


def test_growth_that_clipping_and_the_rate_allow_is_no_explosion() -> None:
    growing = flow_with([1.0, 5.0, 50.0])
    assert judge(growing).kind == "exploding"
    assert judge(growing, Updates(1e-3, losses=(1.0, 0.9, 0.8))).kind == "healthy"
    assert judge(growing, Updates(1e-3, losses=(1.0, 1.1, 1.2))).kind == "exploding"
    assert judge(growing, Updates(1e-3, first_loss=1.0, last_loss=0.9)).kind == "healthy"
    assert judge(growing, Updates(1e-3, first_loss=1.0, last_loss=1.1)).kind == "exploding"
    assert judge(growing, Updates(1e-3)).kind == "exploding"
    huge = flow_with([1.0, 5.0, 1001.0])
    assert judge(huge, Updates(1e-3, losses=(1.0, 0.9, 0.8))).kind == "exploding"


def test_updates_show_a_rate_that_is_too_high() -> None:
    def kind(**updates: object) -> str:
        return judge(HEALTHY, Updates(0.1, **updates)).kind  # type: ignore[arg-type]

    assert kind(losses=(1.0, 0.9, 0.8)) == "healthy"
    assert kind(losses=(1.0, 1.2, 1.4)) == "learning_rate"
    assert kind(losses=(1.0, 3.0, 0.2, 0.2, 0.2)) == "healthy"
    assert kind(losses=(1.0, 0.9, math.nan)) == "learning_rate"
    assert kind(first_loss=1.0, last_loss=2.9) == "healthy"
    assert kind(first_loss=1.0, last_loss=3.1) == "learning_rate"
    assert kind(ratios={"head": 0.9}) == "healthy"
    assert kind(ratios={"head": 1.1}) == "learning_rate"


def test_an_exploding_gradient_is_not_blamed_on_the_rate() -> None:
    flow = flow_with([1.0, 50.0])
    small = Updates(1e-3, {"a": 0.01}, (1.0, 1.5))
    assert judge(flow, small).kinds == ("exploding",)
    assert judge(flow, replace(small, ratios={"a": 0.5})).kinds == ("learning_rate", "exploding")


def test_the_evidence_has_its_number_and_the_steps() -> None:
    found = judge(flow_with([10.0**-step for step in range(41)]))
    assert found.findings[0].number == pytest.approx(1e-40)
    assert str(found).startswith(
        "vanishing gradient: the loss at the last step changes the state 40 steps earlier by 1e-40 of "
        "what it changes the state of the step itself; a tenth is left after 2 steps"
    )
    lines = list(found.lines())
    assert lines[0].startswith("vanishing gradient (layer): the loss")
    assert all(line.startswith("  change: ") for line in lines[1:])


def test_a_verdict_without_a_recipe_names_arguments_of_layers() -> None:
    found = judge(flow_with([1.0, 1e-9]))
    assert [cure.setting for cure in found.findings[0].cures][:2] == [
        "unrolled.nn.LSTM",
        "recurrent_init",
    ]
    assert not any(cure.is_setting for cure in found.findings[0].cures)


FLOWS = {
    "vanishing": flow_with([1.0, 0.1, 1e-9]),
    "exploding": flow_with([1.0, 1e9]),
    "saturated": flow_with([1.0, 0.5], saturated=0.9, arriving=1e-4),
    "dead_relu": flow_with([1.0, 0.5], dead=0.9, function="relu"),
    "learning_rate": HEALTHY,
    "non_finite": GradientFlow(math.nan),
}


MODELS: tuple[dict[str, Any], ...] = (
    {},
    {"forget_bias": 0.0},
    {"cell": "rnn"},
    {"cell": "rnn", "recurrent_init": "uniform"},
    {"cell": "rnn_relu"},
    {"cell": "rnn_relu", "recurrent_init": "identity"},
    {"cell": "gru"},
)


@cache
def recipe_with(task: str, n_model: int, clip: float, *changed: tuple[str, str]) -> unrolled.Recipe:
    mapping = {"task": task, "model": MODELS[n_model], "training": {"clip_norm": clip}}
    return unrolled.Recipe.from_mapping(mapping, TASKS, changed)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", FLOWS)
def test_every_cure_is_a_setting_of_the_recipe(kind: str, task: str) -> None:
    updates = Updates(10.0, {"encoder": 5.0}) if kind == "learning_rate" else None
    for n_model, model in enumerate(MODELS):
        for clip in (0.0, 1.0, 50.0):
            fast = ("training.learning_rate", "1.0")
            settings = settings_of(recipe_with(task, n_model, clip, fast))
            layers = [
                replace(layer, kind=cell_named(model.get("cell", "lstm")).kind)
                for layer in FLOWS[kind].layers
            ]
            (first, *_) = judge(replace(FLOWS[kind], layers=layers), updates, settings).findings
            assert first.kind == kind
            assert first.cures or (kind, model.get("cell")) == ("vanishing", "gru")
            for cure in first.cures:
                assert cure.reason
                section, name = cure.setting.split(".")
                changed = [
                    (setting, value.strip('"'))
                    for setting, value in ((cure.setting, cure.value), *cure.also)
                ]
                again = recipe_with(task, n_model, clip, *changed)
                assert str(getattr(getattr(again, section), name)) != str(settings[cure.setting])
                assert all(f"{name} = {value}" in cure.reason for name, value in cure.also)


def test_a_vanishing_gradient_names_the_initial_weights() -> None:
    def changes(kind: str, **model: object) -> dict[str, str]:
        recipe = unrolled.Recipe.from_mapping({"task": "classify", "model": model}, TASKS)
        (first,) = judge(flow_with([1.0, 1e-9], kind), None, settings_of(recipe)).findings
        pairs = [pair for cure in first.cures for pair in ((cure.setting, cure.value), *cure.also)]
        return {name: value for name, value in pairs if name in STARTS}

    assert changes("lstm") == {"model.forget_bias": "3.0"}
    assert changes("lstm", forget_bias=5.0) == {}
    assert changes("gru", cell="gru") == {}
    assert changes("rnn_tanh", cell="rnn") == {
        "model.cell": '"rnn_relu"',
        "model.recurrent_init": '"identity"',
    }
    assert changes("rnn_relu", cell="rnn_relu") == {
        "model.cell": '"lstm"',
        "model.recurrent_init": '"identity"',
    }
    assert changes("rnn_relu", cell="rnn_relu", recurrent_init="identity") == {
        "model.cell": '"lstm"',
        "model.recurrent_init": '"orthogonal"',
    }
    assert changes("rnn_tanh", cell="rnn", recurrent_init="uniform") == {
        "model.cell": '"rnn_relu"',
        "model.recurrent_init": '"identity"',
    }


STARTS = ("model.cell", "model.recurrent_init", "model.forget_bias")


def test_a_long_window_that_teaches_nothing_is_shortened() -> None:
    curve = [0.3**step for step in range(65)]
    recipe = unrolled.Recipe.from_mapping({"task": "language_model"}, TASKS)
    (first,) = judge(flow_with(curve, kind="lstm"), None, settings_of(recipe)).findings
    (cure,) = (cure for cure in first.cures if cure.setting == "data.k1")
    assert cure.value == "8"


def test_updates_are_measured_by_module() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    torch.nn.init.zeros_(model[1].weight)
    before = snapshot(model)
    with torch.no_grad():
        model[0].weight *= 1.25
        model[1].weight += 1
    assert update_ratios(before, model) == pytest.approx({"0": 0.25})
    assert largest_of([{"0": 0.1}, {"0": 0.3, "1": 7.0}]) == {"0": 0.3}
    assert largest_of([]) == {}
    assert Updates(0.1).largest == ("", 0.0)


def test_the_order_of_diagnoses_is_that_of_the_docs() -> None:
    assert list(NAMES)[-1] == "healthy"
    assert set(FLOWS) | {"healthy"} == set(NAMES)
    assert verdicts.VANISHED == 1 / 1000
