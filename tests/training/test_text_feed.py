"""Training of language models: the carried state is saved, and runs resume bit for bit."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from unrolled.errors import ConfigError, DataError, NonFiniteError, RunError
from unrolled.predictors.language_model import LanguagePredictor
from unrolled.predictors.load import load
from unrolled.tasks.language_model import LanguageModelConfig
from unrolled.text.config import TextConfig
from unrolled.text.corpus.windows import StreamConfig
from unrolled.text.splits import DataConfig
from unrolled.training.checkpoint import load_checkpoint
from unrolled.training.config import TrainingConfig
from unrolled.training.events import Evaluated, Finished, Started, Step
from unrolled.training.loaders import WindowLoader
from unrolled.training.loop import fit, train
from unrolled.training.recipe import Recipe


def write_text(path: Path, n_lines: int = 120) -> Path:
    draw = random.Random(5)
    words = ["sun", "rain", "wind", "snow", "fog", "hail"]
    lines = (" ".join(draw.choices(words, k=draw.randint(2, 7))) + "." for _ in range(n_lines))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def recipe_for(
    text: Path,
    data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    kind: str = "char",
    **training: Any,
) -> Recipe:
    dropped = {"input_rate": 0.1, "output_rate": 0.2, "recurrent_weight_rate": 0.3}
    sizes = {"cell": "lstm", "embedding_size": 5, "hidden_size": 11, **dropped}
    defaults = {
        "max_steps": 29,
        "learning_rate": 0.01,
        "evaluate_every_n_steps": 7,
        "patience": 0,
        "checkpoint_every_n_steps": 5,
        "log_every_n_steps": 3,
        "device": "cpu",
    }
    return Recipe(
        task="language_model",
        data=StreamConfig(train=(str(text),), **{"n_rows": 7, "k1": 13, **(data or {})}),
        text=TextConfig(kind=kind, vocab_size=300),
        model=LanguageModelConfig(**{**sizes, **(model or {})}),
        training=TrainingConfig(**{**defaults, **training}),
    )


def test_a_run_reports_tokens_and_scores_from_its_loss(tmp_path: Path) -> None:
    recipe = recipe_for(write_text(tmp_path / "weather.txt"))
    events = list(fit(recipe, tmp_path / "run"))
    started, end = events[0], events[-1]
    assert isinstance(started, Started)
    assert isinstance(end, Finished)
    assert started.unit == "tokens"
    text = (tmp_path / "weather.txt").read_text(encoding="utf-8")
    assert abs(sum(started.sizes.values()) - len(text)) <= 3  # and one end a part
    first, *_, last = (event for event in events if isinstance(event, Evaluated))
    assert last.loss < first.loss
    assert last.scores["perplexity"] == pytest.approx(math.exp(last.loss))
    assert any(isinstance(event, Step) for event in events)
    record = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    assert {entry["part"] for entry in record["files"]} == {"train", "valid", "test"}


@pytest.mark.parametrize(
    "data", [{}, {"k2": 31}, {"restart": True, "documents": "line"}], ids=["", "k2", "restart"]
)
@pytest.mark.parametrize("stop_after", [4, 17])
def test_a_run_stopped_within_an_epoch_resumes_bit_for_bit(
    tmp_path: Path, data: dict[str, Any], stop_after: int
) -> None:
    recipe = recipe_for(write_text(tmp_path / "weather.txt"), data)
    train(recipe, tmp_path / "whole")
    events = fit(recipe, tmp_path / "stopped")
    for event in events:
        if isinstance(event, Step) and event.step >= stop_after:
            events.close()
    train(recipe, tmp_path / "stopped", resume=True)
    whole, stopped = (
        load_file(next((tmp_path / name / "checkpoints").glob("step-*29*")) / "model.safetensors")
        for name in ("whole", "stopped")
    )
    assert whole.keys() == stopped.keys()
    for name, tensor in whole.items():
        assert tensor.equal(stopped[name]), name


LAZY = {"optimiser": "lazy_adam"}
SAMPLED = {"head": "sampled", "n_samples": 5}


def ends_of_both(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """The last checkpoint of a run in one go, and of one stopped at step 23: weights and all else."""
    train(recipe, folder / "whole")
    events = fit(recipe, folder / "stopped")
    for event in events:
        if isinstance(event, Step) and event.step >= 23:
            events.close()
    train(recipe, folder / "stopped", resume=True)
    ends = [load_checkpoint(folder / name) for name in ("whole", "stopped")]
    assert [end.progress.step for end in ends] == [29, 29]
    return [end.weights | end.rest for end in ends]


def assert_equal(ours: dict[str, Any], others: dict[str, Any]) -> None:
    assert ours.keys() == others.keys()
    for name, tensor in ours.items():
        assert tensor.equal(others[name]), name


@pytest.mark.parametrize(
    "model",
    [{}, SAMPLED, SAMPLED | {"tied": True}],
    ids=["embedding", "embedding and head", "both in one"],
)
def test_lazy_adam_resumes_bit_for_bit(tmp_path: Path, model: dict[str, Any]) -> None:
    recipe = recipe_for(write_text(tmp_path / "weather.txt"), None, model, "word", **LAZY)
    assert_equal(*ends_of_both(recipe, tmp_path))


def test_an_average_resumes_bit_for_bit_and_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which evaluation is the best must not hang on rounding: the second is not, so that the average
    # begins, and the last is. Each of the two runs is evaluated at steps 7, 14, 21, 28 and 29.
    found = itertools.cycle([5.0, 6.0, 4.0, 3.0, 2.0])
    monkeypatch.setattr(WindowLoader, "evaluate", lambda *_: (next(found), {}))
    text = write_text(tmp_path / "weather.txt")
    recipe = recipe_for(text, optimiser="sgd", learning_rate=1.0, average_after=1)
    whole, stopped = ends_of_both(recipe, tmp_path)
    assert_equal(whole, stopped)
    assert whole["average.weights averaged"] > 1
    for run in ("whole", "stopped"):
        kept = load_file(tmp_path / run / "model.safetensors")
        names = [name for name in kept if f"average.{name}" in whole]
        assert "head.weight" in names
        assert all(kept[name].equal(whole[f"average.{name}"]) for name in names)


def test_lazy_adam_refuses_a_tied_table_with_a_full_softmax(tmp_path: Path) -> None:
    recipe = recipe_for(write_text(tmp_path / "weather.txt"), None, {"tied": True}, **LAZY)
    with pytest.raises(ConfigError, match=r"an embedding's weight is also head\.weight, whose"):
        train(recipe, tmp_path / "run")


def test_the_carried_state_is_in_the_checkpoint(tmp_path: Path) -> None:
    recipe = recipe_for(write_text(tmp_path / "weather.txt"), max_steps=5)
    train(recipe, tmp_path / "run")
    [folder] = (tmp_path / "run" / "checkpoints").glob("step-*5*")
    rest = load_file(folder / "optimiser.safetensors")
    assert rest["carried.0.0"].shape == rest["carried.0.1"].shape == (7, 11)
    assert rest["carried.0.0"].abs().max() > 0


def test_evaluation_reads_every_held_out_token_once(tmp_path: Path) -> None:
    recipe = recipe_for(write_text(tmp_path / "weather.txt"))
    train(recipe, tmp_path / "run")
    model = load(tmp_path / "run")
    assert isinstance(model, LanguagePredictor)
    stream = model.held_out("test")
    evaluation = model.evaluate(stream)
    assert evaluation.n_tokens == stream.n_tokens
    bits = evaluation.loss / math.log(2) * evaluation.n_tokens / evaluation.n_characters
    assert evaluation.scores["bits_per_character"] == pytest.approx(bits)


def test_reading_part_of_a_long_validation_text_is_noted(tmp_path: Path) -> None:
    text = write_text(tmp_path / "weather.txt", 400)
    recipe = recipe_for(text, {"valid_share": 0.5, "valid_tokens": 700})
    started, *_ = fit(recipe, tmp_path / "run")
    assert isinstance(started, Started)
    whole = started.sizes["valid"]
    assert started.notes[-1] == (
        f"valid: training evaluates on the first 700 of {whole:,} tokens (data.valid_tokens); "
        "`unrolled evaluate` uses all"
    )
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "full softmax\\|state carried\\|10 rows, each without a past\\|700 tokens" in card
    run = load(tmp_path / "run")
    assert isinstance(run, LanguagePredictor)
    assert run.evaluate(run.held_out("valid")).n_tokens == whole


def test_many_unknown_words_are_reported_with_the_scores(tmp_path: Path) -> None:
    text = write_text(tmp_path / "weather.txt")
    recipe = replace(recipe_for(text), text=TextConfig(kind="word", vocab_size=8))
    started, *_ = fit(recipe, tmp_path / "run")
    assert isinstance(started, Started)
    [share] = [note for note in started.notes if note.startswith("train: ")]
    assert share.endswith("% of the tokens are unknown words (text.vocab_size, text.min_count)")
    run = load(tmp_path / "run")
    assert isinstance(run, LanguagePredictor)
    told = run.evaluate(run.held_out("test"))
    assert all("% unknown" in how for how in told.signatures.values())


def test_a_missing_test_part_is_refused_with_alternatives(tmp_path: Path) -> None:
    text = write_text(tmp_path / "weather.txt")
    train(recipe_for(text, {"test_share": 0.0}, max_steps=2), tmp_path / "run")
    run = load(tmp_path / "run")
    assert isinstance(run, LanguagePredictor)
    with pytest.raises(DataError) as caught:
        run.held_out("test")
    assert str(caught.value) == (
        "the run has no test text; score --split valid, or other text with --data FILE"
    )


def test_added_and_missing_files_are_distinguished(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a", "c"):
        write_text(folder / name, 60 if name == "a" else 61)
    recipe = recipe_for(folder, max_steps=2)
    train(recipe, tmp_path / "run")
    write_text(folder / "b", 62)
    again = replace(recipe, training=replace(recipe.training, max_steps=3))
    with pytest.raises(RunError, match=f"^{folder / 'b'} is not a file that .* was trained on, or"):
        train(again, tmp_path / "run", resume=True)
    (folder / "b").unlink()
    (folder / "c").unlink()
    with pytest.raises(RunError, match=f"^{folder / 'c'}, which .* was trained on, is not among"):
        train(again, tmp_path / "run", resume=True)


def test_a_non_finite_loss_names_its_place_in_the_text(tmp_path: Path) -> None:
    recipe = recipe_for(
        write_text(tmp_path / "weather.txt"), optimiser="sgd", learning_rate=1e38, clip_norm=0.0
    )
    with pytest.raises(
        NonFiniteError, match=r"it holds tokens \d+ to \d+ of each of the 7 rows of"
    ):
        train(recipe, tmp_path / "run")


def test_data_of_another_task_are_refused(tmp_path: Path) -> None:
    recipe = recipe_for(write_text(tmp_path / "weather.txt"))
    with pytest.raises(ConfigError) as caught:
        fit(replace(recipe, data=DataConfig(train=("a.tsv",))), tmp_path / "run")
    assert str(caught.value) == (
        "Recipe.data must be a StreamConfig for task 'language_model', got DataConfig"
    )


def test_running_text_has_no_metric_but_the_loss(tmp_path: Path) -> None:
    recipe = recipe_for(write_text(tmp_path / "weather.txt"), metric="perplexity")
    with pytest.raises(ConfigError) as caught:
        fit(recipe, tmp_path / "run")
    assert str(caught.value) == "training.metric must be one of loss, got 'perplexity'"


def test_a_text_too_short_to_cut_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("one line", encoding="utf-8")
    with pytest.raises(DataError):
        train(recipe_for(tmp_path / "short.txt"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
