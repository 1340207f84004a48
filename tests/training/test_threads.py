"""The number of threads of an update is chosen by time, and changes nothing but time and rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from counting import COUNTING, recipe_for, write_data
from test_resume import content

from unrolled.samples.phrasebook.generator import generate, write
from unrolled.tasks.seq2seq import TranslateConfig
from unrolled.tasks.translate import TASK
from unrolled.text.splits import DataConfig
from unrolled.training import checkpoint, threads
from unrolled.training.config import TrainingConfig
from unrolled.training.events import Step
from unrolled.training.loop import fit, train
from unrolled.training.recipe import Recipe
from unrolled.training.threads import ThreadChoice
from unrolled.training.trainer import Trainer

MOST = 2
_accumulate = Trainer._accumulate

Rate = Callable[[int, int], float]
"""Tokens per second of an update with a number of threads."""


@pytest.fixture(autouse=True)
def _threads_of_a_small_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("unrolled.training.trainer.ThreadChoice", ThreadChoice)
    before = torch.get_num_threads()
    torch.set_num_threads(MOST)
    yield
    torch.set_num_threads(before)


def simulated(choice: ThreadChoice, rate: Rate, n_updates: int) -> tuple[list[int], float]:
    """Updates of 1,000 tokens on a machine of this speed: threads of each, and the seconds of all."""
    numbers, total = [], 0.0
    for update in range(n_updates):
        numbers.append(choice.number(update))
        seconds = 1000 / rate(update, numbers[-1])
        choice.note(update, numbers[-1], 1000, seconds)
        total += seconds
    return numbers, total


@pytest.mark.parametrize(
    ("gain", "chosen"), [(1.8, 4), (1.06, 4), (1.0, 4), (0.9, 4), (0.85, 4), (0.82, 1), (0.2, 1)]
)
def test_one_thread_is_chosen_if_all_are_clearly_slower(gain: float, chosen: int):
    choice = ThreadChoice(most=4)
    numbers, _ = simulated(choice, lambda _, n: 1000 * (gain if n == 4 else 1), 1000)
    assert choice.chosen == chosen
    assert set(numbers[10:200]) == {chosen}
    assert numbers.count(chosen) > 980


@pytest.mark.parametrize("slower", [1.05, 1.19, 1.5, 2, 5, 9])
@pytest.mark.parametrize("n_updates", [300, 1000, 5000])
def test_a_busy_machine_costs_less_than_a_fifth(slower: float, n_updates: int):
    _, seconds = simulated(
        ThreadChoice(most=8), lambda _, n: 1000 / (slower if n == 8 else 1), n_updates
    )
    assert seconds / n_updates <= 1.2


def test_the_choice_follows_the_load():
    def rate(update: int, n: int) -> float:
        is_busy = 500 <= update < 1500
        return 1000 * ((0.3 if is_busy else 1.7) if n > 1 else 1)

    numbers, _ = simulated(ThreadChoice(most=2), rate, 3000)
    assert set(numbers[10:200]) == {2}
    assert set(numbers[1010:1200]) == {1}
    assert set(numbers[2410:2600]) == {2}


@pytest.mark.parametrize("hiccup", range(400, 406))
def test_a_slow_update_in_a_comparison_does_not_decide(hiccup: int):
    def rate(update: int, n: int) -> float:
        return 1000 * (1.8 if n == 2 else 1) / (30 if update == hiccup else 1)

    numbers, _ = simulated(ThreadChoice(most=2), rate, 600)
    assert set(numbers[406:600]) == {2}


def test_moments_of_comparison_depend_on_the_update_alone():
    fast, _ = simulated(ThreadChoice(most=2), lambda _, n: 1000 * n**0.9, 1000)
    again, _ = simulated(ThreadChoice(most=2), lambda _, n: 70 * n**0.5, 1000)
    assert fast == again
    assert [update for update, n in enumerate(fast) if n == 1] == [
        start + place for start in (2, 200, 400, 600, 800) for place in (0, 2, 4)
    ]  # fmt: skip


def test_a_resumed_run_goes_on_with_the_number_that_was_chosen():
    assert ThreadChoice(most=4, chosen=4).number(50) == 4
    assert ThreadChoice(most=4, chosen=1).number(50) == 1
    assert ThreadChoice(most=4, chosen=3).number(50) == 4  # of another machine
    assert ThreadChoice(most=1, chosen=4).number(2) == 1


def test_a_single_thread_is_compared_with_nothing():
    numbers, _ = simulated(ThreadChoice(most=1), lambda _, n: 1000, 500)
    assert set(numbers) == {1}


class Machine:
    """Counts the threads of updates, whose seconds a faked clock shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rate: Rate) -> None:
        self.now, self.numbers = 0.0, list[int]()

        def timed(trainer: Trainer, taken: range) -> tuple[float, int, int, int]:
            sums = _accumulate(trainer, taken)
            number = torch.get_num_threads()
            self.now += sums[2] / rate(trainer.progress.step, number)
            self.numbers.append(number)
            return sums

        monkeypatch.setattr(Trainer, "_accumulate", timed)
        monkeypatch.setattr("unrolled.training.trainer.time.perf_counter", lambda: self.now)


def test_training_uses_the_faster_number_and_leaves_the_setting_of_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = write_data(tmp_path / "numbers.tsv")
    recipe = recipe_for(data, max_steps=20, patience=0)
    machine = Machine(monkeypatch, lambda _, n: 1000 * n)
    train(recipe, tmp_path / "fast", task=COUNTING)
    assert machine.numbers == [2, 2, 1, *[2] * 17]  # twice the time is clear
    assert checkpoint.load_checkpoint(tmp_path / "fast").progress.threads == 2
    machine = Machine(monkeypatch, lambda _, n: 1000 / n)
    train(recipe, tmp_path / "busy", task=COUNTING)
    assert machine.numbers == [2, 2, 1, 2, 1, 2, 1, 2, *[1] * 12]
    assert checkpoint.load_checkpoint(tmp_path / "busy").progress.threads == 1
    assert torch.get_num_threads() == MOST
    events = fit(recipe, tmp_path / "closed", task=COUNTING)
    while not isinstance(next(events), Step):
        pass
    events.close()
    assert torch.get_num_threads() == MOST


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_set_number_of_threads_is_used_for_every_update(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = write_data(tmp_path / "numbers.tsv")
    machine = Machine(monkeypatch, lambda _, n: 1000 / n)
    train(recipe_for(data, max_steps=12, threads=number), tmp_path / "run", task=COUNTING)
    assert machine.numbers == [number] * 12
    assert checkpoint.load_checkpoint(tmp_path / "run").progress.threads == 0


@pytest.mark.parametrize("stop", [1, 4, 7, 11])
def test_an_interrupted_run_uses_the_same_threads(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(threads, "EVERY", 12)
    data = write_data(tmp_path / "numbers.tsv")
    recipe = recipe_for(data, max_steps=23, patience=0, log_every_n_steps=1)
    whole = Machine(monkeypatch, lambda _, n: 1000 * n)
    train(recipe, tmp_path / "whole", task=COUNTING)
    parts = Machine(monkeypatch, lambda _, n: 1000 * n)
    for event in (events := fit(recipe, tmp_path / "parts", task=COUNTING)):
        if isinstance(event, Step) and event.step == stop:
            events.close()
    train(recipe, tmp_path / "parts", task=COUNTING, resume=True)
    assert parts.numbers == whole.numbers
    assert set(whole.numbers) == {1, 2}
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_threads_change_only_the_rounding_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    phrasebook = generate(n_train=400, n_valid=20, n_test=20)
    write(tmp_path, phrasebook)
    recipe = Recipe(
        data=DataConfig(train=(str(tmp_path / "train.tsv"),), valid=(str(tmp_path / "valid.tsv"),)),
        model=TranslateConfig(embedding_size=48, encoder_size=64, hidden_size=96),
        training=TrainingConfig(max_steps=10, max_tokens=400, valid_sentences=0, threads=1),
    )
    weights = {}
    for number in (0, 1, 2):
        machine = Machine(monkeypatch, lambda _, n: 1000 * n)
        chosen = replace(recipe, training=replace(recipe.training, threads=number))
        train(chosen, tmp_path / f"run{number}", task=TASK)
        assert set(machine.numbers) == ({number} if number else {1, 2})
        weights[number] = checkpoint.load_tensors(tmp_path / f"run{number}" / "model.safetensors")
    for number in (0, 2):
        for name, weight in weights[1].items():
            torch.testing.assert_close(
                weights[number][name], weight, atol=2e-4, rtol=1e-3, msg=name
            )


def test_checkpoints_of_older_versions_name_no_threads():
    saved = vars(checkpoint.Progress(step=3)) | {"threads": 7}
    assert checkpoint.Progress.from_mapping(saved).threads == 7
    del saved["threads"]
    assert checkpoint.Progress.from_mapping(saved).threads == 0
