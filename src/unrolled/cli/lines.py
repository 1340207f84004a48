"""Input and output of `unrolled predict`: exactly one output line per input line."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from unrolled.cli.options import is_typed, named_files, print_message, shown_on, standard_input
from unrolled.errors import ConfigError, DataError
from unrolled.quoting import listed_paths, quote, shell_command
from unrolled.wording import count_of

if TYPE_CHECKING:
    from unrolled.predictors.unknown import UnknownWords
    from unrolled.tasks.predictions import Prediction

LINES_AT_ONCE = 1000
"""Lines predicted before any is written: enough to fill batches of similar lengths."""

_LINE_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


def check(
    texts: Sequence[str],
    input_file: Path | None,
    output_file: Path | None,
    attention: Path | None,
) -> None:
    """Check the arguments before a model is loaded.

    Raises:
        ConfigError: there are two inputs, the output is the input, or the attention cannot be drawn.
    """
    if texts and input_file is not None:
        raise ConfigError("both a sentence and --input are given; use one")
    files = [file for file in (input_file, output_file) if file is not None and file.exists()]
    if len(files) == 2 and files[0].samefile(files[1]):
        raise ConfigError(f"--output {output_file} is also the input; choose another file")
    if attention is None:
        return
    if attention.suffix.lower() not in (".png", ".html"):
        raise ConfigError(f"--attention {attention}: expected a file name ending in .png or .html")
    if input_file is None and (not any(text.strip() for text in texts)) and (texts or is_typed()):
        raise ConfigError(
            "--attention needs a sentence; give it in quotes after the run, or sentences with --input"
        )


def run(
    answer: Callable[[list[str]], list[str]],
    texts: Sequence[str],
    input_file: Path | None,
    output_file: Path | None,
    check: Callable[[str], object] = str,
    show: Callable[[TextIO, str], str] = shown_on,
) -> None:
    """Predict for some sentences, a file, standard input, or lines typed at the terminal.

    Args:
        answer: sentences that are not empty → one line each.
        texts: the sentences; if there are none, a file or standard input is read.
        input_file: text file.
        output_file: file to write; None for standard output.
        check: raises a `DataError` without a place for an invalid sentence; the sentences before it are
            answered first.
        show: stream, answer → what is written.

    Raises:
        DataError: the input file is missing, the input is not UTF-8, or a sentence is invalid.
    """
    name = None if texts else str(input_file or "standard input")
    n_lines = 0
    with ExitStack() as stack:
        if texts:
            groups: Iterable[list[str]] = [[_LINE_BREAKS.sub(" ", text) for text in texts]]
        elif input_file is not None:
            groups = line_groups(stack.enter_context(opened(input_file)), str(name))
        elif is_typed() and sys.stdout.isatty() and output_file is None:
            groups = _typed_lines()
        else:
            groups = line_groups(standard_input(), str(name))
        output: TextIO = sys.stdout
        if output_file is not None:
            output = stack.enter_context(open(output_file, "w", encoding="utf-8", newline="\n"))
        for group in groups:
            n_good, fault = _first_fault(group, check)
            answer_lines(answer, group[:n_good], output, show)
            if fault is not None:
                at = None if name is None else n_lines + n_good + 1
                raise DataError(fault.problem, name, at)
            n_lines += len(group)


def _first_fault(lines: list[str], check: Callable[[str], object]) -> tuple[int, DataError | None]:
    """The number of valid lines before the first invalid one, and the error of that one."""
    for place, line in enumerate(lines):
        try:
            if line.strip():
                check(line)
        except DataError as error:
            return place, error
    return len(lines), None


def answer_lines(
    answer: Callable[[list[str]], list[str]],
    lines: list[str],
    output: TextIO,
    show: Callable[[TextIO, str], str] = shown_on,
) -> None:
    """Write one output line per input line, in order; an empty line for an empty line.

    >>> answer_lines(lambda texts: [text.upper() for text in texts], ["a", "", "b"], sys.stdout)
    A
    <BLANKLINE>
    B
    """
    for start in range(0, len(lines), LINES_AT_ONCE):
        part = lines[start : start + LINES_AT_ONCE]
        texts = [line for line in part if line.strip()]
        answers = iter(answer(texts) if texts else [])
        output.writelines(
            f"{show(output, next(answers)) if line.strip() else ''}\n" for line in part
        )
        output.flush()


def warn_of_cuts(texts: list[str], predictions: list[Prediction]) -> None:
    """Warn on standard error about inputs and outputs that were truncated."""
    for text, prediction in zip(texts, predictions, strict=True):
        if prediction.hypotheses and not prediction.hypotheses[0].finished:
            print_message(
                f"{quote(text[:30] + '…')}: the output was cut off at the maximum length; raise "
                "--decoding.max_length_ratio or --decoding.max_length_extra"
            )
        if prediction.n_truncated:
            unread = count_of(prediction.n_truncated, "token")
            were = "was" if prediction.n_truncated == 1 else "were"
            print_message(
                f"{quote(text[:30] + '…')}: the last {unread} {were} not read; raise "
                "--decoding.max_input_length to read more"
            )


def warn_of_unknown(words: UnknownWords) -> None:
    """Name on standard error the words that a model reads as unknown."""
    if report := words.report():
        print_message(report)


def warn_of_single_words(texts: Sequence[str]) -> None:
    """Warn on standard error if what was given as several texts looks like one without quotes."""
    if len(texts) > 1 and not any(text.split()[1:] for text in texts):
        print_message(
            f"{len(texts)} texts of one word each; to give one sentence, put it in quotes"
        )


def warn_of_files(texts: Sequence[str], command: str, run: Path) -> None:
    """Warn on standard error if what was given as texts are names of files, and say how to read one.

    Args:
        texts: the texts.
        command: command that reads a file, with `{run}` and `{file}`.
        run: the run folder.
    """
    files = named_files(texts)
    if files:
        are = "is a file, but its name is" if len(files) == 1 else "are files, but their names are"
        read = command.format(run=shell_command(run), file=shell_command(Path(files[0])))
        print_message(f"{listed_paths(files)} {are} read as text; to read a file, run `{read}`")


def warn_of_table(path: Path, run: Path) -> None:
    """Warn on standard error if an input file is a table, which is read as lines of text."""
    from unrolled.text.files import endings
    from unrolled.text.tables import TABLES

    if endings(path)[0] in TABLES:
        command = shell_command("unrolled", "evaluate", run, "--data", path)
        print_message(
            f"{path} is a table, but each line is read as a text; give a file with a text per line, or "
            f"run `{command}`, which predicts and scores labelled rows"
        )


def one_line(prediction: Prediction, n_best: int, with_scores: bool) -> str:
    """The best answers as one line, separated by tabs, each followed by its score if requested."""
    if n_best == 1 and not with_scores:
        return _LINE_BREAKS.sub(" ", prediction.text)
    cells = []
    for hypothesis in prediction.hypotheses[:n_best]:
        cells.append(_LINE_BREAKS.sub(" ", hypothesis.text).replace("\t", " "))
        if with_scores:
            cells.append(f"{hypothesis.score:.4f}")
    return "\t".join(cells)


def line_groups(stream: BinaryIO, name: str) -> Iterator[list[str]]:
    """The lines of a byte stream without their line ends, in groups of as many as have arrived.

    A program that writes a line and waits for the answer gets it; a long file comes in larger groups.
    Lines end at a line feed, with or without a carriage return before it; if the first line ends in a
    carriage return alone, so do all others.

    Raises:
        DataError: a line is not UTF-8, or too long; the lines before it have been yielded.

    >>> list(line_groups(io.BytesIO("sí\\r\\n\\nno".encode()), "a.txt"))
    [['sí', ''], ['no']]
    """
    from unrolled.text.limits import line_too_long, longest_line

    pending: list[bytes] = []
    n_lines = n_pending = 0
    longest = longest_line()
    for chunk in _chunks(stream, longest):
        ended = not chunk
        *complete, last = chunk.split(b"\n")
        if complete:
            complete[0] = b"".join([*pending, complete[0]])
            pending, n_pending = [], 0
        pending.append(last)
        n_pending += len(last)
        if n_pending > longest:
            complete.append(b"".join(pending))
        if ended and any(pending):
            complete = [b"".join(pending)]
        group: list[str] = []
        for raw in complete:
            n_lines += 1
            if len(raw) > longest:
                if group:
                    yield group
                raise line_too_long(name, n_lines)
            try:
                line = raw.removesuffix(b"\r").decode("utf-8")
            except UnicodeDecodeError as error:
                if group:
                    yield group
                problem = f"not UTF-8 text (byte {error.start} of the line); convert it to UTF-8"
                if n_lines == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                    problem = "this is UTF-16, expected UTF-8; save it again as UTF-8"
                raise DataError(problem, name, line=n_lines) from None
            group.append(line.removeprefix("\ufeff") if n_lines == 1 else line)
        if group:
            yield group


def _chunks(stream: BinaryIO, longest: int) -> Iterator[bytes]:
    """Blocks of a stream as they arrive, and an empty one; CRs that end lines are replaced by LFs."""
    from unrolled.text.lines import end_in_cr

    begin = b""
    chunk = None
    while chunk != b"" and b"\n" not in begin and len(begin) <= longest:
        chunk = stream.read1(1 << 16)  # type: ignore[attr-defined]
        begin += chunk
    is_cr = end_in_cr(begin)
    blocks = chain([begin], iter(lambda: stream.read1(1 << 16), b"")) if begin else ()  # type: ignore[attr-defined]
    for block in blocks:
        yield block.replace(b"\r", b"\n") if is_cr else block
    yield b""


def _typed_lines() -> Iterator[list[str]]:
    """Lines typed at the terminal, until end of file."""
    print(
        "Enter one sentence per line; Ctrl-D (on Windows Ctrl-Z, Enter) ends the input.",
        file=sys.stderr,
    )
    while True:
        try:
            yield [input("> ")]
        except EOFError:
            print()
            return


def opened(path: Path) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot be read: {error.strerror}", path) from None
