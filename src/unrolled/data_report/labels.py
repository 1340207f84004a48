"""What labelled data hold, looked at before anything is trained on it: `unrolled data FILE --task …`.

Nothing is refused here that can be counted: a label that only the test part has, or a training part of
one label, stops training but is told of in a survey.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.data_report.pairs import Column, column_of, page
from unrolled.errors import DataError
from unrolled.metrics.spans import find_spans
from unrolled.quoting import brief, quote
from unrolled.tasks import TASKS
from unrolled.tasks.tag.data import scheme_of, transitions
from unrolled.tasks.task import LabelTask
from unrolled.text.conll import is_column_file
from unrolled.text.readers import column_names
from unrolled.text.rows import Row, as_list
from unrolled.text.splits import read_splits, same_text
from unrolled.text.tokenizer import TextConfig, Tokenizer

if TYPE_CHECKING:
    from rich.console import RenderableType

PERCENTILES = (5, 25, 50, 75, 95, 99)
FEW_ROWS = 5
"""A label of fewer training rows is called rare."""

_MOST_LABELS = 30
_MOST_NAMED = 8
_LABEL_COLUMNS = ("label", "labels", "class", "category", "sentiment", "stance", "gold_label")
_TAG_COLUMNS = ("tags", "tag", "ner_tags", "pos_tags")


@dataclass(frozen=True)
class LabelSurvey:
    """What `unrolled data FILE` tells of labelled data. Parts are "train", "valid" and "test".

    Args:
        task: "classify", "pair" or "tag".
        paths: the training file.
        columns: one record per column of texts, of the training part.
        percentiles: of the tokens of a text of the training part, by `PERCENTILES`.
        sizes: rows by part; in tagging sentences.
        cut: the parts that were cut from the training file.
        labels: of each label, the most frequent first, how many rows have it by part; of tags, tokens.
        multi_label: whether a row may have several labels.
        n_bare: rows of the training part without a label.
        n_empty: rows without text by part; those of the training part are left out.
        n_too_long: training rows with a text of more than `max_length` tokens.
        max_length: of a text, in tokens.
        when_long: what becomes of longer ones.
        n_duplicates: training rows whose texts repeat an earlier row's.
        n_conflicts: of those, how many have other labels than the first one.
        n_shared: rows by part, of which the same texts stand in the training part.
        unseen: labels that the training part does not have: name, part, line of the first.
        alike: labels that differ in nothing but case and spaces.
        n_tokens: tokens by part; of tags.
        scheme: how tags write spans; "" where they do not.
        spans: of each type how many spans by part.
        ill_formed: sentences by part whose tags the scheme does not allow, and the line of the first.
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
    max_length: int
    when_long: str
    n_duplicates: int
    n_conflicts: int
    n_shared: Mapping[str, int]
    unseen: tuple[tuple[str, str, int], ...]
    alike: tuple[tuple[str, ...], ...]
    n_tokens: Mapping[str, int]
    scheme: str
    spans: Mapping[str, Mapping[str, int]]
    ill_formed: Mapping[str, tuple[int, int]]

    @property
    def n_labelled(self) -> int:
        """What shares of labels are of: training rows, of tags training tokens."""
        return self.n_tokens["train"] if self.task == "tag" else self.sizes["train"]

    @property
    def majority(self) -> tuple[str, float]:
        """The most frequent label of the training part, and its share of the rows, 0…1."""
        name = max(self.labels, key=lambda each: self.labels[each]["train"], default="")
        n = self.labels[name]["train"] if name else 0
        return name, n / max(1, self.n_labelled)

    @property
    def rare(self) -> tuple[str, ...]:
        """Labels of the training part that fewer than `FEW_ROWS` rows have, of tags tokens."""
        return tuple(name for name, n in self.labels.items() if 0 < n["train"] < FEW_ROWS)


def likely_task(paths: Sequence[str], columns: Sequence[str] = ()) -> str | None:
    """Guess the labelling task of a data file, from its extension or its column names.

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
    if len(paths) == 1 and is_column_file(paths[0]):
        return tagging
    try:
        names = tuple(columns) or (column_names(paths) if len(paths) == 1 else ())
    except DataError:
        return None  # the error is reported when the file is read
    if not columns:
        for task in tasks:
            if set(names) == set(task.columns):
                return task.name
    last = names[-1].strip().lower() if names else ""
    if last in _TAG_COLUMNS and len(names) == 2:
        return tagging
    if last in _LABEL_COLUMNS:
        alike = (task for task in tasks if not task.by_token and len(task.columns) == len(names))
        return next((task.name for task in alike), None)
    return None


def survey_labels(task: LabelTask, config: Any, text: TextConfig) -> LabelSurvey:
    """Read, cut and tokenise the data as a training run would, and count.

    Args:
        task: one of `TASKS`.
        config: its `[data]` section.
        text: how text becomes tokens.

    Raises:
        DataError: a file cannot be read as asked, or cannot be split.
        ConfigError: no file is given.
    """
    splits = read_splits(config, len(task.columns), task.reading)
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    labelled = {
        part: [_labels_of(row, task, config) for row in rows] for part, rows in parts.items()
    }
    names = config.columns[:-1] if len(config.columns) == len(task.columns) else task.columns[:-1]
    columns, lengths = _columns(names, parts, task, text)
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
    return LabelSurvey(
        task=task.name,
        paths=config.train or config.valid or config.test,
        columns=columns,
        percentiles=tuple(
            int(each) for each in np.percentile(lengths, PERCENTILES, method="higher")
        )
        if lengths.size
        else (),
        sizes={part: len(rows) for part, rows in parts.items()},
        cut=splits.cut,
        labels=_counts(labelled),
        multi_label=bool(getattr(config, "label_separator", "")),
        n_bare=sum(not any(each) for each in labelled["train"]),
        n_empty={
            part: sum(not task.reading.is_full(row.fields) for row in rows)
            + (splits.n_empty if part == "train" else 0)
            for part, rows in parts.items()
        },
        n_too_long=int((lengths.max(axis=1, initial=0) > config.max_length).sum()),
        max_length=config.max_length,
        when_long="left out" if config.too_long == "skip" else task.when_long,
        n_duplicates=len(repeats),
        n_conflicts=sum(
            labelled["train"][one] != labelled["train"][other] for one, other in repeats
        ),
        n_shared={part: sum(key in first for key in keys[part]) for part in ("valid", "test")},
        unseen=tuple(_unseen(parts, labelled, trained)),
        alike=_alike(trained),
        n_tokens={
            part: sum(map(len, rows)) if task.by_token else 0 for part, rows in labelled.items()
        },
        scheme=scheme,
        spans=spans,
        ill_formed=ill_formed,
    )


def _labels_of(row: Row, task: LabelTask, config: Any) -> Sequence[str]:
    assert task.reading.labels is not None
    return task.reading.labels(row.fields, config)


def _key(row: Row, task: LabelTask) -> tuple[str, ...]:
    return tuple(same_text(each) for each in task.reading.linked(row.fields))


def _columns(
    names: Sequence[str], parts: Mapping[str, Sequence[Row]], task: LabelTask, text: TextConfig
) -> tuple[tuple[Column, ...], np.ndarray]:
    """Of each column of texts what is known, and `[N, columns]` tokens of each training text."""
    rows = parts["train"] or parts["valid"] or parts["test"]
    sides = [[row.texts[side] for row in rows] for side in range(len(names))]
    if task.by_token:
        sentences = [as_list(row.fields[0]) for row in rows]
        valid = [as_list(row.fields[0]) for row in parts["valid"]]
        tokenizer = Tokenizer.of_tokens(list(chain.from_iterable(sentences)), text)
        ids = [[tokenizer.ids_of(sentence) for sentence in sentences]]
        valid_ids = [[tokenizer.ids_of(sentence) for sentence in valid]]
        sides = [[" ".join(sentence) for sentence in sentences]]
    else:
        tokenizer = Tokenizer.train(chain.from_iterable(sides), text)
        held_out = [[row.texts[side] for row in parts["valid"]] for side in range(len(names))]
        ids, valid_ids = (
            [[list(each) for each in tokenizer.encode_batch(side)] for side in both]
            for both in (sides, held_out)
        )
    lines = [row.line for row in rows]
    columns = tuple(
        column_of(*each, lines=lines, n_vocabulary=len(tokenizer))
        for each in zip(names, sides, ids, valid_ids, strict=True)
    )
    lengths = [[len(each) for each in side] for side in ids]
    return columns, np.array(lengths, np.int64).reshape(len(names), len(rows)).T


def _counts(labelled: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, dict[str, int]]:
    counted = {part: Counter(chain.from_iterable(rows)) for part, rows in labelled.items()}
    names = {name for each in counted.values() for name in each}
    found = {name: {part: counts[name] for part, counts in counted.items()} for name in names}
    return dict(sorted(found.items(), key=lambda item: (-item[1]["train"], item[0])))


def _unseen(
    parts: Mapping[str, Sequence[Row]],
    labelled: Mapping[str, Sequence[Sequence[str]]],
    trained: set[str],
) -> list[tuple[str, str, int]]:
    found: dict[str, tuple[str, str, int]] = {}
    for part in ("valid", "test") if trained else ():
        for row, names in zip(parts[part], labelled[part], strict=True):
            for place, name in enumerate(names):
                if name not in trained:
                    line = row.lines[place] if row.lines else row.line
                    found.setdefault(name, (name, part, line))
    return list(found.values())


def _alike(names: set[str]) -> tuple[tuple[str, ...], ...]:
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(" ".join(name.casefold().split()), []).append(name)
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
    """The scheme of the training part's tags, spans by type and part, and who does not keep to it."""
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
                continue  # told of as labels that training does not have
            for span in find_spans(tags, scheme):  # type: ignore[arg-type]
                kind = span.type or "(span)"
                spans.setdefault(kind, dict.fromkeys(parts, 0))[part] += 1
            if allowed.why_not([places[each] for each in tags]) is not None:
                n, line = ill_formed.get(part, (0, row.line))
                ill_formed[part] = n + 1, line
    return scheme, dict(sorted(spans.items())), ill_formed


# The page


def render_labels(survey: LabelSurvey) -> RenderableType:
    """The survey as something `rich.print` can show, on a terminal or in a log."""
    tables = [_table("tag" if survey.task == "tag" else "label", survey.labels, survey.n_labelled)]
    if survey.spans:
        n_spans = sum(each["train"] for each in survey.spans.values())
        tables.append(_table("spans", survey.spans, n_spans))
    return page(survey.paths, survey.columns, _facts(survey), tables=tables)


def _table(heading: str, counts: Mapping[str, Mapping[str, int]], n_train: int) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(heading, style="cyan", overflow="fold")
    for each in ("train", "share", "valid", "test"):
        table.add_column(each, justify="right", no_wrap=True)
    for name, n in list(counts.items())[:_MOST_LABELS]:
        share = f"{n['train'] / max(1, n_train):.1%}"
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
    """Name and sentence of each line below the tables, those without news left out."""
    unit = "sentence" if survey.task == "tag" else "row"
    sizes = ", ".join(f"{size:,} {part}" for part, size in survey.sizes.items())
    cut = " and ".join(survey.cut)
    facts = [
        ("task", f"{survey.task} (--task NAME says another)"),
        (f"{unit}s", f"{sizes}{f'; {cut} cut from train, no text in two parts' if cut else ''}"),
    ]
    if survey.task == "tag":
        each = ", ".join(f"{n:,} {part}" for part, n in survey.n_tokens.items())
        facts.append(("tokens", each))
        facts.append(("spans", _of_spans(survey)))
    shown = [f"{p} % {n:,}" for p, n in zip(PERCENTILES, survey.percentiles, strict=False)]
    facts.append(("lengths", f"tokens of a text, at most: {' · '.join(shown)}"))
    name, share = survey.majority
    facts.append(
        ("majority", f"{quote(name)}, {share:.1%} of train: what is right without reading")
    )
    if survey.multi_label:
        facts.append(
            (
                "no label",
                f"{_counted(survey.n_bare, 'row')} of train, as data.label_separator allows",
            )
        )
    elif survey.n_bare:
        facts.append(
            ("no label", f"{_counted(survey.n_bare, 'row')} of train; training refuses them")
        )
    if len(survey.labels) < 2 and not survey.multi_label:
        facts.append(("too few", "one label only; training expects at least two"))
    if survey.rare:
        facts.append(("rare", f"fewer than {FEW_ROWS} in train: {_named(survey.rare)}"))
    for each, part, line in survey.unseen[:_MOST_NAMED]:
        facts.append(("unseen", f"{quote(each)} is in {part} (line {line:,}), not in train"))
    for group in survey.alike[:_MOST_NAMED]:
        facts.append(("alike", f"{_named(group)} differ in case or spaces only"))
    empty = [f"{n:,} of {part}" for part, n in survey.n_empty.items() if n]
    if empty:
        facts.append(("empty", f"{', '.join(empty)} without text; those of train are left out"))
    if survey.n_too_long:
        facts.append(
            (
                "too long",
                f"{_counted(survey.n_too_long, unit)} of train with a text of more than "
                f"{survey.max_length:,} tokens, {survey.when_long}",
            )
        )
    if survey.n_duplicates:
        others = f", {survey.n_conflicts:,} of them with other labels" if survey.n_conflicts else ""
        facts.append(("repeated", f"{_counted(survey.n_duplicates, unit)} of train{others}"))
    shared = [f"{n:,} of {part}" for part, n in survey.n_shared.items() if n]
    if shared:
        facts.append(("shared", f"{' and '.join(shared)} with the text of a row of train"))
    return facts


def _of_spans(survey: LabelSurvey) -> str:
    if not survey.scheme:
        return "none; each tag is scored by itself"
    said = f"written as {survey.scheme}"
    for part, (n, line) in survey.ill_formed.items():
        said += f"; {n:,} ill-formed in {part}, the first in the sentence of line {line:,}"
    return said


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(quote(name) for name in names[:_MOST_NAMED]) + more
