"""Runs whose models read characters or count n-grams: trained, loaded, resumed, explained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from beside_examples import CONFIGS, KINDS, LOWER, PAIR, pair_rows, recipe_of

import unrolled
from unrolled.baselines.counting import CountedText
from unrolled.cli import main
from unrolled.errors import RunError
from unrolled.inspect.attribution import explain_words
from unrolled.inspect.example import example_of
from unrolled.inspect.label_evaluation import evaluate_parts
from unrolled.inspect.saliency import saliency_of
from unrolled.tasks import beside
from unrolled.text.splits import LabelData
from unrolled.training.device import why_no_bfloat16
from unrolled.training.loop import Run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Callable[..., Run]:
    """Trains a run with some settings, once for all tests, which only read it."""

    @cache
    def train(several: bool, **changes: object) -> Run:
        folder = tmp_path_factory.mktemp("beside")
        return unrolled.train(recipe_of(folder, several, **changes), folder / "run")

    return lambda several=False, **changes: train(several, **changes)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_a_saved_run_predicts_what_was_evaluated(trained, changes, several) -> None:
    run = trained(several, **changes)
    model = unrolled.load(run.folder)
    evaluation = model.evaluate(model.held_out("valid"))
    for name, value in run.best.scores.items():
        assert 100 * evaluation.scores[name] == pytest.approx(value), name
    if not several:
        assert evaluation.scores["nll"] == pytest.approx(run.best.loss, rel=1e-5)
    texts = ["so good", "GOOD unheard", ""]
    first = [each.probabilities for each in model.predict(texts)]
    again = [each.probabilities for each in unrolled.load(run.folder).predict(texts)]
    np.testing.assert_array_equal(first, again)


def test_training_begins_with_a_note_on_the_counts(tmp_path) -> None:
    started, *_ = unrolled.fit(recipe_of(tmp_path, ngrams=2, steps=1), tmp_path / "run")
    (note,) = [note for note in started.notes if "n-grams" in note]
    n = started.vocabulary_sizes[beside.NGRAMS]
    assert note.startswith(f"{n:,} n-grams counted beside the network; C = ")


def test_an_interrupted_run_goes_on_exactly(tmp_path) -> None:
    recipe = recipe_of(tmp_path, characters="convolution", ngrams=2)
    unrolled.train(recipe, tmp_path / "whole")
    events = unrolled.fit(recipe, tmp_path / "cut")
    for event in events:
        if isinstance(event, unrolled.training.loop.Evaluated):
            break
    events.close()
    unrolled.train(recipe, tmp_path / "cut", resume=True)
    whole, cut = (unrolled.load(tmp_path / name).model.state_dict() for name in ("whole", "cut"))
    for name, weight in whole.items():
        assert torch.equal(weight, cut[name]), name


def test_parts_are_reported_and_recorded(trained, tmp_path, capsys) -> None:
    shutil.copytree(trained(ngrams=2).folder, tmp_path / "run")
    record = tmp_path / "results.jsonl"
    assert main(["evaluate", str(tmp_path / "run"), "--record", str(record)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (start,) = [place for place, line in enumerate(lines) if line.startswith("part ")]
    names = [line.split("  ")[0] for line in lines[start + 1 : start + 4]]
    assert names == ["network alone", "counts alone", "together"]
    (recorded,) = map(json.loads, record.read_text(encoding="utf-8").splitlines())
    assert set(recorded["parts"]) == {"network", "counts"}
    page = (tmp_path / "run/evaluation-test/report.html").read_text(encoding="utf-8")
    assert "counts alone" in page


def test_parts_alone_are_the_models_without_the_other(trained) -> None:
    model = unrolled.load(trained(ngrams=2).folder)
    rows = model.held_out("valid")
    parts = {
        each.name: each.scores["accuracy"] for each in evaluate_parts(model, model.evaluate(rows))
    }
    for name, share in (("network alone", 0.0), ("counts alone", 1.0)):
        model.model.head.share.fill_(share)
        assert model.evaluate(rows).scores["accuracy"] == pytest.approx(parts[name])


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("method", ["gradients", "occlusion"])
def test_words_of_all_models_can_be_explained(trained, changes, method) -> None:
    model = unrolled.load(trained(**changes).folder)
    [[words]] = explain_words(model, ["So GOOD"], method)
    assert [word for word, _ in words] == ["so", "good"]
    assert max(abs(weight) for _, weight in words) == 1


def test_attributions_of_a_mixture_add_up(trained) -> None:
    model = unrolled.load(trained(ngrams=2).folder)
    model.model.head.share.fill_(1.0)  # counts alone: each word has its share
    [[words]] = explain_words(model, ["so good"])
    (prediction,) = model.predict(["so good"])
    scores = model.tokenizers[beside.NGRAMS]
    (shares,) = scores.token_scores(
        0, [CountedText(scores.counting.ngrams[0].indices_of(["so", "good"]))]
    )
    label = int(prediction.probabilities.argmax())
    wanted = shares[:, label] - shares[:, 1 - label]
    found = np.array([weight for _, weight in words])
    np.testing.assert_allclose(found, wanted / np.abs(wanted).max(), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_reads_characters_can_be_inspected(tmp_path, kind) -> None:
    unrolled.train(recipe_of(tmp_path, characters=kind, ngrams=2), tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    example = example_of(model, "So GOOD")
    # No training text has the letters S and O.
    assert example.rows["spelling"] == [("<unk>", "o"), ("G", "<unk>", "<unk>", "D")]
    (saliency,) = saliency_of(model.model, example)
    assert saliency.contributions.shape == (2,)
    assert main(["inspect", str(tmp_path / "run"), "So GOOD"]) == 0


def test_a_run_in_bfloat16_has_the_counts_in_full_precision(tmp_path) -> None:
    reason = why_no_bfloat16(torch.device("cpu"))
    if reason is not None:
        pytest.skip(reason)
    recipe = recipe_of(tmp_path, characters="convolution", ngrams=2)
    training = replace(recipe.training, precision="bfloat16", max_steps=2)
    run = unrolled.train(replace(recipe, training=training), tmp_path / "run")
    assert np.isfinite(run.best.loss)
    for precision in ("float32", "int8"):
        model = unrolled.load(tmp_path / "run", precision=precision)
        (prediction,) = model.predict(["so good"])
        wanted = model.tokenizers[beside.NGRAMS].scores([[["so", "good"]]])[0]
        assert prediction.parts[1] == pytest.approx(wanted, abs=1e-6)


def test_another_run_can_be_started_from_it(tmp_path) -> None:
    recipe = recipe_of(tmp_path, characters="recurrent", ngrams=2)
    unrolled.train(recipe, tmp_path / "one")
    unrolled.train(recipe, tmp_path / "two", start_from=tmp_path / "one")
    files = [(tmp_path / name / "ngrams.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_changed_counts_are_noticed(trained, tmp_path) -> None:
    shutil.copytree(trained(ngrams=2).folder, tmp_path / "run")
    path = tmp_path / "run" / "ngrams.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(RunError, match=r"ngrams\.safetensors"):
        unrolled.load(tmp_path / "run")
    path.unlink()
    with pytest.raises(RunError, match=r"ngrams\.safetensors"):
        unrolled.load(tmp_path / "run")


@pytest.mark.parametrize("encoder", ["word_by_word", "second_only"])
def test_a_pair_run_reads_everything(tmp_path, encoder) -> None:
    path = tmp_path / "pairs.tsv"
    rows = [
        "\t".join((f"{a} of {n}", b, label))
        for n in range(5)
        for (a, b, label) in (row.fields for row in pair_rows())
    ]
    path.write_text("\n".join(["first\tsecond\tlabel", *rows]) + "\n", encoding="utf-8")
    features = () if encoder == "second_only" else ("overlap", "difference", "product")
    recipe = unrolled.Recipe(
        task="pair",
        data=LabelData(train=(str(path),), valid_size=8, test_size=5),
        text=LOWER,
        model=replace(PAIR, encoder=encoder, characters="recurrent", ngrams=2, features=features),
        training=unrolled.TrainingConfig(max_steps=4, learning_rate=0.02, max_tokens=64),
    )
    run = unrolled.train(recipe, tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    evaluation = model.evaluate(model.held_out("valid"))
    assert evaluation.scores["nll"] == pytest.approx(run.best.loss, rel=1e-5)
    [[first, second]] = explain_words(model, [("so good", "a BAD film")])
    assert [word for word, _ in second] == ["a", "bad", "film"]
    assert any(weight for _, weight in first) == (encoder != "second_only")
