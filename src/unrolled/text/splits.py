"""Split rows into training, validation and test parts.

With a single data file, the parts are split from it so that no sentence of either side is in two of them.
Rows that share a source or a target are linked, and so are rows with the same value of `data.group`; a
linked group stays together in one part. The part is determined by a seeded hash of the group's text, so
the order of rows does not matter.
"""

from __future__ import annotations

import hashlib
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
from unrolled.quoting import quote, shell_command
from unrolled.reporting import begun, counted
from unrolled.text.header import Header, label_is_first
from unrolled.text.labels import missing_note
from unrolled.text.readers import column_names, read_rows
from unrolled.text.rows import Field, Grouping, Lists, Row, as_text
from unrolled.wording import count_of

_SHARE_HELD_OUT = 0.05
_MOST_HELD_OUT = 2000
_LARGEST_GROUP_HELD_OUT = 0.01
_LARGEST_PART_OF_A_GROUP = 0.2
_ANY_GROUP_HELD_OUT = 5  # rows; in a small file, 1% of the rows would be too few
_FEWEST_ROWS_OF_A_HINT = 8

TooLong = Literal["skip", "truncate"]
Length = Annotated[int, Range(1, 10**6)]  # tokens of a text
MaxCharacters = Annotated[int, Range(1, 10**6)]  # of a word


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
        group: a column, such as a document, a speaker or a patient: rows with the same value there are
             not split between parts. In a CoNLL file: "document", for the documents that start with
             -DOCSTART- or "# newdoc"; the number of a column; or KEY, for comments "# KEY = value".
        valid_size: number of rows to split off for validation; 0 means 5%, at most 2,000.
        test_size: number of rows to split off for the test; 0 means 5%, at most 2,000.
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
    group: str = ""
    valid_size: Count = 0
    test_size: Count = 0
    split_seed: int = 1
    max_length: Length = 100
    too_long: TooLong = "skip"

    def __post_init__(self) -> None:
        check_fields(self, "data")


Keep = Literal["start", "end", "both"]
WordOrder = Literal["given", "random"]


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
        word_order: "random" puts the words of every text of the data in random order, in training and in
            evaluation, to measure what their order contributes; the same text always gets the same one.
        max_characters: maximum number of characters read per word, if the model reads characters; half
            of them are taken from the beginning and half from the end of a longer word.

    Raises:
        ConfigError: a value is out of range or unknown.
    """

    max_length: Length = 400
    too_long: TooLong = "truncate"
    keep: Keep = "start"
    label_separator: str = ""
    averaged: tuple[str, ...] = ()
    word_order: WordOrder = "given"
    max_characters: MaxCharacters = 100


@dataclass(frozen=True)
class Duplicate:
    """A row left out of a part because an earlier row of the part has the same fields.

    Args:
        part: the part, "valid" or "test".
        line: line number of the row.
        first: line number of the earlier row.
    """

    part: str
    line: int
    first: int


@dataclass(frozen=True)
class Splits:
    """The three parts of the data. The rows read are those of the parts, and those left out.

    Args:
        train: training rows.
        valid: validation rows.
        test: test rows.
        n_empty: number of training rows left out because a field is empty.
        duplicates: repeated rows left out of parts that were split from the training file.
        cut: the parts that were split from the training file instead of being read from their own files.
        notes: sentences for the user about how the files were read.
        columns: names of the columns of the training data, in the task's order; () if they have none.
    """

    train: list[Row]
    valid: list[Row]
    test: list[Row]
    n_empty: int = 0
    duplicates: tuple[Duplicate, ...] = ()
    cut: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def n_duplicates(self) -> int:
        """Number of repeated rows left out of parts that were split from the training file."""
        return len(self.duplicates)

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
        read: the `[data]` section, the files of a part, its name, a list for notes → its rows, for files
            that are not tables of texts; None for tables.
    """

    is_full: Callable[[Sequence[Field]], bool] = has_no_empty_field
    linked: Callable[[Sequence[Field]], Sequence[Field]] = tuple
    lists: Lists = "none"
    by_token: bool = False
    names: tuple[str, ...] = ()
    labels: Callable[[Sequence[Field], Any], Sequence[str]] | None = None
    read: Callable[[Any, Sequence[str], str, list[str] | None], list[Row]] | None = None

    @property
    def unit(self) -> str:
        """What a row is, for messages."""
        return "sentence" if self.by_token else "row"


def read_splits(
    config: DataConfig, n_columns: int | None = None, reading: Reading = Reading()
) -> Splits:
    """Read the parts; those without their own files are split from the training file.

    Files given for validation or test are used unchanged, so that scores on published data sets can be
    compared; exact duplicates are removed from parts that were split off. A group of linked rows that is
    larger than 1% of all rows (and than 5 rows) stays in training, and so does one with the last
    occurrence of a label. Without a training file, only the given files are read.

    With `data.group`, the rows of a group are linked, too, and a group may be as large as the part; a
    part of the default size may be as large as the smallest groups, up to 20% of the rows.

    Raises:
        DataError: a file cannot be read with these settings, or cannot be split.
        ConfigError: no file is given.
    """
    if not (config.train or config.valid or config.test):
        raise ConfigError("no data given; use --data FILE, or data.train in the recipe")
    notes: list[str] = []
    rows: list[Row] = []
    columns: list[str] = []
    if config.train:
        rows = rows_of(
            config, config.train, n_columns, reading, notes=notes, found=columns, part="train"
        )
        _check_order(rows, config, reading)
    known = set[str]()
    if reading.labels is not None:
        known.update(chain.from_iterable(reading.labels(row.fields, config) for row in rows))
    own = {
        name: rows_of(
            config,
            paths,
            n_columns,
            reading,
            known,
            notes,
            is_split=False,
            trained=columns,
            part=name,
        )
        for name, paths in (("valid", config.valid), ("test", config.test))
        if paths
    }
    if not config.train:
        return Splits(
            [], own.get("valid", []), own.get("test", []), notes=tuple(dict.fromkeys(notes))
        )
    full = [row for row in rows if reading.is_full(row.fields)]
    if not full:
        raise DataError(
            f"every {reading.unit} has an empty field; nothing to train on", config.train[0]
        )
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
    duplicates = {name: _duplicates(name, part) for name, part in parts.items()}
    kept = {
        name: [row for i, row in enumerate(part) if i not in duplicates[name]]
        for name, part in parts.items()
    }
    return Splits(
        train=train,
        valid=own.get("valid", kept.get("valid", [])),
        test=own.get("test", kept.get("test", [])),
        n_empty=len(rows) - len(full),
        duplicates=tuple(chain.from_iterable(each.values() for each in duplicates.values())),
        cut=tuple(sorted(parts, reverse=True)),
        notes=tuple(dict.fromkeys(notes)),
        columns=tuple(columns),
    )


def _check_order(rows: Sequence[Row], config: DataConfig, reading: Reading) -> None:
    """Refuse a file whose label is in the first column, where a text is expected."""
    if reading.labels is None or reading.by_token or config.columns:
        return
    if label_is_first([row.texts for row in rows]):
        first, *others = column_names(config.train, config.header)
        raise DataError(
            f"column {quote(others[-1])} is read as the label, but column {quote(first)} looks like it; "
            f"if it is, add --columns {shell_command(*others, first)}",
            config.train[0],
        )


def rows_of(
    config: DataConfig,
    paths: Sequence[str],
    n_columns: int | None,
    reading: Reading = Reading(),
    labels: Collection[str] = (),
    notes: list[str] | None = None,
    *,
    is_split: bool = True,
    part: str = "test",
    trained: Sequence[str] = (),
    found: list[str] | None = None,
) -> list[Row]:
    """Read the rows of one part's files.

    Args:
        config: the `[data]` section.
        paths: the files.
        n_columns, notes, trained, found: as for `read_rows`.
        reading: what the task requires of its rows.
        labels: the labels that are known, which may tell a first row from a header.
        is_split: whether parts are split off these rows, which then need the column `data.group`.
        part: name of the part.

    Raises:
        DataError: a file cannot be read with these settings.
    """
    if reading.read is not None:
        return reading.read(config, paths, part, notes)
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
        grouping=Grouping(config.group, is_needed=is_split),
        trained=trained,
        found=found,
    )
    return list(counted(rows, f"reading {_names_of(paths)}", f"{reading.unit}s"))


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
    groups = linked_groups(_links(texts, rows))
    sizes = _sizes_with_groups(sizes, groups, len(rows), config)
    largest_allowed = max(_ANY_GROUP_HELD_OUT, int(len(rows) * _LARGEST_GROUP_HELD_OUT))
    if config.group:
        largest_allowed = max(sizes.values())
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
            problem = _why_not_cut(
                name, sizes[name], groups, len(rows), n_alone, config, reading.unit
            )
            raise DataError(problem + _likely_cause(texts, n_alone, reading), config.train[0])
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


def _links(texts: Sequence[tuple[str, ...]], rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """What links each row to others: its texts and, if it has one, its group."""
    for sides, row in zip(texts, rows, strict=True):
        yield (*sides, same_text(row.group)) if row.group.strip() else sides


def _sizes_with_groups(
    sizes: dict[str, int], groups: Sequence[Sequence[int]], n_rows: int, config: DataConfig
) -> dict[str, int]:
    """The sizes of the parts; with `data.group`, default sizes have room for the smallest groups."""
    if not config.group:
        return sizes
    by_size = sorted(map(len, groups))
    least = by_size[min(len(sizes), len(by_size)) - 1]
    if least > n_rows * _LARGEST_PART_OF_A_GROUP:
        return sizes
    return {
        name: size if getattr(config, f"{name}_size") else max(size, least)
        for name, size in sizes.items()
    }


def _why_not_cut(
    name: str,
    size: int,
    groups: Sequence[Sequence[int]],
    n_rows: int,
    n_alone: int,
    config: DataConfig,
    unit: str,
) -> str:
    largest, smallest = max(map(len, groups)), min(map(len, groups))
    alone = ""
    if n_alone and n_rows > 1:
        last = "last one with its label" if n_alone == 1 else "last ones with their label"
        alone = f", because {count_of(n_alone, unit)} must stay in training as the {last}"
    of_part, of_all = (count_of(n, unit) for n in (size, n_rows))
    problem = f"cannot cut {of_part} for {name} from {of_all}"
    instead = f"give a file with --{name}"
    if not config.group:
        chained = f", linked in groups of up to {largest:,} by repeated texts"
        return f"{problem}{chained if largest > 1 else ''}{alone}; {instead}"
    kept = (
        f"{unit}s with the same {quote(config.group)} (data.group) or the same text stay together"
    )
    if len(groups) == 1:
        return f"{problem}: {kept}, which links all {unit}s; use another column, or {instead}"
    enough = f"set data.{name}_size to at least {smallest:,}, or " if smallest > size else ""
    sizes = f"{smallest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
    found = f"in {len(groups):,} groups of {sizes} {unit}s"
    return f"{problem}: {kept}, {found}{alone}; {enough}{instead}"


def _likely_cause(texts: Sequence[tuple[str, ...]], n_alone: int, reading: Reading) -> str:
    """A hint if the rows do not look like data of the task; "" if they do."""
    n_rows = len(texts)
    if reading.by_token and n_rows == 1:
        return "; the file is read as one sentence: put a blank line between sentences"
    if n_rows < _FEWEST_ROWS_OF_A_HINT:
        return ""
    if reading.labels is not None and not reading.by_token and 2 * n_alone > n_rows:
        return "; if the last column is not the label, choose the columns with --columns"
    if reading.labels is None and len(texts[0]) > 1:
        task = {2: "classify", 3: "pair"}.get(len(texts[0]), "classify --columns TEXT LABEL")
        for place in (-1, 0):
            n_values = len({sides[place] for sides in texts})
            if 2 <= n_values <= n_rows / 4:
                which = "last" if place else "first"
                values = f"{n_values:,} different values"
                return f"; the {which} column has {values}: if they are labels, add --task {task}"
    return ""


def _draw(seed: int, texts: Sequence[str]) -> bytes:
    return hashlib.blake2b("\0".join((str(seed), *texts)).encode("utf-8"), digest_size=16).digest()


def _duplicates(name: str, rows: Sequence[Row]) -> dict[int, Duplicate]:
    """The rows of a part with the same fields as an earlier one, by index."""
    first: dict[tuple[str, ...], int] = {}
    repeated = {}
    for index, row in enumerate(rows):
        line = first.setdefault(tuple(same_text(text) for text in row.fields), row.line)
        if line != row.line:
            repeated[index] = Duplicate(name, row.line, line)
    return repeated
