"""`data.group` keeps rows with the same value together, in every format that can hold one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from unrolled.errors import DataError
from unrolled.tasks import TASKS
from unrolled.tasks.tagged import TagData
from unrolled.text.splits import DataConfig, LabelData, Splits, read_splits

N_PATIENTS = 40


def rows(n_each: int = 5) -> list[tuple[str, str, str]]:
    """Text, label and patient; the patients alternate."""
    return [
        (f"visit {n} of {patient}", ("bad", "good")[(n + patient) % 2], f"p{patient}")
        for n in range(n_each)
        for patient in range(N_PATIENTS)
    ]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def tsv(path: Path, lines: list[tuple[str, ...]], *names: str) -> str:
    return write(path, "".join("\t".join(line) + "\n" for line in (names, *lines)))


def split(config: DataConfig, task: str = "classify") -> Splits:
    return read_splits(config, 2, TASKS[task].reading)  # type: ignore[union-attr]


def groups_of(splits: Splits) -> dict[str, set[str]]:
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    return {name: {row.group for row in part if row.group} for name, part in parts.items()}


def assert_apart(splits: Splits, n_groups: int) -> None:
    groups = groups_of(splits)
    assert all(groups.values())
    for one, other in combinations(groups.values(), 2):
        assert not one & other
    assert len(set.union(*groups.values())) == n_groups


def test_no_group_is_in_two_parts(tmp_path: Path) -> None:
    path = tsv(tmp_path / "a.tsv", rows(), "text", "label", "patient")
    splits = split(LabelData(train=(path,), group="patient"))
    assert_apart(splits, N_PATIENTS)
    assert [row.fields for row in splits.train[:1]] == [("visit 0 of 0", "bad")]
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (180, 10, 10)
    plain = split(LabelData(train=(path,), columns=("text", "label")))
    assert {row.group for row in plain.train} == {""}
    train, test = ({row.texts[0].split()[-1] for row in part} for part in (plain.train, plain.test))
    assert train & test


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    one = tsv(tmp_path / "a.tsv", rows(), "text", "label", "patient")
    other = tsv(tmp_path / "b.tsv", rows()[::-1], "text", "label", "patient")
    first, second = (split(LabelData(train=(path,), group="patient")) for path in (one, other))
    assert groups_of(first) == groups_of(second)
    assert groups_of(first) != groups_of(
        split(LabelData(train=(one,), group="patient", split_seed=2))
    )


def test_texts_and_groups_are_linked_together(tmp_path: Path) -> None:
    # Patients 2n and 2n + 1 share a sentence, so they form pairs.
    shared = [(f"same {n // 2}", "good", f"p{n}") for n in range(N_PATIENTS)]
    path = tsv(tmp_path / "a.tsv", rows() + shared, "text", "label", "patient")
    splits = split(LabelData(train=(path,), group="patient"))
    assert_apart(splits, N_PATIENTS)
    for groups in groups_of(splits).values():
        numbers = {int(group[1:]) for group in groups}
        assert {n ^ 1 for n in numbers} == numbers


def test_rows_without_a_value_are_on_their_own(tmp_path: Path) -> None:
    lines = [(f"alone {n}", ("bad", "good")[n % 2], "") for n in range(100)]
    path = tsv(tmp_path / "a.tsv", lines, "text", "label", "patient")
    splits = split(LabelData(train=(path,), group="patient"))
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (90, 5, 5)


def test_every_table_format_has_groups(tmp_path: Path) -> None:
    names = ("text", "label", "patient")
    lines = rows()
    csv = "".join(",".join(line) + "\n" for line in (names, *lines))
    jsonl = "".join(json.dumps(dict(zip(names, line, strict=True))) + "\n" for line in lines)
    paths = [
        tsv(tmp_path / "a.tsv", lines, *names),
        write(tmp_path / "a.csv", csv),
        write(tmp_path / "a.jsonl", jsonl),
    ]
    splits = [split(LabelData(train=(path,), group="patient")) for path in paths]
    assert_apart(splits[0], N_PATIENTS)
    assert groups_of(splits[0]) == groups_of(splits[1]) == groups_of(splits[2])


def test_a_parallel_file_may_hold_the_groups(tmp_path: Path) -> None:
    files = {
        "a.en": "".join(f"one {n}\n" for n in range(200)),
        "a.de": "".join(f"eins {n}\n" for n in range(200)),
        "a.film": "".join(f"{n // 4}\n" for n in range(200)),
    }
    paths = tuple(write(tmp_path / name, text) for name, text in files.items())
    splits = read_splits(DataConfig(train=paths, group="film"), 2)
    assert_apart(splits, 50)
    assert splits.train[0].fields == ("one 0", "eins 0")
    with pytest.raises(DataError, match=r"no column 'film'; the columns are en, de \(data.group\)"):
        read_splits(DataConfig(train=paths[:2], group="film"), 2)


def sentences(before: str = "", column: bool = False) -> str:
    """Two sentences per document, each with `before` in front of the first."""
    text = ""
    for n in range(100):
        number = f"d{n // 2} " if column else ""
        text += before.format(n // 2) if n % 2 == 0 else ""
        text += f"{number}word{n} X{n % 2}\n{number}end Y\n\n"
    return text


@pytest.mark.parametrize(
    ("before", "column", "group", "columns"),
    [
        ("-DOCSTART- X\n\n", False, "document", ()),
        ("# newdoc\n", False, "document", ()),
        ("# newdoc id = d{}\n", False, "document", ()),
        ("# speaker = s{}\n", False, "speaker", ()),
        ("", True, "1", ()),
        ("", True, "1", ("2", "3")),
    ],
)
def test_column_files_have_documents(
    tmp_path: Path, before: str, column: bool, group: str, columns: tuple[str, ...]
) -> None:
    path = write(tmp_path / "a.conll", sentences(before, column))
    splits = split(TagData(train=(path,), group=group, columns=columns), "tag")
    assert_apart(splits, 50)
    assert splits.train[0].fields[0][1] == "end"
    numbers = [{int(row.fields[0][0][4:]) for row in part} for part in (splits.train, splits.test)]
    assert {n ^ 1 for n in numbers[1]} == numbers[1]


def test_a_column_file_without_groups_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", sentences())
    with pytest.raises(DataError, match="expected a line that starts with -DOCSTART- or # newdoc"):
        split(TagData(train=(path,), group="document"), "tag")
    with pytest.raises(DataError, match=r"data\.group is 'speaker', but no sentence has a group"):
        split(TagData(train=(path,), group="speaker"), "tag")
    with pytest.raises(DataError, match=r"no column '7'; the columns are 1, 2 \(data.group\)"):
        split(TagData(train=(path,), group="7"), "tag")


def test_a_group_column_may_be_chosen_by_number(tmp_path: Path) -> None:
    lines = [(patient, text, label) for text, label, patient in rows()]
    table = tsv(tmp_path / "a.tsv", lines, "patient", "text", "label")
    named = split(LabelData(train=(table,), group="patient"))
    for columns in ((), ("2", "3")):
        assert split(LabelData(train=(table,), group="1", columns=columns)) == named
    names = ("patient", "text", "label")
    files = [
        write(tmp_path / f"p.{name}", "".join(f"{line[at]}\n" for line in lines))
        for at, name in enumerate(names)
    ]
    pairs = LabelData(train=tuple(files), group="1", columns=("2", "3"))
    assert split(pairs) == split(replace(pairs, group="patient", columns=("text", "label")))
    assert_apart(split(pairs), N_PATIENTS)
    with pytest.raises(DataError, match=r"no column '4'; the columns are .* \(data.group\)"):
        split(LabelData(train=(table,), group="4"))


def test_a_missing_group_column_is_refused(tmp_path: Path) -> None:
    path = tsv(tmp_path / "a.tsv", rows(), "text", "label", "patient")
    with pytest.raises(DataError, match=r"no column 'patent'; .*did you mean 'patient'"):
        split(LabelData(train=(path,), group="patent"))


def test_given_parts_need_no_group(tmp_path: Path) -> None:
    path = tsv(tmp_path / "a.tsv", rows(), "text", "label", "patient")
    own = tsv(tmp_path / "b.tsv", [("new", "good")], "text", "label")
    splits = split(LabelData(train=(path,), valid=(own,), group="patient"))
    assert [row.fields for row in splits.valid] == [("new", "good")]
    assert not groups_of(splits)["train"] & groups_of(splits)["test"]


def test_large_groups_get_a_larger_part(tmp_path: Path) -> None:
    lines = [(f"{n}", ("bad", "good")[n % 2], f"s{n % 10}") for n in range(200)]
    lines = [(text, ("bad", "good")[int(text) // 10 % 2], speaker) for text, _, speaker in lines]
    path = tsv(tmp_path / "a.tsv", lines, "text", "label", "speaker")
    splits = split(LabelData(train=(path,), group="speaker"))
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (160, 20, 20)
    assert_apart(splits, 10)


def test_groups_too_large_to_hold_out_are_refused(tmp_path: Path) -> None:
    lines = [(f"{n}", ("bad", "good")[n // 3 % 2], f"s{n % 3}") for n in range(99)]
    path = tsv(tmp_path / "a.tsv", lines, "text", "label", "speaker")
    with pytest.raises(DataError) as caught:
        split(LabelData(train=(path,), group="speaker"))
    assert str(caught.value) == (
        f"{path}: cannot cut 5 rows for test from 99 rows: rows with the same 'speaker' (data.group) or "
        "the same text stay together, in 3 groups of 33 rows; set data.test_size to at least 33, "
        "or give a file with --test"
    )
    splits = split(LabelData(train=(path,), group="speaker", test_size=33, valid_size=33))
    assert_apart(splits, 3)
    one = tsv(tmp_path / "b.tsv", [(text, label, "all") for text, label, _ in lines], "t", "l", "s")
    with pytest.raises(DataError, match="which links all rows; use another column"):
        split(LabelData(train=(one,), group="s"))
