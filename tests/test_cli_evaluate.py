"""What `unrolled evaluate` prints, and from where it finds the data of a run."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from unrolled import cli
from unrolled.cli.options import print_message
from unrolled.cli.train import print_baselines
from unrolled.metrics.intervals import Comparison
from unrolled.metrics.labels import measure_labels
from unrolled.predictors.run_baselines import chosen_baselines, estimated_seconds
from unrolled.quoting import shell_command
from unrolled.tasks import TASKS

WORDS = {"neg": "bad", "pos": "good"}
ROWS = [(f"a {WORDS[label]} film {i}", label) for i in range(16) for label in WORDS]
QUICK = [
    "--model.hidden_size=4",
    "--model.embedding_size=4",
    "--training.max_epochs=1",
    "--training.threads=1",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run that was trained in it, with relative paths."""
    folder = tmp_path_factory.mktemp("a project")
    for name in ("train", "test"):
        rows = "".join(f"{text}\t{label}\n" for text, label in ROWS)
        (folder / f"{name}.tsv").write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        arguments = ["train", "--task", "classify", "--data", "train.tsv", "--test", "test.tsv"]
        assert cli.main([*arguments, "--out", "my runs/it's", *QUICK]) == 0
    return folder


def test_scores_are_printed_once_within_80_columns(project: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["evaluate", "my runs/it's"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == "my runs/it's on the test part (test.tsv)"
    assert lines[1].startswith("32 rows in ")
    names = [line.split("  ")[0] for line in lines]
    assert [names.count(name) for name in ("accuracy", "macro F1", "weighted F1")] == [1, 1, 1]
    assert "micro" not in printed
    assert "|" not in printed  # signatures
    assert "gold  neg  pos" in printed
    assert "\x1b" not in printed
    assert max(map(len, lines)) <= 80


def test_signatures_are_printed_on_request(project: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(project)
    assert cli.main(["evaluate", "my runs/it's", "--split", "valid", "--signatures"]) == 0
    printed = capsys.readouterr().out
    assert "on the validation part (held out of train.tsv)" in printed
    assert "n:2|classes:2|right / all" in printed


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("--precision int8", "--precision does not apply to task 'classify'; remove it"),
        ("--cache 10", "--cache does not apply to task 'classify'; remove it"),
        (
            "--decoding.beam_size 3",
            "--decoding.beam_size does not apply to task 'classify'; remove it",
        ),
    ],
)
def test_options_of_other_tasks_are_refused(project: Path, capsys, option, problem) -> None:
    assert cli.main(["evaluate", str(project / "my runs/it's"), *option.split()]) == 2
    assert capsys.readouterr().err == f"unrolled: {problem}\n"


@pytest.mark.parametrize("option", ["--words gradients", "--out x", "--shuffle-words"])
@pytest.mark.parametrize(
    ("folder", "task"), [("translate", "translate"), ("words", "language_model")]
)
def test_options_of_labels_are_refused_by_others(capsys, folder, task, option) -> None:
    run = Path(__file__).parent / "old_files" / folder / "run"
    assert cli.main(["evaluate", str(run), *option.split()]) == 2
    name = option.split()[0]
    wanted = f"unrolled: {name} does not apply to task '{task}'; remove it\n"
    assert capsys.readouterr().err == wanted


def test_data_are_found_from_any_folder(project: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    run = project / "my runs/it's"
    for folder in (tmp_path, run, project / "my runs"):
        monkeypatch.chdir(folder)
        assert cli.main(["evaluate", str(run), "--words", "none"]) == 0
        assert "32 rows" in capsys.readouterr().out
    # Another file of the same name is not taken for that of the run.
    (tmp_path / "test.tsv").write_text("text\tlabel\nbad\tpos\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", str(run), "--words", "none"]) == 0
    assert "32 rows" in capsys.readouterr().out


def test_a_run_is_resumed_from_any_folder(
    project: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    copy = project / "copy"
    shutil.copytree(project / "my runs/it's", copy)
    settings = (copy / "config.toml").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--resume", "--out", str(copy), "--training.max_epochs", "2"]
    assert cli.main(arguments) == 0
    assert "event=start step=1 " in capsys.readouterr().out
    after = (copy / "config.toml").read_text(encoding="utf-8")
    assert after == settings.replace("max_epochs = 1", "max_epochs = 2")


def test_missing_data_are_named_with_what_to_do(project: Path, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "moved"
    shutil.copytree(project / "my runs/it's", copy)
    assert cli.main(["evaluate", str(copy)]) == 2
    assert capsys.readouterr().err == (
        f"unrolled: test.tsv: no such file here or in a folder above {copy}; run the command in the "
        "folder in which the run was trained, or score other files with --data FILE\n"
    )


def test_printed_commands_can_be_pasted(project: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "it's $HOME"
    data = str(project / "train.tsv")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--task", "classify", "--data", data, "--out", str(out), *QUICK]) == 0
    lines = map(shlex.split, capsys.readouterr().out.splitlines())
    tries = [line[1].removeprefix("command=") for line in lines if line[0] == "event=try"]
    assert list(map(shlex.split, tries)) == [
        ["unrolled", "predict", str(out), "…"],
        ["unrolled", "evaluate", str(out)],
    ]
    assert shell_command("unrolled", Path("-x y")) == "unrolled './-x y'"


def test_baselines_are_chosen_by_name() -> None:
    assert chosen_baselines(TASKS["classify"], ["NB-SVM,majority"]) == ("majority", "nb_svm")
    assert chosen_baselines(TASKS["tag"], []) == ("frequent_tag", "token_logistic")
    assert estimated_seconds("nb_svm", 10**6, 2) == 14
    assert estimated_seconds("unigrams", 10**6, 10) > estimated_seconds("unigrams", 10**6, 2)


def test_chosen_baselines_are_fitted_and_announced(project: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "run"
    arguments = ["train", "--task", "classify", "--data", str(project / "train.tsv"), *QUICK]
    assert cli.main([*arguments, "--out", str(out), "--baselines", "nb_svn"]) == 2
    assert capsys.readouterr().err == (
        "unrolled: --baselines: unknown 'nb_svn'; did you mean 'nb_svm'?; for task 'classify', there "
        "are majority, unigrams, bigrams, trigrams, nb_logistic, nb_svm\n"
    )
    assert not out.exists()
    assert cli.main([*arguments, "--out", str(out), "--baselines", "nb_svm,majority"]) == 0
    *_, last = printed = capsys.readouterr().out.splitlines()[-4:]
    assert last.startswith("event=comparison metric=accuracy model=")
    assert re.fullmatch(
        r'event=baselines fitting="majority, nb_svm" rows=\d+ tokens=\d+ expected_seconds=1',
        printed[0],
    )
    assert [line.split()[:2] for line in printed[1:-1]] == [
        ["event=baseline", "name=majority"],
        ["event=baseline", "name=nb_svm"],
    ]
    assert sorted(path.name for path in (out / "baselines").iterdir()) == ["majority", "nb_svm"]


def test_evaluate_says_where_baselines_are_fitted(capsys) -> None:
    for value in (["--baselines"], ["--baselines", "majority"], ["--baselines=majority"]):
        assert cli.main(["evaluate", "run", *value]) == 2
        assert capsys.readouterr().err == (
            "unrolled: unknown option --baselines; to fit the baselines of a run, use 'unrolled train "
            "--resume --out RUN --baselines', and evaluate compares with them\n"
        )


def test_baselines_are_announced_within_the_width_of_a_terminal(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    run = tmp_path / "run"
    data = str(project / "train.tsv")
    train = ["train", "--task", "classify", "--data", data, *QUICK, "--out", str(run)]
    assert cli.main(train) == 0
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=40, highlight=False)
    monkeypatch.setattr("unrolled.cli.baseline_view.default_console", lambda: console)
    print_baselines(run, ["majority"])
    lines = terminal.getvalue().splitlines()
    assert lines[0] == "baselines: fitting majority on 28 rows,"
    assert lines[-2].startswith("baseline majority · valid accuracy ")
    assert max(len(line) for line in lines) <= 40


def test_the_smallest_p_value_is_a_bound() -> None:
    comparison = Comparison("accuracy", 0.9, 0.5, 0.3, 0.5, 2 / 10_001, "", p_floor=2 / 10_001)
    assert comparison.p_shown == "< 0.0002"
    assert Comparison("accuracy", 0.9, 0.5, 0.3, 0.5, 0.0123, "").p_shown == "= 0.0123"


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("n", [2, 7, 12, 60])
def test_tables_of_classes_keep_to_the_width(n: int, width: int) -> None:
    names = [f"a_long_name_of_class_{number}" for number in range(n)]
    gold = [number % n for number in range(500)]
    lines = list(measure_labels(names, gold, gold[::-1]).lines(width))
    assert max(map(len, lines)) <= width
    heads = [line for line in lines if line.startswith("gold ") and "…" in line]
    for head in heads:
        columns = head.split()[1:]
        assert len(set(columns)) == len(columns)


def test_columns_of_other_files_may_be_named(project: Path, tmp_path: Path, capsys) -> None:
    run = str(project / "my runs/it's")
    other = tmp_path / "other.csv"
    other.write_text("".join(f"{label},{text}\n" for text, label in ROWS), encoding="utf-8")
    named = tmp_path / "named.tsv"
    named.write_text("text\tlabel\n" + "".join(f"{t}\t{n}\n" for t, n in ROWS), encoding="utf-8")
    scores = []
    record = tmp_path / "scores.jsonl"
    for options in (
        ["--data", str(named)],
        ["--data", str(other), "--columns", "2", "1", "--data.header", "no"],
    ):
        assert cli.main(["evaluate", run, *options, "--record", str(record)]) == 0
        line = json.loads(record.read_text(encoding="utf-8").splitlines()[-1])
        scores.append((line["rows"], line["accuracy"], line["nll"]))
    assert scores[0] == scores[1]
    assert scores[0][0] == len(ROWS)
    capsys.readouterr()
    assert cli.main(["evaluate", run, "--columns", "2", "1"]) == 2
    told = "--columns describes other files; give them with --data"
    assert capsys.readouterr().err == f"unrolled: {told}\n"


def test_a_narrow_terminal_breaks_no_path_and_no_word(project: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(project)
    deep = project / "a folder" / "with a long name"
    deep.mkdir(parents=True, exist_ok=True)
    shutil.copy("test.tsv", deep / "of the test.tsv")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["evaluate", "my runs/it's", "--data", str(deep / "of the test.tsv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    run = Path("my runs", "it's")
    assert lines[:2] == [f"{run} on", str(deep / "of the test.tsv")]
    assert str(run / "evaluation-of the test" / "predictions.jsonl") in lines
    long = [line for line in lines if len(line) > 40]
    assert all(line.endswith((".tsv", ".html", ".jsonl")) for line in long)
    assert sum(line.startswith("length in tokens") for line in lines) == 2  # one below the other


def test_messages_are_wrapped_at_a_terminal_only(monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    text = "no such file; run `unrolled data FILE --task classify` first"
    print_message(text, "note: ")
    assert stream.getvalue() == f"note: {text}\n"
    stream.truncate(0)
    stream.seek(0)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(stream, "fileno", lambda: 2, raising=False)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((20, 24)))
    print_message(text, "note: ")
    assert stream.getvalue().splitlines() == [
        "note: no such file;",
        "run",
        "`unrolled data FILE --task classify`",
        "first",
    ]
