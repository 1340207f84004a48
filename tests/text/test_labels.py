"""Labels have a fixed order, and one that is unknown is named."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from unrolled.errors import ConfigError, DataError, RunError
from unrolled.text.labels import Labels, missing_note, split_labels
from unrolled.text.rows import Field


def test_labels_are_ordered_by_name_and_numbers_by_value() -> None:
    assert Labels.of(["b", "a", "b", "C"]).names == ("C", "a", "b")
    assert Labels.of(["10", "9", "1"]).names == ("1", "9", "10")
    assert Labels.of(["x", "2"]).names == ("2", "x")


def test_what_is_no_finite_number_is_a_name() -> None:
    names = ["nan", "10", "2", "inf", "1e400", "x", "-inf", "9"]
    wanted = ("2", "9", "10", "-inf", "1e400", "inf", "nan", "x")
    for order in permutations(names, 8):
        assert Labels.of(dict.fromkeys(order)).names == wanted
        if order[0] == "10":
            break


def test_one_label_is_no_choice_unless_an_example_may_have_none() -> None:
    with pytest.raises(DataError) as caught:
        Labels.of(["only"] * 3)
    assert str(caught.value) == "expected at least two different labels, found only 'only'"
    assert Labels.of(["only"], multi_label=True).names == ("only",)
    with pytest.raises(DataError) as caught:
        Labels.of([], multi_label=True)
    assert str(caught.value) == "expected at least one label, found none"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "postive",
            "label 'postive' is not among the training labels (negative, positive); did you mean "
            "'positive'?",
        ),
        ("", "the label is missing; expected one of negative, positive"),
    ],
)
def test_an_unknown_label_is_named(name: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        Labels.of(["positive", "negative"]).id_of(name)
    assert str(caught.value) == sentence


def test_a_label_to_average_must_be_there() -> None:
    assert Labels.of(["A", "B", "C"], averaged=["C", "A"]).averaged == ("C", "A")
    with pytest.raises(ConfigError, match=r"data.averaged must be a list of labels from the"):
        Labels.of(["A", "B"], averaged=["D"])


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    labels = Labels.of(["ja", "né", "à|b"], multi_label=True, averaged=["ja"])
    labels.save(tmp_path / "labels.json")
    assert Labels.load(tmp_path / "labels.json") == labels
    tags = Labels(("B-A", "I-A", "O"), scheme="bio", n_ill_formed=3, shares=(0.5, 0.3, 0.2))
    tags.save(tmp_path / "labels.json")
    assert Labels.load(tmp_path / "labels.json") == tags


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 5000, "nested too deeply"),
        ("[]", "expected an object"),
        ("{}", "'labels' is unknown or has the wrong type"),
        ('{"labels": [1, 2], "averaged": []}', "expected lists of strings"),
        ('{"labels": "ab", "averaged": []}', "'labels' is unknown or has the wrong type"),
        ('{"labels": ["a"], "averaged": []}', "too few labels"),
        ('{"labels": [], "several": true, "averaged": []}', "too few labels"),
        ('{"labels": ["a", "b", "a"], "averaged": []}', "a label occurs twice"),
        ('{"labels": ["a", "b"], "averaged": ["z"]}', "'averaged' names an unknown label"),
        (
            '{"labels": ["a", "b"], "averaged": [], "several": 1}',
            "'several' is unknown or has the wrong",
        ),
        ('{"labels": ["a", "b"], "averaged": [], "scheme": "x"}', "'scheme' or 'n_ill_formed' has"),
        (
            '{"labels": ["a", "b"], "averaged": [], "n_ill_formed": -1}',
            "'scheme' or 'n_ill_formed' has",
        ),
        ('{"labels": ["a", "b"], "averaged": [], "n_ill_formed": 1e999}', "not finite"),
        (
            '{"labels": ["a", "b"], "averaged": [], "other": 1}',
            "'other' is unknown or has the wrong type",
        ),
        *(
            (f'{{"labels": ["a", "b"], "averaged": [], "shares": {shares}}}', "'shares' ")
            for shares in ("[0.5]", "[0.5, 2]", "[true, 1]", '"ab"', "3", '[{}, "x"]')
        ),
        ('{"labels": ["a", "\\ud800"], "averaged": []}', "lone surrogate"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "labels.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match="not a valid labels file") as caught:
        Labels.load(tmp_path / "labels.json")
    assert problem in str(caught.value)


def test_labels_of_an_older_run_are_read(tmp_path: Path) -> None:
    content = '{"labels": ["a", "b"], "several": false, "averaged": []}'
    (tmp_path / "labels.json").write_text(content, encoding="utf-8")
    assert Labels.load(tmp_path / "labels.json") == Labels(("a", "b"))


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("a|b", ["a", "b"]),
        (" b | a |b", ["b", "a"]),
        ("", []),
        (" | ", []),
        (("one, two", "a|b", "one, two "), ["one, two", "a|b"]),
    ],
)
def test_several_labels_are_split_once_each(field: Field, names: list[str]) -> None:
    assert split_labels(field, "|") == names


# Names of the same label


def test_numbers_of_equal_value_are_one_label() -> None:
    labels = Labels.of(["0", "0.0", "1.0", "1", "-2.50", "10"])
    assert labels.names == ("-2.5", "0", "1", "10")
    assert labels.id_of("1.00") == labels.id_of("1") == 2
    assert labels.name_of("0.0") == "0"
    with pytest.raises(DataError, match=r"'1\.5' is not among the training labels"):
        labels.id_of("1.5")


def test_codes_and_mixed_names_stay_apart() -> None:
    assert Labels.of(["007", "7"]).names == ("007", "7")
    assert Labels.of(["0", "0.0", "none"]).names == ("0", "0.0", "none")
    assert Labels.of(["1e3", "1000"]).names == ("1000", "1e3")


def test_labels_of_an_older_run_keep_their_names() -> None:
    labels = Labels(("0.0", "1.0"))
    assert [labels.id_of(name) for name in ("0.0", "0", "1", "1.0")] == [0, 0, 1, 1]
    both = Labels(("0", "0.0", "1"))
    assert [both.id_of(name) for name in ("0", "0.0")] == [0, 1]
    with pytest.raises(DataError):
        both.id_of("0.00")  # either could be meant


def test_truth_values_are_found_in_either_case() -> None:
    assert Labels.of(["true", "false"]).id_of("True") == 1
    assert Labels.of(["True", "False"]).id_of("false") == 0
    with pytest.raises(DataError):
        Labels.of(["yes", "no"]).id_of("Yes")


def test_normal_forms_of_a_label_are_one_label() -> None:
    labels = Labels.of(["caf\u00e9", "cafe\u0301", "bar"])
    assert labels.names == ("bar", "caf\u00e9")
    assert labels.id_of("cafe\u0301") == 1
    assert Labels(("bar", "cafe\u0301")).id_of("caf\u00e9") == 1


def test_labels_that_stand_for_missing_ones_are_named() -> None:
    assert missing_note([("pos", 2), ("NONE", 3), ("nation", 4), ("-1", 5), ("none", 6)]) is None
    assert missing_note([("pos", 2), ("<NA>", 3), ("nan", 9), ("<NA>", 7)]) == (
        "labels '<NA>' (2 rows, the first in line 3) and 'nan' (1 row, the first in line 9) often stand "
        "for missing ones; if so, remove these rows: otherwise, the model learns to predict them"
    )
    for name in ("-", "?", "None", "NaN", "N/A", "null", "NA"):
        assert missing_note([("pos", 2), (name, 4)]) == (
            f"label '{name}' (1 row, the first in line 4) often stands for a missing one; if so, remove "
            "these rows: otherwise, the model learns to predict them"
        )


def test_an_unknown_label_that_stands_for_a_missing_one_says_so() -> None:
    labels = Labels.of(["pos", "neg"])
    with pytest.raises(DataError) as caught:
        labels.id_of("-")
    assert str(caught.value) == (
        "label '-' is not among the training labels (neg, pos); if it stands for a missing label, remove "
        "the row"
    )
