"""Unknown words: every task trains them, and texts of unknown words get label frequencies."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrolled import cli
from unrolled.predictors.load import load
from unrolled.tasks import TASKS
from unrolled.text.config import UNK_ID, TextConfig
from unrolled.training import checkpoint
from unrolled.training.config import TrainingConfig
from unrolled.training.loop import fit, train
from unrolled.training.recipe import Recipe

TABLES = {
    "classify": ["embedding"],
    "pair": ["embedding"],
    "tag": ["embedding", "spelling.embedding"],
    "translate": ["source_embedding", "target_embedding"],
    "language_model": ["embedding"],
}
SIZES: dict[str, dict[str, Any]] = {
    "classify": {"embedding_size": 5, "hidden_size": 7},
    "pair": {"embedding_size": 5, "hidden_size": 7},
    "tag": {"embedding_size": 5, "char_size": 3, "hidden_size": 7},
    "translate": {"embedding_size": 5, "encoder_size": 7, "hidden_size": 11},
    "language_model": {"embedding_size": 5, "hidden_size": 7},
}
WORDS = ["sun", "rain", "wind", "snow", "fog", "hail"]


def sentences(n: int = 60) -> list[str]:
    """Every word often, none once."""
    draw = random.Random(4)
    return [" ".join(draw.choices(WORDS, k=draw.randint(2, 5))) for _ in range(n)]


def write_data(folder: Path, task: str) -> Path:
    texts = sentences()
    path = folder / {"tag": "data.conll", "language_model": "data.txt"}.get(task, "data.tsv")
    if task == "tag":
        lines = ["\n".join(f"{w} {w[0].upper()}" for w in text.split()) + "\n" for text in texts]
    elif task == "language_model":
        lines = texts
    else:
        answers = {
            "classify": lambda n, text: "few" if n % 3 == 2 else "many",
            "pair": lambda n, text: f"{texts[-n]}\t{'few' if n % 3 == 2 else 'many'}",
            "translate": lambda n, text: text.replace("s", "z"),
        }
        lines = ["a\tb\tc" if task == "pair" else "a\tb"]
        lines += [f"{text}\t{answers[task](n, text)}" for n, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def recipe_for(folder: Path, task: str, kind: str = "word", steps: int = 6, **model: Any) -> Recipe:
    kinds = TASKS[task]
    data: dict[str, Any] = {"valid_size": 6, "test_size": 6}
    if task == "language_model":
        data = {"documents": "line", "n_rows": 3, "k1": 9}
    no_dropout = {} if task == "language_model" else {"dropout_rate": 0.0}
    return Recipe(
        task=task,
        data=kinds.Data(train=(str(write_data(folder, task)),), **data),
        text=TextConfig(kind=kind, vocab_size=400),
        model=kinds.Config(cell="gru", **SIZES[task], **no_dropout, **model),
        training=TrainingConfig(
            max_steps=steps,
            learning_rate=0.02,
            max_tokens=64,
            evaluate_every_n_steps=3,
            checkpoint_every_n_steps=2,
            device="cpu",
        ),
    )


def begun(recipe: Recipe, out: Path) -> Any:
    """The model of a run before its first update, as the run folder has it."""
    events = fit(recipe, out)
    next(events)
    events.close()
    return load(out)


def unknown_rows(model: Any, task: str) -> torch.Tensor:
    tables = (model.get_submodule(name) for name in TABLES[task])
    return torch.stack([table.weight[UNK_ID].detach().sum() for table in tables])


@pytest.mark.parametrize(
    ("task", "kind"),
    [*((task, "word") for task in TABLES), ("classify", "char"), ("language_model", "char")],
)
def test_the_row_of_unknown_words_is_trained(tmp_path: Path, task: str, kind: str) -> None:
    for rate, moves in ((1.0, True), (0.0, False)):
        recipe, out = recipe_for(tmp_path, task, kind, unknown_rate=rate), tmp_path / f"run-{rate}"
        first = unknown_rows(begun(recipe, out).model, task)
        train(recipe, out, resume=True)
        last = checkpoint.load_checkpoint(out).weights
        for row, name in zip(first, TABLES[task], strict=True):
            assert bool(last[f"{name}.weight"][UNK_ID].sum() != row) is moves


def test_every_task_has_the_rate_by_default() -> None:
    assert {task.Config().unknown_rate for task in TASKS.values()} == {0.5}


@pytest.mark.parametrize("task", TABLES)
def test_evaluation_never_drops_words(tmp_path: Path, task: str) -> None:
    recipe = recipe_for(tmp_path, task, unknown_rate=1.0)
    model = begun(recipe, tmp_path / "run").model
    for name, buffer in model.named_buffers():
        if "unknown" in name or name == "seen_once":
            buffer[4:] = 1.0
    losses = {mode: float(loss_of(model.train(mode), recipe)) for mode in (True, False)}
    model.config = replace(model.config, unknown_rate=0.0)
    assert losses[False] == float(loss_of(model.eval(), recipe))
    assert losses[True] != losses[False]
    assert losses[False] == float(loss_of(model.train(), recipe))


def loss_of(model: Any, recipe: Recipe) -> torch.Tensor:
    """The training loss of the first batch, without smoothing, in whatever mode the model is."""
    from unrolled.training.kinds import build_loader, prepare

    task = TASKS[recipe.task]
    smoothing = {"label_smoothing": 0.0} if hasattr(model.config, "label_smoothing") else {}
    model.config = replace(model.config, **smoothing)
    feed = build_loader(recipe, task, prepare(recipe, task))
    batch, _ = feed.batch(1, 0)
    total, _, _ = feed.loss(model, batch, feed.start(model))
    return total.detach()


@pytest.mark.parametrize("task", TABLES)
def test_a_resumed_run_draws_the_same_words(tmp_path: Path, task: str) -> None:
    recipe = recipe_for(tmp_path, task, steps=7)
    train(recipe, tmp_path / "whole")
    train(replace(recipe, training=replace(recipe.training, max_steps=3)), tmp_path / "parts")
    train(recipe, tmp_path / "parts", resume=True)
    whole, parts = (checkpoint.load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    for kind in ("weights", "rest"):
        ours, right = getattr(parts, kind), getattr(whole, kind)
        assert ours.keys() == right.keys()
        assert all(torch.equal(ours[name], right[name]) for name in ours), kind


# Texts of unknown words alone


def predictions(run: Any, texts: Sequence[str]) -> list[Any]:
    pairs = run.task.name == "pair"
    found: list[Any] = run.predict([(text, text) for text in texts] if pairs else list(texts))
    return found


@pytest.mark.parametrize("task", ["classify", "pair"])
@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("word", ["zork", "zork blip", "blip " * 50, ""]),
        ("space", ["zork,", "\u4e2d\u6587 zork", "zork\u3000blip", " "]),
        ("char", ["\u4e2d", "\u4e2d\u6587 \u4e2d", "\u4e2d" * 90, ""]),
        ("bpe", ["\u4e2d", "\u4e2d\u6587 \u4e2d", "\u4e2d" * 30, ""]),
    ],
)
def test_a_text_of_unknown_words_gets_the_majority_label(
    tmp_path: Path, task: str, kind: str, texts: list[str]
) -> None:
    recipe = recipe_for(tmp_path, task, kind, steps=4)
    train(recipe, tmp_path / "run")
    run = load(tmp_path / "run")
    shares = run.tokenizers["labels"].shares
    assert list(run.labels) == ["few", "many"]
    assert 0.2 < shares[0] < 0.45
    for said in predictions(run, texts):
        assert said.labels == ("many",)
        assert said.probabilities.tolist() == pytest.approx(shares, abs=1e-6)
    known = predictions(run, [f"{text} sun" for text in texts])
    assert all(said.probabilities.tolist() != pytest.approx(shares, abs=1e-6) for said in known)


@pytest.mark.parametrize(("encoder", "read"), [("first_only", 0), ("second_only", 1)])
def test_a_text_that_a_control_does_not_read_is_unknown(
    tmp_path: Path, encoder: str, read: int
) -> None:
    recipe = recipe_for(tmp_path, "pair", steps=2, encoder=encoder)
    train(recipe, tmp_path / "run")
    run = load(tmp_path / "run")
    both = [("sun", "zork"), ("zork", "sun")]
    said = run.predict(both if read else both[::-1])
    shares = run.tokenizers["labels"].shares
    blank, known = (each.probabilities.tolist() for each in said)
    assert blank == pytest.approx(shares, abs=1e-6)
    assert known != pytest.approx(shares, abs=1e-6)


def test_words_never_read_in_training_have_no_effect(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, "classify", steps=3)
    path = Path(recipe.data.train[0])
    lines = path.read_text(encoding="utf-8").splitlines()
    lines += [f"sun rain wind snow fog behind{n}\tmany" for n in range(9)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = replace(recipe, data=replace(recipe.data, max_length=5))
    train(recipe, tmp_path / "run")
    run = load(tmp_path / "run")
    (id_,) = run.tokenizers["text"].encode("behind4")
    assert id_ != UNK_ID
    assert not run.model.embedding.weight[id_].any()
    (said,) = run.predict(["behind4"])
    assert said.probabilities.tolist() == pytest.approx(run.tokenizers["labels"].shares, abs=1e-6)


# Runs of earlier versions


def make_older(run: Path) -> None:
    """What a run folder was before there was a rate."""
    path = run / "config.toml"
    text = re.sub(r"unknown_rate = .*\n", "", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    for name, later in (("labels.json", "shares"), ("split.json", "contents")):
        if (run / name).exists():
            content = json.loads((run / name).read_text(encoding="utf-8"))
            del content[later]
            (run / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("task", ["classify", "pair", "translate", "language_model"])
def test_an_older_run_resumes_without_unknown_words(tmp_path: Path, task: str, capsys) -> None:
    recipe = recipe_for(tmp_path, task, steps=6, unknown_rate=0.0)
    train(recipe, tmp_path / "whole")
    train(replace(recipe, training=replace(recipe.training, max_steps=4)), tmp_path / "older")
    make_older(tmp_path / "older")
    assert load(tmp_path / "older") is not None
    options = ["train", "--resume", "--out", str(tmp_path / "older"), "--training.max_steps=6"]
    assert cli.main([*options, "--model.unknown_rate=0.5"]) == 2
    assert "model.unknown_rate is 0.5" in capsys.readouterr().err
    assert cli.main(options) == 0
    # Not the best weights: the older run was also evaluated where it stopped.
    ours, right = (
        checkpoint.load_checkpoint(tmp_path / name).weights for name in ("older", "whole")
    )
    assert all(torch.equal(ours[name], right[name]) for name in right)


def test_an_older_classifier_gives_the_same_predictions(tmp_path: Path) -> None:
    train(recipe_for(tmp_path, "classify", steps=2), tmp_path / "run")
    make_older(tmp_path / "run")
    run = load(tmp_path / "run")
    (said,) = run.predict(["zork"])
    text = run.task.collate([run.encode("zork")]).texts[0]
    with torch.inference_mode():
        network = run.model(text).softmax(1)[0].tolist()
    assert said.probabilities.tolist() == pytest.approx(network, abs=1e-6)


def test_an_older_tagger_keeps_its_words_seen_once(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, "tag", steps=2)
    train(recipe, tmp_path / "run")
    run = tmp_path / "run"
    weights = checkpoint.load_tensors(run / checkpoint.MODEL_FILE)
    weights["seen_once"] = torch.arange(len(weights["seen_once"])) == 5
    checkpoint.save_tensors(run / checkpoint.MODEL_FILE, weights)
    assert load(run).model.seen_once.nonzero().flatten().tolist() == [5]
