"""Runs whose encoder starts with language models, from training to prediction."""

from __future__ import annotations

import contextlib
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_language import classifier_recipe, language_model_recipe, write_language

import unrolled
from unrolled.errors import ConfigError, RunError
from unrolled.layers.lm_encoder import encoder_in
from unrolled.shapes import Padded
from unrolled.tasks import TASKS
from unrolled.text.config import EOS_ID, TextConfig
from unrolled.text.corpus.windows import StreamConfig
from unrolled.training import checkpoint, run_folder
from unrolled.training.events import Step
from unrolled.training.loop import fit, train
from unrolled.training.pretrained import load
from unrolled.training.recipe import Recipe


@pytest.fixture(scope="module")
def language(tmp_path_factory) -> Path:
    """The toy language with a forward and a backward language model, and variants that do not fit."""
    folder = tmp_path_factory.mktemp("language")
    write_language(folder)
    torch.set_num_threads(1)
    for name, model in (
        ("forward", {}),
        ("backward", {"direction": "backward"}),
        ("tied", {"tied": True, "n_layers": 2}),
        ("gru", {"cell": "gru", "direction": "backward"}),
        ("one_hot", {"embedding": "one_hot"}),
    ):
        recipe = language_model_recipe(folder, **model)
        if name not in ("forward", "backward"):
            recipe = replace(recipe, training=replace(recipe.training, max_steps=1))
        train(recipe, folder / name)
    return folder


def runs(folder: Path, *names: str) -> tuple[str, ...]:
    return tuple(str(folder / name) for name in names)


def test_pretraining_helps_with_words_that_have_no_label(language, tmp_path) -> None:
    accuracy = {}
    for name, pretrained in (
        ("none", ()),
        ("forward", runs(language, "forward")),
        ("both", runs(language, "forward", "backward")),
    ):
        recipe = classifier_recipe(language, pretrained)
        train(recipe, tmp_path / name)
        model = unrolled.load(tmp_path / name)
        evaluation = model.evaluate(model.held_out("test"))
        accuracy[name] = evaluation.measured.scores()["accuracy"]
    assert accuracy["none"] < 0.6
    assert accuracy["forward"] > accuracy["none"] + 0.15
    assert accuracy["both"] > accuracy["none"] + 0.3


@pytest.mark.parametrize("names", [("forward",), ("tied",), ("forward", "backward")], ids=str)
def test_states_are_those_of_the_language_models(language, names) -> None:
    paths = runs(language, *names)
    recipe = unrolled.training.pretrained.completed(
        classifier_recipe(language, paths), TASKS["classify"]
    )
    loaded = [run_folder.load_run(Path(path)) for path in paths]
    words = loaded[0].tokenizers["text"]
    model = (
        TASKS["classify"]
        .build(recipe.model, {"text": words, "labels": unrolled.text.labels.Labels.of(["x", "y"])})
        .eval()
    )
    load(model, recipe)
    rows = words.encode_batch(["alive a3 runs often", "b7 rots"])
    read = encoder_in(model)(model.embed(Padded.from_rows(rows, 0)))
    H = loaded[0].model.config.sizes[-1]
    for place, run in enumerate(loaded):
        for row, ids in enumerate(rows):
            ids = ids[::-1] if place else ids
            # Each document is read after the mark that ends another.
            read_ids = Padded.from_rows([[EOS_ID, *ids]], 0)
            own = run.model(read_ids, run.model.start(1)).hidden[0, 1:]
            ours = read[0].values[row, : len(ids), place * H : (place + 1) * H]
            torch.testing.assert_close(ours.flip(0) if place else ours, own)
            torch.testing.assert_close(read[1][0][0][row, place * H : (place + 1) * H], own[-1])


def test_a_backward_model_reads_the_reversed_text(language, tmp_path) -> None:
    lines = (language / "text.txt").read_text(encoding="utf-8").splitlines()
    turned = [" ".join(reversed(line.split())) for line in reversed(lines)]
    (tmp_path / "text.txt").write_text("\n".join(turned) + "\n", encoding="utf-8")
    own = run_folder.load_run(language / "backward")
    model: Any = own.recipe.model
    mirrored = replace(model, direction="forward")
    forward = TASKS["language_model"].build(mirrored, own.tokenizers)
    forward.load_state_dict(own.model.state_dict())
    ours = unrolled.load(language / "backward")
    theirs = unrolled.predictors.language_model.LanguagePredictor(
        replace(own.recipe, model=mirrored), own.task, own.tokenizers, forward.eval()
    )
    here = ours.evaluate(ours.read([str(language / "text.txt")]))
    there = theirs.evaluate(theirs.read([str(tmp_path / "text.txt")]))
    assert here.n_tokens == there.n_tokens
    assert here.loss == pytest.approx(there.loss, rel=1e-5)
    assert "right to left" in here.signatures["perplexity"]


def test_a_backward_model_cannot_continue_a_text(language) -> None:
    model = unrolled.load(language / "backward")
    with pytest.raises(ConfigError, match="reads from left to right, but this one"):
        model.generate("alive")
    card = (language / "backward" / "README.md").read_text(encoding="utf-8")
    assert "unrolled generate" not in card
    assert "--model.pretrained FORWARD --model.pretrained backward" in card


def test_notes_say_what_was_taken(language, tmp_path) -> None:
    started, *_ = fit(
        classifier_recipe(language, runs(language, "forward"), max_epochs=1), tmp_path / "run"
    )
    [taken, new] = [note for note in started.notes if note.startswith("model.pretrained")]
    assert "reads from left to right" in taken
    assert "embeddings (12) and 1 recurrent layer (lstm, 16)" in taken
    assert taken.endswith("not taken: its output layer")
    assert new == "model.pretrained: new in this run: head (34 weights)"
    assert started.vocabulary_sizes["text"] == len(
        run_folder.load_tokenizers(language / "forward")["text"]
    )


def test_a_run_needs_no_language_model_once_it_has_begun(language, tmp_path) -> None:
    shutil.copytree(language / "forward", tmp_path / "lm")
    recipe = classifier_recipe(language, (str(tmp_path / "lm"),), max_epochs=2)
    train(recipe, tmp_path / "run")
    before = unrolled.load(tmp_path / "run").predict(["a3 often"])[0].probabilities
    shutil.rmtree(tmp_path / "lm")
    after = unrolled.load(tmp_path / "run").predict(["a3 often"])[0].probabilities
    assert (before == after).all()
    longer = replace(recipe, training=replace(recipe.training, max_epochs=3))
    assert train(longer, tmp_path / "run", resume=True).steps > 0
    with pytest.raises(ConfigError, match="lm: no such run folder"):
        fit(recipe, tmp_path / "other")


def test_a_damaged_run_looks_up_nothing_in_other_runs(language, tmp_path) -> None:
    train(classifier_recipe(language, runs(language, "forward"), max_epochs=1), tmp_path / "run")
    file = tmp_path / "run" / "config.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"pretrained_sizes = \[[^]]*\]", "", text), encoding="utf-8")
    with pytest.raises(RunError, match=r"config\.toml: model\.pretrained_sizes is missing"):
        unrolled.load(tmp_path / "run")


def frozen_parts(before, after) -> set[str]:
    same = {name for name in before if torch.equal(before[name], after[name])}
    return {name for name in same if name.startswith(("encoder", "embedding"))}


def test_layers_are_unfrozen_after_whole_epochs(language, tmp_path) -> None:
    recipe = classifier_recipe(
        language, runs(language, "tied"), max_epochs=1, unfreeze_every_n_epochs=1, max_tokens=20
    )
    train(replace(recipe, training=replace(recipe.training, max_epochs=1)), tmp_path / "start")
    weights = [checkpoint.load_checkpoint(tmp_path / "start").weights]
    for n_epochs in (2, 3, 4):
        longer = replace(recipe, training=replace(recipe.training, max_epochs=n_epochs))
        train(longer, tmp_path / "start", resume=True)
        weights.append(checkpoint.load_checkpoint(tmp_path / "start").weights)
    begun = run_folder.load_run(language / "tied").model.layers.state_dict()
    for name, weight in begun.items():
        assert torch.equal(weights[0][f"encoder.stacks.0.{name}"], weight)
    frozen = [frozen_parts(a, b) for a, b in pairwise(weights)]
    lower = {name for name in frozen[0] if "layers.0." in name}
    lower |= {"encoder.starts.0", "encoder.starts.1"}  # h and c of the first layer
    assert len(lower) == 6
    assert frozen == [lower | {"embedding.weight"}, {"embedding.weight"}, set()]


def test_patience_begins_once_all_layers_are_trained(language, tmp_path) -> None:
    recipe = classifier_recipe(
        language,
        runs(language, "forward"),
        max_epochs=30,
        patience=2,
        unfreeze_every_n_epochs=3,
        learning_rate=1e-12,  # so that nothing improves after the first evaluation
        metric="accuracy",
    )
    *_, finished = fit(recipe, tmp_path / "run")
    assert finished.reason == "patience"
    assert checkpoint.load_checkpoint(tmp_path / "run").progress.last_epoch == 2 * 3 + 1


@pytest.mark.parametrize("optimiser", ["adam", "lazy_adam"])
def test_resuming_amid_unfreezing_is_exact(language, tmp_path, optimiser) -> None:
    recipe = classifier_recipe(
        language,
        runs(language, "forward", "backward"),
        max_epochs=4,
        max_tokens=20,
        unfreeze_every_n_epochs=1,
        layer_divisor=2.6,
        schedule="slanted",
        optimiser=optimiser,
        log_every_n_steps=1,
    )
    whole = train(recipe, tmp_path / "whole")
    for steps in (1, 2, 2, 10**6):
        events = fit(recipe, tmp_path / "cut", resume=(tmp_path / "cut").exists())
        with contextlib.closing(events):
            for event in events:
                steps -= isinstance(event, Step)
                if not steps:
                    break
    first, second = (checkpoint.load_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert first.progress.step == second.progress.step == whole.steps
    for kind in ("weights", "rest"):
        ours, right = getattr(second, kind), getattr(first, kind)
        assert ours.keys() == right.keys()
        assert all(torch.equal(ours[name], right[name]) for name in ours), kind


# Refusals


def refused(language: Path, names: tuple[str, ...], tmp_path: Path, **model) -> str:
    recipe = classifier_recipe(language, runs(language, *names))
    recipe = replace(recipe, model=replace(recipe.model, **model))
    with pytest.raises(ConfigError) as caught:
        fit(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("backward",), "backward reads backwards, but the first run must read forwards"),
        (("forward", "forward"), "forward reads forwards, but the second run must read backwards"),
        (("forward", "gru"), "the cell of .*forward is 'lstm', that of .*gru is 'gru'"),
        (("one_hot",), "reads one-hot vectors and has no embeddings"),
        (("missing",), "model.pretrained: .*missing: no such run folder"),
        (("forward",) * 3, "model.pretrained names 3 runs"),
    ],
    ids=str,
)
def test_runs_that_do_not_fit_are_refused(language, tmp_path, names, message) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(classifier_recipe(language, runs(language, *names)), tmp_path / "run")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hidden_size": 17}, r"model\.hidden_size is 17, but .*forward .*has 16"),
        ({"cell": "gru"}, r"model\.cell is 'gru', but .* has 'lstm'"),
        ({"n_layers": 2}, r"model\.n_layers is 2, but .* has 1"),
        ({"embedding_size": 50}, r"model\.embedding_size is 50, but .* has 12"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(language, tmp_path, setting, message) -> None:
    assert re.search(message, refused(language, ("forward",), tmp_path, **setting))


def test_the_vocabulary_must_be_the_same(language, tmp_path) -> None:
    (tmp_path / "text.txt").write_text("other words here\n" * 300, encoding="utf-8")
    recipe = language_model_recipe(language, direction="backward")
    recipe = replace(
        recipe,
        data=replace(recipe.data, train=(str(tmp_path / "text.txt"),)),
        training=replace(recipe.training, max_steps=1),
    )
    train(recipe, tmp_path / "other")
    both = (*runs(language, "forward"), str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"the vocabulary of .*other .*is not that of .*forward"):
        fit(classifier_recipe(language, both), tmp_path / "run")


def mapping_of(language: Path, **sections) -> dict:
    files = {part: [str(language / f"{part}.tsv")] for part in ("train", "valid", "test")}
    model = {"pretrained": str(language / "forward"), **sections.pop("model", {})}
    return {"task": "classify", "data": files, "model": model, **sections}


def test_a_recipe_takes_sizes_and_tokens_from_the_run(language) -> None:
    recipe = Recipe.from_mapping(mapping_of(language), TASKS)
    model = recipe.model
    assert (model.hidden_size, model.embedding_size, model.n_layers) == (16, 12, 1)
    assert (model.bidirectional, model.pretrained_sizes) == (False, (16,))
    assert recipe.text == TextConfig(kind="word")
    assert Recipe.from_mapping(unrolled.config.to_mapping(recipe), TASKS) == recipe


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"hidden_size": 128}}, r"model\.hidden_size is 128, but"),
        ({"model": {"bidirectional": True}}, "names one that reads forwards"),
        ({"text": {"kind": "bpe"}}, r"text\.kind is 'bpe', but .* was trained with 'word'"),
        ({"model": {"embeddings": {"file": "x.txt"}}}, "both set the embeddings"),
        ({"model": {"pretrained": [], "pretrained_sizes": [3]}}, "which names no run"),
    ],
    ids=str,
)
def test_a_recipe_that_contradicts_the_run_is_refused(language, sections, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe.from_mapping(mapping_of(language, **sections), TASKS)


def test_a_classifier_is_no_language_model(language, tmp_path) -> None:
    train(classifier_recipe(language, max_epochs=1), tmp_path / "labels")
    with pytest.raises(
        ConfigError, match="a run of task 'classify'; name a run of a language model"
    ):
        fit(classifier_recipe(language, (str(tmp_path / "labels"),)), tmp_path / "run")


def test_layer_settings_need_trained_layers(language, tmp_path) -> None:
    for setting in ({"unfreeze_every_n_epochs": 1}, {"layer_divisor": 2.6}):
        with pytest.raises(ConfigError, match=f"training.{next(iter(setting))} is for the layers"):
            fit(classifier_recipe(language, **setting), tmp_path / "run")


# Tuning a language model on the texts of a task


def tuning_recipe(language: Path, **data) -> Recipe:
    recipe = language_model_recipe(language)
    files = {"train": (str(language / "train.tsv"),), "valid": (str(language / "valid.tsv"),)}
    return replace(
        recipe,
        data=StreamConfig(columns=("text",), n_rows=2, k1=5, **(files | data)),
        training=replace(recipe.training, max_steps=3, layer_divisor=2.6),
    )


def test_a_language_model_is_tuned_on_a_column(language, tmp_path) -> None:
    train(tuning_recipe(language), tmp_path / "tuned", start_from=language / "forward")
    model = unrolled.load(tmp_path / "tuned")
    stream = model.read([str(language / "test.tsv")])
    words = model.tokenizers["text"]
    assert words.decode([i for i in stream.ids.tolist() if i != EOS_ID]).startswith("a20 often a21")
    assert len(stream.starts) == 40
    assert "animal" not in words.decode(stream.ids.tolist())
    started, *_ = fit(
        classifier_recipe(language, (str(tmp_path / "tuned"),), max_epochs=1), tmp_path / "run"
    )
    assert not any("warning" in note for note in started.notes)


def test_a_model_tuned_on_the_test_file_is_named(language, tmp_path) -> None:
    recipe = tuning_recipe(language, train=(str(language / "test.tsv"),))
    train(recipe, tmp_path / "tuned", start_from=language / "forward")
    started, *_ = fit(
        classifier_recipe(language, (str(tmp_path / "tuned"),), max_epochs=1), tmp_path / "run"
    )
    [warning] = [note for note in started.notes if note.startswith("warning")]
    assert "tuned was trained on" in warning
    assert "test.tsv, which is the test data of this run" in warning


def test_rows_split_off_for_the_test_are_not_read(language, tmp_path) -> None:
    """Both tasks split the same rows off a file, and plain text is not split by rows."""
    rows = [f"{n} {word}\t{label}" for n in range(20) for word, label in (("a1", "x"), ("b1", "y"))]
    table = tmp_path / "all.tsv"
    table.write_text("\n".join(["text\tlabel", *rows, ""]), encoding="utf-8")
    recipe = tuning_recipe(language, train=(str(table),), valid=())
    train(recipe, tmp_path / "column", start_from=language / "forward")
    train(
        replace(recipe, data=replace(recipe.data, columns=(), documents="line")),
        tmp_path / "lines",
        start_from=language / "forward",
    )
    found = {}
    for name in ("column", "lines"):
        own = classifier_recipe(language, (str(tmp_path / name),), max_epochs=1)
        data = replace(own.data, train=(str(table),), valid=(), test=())
        started, *_ = fit(replace(own, data=data), tmp_path / f"run-{name}")
        found[name] = [note for note in started.notes if note.startswith("warning")]
    assert found["column"] == []
    [warning] = found["lines"]
    assert "all.tsv, from which the test rows of this run are split off" in warning


# The other tasks


def run_of(task: str, language: Path, tmp_path: Path, rows: list[str], **model):
    path = tmp_path / ("rows.conll" if task == "tag" else "rows.tsv")
    path.write_text("\n".join(rows), encoding="utf-8")
    mapping = {
        "task": task,
        "data": {"train": [str(path)]},
        "model": {"pretrained": list(runs(language, "forward", "backward")), **model},
        "training": {"max_epochs": 2, "unfreeze_every_n_epochs": 1, "max_tokens": 60},
    }
    started, *_, _ = fit(Recipe.from_mapping(mapping, TASKS), tmp_path / "run")
    return started, unrolled.load(tmp_path / "run")


def test_pairs_start_with_language_models(language, tmp_path) -> None:
    rows = ["first\tsecond\tlabel"]
    rows += [f"alive a{n}\tdead b{n % 7}\t{'yes' if n % 2 else 'no'}" for n in range(40)]
    started, model = run_of("pair", language, tmp_path, rows, hidden_size=7)
    assert "new in this run: encoder (" in " ".join(started.notes)
    assert model.predict([("alive a3", "dead b4")])[0].labels[0] in ("yes", "no")


def test_taggers_start_with_language_models(language, tmp_path) -> None:
    rows = [f"alive A\na{n} B\nruns A\n" for n in range(40)]
    started, model = run_of("tag", language, tmp_path, rows, hidden_size=7, char_size=3)
    assert "spelling (" in " ".join(started.notes)
    assert len(model.predict(["alive a39 runs"])[0].labels) == 3


def test_translators_start_with_language_models(language, tmp_path) -> None:
    rows = ["en\tes", *(f"alive a{n}\tviva x{n}" for n in range(40))]
    started, model = run_of("translate", language, tmp_path, rows, hidden_size=7)
    assert "decoder (" in " ".join(started.notes)
    assert isinstance(model(["alive a3"])[0], str)
