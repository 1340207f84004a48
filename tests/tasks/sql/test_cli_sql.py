"""The task from the command line: data, train, evaluate, ask, resume, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import unrolled
from unrolled import cli
from unrolled.samples.shop.generator import generate, write
from unrolled.tasks.sql.task import TASK, QueryData
from unrolled.text.splits import read_splits

pytest.importorskip("llguidance")

TINY = (
    *("--model.embedding_size", "16", "--model.encoder_size", "16", "--model.hidden_size", "32"),
    *("--model.hide_values", "true"),
    *("--training.max_steps", "30", "--training.learning_rate", "0.01"),
    *("--training.evaluate_every_n_steps", "15", "--training.valid_sentences", "10"),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write(folder, generate(n=300))
    return folder


@pytest.fixture(scope="module")
def run(shop: Path) -> Path:
    out = shop / "run"
    parts = [("--data", "train"), ("--valid", "valid"), ("--test", "test")]
    files = [word for option, part in parts for word in (option, str(shop / f"{part}.tsv"))]
    assert cli.main(["train", "--task", "sql", *files, "--out", str(out), *TINY]) == 0
    return out


def test_the_model_is_trained_and_evaluated(
    run: Path, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = shop / "results.jsonl"
    assert cli.main(["evaluate", str(run), "--record", str(record)]) == 0
    shown = capsys.readouterr().out
    assert "execution" in shown
    entry = json.loads(record.read_text(encoding="utf-8"))
    assert {"exact", "execution", "set_match", "answered"} <= entry.keys()
    other = str(shop / "library.tsv")
    assert cli.main(["evaluate", str(run), "--data", other, "--decoding.grammar", "false"]) == 0


def test_a_question_is_answered_and_no_file_changes(
    run: Path, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = shop / "shop.sqlite"
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    hostile = "DROP TABLE product; how many products'; VACUUM INTO 'x.db' --"
    for question in ("how many products are there", hostile):
        code = cli.main(
            ["ask", str(run), "--database", str(database), "--format", "json", question]
        )
        assert code in (0, 1)
        (line,) = capsys.readouterr().out.splitlines()
        assert json.loads(line)["question"] == question
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
    assert not list(shop.glob("*.db"))


def test_predict_points_to_ask(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(run), "how many?"]) == 2
    assert "answers questions about a database; use unrolled ask" in capsys.readouterr().err


def test_a_run_is_loaded_and_resumed_bit_for_bit(run: Path, shop: Path, tmp_path: Path) -> None:
    shorter = tmp_path / "run"
    recipe = str(run / "config.toml")
    steps = ("--out", str(shorter), "--training.max_steps")
    assert cli.main(["train", recipe, *steps, "15"]) == 0
    assert cli.main(["train", "--resume", "--out", str(shorter), "--training.max_steps", "30"]) == 0
    one, other = (unrolled.load_queries(folder).model.state_dict() for folder in (run, shorter))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_data_are_described(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", str(shop / "train.tsv")]) == 0  # the task follows from the columns
    shown = capsys.readouterr().out
    assert "3 tables, 14 columns" in shown
    assert "found in the database" in shown


def test_rows_that_cannot_be_used_are_named(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(shop / "shop.sqlite", tmp_path)
    lines = (shop / "train.tsv").read_text(encoding="utf-8").splitlines()
    lines.insert(3, "who?\tSELECT nobody FROM nowhere\tshop.sqlite")
    ranked = "SELECT name, RANK() OVER (ORDER BY price) FROM product"
    lines[5:5] = [f"rank {n}?\t{ranked}\tshop.sqlite" for n in range(4)]
    table = tmp_path / "train.tsv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "run"
    data = ("--task", "sql", "--data", str(table), "--out", str(out))
    assert cli.main(["train", *data, *TINY]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "5 rows left out; line 4: the query cannot be written" in printed
    assert "line 6: the query cannot be written in its schema: window functions (OVER)" in printed
    assert "and 2 more" in printed


def test_moved_data_are_split_in_the_same_way(shop: Path, tmp_path: Path) -> None:
    held_out = []
    for name in ("one", "other/folder"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for file in ("train.tsv", "shop.sqlite"):
            shutil.copy(shop / file, folder)
        splits = read_splits(QueryData(train=(str(folder / "train.tsv"),)), reading=TASK.reading)
        held_out.append([[row.line for row in part] for part in (splits.valid, splits.test)])
    assert held_out[0] == held_out[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("question\tquery\nhow many?\tSELECT 1 FROM product\n", "database"),
        ("question\tquery\tdatabase\nhow many?\tSELECT 1\tgone\n", "'gone'"),
        ("question\tquery\tdatabase\n", "no rows"),
    ],
)
def test_wrong_data_are_refused_in_one_sentence(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "train.tsv"
    table.write_text(content, encoding="utf-8")
    arguments = ["--task", "sql", "--data", str(table), "--out", str(tmp_path / "run")]
    assert cli.main(["train", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_the_task_is_proposed(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(shop / "other")
    assert cli.main(["train", "--data", str(shop / "train.tsv"), "--out", out]) == 2
    assert "for questions about a database, add --task sql" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--data.dialect", "klingon", "data.dialect: sqlglot has no dialect 'klingon'"),
        ("--data.database", ".", "is a folder; give an SQLite file with --data.database"),
        ("--text.kind", "bpe", "text.kind must be 'word' for task 'sql', got 'bpe'"),
        ("--text.lowercase", "false", "text.lowercase must be true for task 'sql', got false"),
        ("--text.shared", "true", "text.shared must be false for task 'sql', got true"),
        ("--data.group", "query", "data.group must be '' for task 'sql', got 'query'"),
        (
            "--data.too_long",
            "truncate",
            "data.too_long must be 'skip' for task 'sql', got 'truncate'",
        ),
        (
            "--training.bleu_tokenizer",
            "zh",
            "training.bleu_tokenizer must be 'auto' for task 'sql', got 'zh'",
        ),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(
    option: str,
    value: str,
    message: str,
    shop: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = ("--task", "sql", "--data", str(shop / "train.tsv"), option, value)
    for command in (["train", *data, "--out", str(tmp_path / "run")], ["config", *data]):
        assert cli.main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_wrong_dialect_is_refused_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--task", "sql", "--data.dialect", "klingon"]) == 2
    assert "sqlglot has no dialect 'klingon'" in capsys.readouterr().err


def test_queries_that_do_not_fit_the_schema_name_file_and_line(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(shop / "shop.sqlite", tmp_path)
    rows = [f"who is {n}?\tSELECT a{n} FROM nowhere\tshop.sqlite" for n in range(30)]
    table = tmp_path / "train.tsv"
    table.write_text("\n".join(["question\tquery\tdatabase", *rows]) + "\n", encoding="utf-8")
    arguments = ("--task", "sql", "--data", str(table), "--out", str(tmp_path / "run"))
    assert cli.main(["train", *arguments]) == 2
    printed = capsys.readouterr().err
    assert f"{table}" in printed
    assert "no query can be written in the schema of its database" in printed
