"""Training: updates, events and run folders."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import COUNTING, CountingConfig, recipe_for, write_data
from torch import nn

from unrolled import system
from unrolled.errors import ConfigError, DataError, NonFiniteError, RunError, UnavailableError
from unrolled.training import checkpoint, device
from unrolled.training import config as training_config
from unrolled.training.evaluation import mean_loss, predictions
from unrolled.training.events import Evaluated, Finished, Saved, Started, Step
from unrolled.training.kinds import build_loader, prepare
from unrolled.training.loaders import RowLoader
from unrolled.training.loop import fit, train
from unrolled.training.run_folder import END_OF_CONFIG, load_run
from unrolled.training.trainer import Trainer


def events_of(recipe, out, **options):
    return list(fit(recipe, out, task=options.pop("task", COUNTING), **options))


def training_for(recipe, folder: Path) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(
        recipe, COUNTING, build_loader(recipe, COUNTING, prepare(recipe, COUNTING)), folder
    )


def test_a_run_learns_and_can_be_read_back(tmp_path: Path, data: Path):
    model = CountingConfig(width=13, dropout_rate=0.0)
    recipe = recipe_for(data, model, max_steps=120, learning_rate=0.05)
    end = train(recipe, tmp_path / "run", task=COUNTING)
    assert end.best.loss < 1.6 < math.log(11)
    run = load_run(tmp_path / "run", COUNTING)
    assert run.recipe == recipe
    assert not run.model.training
    valid = prepare(recipe, COUNTING, run.tokenizers).valid
    assert mean_loss(run.model, COUNTING, valid.examples, 37) == end.best.loss


def test_events_come_in_order_and_are_complete(tmp_path: Path, data: Path):
    events = events_of(recipe_for(data, max_steps=11), tmp_path / "run")
    first, *middle, last = events
    assert first == Started(
        step=0,
        unit="rows",
        sizes={"train": 79, "valid": 11, "test": 7},
        skipped={"train": 0, "valid": 0},
        vocabulary_sizes={"source": 11, "target": 11},
        parameters=11 * 5 + 11 * 5 + 11,
        steps_per_epoch=first.steps_per_epoch,
        device="cpu",
        notes=first.notes,
    )
    assert [event.step for event in middle if isinstance(event, Step)] == [3, 6, 9, 11]
    assert [event.step for event in middle if isinstance(event, Evaluated)] == [5, 10, 11]
    assert {7, 11} <= {event.step for event in middle if isinstance(event, Saved)}
    assert isinstance(last, Finished)
    assert (last.step, last.reason) == (11, "max_steps")
    fractions = [event.fraction_done for event in middle if isinstance(event, Step)]
    assert fractions == [3 / 11, 6 / 11, 9 / 11, 1.0]
    assert [event for event in middle if isinstance(event, Step)][-1].eta_seconds == 0.0


def test_an_epoch_has_the_announced_number_of_steps(tmp_path: Path, data: Path):
    recipe = recipe_for(data, max_steps=0, max_epochs=3, accumulate=2, log_every_n_steps=1)
    events = events_of(recipe, tmp_path / "run")
    epochs = [event.epoch for event in events if isinstance(event, Step)]
    assert epochs == sorted(epochs)
    assert set(epochs) == {1, 2, 3}
    assert epochs.count(1) == events[0].steps_per_epoch
    assert events[-1].reason == "max_epochs"


def test_metrics_hold_every_step_and_evaluation(tmp_path: Path, data: Path):
    events = events_of(recipe_for(data), tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [event for event in events if isinstance(event, Step | Evaluated)]
    assert len(lines) == len(expected)
    for line, event in zip(map(json.loads, lines), expected, strict=True):
        assert line.pop("event") == type(event).__name__.lower()
        assert type(event)(**line) == event


def test_the_logged_loss_is_the_mean_since_the_last_log(tmp_path: Path, data: Path):
    recipe = recipe_for(data, CountingConfig(dropout_rate=0.0), log_every_n_steps=1, max_steps=6)
    single = [e for e in events_of(recipe, tmp_path / "a") if isinstance(e, Step)]
    recipe = recipe_for(data, CountingConfig(dropout_rate=0.0), log_every_n_steps=3, max_steps=6)
    training = training_for(recipe, tmp_path / "b")
    counts = []
    for _ in range(3):
        training.update()
        counts.append(training.progress.n_targets)
    steps = [counts[0], counts[1] - counts[0], counts[2] - counts[1]]
    mean = sum(n * event.loss for n, event in zip(steps, single, strict=False)) / counts[2]
    assert training.log().loss == pytest.approx(mean, rel=1e-12)


def test_throughput_excludes_evaluation_and_event_handling(tmp_path: Path, data: Path):
    def slow_score(answers, references):
        time.sleep(0.3)
        return {"accuracy": 0.0}

    task = replace(COUNTING, score=slow_score)
    recipe = recipe_for(data, max_steps=4, evaluate_every_n_steps=1, log_every_n_steps=4)
    recipe = replace(recipe, training=replace(recipe.training, metric="accuracy"))
    for event in fit(recipe, tmp_path / "run", task=task):
        time.sleep(0.1)
        if isinstance(event, Step):
            assert event.seconds > 1.2
            assert event.tokens_per_second > 4 * 20 / 1.0


@pytest.mark.parametrize("reduction", ["per_token", "per_sequence"])
def test_four_small_batches_equal_one_large_batch(tmp_path: Path, data: Path, reduction: str):
    settings = {"optimiser": "sgd", "learning_rate": 1.0, "reduction": reduction, "clip_norm": 0.0}
    model = CountingConfig(dropout_rate=0.0)
    small = training_for(recipe_for(data, model, accumulate=4, **settings), tmp_path / "small")
    large = training_for(recipe_for(data, model, **settings), tmp_path / "large")
    parts = small.loader._of_epoch(1)[:4]
    large.loader._of_epoch(1)[0] = [index for part in parts for index in part]
    assert len({len(part) for part in parts}) > 1
    small.update()
    large.update()
    assert small.progress.grad_norm == pytest.approx(large.progress.grad_norm, rel=1e-5)
    for ours, other in zip(small.parameters, large.parameters, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


def test_the_reductions_divide_by_targets_and_by_sequences(tmp_path: Path, data: Path):
    norms, counts = {}, {}
    for reduction in ("per_token", "per_sequence"):
        recipe = recipe_for(data, CountingConfig(dropout_rate=0.0), reduction=reduction)
        training = training_for(recipe, tmp_path / reduction)
        counts["per_sequence"] = len(training.loader._of_epoch(1)[0])
        training.update()
        counts["per_token"] = training.progress.n_targets
        norms[reduction] = training.progress.grad_norm
    ratio = counts["per_token"] / counts["per_sequence"]
    assert ratio > 1.5
    assert norms["per_sequence"] == pytest.approx(ratio * norms["per_token"], rel=1e-5)


def test_a_shorter_last_update_of_an_epoch_uses_what_is_left(tmp_path: Path, data: Path):
    training = training_for(recipe_for(data, accumulate=3), tmp_path / "run")
    n_batches = len(training.loader._of_epoch(1))
    assert n_batches % 3
    for _ in range(math.ceil(n_batches / 3)):
        training.update()
    assert (training.progress.epoch, training.progress.batch) == (2, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_names_its_batch(tmp_path: Path, data: Path, bad: float):
    def loss(model, batch):
        total, count = COUNTING.loss(model, batch)
        calls.append(None)
        return (total * bad if len(calls) == 6 else total), count

    calls: list[None] = []
    task = replace(COUNTING, loss=loss)
    recipe = recipe_for(data, accumulate=2, checkpoint_every_n_steps=2)
    events = fit(recipe, tmp_path / "run", task=task)
    with pytest.raises(NonFiniteError) as caught:
        for _ in events:
            pass
    rows = prepare(recipe, COUNTING).train.rows
    training = training_for(recipe, tmp_path / "other")
    taken = training.loader._of_epoch(1)[4:6]
    lines = sorted(rows[index].line for indices in taken for index in indices)
    assert str(caught.value) == (
        "the loss of step 3 (epoch 1, batches 5 to 6) is not finite, first in embedding.weight, "
        f"head.weight, head.bias; it holds lines {', '.join(map(str, lines[:5]))} and "
        f"{len(lines) - 5} more of the training data; check them, or lower "
        "training.learning_rate or clip_norm; the run can be resumed from its last checkpoint"
    )
    assert checkpoint.load_checkpoint(tmp_path / "run").progress.step == 2


def test_a_non_finite_gradient_leaves_the_weights_unchanged(tmp_path: Path, data: Path):
    training = training_for(recipe_for(data), tmp_path / "run")
    training.update()
    before = [parameter.detach().clone() for parameter in training.parameters]
    training.model.head.bias.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NonFiniteError, match=r"gradient of step 2 .* first in head\.bias; it"):
        training.update()
    for parameter, old in zip(training.parameters, before, strict=True):
        assert torch.equal(parameter, old)
    assert training.progress.step == 1


LITTLE_MEMORY = [
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    MemoryError(),
]


def failing_at(call: int, error: Exception):
    """The task with a loss that fails at this call."""

    def loss(model, batch):
        calls.append(None)
        if len(calls) == call:
            raise error
        return COUNTING.loss(model, batch)

    calls: list[None] = []
    return replace(COUNTING, loss=loss)


@pytest.mark.parametrize("error", LITTLE_MEMORY, ids=["cpu", "cuda", "python"])
def test_running_out_of_memory_keeps_the_last_checkpoint(
    tmp_path: Path, data: Path, error: Exception
):
    recipe = recipe_for(data, checkpoint_every_n_steps=2)
    with pytest.raises(UnavailableError) as caught:
        train(recipe, tmp_path / "run", task=failing_at(4, error))
    assert str(caught.value) == (
        "out of memory; lower training.max_tokens, here 37, or the sizes in [model]; the run "
        "can be resumed from its last checkpoint, and --from starts another from its weights"
    )
    assert checkpoint.load_checkpoint(tmp_path / "run").progress.step == 2
    train(recipe, tmp_path / "whole", task=COUNTING)
    train(recipe, tmp_path / "run", task=COUNTING, resume=True)
    ended, whole = (checkpoint.load_checkpoint(tmp_path / name) for name in ("run", "whole"))
    assert all(torch.equal(ended.weights[name], whole.weights[name]) for name in whole.weights)


def test_a_model_too_large_for_memory_leaves_nothing_behind(tmp_path: Path, data: Path):
    def build(config, tokenizers):
        raise LITTLE_MEMORY[0]

    with pytest.raises(UnavailableError, match=r"^out of memory; lower .* the sizes in \[model\]"):
        train(recipe_for(data), tmp_path / "run", task=replace(COUNTING, build=build))
    assert list(tmp_path.iterdir()) == [data]


def test_other_torch_errors_are_not_converted(tmp_path: Path, data: Path):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as caught:
        train(recipe_for(data), tmp_path / "run", task=failing_at(2, error))
    assert caught.value is error


def scripted(values):
    """The task with evaluations that find these losses, one after the other."""
    found = iter(values)
    current = [0.0]

    def evaluate_loss(model, batch):
        return torch.tensor(current[0] * batch.n_tokens, dtype=torch.float64), batch.n_tokens

    def score(answers, references):
        return {"accuracy": -current[0]}

    def advance():
        current[0] = next(found)

    return replace(COUNTING, evaluate_loss=evaluate_loss, score=score), advance


def test_early_stopping_keeps_the_best(tmp_path: Path, data: Path):
    task, advance = scripted([3.0, 2.0, 2.5, 2.0, 2.25, 9.0])
    recipe = recipe_for(
        data, max_steps=0, patience=3, evaluate_every_n_steps=1, log_every_n_steps=1
    )
    best, weights = None, None
    events = fit(recipe, tmp_path / "run", task=task)
    seen = []
    for event in events:
        if isinstance(event, Step):
            advance()
        if isinstance(event, Evaluated):
            seen.append((event.step, event.loss, event.is_best))
            if event.is_best:
                best = checkpoint.load_tensors(tmp_path / "run" / "model.safetensors")
        if isinstance(event, Finished):
            weights = checkpoint.load_tensors(tmp_path / "run" / "model.safetensors")
            assert (event.reason, event.best.step, event.best.value) == ("patience", 2, 2.0)
    assert seen == [
        (1, 3.0, True),
        (2, 2.0, True),
        (3, 2.5, False),
        (4, 2.0, False),
        (5, 2.25, False),
    ]
    assert all(torch.equal(best[name], weights[name]) for name in best)
    last = checkpoint.load_checkpoint(tmp_path / "run")
    assert last.progress.step == 5
    assert not torch.equal(last.weights["head.bias"], weights["head.bias"])


def test_the_plateau_schedule_reduces_at_each_patience(tmp_path: Path, data: Path):
    task, advance = scripted([3.0, 3.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0])
    recipe = recipe_for(
        data,
        max_steps=8,
        schedule="plateau",
        plateau_patience=2,
        plateau_factor=0.5,
        learning_rate=0.5,
        metric="accuracy",
        evaluate_every_n_steps=1,
        log_every_n_steps=1,
    )
    rates = []
    recipe = replace(recipe, training=replace(recipe.training, metric="accuracy"))
    for event in fit(recipe, tmp_path / "run", task=task):
        if isinstance(event, Step):
            rates.append(event.learning_rate)
            advance()
    assert rates == [0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125]


def test_a_loss_that_is_not_a_number_is_never_the_best(tmp_path: Path, data: Path):
    task, advance = scripted([math.nan, 3.0])
    recipe = recipe_for(data, max_steps=2, evaluate_every_n_steps=1, log_every_n_steps=1)
    best = []
    recipe = replace(recipe, training=replace(recipe.training, metric="accuracy"))
    for event in fit(recipe, tmp_path / "run", task=task):
        if isinstance(event, Step):
            advance()
        if isinstance(event, Evaluated):
            best.append(event.is_best)
    assert best == [False, True]


def test_averaged_weights_are_the_model(tmp_path: Path, data: Path):
    recipe = recipe_for(data, average=0.9, evaluate_every_n_steps=23)
    end = train(recipe, tmp_path / "run", task=COUNTING)
    last = checkpoint.load_checkpoint(tmp_path / "run")
    model = checkpoint.load_tensors(tmp_path / "run" / "model.safetensors")
    assert torch.equal(model["head.bias"], last.rest["average.head.bias"])
    assert not torch.equal(model["head.bias"], last.weights["head.bias"])
    run = load_run(tmp_path / "run", COUNTING)
    valid = prepare(recipe, COUNTING, run.tokenizers).valid
    assert mean_loss(run.model, COUNTING, valid.examples, 37) == end.best.loss


def test_tied_weights_survive_a_run(tmp_path: Path, data: Path):
    recipe = recipe_for(data, CountingConfig(tied=True))
    train(recipe, tmp_path / "run", task=COUNTING)
    model = load_run(tmp_path / "run", COUNTING).model
    assert model.head.weight is model.embedding.weight
    changed = recipe_for(data, CountingConfig(tied=True), max_steps=29)
    assert train(changed, tmp_path / "run", task=COUNTING, resume=True).steps == 29


def test_a_run_is_never_overwritten(tmp_path: Path, data: Path):
    recipe, run = recipe_for(data, max_steps=1), tmp_path / "run"
    train(recipe, run, task=COUNTING)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError) as caught:
        fit(recipe, run, task=COUNTING)
    assert str(caught.value) == (
        f"{run} already holds a run; resume it (--resume), replace it (--force), or choose "
        "another name (--out)"
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert train(replace(recipe, seed=7), run, task=COUNTING, force=True).steps == 1
    assert load_run(run, COUNTING).recipe.seed == 7


@pytest.mark.parametrize("force", [False, True])
def test_a_path_that_is_not_a_run_is_not_replaced(tmp_path: Path, data: Path, force: bool):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("once", encoding="utf-8")
    (tmp_path / "file").write_text("once", encoding="utf-8")
    for name in ("thesis", "file"):
        with pytest.raises(RunError) as caught:
            fit(recipe_for(data), tmp_path / name, task=COUNTING, force=force)
        assert str(caught.value) == (
            f"{tmp_path / name} exists and is not a run folder, so it is not replaced; choose "
            "another name (--out)"
        )
    assert (tmp_path / "thesis" / "chapter.txt").read_text(encoding="utf-8") == "once"


def test_an_empty_folder_is_free(tmp_path: Path, data: Path):
    (tmp_path / "run").mkdir()
    assert train(recipe_for(data, max_steps=1), tmp_path / "run", task=COUNTING).steps == 1


def test_a_failed_forced_start_keeps_the_old_run(tmp_path: Path, data: Path):
    run = tmp_path / "run"
    train(recipe_for(data, max_steps=1), run, task=COUNTING)
    wrong = recipe_for(tmp_path / "missing.tsv")
    with pytest.raises(DataError):
        train(wrong, run, task=COUNTING, force=True)
    assert load_run(run, COUNTING)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["runs/new/run", "empty/run"])
def test_a_run_that_cannot_start_leaves_nothing_behind(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        train(recipe_for(tmp_path / "missing.tsv"), tmp_path / name, task=COUNTING)
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_fine_tuning_uses_best_weights_and_old_vocabulary(tmp_path: Path, data: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    train(recipe_for(data), old, task=COUNTING)
    other = write_data(tmp_path / "other.tsv", n_rows=89, seed=2)
    other.write_text(
        other.read_text(encoding="utf-8") + "nine nine\tnueve nueve\n", encoding="utf-8"
    )
    recipe = replace(recipe_for(other), text=replace(recipe_for(other).text, min_count=2))
    events = fit(recipe, new, task=COUNTING, start_from=old)
    assert next(events).vocabulary_sizes == {"source": 11, "target": 11}
    started = checkpoint.load_tensors(new / "model.safetensors")
    best = checkpoint.load_tensors(old / "model.safetensors")
    assert all(torch.equal(started[name], best[name]) for name in best)
    events.close()
    for name in ("tokenizer-source.json", "tokenizer-target.json"):
        assert (old / name).read_bytes() == (new / name).read_bytes()
    assert load_run(new, COUNTING).recipe.text == load_run(old, COUNTING).recipe.text
    resumed = replace(recipe, text=load_run(old, COUNTING).recipe.text)
    assert train(resumed, new, task=COUNTING, resume=True).steps == 23


def test_fine_tuning_keeps_the_model(tmp_path: Path, data: Path):
    train(recipe_for(data, max_steps=1), tmp_path / "old", task=COUNTING)
    wider = recipe_for(data, CountingConfig(width=7))
    with pytest.raises(ConfigError) as caught:
        fit(wider, tmp_path / "new", task=COUNTING, start_from=tmp_path / "old")
    assert str(caught.value) == (
        f"model.width is 7, but {tmp_path / 'old'} was trained with 5; a run that starts from "
        "another must keep its model settings"
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"max_steps": 0, "patience": 0},
            "training has no stopping criterion; set training.max_minutes, max_epochs, max_steps "
            "or patience",
        ),
        (
            {"max_steps": 0, "patience": 2, "schedule": "linear"},
            "training.schedule 'linear' needs a training length; set "
            "training.max_minutes, max_epochs or max_steps",
        ),
        (
            {"metric": "bleu"},
            "training.metric must be one of loss, accuracy, got 'bleu'",
        ),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused_at_once(tmp_path, data, settings, text):
    with pytest.raises(ConfigError) as caught:
        fit(recipe_for(data, **settings), tmp_path / "run", task=COUNTING)
    assert str(caught.value) == text
    assert list(tmp_path.iterdir()) == [data]


def test_a_task_that_is_not_known_is_refused_at_once(tmp_path: Path, data: Path):
    with pytest.raises(ConfigError, match="unknown task 'counting'; choose from translate"):
        fit(recipe_for(data), tmp_path / "run")


@pytest.mark.parametrize("name", ["config.toml", "model.safetensors", "tokenizer-source.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_file_cut_short_is_named(tmp_path: Path, data: Path, name: str, share: float):
    run = tmp_path / "run"
    train(recipe_for(data, max_steps=1), run, task=COUNTING)
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(RunError, match=re.escape(str(run / name))):
        load_run(run, COUNTING)


def test_a_config_cut_at_a_line_is_detected(tmp_path: Path, data: Path):
    run = tmp_path / "run"
    train(recipe_for(data, max_steps=1), run, task=COUNTING)
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.removesuffix(END_OF_CONFIG + "\n"), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        load_run(run, COUNTING)
    assert str(caught.value) == (
        f"{run / 'config.toml'}: cut short; restore the file from a copy, or train the run again "
        "(--force)"
    )


def test_what_is_not_a_run_cannot_be_loaded(tmp_path: Path):
    with pytest.raises(RunError, match=re.escape(f"{tmp_path / 'no'}: no such run folder")):
        load_run(tmp_path / "no")
    with pytest.raises(RunError, match=r"is not a run folder; it has no config\.toml"):
        load_run(tmp_path)


def test_a_run_of_an_unknown_task_says_what_to_pass(tmp_path: Path, data: Path):
    train(recipe_for(data, max_steps=1), tmp_path / "run", task=COUNTING)
    with pytest.raises(RunError) as caught:
        load_run(tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'run'} is a run of the task 'counting', which is not one of translate, "
        "language_model, classify, pair, tag, sql, code; pass the task: task=MY_TASK"
    )


def test_card_and_split_record_how_the_run_was_made(tmp_path: Path, data: Path):
    end = train(recipe_for(data), tmp_path / "run", task=COUNTING)
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert f"| loss | {end.best.loss:.4f} | nats per target |" in card
    accuracy = end.best.scores["accuracy"]
    assert f"| accuracy | {accuracy:.2f} | the word is\\|is not in the reference |" in card
    assert "| train | 79 | 0 |" in card
    assert f"torch {torch.__version__}" in card
    split = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    assert split["sizes"] == {"train": 79, "valid": 11, "test": 7}
    assert [file["part"] for file in split["files"]] == ["train"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "README.md",
        "checkpoints",
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
        "split.json",
        "tokenizer-source.json",
        "tokenizer-target.json",
    ]


def test_bfloat16_is_refused_on_unsupported_devices(tmp_path, data, monkeypatch):
    monkeypatch.setattr("unrolled.training.device.why_no_bfloat16", lambda _: "it is too old")
    with pytest.raises(UnavailableError) as caught:
        train(recipe_for(data, precision="bfloat16"), tmp_path / "run", task=COUNTING)
    assert str(caught.value) == (
        "training.precision is 'bfloat16', but it is too old; use 'float32'"
    )
    assert not (tmp_path / "run").exists()


def test_bfloat16_trains_on_supported_devices(tmp_path: Path, data: Path):
    reason = device.why_no_bfloat16(torch.device("cpu"))
    if reason is not None:
        pytest.skip(reason)
    seen = []

    def loss(model, batch):
        total, count = COUNTING.loss(model, batch)
        seen.append(model(batch.sources).dtype)
        return total, count

    recipe = recipe_for(data, precision="bfloat16", max_steps=3)
    train(recipe, tmp_path / "run", task=replace(COUNTING, loss=loss))
    assert set(seen) == {torch.bfloat16}
    model = checkpoint.load_tensors(tmp_path / "run" / "model.safetensors")
    assert model["head.weight"].dtype == torch.float32


def test_cuda_is_refused_if_unavailable(tmp_path: Path, data: Path):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UnavailableError, match=r"torch finds no CUDA device.*use 'cpu' or"):
        train(recipe_for(data, device="cuda"), tmp_path / "run", task=COUNTING)


def test_predictions_come_back_in_order(data: Path):
    prepared = prepare(recipe_for(data), COUNTING)
    model = COUNTING.build(CountingConfig(), prepared.tokenizers)
    model.head.weight = nn.Parameter(model.embedding.weight.detach())
    decoding = recipe_for(data).decoding
    together = predictions(model, COUNTING, prepared.train.examples, prepared.tokenizers, decoding)
    for example, answer in zip(prepared.train.examples, together, strict=True):
        alone = predictions(model, COUNTING, [example], prepared.tokenizers, decoding)
        assert alone == [answer]
    assert len({answer.text for answer in together}) > 2


@pytest.mark.parametrize("max_tokens", [1, 13, 10_000])
def test_the_mean_loss_does_not_depend_on_the_batches(data: Path, max_tokens: int):
    prepared = prepare(recipe_for(data), COUNTING)
    model = COUNTING.build(CountingConfig(), prepared.tokenizers)
    examples = prepared.valid.examples
    with torch.no_grad():
        total, count = COUNTING.evaluate_loss(model.eval(), COUNTING.collate(examples))
    found = mean_loss(model, COUNTING, examples, max_tokens)
    assert found == pytest.approx(float(total) / count, rel=1e-5)


def test_free_memory_is_returned_regularly(tmp_path: Path, data: Path, monkeypatch):
    from unrolled.training import loop

    given_back = []
    monkeypatch.setattr(loop, "_UPDATES_BETWEEN_TRIMS", 3)
    monkeypatch.setattr(loop, "trim_memory", lambda: given_back.append(True))
    train(recipe_for(data, max_steps=7), tmp_path / "run", task=COUNTING)
    assert len(given_back) == 2
    system.trim_memory()  # and the real one runs, whatever the system


# What a recipe that says nothing does


def evaluated(events: list[Any]) -> list[int]:
    return [event.step for event in events if isinstance(event, Evaluated)]


def test_automatic_evaluations_come_each_epoch_or_interval(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(data, max_steps=26, evaluate_every_n_steps=-1)
    # An epoch has 8 steps, and an evaluation comes at least 10 after another.
    assert evaluated(events_of(recipe, tmp_path / "ten")) == [16, 26]
    monkeypatch.setattr(training_config, "LEAST_STEPS_BETWEEN", 8)
    assert evaluated(events_of(recipe, tmp_path / "epochs")) == [8, 16, 24, 26]
    monkeypatch.setattr(training_config, "LEAST_STEPS_BETWEEN", 0)
    monkeypatch.setattr(training_config, "STEPS_BETWEEN_EVALUATIONS", 5)
    found = evaluated(events_of(recipe, tmp_path / "steps"))
    assert found == [5, 8, 10, 15, 16, 20, 24, 25, 26]


@pytest.mark.parametrize(
    ("n_evaluations", "n_epochs", "most_steps", "end"),
    [(5, 0, 99, 48), (2, 0, 99, 24), (2, 4, 99, 40), (2, 4, 30, 38), (5, 4, 30, 48)],
)
def test_automatic_patience_waits_for_evaluations_and_steps(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_evaluations: int,
    n_epochs: int,
    most_steps: int,
    end: int,
) -> None:
    monkeypatch.setattr(training_config, "LEAST_STEPS_BETWEEN", 0)
    monkeypatch.setattr(training_config, "EVALUATIONS_TO_WAIT", n_evaluations)
    monkeypatch.setattr(training_config, "EPOCHS_TO_WAIT", n_epochs)
    monkeypatch.setattr(training_config, "MOST_STEPS_TO_WAIT", most_steps)
    # Only the first evaluation, at the end of the first epoch of 8 steps, counts as an improvement.
    losses = itertools.count()
    monkeypatch.setattr(RowLoader, "evaluate", lambda *_: (1 - 1e-5 * next(losses), {}))
    recipe = recipe_for(data, max_steps=0, evaluate_every_n_steps=-1, patience=-1)
    first, *_, last = events_of(recipe, tmp_path / "run")
    assert (last.step, last.reason) == (end, "patience")
    few, note = first.notes
    assert few.startswith("valid: ")
    n_steps = min(8 * n_epochs, most_steps)
    steps = f" and {n_steps} steps" if n_steps else ""
    assert note == (
        f"training stops after {n_evaluations} evaluations{steps} without a better validation loss "
        "(training.patience); for a fixed limit, set training.max_minutes, max_epochs or max_steps"
    )


def test_fixed_limit_needs_no_note(tmp_path: Path, data: Path) -> None:
    first, *_ = events_of(recipe_for(data, patience=-1), tmp_path / "run")
    (few,) = first.notes
    assert "are too few to choose the best model by" in few
