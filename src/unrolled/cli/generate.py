"""A language model at the command line: text goes on, words are completed, texts are scored."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

from cyclopts import Parameter

from unrolled.cli.app import app
from unrolled.cli.lines import line_groups
from unrolled.cli.options import Precision, is_typed, shown_on, standard_input
from unrolled.config import require
from unrolled.errors import ConfigError, DataError, UnavailableError
from unrolled.quoting import brief, escape, json_line

if TYPE_CHECKING:
    from unrolled.decoding.scoring import TokenScore
    from unrolled.decoding.text_session import Completion, TextSession


@app.command
def generate(
    run: Path,
    /,
    *,
    prompt: str | None = None,
    prompt_file: Path | None = None,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: tuple[str, ...] = (),
    stop_at_end: bool = False,
    n: int = 1,
    seed: int = 1,
    precision: Precision = "float32",
) -> None:
    """Let a language model go on with a text; what it writes appears as it comes.

    Args:
        run: run folder of a language model.
        prompt: text to go on with; without it, a new document.
        prompt_file: file that holds the text to go on with.
        max_tokens: the most tokens to write.
        temperature: below 1 keeps to the probable, above 1 strays; 0 always takes the likeliest.
        top_k: draw from the k likeliest tokens only; 0 is all.
        top_p: draw from the fewest likeliest tokens that hold this share of the probability.
        stop: text to end at, which is not shown; may be given several times.
        stop_at_end: end with the document (the line, where each line is one).
        n: how many samples, separated by lines of ---.
        seed: of the draws; sample i is the first of seed + i - 1.
        precision: what the recurrent weights are kept in; less is faster and coarser.
    """
    text = prompt_text(prompt, prompt_file)
    continuation = open_run(run, "generate", precision)
    continuation.feed(text)
    write_samples(
        continuation,
        sys.stdout,
        n_samples=n,
        max_tokens=max_tokens,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop,
        stop_at_end=stop_at_end,
    )


@app.command
def complete(
    run: Path, text: str | None = None, /, *, k: int = 5, precision: Precision = "float32"
) -> None:
    """Complete the last word of a text, or say which comes next.

    Without TEXT, suggestions appear as you type and Tab takes the first. When standard input is not a
    terminal, each line of it is answered by a line of JSON.

    Args:
        run: run folder of a language model.
        text: text whose last word to complete; after a space, the next word.
        k: how many completions.
        precision: what the recurrent weights are kept in; less is faster and coarser.
    """
    print_completions(open_run(run, "complete", precision), text, k)


@app.command
def score(
    run: Path,
    text: str | None = None,
    /,
    *,
    input_file: Annotated[Path | None, Parameter(name="--input")] = None,
    tokens: bool = False,
    precision: Precision = "float32",
) -> None:
    """Say how well a language model foresees a text, in bits; standard input without TEXT and --input.

    Args:
        run: run folder of a language model.
        text: the text, in quotes.
        input_file: file that holds the text.
        tokens: show the bits of each token, and its place among all tokens by probability.
        precision: what the recurrent weights are kept in; less is faster and coarser.
    """
    text = read_score_text(text, input_file)
    continuation = open_run(run, "score", precision)
    print_score(continuation, text, tokens)


SAMPLES_APART = "---"
"""The line between two samples."""

_N_REMEMBERED = 200
"""Texts that deleting the last characters comes back to without reading anew."""


def open_run(run: Path, command: str, precision: str) -> TextSession:
    """The language model of a run, before any text.

    Args:
        run: run folder.
        command: which command needs it.
        precision: of the weights: "float32", "bfloat16" or "int8".

    Raises:
        ConfigError: the run is of another task.
        RunError: the folder is missing or damaged.
    """
    from unrolled.predictors.load import load

    predictor: Any = load(run, precision=precision)
    if not hasattr(predictor, "continuation"):
        task = predictor.recipe.task
        raise ConfigError(f"{run} is a run of task '{task}'; {command} needs a language model")
    continuation: TextSession = predictor.continuation()
    return continuation


def write_samples(
    continuation: TextSession,
    output: TextIO,
    *,
    n_samples: int,
    max_tokens: int,
    seed: int,
    **settings: Any,
) -> None:
    """Write samples, each as it comes.

    Args:
        continuation: has read the prompt.
        output: where to write.
        n_samples: how many; the second is that of the next seed.
        max_tokens, seed, settings: as for `TextSession.generate`.
    """
    require(n_samples >= 1, "--n", "at least 1", n_samples)
    for sample in range(n_samples):
        if sample:
            output.write(f"{SAMPLES_APART}\n")
        last = ""
        for piece in continuation.generate(max_tokens, seed=seed + sample, **settings):
            output.write(shown_on(output, piece))
            output.flush()
            last = piece or last
        if not last.endswith("\n"):
            output.write("\n")
            output.flush()


def print_completions(continuation: TextSession, text: str | None, k: int) -> None:
    """Complete the text, or each line of standard input, or what is typed at the terminal.

    Raises:
        ConfigError: k is below 1.
        UnavailableError: a terminal, and no prompt_toolkit.
        DataError: standard input is not UTF-8.
    """
    require(k >= 1, "--k", "at least 1", k)
    suggest = Suggester(continuation, k)
    if text is not None:
        for line in aligned(suggest(text)):
            print(line)
    elif is_typed():
        interactive(suggest)
    else:
        for group in line_groups(standard_input(), "standard input"):
            for line in group:
                print(as_json(suggest(line), suggest.typed(line)), flush=True)


class Suggester:
    """Completions of a text that grows, and shrinks again, by a few characters at a time.

    What two texts in a row have in common at their beginning is read once.

    Args:
        continuation: before any text.
        k: how many completions.
    """

    def __init__(self, continuation: TextSession, k: int) -> None:
        self._k = k
        self._read: list[tuple[str, TextSession]] = [("", continuation)]
        self._lock = threading.Lock()  # suggestions are made while more is typed

    def __call__(self, text: str) -> list[Completion]:
        """The completions of the text's last word."""
        with self._lock:
            return self._reach(text).complete(self._k)

    def typed(self, text: str) -> str:
        """The last word so far."""
        with self._lock:
            return self._reach(text).typed()

    def _reach(self, text: str) -> TextSession:
        while not text.startswith(self._read[-1][0]):
            self._read.pop()
        before, continuation = self._read[-1]
        if text != before:
            continuation = continuation.copy()
            continuation.feed(text[len(before) :])
            self._read.append((text, continuation))
            del self._read[1:-_N_REMEMBERED]
        return continuation


def aligned(completions: Sequence[Completion]) -> Iterator[str]:
    """One line each: the probability in per cent, and the text."""
    for each in completions:
        yield f"{each.probability:8.3%}  {escape(each.text)}"


def as_json(completions: Sequence[Completion], typed: str) -> str:
    """All of them as one line of JSON."""
    return json_line(
        {
            "typed": typed,
            "completions": [
                {"text": each.text, "probability": each.probability} for each in completions
            ],
        }
    )


def interactive(suggest: Suggester) -> None:
    """Suggest as somebody types, until the end of file.

    Raises:
        UnavailableError: prompt_toolkit is not installed.
    """
    prompt = session(suggest).prompt
    print("Tab takes the first suggestion; Ctrl-D ends.", file=sys.stderr)
    before = ""
    while True:
        try:
            before += prompt("> ", completer=_completer(suggest, before)) + "\n"
        except EOFError:
            return


def session(suggest: Suggester, **devices: Any) -> Any:
    """A line editor whose Tab takes the first suggestion.

    Args:
        suggest: text → completions.
        devices: other input and output than the terminal.

    Raises:
        UnavailableError: prompt_toolkit is not installed.
    """
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.key_binding import KeyBindings
    except ImportError:
        raise UnavailableError(
            "suggestions while you type need prompt_toolkit: pip install 'unrolled[terminal]', or "
            "give the text after the run"
        ) from None
    keys = KeyBindings()

    @keys.add("tab")
    def accept(event: Any) -> None:
        buffer = event.current_buffer
        shown = buffer.complete_state
        if shown is not None and shown.completions:
            buffer.apply_completion(shown.current_completion or shown.completions[0])
        else:
            found = next(buffer.completer.get_completions(buffer.document, None), None)
            if found is not None:
                buffer.apply_completion(found)

    return PromptSession(
        completer=_completer(suggest, ""),
        complete_while_typing=True,
        complete_in_thread=True,  # typing never waits for the model
        key_bindings=keys,
        **devices,
    )


def _completer(suggest: Suggester, before: str) -> Any:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.completion import Completion as Choice

    class Words(Completer):
        """The model's suggestions after the lines before this one."""

        def get_completions(self, document: Any, complete_event: Any) -> Iterator[Choice]:
            for each in suggest(before + document.text_before_cursor):
                rest = each.text[len(each.typed) :]
                if rest.strip():
                    # What is typed stays as it is; the menu shows the word.
                    yield Choice(
                        rest, display=each.text.strip(), display_meta=f"{each.probability:.1%}"
                    )

    return Words()


def read_score_text(text: str | None, input_file: Path | None) -> str:
    """The text to score.

    Raises:
        ConfigError: two texts.
        DataError: the file is missing, the text not UTF-8, or there is none.
    """
    if text is not None and input_file is not None:
        raise ConfigError("both a text and --input; give one of them")
    if text is None:
        text = read_text(input_file) if input_file is not None else _read_stdin()
    if not text:
        raise DataError("nothing to score; the text is empty", input_file)
    return text


def read_text(path: Path) -> str:
    """A whole text file, lines ended by a line feed alone.

    Raises:
        DataError: it is missing, cannot be read, is too long, or is not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            return _read_whole(stream, path)
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot be read: {error.strerror}", path) from None


def prompt_text(prompt: str | None, prompt_file: Path | None) -> str:
    """The text to go on from; the line feed that ends a file is not part of it.

    Raises:
        ConfigError: two prompts.
        DataError: the file is missing or not UTF-8.
    """
    if prompt is not None and prompt_file is not None:
        raise ConfigError("both --prompt and --prompt-file; give one of them")
    if prompt_file is not None:
        return read_text(prompt_file).removesuffix("\n")
    return prompt or ""


def print_score(continuation: TextSession, text: str, with_tokens: bool) -> None:
    """Print what a text costs in all, and, if asked, what each of its tokens does."""
    from unrolled.decoding.scoring import score

    token_scores = continuation.surprise(text)
    if with_tokens:
        _print_tokens(token_scores)
    for line in score(token_scores, text).lines():
        print(line)


def _print_tokens(token_scores: Sequence[TokenScore]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("token")
    table.add_column("bits", justify="right")
    table.add_column("rank", justify="right")
    for each in token_scores:
        piece = each.piece.replace("\n", "\\n").replace("\t", "\\t").replace(" ", "·")
        table.add_row(Text(brief(piece)), f"{each.bits:.2f}", f"{each.rank:,}")
    Console().print(table)


def _read_stdin() -> str:
    return _read_whole(standard_input(), Path("standard input"))


def _read_whole(stream: BinaryIO, path: Path) -> str:
    from unrolled.text.limits import MAX_LINE, in_words, longest_line

    longest = longest_line()
    content = stream.read(longest + 1)
    if len(content) > longest:
        raise DataError(
            f"a text of more than {in_words(longest)}, and all of it is read at once; score it with "
            f"`unrolled evaluate RUN --data FILE`, or raise {MAX_LINE} (an environment variable)",
            path,
        )
    try:
        return content.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text (byte {error.start}); convert it to UTF-8"
        raise DataError(problem, path) from None
