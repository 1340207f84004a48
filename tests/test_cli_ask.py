"""`unrolled ask`: what is printed, written and refused; a stand-in answers in place of a model."""

from __future__ import annotations

import builtins
import csv
import io
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from asking import Asker, write_database
from rich.console import Console

import unrolled.predictors.load
from unrolled import cli
from unrolled.cli import answer_view, ask_shell
from unrolled.cli.ask import _Session
from unrolled.cli.ask_shell import type_questions
from unrolled.errors import DataError
from unrolled.sql.database import Database, Result

CHEAP = "which products cost less than 20?"
QUERIES = {
    CHEAP: [
        "SELECT product.name, product.price FROM product WHERE product.price < 20",
        "SELECT product.name FROM product",
        "SELECT product.nme FROM product",
    ],
    "who lives in oslo": "SELECT customer.name FROM customer WHERE customer.city = 'Oslo'",
    "all products": "SELECT * FROM product",
    "nobody": "SELECT customer.name FROM customer WHERE customer.city = 'Lima'",
    "how many": "SELECT COUNT(*) FROM product",
}

TABLE = """\
SELECT product.name, product.price
FROM product
WHERE product.price < 20

name         price
──────────────────
green tea      3.5
garden hose  19.95
2 rows

confidence  93%
copied      20
links       products → product
others       20%  SELECT product.name FROM product
             10%  SELECT product.nme FROM product (does not run: no such column:
                  \\x1b[31mx)
"""

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def asker(monkeypatch: pytest.MonkeyPatch) -> Asker:
    asker = Asker(QUERIES)
    monkeypatch.setattr(unrolled.predictors.load, "load", lambda run: asker)
    monkeypatch.setenv("COLUMNS", "80")
    return asker


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write_database(tmp_path / "shop.sqlite")


@pytest.fixture
def run(shop: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """What a command prints on standard output."""

    def run(*arguments: str, code: int = 0) -> str:
        assert cli.main(["ask", "run", "--database", str(shop), *arguments]) == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives bytes as standard input."""

    def typed(text: str) -> None:
        stream = io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8")
        monkeypatch.setattr(sys, "stdin", stream)

    return typed


def _refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["ask", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("unrolled: ").rstrip()


def test_a_question_gets_query_rows_and_alternatives(run: Run) -> None:
    lines = [line.rstrip() for line in run(CHEAP).splitlines()]
    assert lines == TABLE.splitlines()


def test_improbable_alternatives_are_left_out(
    session: _Session, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = session.predictor.ask(CHEAP, session.database)
    others = (
        replace(asked.others[0], confidence=0.006),
        replace(asked.others[1], confidence=0.004),
    )
    session.print_table(replace(asked, others=others))
    assert "others        1%" in _printed(session)
    assert "<1%" not in _printed(session)
    session.print_table(replace(asked, others=others, sql="", reason="none"))
    assert "considered    1%" in _printed(session)
    assert "             <1%" in _printed(session)


def test_long_fields_are_wrapped_and_unknown_words_named(session: _Session) -> None:
    asked = session.predictor.ask(CHEAP, session.database)
    words = tuple(f"word{n}" for n in range(50))
    session.print_table(replace(asked, unknown=words))
    printed = _printed(session)
    assert "unknown     word0 · word1" in printed
    lines = [line for line in printed.splitlines() if " word" in line or "word" in line[:20]]
    assert len(lines) == 4
    assert lines[-1].endswith("…")
    assert all(len(line) <= 80 for line in printed.splitlines())


def test_the_number_of_alternatives_is_passed_on(run: Run, asker: Asker) -> None:
    assert "others" not in run(CHEAP, "--n-best", "1")
    assert asker.asked == [(CHEAP, 1)]


def test_several_questions_have_titles(run: Run) -> None:
    printed = run("who lives in oslo", "nonsense", "nobody")
    assert re.findall(r"^(?:who|non|nobody|no ).*$", printed, re.MULTILINE) == [
        "who lives in oslo",
        "nonsense",
        "no answer: the question has nothing to do with the database",
        "nobody",
        "no rows",
    ]


def test_the_exit_code_tells_whether_the_only_question_has_an_answer(
    run: Run, typed: Callable[[str], None]
) -> None:
    assert run("what?", code=1) == "no answer: the question has nothing to do with the database\n"
    assert "no answer" in run("what?", "why?")
    typed("what?\n")
    assert "no answer" in run()


def test_lines_of_a_file_and_of_standard_input_are_answered(
    run: Run, typed: Callable[[str], None], tmp_path: Path
) -> None:
    typed("how many\r\n\n \nnobody")
    printed = run("--format", "sql")
    assert printed.splitlines() == [
        "SELECT COUNT(*) FROM product;",
        "-- no answer: no words",
        "-- no answer: no words",
        "SELECT customer.name FROM customer WHERE customer.city = 'Lima';",
    ]
    questions = tmp_path / "questions.txt"
    questions.write_text("how many\n\nnobody\n", encoding="utf-8")
    assert re.findall("^(?:how many|nobody)$", run("--input", str(questions)), re.MULTILINE)


def test_a_line_is_answered_before_the_next_is_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, asker: Asker
) -> None:
    class Waiting(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            seen.append(len(asker.asked))
            return self.readline()

    seen: list[int] = []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Waiting(b"how many\nnobody\n"), "utf-8"))
    run()
    assert seen[:3] == [0, 1, 2]


def test_json_has_all_details(run: Run) -> None:
    lines = run(CHEAP, "what?", "--format", "json").splitlines()
    answer, none = map(json.loads, lines)
    assert answer["sql"] == QUERIES[CHEAP][0]
    assert answer["columns"] == ["name", "price"]
    assert answer["rows"] == [["green tea", 3.5], ["garden hose", 19.95]]
    assert answer["copied"] == ["20"]
    assert answer["links"] == {"products": ["product"]}
    assert answer["others"][0] == {
        "sql": "SELECT product.name FROM product",
        "confidence": 0.2,
        "problem": "",
    }
    assert answer["others"][1]["problem"].startswith("no such column")
    assert (answer["is_cut"], answer["reason"], answer["confidence"]) == (False, "", 0.93)
    assert (none["sql"], none["rows"], none["reason"][:12]) == ("", None, "the question")


def test_rows_are_limited_and_the_limit_is_told(run: Run) -> None:
    assert "4 rows: the first 2 are shown" in run("all products", "--rows", "2")
    answer = json.loads(run("all products", "--rows", "1", "--format", "json"))
    assert (len(answer["rows"]), answer["is_cut"]) == (1, True)
    assert run("all products", "--rows", "1", "--format", "csv").count("\n") == 2


def test_csv_can_be_read_back(shop: Path, run: Run, asker: Asker) -> None:
    awkward = ["a,b", 'q"q', "l\nf", "c\rr", " ", "'"]
    with closing(sqlite3.connect(shop)) as connection:
        connection.execute("delete from customer")
        connection.executemany("insert into customer (name) values (?)", [(a,) for a in awkward])
        connection.commit()
    asker.queries = {"names": "SELECT customer.name, customer.city FROM customer"}
    rows = list(csv.reader(io.StringIO(run("names", "--format", "csv"), newline="")))
    assert rows == [["name", "city"], *([each, ""] for each in awkward)]


def test_results_in_csv_are_separated_by_an_empty_line(run: Run) -> None:
    assert run("how many", "nobody", "--format", "csv") == "COUNT(*)\n4\n\nname\n"


def test_without_an_answer_csv_is_empty_and_the_reason_is_an_error_line(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ask", "run", "--database", str(shop), "--format", "csv", "what?"]
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("unrolled: no answer to 'what?': the question has nothing")


def test_attention_is_drawn_below(run: Run) -> None:
    printed = run(CHEAP, "--explain")
    (row,) = re.findall(r"^20 +([▒▓░█ ]+)$", printed, re.MULTILINE)
    assert set(row) <= set("▒▓█ ")
    assert "attention: ░░ 0.05  ▒▒ 0.25  ▓▓ 0.5  ██ 0.75 or more" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert "attention" not in run("what?", "--explain", code=1)


def test_a_page_is_written(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run(CHEAP, "what?", "--out", str(page), "--format", "json")
    text = page.read_text(encoding="utf-8")
    assert "which products cost less than 20?" in text
    assert "No answer: the question has nothing to do with the database" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--n-best", "2"], "the question is empty; give one in quotes"),
        (["how many", " \n"], "the question is empty; give one in quotes"),
        (["how many", "--input", "a"], "both a question and --input are given; use one"),
        (["how many", "--rows", "0"], "--rows must be between 1 and 1,000, got 0"),
        (["how many", "--rows", "1001"], "--rows must be between 1 and 1,000, got 1001"),
        (["how many", "--n-best", "0"], "--n-best must be at least 1, got 0"),
        (
            ["how many", "--explain", "--format", "csv"],
            "--explain draws below a table, and --format is csv; use --out page.html",
        ),
        (
            ["how many", "--out", "page.pdf"],
            "cannot write a page to page.pdf; give a file name ending in .html",
        ),
        (
            ["how many", "--history", "h"],
            "--history is for questions typed at a terminal; remove it",
        ),
        (["--input", "no.txt"], "no.txt: no such file"),
        (["how many", "--decoding.beam_size", "3"], None),
        (["how many", "--format", "xml"], None),
    ],
)
def test_wrong_arguments_get_one_message(
    arguments: list[str], message: str | None, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = _refusal(capsys, "run", "--database", str(shop), *arguments)
    assert message is None or refusal == message


def test_a_database_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--database" in _refusal(capsys, "run", "how many")


def test_databases_that_cannot_be_asked_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk, empty = tmp_path / "junk.sqlite", tmp_path / "empty.sqlite"
    junk.write_bytes(os.urandom(8192))
    empty.touch()
    refusals = [
        _refusal(capsys, "run", "how many", "--database", str(path))
        for path in (tmp_path / "no.sqlite", tmp_path, junk, empty)
    ]
    assert refusals == [
        f"{tmp_path / 'no.sqlite'}: no such file; give the file of an SQLite database",
        f"{tmp_path}: is a folder, not an SQLite file; give the file of an SQLite database",
        f"{junk}: it is not an SQLite database, or it is encrypted; give an SQLite file",
        f"{empty}: database 'empty' has no tables; give one that has",
    ]


def test_a_run_of_another_task_is_named(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(unrolled.predictors.load, "load", lambda run: Asker({}, "translate"))
    assert _refusal(capsys, "runs/a", "how many", "--database", str(shop)) == (
        f"{Path('runs/a')} is a run of task 'translate'; ask needs a run of task 'sql'"
    )


# What is drawn from the results and names of a database


@pytest.fixture
def database(shop: Path) -> Iterator[Database]:
    with Database(shop) as database:
        yield database


def _shown(database: Database, result: Result, width: int = 60, rows: int = 20) -> list[str]:
    """The lines of the table of a result, without those of the query."""
    asked = Asker({"q": "SELECT product.id FROM product"}).ask("q", database)
    stream = io.StringIO()
    console = Console(file=stream, width=width, emoji=False)
    answer_view.print_answer(console, replace(asked, result=result), database.schema, rows)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return lines[3 : lines.index("", 3)]


def test_null_and_bytes_are_not_texts(database: Database) -> None:
    rows = ((None, "NULL", b"\xff"), ("", " a", "x"))
    assert _shown(database, Result(("a", "b", "c"), rows, False, 0.0)) == [
        "a     b       c",
        "───────────────────",
        "NULL  'NULL'  X'ff'",
        "''    ' a'    x",
        "2 rows",
    ]


def test_only_columns_of_numbers_are_right_aligned(database: Database) -> None:
    rows = ((1, 1, "1", 0.1 + 0.2), (None, "b", "22", 1e300), (1000, 2, "3", float("-inf")))
    assert _shown(database, Result(("n", "m", "t", "f"), rows, False, 0.0))[2:] == [
        "   1  1  1      0.3",
        "NULL  b  22  1e+300",
        "1000  2  3     -inf",
        "3 rows",
    ]


def test_wide_tables_and_long_cells_are_cut(database: Database) -> None:
    names = tuple(f"column number {n}" for n in range(400))
    row = tuple("x" * 1000 if n % 2 else "日本語" * 50 for n in range(400))
    lines = _shown(database, Result(names, (row,), False, 0.0))
    assert all(answer_view.cell_len(line) <= 60 for line in lines)
    assert lines[0].split("  ")[0] == "column nu…"
    assert lines[2].startswith("日本語日…")
    assert lines[3] == "1 row; 5 of 400 columns are shown (--format json shows all)"
    (cell,) = _shown(database, Result(("a",), (("y" * 1000,),), False, 0.0))[2:3]
    assert cell == "y" * 39 + "…"


def test_control_characters_are_shown_and_not_obeyed(database: Database) -> None:
    nasty = "\x1b[2J\u202ea\nb\r\x07[bold]x[/bold]"
    shown = r"\x1b[2J\u202ea\nb\r\x07[bold]x[/bold]"
    lines = _shown(database, Result((nasty,), ((nasty,), (f"x{nasty}zzz",)), True, 0.0))
    assert lines == [
        shown,
        "─" * 40,
        shown,
        f"x{shown}zzz"[:39] + "…",
        "more than 2 rows: the first 2 are shown",
    ]


def test_hostile_names_and_questions_pass_through_quoting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nasty = "\x1b[31mx\u202e\nDROP"
    script = f'create table "{nasty}" ("{nasty}" text); insert into "{nasty}" values (\'{nasty}\')'
    path = write_database(tmp_path / "shop.sqlite", script)
    query = f'SELECT "{nasty}" FROM "{nasty}" WHERE "{nasty}" = \'{nasty}\''
    asker = Asker({nasty.replace("\n", " "): [query, query, query]})
    monkeypatch.setattr(unrolled.predictors.load, "load", lambda run: asker)
    arguments = [nasty.replace("\n", " "), "other \x1b[5m", "--explain"]
    assert cli.main(["ask", "run", "--database", str(path), *arguments]) == 0
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "\u202e" not in printed.out + printed.err
    assert "\\x1b[31mx\\u202e" in printed.out


def test_a_terminal_without_unicode_gets_ascii(database: Database) -> None:
    asked = Asker(QUERIES).ask(CHEAP, database)
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors="strict")
    console = Console(file=stream, width=70)
    answer_view.print_answer(console, asked, database.schema)
    answer_view.print_attention(console, asked)
    stream.flush()
    assert "products > product" in stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]


def test_colours_are_only_for_terminals(database: Database) -> None:
    asked = Asker(QUERIES).ask("all products", database)
    for is_terminal in (True, False):
        stream = io.StringIO()
        console = Console(
            file=stream, width=80, force_terminal=is_terminal, color_system="standard"
        )
        console = console if is_terminal else Console(file=stream, width=80)
        answer_view.print_answer(console, asked, database.schema)
        assert ("\x1b[" in stream.getvalue()) == is_terminal


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_lines_fit_the_width(width: int, database: Database) -> None:
    for question in QUERIES:
        asked = Asker(QUERIES).ask(question, database)
        stream = io.StringIO()
        console = Console(file=stream, width=width)
        answer_view.print_answer(console, asked, database.schema)
        answer_view.print_attention(console, asked)
        assert all(len(line.rstrip()) <= width for line in stream.getvalue().splitlines()), width


# Typed questions


@pytest.fixture
def session(database: Database, asker: Asker) -> _Session:
    return _Session(asker, database, console=Console(file=io.StringIO(), width=80))


def _type(monkeypatch: pytest.MonkeyPatch, *lines: str | BaseException) -> None:
    given = iter([*lines, EOFError()])

    def read(prompt: str) -> str:
        assert prompt == "shop> "
        line = next(given)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr(builtins, "input", read)


def _printed(session: _Session) -> str:
    return session.console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_typed_questions_are_answered_until_the_end(
    session: _Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _type(monkeypatch, "how many", "", "  ", KeyboardInterrupt(), "nobody")
    type_questions(session)
    assert session.n_asked == 2
    assert "SELECT COUNT(*)" in _printed(session)
    assert "no rows" in _printed(session)
    assert "shop: 2 tables, 9 columns. Ask one question per line" in capsys.readouterr().err


def test_a_terminal_starts_the_prompt_and_has_colours(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("unrolled.cli.ask.is_typed", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _type(monkeypatch, "how many", "what?")
    assert cli.main(["ask", "run", "--database", str(shop)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b[" in printed
    assert "no answer" in printed


def test_commands_begin_with_a_dot(
    session: _Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [".tables", ".schema", ".schema CUSTOMER;", ".schema no", ".help", ".x", ".explain"]
    _type(monkeypatch, *commands, ".quit", "never asked")
    type_questions(session)
    customer = "customer (id integer key, name text, city text, joined date)"
    printed = capsys.readouterr().out
    assert printed.splitlines()[:6] == [
        "product (5 columns)",
        "customer (4 columns)",
        "product (id integer key, name text, category text, price real, stock integer)",
        customer,
        customer,
        "no table 'no'; .tables lists them",
    ]
    assert printed.splitlines()[-2:] == [
        "unknown command '.x'; .help lists them",
        "nothing to explain; ask a question first",
    ]
    for command in (".tables", ".schema", ".explain", ".help", ".quit"):
        assert command in ask_shell._HELP
    assert session.n_asked == 0


def test_the_last_answer_can_be_explained(
    session: _Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    _type(monkeypatch, "how many", ".explain")
    type_questions(session)
    assert "attention: ░░" in _printed(session)


def test_an_interrupt_or_an_error_ends_only_the_question(
    session: _Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session.predictor.queries = {
        "slow": KeyboardInterrupt(),
        "bad": DataError("it is \x1b[2J gone", "shop.sqlite"),
        **QUERIES,
    }
    _type(monkeypatch, "slow", "bad", "how many")
    type_questions(session)
    printed = capsys.readouterr()
    assert "cancelled" in printed.out
    assert "unrolled: shop.sqlite: it is \\x1b[2J gone\n" in printed.err
    assert session.n_asked == 1


def test_questions_are_stored_only_in_a_given_file(
    session: _Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    readline = pytest.importorskip("readline")
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    _type(monkeypatch, "how many")
    type_questions(session)
    assert set(tmp_path.iterdir()) == before
    readline.clear_history()
    readline.add_history("an earlier question")
    _type(monkeypatch, "how many")
    type_questions(session, tmp_path / "history")
    assert "an earlier question" in (tmp_path / "history").read_text(encoding="utf-8").replace(
        "\\040", " "
    )
    readline.clear_history()
    _type(monkeypatch)
    type_questions(session, tmp_path / "history")
    assert readline.get_history_item(readline.get_current_history_length()) == "an earlier question"
    readline.clear_history()


def test_a_history_is_kept_without_readline(
    session: _Session,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "readline", None)  # as on Windows
    _type(monkeypatch, "how many", ".tables", "¿cuántos?")
    type_questions(session, tmp_path / "history")
    stored = (tmp_path / "history").read_bytes().decode()
    assert stored == "how many\n.tables\n¿cuántos?\n"
    capsys.readouterr()
    _type(monkeypatch, "nobody", ".history")
    type_questions(session, tmp_path / "history")
    assert capsys.readouterr().out.splitlines()[-4:-1] == ["how many", "¿cuántos?", "nobody"]
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    _type(monkeypatch)
    type_questions(session, tmp_path / "history")
    assert "--history" in capsys.readouterr().err


def test_a_database_that_changes_is_read_again(
    session: _Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = session.database.path

    def lines() -> Iterator[str]:
        yield "how many"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("create table staff (id integer)")
        yield ".tables"
        yield "how many"
        path.unlink()
        yield "how many"

    asked = lines()
    monkeypatch.setattr("builtins.input", lambda prompt: next(asked, None) or _end())
    type_questions(session)
    printed = capsys.readouterr()
    assert "staff (1 column)" in printed.out
    assert printed.err.count("has changed; its tables and values were read again") == 1
    assert "shop.sqlite: no such file" in printed.err
    assert session.n_asked == 2


def _end() -> str:
    raise EOFError
