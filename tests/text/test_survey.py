"""The counts equal those of a training run, and the report reads the same in a log."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from unrolled.data_report.pairs import Survey, render, survey
from unrolled.errors import ConfigError
from unrolled.text.config import TextConfig
from unrolled.text.splits import DataConfig

WORDS = TextConfig(kind="word")


def write(path: Path, rows: list[tuple[str, ...]]) -> str:
    text = "".join("\t".join(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")
    return str(path)


@pytest.fixture
def found(tmp_path: Path) -> Survey:
    rows = [("id", "en", "es")]
    rows += [(str(i), f"one {i}", f"uno dos {i}") for i in range(20)]
    rows += [("20", "one 3", "uno dos 3"), ("21", "", "nada"), ("22", "a b c d e f g", "[b]x[/b]")]
    train = write(tmp_path / "train.tsv", rows)
    valid = write(tmp_path / "valid.tsv", [("en", "es"), ("one new", "uno"), ("one 3", "x")])
    test = write(tmp_path / "test.tsv", [("en", "es"), ("y", "z")])
    config = DataConfig(
        train=(train,), valid=(valid,), test=(test,), columns=("en", "es"), max_length=6
    )
    return survey(config, WORDS, 2, max_tokens=30)


def shown(found: Survey, width: int = 80, terminal: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, legacy_windows=False
    )
    console.print(render(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_everything_is_counted(found: Survey) -> None:
    assert found.sizes == {"train": 22, "valid": 2, "test": 1}
    assert found.ignored == ("id",)
    assert found.n_empty == 1
    assert found.n_duplicates == 1
    assert found.shared == {
        "en": {"valid": 1, "test": 0},
        "es": {"valid": 0, "test": 0},
        "whole row": {"valid": 0, "test": 0},
    }
    assert found.n_left_out == {"train": 1, "valid": 0}
    assert found.n_too_long == 1
    english, spanish = found.columns
    assert (english.name, spanish.name) == ("en", "es")
    assert (english.n_distinct, spanish.n_distinct) == (21, 21)
    assert (english.median, english.most, english.longest) == (2, 2, 7)
    assert english.longest_line == 24
    # one, new, one, 3: "new" is unknown; uno, x: both known.
    assert english.unknown == {"train": 0.0, "valid": 0.25, "test": 1.0}
    assert spanish.unknown["valid"] == 0.0
    assert english.n_tokens == 2 * 21 + 7
    assert english.n_vocabulary == 4 + 21 + 7
    assert found.padding == 0.0


def test_the_survey_lists_counts_and_examples(found: Survey) -> None:
    page = shown(found)
    for line in (
        "rows      26 read = 21 train + 2 valid + 1 test + 2 left out",
        "left out  1 with an empty field, 1 too long (1 of train)",
        "tokens    words and punctuation marks",
        "ignored   id",
        "repeated  1 row of train identical to an earlier one",
        "padding   0.0% of each batch of 30 tokens",
        "examples  one 0 → uno dos 0",
    ):
        assert line in [each.rstrip() for each in page.splitlines()]
    assert "too long  1 row of train with more than 6 tokens skipped (data.too_long); the" in page
    rows = [line.split() for line in page.splitlines()]
    assert ["en", "0.0%", "25.0%", "100.0%"] in rows
    assert ["unknown", "tokens", "in", "train", "valid", "test"] in rows
    assert ["text", "also", "in", "train", "valid", "test"] in rows
    assert ["en", "1", "(50.0%)", "0", "(0.0%)"] in rows
    assert "time " not in page


def test_an_estimate_is_shown_when_there_is_one(found: Survey) -> None:
    page = shown(dataclasses.replace(found, estimate=(("time", "4 min"), ("memory", "0.6 GB"))))
    assert "time      4 min" in page
    assert "memory    0.6 GB" in page


def test_a_log_holds_no_escapes_and_a_terminal_does(found: Survey) -> None:
    assert "\x1b[" not in shown(found)
    assert "\x1b[" in shown(found, terminal=True)


def test_a_narrow_screen_loses_no_number(found: Survey) -> None:
    page = shown(found, width=72)
    assert "25.0%" in page
    assert all(len(line) <= 72 for line in page.splitlines())


def test_text_of_the_data_is_not_taken_for_markup(tmp_path: Path) -> None:
    rows = [("[red]", "es"), *((f"[b]{i}[/b]", f"[/x] {i}") for i in range(40))]
    path = write(tmp_path / "a.tsv", rows)
    page = shown(survey(DataConfig(train=(path,)), WORDS))
    assert "[b]0[/b] → [/x] 0" in page or "[b]1[/b] → [/x] 1" in page
    assert "[red]" in page


def test_truncation_is_distinguished_from_skipping(tmp_path: Path) -> None:
    rows = [("en", "es"), *((f"a {i}", f"b c d {i}") for i in range(40))]
    path = write(tmp_path / "a.tsv", rows)
    found = survey(DataConfig(train=(path,), max_length=3, too_long="truncate"), WORDS)
    assert found.n_too_long == 36
    assert "36 rows of train with more than 3 tokens truncated (data.too_long)" in shown(found)
    skipped = survey(DataConfig(train=(path,), max_length=3), WORDS)
    assert skipped.padding == 0.0


def test_lengths_between_two_rows_are_rounded_up(tmp_path: Path) -> None:
    rows = [("en", "es"), ("a", "b c"), ("d e f", "g")]
    path = write(tmp_path / "a.tsv", rows)
    found = survey(DataConfig(train=(path,), valid=(path,), test=(path,)), WORDS)
    assert [(each.median, each.most, each.longest) for each in found.columns] == [
        (3, 3, 3),
        (2, 2, 2),
    ]
    assert [each.longest_line for each in found.columns] == [3, 2]


def test_cut_parts_share_nothing(tmp_path: Path) -> None:
    rows = [("en", "es"), *((f"a {i}", f"b {i % 50}") for i in range(200))]
    path = write(tmp_path / "a.tsv", rows)
    found = survey(DataConfig(train=(path,)), WORDS)
    assert all(not any(counts.values()) for counts in found.shared.values())
    assert "valid and test split off train, with no sentence in two parts" in " ".join(
        shown(found, width=200).split()
    )


def test_one_vocabulary_for_both_sides(tmp_path: Path) -> None:
    rows = [("en", "es"), *((f"a {i}", f"b {i}") for i in range(40))]
    path = write(tmp_path / "a.tsv", rows)
    shared = survey(DataConfig(train=(path,)), TextConfig(kind="word", shared=True))
    alone = survey(DataConfig(train=(path,)), WORDS)
    assert [column.n_vocabulary for column in shared.columns] == [4 + 2 + 36] * 2
    assert [column.n_vocabulary for column in alone.columns] == [4 + 1 + 36] * 2


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_every_kind_of_token_is_surveyed(tmp_path: Path, kind: str) -> None:
    rows = [("en", "es"), *((f"a {i}", f"b {i}") for i in range(40))]
    path = write(tmp_path / "a.tsv", rows)
    found = survey(DataConfig(train=(path,)), TextConfig(kind=kind, vocab_size=300))
    assert found.kind == kind
    if kind == "bpe":
        assert [set(column.unknown.values()) for column in found.columns] == [{0.0}, {0.0}]
    assert shown(found)


def test_missing_data_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        survey(DataConfig(), WORDS)
    assert str(caught.value) == "no data given; use --data FILE, or data.train in the recipe"
