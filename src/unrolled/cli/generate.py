"""`unrolled generate`, `unrolled complete` and `unrolled score`: language models."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

from cyclopts import Parameter

from unrolled.cli.app import app
from unrolled.cli.lines import line_groups, warn_of_files, warn_of_unknown
from unrolled.cli.options import (
    STDIN,
    Precision,
    check_room_for_torch,
    is_typed,
    shown_on,
    standard_input,
)
from unrolled.config import require
from unrolled.errors import ConfigError, DataError, missing_package
from unrolled.quoting import brief, escape, json_line
from unrolled.wording import percent

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
    """Generate text from a prompt, streamed to standard output.

    Args:
        run: folder of a trained language model, written by 'unrolled train'.
        prompt: text to continue; without it, generation starts a new document.
        prompt_file: file with the text to continue (without its final newline), or - for standard input;
            instead of --prompt.
        max_tokens: maximum number of tokens to generate.
        temperature: sampling temperature: below 1 favors likely tokens, above 1 unlikely ones; 0 always
            takes the most likely token.
        top_k: sample only from the k most likely tokens; 0 for all.
        top_p: sample only from the smallest set of most likely tokens whose probabilities add up to
            this share (nucleus sampling); 1 for all.
        stop: stop when this text is generated; it is not printed. Repeat the option for several texts.
        stop_at_end: stop at the end of the document (of the line, if each line is a document).
        n: number of samples, printed with a line '---' between them.
        seed: random seed of the first sample; sample i uses seed + i - 1.
        precision: precision of the recurrent weights; bfloat16 and int8 can be faster but are less
            accurate, and need the native kernels (see 'unrolled doctor').
    """
    text = prompt_text(prompt, prompt_file)
    continuation = open_run(run, "generate", precision)
    _warn_of_unknown(continuation, text, is_begun=True)
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
    """Complete the last word of a text, or suggest the next word.

    Without TEXT, or with -: at a terminal, suggestions appear as you type, and Tab accepts the first
    (needs prompt_toolkit); otherwise each line of standard input is completed, with one line of JSON as
    output.

    Args:
        run: folder of a trained language model, written by 'unrolled train'.
        text: text to complete; if it ends in a space, the next word is suggested.
        k: number of completions.
        precision: precision of the recurrent weights; bfloat16 and int8 can be faster but are less
            accurate, and need the native kernels (see 'unrolled doctor').
    """
    if text is not None:
        warn_of_files([text], "unrolled complete {run} < {file}", run)
    text = None if text == STDIN else text
    continuation = open_run(run, "complete", precision)
    if text is not None:
        _warn_of_unknown(continuation, text, is_begun=True)
    print_completions(continuation, text, k)


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
    """Print the perplexity and the bits per character of a text under a language model.

    If neither TEXT nor --input is given, or it is -, standard input is read.

    Args:
        run: folder of a trained language model, written by 'unrolled train'.
        text: text to score, in quotes.
        input_file: file with the text to score.
        tokens: also list every token with its surprisal in bits and its rank (1 is the most probable
            token).
        precision: precision of the recurrent weights; bfloat16 and int8 can be faster but are less
            accurate, and need the native kernels (see 'unrolled doctor').
    """
    if text is not None:
        warn_of_files([text], "unrolled score {run} --input {file}", run)
    text = read_score_text(text, input_file)
    continuation = open_run(run, "score", precision)
    _warn_of_unknown(continuation, text)
    print_score(continuation, text, tokens)


def _warn_of_unknown(continuation: TextSession, text: str, is_begun: bool = False) -> None:
    """Name the unknown words of a text; `is_begun` means that its last word may be incomplete."""
    from unrolled.predictors.unknown import UnknownWords

    if is_begun:
        text = re.sub(r"\S+\Z", "", text)
    words = UnknownWords()
    words.add(continuation.tokenizer, text)
    warn_of_unknown(words)


SAMPLES_APART = "---"
"""The line between two samples."""

_N_REMEMBERED = 200
"""Number of earlier texts whose states are kept, so that deleting characters needs no new reading."""


def open_run(run: Path, command: str, precision: str) -> TextSession:
    """Open the language model of a run, in its initial state.

    Args:
        run: run folder.
        command: name of the command, for the message.
        precision: weight precision: "float32", "bfloat16" or "int8".

    Raises:
        ConfigError: the run is not a language model.
        RunError: the folder is missing or damaged.
    """
    if command in ("generate", "complete"):
        from unrolled.predictors.continuing import opened

        if (found := opened(run, precision)) is not None:
            return found
    from unrolled.predictors.load import load

    check_room_for_torch()
    predictor: Any = load(run, precision=precision)
    if not hasattr(predictor, "continuation"):
        task = predictor.recipe.task
        raise ConfigError(
            f"{run} is a run of task '{task}'; `unrolled {command}` needs a language model"
        )
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
    """Write samples, token by token as they are generated.

    Args:
        continuation: language model that has read the prompt.
        output: stream to write to.
        n_samples: number of samples; each uses the next seed.
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
    """Print completions of the text, of each line of standard input, or of text typed at the terminal.

    Raises:
        ConfigError: k is below 1.
        UnavailableError: standard input is a terminal, and prompt_toolkit is not installed.
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
    """Suggests completions of a text that grows and shrinks by a few characters at a time.

    The common beginning of two successive texts is read only once.

    Args:
        continuation: language model in its initial state.
        k: number of completions.
    """

    def __init__(self, continuation: TextSession, k: int) -> None:
        self._k = k
        self._read: list[tuple[str, TextSession]] = [("", continuation)]
        self._lock = threading.Lock()  # suggestions are computed while more is typed

    def __call__(self, text: str) -> list[Completion]:
        """Completions of the last word of the text."""
        with self._lock:
            return self._reach(text).complete(self._k)

    def typed(self, text: str) -> str:
        """The last word of the text as typed so far."""
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
    """One line per completion: its probability in percent, and its text."""
    for completion in completions:
        yield f"{percent(completion.probability, 3):>8}  {escape(completion.text)}"


def as_json(completions: Sequence[Completion], typed: str) -> str:
    """Completions as one line of JSON."""
    return json_line(
        {
            "typed": typed,
            "completions": [
                {"text": completion.text, "probability": completion.probability}
                for completion in completions
            ],
        }
    )


_HINT = (
    "Tab accepts the suggestion in grey. Enter begins a new line and keeps the text as\n"
    "context. Ctrl-D ends."
)


def interactive(suggest: Suggester) -> None:
    """Suggest completions while text is typed, until end of file.

    Raises:
        UnavailableError: prompt_toolkit is not installed.
    """
    prompt = session(suggest).prompt
    print(_HINT, file=sys.stderr)
    before = ""
    while True:
        try:
            line = prompt(
                "> ", completer=_completer(suggest, before), auto_suggest=_ghost(suggest, before)
            )
            before += f"{line}\n"
        except EOFError:
            return


def session(suggest: Suggester, **devices: Any) -> Any:
    """A line editor in which Tab accepts the first suggestion.

    Args:
        suggest: text → completions.
        devices: input and output to use instead of the terminal.

    Raises:
        UnavailableError: prompt_toolkit is not installed.
    """
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.key_binding import KeyBindings
    except ImportError:
        raise missing_package(
            "completion as you type", "prompt_toolkit", "terminal", "give the text after the run"
        ) from None
    keys = KeyBindings()

    @keys.add("tab")
    def accept(event: Any) -> None:
        buffer = event.current_buffer
        shown = buffer.complete_state
        if shown is not None and shown.completions:
            buffer.apply_completion(shown.current_completion or shown.completions[0])
        else:
            first = next(buffer.completer.get_completions(buffer.document, None), None)
            if first is not None:
                buffer.apply_completion(first)

    return PromptSession(
        completer=_completer(suggest, ""),
        auto_suggest=_ghost(suggest, ""),
        complete_while_typing=True,
        complete_in_thread=True,  # typing never waits for the model
        key_bindings=keys,
        **devices,
    )


def _ghost(suggest: Suggester, before: str) -> Any:
    """Shows the rest of the first suggestion in grey after the text, given the lines before it."""
    from prompt_toolkit.auto_suggest import AutoSuggest, Suggestion, ThreadedAutoSuggest

    class First(AutoSuggest):
        def get_suggestion(self, buffer: Any, document: Any) -> Suggestion | None:
            text = before + document.text
            for completion in suggest(text) if text else ():
                rest = completion.text[len(completion.typed) :]
                if rest.strip():
                    return Suggestion(rest)
            return None

    return ThreadedAutoSuggest(First())


def _completer(suggest: Suggester, before: str) -> Any:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.completion import Completion as Choice

    class Words(Completer):
        """The model's suggestions for the current line, given the lines before it."""

        def get_completions(self, document: Any, complete_event: Any) -> Iterator[Choice]:
            for completion in suggest(before + document.text_before_cursor):
                rest = completion.text[len(completion.typed) :]
                if rest.strip():
                    # Only the rest is inserted; the menu shows the whole word.
                    yield Choice(
                        rest,
                        display=completion.text.strip(),
                        display_meta=percent(completion.probability),
                    )

    return Words()


def read_score_text(text: str | None, input_file: Path | None) -> str:
    """The text to score, from the argument, a file or standard input.

    Raises:
        ConfigError: both a text and a file are given.
        DataError: the file is missing, or the text is empty or not UTF-8.
    """
    if text is not None and input_file is not None:
        raise ConfigError("both a text and --input are given; use one")
    if text is None or text == STDIN:
        text = read_text(input_file or Path(STDIN))
    if not text:
        raise DataError("nothing to score; the text is empty", input_file)
    return text


def read_text(path: Path) -> str:
    r"""The content of a text file, or of standard input ("-"), with all line ends as `\n`.

    Raises:
        DataError: the file is missing, cannot be read, is too long, or is not UTF-8.
    """
    if str(path) == STDIN:
        return _read_whole(standard_input(), Path("standard input"))
    try:
        with path.open("rb") as stream:
            return _read_whole(stream, path)
    except FileNotFoundError:
        raise DataError("no such file", path) from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot be read: {error.strerror}", path) from None


def prompt_text(prompt: str | None, prompt_file: Path | None) -> str:
    """The text to continue, without the line feed at the end of a file.

    Raises:
        ConfigError: both a prompt and a prompt file are given.
        DataError: the file is missing or not UTF-8.
    """
    if prompt is not None and prompt_file is not None:
        raise ConfigError("both --prompt and --prompt-file are given; use one")
    if prompt_file is not None:
        return read_text(prompt_file).removesuffix("\n")
    return prompt or ""


def print_score(continuation: TextSession, text: str, with_tokens: bool) -> None:
    """Print the score of a text and, if requested, the surprisal of each token."""
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
    for token in token_scores:
        piece = token.written.replace("\n", "\\n").replace("\t", "\\t").replace(" ", "·")
        table.add_row(Text(brief(piece)), f"{token.bits:.2f}", f"{token.rank:,}")
    Console().print(table)


def _read_whole(stream: BinaryIO, path: Path) -> str:
    from unrolled.text.limits import MAX_LINE, in_words, longest_line

    longest = longest_line()
    content = stream.read(longest + 1)
    if len(content) > longest:
        raise DataError(
            f"the text is longer than {in_words(longest)} and would be read at once; score it with "
            f"`unrolled evaluate RUN --data FILE`, or raise the environment variable {MAX_LINE}",
            path,
        )
    try:
        return content.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text (byte {error.start}); convert it to UTF-8"
        raise DataError(problem, path) from None
