"""`unrolled inspect`: of runs and of recipes, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import unrolled
from unrolled.cli import main
from unrolled.tasks import TASKS

pytestmark = pytest.mark.usefixtures("one_thread")

TEXT = "I see two red cats."


def run_of(task: str, rows: str, folder: Path, ending: str = "tsv", **model: Any) -> Path:
    """A run of one update."""
    data = folder / f"{task}.{ending}"
    data.write_text(rows, encoding="utf-8")
    mapping = {
        "task": task,
        "data": {"train": [str(data)], "valid": [str(data)], "test": [str(data)]},
        "model": {"embedding_size": 4, "hidden_size": 6, **model},
        "training": {"max_steps": 1},
    }
    unrolled.train(unrolled.Recipe.from_mapping(mapping, TASKS), folder / task)
    return folder / task


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each task but translation and queries."""
    folder = tmp_path_factory.mktemp("runs")
    rows = (f"a good film {n}\tyes\na bad story {n}\tno\n" for n in range(20))
    classes = "text\tlabel\n" + "".join(rows)
    pairs = "first\tsecond\tlabel\n" + "a cat\tan animal\tyes\na dog\ta cat\tno\n" * 10
    tags = "a DET\ncat NOUN\nsees VERB\n\n" * 10
    return {
        "classify": run_of("classify", classes, folder),
        "pair": run_of("pair", pairs, folder, encoder="word_by_word"),
        "tag": run_of("tag", tags, folder, ending="conll", char_size=2),
        "language_model": run_of("language_model", "a cat sees a dog\n" * 99, folder, ending="txt"),
    }


TEXTS = {"classify": ["a good film"], "pair": ["a cat", "a dog"], "tag": ["a cat sees"],
         "language_model": ["a cat sees a dog"]}  # fmt: skip


@pytest.mark.parametrize("task", TEXTS)
def test_a_run_is_inspected_on_a_text(task: str, runs: dict[str, Path], capsys: Any) -> None:
    assert main(["inspect", str(runs[task]), *TEXTS[task]]) == 0
    out = capsys.readouterr().out
    assert "gradients of the loss of one text (" in out
    assert "healthy" in out or "vanishing gradient" in out
    assert "mean derivative" in out
    assert out.startswith("answer: ") == (task != "language_model")


def test_a_translator_is_inspected(trained_run: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "trace.csv"
    assert main(["inspect", str(trained_run), TEXT, "--csv", str(file)]) == 0
    shown = capsys.readouterr()
    assert "decoder.recurrent layer 0 forward" in shown.out
    assert shown.err == f"wrote {file}\n"
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    assert header.startswith("module,layer,direction,row,step,token,internal,unit,value")
    assert any(",red,f," in line for line in lines)
    given = ["--answer", "Veo dos gatos."]
    assert main(["inspect", str(trained_run), TEXT, *given]) == 0
    assert capsys.readouterr().out.startswith("answer: Veo dos gatos.\n")


def test_a_recipe_is_inspected_before_training(
    recipe_file: Path, pairs_file: Path, tmp_path: Path, capsys: Any
) -> None:
    data = ["--data", str(pairs_file)]
    assert main(["inspect", str(recipe_file), *data, "--training.learning_rate", "1e4"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("a new model of task 'translate' with ")
    assert "nothing was trained" in out
    assert "share of its norm" in out
    assert "learning rate too high" in out
    assert "change: training.learning_rate = " in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], 'give a text to read: unrolled inspect RUN "…"'),
        (["RUN", ""], "nothing to inspect: the text is empty"),
        (["RUN", "  "], "nothing to inspect: the text is empty"),
        (["RUN", "a", "b"], "this model reads text, got 2 texts"),
        (["RUN", "a", "--answer", "maybe"], "'maybe'"),
        (
            ["RUN", "a", "--training.seed", "3"],
            "is a trained run; leave out --task, --data, --columns",
        ),
        (["RUN", "a", "--csv", "t.txt"], "--csv t.txt: end the file name in .csv"),
        (
            ["RUN", "a", "--csv", "no/t.csv"],
            "folder 'no' does not exist; create it, or choose another",
        ),
        (["RUN", "a", "--out", "no/t.html"], "folder 'no' does not exist"),
        (["RUN", "a", "--out", "t.pdf"], "--out t.pdf: end the file name in .html"),
        (["RUN", "a", "--figures", "no/t"], "folder 'no' does not exist"),
        (["RUN", "a", "--figures", "r.toml"], "--figures r.toml is a file; name a folder"),
        (["RUN", "a", "--compare", "no_such"], "no_such: no such run or recipe"),
        (["RUN", "a", "--compare", "r.toml"], "r.toml is a recipe; --compare needs a trained run"),
        (["RUN", "a", "--compare", "RUN", "--csv", "t.csv"], "--csv writes the gates of one run"),
        (["r.toml", "--compare", "RUN"], "--compare needs a trained run, and r.toml is none"),
        (["no_such"], "no_such: no such run or recipe"),
        (["."], ". is not a run folder"),
        ([], "nothing to inspect; give a run and a text, or a recipe, or --data FILE"),
        (["r.toml", "a"], "a text needs a trained run, and r.toml is none"),
        (["r.toml", "--csv", "t.csv"], "--csv needs a trained run, and r.toml is none"),
    ],
)
def test_what_cannot_be_inspected_is_refused(
    arguments: list[str],
    message: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text('task = "classify"\n', encoding="utf-8")
    run = str(runs["classify"])
    given = [run if argument == "RUN" else argument for argument in arguments]
    assert main(["inspect", *given]) == 2
    shown = capsys.readouterr()
    assert message.replace("RUN", run) in shown.err
    assert shown.err.startswith("unrolled: ")
    assert shown.err.count("\n") == 1


def test_a_long_text_is_cut_and_said(runs: dict[str, Path], capsys: Any) -> None:
    assert main(["inspect", str(runs["classify"]), "good film " * 25_000]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "note: the text has 50,000 tokens; the first 1,000 are inspected" in out


def test_files_that_cannot_be_written_are_refused(
    runs: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    run = str(runs["classify"])
    for option, name in (("--out", "folder.html"), ("--csv", "folder.csv")):
        (tmp_path / name).mkdir()
        assert main(["inspect", run, "a good film", option, str(tmp_path / name)]) == 2
        assert f"cannot write {tmp_path / name}" in capsys.readouterr().err
        assert list((tmp_path / name).iterdir()) == []


def test_all_files_of_a_text_are_written(
    runs: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("matplotlib")
    page, folder = tmp_path / "page.html", tmp_path / "figures"
    options = ["--out", str(page), "--figures", str(folder)]
    assert main(["inspect", str(runs["language_model"]), "a cat sees", *options]) == 0
    n = len(list(folder.iterdir()))
    assert capsys.readouterr().err == f"wrote {page}\nwrote {n} files to {folder}\n"
    assert {"next-tokens.svg", "next-tokens.png", "next-tokens.csv"} <= {
        path.name for path in folder.iterdir()
    }
    assert "<h2>Next tokens</h2>" in page.read_text(encoding="utf-8")


def test_two_runs_are_compared_on_a_text(
    runs: dict[str, Path], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    folder = runs["classify"].parent / "other"
    folder.mkdir(exist_ok=True)
    rows = "text\tlabel\n" + "".join(
        f"a good film {n}\tyes\na bad story {n}\tno\n" for n in range(9)
    )
    other = run_of("classify", rows, folder, cell="rnn")
    page = tmp_path / "page.html"
    options = ["--compare", str(other), "--out", str(page)]
    assert main(["inspect", str(runs["classify"]), "a good film", *options]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == [str(runs["classify"]), str(other)]
    assert [line.split("  ")[0] for line in lines][:2] == ["answer", "loss, nats per target"]
    text = page.read_text(encoding="utf-8")
    assert text.count('<div class="side-by-side">') == 5
    assert main(["inspect", str(runs["classify"]), "a b", "--compare", str(runs["tag"])]) == 2
    assert "of task 'tag'; compare two runs of one task" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["tag", "language_model"])
def test_a_text_of_50_000_tokens_is_cut(task: str, runs: dict[str, Path], capsys: Any) -> None:
    assert main(["inspect", str(runs[task]), ("a cat " * 25_000).strip()]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"the text has 50,000 tokens; the first (999|1,000) are inspected", out)


def test_training_takes_the_interval(runs: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    data = runs["classify"].parent / "classify.tsv"
    options = ["--task", "classify", "--data", str(data), "--training.max_steps", "4"]
    options += ["--model.hidden_size", "6", "--out", str(tmp_path / "run")]
    assert main(["train", *options, "--inspect-every", "2"]) == 0
    assert "event=inspection step=2 verdict=" in capsys.readouterr().out
    assert main(["train", *options, "--force", "--inspect-every", "-1"]) == 2
    assert "--inspect-every must be at least 0, got -1" in capsys.readouterr().err


def test_a_loss_that_jumps_is_shown(runs: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    data = runs["classify"].parent / "classify.tsv"
    options = ["--task", "classify", "--data", str(data), "--training.max_steps", "6"]
    options += ["--training.learning_rate", "1e4", "--out", str(tmp_path / "run")]
    assert main(["train", *options]) == 0
    assert 'event=warning step=2 text="the loss has jumped.' in capsys.readouterr().out
