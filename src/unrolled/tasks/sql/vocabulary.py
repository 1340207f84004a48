"""The vocabularies of a training part: of questions and names, and of queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from unrolled.errors import DataError
from unrolled.sql.linking import name_words
from unrolled.sql.parsing import QueryError
from unrolled.sql.pieces import WORD_MARK
from unrolled.sql.schema import Schema
from unrolled.sql.source import open_source
from unrolled.tasks.sql.examples import SOURCE, TARGET, pieces_of
from unrolled.text.config import TextConfig
from unrolled.text.rows import Row
from unrolled.text.tokenizer import Tokenizer


def train_tokenizers(rows: Sequence[Row], config: TextConfig) -> dict[str, Tokenizer]:
    """The vocabulary of questions and names, and that of queries.

    A word of a value is in the vocabulary of queries only if a training query needs it that cannot copy
    it.

    Raises:
        DataError: a database cannot be read, or no query can be written in its schema.
    """
    known = replace(config, kind="space", lowercase=False)
    asked: Counter[str] = Counter()
    written: Counter[str] = Counter()
    schemas: dict[int, Schema] = {}
    problem: tuple[int, str] | None = None
    for row in rows:
        question, database, query = row.texts
        source = open_source(database)
        schemas[id(source)] = source.schema
        asked_words, values = source.mentioned(question)
        words = [word.text for word in asked_words]
        asked.update(word.lower() for word in words)
        try:
            pieces = pieces_of(source, query, values)
        except QueryError as error:
            problem = problem or (row.line, str(error))
            continue
        copied = {WORD_MARK + word for word in words}
        written.update(piece for piece in pieces if isinstance(piece, str) and piece not in copied)
    if not written:
        line, why = problem or (None, "there are no rows")
        raise DataError(f"no query can be written in the schema of its database; {why}", line=line)
    for schema in schemas.values():
        asked.update(_names_in(schema))
    most = TextConfig(kind="space", vocab_size=4_000_000)
    return {
        SOURCE: Tokenizer.of_tokens(asked.elements(), known),
        TARGET: Tokenizer.of_tokens(written.elements(), most),
    }


def _names_in(schema: Schema) -> Iterator[str]:
    for table in schema.tables:
        yield from name_words(table.name)
        for column in table.columns:
            yield from name_words(column.name)
