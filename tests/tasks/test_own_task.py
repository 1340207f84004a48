"""Custom tasks, one of each kind: nothing but the task has to be added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import unrolled
from unrolled.cli import main
from unrolled.shapes import Padded
from unrolled.tasks import language_model, text_labels
from unrolled.tasks.kind import KINDS, LABELLING, LANGUAGE_MODEL, SEQ2SEQ
from unrolled.tasks.predictions import Answer, LabelPrediction, Prediction
from unrolled.tasks.roles import LABELS, Tokenizers
from unrolled.tasks.task import AnyTask, LabelTask, State, StreamTask, Task
from unrolled.text.config import TextConfig
from unrolled.text.corpus.windows import StreamConfig
from unrolled.text.rows import Row
from unrolled.text.splits import Reading
from unrolled.text.tokenizer import Tokenizer

# Rows to text: each word becomes one word, by a table of scores.


@dataclass(frozen=True)
class TableConfig:
    """The `[model]` section of the task below."""

    width: int = 8
    noise: float = 0.0


class Table(nn.Module):
    def __init__(self, config: TableConfig, n_in: int, n_out: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(n_in, config.width)
        self.output = nn.Linear(config.width, n_out)

    def forward(self, ids: Tensor) -> Tensor:
        return self.output(self.embedding(ids))


@dataclass(frozen=True)
class TableBatch:
    inputs: Tensor
    targets: Tensor

    @property
    def n_tokens(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device | str) -> TableBatch:
        return TableBatch(self.inputs.to(device), self.targets.to(device))


Example = tuple[list[int], list[int]]


def train_tokenizers(rows: Sequence[Row], text: TextConfig) -> dict[str, Tokenizer]:
    sides = zip(("words", "codes"), (0, 1), strict=True)
    return {role: Tokenizer.train([row.fields[at] for row in rows], text) for role, at in sides}


def encode(fields: Sequence[str], tokenizers: Tokenizers) -> Example:
    target = tokenizers["codes"].encode(fields[1]) if len(fields) > 1 else []
    return tokenizers["words"].encode(fields[0]), target


def collate(examples: Sequence[Example]) -> TableBatch:
    pairs = [each for one in examples for each in zip(*one, strict=True)]
    inputs, targets = zip(*pairs, strict=True)
    return TableBatch(torch.tensor(inputs), torch.tensor(targets))


def table_loss(model: Table, batch: TableBatch) -> tuple[Tensor, int]:
    return F.cross_entropy(model(batch.inputs), batch.targets, reduction="sum"), batch.n_tokens


def decode(
    model: Table, examples: Sequence[Example], tokenizers: Tokenizers, *_: Any
) -> list[Prediction]:
    predictions = []
    for words, _unused in examples:
        ids = model(torch.tensor(words, dtype=torch.int64)).argmax(1).tolist()
        text = tokenizers["codes"].decode(ids)
        answer = Answer(text, 0.0, 0.0, tuple(tokenizers["codes"].pieces(ids)), None, True)
        read = tuple(tokenizers["words"].pieces(words))
        predictions.append(Prediction(text, 0.0, read, (answer,)))
    return predictions


def share_equal(outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    return {"equal": 100 * sum(map(str.__eq__, outputs, references)) / len(outputs)}


CODES = Task(
    name="codes",
    columns=("words", "codes"),
    Config=TableConfig,
    train_tokenizers=train_tokenizers,
    encode=encode,
    lengths=lambda example: tuple(map(len, example)),
    collate=collate,
    build=lambda config, roles: Table(config, len(roles["words"]), len(roles["codes"])),
    loss=table_loss,
    evaluate_loss=table_loss,
    decode=decode,
    score=share_equal,
    signature=lambda: {"equal": "percent"},
    text={"kind": "word"},
    training_only=frozenset({"noise"}),
)

# Rows to labels: the mean of the embeddings of a text.


@dataclass(frozen=True)
class MeanConfig:
    """The `[model]` section of the task below."""

    width: int = 8


class Mean(nn.Module):
    def __init__(self, config: MeanConfig, n_words: int, n_labels: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(n_words, config.width)
        self.output = nn.Linear(config.width, n_labels)

    def forward(self, text: Padded) -> Tensor:
        values = self.embedding(text.values) * text.mask.unsqueeze(2)
        return self.output(values.sum(1) / text.lengths.clamp(min=1).unsqueeze(1))


def mean_loss(model: Mean, batch: text_labels.LabelBatch) -> tuple[Tensor, int]:
    targets = batch.targets.squeeze(1)
    return F.cross_entropy(model(*batch.texts), targets, reduction="sum"), len(targets)


def predict(
    model: Mean, examples: Sequence[text_labels.LabelledExample], tokenizers: Tokenizers
) -> list[LabelPrediction]:
    batch = text_labels.collate(examples)
    rows = model(*batch.texts).softmax(1).numpy()
    names, words = tokenizers[LABELS].names, tokenizers["text"]
    return [
        LabelPrediction(
            (names[row.argmax()],), row, (tuple(words.pieces(example.texts[0])),), (None,)
        )
        for row, example in zip(rows, examples, strict=True)
    ]


MOODS = LabelTask(
    name="moods",
    columns=("text", "label"),
    Config=MeanConfig,
    reading=Reading(linked=lambda fields: fields[:1], labels=text_labels.labels_in),
    train_tokenizers=text_labels.train_tokenizers,
    encode=text_labels.encode_with(1),
    lengths=text_labels.lengths,
    cut=text_labels.cut,
    collate=text_labels.collate,
    build=lambda config, roles: Mean(config, len(roles["text"]), len(roles[LABELS])),
    prepare=lambda model, parts: None,
    loss=mean_loss,
    evaluate_loss=mean_loss,
    predict=predict,
    tune_thresholds=text_labels.tune_thresholds,
    evaluate=text_labels.evaluate,
    scores=text_labels.scores,
    tokens=text_labels.tokens,
    shuffle=text_labels.shuffle,
    signature=text_labels.signature,
    use='predict {run} "…"',
    text={"kind": "word"},
)

# Running text: the next word from the last one.


class Head(nn.Linear):
    """Scores of the next token."""

    def logits(self, hidden: Tensor) -> Tensor:
        return self(hidden)


class Bigram(nn.Module):
    """The next token from the last one."""

    def __init__(self, config: TableConfig, n_words: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(n_words, config.width)
        self.head = Head(config.width, n_words)

    def start(self, n_rows: int) -> State:
        return ((torch.zeros(n_rows, 1),),)

    def step(self, ids: Tensor, state: State, packed: None = None) -> tuple[Tensor, State]:
        return self.embedding(ids), state

    def packed(self, *_: Any, **__: Any) -> None:
        return None


def bigram_loss(
    model: Bigram, batch: language_model.StreamBatch, state: State, cache: None = None
) -> tuple[Tensor, int, State]:
    K = batch.targets.shape[1]
    logits = model.head(model.embedding(batch.inputs[:, -K:])).flatten(0, 1)
    total = F.cross_entropy(logits, batch.targets.flatten(), ignore_index=-1, reduction="sum")
    return total, batch.n_tokens, state


PAIRS = StreamTask(
    name="pairs",
    Config=TableConfig,
    Data=StreamConfig,
    train_tokenizer=language_model.train_tokenizer,
    collate=language_model.collate,
    build=lambda config, roles: Bigram(config, len(roles["text"])),
    start=Bigram.start,
    loss=bigram_loss,
    evaluate_loss=bigram_loss,
    scores=language_model.scores,
    signature=language_model.signature,
    use='generate {run} --prompt "…"',
    text={"kind": "word"},
)

OWN: dict[str, AnyTask] = {task.name: task for task in (CODES, MOODS, PAIRS)}
PREDICTORS = {
    "codes": unrolled.Predictor,
    "moods": unrolled.LabelPredictor,
    "pairs": unrolled.LanguagePredictor,
}
WORDS = ("red", "green", "blue", "grey")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    """By task, its data."""
    rows = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS]
    codes = "".join(f"{row}\t{' '.join('code' + word for word in row.split())}\n" for row in rows)
    moods = "".join(f"{row}\t{'warm' if 'red' in row else 'cold'}\n" for row in rows)
    texts = "".join("red green blue grey\n" for _ in range(60))
    files = {"codes": f"words\tcodes\n{codes}", "moods": f"text\tlabel\n{moods}", "pairs": texts}
    paths = {name: tmp_path / f"{name}.{'txt' if name == 'pairs' else 'tsv'}" for name in files}
    for name, path in paths.items():
        path.write_text(files[name], encoding="utf-8")
    return paths


def recipe_for(task: AnyTask, data: Path, n_steps: int) -> unrolled.Recipe:
    """A recipe of a few steps."""
    splits: dict[str, Any] = {"valid_size": 8, "test_size": 8}
    if task.kind is LANGUAGE_MODEL:
        splits = {"documents": "line", "n_rows": 4, "k1": 5}
    mapping = {
        "task": task.name,
        "data": {"train": [str(data)], **splits},
        "training": {
            "max_steps": n_steps,
            "learning_rate": 0.1,
            "max_tokens": 64,
            "evaluate_every_n_steps": 15,
        },
    }
    return unrolled.Recipe.from_mapping(mapping, task)


@pytest.mark.parametrize("name", OWN)
def test_own_task_trains_resumes_and_loads(
    name: str, data: dict[str, Path], tmp_path: Path
) -> None:
    task = OWN[name]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    unrolled.train(recipe_for(task, data[name], 30), whole, task=task)
    unrolled.train(recipe_for(task, data[name], 15), parts, task=task)
    unrolled.train(recipe_for(task, data[name], 30), parts, task=task, resume=True)
    models = [unrolled.load(each, task) for each in (whole, parts)]
    assert type(models[0]) is PREDICTORS[name]
    states = [model.model.state_dict() for model in models]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    card = (whole / "README.md").read_text(encoding="utf-8")
    assert task.example_call in card
    with pytest.raises(unrolled.RunError, match=f"a run of the task '{name}', which is not one of"):
        unrolled.load(whole)


def test_own_tasks_predict_and_evaluate_in_python(data: dict[str, Path], tmp_path: Path) -> None:
    for name, task in OWN.items():
        unrolled.train(recipe_for(task, data[name], 120), tmp_path / name, task=task)
    codes = unrolled.load(tmp_path / "codes", CODES)
    assert codes("red grey") == "codered codegrey"
    assert codes.evaluate(codes.held_out("test")).total.scores == {"equal": 100.0}
    moods = unrolled.load(tmp_path / "moods", MOODS)
    assert moods(["blue red", "blue green"]) == ["warm", "cold"]
    assert moods.evaluate(moods.held_out("test")).scores["accuracy"] == 1
    pairs = unrolled.load(tmp_path / "pairs", PAIRS)
    assert pairs.generate("red", temperature=0, max_tokens=2).split() == ["green", "blue"]
    assert pairs.evaluate(pairs.held_out("valid")).scores["perplexity"] < 1.5


def test_own_tasks_run_from_the_command_line(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name, task in OWN.items():
        monkeypatch.setitem(unrolled.TASKS, name, task)
    for name in OWN:
        run = str(tmp_path / name)
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text(recipe_for(OWN[name], data[name], 120).to_toml(), encoding="utf-8")
        assert main(["train", str(recipe), "--out", run]) == 0
        assert main(["train", "--resume", "--out", run]) == 0, capsys.readouterr().err
        capsys.readouterr()
        if name == "pairs":
            assert main(["predict", run, "red"]) == 2
            assert "use `unrolled generate`, `unrolled complete` or" in capsys.readouterr().err
            assert main(["evaluate", run, "--split", "valid"]) == 0
            assert "perplexity" in capsys.readouterr().out
            assert main(["generate", run, "--prompt", "red", "--temperature", "0"]) == 0
            assert "green blue" in capsys.readouterr().out
            assert main(["data", str(recipe)]) == 0
            assert "an epoch" in capsys.readouterr().out
            continue
        assert main(["predict", run, "red blue"]) == 0
        expected = {"codes": "codered codeblue\n", "moods": "warm\t"}[name]
        assert capsys.readouterr().out.startswith(expected)
        assert main(["evaluate", run]) == 0
        assert "100.00" in capsys.readouterr().out
        assert main(["data", str(recipe)]) == 0
        assert "64 read = 48 train + 8 valid + 8 test" in capsys.readouterr().out


def test_own_task_may_be_fine_tuned_with_other_training_settings(
    data: dict[str, Path], tmp_path: Path
) -> None:
    recipe = recipe_for(CODES, data["codes"], 5)
    unrolled.train(recipe, tmp_path / "first", task=CODES)
    for name, value in (("noise", 0.5), ("width", 9)):
        mapping = unrolled.config.to_mapping(recipe)
        mapping["model"][name] = value
        changed = unrolled.Recipe.from_mapping(mapping, CODES)
        options = {"task": CODES, "start_from": tmp_path / "first"}
        if name == "noise":
            unrolled.train(changed, tmp_path / "second", **options)
            continue
        with pytest.raises(
            unrolled.ConfigError, match=r"model.width is 9, but .* was trained with"
        ):
            unrolled.train(changed, tmp_path / "third", **options)


def test_every_table_has_every_kind() -> None:
    from unrolled.cli.evaluate import _EVALUATE
    from unrolled.cli.predict import _ANSWER
    from unrolled.data_report import report
    from unrolled.predictors import load
    from unrolled.training import kinds

    for table in (kinds._TABLE, load._TABLE, report._TABLE):
        assert set(table) == set(KINDS)
    for by_name in (_ANSWER, _EVALUATE):
        assert set(by_name) == {kind.name for kind in KINDS}
    assert {task.kind for task in OWN.values()} == {SEQ2SEQ, LABELLING, LANGUAGE_MODEL}
