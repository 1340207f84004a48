"""A survey counts what a training run would read, and reports what would stop it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from unrolled import cli
from unrolled.data_report.labels import LabelSurvey, likely_task, render_labels, survey_labels
from unrolled.tasks import TASKS
from unrolled.tasks.tagged import TagData
from unrolled.text.config import TextConfig
from unrolled.text.splits import LabelData

WORDS = TextConfig(kind="word")


def table(path: Path, rows: list[tuple[str, ...]], *names: str) -> str:
    lines = ["\t".join(each) for each in (names, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def shown(found: LabelSurvey) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render_labels(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def lines_of(page: str) -> list[str]:
    return [line.rstrip() for line in page.splitlines()]


def without_cost(page: str) -> str:
    """The report up to the times, which differ from call to call."""
    assert "\ntime " in page
    return page[: page.index("\ntime ")]


@pytest.fixture
def found(tmp_path: Path) -> LabelSurvey:
    rows = [(f"a text of {n}", "good") for n in range(30)] + [("a dull one", "bad")] * 5
    rows += [("a text of 3", "bad"), ("", "good"), ("one two three four five six", "Good ")]
    train = table(tmp_path / "train.tsv", rows, "text", "label")
    valid = [("a text of 7", "good"), ("new", "ugly"), ("new", "ugly"), ("", "bad")]
    config = LabelData(
        train=(train,),
        valid=(table(tmp_path / "valid.tsv", valid, "text", "label"),),
        test=(table(tmp_path / "test.tsv", [("x", "good"), ("y", "odd")], "text", "label"),),
        max_length=5,
    )
    return survey_labels(TASKS["classify"], config, WORDS)  # type: ignore[arg-type]


def test_everything_is_counted(found: LabelSurvey) -> None:
    assert found.sizes == {"train": 37, "valid": 4, "test": 2}
    assert found.labels == {
        "good": {"train": 30, "valid": 1, "test": 1},
        "bad": {"train": 6, "valid": 1, "test": 0},
        "Good": {"train": 1, "valid": 0, "test": 0},
        "odd": {"train": 0, "valid": 0, "test": 1},
        "ugly": {"train": 0, "valid": 2, "test": 0},
    }
    assert found.majority == ("good", 30 / 37)
    assert found.rare == ("Good",)
    assert found.alike == (("Good", "good"),)
    assert found.unseen == (("ugly", "valid", 3), ("odd", "test", 3))
    assert found.n_empty == {"train": 1, "valid": 1, "test": 0}
    assert (found.n_duplicates, found.n_conflicts) == (5, 1)
    assert found.n_shared == {"valid": 1, "test": 0}
    assert (found.n_too_long, found.n_bare) == (1, 0)
    assert found.percentiles == (3, 4, 4, 4, 4, 6)


def test_the_report_shows_all_facts(found: LabelSurvey) -> None:
    lines = lines_of(shown(found))
    for line in (
        "task      classify (change it with --task NAME)",
        "rows      44 read = 37 train + 4 valid + 2 test + 1 left out",
        "left out  1 with an empty field",
        "unscored  no row of valid has the label 'Good'",
        "lengths   percentiles of tokens per text: "
        "5%: 3 · 25%: 4 · 50%: 4 · 75%: 4 · 95%: 4 · 99%: 6",
        "majority  'good', 81.1% of train (majority-class baseline)",
        "rare      fewer than 5 in train: 'Good'",
        "unseen    'ugly' occurs in valid (line 3), but not in train",
        "unseen    'odd' occurs in test (line 3), but not in train",
        "alike     'Good', 'good' differ only in case, spaces or decimals",
        "empty     rows without text that are scored: 1 of valid",
        "too long  1 row of train with a text of more than 5 tokens: truncated (data.keep)",
        "repeated  5 rows of train with the text of an earlier one, 1 of them with different labels",
    ):
        assert line in lines
    (row,) = (line.split() for line in lines if line.split()[:1] == ["good"])
    assert row == ["good", "30", "81.1%", "1", "1"]
    rows = [line.split() for line in lines]
    assert ["text", "1", "(25.0%)", "0", "(0.0%)"] in rows


def test_repeated_pairs_are_counted_as_pairs(tmp_path: Path) -> None:
    rows = [("same premise", f"a claim {n}", ("no", "yes")[n % 2]) for n in range(40)]
    path = table(tmp_path / "a.tsv", [*rows, rows[0]], "first", "second", "label")
    config = LabelData(train=(path,), valid=(path,), test=(path,))
    found = survey_labels(TASKS["pair"], config, WORDS)  # type: ignore[arg-type]
    assert [column.name for column in found.columns] == ["first", "second"]
    assert [column.n_distinct for column in found.columns] == [1, 40]
    assert (found.n_duplicates, found.n_conflicts) == (1, 0)
    assert found.n_shared == {"valid": 41, "test": 41}


def test_several_labels_are_counted_one_by_one(tmp_path: Path) -> None:
    rows = [("a", "x|y"), ("b", ""), ("c", "x"), ("d", " y | x ")]
    path = table(tmp_path / "a.tsv", rows, "text", "label")
    config = LabelData(train=(path,), valid=(path,), test=(path,), label_separator="|")
    found = survey_labels(TASKS["classify"], config, WORDS)  # type: ignore[arg-type]
    assert {name: n["train"] for name, n in found.labels.items()} == {"x": 3, "y": 2}
    assert (found.n_bare, found.majority) == (1, ("x", 0.75))
    assert "1 row of train, allowed by data.label_separator" in shown(found)


def test_a_single_label_and_a_missing_one_are_reported(tmp_path: Path) -> None:
    path = table(tmp_path / "a.tsv", [("a", "only"), ("b", "only")], "text", "label")
    config = LabelData(train=(path,), valid=(path,), test=(path,))
    found = survey_labels(TASKS["classify"], config, WORDS)  # type: ignore[arg-type]
    assert "too few   only one label; training needs at least two" in lines_of(shown(found))
    path = table(tmp_path / "b.tsv", [("a", "x"), ("b", ""), ("c", "y")], "text", "label")
    config = LabelData(train=(path,), valid=(path,), test=(path,))
    found = survey_labels(TASKS["classify"], config, WORDS)  # type: ignore[arg-type]
    assert "no label  1 row of train; training stops with an error" in lines_of(shown(found))


TAGGED = """\
-DOCSTART- O

Ann B-PER
Lee I-PER
ran O

in O
Oslo I-LOC

Bob B-PER
ran O
"""


def test_tags_are_counted_by_token_and_by_span(tmp_path: Path) -> None:
    path = tmp_path / "names.conll"
    path.write_text(TAGGED.replace("\n", "\r\n"), encoding="utf-8", newline="")
    valid = tmp_path / "valid.conll"
    valid.write_text("Eve B-PER\nwon O\n\nBob S-PER\n", encoding="utf-8")
    config = TagData(train=(str(path),), valid=(str(valid),), test=(str(valid),), scheme="bio")
    found = survey_labels(TASKS["tag"], config, WORDS)  # type: ignore[arg-type]
    assert found.sizes == {"train": 3, "valid": 2, "test": 2}
    assert found.n_tokens == {"train": 7, "valid": 3, "test": 3}
    assert found.labels["O"] == {"train": 3, "valid": 1, "test": 1}
    assert found.majority == ("O", 3 / 7)
    assert found.scheme == "bio"
    assert found.spans == {
        "LOC": {"train": 1, "valid": 0, "test": 0},
        "PER": {"train": 2, "valid": 1, "test": 1},
    }
    assert found.ill_formed == {"train": (1, 7)}
    assert found.unseen == (("S-PER", "valid", 4),)
    page = lines_of(shown(found))
    assert "sentences  7 read = 3 train + 2 valid + 2 test" in page
    assert "tokens     7 train, 3 valid, 3 test" in page
    assert "spans      encoded as BIO; 1 ill-formed sentence in train (first: line 7)" in page


def test_the_task_is_detected_from_column_names(tmp_path: Path) -> None:
    two = table(tmp_path / "two.tsv", [("a", "b")], "tweet", "Stance")
    three = table(tmp_path / "three.tsv", [("a", "b", "c")], "premise", "hypothesis", "label")
    pairs = table(tmp_path / "pairs.tsv", [("a", "b")], "en", "es")
    assert [likely_task([path]) for path in (two, three, pairs)] == ["classify", "pair", None]
    assert likely_task([three], ["hypothesis", "label"]) == "classify"
    assert likely_task(["names.CoNLL.gz"]) == likely_task(["a.jsonl"], ["tokens", "tags"]) == "tag"
    assert likely_task(["no such file.tsv"]) is None
    swapped = table(tmp_path / "swapped.tsv", [("a", "b")], "label", "text")
    assert likely_task([swapped]) == "classify"
    assert likely_task([swapped], ["label", "text"]) is None
    assert likely_task(["train.en", "train.es"]) is None


def test_the_guessed_task_may_be_any_label_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(TASKS["classify"], name="triage", columns=("ticket", "team"))
    monkeypatch.setitem(TASKS, "triage", own)
    tickets = table(tmp_path / "tickets.tsv", [("a", "b")], "ticket", "team")
    assert likely_task([tickets]) == "triage"


def test_the_command_reports_on_every_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"text {n}", ("no", "yes")[n % 2]) for n in range(40)]
    path = table(tmp_path / "a.tsv", rows, "text", "label")
    assert cli.main(["data", path]) == 0
    guessed = without_cost(capsys.readouterr().out)
    assert "classify (change it with --task NAME)" in guessed
    assert cli.main(["data", path, "--task", "classify", "--text.kind", "word"]) == 0
    assert "words and punctuation" not in capsys.readouterr().out
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'task = "classify"\n[data]\ntrain = ["{Path(path).as_posix()}"]\n', "utf-8")
    assert cli.main(["data", str(recipe)]) == 0
    assert without_cost(capsys.readouterr().out) == guessed
    pairs = table(tmp_path / "b.tsv", [(f"one {n}", f"uno {n}") for n in range(40)], "en", "label")
    assert cli.main(["data", pairs, "--task", "translate"]) == 0
    assert "classify" not in capsys.readouterr().out
    conll = tmp_path / "a.conll"
    conll.write_text("\n".join(f"w{n} A\nv O\n" for n in range(40)), encoding="utf-8")
    assert cli.main(["data", str(conll)]) == 0
    assert "sentences" in capsys.readouterr().out


def test_a_table_without_any_label_has_no_majority(tmp_path: Path) -> None:
    rows = "".join(f"film {n}\t\n" for n in range(30))
    path = tmp_path / "a.tsv"
    path.write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    task = TASKS["classify"]
    found = survey_labels(task, LabelData(train=(str(path),)), WORDS)  # type: ignore[arg-type]
    assert found.majority == ("", 0.0)
    page = "\n".join(lines_of(shown(found)))
    assert "majority" not in page
    assert "no label; training needs at least two" in page


def test_few_different_values_in_the_last_column_are_labels(tmp_path: Path) -> None:
    rows = [(f"comment number {n}", f"{n % 3} stars") for n in range(60)]
    path = table(tmp_path / "a.tsv", rows, "Kommentar", "Wertung")
    assert likely_task([path]) == "classify"
    pairs = [(f"a {n}", f"b {n}", "yes" if n % 2 else "no") for n in range(60)]
    assert likely_task([table(tmp_path / "b.tsv", pairs, "satz1", "satz2", "urteil")]) == "pair"
    sentences = [(f"the cat number {n}", f"el gato {n}") for n in range(60)]
    assert likely_task([table(tmp_path / "c.tsv", sentences, "satz1", "satz2")]) is None
    assert likely_task([table(tmp_path / "d.tsv", rows[:20], "Kommentar", "Wertung")]) is None


def test_a_narrow_terminal_cuts_no_label_and_no_number(found: LabelSurvey) -> None:
    console = Console(file=io.StringIO(), width=40)
    console.print(render_labels(found))
    lines = lines_of(console.file.getvalue())  # type: ignore[attr-defined]
    assert "column  distinct  median  95%  longest" in lines
    assert "column  tokens  vocabulary" in lines
    assert ["good", "30", "81.1%", "1", "1"] in [line.split() for line in lines]
    assert max(map(len, lines)) <= 40
