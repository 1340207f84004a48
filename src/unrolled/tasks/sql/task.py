"""The definition of the task: queries that answer questions about a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unrolled.config import check_fields
from unrolled.sql import grammar, parsing, scoring
from unrolled.sql.examples import SplitBy, read_query_rows
from unrolled.sql.parsing import QueryError, parse_select
from unrolled.sql.scoring import Gold
from unrolled.sql.target import render
from unrolled.tasks.roles import Tokenizers
from unrolled.tasks.sql import answers, examples, model, vocabulary
from unrolled.tasks.task import QueryTask
from unrolled.text.config import UNK_ID, TextConfig
from unrolled.text.rows import Field, Row
from unrolled.text.splits import DataConfig, Length, Reading

COLUMNS = ("question", "database", "query")


@dataclass(frozen=True)
class QueryData(DataConfig):
    """The source of questions and queries; other settings are as in `DataConfig`.

    Args:
        columns: names of the columns with the question, the query and, if there are several databases,
            the name of the database.
        database: the database that all questions are about, an SQLite file or the description of a schema
            (.json, .csv); "" if a column names it: then the file is looked for beside the data.
        split_by: for `.json` files in the form of Finegan-Dollak et al. (2018): whether the parts share
            no "question" or no "query".
        dialect: the dialect of sqlglot in which the queries are written; in "mysql", text may stand in
            double quotes.
        max_length: maximum number of tokens of a training question or query; longer rows are left out.

    Raises:
        ConfigError: a value is out of range, or sqlglot does not know the dialect.
        UnavailableError: sqlglot is needed for the dialect and is not installed.
    """

    database: str = ""
    split_by: SplitBy = "question"
    dialect: str = "sqlite"
    max_length: Length = 1_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "data")
        if self.dialect != "sqlite":
            parsing.check_dialect(self.dialect)


def read(
    data: QueryData, paths: Sequence[str], part: str, notes: list[str] | None = None
) -> list[Row]:
    """The rows of a part: question, path of the database, query."""
    is_split = part == "train" and not (data.valid and data.test)
    rows = read_query_rows(
        paths,
        part,  # type: ignore[arg-type]
        data.database,
        data.split_by,
        columns=data.columns,
        header=data.header,
        notes=notes,
        is_split=is_split,
    )
    if data.dialect == "sqlite":
        return rows
    return [_in_sqlite(row, data.dialect) for row in rows]


def _in_sqlite(row: Row, dialect: str) -> Row:
    """The row with its query in SQLite's dialect; as it is if it cannot be parsed."""
    question, database, query = row.texts
    try:
        return replace(row, fields=(question, database, render(parse_select(query, dialect))))
    except QueryError:
        return row


def _is_full(fields: Sequence[Field]) -> bool:
    return bool(str(fields[0]).strip() and str(fields[2]).strip())


def _linked(fields: Sequence[Field]) -> Sequence[Field]:
    """The same question about the same database must not be in two parts.

    The folder of the database is left out, so that moved data are split in the same way.
    """
    return (f"{Path(str(fields[1])).name}\n{fields[0]}",)


def reference(row: Row) -> Gold:
    """What a prediction is compared with."""
    question, database, query = row.texts
    return Gold(query, database, question=question)


def extend(config: model.QueryConfig, tokenizers: Tokenizers) -> Tokenizers:
    """Extend the vocabulary of questions by the first words of the vector file."""
    role = examples.SOURCE
    return {**tokenizers, role: config.embeddings.extend(tokenizers[role])}


def _check(config: model.QueryConfig, text: TextConfig) -> None:
    """Refuse vector files that do not fit, and a missing library, before any data are read."""
    parsing.library()
    grammar.library()
    model.check_pretrained(config, text)


def notes(
    text: TextConfig,
    rows: Mapping[str, Sequence[Row]],
    encoded: Mapping[str, Sequence[examples.QueryExample]],
    tokenizers: Tokenizers,
) -> tuple[str, ...]:
    """Notes on queries with words that can be neither written nor copied."""
    found = []
    for part in ("train", "valid"):
        lost = sum(UNK_ID in example.target for example in encoded[part])
        if lost:
            found.append(
                f"{part}: {lost:,} of {len(encoded[part]):,} queries hold a word that is neither in the "
                "question nor in the vocabulary, so no model can write them"
            )
    return tuple(found)


TASK = QueryTask(
    name="sql",
    columns=COLUMNS,
    Config=model.QueryConfig,
    Data=QueryData,
    Decoding=answers.QueryDecoding,
    reading=Reading(is_full=_is_full, linked=_linked, read=read),
    train_tokenizers=vocabulary.train_tokenizers,
    extend=extend,
    encode=examples.encode,
    lengths=examples.lengths,
    collate=examples.collate,
    build=model.build,
    loss=model.loss,
    evaluate_loss=model.evaluate_loss,
    decode=answers.decode,
    score=scoring.score,
    reference=reference,
    signature=scoring.signature,
    calibrate=answers.calibrate,
    notes=notes,
    load_pretrained=model.load_pretrained,
    check_pretrained=_check,
    prepare=model.prepare,
    text={"kind": "word", "lowercase": True},
    training={"max_tokens": 1_000},
    fixed={
        "text.kind": "word",
        "text.lowercase": True,
        "text.shared": False,
        "data.group": "",
        "data.too_long": "skip",
        "training.bleu_tokenizer": "auto",
    },
    training_only=model.TRAINING_ONLY,
    use='ask {run} --database FILE "…"',
)
