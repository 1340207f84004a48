"""Kinds of models with every command: ensembles, characters, n-grams, features, pretrained encoders."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import unrolled
from unrolled.cli.main import main
from unrolled.shapes import Padded
from unrolled.tasks import TASKS
from unrolled.tasks.classify import Classifier, ClassifyConfig

LINES = [f"a {kind} film {place} that i saw" for place in range(6) for kind in ("good", "bad")]
LABELS = ["yes", "no"] * 6
FILES = {
    "text.txt": "".join(f"{line}\n" for line in LINES),
    "classify.tsv": "text\tlabel\n"
    + "".join(f"{line}\t{label}\n" for line, label in zip(LINES, LABELS, strict=True)),
    "pair.tsv": "first\tsecond\tlabel\n"
    + "".join(f"{line}\ta film\t{label}\n" for line, label in zip(LINES, LABELS, strict=True)),
    "tag.conll": "".join(
        "".join(f"{word} {'B-K' if word in ('good', 'bad') else 'O'}\n" for word in line.split())
        + "\n"
        for line in LINES
    ),
    "translate.tsv": "en\txx\n" + "".join(f"{line}\t{line.upper()}\n" for line in LINES),
}
SIZES = {"embedding_size": 4, "hidden_size": 6}
BOTH = {"pretrained": ["forward", "backward"], "hidden_size": 6}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "forward": ("language_model", SIZES),
    "backward": ("language_model", {**SIZES, "direction": "backward"}),
    "plain": ("classify", SIZES),
    "ensemble": ("classify", SIZES),
    "mixed ensemble": ("classify", {**SIZES, "ngrams": 1}),
    "tag ensemble": ("tag", {**SIZES, "char_size": 3}),
    "characters": ("classify", {**SIZES, "characters": "convolution"}),
    "ngrams": ("classify", {**SIZES, "ngrams": 2}),
    "letters": ("classify", {**SIZES, "ngram_characters": 3}),
    "by first": ("pair", {**SIZES, "ngrams": 1, "ngrams_by_first": True}),
    "concat": ("classify", {**SIZES, "pooling": "concat"}),
    "all": (
        "classify",
        {"pretrained": ["forward"], "characters": "recurrent", "ngrams": 1, "pooling": "concat"},
    ),
    "pretrained": ("classify", {"pretrained": BOTH["pretrained"], "pooling": "concat"}),
    "pair pretrained": ("pair", {**BOTH, "encoder": "attention", "cell": "lstm"}),
    "features": ("pair", {**SIZES, "features": ["overlap", "product"]}),
    "pair characters": ("pair", {**SIZES, "characters": "recurrent"}),
    "tag pretrained": ("tag", {**BOTH, "char_size": 3}),
    "convolution": ("tag", {**SIZES, "characters": "convolution", "char_size": 3}),
    "words only": ("tag", {**SIZES, "characters": "none"}),
    "translate pretrained": ("translate", BOTH),
}
EXPORTED = (
    *("concat", "pretrained", "pair pretrained", "tag pretrained", "convolution"),
    *("ensemble", "characters", "ngrams", "all", "features", "pair characters", "mixed ensemble"),
)
ENDINGS = {"language_model": "text.txt", "tag": "tag.conll"}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run of one update, by its name in `RUNS`."""
    folder = tmp_path_factory.mktemp("kinds")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")

    def made(name: str) -> Path:
        path = folder / name
        if path.exists():
            return path
        task, model = RUNS[name]
        if pretrained := model.get("pretrained"):
            model = {**model, "pretrained": [str(made(each)) for each in pretrained]}
        file = str(folder / ENDINGS.get(task, f"{task}.tsv"))
        mapping = {
            "task": task,
            "data": {"train": [file], "valid": [file], "test": [file]},
            "text": {"kind": "word"},
            "model": model,
            "training": {"max_steps": 1, "device": "cpu"},
        }
        recipe = unrolled.Recipe.from_mapping(mapping, TASKS)
        if name.endswith("ensemble"):
            from unrolled.training.ensemble import fit_ensemble

            list(fit_ensemble(recipe, path, 2))
        else:
            unrolled.train(recipe, path)
        return path

    return made


def texts_of(name: str) -> list[str]:
    return ["a good film", "a film"] if RUNS[name][0] == "pair" else ["a good film"]


REFUSED = {
    ("tag ensemble", "--onnx"): r"is an ensemble, and an export of .*members.seed-1",
    ("tag ensemble", "--page"): r"is an ensemble, and an export of .*members.seed-1",
    ("ensemble", "--c"): r"is an ensemble, and an export of .*members.seed-1",
    ("backward", "--c"): r"C code needs a language model that reads from left to right",
    ("backward", "--page"): r"a page needs a language model that reads from left to right",
    ("characters", "--c"): r"model\.characters is 'convolution', .*export with --onnx",
    ("ngrams", "--c"): r"model\.ngrams is 2, .* train with --model\.ngrams 0",
    (
        "letters",
        "--onnx",
    ): r"model\.ngram_characters is 3, which cannot be exported yet; predict with",
    (
        "letters",
        "--page",
    ): r"model\.ngram_characters is 3, .*train with --model\.ngram_characters 0",
    ("by first", "--onnx"): r"model\.ngrams_by_first is true, .*--model\.ngrams_by_first false",
    ("letters", "--c"): r"model\.ngram_characters is 3, which cannot be exported yet",
    ("features", "--c"): r"task 'pair' cannot be exported as C",
    ("concat", "--c"): r"model\.pooling is 'concat', .*export with --onnx, .*--model\.pooling max",
    ("pretrained", "--c"): r"model\.pretrained is .*export with --onnx, or train without",
    ("tag pretrained", "--c"): r"model\.pretrained is .*export with --onnx, or train without",
    ("convolution", "--c"): r"model\.characters is 'convolution', .*--model\.characters recurrent",
    ("translate pretrained", "--c"): r"task 'translate' cannot be exported as C",
}


@pytest.mark.parametrize(("name", "form"), REFUSED)
def test_what_no_export_holds_is_named(
    name: str, form: str, run_of: Any, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / ("export.html" if form == "--page" else "export")
    assert main(["export", str(run_of(name)), form, str(path)]) == 2
    error = capsys.readouterr().err
    assert re.search(REFUSED[name, form], error), error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*EXPORTED, "translate pretrained"])
def test_graphs_agree_with_the_model(
    name: str, run_of: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("unrolled.exports.inputs._N_MADE", 6)
    run, export = run_of(name), tmp_path / "export"
    assert main(["export", str(run), "--onnx", str(export)]) == 0
    capsys.readouterr()
    answers = []
    for each in (run, export):
        assert main(["predict", str(each), *texts_of(name)]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", ["all", "mixed ensemble", "pair pretrained"])
def test_pages_agree_with_the_model(
    name: str, run_of: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.exports.inputs._N_MADE", 6)
    assert main(["export", str(run_of(name)), "--page", str(tmp_path / "page.html")]) == 0
    assert "largest difference of a score" in capsys.readouterr().out


def test_a_language_model_that_reads_back_is_exported(
    run_of: Any, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    run, path = run_of("backward"), tmp_path / "export"
    assert main(["export", str(run), "--onnx", str(path), "--precision", "int8"]) == 0
    first, second = (unrolled.load_language_model(each) for each in (run, path))
    scores = [
        each.evaluate(first.held_out("valid")).scores["perplexity"] for each in (first, second)
    ]
    assert scores[0] == pytest.approx(scores[1], rel=0.02)
    assert scores[0] != scores[1]
    capsys.readouterr()
    assert main(["generate", str(path)]) == 2
    assert "reads from left to right" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["sql", "code"])
def test_tasks_with_a_constrained_search_say_why_and_what_instead(task: str) -> None:
    from unrolled.exports.kinds import kind_of

    with pytest.raises(unrolled.ConfigError, match=r"part of Unrolled .*; answer with 'unrolled"):
        kind_of(TASKS[task])


def test_pretrained_encoders_are_rounded(
    run_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("unrolled.exports.inputs._N_MADE", 6)
    command = ["export", str(run_of("tag pretrained")), "--onnx", str(tmp_path / "export")]
    assert main([*command, "--precision", "int8"]) == 0


def test_a_tagger_of_words_only_is_written_in_c(run_of: Any, tmp_path: Path) -> None:
    assert main(["export", str(run_of("words only")), "--c", str(tmp_path / "export")]) == 0


KINDS = ("ensemble", "characters", "ngrams", "all", "pretrained", "pair pretrained", "features")


@pytest.mark.parametrize("name", KINDS)
def test_kinds_explain_words(name: str, run_of: Any, capsys: Any) -> None:
    for method in ("gradients", "occlusion"):
        assert main(["predict", str(run_of(name)), *texts_of(name), "--words", method]) == 0
        assert "good" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*KINDS, "tag pretrained", "convolution"])
def test_kinds_are_evaluated(name: str, run_of: Any, tmp_path: Path) -> None:
    assert main(["evaluate", str(run_of(name)), "--out", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report/report.html").exists()


@pytest.mark.parametrize("name", [*KINDS[1:], "tag pretrained", "convolution"])
def test_kinds_are_inspected(name: str, run_of: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["inspect", str(run_of(name)), *texts_of(name), "--out", str(page)]) == 0
    assert page.exists()


REFUSED_TEXTS = {
    ("inspect", "ensemble"): "is an ensemble, and inspection reads one run",
    ("inspect", "backward"): "needs a language model that reads from left to right",
    ("predict", "backward"): "needs a language model that reads from left to right",
}


@pytest.mark.parametrize(("command", "name"), REFUSED_TEXTS)
def test_a_command_says_what_it_needs(command: str, name: str, run_of: Any, capsys: Any) -> None:
    assert main([command, str(run_of(name)), "a good film"]) == 2
    assert REFUSED_TEXTS[command, name] in capsys.readouterr().err


def test_an_ensemble_learns_from_an_ensemble(run_of: Any, tmp_path: Path, capsys: Any) -> None:
    teacher = run_of("ensemble")
    command = ["train", "--task", "classify", "--data", str(teacher.parent / "classify.tsv")]
    command += ["--ensemble", "2", "--distill", str(teacher), "--out", str(tmp_path / "run")]
    command += ["--training.max_steps", "1", "--model.hidden_size", "6", "--baselines", "none"]
    assert main([*command, "--model.ngrams", "1"]) == 0
    assert main(["predict", str(tmp_path / "run"), "a good film"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split("\t")[0].split()[0] in ("yes", "no")


def test_final_pooling_has_the_characters_of_the_last_word() -> None:
    config = ClassifyConfig(
        embedding_size=4,
        pretrained=("run",),
        pretrained_sizes=(6,),
        characters="recurrent",
        char_size=3,
        pooling="final",
    )
    model = Classifier(config, 11, 2, n_characters=5).eval()
    text = Padded(torch.randn(2, 3, 4 + 6), torch.tensor([3, 2]))
    hidden, _ = model.read(text)
    assert hidden.shape == (2, 6 + 6)
    torch.testing.assert_close(hidden[:, 6:], text.values[[0, 1], [2, 1], 4:])
