"""`unrolled data` and `unrolled config` at the command line: cost, sums, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from unrolled import cli
from unrolled.data_report.cost import Estimate, about
from unrolled.training.config import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = ("--model.embedding_size=4", "--model.hidden_size=4", "--training.device=cpu")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def table(path: Path, rows: list[tuple[str, ...]], *names: str) -> Path:
    return write(path, "".join("\t".join(row) + "\n" for row in (names, *rows)))


LABELLED = [
    (f"number {n} is {'fine' if n % 2 else 'dull'}", ("bad", "good")[n % 2]) for n in range(60)
]


def data_of(task: str, folder: Path) -> tuple[str, ...]:
    if task == "language_model":
        return (str(write(folder / "a.txt", "to be or not to be\n" * 2000)),)
    if task == "tag":
        return (str(write(folder / "a.conll", "".join(f"a{n} X\nb Y\n\n" for n in range(60)))),)
    if task == "pair":
        rows = [(text, f"it {n}", label) for n, (text, label) in enumerate(LABELLED)]
        return (str(table(folder / "a.tsv", rows, "first", "second", "label")),)
    rows = LABELLED if task == "classify" else [(a, f"so {a}") for a, _ in LABELLED]
    return (str(table(folder / "a.tsv", rows, "text", "label")), "--task", task)


def report(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    assert cli.main(["data", *map(str, arguments)]) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert cli.main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err.removeprefix("unrolled: ").rstrip()


@pytest.mark.parametrize("task", ["translate", "language_model", "classify", "pair", "tag"])
def test_every_task_has_time_and_memory(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    lines = report(capsys, *data_of(task, tmp_path), *SMALL)
    (time,) = (line for line in lines if line.startswith("time "))
    assert re.search(
        r"an epoch takes about .+ \(\d+ updates? of .+\), an evaluation .+, reading", time
    )
    (end,) = (line for line in lines if line.startswith("end "))
    measure = "accuracy" if task == "pair" else "loss"
    usual = f"without a better validation {measure}: at least"
    suited = "(training.max_epochs = "  # the settings that suit few rows
    assert (suited if task == "classify" else usual) in end
    (memory,) = (line for line in lines if line.startswith("memory "))
    assert re.search(r"about [\d.]+ GB at the peak; \d+ MB of it for weights", memory)


def estimate(**training: object) -> Estimate:
    config = TrainingConfig(**training)  # type: ignore[arg-type]
    return Estimate(1.0, 20.0, 40, 3.0, 10**9, 10**8, "cpu", config)


def test_the_end_follows_from_patience_and_limits() -> None:
    # 40 steps per epoch: an evaluation after each, the first improves, then 1,000 steps do not.
    default = estimate()
    assert default.least_steps == 40 + 1000
    assert default.seconds_of(default.least_steps) == pytest.approx(1040 * 0.5 + 26 * 3)
    facts = dict(default.facts())
    assert facts["end"] == (
        "training ends after 5 evaluations and 1,000 steps without a better validation loss: at least "
        "9 min 58 s (1,040 steps, 26 epochs)"
    )
    assert "40 updates of 0.5 s" in facts["time"]
    assert facts["memory"].startswith("about 1.0 GB at the peak; 0.1 GB of it")
    limited = dict(estimate(max_epochs=3, patience=2).facts())["end"]
    assert limited == (
        "training ends after about 1 min 9 s (training.max_epochs = 3); it ends earlier after 2 "
        "evaluations without a better validation loss: at least 1 min 9 s (120 steps, 3 epochs)"
    )
    alone = dict(estimate(max_minutes=2, patience=0).facts())["end"]
    assert alone == "training ends after about 2 min (training.max_minutes = 2)"


def test_durations_have_two_units_at_most() -> None:
    seconds = (0.001, 7.26, 59.6, 600, 3 * 3600 + 60, 90_000)
    assert [about(each) for each in seconds] == [
        "1 ms", "7.3 s", "1 min", "10 min", "3 h 1 min", "1 d 1 h",
    ]  # fmt: skip


def test_rows_add_up_in_the_report_and_in_training(tmp_path: Path, capsys) -> None:
    repeated = [("the same", "good"), ("the  same", "good")] * 2
    rows = [*LABELLED, *repeated, ("", "good"), ("long " * 30, "bad")]
    path = table(tmp_path / "a.tsv", rows, "text", "label")
    sizes = ("--data.valid_size=25", "--data.test_size=25", "--data.max_length=20")
    options = (*SMALL, *sizes, "--data.too_long=skip")
    lines = report(capsys, path, *options)
    text = " ".join(" ".join(lines).split())
    found = re.search(
        r"rows (\d+) read = (\d+) train \+ (\d+) valid \+ (\d+) test \+ (\d+) left", text
    )
    assert found is not None
    n_read, *terms = map(int, found.groups())
    assert n_read == len(rows) == sum(terms)
    run = tmp_path / "run"
    arguments = ["train", "--task", "classify", "--data", str(path), "--out", str(run), *options]
    assert cli.main([*arguments, "--training.max_steps=1"]) == 0
    printed = capsys.readouterr().out
    train, valid, test, left_out = terms
    sizes = f"rows_train={train} rows_valid={valid} rows_test={test} left_out={left_out} "
    assert sizes in printed
    assert f"rows: {n_read} read = {train} train + {valid} valid + {test} test" in printed
    split = json.loads((run / "split.json").read_text("utf-8"))
    assert split["sizes"] == {"train": train, "valid": valid, "test": test}


def test_a_small_validation_part_is_a_warning(tmp_path: Path, capsys) -> None:
    path = table(tmp_path / "a.tsv", LABELLED[:20], "text", "label")
    warning = (
        "valid: 1 row is too few to choose the best model by (100.0% of a score); give a file with "
        "--valid, or more data"
    )
    assert warning in " ".join(" ".join(report(capsys, path, *SMALL)).split())
    run = ("train", "--task", "classify", "--data", str(path), "--out", str(tmp_path / "run"))
    assert cli.main([*run, *SMALL, "--training.max_steps=1"]) == 0
    assert f'event=note text="{warning}"' in capsys.readouterr().out
    large = table(tmp_path / "b.tsv", LABELLED, "text", "label")
    assert "too few" not in " ".join(report(capsys, large, *SMALL, "--data.valid_size=20"))


def test_texts_shared_by_side_are_counted_for_pairs(tmp_path: Path, capsys) -> None:
    rows = [(text, f"it {n}", label) for n, (text, label) in enumerate(LABELLED)]
    train = table(tmp_path / "a.tsv", rows, "first", "second", "label")
    other = [(rows[0][0], "new", "bad"), (rows[1][0], rows[1][1], "good"), ("x", "y", "bad")]
    valid = table(tmp_path / "b.tsv", other, "first", "second", "label")
    cells = [
        line.split() for line in report(capsys, train, "--valid", valid, "--test", valid, *SMALL)
    ]
    assert ["first", "2", "(66.7%)", "2", "(66.7%)"] in cells
    assert ["second", "1", "(33.3%)", "1", "(33.3%)"] in cells
    assert ["both", "texts", "1", "(33.3%)", "1", "(33.3%)"] in cells


def test_groups_are_kept_by_runs_and_counted(tmp_path: Path, capsys) -> None:
    rows = [(text, label, f"p{n % 20}") for n, (text, label) in enumerate(LABELLED)]
    path = table(tmp_path / "a.tsv", rows, "text", "label", "patient")
    text = " ".join(
        " ".join(report(capsys, path, *SMALL, "--task", "classify", "--data.group=patient")).split()
    )
    assert (
        "groups 'patient': 18 in train, 1 in valid, 1 in test; none of train in another part"
        in text
    )
    run = tmp_path / "run"
    arguments = ["train", "--task", "classify", "--data", str(path), "--out", str(run), *SMALL]
    assert cli.main([*arguments, "--data.group=patient", "--training.max_steps=1"]) == 0
    assert json.loads((run / "split.json").read_text("utf-8"))["sizes"]["test"] == 3
    assert 'group = "patient"' in (run / "config.toml").read_text("utf-8")
    assert cli.main(["train", "--resume", "--out", str(run), "--training.max_steps=2"]) == 0
    assert cli.main(["evaluate", str(run), "--words=none"]) == 0
    predicted = (run / "evaluation-test/predictions.jsonl").read_text("utf-8").splitlines()
    assert len({int(json.loads(line)["text"].split()[1]) % 20 for line in predicted}) == 1
    capsys.readouterr()
    sentence = refusal(capsys, *arguments, "--resume", "--data.group=label")
    assert sentence.startswith("data.group is 'label', but")
    sentence = refusal(capsys, "config", "--task", "language_model", "--data.group=patient")
    assert "reads running text; remove it" in sentence


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--task=translate", "--model.tied_embeddings=all"), "set text.shared = true"),
        (("--task=language_model", "--model.head=sampled"), "model.head is 'sampled'"),
        (("--task=classify", "--training.metric=mean_f1"), "not available for these labels"),
        (("--task=pair", "--training.patience=0"), "training has no stopping criterion"),
        (("--task=tag", "--text.kind=bpe"), "text.kind is 'bpe'"),
        (("--task=classify", "--training.metric=bleu"), "training.metric must be one of"),
    ],
)
def test_config_and_training_refuse_the_same(
    tmp_path: Path, capsys, arguments: tuple[str, ...], problem: str
) -> None:
    sentence = refusal(capsys, "config", *arguments)
    assert problem in sentence
    missing = tmp_path / "missing.tsv"  # settings are checked before any file
    run = ("--data", missing, "--out", tmp_path / "run")
    assert refusal(capsys, "train", *arguments, *run) == sentence


@pytest.mark.parametrize("task", ["translate", "language_model", "classify", "pair", "tag"])
def test_config_refuses_missing_files_and_columns(tmp_path: Path, capsys, task: str) -> None:
    missing = tmp_path / "missing.txt"
    run = ("--task", task, "--data", missing)
    sentence = refusal(capsys, "config", *run)
    assert sentence == refusal(capsys, "train", *run, "--out", tmp_path / "run")
    assert sentence.startswith(f"{missing}: ")
    if task not in ("language_model", "tag"):
        wide = table(tmp_path / "a.tsv", [("a", "b", "c", "d")], "a", "b", "c", "d")
        assert "found 4: a, b, c, d" in refusal(capsys, "config", "--task", task, "--data", wide)


@pytest.mark.parametrize("width", [80, 120])
def test_the_report_fits_the_screen(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for task, measure in (("pair", "accuracy"), ("language_model", "loss")):
        (tmp_path / task).mkdir()
        lines = report(capsys, *data_of(task, tmp_path / task), *SMALL)
        assert max(map(len, lines)) <= width
        page = " ".join(" ".join(lines).split())
        assert f"without a better validation {measure}: at least" in page


def test_many_labels_make_a_short_report(tmp_path: Path, capsys) -> None:
    rows = [(f"text {n}", f"label {n % 900}") for n in range(2000)]
    path = table(tmp_path / "a.tsv", rows, "text", "label")
    lines = report(capsys, path, *SMALL)
    assert len(lines) < 70
    assert "… 880 more" in "\n".join(lines)
