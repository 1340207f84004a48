"""Questions typed at a terminal, with a history, and commands that begin with a dot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from unrolled.cli import answer_view
from unrolled.errors import ConfigError, UnavailableError, UnrolledError
from unrolled.quoting import brief, escape, one_message, quote

if TYPE_CHECKING:
    from unrolled.cli.ask import _Session
    from unrolled.predictors.queries import Asked
    from unrolled.sql.schema import Table

_HELP = """\
Type a question about the database, or one of:
  .tables         list the tables
  .schema TABLE   list the columns of a table, or of all tables
  .explain        draw the attention of the last answer
  .help           show this
  .quit           leave; so does Ctrl-D
Ctrl-C cancels a question."""

_MOST_REMEMBERED = 1_000


def type_questions(session: _Session, history: Path | None = None) -> None:
    """Answer questions typed at the terminal until end of file or `.quit`.

    Args:
        session: answers questions.
        history: file with earlier questions, to which those typed are added.

    Raises:
        ConfigError: the history cannot be read.
        UnavailableError: there is a history, and Python has no `readline`.
    """
    schema = session.database.schema
    name = brief(schema.name, 30)
    n_tables = f"{len(schema.tables):,} table{'' if len(schema.tables) == 1 else 's'}"
    with _history(history):
        print(
            f"{name}: {n_tables}, {schema.n_columns:,} columns. Ask one question per line; .help lists "
            "commands, Ctrl-D leaves.",
            file=sys.stderr,
        )
        shell = _Shell(session)
        for line in _typed(f"{name}> "):
            if not shell.take(line.strip()):
                return


def _typed(prompt: str) -> Iterator[str]:
    """Lines typed at the terminal until end of file; Ctrl-C begins a new line."""
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return


class _Shell:
    """Takes the lines that are typed.

    Args:
        session: answers questions.
    """

    def __init__(self, session: _Session) -> None:
        self.session = session
        self._last: Asked | None = None

    def take(self, line: str) -> bool:
        """Answer a question or carry out a command; return whether to go on."""
        if line in (".quit", ".exit"):
            return False
        if line.startswith("."):
            self._command(*line.partition(" ")[::2])
        elif line:
            try:
                self._last = self.session.answer(line)
            except KeyboardInterrupt:
                print("\ncancelled")
            except UnrolledError as error:
                print(f"unrolled: {one_message(str(error))}", file=sys.stderr)
            print()
        return True

    def _command(self, name: str, argument: str) -> None:
        schema = self.session.database.schema
        if name == ".tables":
            for table in schema.tables:
                n_columns = len(table.columns)
                print(f"{escape(table.name)} ({n_columns:,} column{'' if n_columns == 1 else 's'})")
        elif name == ".schema":
            wanted = argument.strip().removesuffix(";")
            found = schema.table(wanted)
            if wanted and found is None:
                print(f"no table {quote(wanted)}; .tables lists them")
            for table in schema.tables if not wanted else [found] if found else []:
                print(_described(table))
        elif name == ".explain":
            self._explain()
        elif name == ".help":
            print(_HELP)
        else:
            print(f"unknown command {quote(name)}; .help lists them")

    def _explain(self) -> None:
        if self._last is None or self._last.attention is None:
            print("nothing to explain; ask a question first")
        else:
            answer_view.print_attention(self.session.console, self._last)


def _described(table: Table) -> str:
    """A table with its columns, on one line.

    >>> from unrolled.sql.schema import Column, Table
    >>> _described(Table("product", (Column("id", "integer", True), Column("name", "text"), Column("x"))))
    'product (id integer key, name text, x)'
    """
    columns = (
        " ".join(filter(None, (column.name, column.type, "key" if column.is_key else "")))
        for column in table.columns
    )
    return escape(f"{table.name} ({', '.join(columns)})")


@contextmanager
def _history(path: Path | None) -> Iterator[None]:
    """Keys that edit a line and find earlier ones, and a history that is stored only in a given file."""
    readline = _readline()
    if path is None:
        yield
        return
    if readline is None:
        raise UnavailableError(
            "--history needs readline, which this Python does not have; remove it"
        )
    try:
        with suppress(FileNotFoundError):
            readline.read_history_file(path)
    except OSError as error:
        raise ConfigError(f"--history {path} cannot be read: {error.strerror or error}") from None
    readline.set_history_length(_MOST_REMEMBERED)
    try:
        yield
    finally:
        try:
            readline.write_history_file(path)
        except OSError as error:
            problem = one_message(f"--history {path} cannot be written: {error.strerror or error}")
            print(f"unrolled: {problem}", file=sys.stderr)


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:  # Windows
        return None
    return readline
