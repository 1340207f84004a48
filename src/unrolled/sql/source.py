"""What a question is asked of: the schema of a database, its values, and the database itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from unrolled.errors import DataError
from unrolled.sql.database import MOST_ROWS, MOST_SECONDS, Database, Result, file_state
from unrolled.sql.parsing import QueryError, parse_select
from unrolled.sql.schema import Schema
from unrolled.sql.schema_files import is_schema_file, read_schema, read_values
from unrolled.sql.support import check_tokens, check_tree
from unrolled.sql.target import to_tokens
from unrolled.sql.tokens import Token
from unrolled.sql.values import FoundValue, QuestionWord, ValueIndex, question_words

_MOST_CACHED = 200
_MOST_QUESTIONS = 10_000

_Mentioned = tuple[tuple[QuestionWord, ...], tuple[FoundValue, ...]]


@dataclass(eq=False)
class Source:
    """A database, or the description of one. Its file is only open while it is read.

    Args:
        path: its file.
        schema: its schema.
        values: its values; of a description, those that it lists.
        has_rows: whether it is a database, on which queries can be run.
    """

    path: Path
    schema: Schema
    values: ValueIndex
    has_rows: bool
    _tokens: dict[str, list[Token] | str] = field(default_factory=dict, repr=False)
    _mentioned: dict[str, _Mentioned] = field(default_factory=dict, repr=False)

    def run(
        self, query: str, most_rows: int = MOST_ROWS, most_seconds: float = MOST_SECONDS
    ) -> Result:
        """Run a query; as `Database.run`.

        Raises:
            DataError: the file cannot be read any more.
            QueryError: the query is refused, fails, or exceeds a limit.
        """
        with Database(self.path, self.schema) as database:
            return database.run(query, most_rows, most_seconds)

    def mentioned(self, question: str) -> _Mentioned:
        """The words of a question and the values that it mentions, which are looked up once.

        The values of a description are found only as it spells them: those of a database are all there
        are, but a description may list "MONDAY" as a code and leave the word "monday" to other columns.
        """
        found = self._mentioned.get(question)
        if found is None:
            words = question_words(question)
            values = self.values.find(words)
            if not self.has_rows:
                values = [each for each in values if _is_spelled(each, question, words)]
            found = tuple(words), tuple(values)
            if len(self._mentioned) >= _MOST_QUESTIONS:
                self._mentioned.clear()
            self._mentioned[question] = found
        return found

    def tokens(self, query: str) -> list[Token]:
        """The tokens of a query, as of `target.to_tokens`, which is called once for each query.

        Raises:
            QueryError: the query cannot be written as tokens of this schema, or a decoder cannot write
                it; the message says what is not supported.
        """
        found = self._tokens.get(query)
        if found is None:
            try:
                tree = parse_select(query)
                check_tree(tree)
                found = to_tokens(tree, self.schema)
                check_tokens(found)
            except QueryError as error:
                found = str(error)
            self._tokens[query] = found
        if isinstance(found, str):
            raise QueryError(found)
        return found


def _is_spelled(value: FoundValue, question: str, words: Sequence[QuestionWord]) -> bool:
    """Whether a question has a value letter by letter; numbers and dates have no spelling."""
    return (
        not value.places or question[words[value.first].start : words[value.last].end] == value.text
    )


def open_source(path: Path | str) -> Source:
    """The source in a file, which is read once, and again if it has changed.

    Raises:
        DataError: the file is missing, or neither a database nor the description of one.
    """
    file = Path(path)
    try:
        file.stat()
    except (OSError, ValueError):  # ValueError: a NUL character in the name
        raise DataError("no such file; give the file of an SQLite database", file) from None
    return _read(str(file), file_state(file))


@lru_cache(maxsize=_MOST_CACHED)
def _read(path: str, state: tuple[int, ...]) -> Source:
    file = Path(path)
    if is_schema_file(file):
        schema = read_schema(file)
        return Source(file, schema, ValueIndex.listed(read_values(file), schema), has_rows=False)
    with Database(file) as database:
        return Source(file, database.schema, ValueIndex.of(database), has_rows=True)
