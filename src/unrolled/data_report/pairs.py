"""Describe the rows of a data file before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unrolled.data_report.parts import (
    Fitting,
    count_shared,
    facts_of_groups,
    facts_of_rows,
    shared_table,
    unknown_table,
)
from unrolled.quoting import brief, escape, listed, listed_paths
from unrolled.text.batching import batches, padding_share
from unrolled.text.config import UNK_ID, TextConfig
from unrolled.text.readers import column_names
from unrolled.text.rows import Row, columns_besides, place_by_number
from unrolled.text.splits import DataConfig, Reading, Splits, read_splits, same_text
from unrolled.text.tokenizer import Tokenizer
from unrolled.wording import count_of, percent

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_N_EXAMPLES = 3
_LONGEST_EXAMPLE = 300


@dataclass(frozen=True)
class Column:
    """One column of the training part; lengths in tokens, without begin and end of sentence.

    Args:
        name: name of the column in the file.
        n_distinct: number of distinct texts.
        median: median length.
        most: 95th percentile of the length.
        longest: length of the longest row.
        longest_line: line number of the longest row.
        n_tokens: number of tokens in all rows.
        n_vocabulary: size of the vocabulary, special tokens included.
        unknown: share of the tokens that are not in the vocabulary, by part; a part without tokens has
            none.
    """

    name: str
    n_distinct: int
    median: int
    most: int
    longest: int
    longest_line: int
    n_tokens: int
    n_vocabulary: int
    unknown: Mapping[str, float]


@dataclass(frozen=True)
class Encoded:
    """The parts as a training run reads them.

    Args:
        splits: the parts.
        data: the `[data]` section.
        tokenizers: one tokenizer for each column.
        lengths: by part, `[N, columns]`, the number of tokens of each text.
    """

    splits: Splits
    data: DataConfig
    tokenizers: Sequence[Tokenizer]
    lengths: Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Survey:
    """What `unrolled data FILE` reports of rows of text.

    Args:
        paths: the training file, or one file per column.
        ignored: columns of the file that are not read.
        columns: one record per column read.
        sizes: number of rows by part.
        cut: parts that were split off the training file.
        n_empty: rows skipped because a field is empty.
        n_duplicates: training rows identical to an earlier one.
        shared: validation and test rows with a sentence that also occurs in the training part, by column
            and part, and with all sentences of a row.
        n_too_long: training rows with a field longer than `max_length`.
        n_left_out: rows by part that are left out because they are too long.
        max_length: maximum length of a field in tokens.
        too_long: what happens to longer rows, `skip` or `truncate`.
        max_tokens: token budget of the batches on which `padding` was measured.
        padding: share of padding in the batches of one epoch.
        kind: kind of token.
        examples: the first training rows.
        notes: sentences about how the files were read.
        encoded: the parts, tokenizers and lengths that were counted.
        estimate: time and memory of a training run; filled in by a caller that knows the model.
    """

    paths: tuple[str, ...]
    ignored: tuple[str, ...]
    columns: tuple[Column, ...]
    sizes: dict[str, int]
    cut: tuple[str, ...]
    n_empty: int
    n_duplicates: int
    shared: Mapping[str, Mapping[str, int]]
    n_too_long: int
    n_left_out: Mapping[str, int]
    max_length: int
    too_long: str
    max_tokens: int
    padding: float
    kind: str
    examples: tuple[Row, ...]
    encoded: Encoded
    notes: tuple[str, ...] = ()
    estimate: tuple[tuple[str, str], ...] = ()


_TABLES = Reading()


def survey(
    config: DataConfig,
    text: TextConfig,
    n_columns: int | None = None,
    max_tokens: int = 4096,
    *,
    names: Sequence[str] = (),
    reading: Reading = _TABLES,
    words: Tokenizer | None = None,
) -> Survey:
    """Read, truncate, tokenize and batch the data as a training run would, and count.

    Args:
        config: the `[data]` section.
        text: the `[text]` section.
        n_columns: how many columns the task needs; None for any number.
        max_tokens: token budget of a batch.
        names: names of the columns, for a task that reads its rows itself.
        reading: what the task requires of its rows.
        words: the tokenizer of the first column, if it is given, as by `model.pretrained`.

    Raises:
        DataError: a file cannot be read as requested, or cannot be split.
        ConfigError: no training file is given.
    """
    splits = read_splits(config, n_columns, reading)
    group, all_names = "", tuple(names)
    if not names:
        all_names = column_names(config.train or config.valid or config.test, config.header)
        group = _name_of(config.group, all_names)
        besides = columns_besides(all_names, group, n_columns)
        names = tuple(_name_of(column, all_names) for column in config.columns or besides)
    part = splits.train or splits.valid or splits.test  # all columns are described on this part
    sides = [[row.texts[i] for row in part] for i in range(len(names))]
    if text.shared:
        shared = Tokenizer.train((sentence for side in sides for sentence in side), text)
        tokenizers = [shared] * len(sides)
    else:
        given = [] if words is None else [words]
        tokenizers = given + [Tokenizer.train(side, text) for side in sides[len(given) :]]
    parts = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    described = next(name for name, rows in parts.items() if rows)
    lengths: dict[str, NDArray[np.int64]] = {}
    unknown: list[dict[str, float]] = [{} for _ in names]
    for part_name, rows in parts.items():
        sides_of = [np.zeros(0, np.int64) for _ in names]
        for i, tokenizer in enumerate(tokenizers):
            ids = tokenizer.encode_batch([row.texts[i] for row in rows])
            sides_of[i] = lengths_of(ids)
            unknown[i] |= unknown_in(part_name, ids)
        lengths[part_name] = np.stack(sides_of, axis=1)
    table = lengths[described]
    fits = {
        name: rows.max(axis=1, initial=0) + 1 <= config.max_length for name, rows in lengths.items()
    }
    skips = config.too_long == "skip"  # validation rows that are too long are never read
    kept = table[fits[described]] if skips else np.minimum(table, config.max_length)
    batchable = [tuple(row) for row in kept.tolist()]
    return Survey(
        paths=config.train or config.valid or config.test,
        ignored=tuple(name for name in all_names if name not in (*names, group)),
        columns=tuple(
            column_of(
                name,
                sides[i],
                table[:, i],
                unknown[i],
                lines=[row.line for row in part],
                n_vocabulary=len(tokenizers[i]),
            )
            for i, name in enumerate(names)
        ),
        sizes={"train": len(splits.train), "valid": len(splits.valid), "test": len(splits.test)},
        cut=splits.cut,
        n_empty=splits.n_empty,
        n_duplicates=len(part)
        - len({tuple(map(same_text, row.texts[: len(names)])) for row in part}),
        shared=count_shared(names, parts, "whole row"),
        n_too_long=int((~fits["train"]).sum()),
        n_left_out={
            "train": int((~fits["train"]).sum()) if skips else 0,
            "valid": int((~fits["valid"]).sum()),
        },
        max_length=config.max_length,
        too_long=config.too_long,
        max_tokens=max_tokens,
        padding=padding_share(batchable, batches(batchable, max_tokens)),
        kind=text.kind,
        examples=tuple(replace(row, fields=row.fields[: len(names)]) for row in part[:_N_EXAMPLES]),
        notes=splits.notes,
        encoded=Encoded(splits, config, tokenizers, lengths),
    )


def _name_of(column: str, names: Sequence[str]) -> str:
    """The name of a column that may be given by its number."""
    place = place_by_number(names, column)
    return column if place is None else names[place]


def render(survey: Survey) -> RenderableType:
    r"""The survey as an object that `rich.print` can show, on a terminal or in a log.

    >>> import io, pathlib, tempfile
    >>> from rich.console import Console
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "phrases.tsv"
    >>> rows = "".join(f"one {i}\tuno {i}\n" for i in range(40))
    >>> _ = path.write_text("en\tes\n" + rows, encoding="utf-8")
    >>> found = survey(DataConfig(train=(str(path),)), TextConfig(kind="word"))
    >>> console = Console(file=io.StringIO(), width=80)
    >>> console.print(render(found))
    >>> "40 read = 36 train + 2 valid + 2 test" in console.file.getvalue()
    True
    """
    tables = [shared_table(survey.shared, survey.sizes)]
    return page(survey.paths, survey.columns, _facts(survey), survey.examples, tables)


def page(
    paths: Sequence[str],
    columns: Sequence[Column],
    facts: Sequence[tuple[str, str]],
    examples: Sequence[Row] = (),
    tables: Sequence[Table | None] = (),
) -> RenderableType:
    """The report as a page: the files, a table of the columns, further tables, and lines of text.

    Args:
        paths: the files.
        columns: the text columns.
        facts: name and text of each line.
        examples: rows to show at the end.
        tables: further tables, between the table of the columns and the lines; None is left out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("column", style="cyan", overflow="fold")
    for heading in ("distinct", "median", "95%", "longest", "tokens", "vocabulary"):
        table.add_column(heading, justify="right", no_wrap=True)
    for column in columns:
        table.add_row(
            Text(brief(column.name)),
            f"{column.n_distinct:,}",
            f"{column.median:,}",
            f"{column.most:,}",
            f"{column.longest:,}",
            f"{column.n_tokens:,}",
            f"{column.n_vocabulary:,}",
        )
    unknown = unknown_table({column.name: column.unknown for column in columns})
    shown = [Fitting(each) for each in (table, unknown, *tables) if each is not None]
    grid = facts_grid(facts)
    for i, row in enumerate(examples):
        grid.add_row("" if i else "examples", Text(_example(row), style="dim"))
    return Group(Text(listed_paths(paths), style="bold"), *shown, grid)


def facts_grid(facts: Sequence[tuple[str, str]]) -> Table:
    """Lines with a name each; a long text is wrapped between words, beside its name."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, Text(escape(value)))
    return grid


def _example(row: Row) -> str:
    return " → ".join(brief(text, _LONGEST_EXAMPLE) for text in row.texts)


def _facts(survey: Survey) -> list[tuple[str, str]]:
    """Name and text of each line below the table; lines without content are omitted."""
    encoded = survey.encoded
    verb = "skipped" if survey.too_long == "skip" else "truncated"
    longest = max(survey.columns, key=lambda column: column.longest)
    facts = [
        *facts_of_rows(
            "row", "sentence", survey.sizes, survey.n_left_out, encoded.splits, encoded.data
        ),
        *facts_of_groups(encoded.splits, encoded.data.group, "row"),
        ("tokens", _TOKEN_KINDS[survey.kind]),
    ]
    facts += [("note", note) for note in survey.notes]
    if survey.ignored:
        facts.append(("ignored", listed(survey.ignored)))
    if survey.n_too_long:
        facts.append(
            (
                "too long",
                f"{count_of(survey.n_too_long, 'row')} of train with more than {survey.max_length:,} "
                f"tokens {verb} (data.too_long); the longest is line {longest.longest_line:,}",
            )
        )
    if survey.n_duplicates:
        facts.append(
            (
                "repeated",
                f"{count_of(survey.n_duplicates, 'row')} of train identical to an earlier one",
            )
        )
    facts.append(
        ("padding", f"{percent(survey.padding)} of each batch of {survey.max_tokens:,} tokens")
    )
    return [*facts, *survey.estimate]


_TOKEN_KINDS = {
    "bpe": "byte-pair encoding, without unknown tokens",
    "word": "words and punctuation marks",
    "char": "characters",
    "space": "separated by white space",
    "code": "parts of names, operators and marks of layout",
}


def lengths_of(ids: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The number of tokens of each text."""
    return np.fromiter(map(len, ids), np.int64, len(ids))


def unknown_in(part: str, ids: Sequence[Sequence[int]]) -> dict[str, float]:
    """The share of unknown tokens of a part, by the name of the part; nothing without tokens."""
    n_tokens = sum(map(len, ids))
    n_unknown = sum(row.count(UNK_ID) for row in ids)
    return {part: n_unknown / n_tokens} if n_tokens else {}


def column_of(
    name: str,
    texts: Sequence[str],
    lengths: NDArray[np.int64],
    unknown: Mapping[str, float],
    *,
    lines: Sequence[int],
    n_vocabulary: int,
) -> Column:
    """The statistics of a column.

    Args:
        name: name of the column in the file.
        texts: texts of the training part, at least one.
        lengths: number of tokens of each text.
        unknown: share of unknown tokens by part.
        lines: line number of each text.
        n_vocabulary: size of the vocabulary.
    """
    longest = int(lengths.argmax())
    median, most = np.percentile(lengths, [50, 95], method="higher")
    return Column(
        name=name,
        n_distinct=len(set(map(same_text, texts))),
        median=int(median),
        most=int(most),
        longest=int(lengths[longest]),
        longest_line=lines[longest],
        n_tokens=int(lengths.sum()),
        n_vocabulary=n_vocabulary,
        unknown=unknown,
    )
