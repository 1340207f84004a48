"""Questions typed at a terminal, with a history, and commands that begin with a dot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from unrolled.cli import answer_view
from unrolled.errors import ConfigError, UnrolledError
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
  .history        list the last questions
  .help           show this
  .quit           leave; so does Ctrl-D
Ctrl-C cancels a question."""

_MOST_REMEMBERED = 1_000
_MOST_LISTED = 20


def type_questions(session: _Session, history: Path | None = None) -> None:
    """Answer questions typed at the terminal until end of file or `.quit`.

    Args:
        session: answers questions.
        history: file with earlier questions, to which those typed are added.

    Raises:
        ConfigError: the history cannot be read.
    """
    schema = session.database.schema
    name = brief(schema.name, 30)
    n_tables = f"{len(schema.tables):,} table{'' if len(schema.tables) == 1 else 's'}"
    with _history(history) as earlier:
        print(
            f"{name}: {n_tables}, {schema.n_columns:,} columns. Ask one question per line; .help lists "
            "commands, Ctrl-D leaves.",
            file=sys.stderr,
        )
        shell = _Shell(session, earlier)
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
        earlier: earlier lines, to which new ones are added.
    """

    def __init__(self, session: _Session, earlier: list[str]) -> None:
        self.session = session
        self._earlier = earlier
        self._last: Asked | None = None

    def take(self, line: str) -> bool:
        """Answer a question or carry out a command; return whether to go on."""
        if line in (".quit", ".exit"):
            return False
        if line:
            self._earlier.append(line)
        try:
            if line.startswith("."):
                self._command(*line.partition(" ")[::2])
            elif line:
                self._last = self.session.answer(line)
        except KeyboardInterrupt:
            print("\ncancelled")
        except UnrolledError as error:
            print(f"unrolled: {one_message(str(error))}", file=sys.stderr)
        if line and not line.startswith("."):
            print()
        return True

    def _command(self, name: str, argument: str) -> None:
        self.session.refresh()
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
        elif name == ".history":
            for line in [each for each in self._earlier if not each.startswith(".")][
                -_MOST_LISTED:
            ]:
                print(escape(line))
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
def _history(path: Path | None) -> Iterator[list[str]]:
    """Earlier lines, which are stored only in a given file; yields the list to which lines are added.

    With `readline`, the arrow keys find them. On Windows, Python has none: there, the terminal finds the
    lines of this time, and `.history` lists all.
    """
    readline = _readline()
    if path is None:
        yield []
        return
    try:
        earlier = _read_history(path, readline)
    except OSError as error:
        raise ConfigError(f"--history {path} cannot be read: {error.strerror or error}") from None
    try:
        yield earlier
    finally:
        try:
            if readline is None:
                lines = [each for each in earlier if each.strip()][-_MOST_REMEMBERED:]
                path.write_text(
                    "".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n"
                )
            else:
                readline.write_history_file(path)
        except OSError as error:
            problem = one_message(f"--history {path} cannot be written: {error.strerror or error}")
            print(f"unrolled: {problem}", file=sys.stderr)


def _read_history(path: Path, readline: Any) -> list[str]:
    if readline is None:
        with suppress(FileNotFoundError):
            return path.read_text(encoding="utf-8", errors="replace").splitlines()
        return []
    readline.set_history_length(_MOST_REMEMBERED)
    before = readline.get_current_history_length()
    with suppress(FileNotFoundError):
        readline.read_history_file(path)
    places = range(before + 1, readline.get_current_history_length() + 1)
    return [readline.get_history_item(place) or "" for place in places]


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:  # Windows
        return None
    return readline
