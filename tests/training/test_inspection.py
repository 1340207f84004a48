"""Inspections during training: what they say, when they come, and that they change nothing."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unrolled
from unrolled.tasks import TASKS
from unrolled.training import inspection
from unrolled.training.events import Inspected, Step, Warned
from unrolled.training.inspection import Inspector, try_updates

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled texts."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.tsv"
    words = ("good", "bad", "not", "very", "film", "story")
    rows = [f"{a} {b} {c} {d}" for a in words for b in words for c in words for d in words[:2]]
    lines = [f"{row}\t{'yes' if row.count('good') % 2 else 'no'}" for row in rows]
    path.write_text("\n".join(["text\tlabel", *lines, ""]), encoding="utf-8")
    return path


def recipe_for(data: Path, model: dict[str, Any] | None = None, **training: Any) -> unrolled.Recipe:
    mapping = {
        "task": "classify",
        "data": {"train": [str(data)]},
        "model": {"embedding_size": 4, "hidden_size": 8, **(model or {})},
        "training": {"max_steps": 12, "max_tokens": 64, "log_every_n_steps": 1, **training},
    }
    return unrolled.Recipe.from_mapping(mapping, TASKS)


def test_inspections_come_at_their_interval(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "LARGEST_SHARE", math.inf)
    events = list(unrolled.fit(recipe_for(reviews), tmp_path / "run", inspect_every=5))
    found = [event for event in events if isinstance(event, Inspected)]
    assert [event.step for event in found] == [5, 10]
    for event in found:
        assert event.verdict.kind == "healthy"
        assert set(event.ratios) == {"embedding", "encoder.recurrent", "head.scorer"}
        assert all(0 < ratio < 0.1 for ratio in event.ratios.values())
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("Inspected") < kinds.index("Finished")


def test_inspections_change_neither_weights_nor_chance(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "LARGEST_SHARE", math.inf)
    for name, every in (("with", 3), ("without", 0)):
        unrolled.train(recipe_for(reviews), tmp_path / name, inspect_every=every)
    models = [unrolled.load(tmp_path / name).model.state_dict() for name in ("with", "without")]
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


def test_inspections_take_a_small_share_of_the_time() -> None:
    inspector = Inspector(1, {})
    taken = []
    for step in range(1, 2001):
        if inspector.is_due_at(step):
            taken.append(step)
            inspector._last = 0.3
            inspector._spent += 0.3
        inspector.note(0.02, 1.0)
    assert taken[0] == 1
    assert inspector._spent < 0.05 * inspector._training


def test_a_real_run_is_slowed_by_less_than_a_twentieth(reviews: Path, tmp_path: Path) -> None:
    began = time.perf_counter()
    events = list(
        unrolled.fit(recipe_for(reviews, max_steps=60), tmp_path / "run", inspect_every=1)
    )
    spent = [event.seconds for event in events if isinstance(event, Inspected)]
    assert len(spent) >= 1
    assert sum(spent[1:]) < 0.05 * (time.perf_counter() - began)


def test_a_loss_that_jumps_gets_a_warning_at_once(reviews: Path, tmp_path: Path) -> None:
    events = list(unrolled.fit(recipe_for(reviews, learning_rate=1e4), tmp_path / "run"))
    (first, *_) = [event for event in events if isinstance(event, Warned)]
    assert first.step <= 3
    assert first.text.startswith(
        "the loss has jumped. learning rate too high: at learning rate 10000"
    )
    assert "training.learning_rate = 0.001" in first.text
    losses = {event.step: event.loss for event in events if isinstance(event, Step)}
    assert losses[first.step] > 3 * losses[1]


def test_an_ordinary_run_gets_no_warning(reviews: Path, tmp_path: Path) -> None:
    for rate in (1e-5, 1e-2):
        out = tmp_path / str(rate)
        events = list(unrolled.fit(recipe_for(reviews, learning_rate=rate), out))
        assert not [event for event in events if isinstance(event, Warned)]


def test_a_warning_comes_again_when_it_is_ten_times_worse() -> None:
    class Loader:
        def sample(self, n_rows: int) -> Any:
            raise RuntimeError("there is no memory for it")

    inspector, model = Inspector(0, {}), torch.nn.Linear(1, 1)
    inspector.note(0.1, 2.0)
    warned = [
        inspector.warning(model, Loader(), step, loss, 1.0, 1.0) is not None
        for step, loss in enumerate((2.0, 5.9, 7.0, 8.0, 69.0, 71.0))
    ]
    assert warned == [False, False, True, False, False, True]


def test_a_loss_that_is_not_finite_carries_the_diagnosis(reviews: Path, tmp_path: Path) -> None:
    def loss(model: Any, batch: Any) -> Any:
        total, count = task.loss(model, batch)
        calls.append(None)
        return (total * math.nan if len(calls) == 2 else total), count

    calls: list[None] = []
    task = TASKS["classify"]
    broken = replace(task, name="broken", loss=loss)
    recipe = replace(recipe_for(reviews, {"cell": "rnn"}), task="broken")
    with pytest.raises(unrolled.NonFiniteError) as caught:
        unrolled.train(recipe, tmp_path / "run", task=broken)
    assert "; diagnosis on 8 other rows: healthy: the loss at the last step" in str(caught.value)


def test_an_exploding_model_is_named_when_training_fails(reviews: Path, tmp_path: Path) -> None:
    def build(config: Any, tokenizers: Any) -> Any:
        model = task.build(config, tokenizers)
        with torch.no_grad():
            model.encoder.recurrent.weight_hh_l0 *= 1e30
            model.encoder.recurrent.weight_ih_l0 *= 0
            model.encoder.recurrent.bias_ih_l0 *= 0
            model.encoder.recurrent.bias_hh_l0 *= 0
        return model

    task = TASKS["classify"]
    recipe = recipe_for(reviews, {"cell": "rnn", "bidirectional": False, "pooling": "final"})
    with pytest.raises(
        unrolled.NonFiniteError, match="diagnosis: exploding gradient: the loss at a"
    ):
        unrolled.train(
            replace(recipe, task="loud"),
            tmp_path / "r",
            task=replace(task, name="loud", build=build),
        )


def test_trial_updates_leave_the_model_as_it_is() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    x = torch.randn(5, 3)
    config = unrolled.TrainingConfig(learning_rate=0.01)
    updates = try_updates(model, lambda model: ((model(x) ** 2).sum(), 10), config)
    assert all(map(torch.equal, before, model.parameters()))
    assert len(updates.losses) == 11
    assert updates.losses[-1] < updates.losses[0]
    assert list(updates.ratios) == ["0"]


def test_an_interval_below_zero_is_refused(reviews: Path, tmp_path: Path) -> None:
    with pytest.raises(unrolled.ConfigError, match="inspect_every must be at least 0, got -1"):
        unrolled.fit(recipe_for(reviews), tmp_path / "run", inspect_every=-1)
