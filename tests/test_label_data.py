"""Realistic labelled data at the command line: read as intended, or refused with one message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unrolled import cli

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = (
    "--model.embedding_size=4",
    "--model.hidden_size=4",
    "--text.kind=word",
    "--training.max_tokens=256",
    "--training.device=cpu",
)

ROWS = [(f"number {n} is {'fine' if n % 2 else 'dull'}", ("bad", "good")[n % 2]) for n in range(40)]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8"))
    return path


def table(path: Path, rows: list[tuple[str, ...]], *names: str) -> Path:
    lines = ["\t".join(each) for each in (names or ("text", "label"), *rows)]
    return write(path, "\n".join(lines) + "\n")


def train(
    data: Path, out: Path, *options: str | Path, task: str = "classify", steps: int = 3
) -> int:
    arguments = ["train", "--task", task, "--data", str(data), "--out", str(out), *SMALL]
    return cli.main([*arguments, f"--training.max_steps={steps}", *map(str, options)])


def labels_of(run: Path) -> list[str]:
    return json.loads((run / "labels.json").read_text(encoding="utf-8"))["labels"]


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said.removeprefix("unrolled: ").rstrip()


# Labels


def test_an_unseen_label_names_file_and_line(tmp_path: Path, capsys) -> None:
    data = table(tmp_path / "train.tsv", ROWS)
    valid = table(tmp_path / "valid.tsv", [*ROWS[:3], ("number 9 is fine", "goood")])
    assert train(data, tmp_path / "run", "--valid", valid) == 2
    assert refused(capsys) == (
        f"{valid}, line 5, field 'label': label 'goood' is not among the training labels (bad, good); "
        "did you mean 'good'?"
    )
    assert not (tmp_path / "run").exists()


def test_an_unseen_test_label_is_refused_before_training(tmp_path: Path, capsys) -> None:
    data = table(tmp_path / "train.tsv", ROWS)
    test = table(tmp_path / "test.tsv", [*ROWS[:3], ("number 9 is fine", "goood")])
    assert train(data, tmp_path / "run", "--test", test) == 2
    assert refused(capsys).startswith(f"{test}, line 5, field 'label': label 'goood' is not among")
    assert not (tmp_path / "run").exists()
    tags = write(tmp_path / "train.conll", "".join(f"a{n} X\nb Y\n\n" for n in range(30)))
    others = write(tmp_path / "test.conll", "a X\nb Y\n\nb Y\na Z\n")
    assert train(tags, tmp_path / "run", "--test", others, task="tag") == 2
    assert refused(capsys).startswith(f"{others}, line 5, field 'tags': label 'Z' is not among")


def test_a_run_on_a_rare_label_can_be_evaluated(tmp_path: Path, capsys) -> None:
    rows = [(text, f"only {n}" if n % 4 == 1 else label) for n, (text, label) in enumerate(ROWS)]
    data, run = table(tmp_path / "train.tsv", rows), tmp_path / "run"
    assert train(data, run, "--data.valid_size=10", "--data.test_size=10", steps=1) == 0
    assert len(labels_of(run)) == 12
    assert cli.main(["evaluate", str(run), "--words=none"]) == 0
    tags = [f"word{n}{'XYZUVW'[n % 6]} {'XYZUVW'[n % 6]}{n if n % 3 else ''}\n" for n in range(40)]
    data, run = write(tmp_path / "tags.conll", "\n".join(tags)), tmp_path / "tags"
    sizes = ("--data.valid_size=5", "--data.test_size=5")
    assert train(data, run, *sizes, task="tag", steps=1) == 0
    assert cli.main(["evaluate", str(run)]) == 0


def test_task_columns_are_found_by_name_in_any_order(tmp_path: Path, capsys) -> None:
    data = table(tmp_path / "a.tsv", [(label, text) for text, label in ROWS], "label", "text")
    assert train(data, tmp_path / "run", steps=1) == 0
    assert labels_of(tmp_path / "run") == ["bad", "good"]
    lines = (json.dumps({"label": label, "text": text}) for text, label in ROWS)
    data = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert train(data, tmp_path / "other", steps=1) == 0
    assert labels_of(tmp_path / "other") == ["bad", "good"]


def test_a_list_instead_of_a_text_is_refused(tmp_path: Path, capsys) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    lines.insert(6, json.dumps({"text": ["not", "one"], "label": "good"}))
    data = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert train(data, tmp_path / "run") == 2
    assert refused(capsys) == (
        f"{data}, line 7, field 'text': expected text or a number, found list; write it as a string"
    )
    pair = json.dumps({"first": "a", "second": ["b"], "label": "x"})
    data = write(tmp_path / "b.jsonl", pair)
    assert train(data, tmp_path / "run", task="pair") == 2
    assert "line 1, field 'second': expected text or a number" in refused(capsys)


@pytest.mark.parametrize(
    ("metric", "options"),
    [("mean_f1", ()), ("hamming_loss", ("--data.label_separator=|",)), ("accuracy", ("--tag",))],
)
def test_an_unavailable_metric_is_refused_before_training(
    tmp_path: Path, capsys, metric: str, options: tuple[str, ...]
) -> None:
    task = "classify"
    data = table(tmp_path / "train.tsv", ROWS)
    if options == ("--tag",):
        data, task, options = tmp_path / "a.conll", "tag", ()
        data = write(data, "".join(f"a{n} B-X\nb O\n\n" for n in range(30)))
    assert train(data, tmp_path / "run", f"--training.metric={metric}", *options, task=task) == 2
    assert f"training.metric is '{metric}', which is not available for these labels" in refused(
        capsys
    )
    assert not (tmp_path / "run").exists()


def test_baselines_need_a_labelling_task(tmp_path: Path, capsys) -> None:
    data = table(tmp_path / "train.tsv", ROWS, "en", "es")
    assert train(data, tmp_path / "run", "--baselines", task="translate") == 2
    assert refused(capsys) == (
        "--baselines is only available for classify, pair and tag, not for 'translate'; remove it"
    )
    assert not (tmp_path / "run").exists()


def test_a_file_with_only_one_label_is_refused(tmp_path: Path, capsys) -> None:
    data = table(tmp_path / "train.tsv", [(text, "good") for text, _ in ROWS])
    assert train(data, tmp_path / "run") == 2
    assert refused(capsys) == f"{data}: expected at least two different labels, found only 'good'"


def test_a_missing_label_names_the_line(tmp_path: Path, capsys) -> None:
    data = table(tmp_path / "train.tsv", [*ROWS[:7], ("number 7 is dull", "  "), *ROWS[8:]])
    valid = table(tmp_path / "valid.tsv", ROWS)
    assert train(data, tmp_path / "run", "--valid", valid, "--test", valid) == 2
    assert refused(capsys) == (
        f"{data}, line 9: the label is missing; add it, remove the row, or set data.label_separator "
        "if a row may have several labels or none"
    )


def test_spaces_around_a_label_are_ignored(tmp_path: Path, capsys) -> None:
    rows = [(text, f"{label}{' ' * (n % 3)}") for n, (text, label) in enumerate(ROWS)]
    data, run = table(tmp_path / "train.tsv", rows), tmp_path / "run"
    assert train(data, run) == 0
    assert labels_of(run) == ["bad", "good"]
    assert cli.main(["evaluate", str(run), "--data", str(data)]) == 0
    lines = (run / "evaluation-train/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["label"] for line in lines} == {"bad", "good"}


def test_class_weights_help_to_find_a_rare_label(tmp_path: Path, capsys) -> None:
    rows = [
        (
            f"number {n} is {'awful' if n % 20 == 7 else 'fine'} today",
            "bad" if n % 20 == 7 else "good",
        )
        for n in range(200)
    ]
    data, run = table(tmp_path / "train.tsv", rows), tmp_path / "run"
    options = ("--valid", data, "--test", data, "--model.class_weights=balanced")
    steps = ("--training.metric=macro_f1", "--training.learning_rate=0.03")
    assert train(data, run, *options, *steps, steps=120) == 0
    capsys.readouterr()
    assert cli.main(["predict", str(run), "number 500 is awful today"]) == 0
    assert capsys.readouterr().out.startswith("bad\t")
    assert cli.main(["data", *map(str, [data, *options[:4]])]) == 0
    assert "majority  'good', 95.0% of train" in capsys.readouterr().out


# Texts


def test_rows_without_text_are_skipped_and_predicted_empty(tmp_path: Path, capsys) -> None:
    data, run = (
        table(tmp_path / "train.tsv", [*ROWS, ("", "good"), ("  ", "bad")]),
        tmp_path / "run",
    )
    assert train(data, run) == 0
    split = json.loads((run / "split.json").read_text(encoding="utf-8"))
    assert split["empty_side"] == 2
    asked = write(tmp_path / "asked.txt", "number 1 is fine\n\n  \nnumber 2 is dull\n")
    capsys.readouterr()
    assert cli.main(["predict", str(run), "--input", str(asked)]) == 0
    answers = capsys.readouterr().out.splitlines()
    assert [bool(line) for line in answers] == [True, False, False, True]
    other = table(tmp_path / "other.tsv", [("", "good"), ("number 3 is fine", "good")])
    assert cli.main(["evaluate", str(run), "--data", str(other)]) == 0
    assert "2 rows in" in capsys.readouterr().out


def test_text_without_blanks_between_words_gets_a_note(tmp_path: Path, capsys) -> None:
    signs = "我看见一只白狗"
    rows = [
        ("".join(signs[i // 7**k % 7] for k in range(3)) + "好坏"[i % 2], "ab"[i % 2])
        for i in range(99)
    ]
    data = table(tmp_path / "train.tsv", rows)
    note = "valid: 100.0% of the words are unknown; for languages without blanks between words, such as"
    for kind, is_noted in (("word", True), ("char", False)):
        arguments = [
            "train",
            "--task",
            "classify",
            "--data",
            str(data),
            "--out",
            str(tmp_path / kind),
        ]
        small = ["--model.hidden_size=4", "--training.max_steps=2", f"--text.kind={kind}"]
        assert cli.main([*arguments, *small]) == 0
        assert (note in " ".join(capsys.readouterr().out.split())) is is_noted


@pytest.mark.parametrize("keep", ["start", "end"])
def test_a_text_of_50_000_tokens_follows_data_keep(tmp_path: Path, capsys, keep: str) -> None:
    long = " ".join(["dull"] * 25_000 + ["fine"] * 25_000)
    data, run = table(tmp_path / "train.tsv", [*ROWS, (long, "good")]), tmp_path / "run"
    valid = table(tmp_path / "valid.tsv", ROWS)
    options = ("--valid", valid, "--test", valid, f"--data.keep={keep}", "--data.max_length=7")
    assert train(data, run, *options) == 0
    note = "train: 1 text is longer than data.max_length = 7 tokens and truncated (data.keep)"
    assert note in " ".join(capsys.readouterr().out.split())
    assert json.loads((run / "split.json").read_text(encoding="utf-8"))["cut"]["train"] == 1
    assert cli.main(["predict", str(run), long]) == 0
    said = capsys.readouterr()
    assert said.err == (
        f"unrolled: '{long[:30]}…': 49,993 tokens were not read; the run has data.max_length = 7 and "
        f"data.keep = '{keep}'\n"
    )
    word = "dull" if keep == "start" else "fine"
    assert cli.main(["predict", str(run), " ".join([word] * 7)]) == 0
    assert capsys.readouterr().out == said.out
    assert cli.main(["evaluate", str(run), "--data", str(data)]) == 0
    assert (
        "1 text is longer than data.max_length = 7 tokens and truncated" in capsys.readouterr().out
    )


def test_a_quoted_line_break_is_read_in_a_csv(tmp_path: Path, capsys) -> None:
    rows = [
        f'"number {n}\nis {"fine" if n % 2 else "dull"}, I say",{label}'
        for n, (_, label) in enumerate(ROWS)
    ]
    data, run = (
        write(tmp_path / "train.csv", "\r\n".join(["text,label", *rows, ""])),
        tmp_path / "run",
    )
    assert train(data, run) == 0
    assert labels_of(run) == ["bad", "good"]
    other = write(tmp_path / "other.csv", 'text,label\n"one\ntwo",good\n"three\nfour",god\n')
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), "--data", str(other)]) == 2
    assert refused(capsys).startswith(f"{other}, line 4, field 'label': label 'god' is not among")


def test_a_quoted_line_break_is_refused_in_a_tsv(tmp_path: Path, capsys) -> None:
    data = write(tmp_path / "train.tsv", 'text\tlabel\nall is fine\tgood\n"all\nis dull"\tbad\n')
    assert train(data, tmp_path / "run") == 2
    assert refused(capsys) == (
        f"{data}, line 3: expected 2 fields separated by tabs as in the header, found 1; a field of a "
        "TSV cannot span lines, even in quotes: save the file as CSV"
    )


def test_several_texts_are_several_inputs_of_a_run_on_single_texts(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert train(table(tmp_path / "train.tsv", ROWS), run) == 0
    capsys.readouterr()
    assert cli.main(["predict", str(run), "one text", "another"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert cli.main(["predict", str(run), "one", "text"]) == 0
    assert "2 texts of one word each; to give one sentence" in capsys.readouterr().err


def test_white_space_does_not_split_the_texts_of_a_pair(tmp_path: Path, capsys) -> None:
    rows = [
        (f"{a} {n}", f"it is {b}", "same" if a == b else "other")
        for n in range(10)
        for a in ("fine", "dull")
        for b in ("fine", "dull")
    ]
    run = tmp_path / "run"
    data = table(tmp_path / "train.tsv", rows, "first", "second", "label")
    assert train(data, run, task="pair") == 0
    capsys.readouterr()
    assert cli.main(["predict", str(run), "fine\t3", "it is\nfine"]) == 0
    said = capsys.readouterr().out
    assert cli.main(["predict", str(run), "fine 3", "it is fine"]) == 0
    assert capsys.readouterr().out == said
    assert cli.main(["predict", str(run), "fine 3"]) == 2
    assert refused(capsys) == "expected first and second, separated by a tab; found 'fine 3'"


# Column files

SENTENCES = [
    [("Ann", "B-PER"), ("saw", "O"), ("Oslo", "B-LOC")],
    [("Bob", "B-PER"), ("Lee", "I-PER"), ("ran", "O")],
    [("Rain", "O"), ("fell", "O"), ("in", "O"), ("Rome", "B-LOC")],
]
COLUMNS = "\n".join(
    "".join(f"{word}{n if tag == 'O' else ''} X {tag}\n" for word, tag in sentence)
    for n in range(12)
    for sentence in SENTENCES
)


def tag_run(data: Path, out: Path, *options: str | Path) -> int:
    own = ("--data.valid_size=3", "--data.test_size=3", "--model.char_size=2")
    return train(data, out, *own, *options, task="tag")


def test_crlf_comments_and_document_marks_are_ignored(tmp_path: Path, capsys) -> None:
    plain = write(tmp_path / "plain.conll", COLUMNS)
    begin = "-DOCSTART- -X- O\n\n# sent_id = 1\n# text = Ann saw Oslo\n"
    dressed = write(
        tmp_path / "dressed.conll",
        (begin + COLUMNS.replace("\n\n", "\n\n-DOCSTART- -X- O\n\n# next\n", 1)).replace(
            "\n", "\r\n"
        ),
    )
    for path in (plain, dressed):
        assert tag_run(path, tmp_path / path.stem) == 0
        assert labels_of(tmp_path / path.stem) == ["B-LOC", "B-PER", "I-PER", "O"]
    one, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "dressed")
    )
    assert one == other


def test_a_missing_column_names_the_line(tmp_path: Path, capsys) -> None:
    lines = COLUMNS.splitlines()
    lines[5] = "Lee I-PER"
    data = write(tmp_path / "names.conll", "\r\n".join([*lines, ""]))
    assert tag_run(data, tmp_path / "run") == 2
    assert refused(capsys) == (
        f"{data}, line 6: expected 3 columns separated by spaces as in line 1, found 2; put a "
        "blank line between sentences"
    )


def test_an_unseen_tag_names_the_line_of_the_token(tmp_path: Path, capsys) -> None:
    data = write(tmp_path / "names.conll", COLUMNS)
    valid = write(tmp_path / "valid.conll", "-DOCSTART- X O\r\n\r\nAnn X B-PER\r\nLee X I-PRE\r\n")
    assert tag_run(data, tmp_path / "run", "--valid", valid) == 2
    assert refused(capsys) == (
        f"{valid}, line 4, field 'tags': label 'I-PRE' is not among the training labels "
        "(B-LOC, B-PER, I-PER, O); did you mean 'I-PER'?"
    )


def test_an_empty_tag_in_a_list_is_refused(tmp_path: Path, capsys) -> None:
    rows = [{"tokens": ["a", f"b{n}"], "tags": ["X", "" if n == 5 else "Y"]} for n in range(40)]
    data = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    valid = write(tmp_path / "valid.jsonl", json.dumps(rows[0]) + "\n")
    assert tag_run(data, tmp_path / "run", "--valid", valid, "--test", valid) == 2
    assert (
        refused(capsys)
        == f"{data}, line 6: the tag of token 2 is empty; expected one tag per token"
    )


# Labels that are numbers or truth values


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_whole_floats_are_the_same_label_as_integers(ending: str, tmp_path: Path) -> None:
    values = [(text, (0, 0.0, 1, 1.0)[n % 4]) for n, (text, _) in enumerate(ROWS)]
    if ending == "csv":
        lines = ["text,label", *(f"{text},{value}" for text, value in values)]
    else:
        lines = [json.dumps({"text": text, "label": value}) for text, value in values]
    data = write(tmp_path / f"numbers.{ending}", "\n".join(lines) + "\n")
    assert train(data, tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "labels.json").read_text())["labels"] == ["0", "1"]
    integers = table(tmp_path / "test.tsv", [(text, str(int(value))) for text, value in values])
    assert cli.main(["evaluate", str(tmp_path / "run"), "--data", str(integers)]) == 0


def test_truth_values_of_json_are_labels(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text, "label": name == "good"}) for text, name in ROWS]
    assert train(write(tmp_path / "truth.jsonl", "\n".join(lines)), tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "labels.json").read_text())["labels"] == ["false", "true"]
    pandas = table(tmp_path / "test.tsv", [(text, str(name == "good")) for text, name in ROWS])
    assert cli.main(["evaluate", str(tmp_path / "run"), "--data", str(pandas)]) == 0


@pytest.mark.parametrize(("value", "shown"), [("NaN", "NaN"), ("null", "null")])
def test_a_label_that_is_none_is_refused(
    value: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"text": text, "label": name}) for text, name in ROWS]
    lines[6] = f'{{"text": "dull", "label": {value}}}'
    data = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert train(data, tmp_path / "run") == 2
    error = (
        f"{data}, line 7, field 'label': the label is {shown}, which is no label; remove the row"
    )
    assert capsys.readouterr().err == f"unrolled: {error}\n"


def test_a_label_that_often_means_none_gets_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(text, "NaN" if n % 9 == 4 else name) for n, (text, name) in enumerate(ROWS)]
    assert train(table(tmp_path / "a.tsv", rows), tmp_path / "run") == 0
    note = "train: label 'NaN' (4 rows, the first in line 6) often stands for a missing one; if so,"
    assert f'event=note text="{note}' in capsys.readouterr().out


# Tables without a header


def test_no_row_of_a_headerless_table_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join("\t".join(row) + "\n" for row in ROWS)
    data = write(tmp_path / "headless.tsv", lines)
    assert train(data, tmp_path / "run") == 0
    output = capsys.readouterr().out
    assert "(number 0 is dull, bad), reads like a row and is used as one" in output
    assert "rows_train=36 rows_valid=2 rows_test=2" in output
    few = write(tmp_path / "few.tsv", "number 7 is fine\tgood\nnumber 8 is dull\tbad\n")
    assert cli.main(["evaluate", str(tmp_path / "run"), "--data", str(few)]) == 0
    printed = capsys.readouterr()
    assert "2 rows" in printed.out
    assert "has no header" in printed.err
    assert cli.main(["data", str(data), "--task", "classify"]) == 0
    assert "has no header" in capsys.readouterr().out


def test_a_label_in_the_first_column_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "first.tsv", "".join(f"{b}\t{a}\n" for a, b in ROWS))
    assert train(data, tmp_path / "run") == 2
    assert capsys.readouterr().err == (
        f"unrolled: {data}: column '2' is read as the label, but column '1' looks like it; if it is, add "
        "--columns 2 1\n"
    )
    assert train(data, tmp_path / "run", "--columns", "2", "1") == 0


def test_resuming_needs_a_run_or_data(tmp_path: Path, capsys) -> None:
    none = tmp_path / "none"
    assert cli.main(["train", "--resume", "--out", str(none)]) == 2
    advice = "to start a run, give a recipe, or --task and --data"
    assert refused(capsys) == f"{none}: no such run folder; {advice}"
    (tmp_path / "letters").mkdir()
    assert cli.main(["train", "--resume", "--out", str(tmp_path / "letters")]) == 2
    assert refused(capsys) == f"{tmp_path / 'letters'} is not a run folder; {advice}"


def test_a_run_is_resumed_with_its_own_task(tmp_path: Path, capsys) -> None:
    data, run = table(tmp_path / "train.tsv", ROWS), tmp_path / "run"
    assert train(data, run, "--valid", data, "--test", data) == 0
    again = ["train", "--resume", "--out", str(run), "--data", str(data), "--training.max_steps=4"]
    capsys.readouterr()
    assert cli.main(again) == 0
    assert "event=start step=3" in capsys.readouterr().out


def test_a_run_starts_only_from_a_run_of_its_task(tmp_path: Path, capsys) -> None:
    data, run = table(tmp_path / "train.tsv", ROWS), tmp_path / "run"
    assert train(data, run, "--valid", data, "--test", data) == 0
    capsys.readouterr()
    other = ["train", "--task", "tag", "--from", str(run), "--data", str(data)]
    assert cli.main([*other, "--out", str(tmp_path / "other")]) == 2
    assert refused(capsys) == (
        f"{run} was trained for task 'classify', not 'tag'; a run can start only from a run of its own "
        "task: leave out --task, or --from"
    )
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("names", [("good", "Good"), ("good", "dull")])
def test_labels_that_differ_only_in_case_get_a_note(
    tmp_path: Path, capsys, names: tuple[str, str]
) -> None:
    rows = [(f"number {i} is here", names[i % 2]) for i in range(40)]
    assert train(table(tmp_path / "train.tsv", rows), tmp_path / "run") == 0
    note = "labels 'Good' and 'good' differ only in case and count as different"
    assert (note in " ".join(capsys.readouterr().out.split())) is (names[1] == "Good")
