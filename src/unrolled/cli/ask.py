"""`unrolled ask`: questions about a database, as arguments, lines of a file, or typed at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from unrolled import storage
from unrolled.cli import answer_view, lines
from unrolled.cli.answer_view import ROWS_OF_A_TABLE, Format
from unrolled.cli.app import app
from unrolled.cli.options import is_typed, print_message, standard_input
from unrolled.cli.screen import default_console
from unrolled.errors import ConfigError
from unrolled.quoting import brief, escape, quote, shell_command
from unrolled.wording import count_of

if TYPE_CHECKING:
    from unrolled.predictors.queries import Asked
    from unrolled.sql.database import Database


@app.command(usage="Usage: unrolled ask RUN --database FILE [OPTIONS] [QUESTIONS...]")
def ask(
    run: Path,
    /,
    *questions: str,
    database: Path,
    input_file: Annotated[Path | None, Parameter(name="--input")] = None,
    output_format: Annotated[Format, Parameter(name="--format")] = "table",
    rows: int | None = None,
    n_best: int = 4,
    explain: bool = False,
    out: Path | None = None,
    history: Path | None = None,
) -> int:
    """Ask a database: a trained model writes the SQL query, and its result is shown.

    If neither QUESTIONS nor --input are given, questions are read from standard input, one per line; at a
    terminal, '.help' lists what else can be typed. The database is only read, and a query is shown only
    if it runs. If the model finds none, 'no answer' and the reason are printed.

    The exit code is 1 if there is a single question among the arguments and it has no answer; lines of a
    file, of standard input or of a terminal do not change it.

    Args:
        run: folder of a model of task sql, written by 'unrolled train'.
        questions: questions, each in quotes.
        database: SQLite file to ask; it may be another one than in training.
        input_file: text file with one question per line.
        output_format: table, for people; csv, the rows with a header, and an empty line between two
            results; json, one line per question with all details; sql, the query and a semicolon.
        rows: maximum rows to print; by default 20 in a table, all others in csv and json. A query
            returns at most 1,000.
        n_best: number of queries to show, the best included.
        explain: also draw the attention of the query's pieces to the words of the question, the tables,
            the columns and the values.
        out: HTML file for the queries, results and attention; of many questions, those of the first 100.
        history: file to keep the questions typed at a terminal for the next time; by default they are not
            stored.
    """
    _check(run, questions, input_file, output_format, rows, n_best, explain, out)
    is_typed_at = not questions and input_file is None and is_typed() and sys.stdout.isatty()
    if history is not None and not is_typed_at:
        raise ConfigError("--history is for questions typed at a terminal; remove it")

    from unrolled.sql.database import Database

    with Database(database) as opened:
        predictor = _load(run)
        session = _Session(predictor, opened, output_format, rows, n_best, explain)
        with closing(session):
            if is_typed_at:
                from unrolled.cli.ask_shell import type_questions

                type_questions(session, history)
            else:
                lines.warn_of_single_words(questions)
                _answer_all(session, questions, input_file)
            if out is not None:
                _write_page(session, out)
    return 1 if len(questions) == 1 and session.n_answers == 0 else 0


def _check(
    run: Path,
    questions: tuple[str, ...],
    input_file: Path | None,
    output_format: Format,
    rows: int | None,
    n_best: int,
    explain: bool,
    out: Path | None,
) -> None:
    """Check the arguments before a model is loaded.

    Raises:
        ConfigError: an argument is out of range, or two contradict each other.
    """
    from unrolled.sql.database import MOST_ROWS

    if questions and input_file is not None:
        raise ConfigError("both a question and --input are given; use one")
    if any(not question.strip() for question in questions):
        raise ConfigError("the question is empty; give one in quotes")
    if rows is not None and not 1 <= rows <= MOST_ROWS:
        raise ConfigError(f"--rows must be between 1 and {MOST_ROWS:,}, got {rows}")
    if n_best < 1:
        raise ConfigError(f"--n-best must be at least 1, got {n_best}")
    if explain and output_format != "table":
        raise ConfigError(
            f"--explain draws below a table, and --format is {output_format}; use --out page.html"
        )
    if out is not None:
        from unrolled.inspect.queries import check_page

        storage.require_no_link_in(run, out)
        check_page(out)


def _load(run: Path) -> Any:
    """The predictor of a run of task sql.

    Raises:
        ConfigError: the run is of another task.
    """
    from unrolled.predictors.load import load

    predictor = load(run)
    task = predictor.task.name
    if task != "sql":
        raise ConfigError(f"{run} is a run of task '{task}'; ask needs a run of task 'sql'")
    return predictor


_MOST_ON_PAGE = 100


@dataclass
class _Session:
    """Answers questions and prints the answers.

    Args:
        predictor: the model.
        database: the database.
        output_format: how to print.
        rows: maximum rows to print; None for the default.
        n_best: number of queries to show.
        explain: whether to draw attention.
        console: where to print.
        answers: the first answers, for a page.
        n_asked: number of questions answered, with or without a query.
        n_answers: number of those with a query.
    """

    predictor: Any
    database: Database
    output_format: Format = "table"
    rows: int | None = None
    n_best: int = 4
    explain: bool = False
    console: Console = field(default_factory=default_console)
    answers: list[Asked] = field(default_factory=list)
    n_asked: int = 0
    n_answers: int = 0

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def refresh(self) -> None:
        """Open the database again if its file has changed or was replaced.

        Raises:
            DataError: it cannot be read any more.
        """
        if self.database.is_current():
            return
        from unrolled.sql.database import Database

        path = self.database.path
        self.database.close()
        self.database = Database(path)
        print_message(f"{path} has changed; its tables and values were read again")

    def answer(self, question: str) -> Asked:
        """Answer a question and print the answer."""
        self.refresh()
        asked: Asked = self.predictor.ask(question, self.database, n_best=self.n_best)
        if self.output_format == "table":
            self.print_table(asked)
        else:
            self._print_for_programs(asked)
        sys.stdout.flush()
        if asked.n_truncated:
            print_message(
                f"{quote(question[:30] + '…')}: the last {count_of(asked.n_truncated, 'word')} of the "
                "question were not read (decoding.max_input_length of the run)"
            )
        self.n_asked += 1
        self.n_answers += bool(asked.sql)
        if len(self.answers) < _MOST_ON_PAGE:
            self.answers.append(asked)
        return asked

    def print_table(self, asked: Asked) -> None:
        """Print an answer for people."""
        rows = ROWS_OF_A_TABLE if self.rows is None else self.rows
        answer_view.print_answer(self.console, asked, self.database.schema, rows)
        if self.explain:
            answer_view.print_attention(self.console, asked)

    def _print_for_programs(self, asked: Asked) -> None:
        schema, output = self.database.schema, self.output_format
        if output == "csv":
            if self.n_asked:
                print()
            if asked.result is None:
                problem = asked.reason or "the query has no result"
                print(
                    f"unrolled: no answer to {quote(asked.question)}: {escape(problem)}",
                    file=sys.stderr,
                )
                return
        text = answer_view.answer_text(asked, schema, output, self.rows)
        print(answer_view.printable(text, self.console))


def _answer_all(session: _Session, questions: tuple[str, ...], input_file: Path | None) -> None:
    """Answer the questions of the arguments, or those of a file or of standard input as they arrive."""
    n_lines = 0
    is_titled = session.output_format == "table" and len(questions) != 1
    with ExitStack() as stack:
        given: Iterable[list[str]] = [list(questions)]
        if not questions:
            given = lines.line_groups(
                standard_input()
                if input_file is None
                else stack.enter_context(lines.opened(input_file)),
                str(input_file or "standard input"),
            )
        for question in _each(given):
            n_lines += 1
            if not question.strip() and session.output_format == "table":
                continue
            if is_titled:
                if session.n_asked:
                    print()
                session.console.print(
                    escape(brief(question, 300)), style="bold", markup=False, soft_wrap=True
                )
            session.answer(question)


def _each(groups: Iterable[list[str]]) -> Iterator[str]:
    for group in groups:
        yield from group


def _write_page(session: _Session, out: Path) -> None:
    from unrolled.inspect.queries import write_page

    command = shell_command("unrolled", *sys.argv[1:])
    write_page(session.answers, session.database.schema, out, command)
    n, n_asked = len(session.answers), session.n_asked
    those = "" if n == n_asked else f" (the first {n:,} of {n_asked:,} questions)"
    print(f"page: {out}{those}", file=sys.stderr)
