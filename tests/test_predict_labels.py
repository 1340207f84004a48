"""Predictions, evaluation and resuming of text and pair classifiers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled import baselines, cli
from unrolled.cli.train import print_baselines
from unrolled.errors import ConfigError, DataError
from unrolled.predictors.label_answers import probability_of
from unrolled.predictors.labels import LabelPredictor
from unrolled.tasks.classify import TASK, ClassifyConfig
from unrolled.tasks.predictions import LabelPrediction
from unrolled.tasks.text_labels import ROLE
from unrolled.text.labels import Labels
from unrolled.text.splits import LabelData
from unrolled.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

GOOD, BAD = ("fine", "lovely", "great"), ("awful", "dull", "poor")
THINGS = ("film", "book", "song", "play", "meal", "walk", "show", "cake")

RECIPE = """\
task = "{task}"
seed = 3
[data]
valid_size = 12
test_size = 12
[text]
kind = "word"
[model]
embedding_size = 8
hidden_size = 8
dropout_rate = 0.0
[training]
learning_rate = 0.03
max_tokens = 128
max_steps = 150
evaluate_every_n_steps = 50
metric = "{metric}"
device = "cpu"
"""


def train(folder: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...], **options) -> Path:
    data = folder / "data.tsv"
    lines = ["\t".join(each) for each in (columns, *rows)]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = folder / "recipe.toml"
    task = options.pop("task", "classify")
    metric = options.pop("metric", "accuracy")
    recipe.write_text(RECIPE.format(task=task, metric=metric), encoding="utf-8")
    overrides = [
        ("data.train", str(data)),
        *((k.replace("__", "."), v) for k, v in options.items()),
    ]
    chosen = unrolled.recipe_from_toml(recipe, unrolled.TASKS, overrides)
    unrolled.train(chosen, folder / "run")
    return folder / "run"


ROWS = [
    (f"the {thing} number {n} is {word} today", "good" if word in GOOD else "bad")
    for thing in THINGS
    for word in (*GOOD, *BAD)
    for n in (1, 2, 3)
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("classify"), ROWS, ("text", "label"))


@pytest.fixture(scope="module")
def model(run: Path) -> LabelPredictor:
    found = unrolled.load(run)
    assert isinstance(found, LabelPredictor)
    return found


def said(thing: str, word: str) -> str:
    return f"the {thing} number 2 is {word} today"


def test_a_text_gives_a_label_and_a_list_gives_a_list(model: LabelPredictor) -> None:
    assert model(said("film", "lovely")) == "good"
    assert model([said("book", "dull"), said("book", "great")]) == ["bad", "good"]
    assert model([]) == []


def test_predictions_do_not_depend_on_the_batch(model: LabelPredictor) -> None:
    texts = ["a dull book", "", "the film number 3 is great today and tomorrow", "zzz"]
    together = model.predict(texts)
    for text, said in zip(texts, together, strict=True):
        (alone,) = model.predict([text])
        np.testing.assert_allclose(alone.probabilities, said.probabilities, rtol=0, atol=1e-6)
        assert said.probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_a_longer_text_is_truncated_and_reported(model: LabelPredictor) -> None:
    (said,) = model.predict(["great " * 50_000])
    assert said.n_truncated == 50_000 - model.recipe.data.max_length
    assert len(said.pieces[0]) == model.recipe.data.max_length


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (3, "an input must be a text; found int 3"),
        (None, "an input must be a text; found NoneType None"),
        (["one", 2.5], "an input must be a text; found float 2.5"),
        (b"one", "an input must be a text; found int 111"),
    ],
)
def test_input_that_is_not_text_is_refused(model: LabelPredictor, one, message) -> None:
    with pytest.raises(ConfigError) as caught:
        model.predict([one])
    assert str(caught.value) == message


def test_no_label_has_the_probability_that_all_are_absent() -> None:
    p = np.array([0.4, 0.25, 0.1], np.float32)
    said = LabelPrediction((), p, (("x",),), (None,))
    labels = Labels(("a", "b", "c"), multi_label=True)
    assert probability_of(said, labels) == pytest.approx(0.6 * 0.75 * 0.9)


def test_a_wrong_number_of_texts_is_refused(model: LabelPredictor) -> None:
    with pytest.raises(ConfigError, match=r"this model reads text, got 2 texts"):
        model.predict([("one", "two")])


def test_held_out_rows_are_evaluated(model: LabelPredictor) -> None:
    found = model.evaluate(model.held_out("test"), "test", shuffle_words=1)
    assert found.measured.scores()["accuracy"] == 1.0
    assert found.intervals["accuracy"].value == found.scores["accuracy"] == 1
    assert len(found.predictions) == 12
    assert set(found.shuffled) >= {"accuracy", "macro_f1"}
    text = "\n".join(found.lines())
    assert "12 rows in" in text
    assert "words shuffled" in text
    assert text.count("100.00%  100.00% – 100.00%") >= 1
    assert "micro" not in text
    assert max(map(len, found.lines())) <= 80


def test_scores_are_shares_and_percentages_in_files(run: Path, model: LabelPredictor) -> None:
    rows = model.held_out("valid")
    found = model.evaluate(rows, "valid", shuffle_words=2)
    share = found.measured.scores()["accuracy"]
    assert 0 < share <= 1
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    trained = [line for line in map(json.loads, lines) if "accuracy" in json.dumps(line)]
    assert any(f'"accuracy": {100 * share}' in json.dumps(line) for line in trained)
    gold = [model.gold(row) for row in rows]
    told = model.scores_of(gold, [each.labels[0] for each in found.predictions])
    assert found.scores["accuracy"] == told["accuracy"] == share
    assert found.intervals["accuracy"].value == share
    assert found.shuffled["accuracy"] <= 1
    figures = found.figures()
    assert figures["accuracy"] == pytest.approx(100 * share)
    assert figures["shuffled"]["accuracy"] == pytest.approx(100 * found.shuffled["accuracy"])
    low, high = figures["intervals"]["accuracy"]
    assert low <= 100 * share <= high
    (line,) = (line for line in found.lines() if line.startswith("accuracy "))
    bounds = found.intervals["accuracy"]
    shuffled = found.shuffled["accuracy"]
    assert re.split(r"\s{2,}", line) == [
        "accuracy",
        f"{share:.2%}",
        f"{bounds.low:.2%} – {bounds.high:.2%}",
        f"{shuffled:.2%}",
        f"{100 * (shuffled - share):+.2f}".replace("-", "−"),
    ]
    assert found.scores["nll"] == found.measured.scores()["nll"]


def test_an_unseen_label_names_the_line(run: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("text\tlabel\na good film\tgood\na bad film\tbed\n", encoding="utf-8")
    assert cli.main(["evaluate", str(run), "--data", str(other)]) == 2
    assert capsys.readouterr().err == (
        f"unrolled: {other}, line 3, field 'label': label 'bed' is not among the training labels "
        "(bad, good); did you mean 'bad'?\n"
    )


def test_an_unseen_label_in_validation_stops_training(tmp_path: Path) -> None:
    valid = tmp_path / "valid.tsv"
    valid.write_text("text\tlabel\na good film\tgood\na bad film\tBad\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        train(tmp_path, ROWS, ("text", "label"), data__valid=str(valid))
    assert str(caught.value).startswith(f"{valid}, line 3, field 'label': label 'Bad' is not among")
    assert not (tmp_path / "run").exists()


def test_evaluate_writes_a_page_and_predictions(run: Path, tmp_path: Path, capsys) -> None:
    folder, results = tmp_path / "out", tmp_path / "results.jsonl"
    arguments = ["evaluate", str(run), "--out", str(folder), "--record", str(results)]
    assert cli.main(arguments) == 0
    assert "accuracy" in capsys.readouterr().out
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 12
    assert set(first) == {"line", "text", "label", "answer", "probabilities"}
    assert first["answer"] == first["label"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Accuracy" in page
    recorded = json.loads(results.read_text(encoding="utf-8"))
    assert recorded["accuracy"] == 100
    assert recorded["run"] == "run"


def test_predict_prints_a_label_and_its_probability(run: Path, capsys, tmp_path: Path) -> None:
    assert cli.main(["predict", str(run), said("walk", "lovely")]) == 0
    label, probability = capsys.readouterr().out.split()
    assert label == "good"
    assert 0.5 < float(probability) <= 1
    lines = tmp_path / "lines.txt"
    lines.write_text(f"{said('walk', 'dull')}\n\n{said('cake', 'great')}\n", encoding="utf-8")
    assert cli.main(["predict", str(run), "--input", str(lines), "--scores"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in out] == ["bad", "", "good"]
    assert len(out[0].split("\t")) == 4


@pytest.mark.parametrize("method", ["gradients", "occlusion"])
def test_word_attributions_are_shown(run: Path, capsys, method: str) -> None:
    assert cli.main(["predict", str(run), said("film", "lovely"), "--words", method]) == 0
    pairs = capsys.readouterr().err.split()
    weights = dict(zip(pairs[::2], map(float, pairs[1::2]), strict=True))
    assert max(weights, key=lambda word: weights[word]) == "lovely"
    assert weights["lovely"] == 1.0


def test_words_by_attention_need_an_attention_model(run: Path, tmp_path: Path, capsys) -> None:
    for command in (["predict", str(run), "fine"], ["evaluate", str(run), "--out", str(tmp_path)]):
        assert cli.main([*command, "--words", "attention"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "this model has no attention" in said.err
    assert not list(tmp_path.iterdir())


def test_baselines_are_compared(tmp_path: Path, run: Path, capsys) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    print_baselines(copy)
    printed = capsys.readouterr().out
    assert "event=baseline name=majority valid_accuracy=" in printed
    assert "event=baseline name=unigrams valid_accuracy=100 c=" in printed
    assert cli.main(["evaluate", str(copy)]) == 0
    shown = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(shown) if line.startswith("baseline"))
    assert shown[start - 1] == ""
    assert re.split(r"\s{2,}", shown[start]) == [
        "baseline", "accuracy", "model − baseline, points", "p"
    ]  # fmt: skip
    names = [line.split("  ")[0] for line in shown[start + 1 :]]
    assert names[0] == "majority"
    assert names[names.index("") - 1] == "this model"
    shares = [re.findall(r"([\d.]+)%", line) for line in shown[start + 2 : start + 7]]
    assert [float(share) for (share,) in shares] == sorted(float(share) for (share,) in shares)
    assert "unigrams" in (copy / "evaluation-test/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "keep", "found"),
    [
        ("word", "start", ["the", "fine", "films", "are"]),
        ("word", "both", ["the", "fine", "long", "!"]),
        ("space", "end", ["Fine", "films", "are", "long!"]),
        ("bpe", "start", ["the"]),  # a token for each byte, a space before the text
        ("bpe", "both", ["tg", "!"]),
        ("char", "start", ["the"]),
        ("char", "end", ["ong", "!"]),
    ],
)
def test_baselines_use_the_words_that_the_model_reads(kind, keep, found) -> None:
    text = unrolled.TextConfig(kind, lowercase=kind != "space")
    recipe = unrolled.Recipe(
        task="classify", data=LabelData(max_length=4, keep=keep), text=text, model=ClassifyConfig()
    )
    roles = {ROLE: Tokenizer.train([] if kind == "bpe" else ["the"], text)}
    predictor = LabelPredictor(recipe, TASK, roles, torch.nn.Identity())
    assert predictor.words(["The Fine films are long!"]) == [found]
    assert predictor.words(["It", ""]) == [["It" if kind == "space" else "it"], []]


def test_baselines_use_the_class_weights_and_rows_of_the_model(tmp_path: Path, monkeypatch) -> None:
    rows = [*ROWS, *((f"very {text}", label) for text, label in ROWS[:5])]
    run = train(
        tmp_path,
        rows,
        ("text", "label"),
        model__class_weights="balanced",
        data__max_length="7",
        data__too_long="skip",
        training__max_steps="1",
        data__valid=str(tmp_path / "data.tsv"),
        data__test=str(tmp_path / "data.tsv"),
    )
    given = []
    monkeypatch.setattr(baselines, "fit_baselines", lambda *all_: given.append(all_) or [])
    print_baselines(run)
    ((learned, valid, _, config),) = given
    assert config.class_weights == "balanced"
    assert (len(learned.texts), len(valid.texts)) == (len(ROWS), len(rows))


def test_several_labels_and_no_label_are_predicted(tmp_path: Path, capsys) -> None:
    rows = [
        (f"{thing} {n} is {' and '.join(words) or 'here'}", "|".join(sorted(names)))
        for n in range(12)
        for thing in THINGS
        for words, names in (
            (("fine",), {"good"}),
            (("awful",), {"bad"}),
            (("fine", "awful"), {"good", "bad"}),
            ((), set()),
        )
    ]
    run = train(
        tmp_path,
        rows,
        ("text", "label"),
        metric="micro_f1",
        data__label_separator="|",
        training__max_steps="400",
    )
    model = unrolled.load(run)
    assert model("the cake is fine") == ("good",)
    assert model("the cake is fine and awful") == ("bad", "good")
    assert model("the cake is here") == ()
    assert cli.main(["evaluate", str(run)]) == 0
    assert "subset accuracy" in capsys.readouterr().out


def test_a_pair_of_texts_is_classified(tmp_path: Path, capsys) -> None:
    words = (*GOOD, *BAD)
    rows = [
        (f"the {thing} is {a}", f"it is {b}", "same" if (a in GOOD) == (b in GOOD) else "other")
        for thing in THINGS
        for a in words
        for b in words
    ]
    run = train(
        tmp_path,
        rows,
        ("first", "second", "label"),
        task="pair",
        training__max_steps="300",
        training__max_tokens="512",
    )
    model = unrolled.load(run)
    assert model("the film is fine", "it is great") == "same"
    assert model([("the film is fine", "it is dull")]) == ["other"]
    held_out = model.held_out("test")
    texts = tmp_path / "wrong.tsv"
    wrong = {"same": "other", "other": "same"}
    lines = ["\t".join((*row.fields[:2], wrong[row.fields[2]])) for row in held_out]
    texts.write_text("\n".join(["first\tsecond\tlabel", *lines]) + "\n", encoding="utf-8")
    assert cli.main(["evaluate", str(run), "--data", str(texts), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '>⏎</span> <span class="' in page  # the texts of a mistake do not run into each other
    assert cli.main(["predict", str(run), "the film is fine", "it is dull"]) == 0
    assert capsys.readouterr().out.startswith("other\t")
    assert cli.main(["predict", str(run), "the film is fine"]) == 2
    assert "expected first and second, separated by a tab" in capsys.readouterr().err
    lines = tmp_path / "lines.txt"
    lines.write_text("the film is fine\tit is dull\n\nonly one\nit is\tgood\n", encoding="utf-8")
    assert cli.main(["predict", str(run), "--input", str(lines)]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("other\t")
    assert told.out.count("\n") == 2
    assert told.err == (
        f"unrolled: {lines}, line 3: expected first and second, separated by a tab; found 'only one'\n"
    )


def test_a_resumed_run_is_identical_bit_for_bit(tmp_path: Path) -> None:
    whole = train(tmp_path, ROWS, ("text", "label"), model__class_weights="balanced")
    recipe = unrolled.recipe_from_toml(
        tmp_path / "recipe.toml",
        unrolled.TASKS,
        [("data.train", str(tmp_path / "data.tsv")), ("model.class_weights", "balanced")],
    )
    events = unrolled.fit(recipe, tmp_path / "half")
    for event in events:
        if getattr(event, "step", 0) >= 30:
            events.close()
            break
    unrolled.train(recipe, tmp_path / "half", resume=True)
    one, other = ((each / "model.safetensors").read_bytes() for each in (whole, tmp_path / "half"))
    assert one == other


def test_a_run_inherits_label_settings_from_its_source(tmp_path: Path, capsys) -> None:
    rows = [
        (f"{thing} {n} {word}", "good|new" if n else "good")
        for thing in THINGS
        for n in (0, 1)
        for word in GOOD
    ]
    first = train(
        tmp_path,
        rows,
        ("text", "label"),
        metric="macro_f1",
        data__label_separator="|",
        training__max_steps="2",
    )
    lists = tmp_path / "lists.jsonl"
    lines = [json.dumps({"text": text, "label": label.split("|")}) for text, label in rows]
    lists.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["train", "--task", "classify", "--data", str(lists), "--from", str(first)]
    more = ["--training.max_steps", "1", "--model.class_weights", "balanced"]
    assert cli.main([*arguments, *more, "--out", str(tmp_path / "tuned")]) == 0
    found = unrolled.load(tmp_path / "tuned")
    assert found.labels.multi_label
    assert found.recipe.data.label_separator == "|"
    assert found.model.head.class_weights.tolist() != [1.0, 1.0]
    capsys.readouterr()
    # In Python no settings are inherited: without a separator, 'good|new' is one unknown label.
    recipe = unrolled.recipe_from_toml(
        tmp_path / "recipe.toml", unrolled.TASKS, [("data.train", str(tmp_path / "data.tsv"))]
    )
    with pytest.raises(DataError, match=r"label 'good\|new' is not among the training labels"):
        unrolled.train(recipe, tmp_path / "other", start_from=first)
