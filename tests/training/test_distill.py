"""Distillation: the loss against its formula, and runs that learn from a teacher."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import unrolled
from unrolled import cli
from unrolled.errors import ConfigError, DataError, RunError
from unrolled.layers.label_head import LabelHead, SoftTargets
from unrolled.tasks.classify import ClassifyConfig
from unrolled.training.checkpoint import load_tensors
from unrolled.training.events import Started, Step
from unrolled.training.loop import fit
from unrolled.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

B, D, C = 7, 5, 3


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


class Logits(nn.Module):
    """A scorer whose logits are a parameter, so that its gradient is that with respect to them."""

    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.randn(B, C, dtype=torch.float64))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = hidden[:, 0].long()
        return self.z[rows]


def loss_and_gradient(head: LabelHead, soft: SoftTargets, targets: torch.Tensor):
    hidden = torch.arange(B, dtype=torch.float64).unsqueeze(1).expand(B, D)
    total, count = head.distillation_loss(hidden, targets, soft)
    total.backward()
    assert count == B
    return float(total.detach()), head.scorer.z.grad.numpy()


@pytest.mark.parametrize(("w", "T"), [(1.0, 1.0), (0.3, 1.0), (0.7, 2.5), (1.0, 0.5)])
def test_the_gradient_is_that_of_the_paper(w: float, T: float) -> None:
    head = LabelHead(Logits(), C).double()
    p = torch.rand(B, C, dtype=torch.float64).softmax(1)
    is_labelled = torch.tensor([True, True, False, True, False, True, True])
    gold = np.array([0, 2, -1, 1, -1, 2, 2])
    soft = SoftTargets(p, is_labelled, w, T)
    total, gradient = loss_and_gradient(head, soft, torch.from_numpy(gold).unsqueeze(1))
    z = head.scorer.z.detach().numpy()
    q = p.numpy() ** (1 / T)
    q /= q.sum(1, keepdims=True)
    wanted = w * T * (softmax(z / T) - q)  # T² times 1/T of Hinton et al. 2015, eq. 2
    of_soft = -(T**2) * (q * np.log(softmax(z / T))).sum()
    of_gold = 0.0
    for row in np.flatnonzero(is_labelled.numpy()):
        wanted[row] += (1 - w) * (softmax(z)[row] - np.eye(C)[gold[row]])
        of_gold -= np.log(softmax(z)[row, gold[row]])
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-12)
    assert total == pytest.approx(w * of_soft + (1 - w) * of_gold, abs=1e-10)


@pytest.mark.parametrize(("w", "T"), [(1.0, 1.0), (0.4, 3.0)])
def test_several_labels_are_decisions_of_their_own(w: float, T: float) -> None:
    head = LabelHead(Logits(), C, multi_label=True).double()
    p = torch.rand(B, C, dtype=torch.float64) * 0.9 + 0.05
    is_labelled = torch.tensor([True, False, True, True, True, True, False])
    targets = torch.tensor([[0, 2], [-1, -1], [-1, -1], [1, -1], [0, 1], [2, -1], [-1, -1]])
    _, gradient = loss_and_gradient(head, SoftTargets(p, is_labelled, w, T), targets)
    z, p = head.scorer.z.detach().numpy(), p.numpy()
    q = sigmoid(np.log(p / (1 - p)) / T)
    wanted = w * T * (sigmoid(z / T) - q)
    for row in np.flatnonzero(is_labelled.numpy()):
        hot = np.isin(np.arange(C), targets[row].numpy())
        wanted[row] += (1 - w) * (sigmoid(z[row]) - hot)
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-9)


def test_the_teacher_alone_ignores_labels() -> None:
    head = LabelHead(Logits(), C).double()
    p = torch.rand(B, C, dtype=torch.float64).softmax(1)
    soft = SoftTargets(p, torch.zeros(B, dtype=torch.bool), 0.5, 2.0)
    hidden = torch.arange(B, dtype=torch.float64).unsqueeze(1).expand(B, D)
    nothing = torch.full((B, 1), -1)
    total, _ = head.distillation_loss(hidden, nothing, soft)
    other, _ = head.distillation_loss(hidden, nothing, replace(soft, temperature=1.0))
    assert torch.isfinite(total)
    assert total != other


GOOD, BAD = ("fine", "lovely", "great"), ("awful", "dull", "poor")
ROWS = [
    f"the {thing} number {n} is {word} today\t{label}"
    for thing in ("film", "book", "song", "play", "meal", "walk")
    for label, words in (("good", GOOD), ("bad", BAD))
    for word in words
    for n in (1, 2)
]


def recipe_for(
    folder: Path, rows=ROWS, header="text\tlabel", task="classify", **training
) -> Recipe:
    folder.mkdir(exist_ok=True)
    (folder / "data.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    settings = {"learning_rate": 0.03, "max_tokens": 128, "max_steps": 12, "device": "cpu"}
    return Recipe.from_mapping(
        {
            "task": task,
            "seed": 3,
            "data": {"train": [str(folder / "data.tsv")], "valid_size": 12, "test_size": 12},
            "text": {"kind": "word"},
            "model": {"embedding_size": 6, "hidden_size": 7, "dropout_rate": 0.2},
            "training": {**settings, "log_every_n_steps": 1, **training},
        },
        unrolled.TASKS,
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    unrolled.train(recipe_for(folder, max_steps=60), folder / "run")
    return folder / "run"


def weights(run: Path) -> dict[str, list]:
    return {name: value.tolist() for name, value in load_tensors(run / "model.safetensors").items()}


def test_a_model_learns_what_its_teacher_says(teacher: Path, tmp_path: Path) -> None:
    recipe = recipe_for(
        tmp_path, max_steps=150, teacher=str(teacher), teacher_weight=1.0, average=0.0
    )
    recipe = replace(
        recipe, seed=8, model=ClassifyConfig(embedding_size=6, hidden_size=7, dropout_rate=0.0)
    )
    unrolled.train(recipe, tmp_path / "run")
    model, theirs = unrolled.load(tmp_path / "run"), unrolled.load(teacher)
    texts = [row.texts[0] for row in model.parts()["train"]]
    taught = np.array([one.probabilities for one in theirs.predict(texts)])
    learned = np.array([one.probabilities for one in model.predict(texts)])
    assert np.abs(taught - learned).mean() < 0.05
    assert np.abs(taught - learned.mean(0)).mean() > 0.08  # which is not that of a constant


def test_an_interrupted_run_goes_on_with_its_teacher(teacher: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("a lovely day\n\nthe dull song\n" * 3, encoding="utf-8")
    recipe = recipe_for(tmp_path, teacher=str(teacher), unlabelled=[str(more)])
    first = next(iter(fit(recipe, tmp_path / "whole")))
    assert isinstance(first, Started)
    assert first.sizes == {"train": 48, "valid": 12, "test": 12, "unlabelled": 6}
    unrolled.train(recipe, tmp_path / "whole", resume=True)
    for n in (3, 5, 99):
        events = fit(recipe, tmp_path / "parts", resume=(tmp_path / "parts").exists())
        for seen, event in enumerate(event for event in events if isinstance(event, Step)):
            if seen == n:
                assert isinstance(event, Step)
                events.close()
                break
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    more.write_text("a lovely day\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"the teacher of .* or its unlabelled texts have changed"):
        unrolled.train(recipe, tmp_path / "parts", resume=True)


def test_unlabelled_texts_teach_too(teacher: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("\n".join(row.split("\t")[0] for row in ROWS), encoding="utf-8")
    few = [*ROWS[::6], *ROWS[1::9]]
    settings = {"teacher": str(teacher), "teacher_weight": 1.0, "max_steps": 100}
    closeness = {}
    for name, unlabelled in (("few", []), ("more", [str(more)])):
        recipe = recipe_for(tmp_path / name, few, unlabelled=unlabelled, **settings)
        recipe = replace(recipe, data=replace(recipe.data, valid_size=3, test_size=3))
        unrolled.train(recipe, tmp_path / name / "run")
        model, theirs = unrolled.load(tmp_path / name / "run"), unrolled.load(teacher)
        texts = [row.split("\t")[0] for row in ROWS]
        taught, learned = (
            np.array([one.probabilities for one in each.predict(texts)]) for each in (theirs, model)
        )
        closeness[name] = np.abs(taught - learned).mean()
    assert closeness["more"] < closeness["few"]


def test_pairs_can_be_distilled_from_an_ensemble(tmp_path: Path) -> None:
    rows = [
        f"{target}\tgive me {thing}\t{'yes' if (target == 'ice') == (thing == 'snow') else 'no'}"
        for target in ("ice", "sun")
        for thing in ("snow", "sand")
    ]
    rows = [row.replace("me", f"me {n}") for row in rows for n in range(14)]
    recipe = recipe_for(tmp_path, rows, "first\tsecond\tlabel", "pair", max_steps=3)
    from unrolled.training.ensemble import fit_ensemble

    list(fit_ensemble(recipe, tmp_path / "teacher", 2))
    more = tmp_path / "more.tsv"
    more.write_text("ice\tgive me more\nno pair\n", encoding="utf-8")
    taught = recipe_for(
        tmp_path,
        rows,
        "first\tsecond\tlabel",
        "pair",
        max_steps=3,
        teacher=str(tmp_path / "teacher"),
    )
    unrolled.train(taught, tmp_path / "run")
    wrong = replace(taught, training=replace(taught.training, unlabelled=(str(more),)))
    with pytest.raises(DataError) as caught:
        unrolled.train(wrong, tmp_path / "wrong")
    assert str(caught.value) == (
        f"{more}, line 2: expected first and second, separated by a tab; found 'no pair'"
    )


def test_a_teacher_of_another_split_gets_a_note(teacher: Path, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, teacher=str(teacher))
    started = next(iter(fit(recipe, tmp_path / "run")))
    assert any("validation rows may be among its training rows" in note for note in started.notes)


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("classify", {"teacher": "no-run"}, "no-run is not a run folder; name a trained run"),
        (
            "pair",
            {"teacher": "{teacher}"},
            "is of task 'classify', and this run of task 'pair'; name",
        ),
        ("classify", {"unlabelled": ["a.txt"]}, "unlabelled texts are learned from a teacher; set"),
        (
            "translate",
            {"teacher": "{teacher}"},
            "(classify and pair), not those of task 'translate'",
        ),
        (
            "tag",
            {"teacher": "{teacher}"},
            "(classify and pair), not those of task 'tag'; remove it",
        ),
    ],
)
def test_what_cannot_be_distilled(teacher: Path, tmp_path: Path, task, settings, message) -> None:
    settings = {
        name: value.format(teacher=teacher) if isinstance(value, str) else value
        for name, value in settings.items()
    }
    data = {"train": [str(teacher.parent / "data.tsv")]}
    mapping = {"task": task, "data": data, "training": {"max_steps": 1, **settings}}
    with pytest.raises(ConfigError) as caught:
        unrolled.fit(Recipe.from_mapping(mapping, unrolled.TASKS), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("typed", "named"),
    [("--distill", "--distill"), ("--training.teacher", "training.teacher")],
)
def test_a_refusal_names_what_was_typed(
    teacher: Path, tmp_path: Path, typed, named, capsys
) -> None:
    data, out = str(teacher.parent / "data.tsv"), str(tmp_path / "run")
    command = ["train", "--task", "tag", "--data", data, "--out", out, typed, str(teacher)]
    assert cli.main(command) == 2
    assert capsys.readouterr().err == (
        f"unrolled: {named}: models that label whole texts can be distilled (classify and pair), not "
        "those of task 'tag'; remove it\n"
    )


def test_other_labels_are_refused(teacher: Path, tmp_path: Path) -> None:
    recipe = recipe_for(
        tmp_path, [row.replace("good", "well") for row in ROWS], teacher=str(teacher)
    )
    with pytest.raises(ConfigError) as caught:
        unrolled.train(recipe, tmp_path / "run")
    assert str(caught.value) == (
        f"training.teacher: {teacher} predicts the labels bad, good, but the training part has bad, "
        "well; name a run with the same labels"
    )
    assert not (tmp_path / "run").exists()


def test_the_command_line_distils(teacher: Path, tmp_path: Path, capsys) -> None:
    command = ["train", "--task", "classify", "--data", str(teacher.parent / "data.tsv")]
    command += ["--training.max_steps", "2", "--baselines", "none", "--out", str(tmp_path / "run")]
    twice = ["--distill", str(teacher), "--training.teacher", "other"]
    assert cli.main([*command, *twice]) == 2
    assert "--distill and --training.teacher set the same field; use one" in capsys.readouterr().err
    assert cli.main([*command, "--distill", str(teacher)]) == 0
    split = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    assert len(split["teacher"]) == 64
    assert cli.main(["predict", str(tmp_path / "run"), "a lovely film"]) == 0
