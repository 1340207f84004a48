"""Labels with line breaks, tabs, escape sequences and markup are displayed safely."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import unrolled
from unrolled import cli
from unrolled.tasks import TASKS

pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = ("c\nd", "e\tf", "\x1b[31mred\x07", "[bold]x[/bold]", "y" * 10_000, "z\u2028\x85w")
SHOWN = ("c\\nd", "e\\tf", "\\x1b[31mred\\x07", "[bold]x[/bold]", "yyyy…yyyy", "z\\u2028\\x85w")
SETTINGS = [
    ("task", "classify"),
    ("text.kind", "word"),
    ("model.hidden_size", "4"),
    ("model.embedding_size", "4"),
    ("training.max_steps", "2"),
    ("training.device", "cpu"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "rows.jsonl"
    rows = [
        {"text": f"tea {i} word{i % 5} {i % 7}", "label": LABELS[i % len(LABELS)]}
        for i in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    from unrolled.config import apply_overrides
    from unrolled.training.recipe import Recipe

    given = apply_overrides({}, [*SETTINGS, ("data.train", str(data))])
    unrolled.train(Recipe.from_mapping(given, TASKS), data.parent / "run")
    return data.parent / "run"


def is_shown(text: str) -> bool:
    """Whether only line feeds end lines, and no line holds what a terminal obeys."""
    return all(line.isprintable() for line in text.split("\n"))


def test_one_line_in_is_one_line_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run.parent / "lines.txt"
    lines.write_text("tea 1\n\nword2 tea\n", encoding="utf-8")
    assert cli.main(["predict", str(run), "--input", str(lines)]) == 0
    first, empty, last, end = capsys.readouterr().out.split("\n")
    assert (empty, end) == ("", "")
    assert first.count("\t") == last.count("\t") == 1
    assert cli.main(["predict", str(run), "--input", str(lines), "--scores"]) == 0
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 3
    cells = output.split("\n")[0].split("\t")
    assert len(cells) == 2 * len(LABELS)
    assert {"c\\nd", "e\\tf", "[bold]x[/bold]", "y" * 10_000} < set(cells[::2])
    assert "\x1b[31mred\x07" in cells[::2]  # exact, but for line ends
    assert all(0 <= float(cell) <= 1 for cell in cells[1::2])


def test_control_characters_of_labels_are_escaped(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    assert cli.main(["predict", str(run), "tea", "--scores"]) == 0
    assert "\\x1b[31mred\\x07" in screen.getvalue()
    assert is_shown(screen.getvalue().replace("\t", " "))


def test_surveys_and_scores_show_labels_as_they_are(
    data: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    for command in (["data", str(data), "--task", "classify"], ["evaluate", str(run)]):
        assert cli.main(command) == 0
        output = capsys.readouterr().out
        assert is_shown(output), command
        assert max(map(len, output.split("\n"))) < 300
        assert all(each in output for each in SHOWN if "…" not in each)
    lines = (run / "evaluation-test" / "predictions.jsonl").read_text(encoding="utf-8")
    assert is_shown(lines)
    assert {json.loads(line)["label"] for line in lines.splitlines()} <= set(LABELS)


def test_an_unknown_label_is_quoted_and_shortened(
    data: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = data.parent / "other.jsonl"
    row = {"text": "tea", "label": "\x1b]0;pwn\x07\x1b[2J" + "w" * 100_000}
    other.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert cli.main(["evaluate", str(run), "--data", str(other)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert is_shown(error)
    assert "label '\\x1b]0;pwn\\x07\\x1b[2Jwww" in error
    assert len(error) < 700 + len(str(other))
