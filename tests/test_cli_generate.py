"""The commands of a language model: `generate`, `complete` and `score`."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_language_model import ToyModel, tokenizer_of

import unrolled.predictors.load
from unrolled import cli
from unrolled.cli import generate
from unrolled.cli.generate import Suggester
from unrolled.decoding.text_session import TextSession

pytestmark = pytest.mark.usefixtures("one_thread")


def fresh(kind: str = "char") -> TextSession:
    tokenizer = tokenizer_of(kind)
    return TextSession(ToyModel(len(tokenizer), 0.3), tokenizer)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str]]:
    """Every run is a toy; what was asked for."""
    asked: list[tuple[Any, str]] = []

    def load(run: Path, precision: str = "float32") -> Any:
        asked.append((run, precision))
        kind = "word" if "words" in str(run) else "char"
        return SimpleNamespace(continuation=lambda: fresh(kind))

    monkeypatch.setattr(unrolled.predictors.load, "load", load)
    return asked


Type = Callable[[bytes], None]


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Type:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def test_samples_use_consecutive_seeds(
    loaded: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "run", "--prompt", "the c", "--max-tokens", "20", "--seed", "4"]
    assert cli.main([*words, "--n", "2", "--top-k", "9", "--top-p", "0.9"]) == 0
    read = fresh()
    read.feed("the c")
    expected = [
        "".join(read.generate(20, temperature=0.8, top_k=9, top_p=0.9, seed=seed))
        for seed in (4, 5)
    ]
    assert "\n" not in expected[0][-1] + expected[1][-1]
    assert capsys.readouterr().out == "\n---\n".join(expected) + "\n"
    assert loaded == [(Path("run"), "float32")]


def test_text_is_streamed() -> None:
    written: list[str] = []

    class Output(io.StringIO):
        def flush(self) -> None:
            written.append(self.getvalue())

    settings: Any = {"temperature": 0, "stop": ()}
    generate.write_samples(fresh(), Output(), n_samples=1, max_tokens=9, seed=1, **settings)
    assert len({len(text) for text in written}) >= 9


def test_a_prompt_can_be_read_from_a_file(
    loaded: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(b"the cat\r\nsat\n")
    assert cli.main(["generate", "run", "--prompt-file", str(path)]) == 0
    first = capsys.readouterr().out
    assert cli.main(["generate", "run", "--prompt", "the cat\nsat"]) == 0
    assert capsys.readouterr().out == first


def test_text_ends_before_a_stop_string(
    loaded: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", "run"]) == 0
    whole = capsys.readouterr().out
    stop = whole[40:43]
    assert cli.main(["generate", "run", "--stop", "absent", "--stop", stop]) == 0
    assert capsys.readouterr().out.rstrip("\n") == whole[: whole.index(stop)].rstrip("\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "run", "--temperature", "-1"], "temperature must be at least 0, got -1"),
        (["generate", "run", "--top-p", "0"], "top_p must be above 0 and at most 1, got 0"),
        (["generate", "run", "--top-p", "1.5"], "top_p must be above 0 and at most 1, got 1.5"),
        (["generate", "run", "--n", "0"], "--n must be at least 1, got 0"),
        (["generate", "run", "--seed", "-2"], "seed must be at least 0, got -2"),
        (["generate", "run", "--stop", ""], "stop must be strings that are not empty"),
        (["generate", "run", "--prompt", "a", "--prompt-file", "b"], "are given; use one"),
        (["generate", "run", "--prompt-file", "no.txt"], "no.txt: no such file"),
        (["generate", "run", "--precision", "int4"], "int4"),
        (["complete", "run", "the", "--k", "0"], "--k must be at least 1, got 0"),
        (["score", "run", "a", "--input", "b"], "both a text and --input are given; use one"),
        (["score", "run", ""], "nothing to score; the text is empty"),
    ],
)
def test_invalid_arguments_get_one_message(
    loaded: list[Any], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


@pytest.mark.parametrize("command", ["generate", "complete", "score"])
def test_a_run_of_another_task_is_refused(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = SimpleNamespace(recipe=SimpleNamespace(task="translate"))
    monkeypatch.setattr(unrolled.predictors.load, "load", lambda run, precision: other)
    text = [] if command == "generate" else ["a text"]
    assert cli.main([command, "runs/a", *text]) == 2
    assert capsys.readouterr().err == (
        f"unrolled: runs/a is a run of task 'translate'; `unrolled {command}` needs a language model\n"
    )


def test_completions_of_a_text_are_aligned(
    loaded: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["complete", "words", "then the", "--k", "3", "--precision", "int8"]
    assert cli.main(words) == 0
    read = fresh("word")
    read.feed("then the")
    expected = [f"{each.probability:8.3%}  {each.text}" for each in read.complete(3)]
    assert capsys.readouterr().out.splitlines() == expected
    assert {line.index("the") for line in expected} == {10}
    assert loaded == [(Path("words"), "int8")]


def test_every_input_line_gives_a_line_of_json(
    loaded: list[Any], type_in: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["the ca", "", "the", "años tr", "the "]
    type_in("".join(f"{line}\r\n" for line in lines).encode())
    assert cli.main(["complete", "run", "--k", "2"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["typed"] for answer in answers] == ["ca", "", "the", "tr", ""]
    for line, answer in zip(lines, answers, strict=True):
        read = fresh()
        read.feed(line)
        found = [{"text": c.text, "probability": c.probability} for c in read.complete(2)]
        assert answer["completions"] == found


def test_suggestions_follow_typing_and_deleting() -> None:
    suggest = Suggester(fresh(), 3)
    model: Any = suggest._read[0][1]._steps._model
    for text in ("the ", "the c", "the ca", "the", "th", "other", "", "the ca"):
        read = fresh()
        read.feed(text)
        assert suggest(text) == read.complete(3)
    suggest("the cat sat there, and")
    suggest("the cat sat there, an")
    before = model.n_steps
    suggest._reach("the cat sat there, and")
    assert model.n_steps - before == 1


def test_tab_accepts_the_first_suggestion() -> None:
    pytest.importorskip("prompt_toolkit")
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    suggest = Suggester(fresh("word"), 3)
    best = next(each.text for each in suggest("and th") if each.text != "th")
    with create_pipe_input() as typing:
        typing.send_text("and th\t\r")
        given = generate.session(suggest, input=typing, output=DummyOutput()).prompt("> ")
    assert given == f"and {best}"


def test_earlier_lines_are_context_for_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prompt_toolkit")
    from prompt_toolkit.document import Document

    suggest = Suggester(fresh("word"), 3)
    shown: list[list[str]] = []
    ghosts: list[Any] = []
    typed = iter(["and the", "cats"])

    def prompt(mark: str, completer: Any, auto_suggest: Any) -> str:
        line = next(typed, None)
        if line is None:
            raise EOFError
        ghosts.append(auto_suggest.auto_suggest.get_suggestion(None, Document(line)))
        shown.append([each.text for each in completer.get_completions(Document(line), None)])
        return line

    monkeypatch.setattr(generate, "session", lambda suggest: SimpleNamespace(prompt=prompt))
    generate.interactive(suggest)
    expected = [
        [c.text.removeprefix(c.typed) for c in suggest(text) if c.text != c.typed]
        for text in ("and the", "and the\ncats")
    ]
    assert shown == expected
    assert [ghost and ghost.text for ghost in ghosts] == [
        next((text for text in texts if text.strip()), None) for texts in shown
    ]


def test_a_missing_line_editor_says_what_to_install(
    loaded: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert cli.main(["complete", "run"]) == 2
    assert capsys.readouterr().err == (
        "unrolled: completion as you type needs prompt_toolkit; run pip install "
        "'unrolled[terminal]', or give the text after the run\n"
    )


def test_text_is_scored_from_argument_file_or_stdin(
    loaded: list[Any], type_in: Type, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["score", "run", "the cat\nsat"]) == 0
    first = capsys.readouterr().out
    path = tmp_path / "text.txt"
    path.write_bytes(b"the cat\r\nsat")
    assert cli.main(["score", "run", "--input", str(path)]) == 0
    type_in(path.read_bytes())
    assert cli.main(["score", "run"]) == 0
    assert capsys.readouterr().out == first * 2
    bits = sum(each.bits for each in fresh().surprise("the cat\nsat"))
    assert first.splitlines() == [
        f"{bits:,.1f} bits in 11 tokens, 11 characters",
        f"perplexity per token {2 ** (bits / 11):.2f}",
        f"bits per character {bits / 11:.4f}",
    ]


def test_the_bits_of_each_token_can_be_shown(
    loaded: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["score", "run", "a [b]", "--tokens"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    surprises = fresh().surprise("a [b]")
    assert rows[0] == ["token", "bits", "rank"]
    assert rows[1 : 1 + len(surprises)] == [
        [each.written.replace(" ", "·"), f"{each.bits:.2f}", str(each.rank)] for each in surprises
    ]


def test_bytes_that_are_not_utf8_are_refused(
    loaded: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"caf\xe9")
    assert cli.main(["score", "run", "--input", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"unrolled: {path}: not UTF-8 text (byte 3); convert it to UTF-8\n"
    )
