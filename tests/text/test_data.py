"""No sentence is in two parts, whatever the links; the order of rows does not matter."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from unrolled.errors import ConfigError, DataError
from unrolled.tasks import TASKS
from unrolled.tasks.tagged import TagData
from unrolled.text import splits
from unrolled.text.readers import read_rows
from unrolled.text.rows import Row
from unrolled.text.splits import DataConfig, Reading, Splits, linked_groups, read_splits

Pairs = list[tuple[str, str]]


def write(path: Path, pairs: Pairs) -> str:
    text = "en\tes\n" + "".join(f"{en}\t{es}\n" for en, es in pairs)
    path.write_text(text, encoding="utf-8", newline="\n")
    return str(path)


def pairs_of(rows: list[Row]) -> Pairs:
    return [(row.fields[0], row.fields[1]) for row in rows]


def assert_nothing_crosses(splits: Splits) -> None:
    parts = [splits.train, splits.valid, splits.test]
    for side in (0, 1):
        texts = [{row.fields[side] for row in part} for part in parts]
        assert not texts[0] & texts[1]
        assert not texts[0] & texts[2]
        assert not texts[1] & texts[2]


def slow_groups(pairs: Pairs) -> set[frozenset[int]]:
    """The definition: grow each group until nothing new is linked to it."""
    groups = []
    left = set(range(len(pairs)))
    while left:
        group = {left.pop()}
        while True:
            sources = {pairs[i][0] for i in group}
            targets = {pairs[i][1] for i in group}
            more = {i for i in left if pairs[i][0] in sources or pairs[i][1] in targets}
            if not more:
                break
            group |= more
            left -= more
        groups.append(frozenset(group))
    return set(groups)


@pytest.mark.parametrize("n_texts", [2, 11, 53, 211])
@pytest.mark.parametrize("seed", range(5))
def test_linked_groups_are_the_connected_components(n_texts: int, seed: int) -> None:
    draw = random.Random(seed)
    pairs = [(f"s{draw.randrange(n_texts)}", f"t{draw.randrange(n_texts)}") for _ in range(97)]
    groups = linked_groups(pairs)
    assert {frozenset(group) for group in groups} == slow_groups(pairs)
    assert sorted(i for group in groups for i in group) == list(range(97))


def test_the_same_text_on_opposite_sides_links_nothing() -> None:
    assert linked_groups([("a", "b"), ("b", "a")]) == [[0], [1]]


def test_long_chains_and_stars_are_one_group_in_linear_time() -> None:
    n_rows = 120_011
    chain = [(str(i // 2), str((i + 1) // 2)) for i in range(n_rows)]
    draw = random.Random(2)
    draw.shuffle(chain)
    star = [("hub", str(i)) for i in range(n_rows)]
    # Each row links two groups of the row before's size: the worst case without path halving.
    comb = [(str(i & -i), str(i - (i & -i))) for i in range(1, n_rows)]
    for rows in (chain, star, comb):
        started = time.process_time()
        groups = linked_groups(rows)
        assert time.process_time() - started < 5
        assert sum(map(len, groups)) == len(rows)
    assert len(linked_groups(chain)) == len(linked_groups(star)) == 1


def messy_pairs(n_rows: int, seed: int) -> Pairs:
    """Adversarial repeats: exact duplicates, shared sources, shared targets, chains, one hub."""
    draw = random.Random(seed)
    pairs: Pairs = []
    for i in range(n_rows):
        kind = draw.randrange(6)
        if kind == 0 and pairs:
            pairs.append(draw.choice(pairs))
        elif kind == 1 and pairs:
            pairs.append((draw.choice(pairs)[0], f"objetivo {i}"))
        elif kind == 2 and pairs and i % 5 == 0:
            pairs.append((f"source {i}", draw.choice(pairs)[1]))
        elif kind == 3 and i % 7 == 0:
            pairs.append(("Hello.", f"hola {i}"))
        else:
            pairs.append((f"source {i}", f"objetivo {i}"))
    return pairs


@pytest.mark.parametrize("seed", range(4))
def test_no_sentence_of_either_side_crosses_parts(tmp_path: Path, seed: int) -> None:
    pairs = messy_pairs(3001, seed)
    path = write(tmp_path / "a.tsv", pairs)
    splits = read_splits(DataConfig(train=(path,), valid_size=151, test_size=97), 2)
    assert_nothing_crosses(splits)
    for part, size in ((splits.valid, 151), (splits.test, 97)):
        kept = pairs_of(part)
        assert len(set(kept)) == len(kept)
        assert 0.5 * size <= len(kept) <= size
    n_kept = len(splits.train) + len(splits.valid) + len(splits.test)
    assert n_kept + splits.n_duplicates == len(pairs)
    hub = [row for row in (*splits.valid, *splits.test) if row.fields[0] == "Hello."]
    assert not hub


def test_the_split_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    pairs = messy_pairs(1009, 3)
    first = read_splits(DataConfig(train=(write(tmp_path / "a.tsv", pairs),)), 2)
    random.Random(4).shuffle(pairs)
    second = read_splits(DataConfig(train=(write(tmp_path / "b.tsv", pairs),)), 2)
    for one, other in (
        (first.train, second.train),
        (first.valid, second.valid),
        (first.test, second.test),
    ):
        assert sorted(pairs_of(one)) == sorted(pairs_of(other))


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", [(f"s{i}", f"t{i}") for i in range(401)])
    first = read_splits(DataConfig(train=(path,)), 2)
    assert read_splits(DataConfig(train=(path,)), 2) == first
    second = read_splits(DataConfig(train=(path,), split_seed=2), 2)
    assert pairs_of(first.valid) != pairs_of(second.valid)
    assert len(first.valid) == len(second.valid) == 20


def test_spacing_and_code_points_do_not_matter(tmp_path: Path) -> None:
    pairs = [(f"s{i}", f"t{i}") for i in range(301)]
    pairs += [(f"s{i} ", f"caf\u00e9 {i}") for i in range(300)]
    pairs += [(f"new {i}", f"cafe\u0301  {i}") for i in range(300)]
    splits = read_splits(DataConfig(train=(write(tmp_path / "a.tsv", pairs),)), 2)
    numbers = [
        {row.fields[0].split("s")[-1].split("new")[-1].strip() for row in part}
        for part in (splits.train, splits.valid, splits.test)
    ]
    assert not numbers[0] & numbers[1]
    assert not numbers[0] & numbers[2]
    assert not numbers[1] & numbers[2]


def test_five_percent_are_split_off_up_to_two_thousand(tmp_path: Path) -> None:
    for n_rows, size in ((3, 1), (101, 5), (40_009, 2000)):
        path = write(tmp_path / "a.tsv", [(f"s{i}", f"t{i}") for i in range(n_rows)])
        splits = read_splits(DataConfig(train=(path,)), 2)
        assert (len(splits.valid), len(splits.test)) == (size, size)
        assert len(splits.train) == n_rows - 2 * size
    assert str(splits) == (
        "36,009 train, 2,000 valid, 2,000 test (valid and test cut from the training file)"
    )


def test_rows_keep_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", messy_pairs(503, 1))
    splits = read_splits(DataConfig(train=(path,)), 2)
    for part in (splits.train, splits.valid, splits.test):
        lines = [row.line for row in part]
        assert lines == sorted(lines)


def test_given_validation_and_test_files_are_not_split(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", [(f"s{i}", f"t{i}") for i in range(101)])
    valid = write(tmp_path / "valid.tsv", [("s1", "t1"), ("s1", "t1"), ("x", "")])
    test = write(tmp_path / "test.tsv", [("y", "z")])
    splits = read_splits(DataConfig(train=(train,), valid=(valid,), test=(test,)), 2)
    assert pairs_of(splits.valid) == [("s1", "t1"), ("s1", "t1"), ("x", "")]
    assert pairs_of(splits.test) == [("y", "z")]
    assert len(splits.train) == 101
    assert splits.cut == ()
    assert str(splits) == "101 train, 3 valid, 1 test"
    only_valid = read_splits(DataConfig(train=(train,), valid=(valid,)), 2)
    assert (len(only_valid.train), len(only_valid.valid), len(only_valid.test)) == (96, 3, 5)
    assert only_valid.cut == ("test",)
    assert read_splits(DataConfig(test=(test,)), 2) == Splits([], [], [Row(("y", "z"), 2)])


def test_rows_with_an_empty_side_are_left_out_and_counted(tmp_path: Path) -> None:
    pairs = [(f"s{i}", f"t{i}") for i in range(41)] + [("", "a"), ("b", " "), ("", "")]
    splits = read_splits(DataConfig(train=(write(tmp_path / "a.tsv", pairs),)), 2)
    assert splits.n_empty == 3
    assert len(splits.train) + len(splits.valid) + len(splits.test) == 41
    path = write(tmp_path / "b.tsv", [("", "a"), ("b", "")])
    with pytest.raises(DataError) as caught:
        read_splits(DataConfig(train=(path,)), 2)
    assert str(caught.value) == f"{path}: every row has an empty field; nothing to train on"


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", [(f"s{i}", f"t{i}") for i in range(41)])
    splits = read_splits(DataConfig(train=(path,), columns=("es", "en")), 2)
    assert all(row.fields[0].startswith("t") for row in splits.train)


@pytest.mark.parametrize(
    ("pairs", "sizes", "message"),
    [
        (
            [("same", f"t{i}") for i in range(53)],
            {},
            "cannot cut 3 rows for test from 53 rows, linked in groups of up to 53 by repeated "
            "texts; give a file with --test",
        ),
        (
            [("a", "b"), ("c", "d")],
            {},
            "cannot cut 1 row for test from 2 rows; give a file with --test",
        ),
        (
            [("a", "b")],
            {},
            "cannot cut 1 row for test from 1 row; give a file with --test",
        ),
        (
            [(("no", "yes")[i % 2], f"t{i}") for i in range(40)],
            {},
            "cannot cut 2 rows for test from 40 rows, linked in groups of up to 20 by repeated texts; "
            "give a file with --test; the first column has 2 different values: if they are labels, add "
            "--task classify",
        ),
        (
            [(f"s{i}", ("no", "yes")[i % 2]) for i in range(40)],
            {},
            "cannot cut 2 rows for test from 40 rows, linked in groups of up to 20 by repeated texts; "
            "give a file with --test; the last column has 2 different values: if they are labels, add "
            "--task classify",
        ),
        (
            [(f"s{i}", f"t{i}") for i in range(11)],
            {"test_size": 11},
            "cannot cut 11 rows for test from 11 rows; give a file with --test",
        ),
    ],
)
def test_impossible_splits_are_reported(
    tmp_path: Path, pairs: Pairs, sizes: dict[str, int], message: str
) -> None:
    path = write(tmp_path / "a.tsv", pairs)
    with pytest.raises(DataError) as caught:
        read_splits(DataConfig(train=(path,), **sizes), 2)  # type: ignore[arg-type]
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"valid_size": -1}, "data.valid_size must be at least 0, got -1"),
        ({"test_size": -2}, "data.test_size must be at least 0, got -2"),
        ({"max_length": 0}, "data.max_length must be at least 1, got 0"),
        ({"too_long": "drop"}, "data.too_long must be one of skip, truncate, got 'drop'"),
    ],
)
def test_invalid_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DataConfig(**values)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_missing_data_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        read_splits(DataConfig())
    assert str(caught.value) == "no data given; use --data FILE, or data.train in the recipe"


def labelled(path: Path, labels: list[str], **sizes: int) -> Splits:
    lines = [f"text {n}\t{label}" for n, label in enumerate(labels)]
    path.write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
    reading = Reading(
        linked=lambda fields: fields[:1], labels=lambda fields, _: fields[1].split("|")
    )
    return read_splits(DataConfig(train=(str(path),), **sizes), 2, reading)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_training_has_every_label_of_the_other_parts(tmp_path: Path, seed: int) -> None:
    labels = ["one"] * 20 + [f"rare {n}" for n in range(7)] + [f"pair {n // 2}" for n in range(8)]
    labels += [f"one|beside {n}" for n in range(5)]
    random.Random(seed).shuffle(labels)
    splits = labelled(tmp_path / "a.tsv", labels, split_seed=seed, valid_size=9, test_size=8)
    assert (len(splits.valid), len(splits.test)) == (9, 8)
    trained = {label for row in splits.train for label in row.fields[1].split("|")}
    assert trained == {label for each in labels for label in each.split("|")}
    # The order of the rows does not matter here either.
    rows = [tuple(sorted(row.fields for row in part)) for part in (splits.valid, splits.test)]
    path = tmp_path / "b.tsv"
    every = [row.fields for part in (splits.test, splits.train, splits.valid) for row in part]
    path.write_text("text\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b in every), "utf-8")
    reading = Reading(
        linked=lambda fields: fields[:1], labels=lambda fields, _: fields[1].split("|")
    )
    sizes = {"split_seed": seed, "valid_size": 9, "test_size": 8}
    again = read_splits(DataConfig(train=(str(path),), **sizes), 2, reading)  # type: ignore[arg-type]
    assert [tuple(sorted(row.fields for row in part)) for part in (again.valid, again.test)] == rows


def test_labels_present_in_all_parts_do_not_change_the_split(tmp_path: Path) -> None:
    splits = labelled(tmp_path / "a.tsv", ["x", "y"] * 50)
    plain = read_splits(
        DataConfig(train=(str(tmp_path / "a.tsv"),)), 2, Reading(linked=lambda fields: fields[:1])
    )
    assert (splits.train, splits.valid, splits.test) == (plain.train, plain.valid, plain.test)


def test_labels_missing_from_training_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        labelled(tmp_path / "a.tsv", [str(n) for n in range(11)])
    assert str(caught.value) == (
        f"{tmp_path / 'a.tsv'}: cannot cut 1 row for test from 11 rows, because 11 rows must stay "
        "in training as the last ones with their label; give a file with --test; if the last column is "
        "not the label, choose the columns with --columns"
    )


def test_real_pairs_do_not_cross(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "tatoeba-en-es" / "train.tsv"
    if not path.exists():
        pytest.skip("tatoeba-en-es/train.tsv is not there")
    n_rows = 30_011  # under shape checks the whole file takes ten times as long as without
    pairs = [row.fields for row, _ in zip(read_rows(path), range(n_rows), strict=False)]
    part = write(tmp_path / "part.tsv", [(en, es) for en, es in pairs])
    splits = read_splits(DataConfig(train=(part,)), 2)
    assert_nothing_crosses(splits)
    assert (len(splits.valid), len(splits.test)) == (1501, 1501)
    assert len(splits.train) + 3002 + splits.n_duplicates + splits.n_empty == n_rows


def test_groups_are_drawn_in_the_order_of_a_sort_by_draw() -> None:
    draw = random.Random(2)
    texts = [(f"s{draw.randrange(60)}", f"t{draw.randrange(60)}") for _ in range(60)]
    groups = linked_groups(texts)
    small = [group for group in groups if len(group) <= 3]
    assert 1 < len(small) < len(groups)
    wanted = sorted(small, key=lambda group: splits._draw(7, min(texts[i] for i in group)))
    assert list(splits._drawn(groups, texts, 7, 3)) == wanted


def test_a_note_on_a_file_that_is_given_twice_appears_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"one {i} here\tuno {i} ahi\n" for i in range(40)))
    splits = read_splits(DataConfig(train=(str(path),), valid=(str(path),)), 2)
    assert len(splits.notes) == 1
    assert splits.notes[0].startswith(f"{path} has no header")


def test_tokens_without_blank_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("a O\nb B-X\n")
    with pytest.raises(DataError) as caught:
        read_splits(TagData(train=(str(path),)), 2, TASKS["tag"].reading)  # type: ignore[union-attr]
    assert str(caught.value) == (
        f"{path}: cannot cut 1 sentence for test from 1 sentence; give a file with --test; the file is "
        "read as one sentence: put a blank line between sentences"
    )
