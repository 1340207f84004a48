"""Descriptions and code from the files that people have, good and bad."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from unrolled.config import from_mapping
from unrolled.errors import ConfigError, DataError
from unrolled.tasks import TASKS
from unrolled.tasks.code.reading import READING, CodeData, read
from unrolled.text.splits import read_splits
from unrolled.training.recipe import Recipe

DEFAULTS = CodeData()


def texts(path: Path, data: CodeData = DEFAULTS, part: str = "valid") -> list[tuple[str, ...]]:
    return [row.texts[:2] for row in read(data, [str(path)], part)]


def test_tables_and_parallel_files_are_read(tmp_path: Path) -> None:
    expected = [("add one", "x + 1"), ("not it", "not x")]
    table = tmp_path / "a.tsv"
    table.write_text("code\tdescription\nx + 1\tadd one\nnot x\tnot it\n", encoding="utf-8")
    assert texts(table) == expected
    table = tmp_path / "a.csv"
    table.write_text('nl,bash\n"add  one","x + 1"\nnot it,not x\n', encoding="utf-8")
    assert texts(table) == expected
    for name, lines in (("all.anno", "  add one\nnot it\n"), ("all.code", "  x + 1\nnot x\n")):
        (tmp_path / name).write_text(lines, encoding="utf-8")
    files = [str(tmp_path / name) for name in ("all.anno", "all.code")]
    assert [row.texts[:2] for row in read(CodeData(), files, "train")] == expected


def test_conala_and_nl2bash_are_read(tmp_path: Path) -> None:
    entries = [
        {"intent": "How?", "rewritten_intent": "add one", "snippet": "x + 1", "question_id": 3},
        {"intent": "not it", "rewritten_intent": None, "snippet": "not x", "question_id": 4},
    ]
    conala = tmp_path / "conala.json"
    conala.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    assert texts(conala) == [("add one", "x + 1"), ("not it", "not x")]
    lines = [{"nl": "list files", "bash": "ls"}, {"nl": "list all", "bash": "ls -a"}]
    nl2bash = tmp_path / "nl2bash.json"
    nl2bash.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    rows = read(CodeData(language="bash"), [str(nl2bash)], "train")
    assert [row.texts for row in rows] == [
        ("list files", "ls", "bash", "slots"),
        ("list all", "ls -a", "bash", "slots"),
    ]
    assert [row.line for row in rows] == [1, 2]


def test_other_names_of_columns_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"task": "add one", "answer": "x + 1"}\n', encoding="utf-8")
    assert texts(path, CodeData(columns=("task", "answer"))) == [("add one", "x + 1")]
    with pytest.raises(
        DataError, match=r"line 1: no description: .* the keys are answer, task; .*--columns"
    ):
        texts(path)


def test_line_ends_of_windows_and_blank_lines_are_made_uniform(tmp_path: Path) -> None:
    code = "\r\n\r\nif x:\r\n    y()\r\n\r\n"
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"description": " a\r\n b ", "code": code}]), encoding="utf-8")
    assert texts(path) == [("a b", "if x:\n    y()")]
    table = tmp_path / "a.tsv"
    table.write_bytes(b"description\tcode\r\nadd one\tx + 1\r\n")
    assert texts(table) == [("add one", "x + 1")]


MIXED = "if x:\n\ty()\n        z()"


@pytest.fixture
def with_bad_code(tmp_path: Path) -> Path:
    codes = ["f(x)", "f(x", MIXED, "else:", "", "f(y)"]
    lines = [json.dumps({"description": f"do {i}", "code": c}) for i, c in enumerate(codes)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_code_that_does_not_parse_is_named(with_bad_code: Path) -> None:
    for choice, n_rows, done in (("keep", 6, "kept"), ("skip", 4, "left out")):
        notes: list[str] = []
        rows = read(CodeData(unparsable=choice), [str(with_bad_code)], "train", notes)
        assert len(rows) == n_rows
        (note,) = notes
        start = "train: 2 of 6 rows have code that does not parse as python"
        assert note.startswith(f"{start}, {done} (data.unparsable); the first one is line 2: ")
    with pytest.raises(DataError, match=r"line 2.*does not parse as python: .*'keep' or 'skip'"):
        read(CodeData(unparsable="refuse"), [str(with_bad_code)], "train")
    assert len(read(CodeData(unparsable="refuse"), [str(with_bad_code)], "test")) == 6


def test_rows_without_description_or_code_are_left_out(tmp_path: Path) -> None:
    rows = [f"do {i}\tf({i})" for i in range(60)] + ["\tf(x)", "do nothing\t"]
    path = tmp_path / "a.tsv"
    path.write_text("\n".join(["description\tcode", *rows]) + "\n", encoding="utf-8")
    splits = read_splits(CodeData(train=(str(path),)), 2, READING)
    assert splits.n_empty == 2
    assert len(splits.train) + len(splits.valid) + len(splits.test) == 60


def test_long_lines_are_read(tmp_path: Path) -> None:
    code = "f(" + "x, " * 4_000 + "x)"
    path = tmp_path / "a.tsv"
    path.write_text(f"description\tcode\ndo much\t{code}\n", encoding="utf-8")
    notes: list[str] = []
    assert len(read(CodeData(), [str(path)], "train", notes)[0].texts[1]) == 12_004
    assert notes == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "line 1: expected an object"),
        ('[{"nl": 3, "code": "x"}]', "field 'nl': expected a text"),
        ("[]", "no rows"),
        ("", "no rows"),
        ('{"nl": "a", "code": ', "line 1"),
        ('[{"nl": "a",', "JSON"),
    ],
)
def test_wrong_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        texts(path)
    assert str(path) in str(raised.value)


def test_code_cannot_be_cut_off() -> None:
    with pytest.raises(ConfigError, match=r"data\.too_long must be 'skip' for code"):
        CodeData(too_long="truncate")
    with pytest.raises(ConfigError, match=r"data\.language"):
        from_mapping(CodeData, {"language": "cobol"}, "data")


@pytest.mark.parametrize(
    ("text", "language"), [({}, "bash"), ({"language": "text"}, "text"), ({"kind": "bpe"}, "none")]
)
def test_text_has_the_language_of_the_data(text: dict[str, str], language: str) -> None:
    sections = {"data": {"train": ["commands.tsv"], "language": "bash"}, "text": text}
    recipe = Recipe.from_mapping({"task": "code", **sections}, TASKS)
    assert recipe.text.language == language
