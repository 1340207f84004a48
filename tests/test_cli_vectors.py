"""`unrolled vectors train`: sources of text, output folders, and names in messages."""

from __future__ import annotations

import inspect
import io
import json
import signal
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

import pytest

from unrolled import cli, storage
from unrolled.cli import options, vectors_train
from unrolled.errors import ConfigError, DataError, NonFiniteError, RunError
from unrolled.layers.neural_cache import ContinuousCache
from unrolled.text.corpus.config import CorpusConfig
from unrolled.vectors import memory, train_stage
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.count_stage import CountingRun
from unrolled.vectors.events import Counted

TEXT = "ice is cold\nsteam is hot\nice is water and steam is water\n" * 9
QUICK = ["--size", "3", "--min-count", "1", "--window", "3", "--epochs", "2", "--threads", "1"]


class Run:
    """Runs `vectors train` in a folder of its own, with or without standard input."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys, self._patch = capsys, patch

    def __call__(self, *words: object, stdin: bytes | None = None) -> str:
        """Trains; what is printed."""
        assert self.code(*words, stdin=stdin) == 0, self.printed.err
        return self.printed.out

    def refused(self, *words: object, stdin: bytes | None = None) -> str:
        """Is refused; the sentence."""
        assert self.code(*words, stdin=stdin) == 2
        assert self.printed.err.count("\n") == 1, "one sentence, and so no traceback"
        return self.printed.err.removeprefix("unrolled: ").rstrip()

    def code(self, *words: object, stdin: bytes | None = None) -> int:
        if stdin is not None:
            self._patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        code = cli.main(["vectors", "train", *map(str, words)])
        self.printed = self._capsys.readouterr()
        return code


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.en.txt").write_text(TEXT, encoding="utf-8")
    return Run(capsys, monkeypatch)


def same(one: Path, other: Path) -> bool:
    names = ("vectors.safetensors", "vocabulary.tsv", "counts/values.npy")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_vectors_are_named_after_their_text(run: Run, tmp_path: Path) -> None:
    run("talk.en.txt", *QUICK)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text(TEXT, encoding="utf-8")
    run("texts/*.txt", *QUICK)
    run(".", *QUICK, "--suffixes", ".txt")
    assert {path.name for path in (tmp_path / "vectors").iterdir()} == {
        "talk",
        "texts",
        tmp_path.name.split(".")[0],
    }
    assert same(tmp_path / "vectors" / "talk", tmp_path / "vectors" / "texts")
    assert run.refused("/*.nothing", *QUICK) == (
        "cannot derive a name for the vectors from /*.nothing; add --out vectors/NAME"
    )


def test_standard_input_is_a_text_like_any_other(run: Run, tmp_path: Path) -> None:
    run("talk.en.txt", "--out", "file", *QUICK)
    run("-", "--out", "new/piped", *QUICK, stdin=TEXT.encode())
    assert same(tmp_path / "file", tmp_path / "new" / "piped")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["piped"], "nothing is left"
    run("talk.en.txt", "-", "--out", "both", *QUICK, stdin=TEXT.encode())
    seen = (tmp_path / "both" / "vocabulary.tsv").read_text(encoding="utf-8").splitlines()
    assert seen[0] == "is\t72"
    assert run.refused("-", *QUICK) == (
        "cannot derive a name for the vectors from standard input; add --out vectors/NAME"
    )
    assert run.refused("-", "--out", "c", "--cluster", "tcp://127.0.0.1:9", stdin=b"") == (
        "standard input (-) cannot be read on a cluster; give files or URLs, or remove --cluster"
    )


def test_standard_input_that_is_refused_leaves_nothing(run: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert (
        run.refused("-", "--out", "v", stdin=b"") == "the corpus contains no words; give more text"
    )
    spool = tmp_path / ".v.standard-input"
    assert run.refused("-", "--out", "v", stdin=b"a b\n\xff").startswith(
        f"{spool}, line 2: not UTF-8 at byte 4 (0xFF); convert the file, or set --on-invalid to"
    )
    assert run.refused("-", "--out", "v", "--size", "0", stdin=b"a") == (
        "--size must be at least 1, got 0"
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_on_standard_input_resumes_without_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("-", "--out", "whole", *QUICK, stdin=TEXT.encode())
    inner = CountingRun._count

    def interrupted(self: object, *arguments: object) -> object:
        yield Counted(0, 0, 0.0, 0.0)
        raise RunError("stopped here")

    monkeypatch.setattr(CountingRun, "_count", interrupted)
    assert run.refused("-", "--out", "v", *QUICK, stdin=TEXT.encode()) == "stopped here"
    spool = tmp_path / ".v.standard-input"
    assert spool.read_text(encoding="utf-8") == TEXT
    monkeypatch.setattr(CountingRun, "_count", inner)
    run("-", "--out", "v", "--resume", *QUICK, stdin=b"nobody reads this")
    assert same(tmp_path / "v", tmp_path / "whole")
    assert not spool.exists()
    run("-", "--out", "v", "--resume", *QUICK, stdin=b"nor this")
    assert not spool.exists()


def test_standard_input_is_not_read_while_another_run_writes(run: Run, tmp_path: Path) -> None:
    other = TEXT.replace("ice", "snow").encode()
    spool, begun = tmp_path / ".v.standard-input", tmp_path / "v"
    begun.mkdir()
    (begun / "vectors.toml").write_text("", encoding="utf-8")
    spool.write_text("what another process reads", encoding="utf-8")
    with storage.locked(begun):
        refused = run.refused("-", "--out", "v", "--force", *QUICK, stdin=other)
        assert refused.startswith(f"{begun} is being written by this process, since ")
    assert spool.read_text(encoding="utf-8") == "what another process reads"


def test_waiting_for_standard_input_can_be_interrupted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: int) -> bytes:
        signal.raise_signal(signal.SIGINT)
        return b""

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=SimpleNamespace(read=read)))
    assert run.code("-", "--out", "v", *QUICK) == 130
    assert sorted(tmp_path.rglob("*")) == before


def test_leftovers_of_standard_input_are_not_trained_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("talk.en.txt", "--out", "whole", *QUICK)
    spool = tmp_path / ".v.standard-input"
    spool.write_text("of a run that was killed before its folder was there", encoding="utf-8")
    run("-", "--out", "v", "--resume", *QUICK, stdin=TEXT.encode())
    assert same(tmp_path / "v", tmp_path / "whole")

    monkeypatch.setattr(CountingRun, "_count", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("-", "--out", "w", *QUICK, stdin=TEXT.encode())
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".w.standard-input").write_text("another", encoding="utf-8")
    refused = run.refused("-", "--out", "w", "--resume", *QUICK, stdin=TEXT.encode())
    assert refused.startswith(f"{tmp_path}/.w.standard-input is not the file that ")
    assert not (tmp_path / ".w.standard-input").exists(), "it is no use to anybody"


def test_the_spool_is_removed_if_the_first_epoch_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> float:
        raise NonFiniteError("epoch 1: not finite")

    monkeypatch.setattr(train_stage, "train_epoch", refused)
    assert run.refused("-", "--out", "v", *QUICK, stdin=TEXT.encode()).startswith("epoch 1: not")
    assert not (tmp_path / ".v.standard-input").exists()


def test_a_refused_resume_keeps_the_spool(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountingRun, "_count", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("-", "--out", "v", *QUICK, stdin=TEXT.encode())
    refused = run.refused("-", "talk.en.txt", "--out", "v", "--resume", *QUICK, stdin=b"not read")
    assert refused.startswith("the corpus, its settings or the tokenizer differ from those that ")
    assert (tmp_path / ".v.standard-input").read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--window", "0"], "--window must be at least 1, got 0"),
        (["--memory", "much"], "--memory must be a size such as 512MB or 4GB, got 'much'"),
        (["--suffixes", "py"], "--suffixes must be suffixes like .py"),
        (["--encoding", "latin-11"], "unknown --encoding 'latin-11'"),
        (
            ["--window", "9999"],
            "--window is 9999, but the text has only 117 words in the vocabulary; give more text",
        ),
        (
            ["--documents", "line"],
            "--documents defines documents, but context windows end with --borders line; remove it, or "
            "add --borders document",
        ),
        (
            ["--separator", "***", "--borders", "none"],
            "--separator defines documents, but context windows end with --borders none; remove it",
        ),
        (
            ["--separator", "***", "--borders", "document"],
            "--separator must be empty, as --documents is not 'separator'",
        ),
        (
            ["--documents", "separator", "--borders", "document"],
            "--separator must be the line between documents, as --documents is 'separator'",
        ),
        (
            ["--save-every-n-seconds", "-1"],
            "--save-every-n-seconds must be at least 0, got -1",
        ),
    ],
)
def test_messages_name_the_option(run: Run, words: list[str], sentence: str) -> None:
    assert run.refused("talk.en.txt", "--min-count", 1, *words).startswith(sentence)


def test_too_little_memory_names_the_options(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("-", "--out", "whole", *QUICK, stdin=TEXT.encode())
    monkeypatch.setattr(memory, "_OF_ROW", 20_000_000)
    sentence = run.refused("-", "--out", "v", "--memory", "84MB", *QUICK, stdin=TEXT.encode())
    assert sentence.startswith(
        "--memory is too low to count 7 different words; set it to at least "
    )
    assert sentence.endswith(
        "and resume (--resume), or start again (--force) with fewer words (--max-words) or threads "
        "(--threads)"
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert (tmp_path / ".v.standard-input").read_text(encoding="utf-8") == TEXT
    run("-", "--out", "v", "--resume", "--memory", "4GB", *QUICK, stdin=b"nobody reads this")
    assert same(tmp_path / "v", tmp_path / "whole")
    assert not (tmp_path / ".v.standard-input").exists()


def test_a_setting_changed_on_resume_is_named_as_an_option(run: Run) -> None:
    run("talk.en.txt", *QUICK)
    refused = run.refused("talk.en.txt", *QUICK, "--alpha", "0.5", "--resume")
    assert refused.startswith("--alpha is 0.5, but ")
    refused = run.refused("talk.en.txt", *QUICK, "--left-only", "--resume")
    assert refused.startswith("symmetric (without --left-only) is False, but ")


@pytest.mark.parametrize(
    "option",
    [
        ("--suffixes", ".txt"),
        ("--encoding", "latin-1"),
        ("--on-invalid", "skip"),
        ("--documents", "line"),
        ("--separator", "***"),
        ("--tokenizer", "tokenizer.json"),
        ("--cluster", "tcp://127.0.0.1:9"),
    ],
)
def test_options_of_a_text_are_refused_with_counts(run: Run, option: tuple[str, str]) -> None:
    borders = ("--borders", "document")
    assert run.refused("--counts", "a", "--out", "b", *borders, *option) == (
        f"{option[0]} applies to reading a text and has no effect with --counts; remove it"
    )


def test_choices_for_documents_are_those_of_the_library() -> None:
    options, settings = get_type_hints(vectors_train.train), get_type_hints(CorpusConfig)
    for name in ("documents", "on_invalid"):
        assert options[name] == settings[name] | None


def test_an_empty_encoding_is_not_taken_for_the_default(run: Run) -> None:
    assert "encoding" in run.refused("talk.en.txt", "--encoding", "")


def test_an_unknown_option_is_not_taken_for_a_text(run: Run) -> None:
    assert run.refused("talk.en.txt", "--windw", 3) == (
        "unknown option --windw; did you mean '--window'?"
    )
    assert run.refused("talk.en.txt", "--windw=3").startswith(
        "unknown option --windw=3; did you mean"
    )
    assert run.refused("-x") == "unknown option -x"


def test_every_setting_of_vectors_is_an_option() -> None:
    names = set(inspect.signature(vectors_train.train).parameters)
    settings = {field.name for field in fields(VectorsConfig)}
    assert settings - names == {"symmetric"}, "which is --left-only"
    defaults = {
        name: each.default
        for name, each in inspect.signature(vectors_train.train).parameters.items()
        if name in settings
    }
    assert VectorsConfig(**defaults) == VectorsConfig()


def test_epochs_are_saved_as_often_as_asked(run: Run, tmp_path: Path) -> None:
    run("talk.en.txt", *QUICK, "--save-every-n-seconds", "0", "--borders", "document")
    config = (tmp_path / "vectors" / "talk" / "vectors.toml").read_text(encoding="utf-8")
    assert "save_every_n_seconds = 0.0" in config
    record = json.loads((tmp_path / "vectors" / "talk" / "record.json").read_bytes())
    assert record["corpus"]["documents"] == "file"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ConfigError("give vectors.min_count, not 3"), "give --min-count, not 3"),
        (RunError("x/vectors.min_count: damaged"), "x/vectors.min_count: damaged"),
        (
            ConfigError("vectors.min_counts and my.vectors.min_count"),
            "vectors.min_counts and my.vectors.min_count",
        ),
        (ConfigError("vectors.toml"), "vectors.toml"),
        (DataError("lower vectors.min_count", "a.txt", 3), "a.txt, line 3: lower --min-count"),
        (DataError("vectors.min_count", "x.b"), "x.b: --min-count"),
        (memory.TooLittleMemory("lower vectors.min_count", 9), "lower --min-count"),
    ],
)
def test_only_settings_are_renamed(before: Exception, after: str) -> None:
    with pytest.raises(type(before)) as caught:
        with options.settings_as_options({"vectors.min_count": "--min-count"}):
            raise before
    assert str(caught.value) == after
    assert caught.value is before, "with all that it carries"


def test_the_help_of_the_cache_shows_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["evaluate", "--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    defaults = inspect.signature(ContinuousCache).parameters
    for name, about in (("theta", "count equally)"), ("weight", "less than 1")):
        assert f"{about}; {defaults[name].default} by default." in printed
