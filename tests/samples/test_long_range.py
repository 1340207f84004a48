"""Samples with long dependencies: labels are what the rows say, and guessing is as good as stated."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.cli import main
from unrolled.errors import ConfigError
from unrolled.metrics.tags import measure_tags
from unrolled.samples import adding, copy_memory, digits
from unrolled.samples.parts import PARTS
from unrolled.text.labels import Labels
from unrolled.text.readers import read_rows
from unrolled.text.rows import as_list

SMALL = (40, 10, 20)


@pytest.mark.parametrize("module", [adding, copy_memory, digits])
def test_a_larger_sample_begins_with_the_smaller(module: Any) -> None:
    small = module.generate(*SMALL)
    assert [len(rows) for _, rows in small.items()] == list(SMALL)
    larger = module.generate(60, 10, 20)
    assert larger.train[:40] == small.train
    assert (larger.valid, larger.test) == (small.valid, small.test)
    assert module.generate(*SMALL, seed=2).test != small.test
    rows = [str(row) for _, part in small.items() for row in part]
    assert len(set(rows)) == len(rows)


# Adding


@pytest.mark.parametrize("length", [2, 7, 50])
def test_the_label_is_the_sum_of_the_marked_digits(length: int) -> None:
    for _, rows in adding.generate(*SMALL, length=length).items():
        for text, label in rows:
            tokens = text.split(" ")
            marked = [place for place, token in enumerate(tokens) if token.endswith("*")]
            assert len(tokens) == length
            assert len(marked) == 2
            assert marked[0] < length // 2 <= marked[1]
            assert all(token[0].isdigit() for token in tokens)
            assert int(label) == sum(int(tokens[place][0]) for place in marked)


def test_marks_are_everywhere_in_their_half() -> None:
    rows = adding.generate(2_000, 0, 0, length=9).train
    places = [
        [place for place, token in enumerate(text.split()) if "*" in token] for text, _ in rows
    ]
    assert {first for first, _ in places} == {0, 1, 2, 3}
    assert {second for _, second in places} == {4, 5, 6, 7, 8}


def test_one_number_alone_says_no_more_than_none() -> None:
    sums = Counter(a + b for a, b in product(range(10), repeat=2))
    assert max(sums.values()) / 100 == 0.1
    rows = adding.generate(20_000, 0, 0, length=6).train
    labels = Counter(label for _, label in rows)
    assert labels.most_common(1)[0][0] == "9"
    assert labels["9"] / len(rows) == pytest.approx(0.1, abs=0.01)
    by_first: dict[str, Counter[str]] = {}
    for text, label in rows:
        first = next(token for token in text.split() if "*" in token)
        by_first.setdefault(first, Counter())[label] += 1
    best = sum(counts.most_common(1)[0][1] for counts in by_first.values())
    assert best / len(rows) == pytest.approx(0.1, abs=0.02)


# Copy memory


@pytest.mark.parametrize("length", [1, 5, 60])
def test_the_last_ten_tags_are_the_first_ten_symbols(length: int) -> None:
    for _, rows in copy_memory.generate(*SMALL, length=length).items():
        for row in rows:
            texts, tags = zip(*row, strict=True)
            assert len(row) == length + 20
            assert set(texts[:10]) <= set("abcdefgh")
            assert texts[10:] == (*["."] * (length - 1), ">", *["."] * 10)
            assert tags[:-10] == ("O",) * (length + 10)
            assert tuple(f"B-{symbol}" for symbol in texts[:10]) == tags[-10:]


def test_the_score_counts_the_symbols_only() -> None:
    rows = copy_memory.generate(2, 0, 0, length=30).train
    gold = [[token.tag for token in row] for row in rows]
    labels = Labels(tuple(sorted({tag for tags in gold for tag in tags})), scheme="bio")

    def f1(given: list[list[str]]) -> float:
        return measure_tags(gold, given, labels).scores()["f1"]

    assert f1(gold) == 1.0
    assert f1([["O"] * 50 for _ in gold]) == 0.0
    half = [[*tags[:45], *["B-?"] * 5] for tags in gold]
    assert f1(half) == 0.5


def test_symbols_are_equally_likely() -> None:
    rows = copy_memory.generate(2_000, 0, 0, length=1).train
    counts = Counter(token.text for row in rows for token in row[:10])
    assert len(counts) == 8
    assert all(count / 20_000 == pytest.approx(0.125, abs=0.01) for count in counts.values())


def test_files_of_copy_memory_read_as_tagged_sentences(tmp_path: Path) -> None:
    sample = copy_memory.generate(3, 2, 1, length=4)
    copy_memory.write(tmp_path, sample)
    for part, rows in sample.items():
        read = list(read_rows(tmp_path / f"{part}.conll", n_columns=2, by_token=True))
        assert [as_list(row.fields[0]) for row in read] == [
            [token.text for token in row] for row in rows
        ]


# Digits


def pixels(rows: list[digits.DigitRow]) -> np.ndarray[Any, Any]:
    return np.array([[digits.LEVELS.index(pixel) for pixel in row.text] for row in rows])


@pytest.mark.parametrize("size", [8, 14, 28])
def test_an_image_has_a_character_for_each_pixel(size: int) -> None:
    for _, rows in digits.generate(*SMALL, size=size).items():
        assert {len(row.text) for row in rows} == {size * size}
        assert {row.label for row in rows} <= set("0123456789")
        assert pixels(rows).max() == 3
        assert (pixels(rows) > 0).mean(1).max() < 0.8


def test_neighbours_have_the_same_label() -> None:
    sample = digits.generate(2_000, 0, 200, size=14)
    train, test = pixels(sample.train).astype(float), pixels(sample.test).astype(float)
    distances = (train**2).sum(1) - 2 * test @ train.T
    found = [sample.train[place].label for place in distances.argmin(1)]
    right = np.mean([label == row.label for label, row in zip(found, sample.test, strict=True)])
    assert right > 0.9
    counts = Counter(row.label for row in sample.train)
    assert len(counts) == 10
    assert max(counts.values()) / 2_000 == pytest.approx(0.1, abs=0.03)


def test_scanned_digits_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    sample = digits.scanned()
    assert [len(rows) for _, rows in sample.items()] == [1_297, 200, 300]
    rows = [row for _, part in sample.items() for row in part]
    found = sorted((*image, int(row.label)) for image, row in zip(pixels(rows), rows, strict=True))
    pairs = zip(images, labels, strict=True)
    assert found == sorted((*image.astype(int), label) for image, label in pairs)
    assert digits.scanned(seed=2).test != sample.test


def test_without_scikit_learn_there_are_no_scans(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["sample", "digits", "x", "--scanned"]) == 2
    assert "scanned digits needs scikit-learn; run pip install" in capsys.readouterr().err


# Commands


@pytest.mark.parametrize(
    ("command", "option", "ending"),
    [
        ("adding", ["--length", "12"], "tsv"),
        ("copy-memory", ["--length", "12"], "conll"),
        ("digits", ["--size", "9"], "tsv"),
    ],
)
def test_a_command_writes_three_parts(
    command: str, option: list[str], ending: str, tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "new"
    assert main(["sample", command, str(folder), *option, "--n", "40"]) == 0
    files = [f"{part}.{ending}" for part in PARTS]
    assert capsys.readouterr().out == f"{folder}: {', '.join(files)}\n"
    read = [
        list(read_rows(folder / file, n_columns=2, by_token=ending == "conll")) for file in files
    ]
    assert [len(rows) for rows in read] == [40, 2, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adding", "x", "--length", "1"], "length must be at least 2, got 1"),
        (["copy-memory", "x", "--length", "0"], "length must be at least 1, got 0"),
        (["adding", "x", "--n", "-20"], "n_train must be at least 0, got -20"),
        (["digits", "x", "--size", "7"], "size must be in 8…64 pixels, got 7"),
        (
            ["digits", "x", "--scanned", "--size", "8"],
            "--scanned images have a fixed size and number; leave out --size",
        ),
        (
            ["digits", "x", "--scanned", "--n", "8"],
            "--scanned images have a fixed size and number; leave out --n",
        ),
    ],
)
def test_bad_numbers_are_refused_in_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sample", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sizes_out_of_range_are_errors_of_the_library_too() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        adding.generate(length=1)
    with pytest.raises(ConfigError, match="pixels"):
        digits.generate(size=65)
