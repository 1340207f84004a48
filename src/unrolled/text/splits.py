"""Split rows into training, validation and test parts.

With a single data file, the parts are split from it so that no sentence of either side is in two of them.
Rows that share a source or a target are linked, and a linked group stays together in one part. The part
is determined by a seeded hash of the group's text, so the order of rows does not matter.
"""

from __future__ import annotations

import hashlib
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop
from itertools import chain
from pathlib import PurePath
from typing import Annotated, Any, Literal

from unrolled.config import Count, Range, check_fields
from unrolled.errors import ConfigError, DataError
from unrolled.quoting import quote
from unrolled.reporting import begun, counted
from unrolled.text.header import Header, label_is_first
from unrolled.text.labels import missing_note
from unrolled.text.readers import column_names, read_rows
from unrolled.text.rows import Field, Lists, Row, as_text

_SHARE_HELD_OUT = 0.05
_MOST_HELD_OUT = 2000
_LARGEST_GROUP_HELD_OUT = 0.01
_ANY_GROUP_HELD_OUT = 5  # rows; in a small file, 1 % of the rows would be too few

TooLong = Literal["skip", "truncate"]
Length = Annotated[int, Range(1, 10**6)]  # tokens of a text


@dataclass(frozen=True)
class DataConfig:
    """The source of the rows.

    Args:
        train: one table, or one plain-text file per column.
        valid: the same for validation; empty to split it from `train`.
        test: the same for the test; empty to split it from `train`.
        columns: the columns to read, in the task's order, by name or by number from 1; empty for all.
        header: whether the first line of a TSV or CSV names the columns ("yes") or is a row ("no"); with
            "auto", the toolkit finds out and says so where there is none.
        valid_size: number of rows to split off for validation; 0 means 5 %, at most 2,000.
        test_size: number of rows to split off for the test; 0 means 5 %, at most 2,000.
        split_seed: random seed of the split.
        max_length: maximum number of tokens of a training row on any side, including end of sentence.
        too_long: whether longer training rows are skipped ("skip") or cut off ("truncate").

    Raises:
        ConfigError: a value is out of range or unknown.

    >>> DataConfig(train=("phrases.tsv",)).max_length
    100
    """

    train: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    header: Header = "auto"
    valid_size: Count = 0
    test_size: Count = 0
    split_seed: int = 1
    max_length: Length = 100
    too_long: TooLong = "skip"

    def __post_init__(self) -> None:
        check_fields(self, "data")


Keep = Literal["start", "end", "both"]


@dataclass(frozen=True)
class LabelData(DataConfig):
    """The source of labelled rows; other settings are as in `DataConfig`.

    A text longer than `max_length` is cut off, in training and in prediction, and the model reports it;
    with `too_long = "skip"`, it is left out of training, but still cut off in prediction.

    Args:
        max_length: maximum number of tokens of a text that are read.
        too_long: whether longer training rows are skipped ("skip") or cut off ("truncate").
        keep: which part of a longer text is read: its "start", its "end", or half of each ("both").
        label_separator: separator between the labels of an example, for examples with any number of
            labels; empty if each example has one label. In JSON lines, the labels may be a list.
        averaged: labels whose mean F1 is the score `mean_f1`, e.g. ["FAVOR", "AGAINST"] for stance.

    Raises:
        ConfigError: a value is out of range or unknown.
    """

    max_length: Length = 400
    too_long: TooLong = "truncate"
    keep: Keep = "start"
    label_separator: str = ""
    averaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Splits:
    """The three parts of the data.

    Args:
        train: training rows.
        valid: validation rows.
        test: test rows.
        n_empty: number of training rows left out because a field is empty.
        n_duplicates: number of repeated rows left out of parts that were split from the training file.
        cut: the parts that were split from the training file instead of being read from their own files.
        notes: sentences for the user about how the files were read.
    """

    train: list[Row]
    valid: list[Row]
    test: list[Row]
    n_empty: int = 0
    n_duplicates: int = 0
    cut: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{len(self.train):,} train, {len(self.valid):,} valid, {len(self.test):,} test"
        return f"{text} ({' and '.join(self.cut)} cut from the training file)" if self.cut else text


def has_no_empty_field(fields: Sequence[Field]) -> bool:
    """Whether each field contains more than white space."""
    return all(as_text(field).strip() for field in fields)


@dataclass(frozen=True)
class Reading:
    """What a task requires of its rows.

    Args:
        is_full: fields → whether there is something to learn from them.
        linked: fields → the texts, one per side, that must not be in two parts.
        lists: which columns of a JSON file may contain a list of texts.
        by_token: whether a file that is not a table has one token per line (`readers.column_lines`).
        names: names of the columns; a table that has exactly these is read by name.
        labels: fields, the `[data]` section → the labels of a row, which must occur in the training part.
    """

    is_full: Callable[[Sequence[Field]], bool] = has_no_empty_field
    linked: Callable[[Sequence[Field]], Sequence[Field]] = tuple
    lists: Lists = "none"
    by_token: bool = False
    names: tuple[str, ...] = ()
    labels: Callable[[Sequence[Field], Any], Sequence[str]] | None = None


def read_splits(
    config: DataConfig, n_columns: int | None = None, reading: Reading = Reading()
) -> Splits:
    """Read the parts; those without their own files are split from the training file.

    Files given for validation or test are used unchanged, so that scores on published data sets can be
    compared; exact duplicates are removed from parts that were split off. A group of linked rows that is
    larger than 1 % of all rows (and than 5 rows) stays in training, and so does one with the last
    occurrence of a label. Without a training file, only the given files are read.

    Raises:
        DataError: a file cannot be read with these settings, or cannot be split.
        ConfigError: no file is given.
    """
    if not (config.train or config.valid or config.test):
        raise ConfigError("no data given; use --data FILE, or data.train in the recipe")
    notes: list[str] = []
    rows: list[Row] = []
    if config.train:
        rows = rows_of(config, config.train, n_columns, reading, notes=notes)
        _check_order(rows, config, reading)
    known = set[str]()
    if reading.labels is not None:
        known.update(chain.from_iterable(reading.labels(row.fields, config) for row in rows))
    own = {
        name: rows_of(config, paths, n_columns, reading, known, notes)
        for name, paths in (("valid", config.valid), ("test", config.test))
        if paths
    }
    if not config.train:
        return Splits([], own.get("valid", []), own.get("test", []), notes=tuple(notes))
    full = [row for row in rows if reading.is_full(row.fields)]
    if not full:
        raise DataError("every row has an empty field; nothing to train on", config.train[0])
    sizes = {
        name: size or _default_size(len(full))
        for name, size in (("test", config.test_size), ("valid", config.valid_size))
        if name not in own
    }
    if reading.labels is not None and not reading.by_token:
        labelled = ((reading.labels(row.fields, config), row.line) for row in full)
        note = missing_note((name, line) for names, line in labelled for name in names)
        notes += [f"train: {note}"] if note else []
    train, parts = _cut(full, sizes, config, reading)
    kept = {name: _without_duplicates(part) for name, part in parts.items()}
    return Splits(
        train=train,
        valid=own.get("valid", kept.get("valid", [])),
        test=own.get("test", kept.get("test", [])),
        n_empty=len(rows) - len(full),
        n_duplicates=sum(len(part) - len(kept[name]) for name, part in parts.items()),
        cut=tuple(sorted(parts, reverse=True)),
        notes=tuple(notes),
    )


def _check_order(rows: Sequence[Row], config: DataConfig, reading: Reading) -> None:
    """Refuse a file whose label is in the first column, where a text is expected."""
    if reading.labels is None or reading.by_token or config.columns:
        return
    if label_is_first([row.texts for row in rows]):
        first, *others = column_names(config.train, config.header)
        raise DataError(
            f"column {quote(others[-1])} is read as the label, but column {quote(first)} looks like it; "
            f"if it is, add --columns {shlex.join([*others, first])}",
            config.train[0],
        )


def rows_of(
    config: DataConfig,
    paths: Sequence[str],
    n_columns: int | None,
    reading: Reading = Reading(),
    labels: Collection[str] = (),
    notes: list[str] | None = None,
) -> list[Row]:
    """Read the rows of one part's files.

    Args:
        config: the `[data]` section.
        paths: the files.
        n_columns, notes: as for `read_rows`.
        reading: what the task requires.
        labels: the labels that are known, which may tell a first row from a header.

    Raises:
        DataError: a file cannot be read with these settings.
    """
    rows = read_rows(
        paths,
        config.columns or None,
        n_columns,
        names=reading.names,
        lists=reading.lists,
        by_token=reading.by_token,
        header=config.header,
        labels=None if reading.labels is None else labels,
        notes=notes,
    )
    return list(
        counted(rows, f"reading {_names_of(paths)}", "sentences" if reading.by_token else "rows")
    )


def _names_of(paths: Sequence[str]) -> str:
    return ", ".join(PurePath(path).name for path in paths)


def linked_groups(rows: Iterable[Sequence[str]]) -> list[list[int]]:
    """Connected components of rows, where two rows that share a text on the same side are linked.

    >>> linked_groups([("a", "x"), ("b", "y"), ("a", "y"), ("c", "z")])
    [[0, 1, 2], [3]]
    """
    parent: list[int] = []
    first: list[dict[str, int]] = []
    for index, sides in enumerate(rows):
        parent.append(index)
        while len(first) < len(sides):
            first.append({})
        for others, text in zip(first, sides, strict=False):
            other = others.setdefault(text, index)
            if other == index:
                continue
            # Union–find with path halving, towards the smaller index: nearly constant time per look-up.
            root = index
            while parent[root] != root:
                parent[root] = parent[parent[root]]
                root = parent[root]
            while parent[other] != other:
                parent[other] = parent[parent[other]]
                other = parent[other]
            if root != other:
                parent[max(root, other)] = min(root, other)
    groups: dict[int, list[int]] = {}
    for index in range(len(parent)):
        # Roots are smaller than their children, so one step from a resolved parent is enough.
        parent[index] = parent[parent[index]]
        groups.setdefault(parent[index], []).append(index)
    return list(groups.values())


def _default_size(n_rows: int) -> int:
    return min(_MOST_HELD_OUT, max(1, round(n_rows * _SHARE_HELD_OUT)))


def same_text(field: Field) -> str:
    r"""Normalise spacing and code points, so that equal sentences become equal strings.

    >>> same_text("caf\u00e9  now ") == same_text(("cafe\u0301", "now"))
    True
    """
    text = as_text(field)
    normal = " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())
    return text if normal == text else normal  # equal texts are stored once


def _cut(
    rows: list[Row],
    sizes: dict[str, int],
    config: DataConfig,
    reading: Reading,
) -> tuple[list[Row], dict[str, list[Row]]]:
    """Split parts of the given sizes from the rows; return the rows left for training, and the parts."""
    if not sizes:
        return rows, {}
    begun(f"splitting off data for {' and '.join(sorted(sizes, reverse=True))}")
    texts = [tuple(same_text(text) for text in reading.linked(row.fields)) for row in rows]
    groups = linked_groups(texts)
    largest_allowed = max(_ANY_GROUP_HELD_OUT, int(len(rows) * _LARGEST_GROUP_HELD_OUT))
    parts: dict[str, list[int]] = {name: [] for name in sizes}
    labels: list[tuple[str, ...]] = [()] * len(rows)
    if reading.labels is not None:
        labels = [tuple(set(reading.labels(row.fields, config))) for row in rows]
    n_left = Counter(chain.from_iterable(labels))
    n_alone = 0
    for group in _drawn(groups, texts, config.split_seed, largest_allowed):
        n_here = Counter(chain.from_iterable(labels[i] for i in group))
        if any(n_left[label] == n for label, n in n_here.items()):
            n_alone += len(group)
            continue
        for name, part in parts.items():
            if len(part) + len(group) <= sizes[name]:
                part.extend(group)
                n_left.subtract(n_here)
                break
        if all(len(part) == sizes[name] for name, part in parts.items()):
            break
    held_out = {i for part in parts.values() for i in part}
    for name, part in parts.items():
        if not part or len(held_out) == len(rows):
            largest = max(len(group) for group in groups)
            chained = f", linked in groups of up to {largest:,} by repeated sentences"
            alone = f", {n_alone:,} of which have a label that training would lose"
            raise DataError(
                f"cannot cut {sizes[name]:,} rows for {name} from {len(rows):,} rows"
                f"{chained if largest > 1 else ''}{alone if n_alone else ''}; give a file with "
                f"--data.{name}",
                config.train[0],
            )
    train = [row for i, row in enumerate(rows) if i not in held_out]
    return train, {name: [rows[i] for i in sorted(part)] for name, part in parts.items()}


def _drawn(
    groups: Sequence[list[int]], texts: Sequence[tuple[str, ...]], seed: int, most: int
) -> Iterator[list[int]]:
    """Yield the groups of at most `most` rows in the order of their draws; usually, few are asked for."""
    drawn = [
        (_draw(seed, texts[group[0]] if len(group) == 1 else min(texts[i] for i in group)), place)
        for place, group in enumerate(groups)
        if len(group) <= most
    ]
    heapify(drawn)
    while drawn:
        yield groups[heappop(drawn)[1]]


def _draw(seed: int, texts: Sequence[str]) -> bytes:
    return hashlib.blake2b("\0".join((str(seed), *texts)).encode("utf-8"), digest_size=16).digest()


def _without_duplicates(rows: list[Row]) -> list[Row]:
    first: dict[tuple[str, ...], Row] = {}
    for row in rows:
        first.setdefault(tuple(same_text(text) for text in row.fields), row)
    return list(first.values())
