"""Describe the rows of a data file before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unrolled.quoting import brief, escape, listed
from unrolled.text.batching import batches, padding_share
from unrolled.text.readers import column_names
from unrolled.text.rows import Row
from unrolled.text.splits import DataConfig, Splits, read_splits, same_text
from unrolled.text.tokenizer import UNK_ID, TextConfig, Tokenizer

if TYPE_CHECKING:
    from rich.console import RenderableType

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
        unknown_share: share of the validation part's tokens that are not in the vocabulary; None
            without a validation part.
    """

    name: str
    n_distinct: int
    median: int
    most: int
    longest: int
    longest_line: int
    n_tokens: int
    n_vocabulary: int
    unknown_share: float | None


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
        n_shared: validation and test rows with a sentence that also occurs in the training part.
        n_too_long: training rows with a field longer than `max_length`.
        max_length: maximum length of a field in tokens.
        too_long: what happens to longer rows, `skip` or `truncate`.
        max_tokens: token budget of the batches on which `padding` was measured.
        padding: share of padding in the batches of one epoch.
        kind: kind of token.
        examples: the first training rows.
        estimate: time and memory of a training run, one line; filled in by a caller that knows the model.
        notes: sentences about how the files were read.
    """

    paths: tuple[str, ...]
    ignored: tuple[str, ...]
    columns: tuple[Column, ...]
    sizes: dict[str, int]
    cut: tuple[str, ...]
    n_empty: int
    n_duplicates: int
    n_shared: int
    n_too_long: int
    max_length: int
    too_long: str
    max_tokens: int
    padding: float
    kind: str
    examples: tuple[Row, ...]
    estimate: str | None = None
    notes: tuple[str, ...] = ()


def survey(
    config: DataConfig,
    text: TextConfig,
    n_columns: int | None = None,
    max_tokens: int = 4096,
) -> Survey:
    """Read, truncate, tokenize and batch the data as a training run would, and count.

    Args:
        config: the `[data]` section.
        text: the `[text]` section.
        n_columns: how many columns the task needs; None for any number.
        max_tokens: token budget of a batch.

    Raises:
        DataError: a file cannot be read as requested, or cannot be split.
        ConfigError: no training file is given.
    """
    splits = read_splits(config, n_columns)
    all_names = column_names(config.train or config.valid or config.test, config.header)
    names = tuple(_name_of(column, all_names) for column in config.columns or all_names)
    part = splits.train or splits.valid or splits.test
    sides = [[row.texts[i] for row in part] for i in range(len(names))]
    if text.shared:
        shared = Tokenizer.train((sentence for side in sides for sentence in side), text)
        tokenizers = [shared] * len(sides)
    else:
        tokenizers = [Tokenizer.train(side, text) for side in sides]
    ids = [
        [list(row) for row in tokenizer.encode_batch(side)]
        for tokenizer, side in zip(tokenizers, sides, strict=True)
    ]
    lengths = [np.array([len(row) for row in side], dtype=np.int64) for side in ids]
    rows = np.stack(lengths, axis=1)
    fits = rows.max(axis=1, initial=0) + 1 <= config.max_length  # including the end of sentence
    kept = rows[fits] if config.too_long == "skip" else np.minimum(rows, config.max_length)
    batchable = [tuple(row) for row in kept.tolist()]
    return Survey(
        paths=config.train or config.valid or config.test,
        ignored=tuple(name for name in all_names if name not in names),
        columns=tuple(
            column_of(
                name,
                sides[i],
                ids[i],
                tokenizers[i].encode_batch([row.texts[i] for row in splits.valid]),
                lines=[row.line for row in part],
                n_vocabulary=len(tokenizers[i]),
            )
            for i, name in enumerate(names)
        ),
        sizes={"train": len(splits.train), "valid": len(splits.valid), "test": len(splits.test)},
        cut=splits.cut,
        n_empty=splits.n_empty,
        n_duplicates=len(part) - len({tuple(map(same_text, row.texts)) for row in part}),
        n_shared=_n_shared(splits),
        n_too_long=int((~fits).sum()),
        max_length=config.max_length,
        too_long=config.too_long,
        max_tokens=max_tokens,
        padding=padding_share(batchable, batches(batchable, max_tokens)),
        kind=text.kind,
        examples=tuple(part[:_N_EXAMPLES]),
        notes=splits.notes,
    )


def _name_of(column: str, names: Sequence[str]) -> str:
    """The name of a column that may be given by its number."""
    is_number = column not in names and column.isdecimal() and int(column) <= len(names)
    return names[int(column) - 1] if is_number else column


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
    >>> "36 train, 2 valid, 2 test" in console.file.getvalue()
    True
    """
    return page(survey.paths, survey.columns, _facts(survey), survey.examples)


def page(
    paths: Sequence[str],
    columns: Sequence[Column],
    facts: Sequence[tuple[str, str]],
    examples: Sequence[Row] = (),
    tables: Sequence[RenderableType] = (),
) -> RenderableType:
    """The report as a page: the files, a table of the columns, further tables, and lines of text.

    Args:
        paths: the files.
        columns: the text columns.
        facts: name and text of each line.
        examples: rows to show at the end.
        tables: further tables, between the table of the columns and the lines.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("column", style="cyan", overflow="fold")
    for heading in ("distinct", "median", "95 %", "longest", "tokens", "vocabulary", "unknown"):
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
            "–" if column.unknown_share is None else f"{column.unknown_share:.2%}",
        )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, Text(escape(value)))
    for i, row in enumerate(examples):
        grid.add_row("" if i else "examples", Text(_example(row), style="dim"))
    return Group(Text(listed(paths, limit=_LONGEST_EXAMPLE), style="bold"), table, *tables, grid)


def _example(row: Row) -> str:
    return " → ".join(brief(text, _LONGEST_EXAMPLE) for text in row.texts)


def _facts(survey: Survey) -> list[tuple[str, str]]:
    """Name and text of each line below the table; lines without content are omitted."""
    sizes = ", ".join(f"{size:,} {part}" for part, size in survey.sizes.items())
    cut = " and ".join(survey.cut)
    verb = "skipped" if survey.too_long == "skip" else "truncated"
    longest = max(survey.columns, key=lambda column: column.longest)
    facts = [
        (
            "rows",
            f"{sizes}{f'; {cut} split off train, with no sentence in two parts' if cut else ''}",
        ),
        ("tokens", _TOKEN_KINDS[survey.kind]),
    ]
    facts += [("note", note) for note in survey.notes]
    if survey.ignored:
        facts.append(("ignored", listed(survey.ignored)))
    if survey.n_empty:
        facts.append(("skipped", f"{_rows(survey.n_empty)} with an empty field"))
    if survey.n_too_long:
        facts.append(
            (
                "too long",
                f"{_rows(survey.n_too_long)} with more than {survey.max_length:,} tokens {verb}; "
                f"the longest is line {longest.longest_line:,}",
            )
        )
    if survey.n_duplicates:
        facts.append(
            ("repeated", f"{_rows(survey.n_duplicates)} of train identical to an earlier one")
        )
    if survey.n_shared:
        facts.append(
            (
                "shared",
                f"{_rows(survey.n_shared)} of valid and test with a sentence that is also in train",
            )
        )
    facts.append(("padding", f"{survey.padding:.1%} of each batch of {survey.max_tokens:,} tokens"))
    if survey.estimate is not None:
        facts.append(("estimate", survey.estimate))
    return facts


_TOKEN_KINDS = {
    "bpe": "byte-pair encoding, without unknown tokens",
    "word": "words and punctuation marks",
    "char": "characters",
    "space": "separated by white space",
}


def _rows(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def column_of(
    name: str,
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    valid_ids: Sequence[Sequence[int]],
    *,
    lines: Sequence[int],
    n_vocabulary: int,
) -> Column:
    """The statistics of a column.

    Args:
        name: name of the column in the file.
        texts: texts of the training part, at least one.
        ids: token ids of each text.
        valid_ids: token ids of the texts of the validation part.
        lines: line number of each text.
        n_vocabulary: size of the vocabulary.
    """
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    longest = int(lengths.argmax())
    median, most = np.percentile(lengths, [50, 95], method="higher")
    n_valid = sum(map(len, valid_ids))
    n_unknown = sum(list(row).count(UNK_ID) for row in valid_ids)
    return Column(
        name=name,
        n_distinct=len(set(map(same_text, texts))),
        median=int(median),
        most=int(most),
        longest=int(lengths[longest]),
        longest_line=lines[longest],
        n_tokens=int(lengths.sum()),
        n_vocabulary=n_vocabulary,
        unknown_share=n_unknown / n_valid if n_valid else None,
    )


def _n_shared(splits: Splits) -> int:
    """The number of valid and test rows with a sentence of the training part; 0 for split-off parts."""
    seen = {(i, same_text(text)) for row in splits.train for i, text in enumerate(row.texts)}
    return sum(
        any((i, same_text(text)) in seen for i, text in enumerate(row.texts))
        for row in (*splits.valid, *splits.test)
    )
