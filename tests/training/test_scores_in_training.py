"""Scores reported in training equal those of the saved weights when they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume import content

import unrolled
from unrolled.training.events import Evaluated, Finished, Saved, Started, Step
from unrolled.training.loop import fit, train
from unrolled.training.recipe import Recipe
from unrolled.training.trainer import Trainer

OPTIMISERS: dict[str, dict[str, Any]] = {
    "adam": {},
    "averaged": {"average": 0.9},
}


def recipe_of(pairs_file: Path, recipe_file: Path, **training: Any) -> Recipe:
    recipe = unrolled.recipe_from_toml(
        recipe_file, unrolled.TASKS, [("data.train", str(pairs_file))]
    )
    settings = {"evaluate_every_n_steps": 10, "max_steps": 30, **training}
    return replace(recipe, training=replace(recipe.training, **settings))


def scores_of(run: Path) -> Mapping[str, float]:
    """Those of the saved model on its validation part, in the way of training."""
    predictor = unrolled.load(run)
    assert isinstance(predictor, unrolled.Predictor)
    decoding = replace(predictor.recipe.decoding, method="greedy")
    return predictor.evaluate(predictor.held_out("valid"), decoding).total.scores


@pytest.mark.parametrize("settings", OPTIMISERS.values(), ids=OPTIMISERS)
def test_each_score_belongs_to_the_saved_weights(
    tmp_path: Path, pairs_file: Path, recipe_file: Path, settings: dict[str, Any]
) -> None:
    recipe = recipe_of(pairs_file, recipe_file, metric="chrf", **settings)
    seen: list[float] = []
    for event in fit(recipe, tmp_path / "run"):
        if isinstance(event, Evaluated) and event.is_best:
            assert event.scores == pytest.approx(scores_of(tmp_path / "run"), abs=1e-9)
            seen.append(event.scores["chrf"])
    assert len(seen) >= 2
    assert len(set(seen)) >= 2


STOPS = ((Started, 1), (Step, 9), (Evaluated, 2), (Saved, 2), (Evaluated, 1))


def test_a_run_selected_by_chrf_resumes_bit_for_bit(
    tmp_path: Path, pairs_file: Path, recipe_file: Path
) -> None:
    settings = {"metric": "chrf", "evaluate_every_n_steps": 4, "checkpoint_every_n_steps": 3}
    recipe = recipe_of(pairs_file, recipe_file, log_every_n_steps=1, **settings)
    train(recipe, tmp_path / "whole")
    for kind, number in STOPS:
        events = fit(recipe, tmp_path / "parts", resume=(tmp_path / "parts").exists())
        for event in events:
            number -= type(event) is kind
            if not number:
                events.close()
                break
    train(recipe, tmp_path / "parts", resume=True)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_a_loaded_translator_sees_its_weights_change(trained_run: Path) -> None:
    first, second = unrolled.load(trained_run), unrolled.load(trained_run)
    texts = ["I see two red cats.", "I see five white horses.", "I see three birds."]
    before = first.predict(texts)
    optimiser = torch.optim.AdamW(first.model.parameters(), lr=0.1, fused=True)
    for parameter in first.model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.step()
    after = first.predict(texts)
    assert [each.score for each in after] != [each.score for each in before]
    second.model.load_state_dict(first.model.state_dict())
    again = second.predict(texts)
    assert [(each.text, each.score) for each in again] == [
        (each.text, each.score) for each in after
    ]


def test_scores_that_decide_nothing_are_computed_once_for_the_best_model(
    tmp_path: Path, pairs_file: Path, recipe_file: Path
) -> None:
    run = tmp_path / "run"
    *events, end = fit(recipe_of(pairs_file, recipe_file, metric="loss"), run)
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    assert [event.scores for event in evaluations] == [{}] * 3
    assert isinstance(end, Finished)
    assert end.best is not None
    assert end.best.scores == pytest.approx(scores_of(run), abs=1e-9)
    assert {"bleu", "chrf"} <= set(end.best.scores)
    card = (run / "README.md").read_text(encoding="utf-8")
    assert f"| chrf | {end.best.scores['chrf']:.2f} |" in card
    *_, again = fit(recipe_of(pairs_file, recipe_file, metric="loss"), run, resume=True)
    assert isinstance(again, Finished)
    assert again.best == end.best


def test_decoding_in_training_affects_no_weight_and_no_random_number(
    tmp_path: Path, pairs_file: Path, recipe_file: Path
) -> None:
    states = []
    for name, settings in {
        "each evaluation": {"metric": "chrf"},
        "at the end": {"metric": "loss"},
        "never": {"metric": "loss", "valid_sentences": 0},
        "for an estimate": {"metric": "loss", "max_minutes": 60.0},
    }.items():
        recipe = recipe_of(pairs_file, recipe_file, **settings)
        with pytest.MonkeyPatch.context() as patch:
            if name == "for an estimate":  # half of the time is used from the first update on
                limits = Trainer.limits
                patch.setattr(
                    Trainer,
                    "limits",
                    lambda self: limits(self) | {"max_minutes": (0.6, 60.0)},  # noqa: B023
                )
            train(recipe, tmp_path / name)
        state = content(tmp_path / name)
        kept = {key for key in state if key.startswith(("weights.", "rest."))}
        assert any("random" in key for key in kept)
        states.append({key: state[key] for key in kept} | {"step": state["step"]})
    assert all(state == states[0] for state in states)


def test_bleu_of_chinese_is_chosen_once_and_noted(tmp_path: Path, recipe_file: Path) -> None:
    rows = [(f"I see {n} dogs.", f"我看见{n}只很大的白狗。") for n in range(60)]
    data = tmp_path / "zh.tsv"
    data.write_text("en\tzh\n" + "".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    recipe = recipe_of(data, recipe_file, metric="bleu", max_steps=2, evaluate_every_n_steps=1)
    events = list(fit(recipe, tmp_path / "run"))
    started = next(event for event in events if isinstance(event, Started))
    assert any("sacrebleu's tokenizer 'zh'" in note for note in started.notes)
    scores = next(event.scores for event in events if isinstance(event, Evaluated))
    assert list(scores) == ["bleu", "bleu_lower", "chrf", "exact_match"]
    predictor = unrolled.load_translator(tmp_path / "run")
    evaluation = predictor.evaluate(predictor.held_out("valid"))
    assert "tok:zh" in evaluation.signatures["bleu"]
    assert "sacrebleu's tokenizer 'zh'" in "\n".join(evaluation.lines())
    forced = predictor.evaluate(predictor.held_out("valid"), bleu_tokenizer="13a")
    assert "tok:13a" in forced.signatures["bleu"]
    assert forced.notes == ()


def test_a_run_can_be_selected_by_exact_match(
    tmp_path: Path, pairs_file: Path, recipe_file: Path
) -> None:
    recipe = recipe_of(pairs_file, recipe_file, metric="exact_match", max_steps=20)
    evaluated = [e for e in fit(recipe, tmp_path / "run") if isinstance(e, Evaluated)]
    assert evaluated[0].is_best
    best = max(event.scores["exact_match"] for event in evaluated)
    assert [e for e in evaluated if e.is_best][-1].scores["exact_match"] == best


def test_words_that_do_not_restore_code_are_noted(tmp_path: Path, recipe_file: Path) -> None:
    rows = [(f"import number {n}", f"from lib . a{n} import b") for n in range(60)]
    data = tmp_path / "code.tsv"
    data.write_text("en\tcode\n" + "".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    recipe = recipe_of(data, recipe_file, max_steps=1)
    recipe = replace(recipe, text=replace(recipe.text, kind="word", vocab_size=40))
    started = next(event for event in fit(recipe, tmp_path / "run") if isinstance(event, Started))
    notes = "\n".join(started.notes)
    assert "target: 100.0% of the texts do not come back unchanged from word tokens" in notes
    assert "of the target tokens are unknown words; raise text.vocab_size = 40, or use" in notes
