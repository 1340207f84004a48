"""Labels have a fixed order, and one that is unknown is named."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from unrolled.errors import ConfigError, DataError, RunError
from unrolled.text.labels import Labels, split_labels
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
            "label 'postive' is not one of the training part (negative, positive); did you mean "
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
    with pytest.raises(ConfigError, match=r"data.averaged must be of labels that stand in the"):
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
        ("{}", "'labels' is not as it was written"),
        ('{"labels": [1, 2], "averaged": []}', "expected lists of names"),
        ('{"labels": "ab", "averaged": []}', "'labels' is not as it was written"),
        ('{"labels": ["a"], "averaged": []}', "too few labels"),
        ('{"labels": [], "several": true, "averaged": []}', "too few labels"),
        ('{"labels": ["a", "b", "a"], "averaged": []}', "a label stands there twice"),
        ('{"labels": ["a", "b"], "averaged": ["z"]}', "'averaged' names a label that is not there"),
        ('{"labels": ["a", "b"], "averaged": [], "several": 1}', "'several' is not as it was"),
        ('{"labels": ["a", "b"], "averaged": [], "scheme": "x"}', "its scheme is not one"),
        ('{"labels": ["a", "b"], "averaged": [], "n_ill_formed": -1}', "its scheme is not one"),
        ('{"labels": ["a", "b"], "averaged": [], "n_ill_formed": 1e999}', "not finite"),
        ('{"labels": ["a", "b"], "averaged": [], "other": 1}', "'other' is not as it was written"),
        *(
            (f'{{"labels": ["a", "b"], "averaged": [], "shares": {shares}}}', "'shares' is not")
            for shares in ("[0.5]", "[0.5, 2]", "[true, 1]", '"ab"', "3", '[{}, "x"]')
        ),
        ('{"labels": ["a", "\\ud800"], "averaged": []}', "lone surrogate"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "labels.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match="not a file of labels") as caught:
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
