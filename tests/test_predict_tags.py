"""Predictions, evaluation, data formats and resuming of taggers."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled import cli
from unrolled.baselines import Tagged, fit_tagging_baselines
from unrolled.cli.train import print_baselines
from unrolled.errors import ConfigError, DataError
from unrolled.predictors.labels import LabelPredictor
from unrolled.samples import tagging
from unrolled.training.events import Started

pytestmark = pytest.mark.usefixtures("one_thread")

PERSONS, PLACES = (
    ("Ann", "Bob Lee", "Paris", "Jordan", "Eve"),
    ("Oslo", "Paris", "New York", "Jordan"),
)
VERBS = ("lives in", "went to", "likes", "wrote from")

RECIPE = """\
task = "tag"
seed = 3
[data]
valid_size = 12
test_size = 12
[model]
head = "{head}"
embedding_size = 8
char_size = 4
hidden_size = 8
dropout_rate = 0.0
[training]
learning_rate = 0.03
max_tokens = 128
max_steps = {steps}
evaluate_every_n_steps = 40
metric = "{metric}"
device = "cpu"
"""


def span(name: str, kind: str) -> list[tuple[str, str]]:
    return [(word, f"{'I' if place else 'B'}-{kind}") for place, word in enumerate(name.split())]


SENTENCES = [
    [*span(person, "PER"), *((word, "O") for word in verb.split()), *span(place, "LOC"), (".", "O")]
    for person in PERSONS
    for place in PLACES
    for verb in VERBS
]
"""Paris and Jordan are persons before the verb and places after it."""


def columns(sentences: list[list[tuple[str, str]]]) -> str:
    return "\n".join("".join(f"{word} X {tag}\n" for word, tag in each) for each in sentences)


def train(folder: Path, data: Path, **options: str) -> Path:
    recipe = folder / "recipe.toml"
    settings = {"head": "crf", "metric": "f1", "steps": "80"}
    settings |= {name: options.pop(name) for name in [*settings] if name in options}
    recipe.write_text(RECIPE.format(**settings), encoding="utf-8")
    overrides = [("data.train", str(data))]
    overrides += [(name.replace("__", "."), value) for name, value in options.items()]
    chosen = unrolled.recipe_from_toml(recipe, unrolled.TASKS, overrides)
    unrolled.train(chosen, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "names.conll"
    path.write_text(columns(SENTENCES), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("tag"), data)


@pytest.fixture(scope="module")
def model(run: Path) -> LabelPredictor:
    found = unrolled.load(run)
    assert isinstance(found, LabelPredictor)
    return found


ANSWER = ("B-PER", "O", "O", "B-LOC", "O")


def test_a_sentence_gives_its_tags_and_a_list_gives_a_list(model: LabelPredictor) -> None:
    assert model("Paris went to Jordan.") == ANSWER
    assert model("Jordan went to Paris.") == ANSWER
    assert model(("Eve", "likes", "New", "York", ".")) == ("B-PER", "O", "B-LOC", "I-LOC", "O")
    assert model(["Paris went to Jordan.", "", ["Ann", "likes", "Oslo"]]) == [
        ANSWER,
        (),
        ("B-PER", "O", "B-LOC"),
    ]
    assert model([]) == []


def test_predictions_do_not_depend_on_the_batch(model: LabelPredictor) -> None:
    inputs = ["Eve likes Oslo.", "", "Zzz", ["Bob", "Lee", "went", "to", "New", "York", "."] * 9]
    together = model.predict(inputs)
    assert together[0].pieces == (("Eve", "likes", "Oslo", "."),)
    for one, said in zip(inputs, together, strict=True):
        (alone,) = model.predict([one])
        assert alone.labels == said.labels
        np.testing.assert_allclose(alone.probabilities, said.probabilities, rtol=0, atol=1e-6)
        np.testing.assert_allclose(said.probabilities.sum(1), 1, rtol=0, atol=1e-5)


def test_tag_statistics_are_reported(run: Path, data: Path) -> None:
    record = json.loads((run / "labels.json").read_text(encoding="utf-8"))
    assert (record["scheme"], record["n_ill_formed"]) == ("bio", 0)
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "- 5 tags in the BIO scheme; span types: LOC, PER" in card
    assert 'model("a sentence")' in card
    assert "strict_f1" in card


def test_held_out_sentences_are_evaluated(model: LabelPredictor) -> None:
    found = model.evaluate(model.held_out("test"), "test", shuffle_words=1)
    scores = found.measured.scores()
    assert scores["f1"] == scores["strict_f1"] == scores["token_accuracy"] == 1.0
    assert found.intervals["f1"].value == 1
    assert found.shuffled["f1"] < 0.9
    text = "\n".join(found.lines())
    assert "12 sentences in" in text
    assert "PER " in text
    assert "macro F1" in text


def test_evaluate_writes_a_page_and_predictions(run: Path, tmp_path: Path, capsys) -> None:
    folder, results = tmp_path / "out", tmp_path / "results.jsonl"
    arguments = ["evaluate", str(run), "--out", str(folder), "--record", str(results)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "F1 (strict)" in printed
    assert "scheme:" not in printed
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 12
    assert list(first) == ["line", "tokens", "tags", "answer", "probabilities", "spans"]
    assert first["answer"] == first["tags"]
    assert [each["type"] for each in first["spans"]] == ["PER", "LOC"]
    assert "12 sequences" in (folder / "report.html").read_text(encoding="utf-8")
    assert json.loads(results.read_text(encoding="utf-8"))["f1"] == 100


def test_predict_prints_tags_or_all_scores(run: Path, capsys, tmp_path: Path) -> None:
    assert cli.main(["predict", str(run), "Paris went to Jordan."]) == 0
    words = ["Paris", "went", "to", "Jordan", "."]
    tagged = " ".join(f"{word}/{tag}" for word, tag in zip(words, ANSWER, strict=True))
    assert capsys.readouterr().out == f"{tagged}\n"
    lines = tmp_path / "lines.txt"
    lines.write_text("Bob Lee likes Oslo.\n\nEve\n", encoding="utf-8")
    assert cli.main(["predict", str(run), "--input", str(lines), "--scores"]) == 0
    first, empty, _ = capsys.readouterr().out.splitlines()
    assert empty == ""
    record = json.loads(first)
    assert record["tokens"] == ["Bob", "Lee", "likes", "Oslo", "."]
    assert record["tags"] == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    assert len(record["probabilities"]) == 5
    person, place = record["spans"]
    assert (person["start"], person["end"], person["type"]) == (0, 2, "PER")
    assert (person["text"], place["text"]) == ("Bob Lee", "Oslo")
    assert person["probability"] == min(record["probabilities"][:2])


@pytest.mark.parametrize("packed", [False, True])
def test_a_column_file_gets_a_column_of_tags(run: Path, tmp_path: Path, packed: bool) -> None:
    content = "# one\nBob x\nLee x\nlikes x\nOslo x\n\n-DOCSTART- x\n\n\nEve  x\nlikes\tx"
    path = tmp_path / f"in.conll{'.gz' * packed}"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    out = tmp_path / "out.conll"
    assert cli.main(["predict", str(run), "--input", str(path), "--output", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == (
        "# one\nBob x B-PER\nLee x I-PER\nlikes x O\nOslo x B-LOC\n\n-DOCSTART- x\n\n\nEve  x B-PER\n"
        "likes\tx\tO\n"
    )
    assert (
        cli.main(["predict", str(run), "--input", str(path), "--output", str(out), "--scores"]) == 0
    )
    assert [len(line.split()) for line in out.read_text(encoding="utf-8").splitlines()[1:3]] == [
        4,
        4,
    ]


def test_options_for_texts_are_refused_for_tags(run: Path, capsys) -> None:
    assert cli.main(["predict", str(run), "Eve", "--words", "gradients"]) == 2
    assert "is not available for tagging" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="takes a list of inputs"):
        unrolled.load(run).predict("Eve likes Oslo.")


# Formats


def test_every_format_gives_the_same_run(tmp_path: Path, run: Path) -> None:
    words = [[word for word, _ in each] for each in SENTENCES]
    tags = [[tag for _, tag in each] for each in SENTENCES]
    pairs = list(zip(words, tags, strict=True))
    jsonl = [json.dumps({"tokens": a, "id": 1, "tags": b}) for a, b in pairs]
    table = [f"{' '.join(a)}\t{' '.join(b)}" for a, b in pairs]
    names = {"columns": ("1", "3")}, {"columns": ("tokens", "tags")}, {}
    contents = columns(SENTENCES), "\n".join(jsonl), "tokens\ttags\n" + "\n".join(table)
    whole = unrolled.load(run)
    for name, content, asked in zip(("a.txt", "a.jsonl", "a.tsv"), contents, names, strict=True):
        path = tmp_path / name
        path.write_text(content + "\n", encoding="utf-8")
        recipe = unrolled.recipe_from_toml(
            run.parent / "recipe.toml",
            unrolled.TASKS,
            [
                ("data.train", str(path)),
                ("training.max_steps", "1"),
                *(("data.columns", each) for each in asked.get("columns", ())),
            ],
        )
        unrolled.train(recipe, tmp_path / f"run-{name}")
        found = unrolled.load(tmp_path / f"run-{name}")
        for part, rows in whole.parts().items():
            assert [row.fields for row in map(_listed, found.parts()[part])] == [
                row.fields for row in rows
            ]
        assert found.labels == whole.labels


def _listed(row: unrolled.text.Row) -> unrolled.text.Row:
    from unrolled.text.rows import as_list

    return unrolled.text.Row(tuple(tuple(as_list(field)) for field in row.fields), row.line)


def test_tags_without_a_scheme_are_scored_by_token(tmp_path: Path, capsys) -> None:
    path = tmp_path / "pos.conll"
    sentences = [[(word, tag.replace("-", "")) for word, tag in each] for each in SENTENCES]
    path.write_text(columns(sentences), encoding="utf-8")
    run = train(tmp_path, path, head="softmax", metric="accuracy", steps="60")
    assert unrolled.load(run)("Paris went to Jordan.") == ("BPER", "O", "O", "BLOC", "O")
    assert cli.main(["evaluate", str(run), "--words", "none"]) == 0
    assert "accuracy           100.00%" in capsys.readouterr().out
    lines = (run / "evaluation-test/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert "spans" not in json.loads(lines[0])


# Bad input


@pytest.mark.parametrize("suffix", ["conll", "tsv", "jsonl"])
def test_an_unseen_tag_names_the_line(run: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"other.{suffix}"
    path.write_text(
        {
            "conll": "# c\nEve x B-PER\n\nEve x B-PER\nlikes x O\nOslo x B-LOK\n",
            "tsv": "tokens\ttags\nEve\tB-PER\nEve likes Oslo\tB-PER O B-LOK\n",
            "jsonl": '{"tokens": ["Eve"], "tags": ["O"]}\n'
            '{"tokens": ["Eve", "likes", "Oslo"], "tags": ["B-PER", "O", "B-LOK"]}\n',
        }[suffix],
        encoding="utf-8",
    )
    model = unrolled.load(run)
    with pytest.raises(DataError) as caught:
        model.evaluate(model.read([str(path)]), str(path))
    place = "line 6, field 'tags': " if suffix == "conll" else "token 3: "
    line = {"conll": 6, "tsv": 3, "jsonl": 2}[suffix]
    assert str(caught.value).startswith(f"{path}, line {line}, field 'tags': ")
    assert f"{place}label 'B-LOK' is not among the training labels (B-LOC, B-PER" in str(
        caught.value
    )
    assert str(caught.value).endswith("did you mean 'B-LOC'?")


def test_unequal_numbers_of_tags_and_tokens_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"tokens": ["a", "b"], "tags": ["O", "B-X"]}'] * 30
    lines[17] = '{"tokens": ["c", "d"], "tags": ["O"]}'
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    valid = tmp_path / "valid.jsonl"
    valid.write_text(lines[0] + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        train(tmp_path, path, data__valid=str(valid), data__test=str(valid))
    assert str(caught.value) == f"{path}, line 18: expected one tag per token (2), found 1"
    with pytest.raises(DataError) as caught:
        train(tmp_path, valid, data__valid=str(path), data__test=str(valid))
    assert str(caught.value) == (
        f"{path}, line 18, field 'tags': expected one tag per token (2), found 1"
    )
    assert not (tmp_path / "run").exists()


def test_an_empty_token_is_named_by_position(model: LabelPredictor) -> None:
    with pytest.raises(DataError) as caught:
        model([["Ann", ""]])
    assert str(caught.value) == "token 2: the token is empty; remove it and its tag"
    with pytest.raises(ConfigError) as refused:
        model.predict([["Ann", 3]])
    assert str(refused.value) == "an input must be a text or a list of tokens; found int 3"


def test_subword_tokenizers_are_refused_before_reading_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"text.kind is 'bpe', but a tag belongs to a whole word"):
        train(tmp_path, tmp_path / "nothing.conll", text__kind="bpe")


def test_a_metric_unavailable_for_the_tags_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train(tmp_path, data, metric="accuracy", steps="1")
    assert str(caught.value).startswith(
        "training.metric is 'accuracy', which is not available for these labels; choose from loss, f1"
    )


def test_settings_for_texts_are_unknown_for_tags(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'keep' in \[data\]"):
        train(tmp_path, data, data__keep="both")


def test_data_without_a_token_to_score_are_refused(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": [], "tags": []}\n', encoding="utf-8")
    model = unrolled.load(run)
    with pytest.raises(DataError, match="no tokens to score; give sentences with tags"):
        model.evaluate(model.read([str(path)]))


# Training


def test_empty_sentences_are_skipped_in_training_only(tmp_path: Path) -> None:
    rows = [{"tokens": [w for w, _ in s], "tags": [t for _, t in s]} for s in SENTENCES]
    empty = {"tokens": [], "tags": []}
    paths = [tmp_path / f"{part}.jsonl" for part in ("train", "valid")]
    for path, part in zip(paths, ([*rows, empty], [empty, *rows[:5], empty]), strict=True):
        path.write_text("\n".join(map(json.dumps, part)) + "\n", encoding="utf-8")
    run = train(tmp_path, paths[0], data__valid=str(paths[1]), data__test=str(paths[1]), steps="20")
    record = json.loads((run / "split.json").read_text(encoding="utf-8"))
    assert record["sizes"] == {"train": 80, "valid": 7, "test": 7}
    assert record["empty_side"] == 1
    model = unrolled.load(run)
    found = model.evaluate(model.held_out("test"))
    assert [len(each.labels) for each in found.predictions][::6] == [0, 0]


def test_a_long_sentence_is_split_and_reported(tmp_path: Path, data: Path, capsys) -> None:
    text = data.read_text(encoding="utf-8")
    long = tmp_path / "long.conll"
    long.write_text(text + "\n" + text.replace("\n\n", "\n"), encoding="utf-8")
    recipe = unrolled.recipe_from_toml(_written(tmp_path, "2"), unrolled.TASKS, [
        ("data.train", str(long)), ("data.valid", str(long)), ("data.test", str(long)),
        ("data.max_length", "30"),
    ])  # fmt: skip
    started = next(
        event for event in unrolled.fit(recipe, tmp_path / "run") if isinstance(event, Started)
    )
    assert (
        "train: 1 text is longer than data.max_length = 30 tokens and split into pieces of that length"
        in started.notes
    )
    model = unrolled.load(tmp_path / "run")
    found = model.evaluate(model.held_out("test"))
    assert found.n_cut == 1
    assert (
        "1 text is longer than data.max_length = 30 tokens and split into pieces of that length"
        in found.lines(100)
    )
    n_tokens = sum(map(len, SENTENCES))
    assert len(found.predictions[-1].labels) == n_tokens
    assert found.measured.n_tokens == 2 * n_tokens


def _written(folder: Path, steps: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(head="crf", metric="f1", steps=steps), encoding="utf-8")
    return path


def test_ill_formed_training_tags_lift_the_crf_constraints(tmp_path: Path, data: Path) -> None:
    text = data.read_text(encoding="utf-8").replace("Eve X B-PER", "Eve X I-PER", 1)
    path = tmp_path / "ill.conll"
    path.write_text(text, encoding="utf-8")
    run = train(tmp_path, path, steps="2", data__valid=str(data), data__test=str(path))
    model = unrolled.load(run)
    assert model.labels.n_ill_formed == 1
    assert model.model.crf.allowed is None
    card = (run / "README.md").read_text(encoding="utf-8")
    assert (
        "- train: sentences whose tags violate the BIO scheme: 1; a CRF therefore allows every transition"
        in card
    )


def test_word_embeddings_may_be_pretrained_and_frozen(tmp_path: Path, data: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    rows = {word: [n + 0.5] * 8 for n, word in enumerate(("Paris", "York", "lives", "nowhere"))}
    lines = (" ".join([word, *map(str, row)]) for word, row in rows.items())
    vectors.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = {"model__embeddings__file": str(vectors), "model__embeddings__tuning": "frozen"}
    run = train(tmp_path, data, steps="4", **options)
    model = unrolled.load(run)
    for word in ("Paris", "York", "lives"):
        (place,) = model.tokenizers["text"].ids_of([word])
        assert model.model.embedding.weight[place].tolist() == rows[word]
    assert "3 of" in (run / "README.md").read_text(encoding="utf-8")
    vectors.write_text("Paris 1 2 3\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"model.embedding_size is 8, but the vectors in .* have 3"
    ):
        train(tmp_path / "run", tmp_path / "no.conll", **options)


def test_a_resumed_run_is_identical_bit_for_bit(tmp_path: Path, data: Path) -> None:
    whole = train(tmp_path, data, model__dropout_rate="0.2", steps="24")
    recipe = unrolled.recipe_from_toml(
        tmp_path / "recipe.toml",
        unrolled.TASKS,
        [("data.train", str(data)), ("model.dropout_rate", "0.2")],
    )
    events = unrolled.fit(recipe, tmp_path / "half")
    for event in events:
        if getattr(event, "step", 0) >= 10:
            events.close()
            break
    unrolled.train(recipe, tmp_path / "half", resume=True)
    one, other = ((each / "model.safetensors").read_bytes() for each in (whole, tmp_path / "half"))
    assert one == other


def test_a_run_can_start_from_another_run(tmp_path: Path, data: Path, run: Path) -> None:
    recipe = unrolled.recipe_from_toml(
        run.parent / "recipe.toml",
        unrolled.TASKS,
        [("data.train", str(data)), ("training.max_steps", "1")],
    )
    done = unrolled.train(recipe, tmp_path / "again", start_from=run)
    assert done.best is not None
    assert done.best.scores["f1"] == 100


# The value of word order


def test_a_tagger_beats_the_most_frequent_tag(tmp_path: Path) -> None:
    tagging.write(tmp_path, tagging.generate(500, 60, 150))
    recipe = tmp_path / "sample.toml"
    recipe.write_text(SAMPLE_RECIPE, encoding="utf-8")
    parts = [(f"data.{part}", str(tmp_path / f"{part}.conll")) for part in tagging.PARTS]
    unrolled.train(unrolled.recipe_from_toml(recipe, unrolled.TASKS, parts), tmp_path / "run")
    model = unrolled.load(tmp_path / "run")
    train, test = (
        Tagged([model.words(row.fields[:1])[0] for row in rows], [model.gold(row) for row in rows])
        for rows in (model.parts()["train"], model.held_out("test"))
    )
    frequent = next(fit_tagging_baselines(train, test, lambda truth, found: 0.0)).baseline
    baseline = model.scores_of(test.tags, frequent.predict(test.sentences))["f1"]
    found = [list(tags) for tags in model(test.sentences)]
    assert baseline < 0.82
    assert model.scores_of(test.tags, found)["f1"] > 0.93


SAMPLE_RECIPE = """\
task = "tag"
[model]
head = "softmax"
embedding_size = 24
char_size = 0
hidden_size = 32
dropout_rate = 0.0
[training]
max_epochs = 6
max_tokens = 256
learning_rate = 0.02
threads = 1
evaluate_every_n_steps = 0
device = "cpu"
"""


def test_baselines_are_compared(tmp_path: Path, run: Path, capsys) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    print_baselines(copy)
    printed = capsys.readouterr().out
    assert "event=baseline name=frequent_tag valid_f1=" in printed
    assert "event=baseline name=token_logistic valid_f1=100 " in printed
    assert cli.main(["evaluate", str(copy)]) == 0
    assert "most frequent tag" in capsys.readouterr().out
    assert "token logistic" in (copy / "evaluation-test/report.html").read_text(encoding="utf-8")


def test_a_command_writes_the_sample_data(tmp_path: Path, capsys) -> None:
    assert cli.main(["sample", "tagging", str(tmp_path / "new"), "--n", "16"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new'}: train.conll, valid.conll, test.conll\n"
    assert (tmp_path / "new/test.conll").read_text(encoding="utf-8").count("\n\n") == 3


def test_standard_input_is_tagged_line_by_line(run: Path, capsys, monkeypatch) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"Paris went to Jordan.\n\nEve\n"))
    monkeypatch.setattr(sys, "stdin", lines)
    assert cli.main(["predict", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [" ".join(ANSWER), ""]


def test_a_damaged_tag_file_is_named(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "tokenizer-characters.json").unlink()
    with pytest.raises(unrolled.RunError, match=r"tokenizer-characters.json: missing; restore it"):
        unrolled.load(copy)
