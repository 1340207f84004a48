"""What a data file holds, looked at before anything is trained on it."""

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
    """One column of the training part; lengths in tokens, begin and end not counted.

    Args:
        name: as the file calls it.
        n_distinct: different texts.
        median: median length.
        most: 95 % of the rows are no longer than this.
        longest: the longest row.
        longest_line: the line on which it stands.
        n_tokens: tokens in all rows.
        n_vocabulary: size of the vocabulary, special tokens included.
        unknown_share: of the validation part's tokens, the share outside the vocabulary; None
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
    """What `unrolled data FILE` tells.

    Args:
        paths: the training file, or one file per column.
        ignored: columns of the file that are not read.
        columns: one record per column read.
        sizes: rows by part.
        cut: the parts that were cut from the training file.
        n_empty: rows left out because a side is empty.
        n_duplicates: training rows that repeat an earlier one.
        n_shared: validation and test rows with a sentence that also stands in training.
        n_too_long: training rows longer than `max_length` on a side.
        max_length: the most tokens a side may have.
        too_long: what happens to longer ones, `skip` or `truncate`.
        max_tokens: the budget of the batches that `padding` was measured on.
        padding: share of padding in the batches of one epoch.
        kind: what a token is.
        examples: the first training rows.
        estimate: time and memory of a training run, one line; filled in by who knows the model.
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


def survey(
    config: DataConfig,
    text: TextConfig,
    n_columns: int | None = None,
    max_tokens: int = 4096,
) -> Survey:
    """Read, cut, tokenise and batch the data as a training run would, and count.

    Args:
        config: where the rows come from.
        text: how text becomes tokens.
        n_columns: how many columns the task needs; None for any number.
        max_tokens: the budget of a batch.

    Raises:
        DataError: a file cannot be read as asked, or cannot be split.
        ConfigError: no training file is given.
    """
    splits = read_splits(config, n_columns)
    there = column_names(config.train or config.valid or config.test)
    names = config.columns or there
    part = splits.train or splits.valid or splits.test
    sides = [[row.texts[i] for row in part] for i in range(len(names))]
    if text.shared:
        together = Tokenizer.train((each for side in sides for each in side), text)
        tokenizers = [together] * len(sides)
    else:
        tokenizers = [Tokenizer.train(side, text) for side in sides]
    ids = [
        [list(each) for each in tokenizer.encode_batch(side)]
        for tokenizer, side in zip(tokenizers, sides, strict=True)
    ]
    lengths = [np.array([len(each) for each in side], dtype=np.int64) for side in ids]
    rows = np.stack(lengths, axis=1)
    fits = rows.max(axis=1, initial=0) + 1 <= config.max_length  # with the end of sentence
    kept = rows[fits] if config.too_long == "skip" else np.minimum(rows, config.max_length)
    batchable = [tuple(row) for row in kept.tolist()]
    return Survey(
        paths=config.train or config.valid or config.test,
        ignored=tuple(name for name in there if name not in names),
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
    )


def render(survey: Survey) -> RenderableType:
    r"""The survey as something `rich.print` can show, on a terminal or in a log.

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
    """A survey's page: the files, a table of the columns, other tables, and what is to be said.

    Args:
        paths: of the files.
        columns: of text.
        facts: name and sentence of each line.
        examples: rows to show at the end.
        tables: that stand between.
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
    return " → ".join(brief(each, _LONGEST_EXAMPLE) for each in row.texts)


def _facts(survey: Survey) -> list[tuple[str, str]]:
    """Name and sentence of each line below the table, those without news left out."""
    sizes = ", ".join(f"{size:,} {part}" for part, size in survey.sizes.items())
    cut = " and ".join(survey.cut)
    verb = "skipped" if survey.too_long == "skip" else "cut off"
    longest = max(survey.columns, key=lambda column: column.longest)
    facts = [
        ("rows", f"{sizes}{f'; {cut} cut from train, no sentence in two parts' if cut else ''}"),
        ("tokens", _TOKEN_KINDS[survey.kind]),
    ]
    if survey.ignored:
        facts.append(("not read", listed(survey.ignored)))
    if survey.n_empty:
        facts.append(("left out", f"{_rows(survey.n_empty)} with an empty side"))
    if survey.n_too_long:
        facts.append(
            (
                "too long",
                f"{_rows(survey.n_too_long)} of more than {survey.max_length:,} tokens {verb}; "
                f"the longest is line {longest.longest_line:,}",
            )
        )
    if survey.n_duplicates:
        facts.append(("repeated", f"{_rows(survey.n_duplicates)} of train equal an earlier one"))
    if survey.n_shared:
        facts.append(
            ("shared", f"{_rows(survey.n_shared)} of valid and test hold a sentence of train")
        )
    facts.append(
        ("padding", f"{survey.padding:.1%} of a batch, at {survey.max_tokens:,} tokens a batch")
    )
    if survey.estimate is not None:
        facts.append(("estimate", survey.estimate))
    return facts


_TOKEN_KINDS = {
    "bpe": "byte pairs, nothing is unknown",
    "word": "words and punctuation marks",
    "char": "characters",
    "space": "what stands between white space",
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
    """What is known of a column.

    Args:
        name: as the file calls it.
        texts: of the training part, at least one.
        ids: of each text's tokens.
        valid_ids: the same of the validation part.
        lines: on which each text stands.
        n_vocabulary: size of the vocabulary.
    """
    lengths = np.array([len(each) for each in ids], dtype=np.int64)
    longest = int(lengths.argmax())
    median, most = np.percentile(lengths, [50, 95], method="higher")
    n_valid = sum(map(len, valid_ids))
    n_unknown = sum(list(each).count(UNK_ID) for each in valid_ids)
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
    """Rows of valid and test with a side that stands in training; cut parts have none."""
    seen = {(i, same_text(text)) for row in splits.train for i, text in enumerate(row.texts)}
    return sum(
        any((i, same_text(text)) in seen for i, text in enumerate(row.texts))
        for row in (*splits.valid, *splits.test)
    )
