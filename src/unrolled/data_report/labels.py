"""Describe labelled data before training: `unrolled data FILE --task …`.

Problems that can be counted are reported instead of raising an error: a label that occurs only in the
test part, or a training part with a single label, would stop training, but is listed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data_report.pairs import (
    Column,
    Encoded,
    column_of,
    lengths_of,
    page,
    unknown_in,
)
from unrolled.data_report.parts import (
    HELD_OUT,
    count_shared,
    facts_of_groups,
    facts_of_rows,
    shared_table,
)
from unrolled.errors import DataError
from unrolled.metrics.spans import find_spans
from unrolled.quoting import brief, quote
from unrolled.tasks import TASKS
from unrolled.tasks.kind import CODE, LANGUAGE_MODEL, QUERIES
from unrolled.tasks.tag.data import scheme_of, transitions
from unrolled.tasks.task import LabelTask
from unrolled.text.config import TextConfig
from unrolled.text.conll import is_column_file
from unrolled.text.files import endings
from unrolled.text.labels import plain_name, same_names
from unrolled.text.readers import column_names, read_rows
from unrolled.text.rows import Row, as_list
from unrolled.text.splits import read_splits, same_text
from unrolled.text.tables import TABLES
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import count_of, percent

if TYPE_CHECKING:
    from rich.console import RenderableType

PERCENTILES = (5, 25, 50, 75, 95, 99)
FEW_ROWS = 5
"""A label with fewer training rows is reported as rare."""

_MOST_LABELS = 20
_MOST_NAMED = 8
_LABEL_COLUMNS = ("label", "labels", "class", "category", "sentiment", "stance", "gold_label")
_TAG_COLUMNS = ("tags", "tag", "ner_tags", "pos_tags")


@dataclass(frozen=True)
class LabelSurvey:
    """What `unrolled data FILE` reports of labelled data. Parts are "train", "valid" and "test".

    Args:
        task: "classify", "pair" or "tag".
        paths: the training file.
        columns: one record per text column of the training part.
        percentiles: tokens per text of the training part at each of `PERCENTILES`.
        sizes: number of rows by part; in tagging, sentences.
        cut: parts that were split off the training file.
        labels: number of rows by label and part, the most frequent label first; in tagging, tokens.
        multi_label: whether a row may have several labels.
        n_bare: training rows without a label.
        n_empty: rows without text by part; those of the training part are skipped.
        n_too_long: training rows with a text of more than `max_length` tokens.
        n_left_out: rows by part that are left out because they are too long.
        max_length: maximum length of a text in tokens.
        when_long: what happens to longer texts.
        n_duplicates: training rows with the same texts as an earlier row.
        n_conflicts: duplicates whose labels differ from those of the first row.
        n_shared: rows by part whose texts also occur in the training part.
        shared: rows by column and part whose text in this column also occurs in the training part.
        unseen: labels that do not occur in the training part: name, part, line of the first occurrence.
        alike: groups of labels that differ only in case and spaces.
        n_tokens: number of tokens by part, in tagging; otherwise 0.
        scheme: scheme in which tags encode spans; "" if they do not.
        spans: number of spans by type and part.
        ill_formed: by part, the number of sentences that violate the scheme, and the line of the first.
        notes: sentences about how the files were read.
        encoded: the parts and their lengths.
        estimate: time and memory of a training run; filled in by a caller that knows the model.
    """

    task: str
    paths: tuple[str, ...]
    columns: tuple[Column, ...]
    percentiles: tuple[int, ...]
    sizes: Mapping[str, int]
    cut: tuple[str, ...]
    labels: Mapping[str, Mapping[str, int]]
    multi_label: bool
    n_bare: int
    n_empty: Mapping[str, int]
    n_too_long: int
    n_left_out: Mapping[str, int]
    max_length: int
    when_long: str
    n_duplicates: int
    n_conflicts: int
    n_shared: Mapping[str, int]
    shared: Mapping[str, Mapping[str, int]]
    unseen: tuple[tuple[str, str, int], ...]
    alike: tuple[tuple[str, ...], ...]
    n_tokens: Mapping[str, int]
    scheme: str
    spans: Mapping[str, Mapping[str, int]]
    ill_formed: Mapping[str, tuple[int, int]]
    encoded: Encoded
    notes: tuple[str, ...] = ()
    estimate: tuple[tuple[str, str], ...] = ()

    @property
    def n_labelled(self) -> int:
        """The denominator of label shares: training rows, or training tokens in tagging."""
        return self.n_tokens["train"] if self.task == "tag" else self.sizes["train"]

    @property
    def majority(self) -> tuple[str, float]:
        """The most frequent label of the training part ("" without labels), and its share, 0…1."""
        named = filter(None, self.labels)
        name = max(named, key=lambda label: self.labels[label]["train"], default="")
        n = self.labels[name]["train"] if name else 0
        return name, n / max(1, self.n_labelled)

    @property
    def rare(self) -> tuple[str, ...]:
        """Labels with fewer than `FEW_ROWS` training rows, or training tokens in tagging."""
        return tuple(name for name, n in self.labels.items() if 0 < n["train"] < FEW_ROWS)


def likely_task(paths: Sequence[str], columns: Sequence[str] = ()) -> str | None:
    """Guess the task of data, from the extension of a file or the names of its columns.

    Args:
        paths: files of the training part.
        columns: columns to read; empty for those of the file.

    Returns:
        The name of a task in `TASKS`; None if nothing indicates one.

    >>> likely_task(["names.conll"]), likely_task(["a.tsv"], ["premise", "hypothesis", "label"])
    ('tag', 'pair')
    """
    tasks = [task for task in TASKS.values() if isinstance(task, LabelTask)]
    tagging = next((task.name for task in tasks if task.by_token), None)
    if paths and all(map(is_column_file, paths)):
        return tagging
    if len(paths) == 1 and not columns and _is_plain_text(Path(paths[0])):
        return next((name for name, task in TASKS.items() if task.kind is LANGUAGE_MODEL), None)
    try:
        names = tuple(columns) or (column_names(paths) if len(paths) == 1 else ())
    except DataError:
        return None  # the error is reported when the file is read
    if {"question", "query"} <= set(names):
        return next((name for name, task in TASKS.items() if task.kind is QUERIES), None)
    if set(names) == {"description", "code"}:
        return next((name for name, task in TASKS.items() if task.kind is CODE), None)
    if not columns:
        for task in tasks:
            if set(names) == set(task.columns):
                return task.name
    last = names[-1].strip().lower() if names else ""
    if last in _TAG_COLUMNS and len(names) == 2:
        return tagging
    if last in _LABEL_COLUMNS or (len(paths) == 1 and _last_holds_labels(paths[0], columns)):
        alike = (task for task in tasks if not task.by_token and len(task.columns) == len(names))
        return next((task.name for task in alike), None)
    return None


_ROWS_LOOKED_AT = 1000
_MOST_WORDS_OF_A_LABEL = 3


def _last_holds_labels(path: str, columns: Sequence[str]) -> bool:
    """Whether the last column has few different values, short ones, and the one before it many."""
    try:
        rows = [row.texts for row in islice(read_rows(path, columns or None), _ROWS_LOOKED_AT)]
    except DataError:
        return False  # the error is reported when the file is read
    if len(rows) < FEW_ROWS**2 or len(rows[0]) < 2:
        return False
    labels, texts = ({row[at].strip() for row in rows} for at in (-1, -2))
    is_short = all(len(name.split()) <= _MOST_WORDS_OF_A_LABEL for name in labels)
    return is_short and 1 < len(labels) <= len(rows) / 8 and len(texts) > len(rows) / 4


def _is_plain_text(path: Path) -> bool:
    """Whether a single file can only be running text: one column of parallel text is not enough."""
    return path.is_dir() or (path.is_file() and endings(path)[0] not in TABLES)


def survey_labels(
    task: LabelTask, config: Any, text: TextConfig, words: Tokenizer | None = None
) -> LabelSurvey:
    """Read, truncate and tokenize the data as a training run would, and count.

    Args:
        task: one of `TASKS`.
        config: its `[data]` section.
        text: the `[text]` section.
        words: the tokenizer, if it is given, as by `model.pretrained`.

    Raises:
        DataError: a file cannot be read as requested, or cannot be split.
        ConfigError: no file is given.
    """
    splits = read_splits(config, len(task.columns), task.reading)
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    labelled = {
        part: [_labels_of(row, task, config) for row in rows] for part, rows in parts.items()
    }
    same = same_names(name for rows in labelled.values() for names in rows for name in names)
    labelled = {
        part: [[same[name] for name in names] for names in rows] for part, rows in labelled.items()
    }
    names = config.columns[:-1] if len(config.columns) == len(task.columns) else task.columns[:-1]
    columns, lengths_of_parts, tokenizer = _columns(names, parts, task, text, words)
    lengths = next(lengths_of_parts[part] for part, rows in parts.items() if rows)
    keys = {part: [_key(row, task) for row in rows] for part, rows in parts.items()}
    first: dict[Any, int] = {}
    repeats = [
        (first[key], at) for at, key in enumerate(keys["train"]) if first.setdefault(key, at) != at
    ]
    trained = set(chain.from_iterable(labelled["train"]))
    scheme = ""
    spans: dict[str, dict[str, int]] = {}
    ill_formed: dict[str, tuple[int, int]] = {}
    if task.by_token:
        scheme, spans, ill_formed = _spans(parts, labelled, config.scheme)
    n_too_long = int((lengths_of_parts["train"].max(axis=1, initial=0) > config.max_length).sum())
    return LabelSurvey(
        task=task.name,
        paths=config.train or config.valid or config.test,
        columns=columns,
        percentiles=tuple(
            int(length) for length in np.percentile(lengths, PERCENTILES, method="higher")
        )
        if lengths.size
        else (),
        sizes={part: len(rows) for part, rows in parts.items()},
        cut=splits.cut,
        labels=_counts(labelled),
        multi_label=bool(getattr(config, "label_separator", "")),
        n_bare=sum(not any(names) for names in labelled["train"]),
        n_empty={
            part: sum(not task.reading.is_full(row.fields) for row in rows)
            + (splits.n_empty if part == "train" else 0)
            for part, rows in parts.items()
        },
        n_too_long=n_too_long,
        n_left_out={"train": n_too_long if config.too_long == "skip" else 0},
        max_length=config.max_length,
        when_long="skipped" if config.too_long == "skip" else task.when_long,
        n_duplicates=len(repeats),
        n_conflicts=sum(
            labelled["train"][one] != labelled["train"][other] for one, other in repeats
        ),
        n_shared={part: sum(key in first for key in keys[part]) for part in ("valid", "test")},
        shared=count_shared(names, parts, "both texts"),
        unseen=tuple(_unseen(parts, labelled, trained)),
        alike=_alike(trained),
        n_tokens={
            part: sum(map(len, rows)) if task.by_token else 0 for part, rows in labelled.items()
        },
        scheme=scheme,
        spans=spans,
        ill_formed=ill_formed,
        notes=splits.notes,
        encoded=Encoded(splits, config, (tokenizer,), lengths_of_parts),
    )


def _labels_of(row: Row, task: LabelTask, config: Any) -> Sequence[str]:
    assert task.reading.labels is not None
    return task.reading.labels(row.fields, config)


def _key(row: Row, task: LabelTask) -> tuple[str, ...]:
    return tuple(map(same_text, task.reading.linked(row.fields)))


def _columns(
    names: Sequence[str],
    parts: Mapping[str, Sequence[Row]],
    task: LabelTask,
    text: TextConfig,
    words: Tokenizer | None,
) -> tuple[tuple[Column, ...], dict[str, NDArray[np.int64]], Tokenizer]:
    """Statistics of each text column, and by part `[N, columns]`, the number of tokens of each text.

    The third value is the tokenizer of all columns.
    """
    rows = parts["train"] or parts["valid"] or parts["test"]
    sides: list[list[str]]
    encode: Callable[[Sequence[Row], int], Sequence[Sequence[int]]]
    if task.by_token:
        tokens = [as_list(row.fields[0]) for row in rows]
        tokenizer = words or Tokenizer.of_tokens(list(chain.from_iterable(tokens)), text)
        sides = [[" ".join(sentence) for sentence in tokens]]

        def encode(rows: Sequence[Row], side: int) -> Sequence[Sequence[int]]:
            return [tokenizer.ids_of(as_list(row.fields[0])) for row in rows]
    else:
        sides = [[row.texts[side] for row in rows] for side in range(len(names))]
        tokenizer = words or Tokenizer.train(chain.from_iterable(sides), text)

        def encode(rows: Sequence[Row], side: int) -> Sequence[Sequence[int]]:
            return tokenizer.encode_batch([row.texts[side] for row in rows])

    lengths: dict[str, NDArray[np.int64]] = {}
    unknown: list[dict[str, float]] = [{} for _ in names]
    for part, rows_of_part in parts.items():
        ids = [encode(rows_of_part, side) for side in range(len(names))]
        lengths[part] = np.stack([lengths_of(each) for each in ids], axis=1)
        for shares, each in zip(unknown, ids, strict=True):
            shares |= unknown_in(part, each)
    described = next(lengths[part] for part, rows_of_part in parts.items() if rows_of_part)
    lines = [row.line for row in rows]
    columns = tuple(
        column_of(
            name,
            sides[i],
            described[:, i],
            unknown[i],
            lines=lines,
            n_vocabulary=len(tokenizer),
        )
        for i, name in enumerate(names)
    )
    return columns, lengths, tokenizer


def _counts(labelled: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, dict[str, int]]:
    counted = {part: Counter(chain.from_iterable(rows)) for part, rows in labelled.items()}
    names = {name for counts in counted.values() for name in counts}
    by_name = {name: {part: counts[name] for part, counts in counted.items()} for name in names}
    return dict(sorted(by_name.items(), key=lambda item: (-item[1]["train"], item[0])))


def _unseen(
    parts: Mapping[str, Sequence[Row]],
    labelled: Mapping[str, Sequence[Sequence[str]]],
    trained: set[str],
) -> list[tuple[str, str, int]]:
    first: dict[str, tuple[str, str, int]] = {}
    for part in ("valid", "test") if trained else ():
        for row, names in zip(parts[part], labelled[part], strict=True):
            for place, name in enumerate(names):
                if name not in trained:
                    line = row.lines[place] if row.lines else row.line
                    first.setdefault(name, (name, part, line))
    return list(first.values())


def _alike(names: set[str]) -> tuple[tuple[str, ...], ...]:
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(" ".join(plain_name(name).casefold().split()), []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _writes_spans(name: str, scheme: str) -> bool:
    try:
        find_spans([name], scheme)  # type: ignore[arg-type]
    except DataError:
        return False
    return True


def _spans(
    parts: Mapping[str, Sequence[Row]],
    labelled: Mapping[str, Sequence[Sequence[str]]],
    asked: str,
) -> tuple[str, dict[str, dict[str, int]], dict[str, tuple[int, int]]]:
    """The tagging scheme of the training part, spans by type and part, and ill-formed sentences."""
    scheme, _ = scheme_of(labelled["train"] or labelled["valid"] or labelled["test"], asked)
    if not scheme:
        return "", {}, {}
    names = sorted(set(chain.from_iterable(chain.from_iterable(labelled.values()))))
    fits = [name for name in names if _writes_spans(name, scheme)]
    allowed = transitions(fits, scheme)
    places = {name: place for place, name in enumerate(fits)}
    spans: dict[str, dict[str, int]] = {}
    ill_formed: dict[str, tuple[int, int]] = {}
    for part, rows in labelled.items():
        for row, tags in zip(parts[part], rows, strict=True):
            if not places.keys() >= set(tags):
                continue  # reported as unseen labels
            for span in find_spans(tags, scheme):  # type: ignore[arg-type]
                kind = span.type or "(span)"
                spans.setdefault(kind, dict.fromkeys(parts, 0))[part] += 1
            if allowed.why_not([places[tag_] for tag_ in tags]) is not None:
                n, line = ill_formed.get(part, (0, row.line))
                ill_formed[part] = n + 1, line
    return scheme, dict(sorted(spans.items())), ill_formed


# Rendering


def render_labels(survey: LabelSurvey) -> RenderableType:
    """The survey as an object that `rich.print` can show, on a terminal or in a log."""
    tables = [_table("tag" if survey.task == "tag" else "label", survey.labels, survey.n_labelled)]
    if survey.spans:
        n_spans = sum(n["train"] for n in survey.spans.values())
        tables.append(_table("spans", survey.spans, n_spans))
    tables.append(shared_table(survey.shared, survey.sizes))
    return page(survey.paths, survey.columns, _facts(survey), tables=tables)


def _table(heading: str, counts: Mapping[str, Mapping[str, int]], n_train: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(heading, style="cyan", overflow="fold")
    for column in ("train", "share", "valid", "test"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, n in list(counts.items())[:_MOST_LABELS]:
        share = percent(n["train"] / max(1, n_train))
        table.add_row(
            Text(brief(name) or "(none)"),
            f"{n['train']:,}",
            share,
            f"{n['valid']:,}",
            f"{n['test']:,}",
        )
    if len(counts) > _MOST_LABELS:
        table.add_row(f"… {len(counts) - _MOST_LABELS:,} more", "", "", "", "")
    return table


def _facts(survey: LabelSurvey) -> list[tuple[str, str]]:
    """Name and text of each line below the tables; lines without content are omitted."""
    unit = "sentence" if survey.task == "tag" else "row"
    labelled = "token" if survey.task == "tag" else "row"
    linked = "pair of texts" if len(survey.columns) > 1 else "text"
    encoded = survey.encoded
    facts = [
        ("task", f"{survey.task} (change it with --task NAME)"),
        *facts_of_rows(unit, linked, survey.sizes, survey.n_left_out, encoded.splits, encoded.data),
        *facts_of_groups(encoded.splits, encoded.data.group, unit),
    ]
    facts += [("note", note) for note in survey.notes]
    if survey.task == "tag":
        each = ", ".join(f"{n:,} {part}" for part, n in survey.n_tokens.items())
        facts.append(("tokens", each))
        facts.append(("spans", _of_spans(survey)))
    shown = [f"{p}%: {n:,}" for p, n in zip(PERCENTILES, survey.percentiles, strict=False)]
    facts.append(("lengths", f"percentiles of tokens per text: {' · '.join(shown)}"))
    name, share = survey.majority
    if name:
        fact = f"{quote(name)}, {percent(share)} of train (majority-class baseline)"
        facts.append(("majority", fact))
    if survey.multi_label:
        facts.append(
            (
                "no label",
                f"{count_of(survey.n_bare, 'row')} of train, allowed by data.label_separator",
            )
        )
    elif survey.n_bare:
        facts.append(
            ("no label", f"{count_of(survey.n_bare, 'row')} of train; training stops with an error")
        )
    n_labels = sum(map(bool, survey.labels))
    if n_labels < 2 and not survey.multi_label:
        found = "only one label" if n_labels else "no label"
        facts.append(("too few", f"{found}; training needs at least two"))
    missing = [name for name, n in survey.labels.items() if name and n["train"] > n["valid"] == 0]
    if missing and survey.sizes["valid"]:
        facts.append(("unscored", f"no {labelled} of valid has the label {_named(missing)}"))
    if survey.rare:
        facts.append(("rare", f"fewer than {FEW_ROWS} in train: {_named(survey.rare)}"))
    for each, part, line in survey.unseen[:_MOST_NAMED]:
        facts.append(
            ("unseen", f"{quote(each)} occurs in {part} (line {line:,}), but not in train")
        )
    if len(survey.unseen) > _MOST_NAMED:
        facts.append(("", f"and {len(survey.unseen) - _MOST_NAMED:,} more labels"))
    for group in survey.alike[:_MOST_NAMED]:
        facts.append(("alike", f"{_named(group)} differ only in case, spaces or decimals"))
    if len(survey.alike) > _MOST_NAMED:
        facts.append(("", f"and {len(survey.alike) - _MOST_NAMED:,} more such groups"))
    empty = [f"{survey.n_empty[part]:,} of {part}" for part in HELD_OUT if survey.n_empty[part]]
    if empty:
        facts.append(("empty", f"{unit}s without text that are scored: {', '.join(empty)}"))
    if survey.n_too_long:
        facts.append(
            (
                "too long",
                f"{count_of(survey.n_too_long, unit)} of train with a text of more than "
                f"{survey.max_length:,} tokens: {survey.when_long}",
            )
        )
    if survey.n_duplicates:
        fact = f"{count_of(survey.n_duplicates, unit)} of train with the text of an earlier one"
        if survey.n_conflicts:
            fact += f", {survey.n_conflicts:,} of them with different labels"
        facts.append(("repeated", fact))
    return [*facts, *survey.estimate]


def _of_spans(survey: LabelSurvey) -> str:
    if not survey.scheme:
        return "none; each tag is scored separately"
    text = f"encoded as {survey.scheme.upper()}"
    for part, (n, line) in survey.ill_formed.items():
        text += f"; {count_of(n, 'ill-formed sentence')} in {part} (first: line {line:,})"
    return text


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(quote(name) for name in names[:_MOST_NAMED]) + more
