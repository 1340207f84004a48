"""Closed streams, full devices, Ctrl-C, little memory and -OO give one message or silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import unrolled
from unrolled import cli
from unrolled.cli import app, options
from unrolled.errors import UnavailableError
from unrolled.out_of_memory import is_out_of_memory

SOURCE = Path(unrolled.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}

posix = pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX closes streams")


def shell(redirections: str, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of the command in a shell."""
    script = f'"$0" -m unrolled "$@" {redirections}'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        encoding="utf-8",
    )
    return done.returncode, done.stderr


@posix
@pytest.mark.parametrize(
    ("redirections", "arguments", "code", "sentence"),
    [
        ("<&-", ["version"], 0, ""),
        (
            ">&-",
            ["version"],
            2,
            "unrolled: standard output is closed; send it to a file, or to the null device\n",
        ),
        ("2>&-", ["no-such-command"], 2, ""),
        ("<&- >&- 2>&-", ["version"], 2, ""),
        pytest.param(
            ">/dev/full",
            ["--help"],
            2,
            "unrolled: No space left on device\n",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full"),
        ),
        pytest.param(
            "2>/dev/full",
            ["no-such-command"],
            2,
            "",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full"),
        ),
    ],
)
def test_a_closed_or_full_stream_gets_one_message(
    redirections: str, arguments: list[str], code: int, sentence: str
) -> None:
    found, error = shell(redirections, *arguments)
    assert found == code
    assert error == sentence


@posix
def test_help_into_a_closed_pipe_is_silent() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", "train", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_standard_input_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not options.is_typed()
    with pytest.raises(unrolled.ConfigError, match="standard input is closed; give the text"):
        options.standard_input()


PRESS = """
import os, signal, sys

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
        return None

sys.meta_path.insert(0, Press())
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
sys.argv[1:] = ["config", "--task", "classify", "--data", "a.tsv"]
from unrolled.__main__ import main
sys.exit(main())
"""


@posix
@pytest.mark.parametrize("name", ["unrolled.cli", "cyclopts", "torch"])
def test_ctrl_c_in_an_import_leaves_no_traceback(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRESS.format(name=name)],
        capture_output=True,
        env=ENVIRONMENT,
        encoding="utf-8",
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "\nunrolled: interrupted\n"


@pytest.mark.parametrize("level", ["1", "2"])
def test_help_has_text_without_docstrings(level: str) -> None:
    program = (
        "import sys; from unrolled import cli\n"
        "cli.main(['predict', '--help']); cli.main(['vectors', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env=ENVIRONMENT | {"PYTHONOPTIMIZE": level, "COLUMNS": "200"},
        encoding="utf-8",
        check=True,
    )
    for text in (
        "Run a trained model",
        "sentences to run the model on",
        "Print the cosine similarity",
    ):
        assert text in done.stdout


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"),
        ImportError("libtorch.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_gets_one_message(
    raised: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> str:
        raise raised

    monkeypatch.setattr(app, "_version", fail)
    assert cli.main(["version"]) == 2
    assert (
        capsys.readouterr().err
        == "unrolled: out of memory; free memory, or reduce the batch size\n"
    )


def test_other_errors_are_not_out_of_memory() -> None:
    for error in (ImportError("no module named x"), OSError(28, "No space left"), ValueError("7")):
        assert not is_out_of_memory(error)


def test_torch_is_not_loaded_without_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    options.check_room_for_torch()  # it is loaded
    monkeypatch.delitem(sys.modules, "torch")
    options.check_room_for_torch()
    monkeypatch.setattr(options, "_ADDRESS_SPACE_OF_TORCH", 1 << 60)
    with pytest.raises(
        UnavailableError, match=r"PyTorch cannot be loaded; raise the limit \(ulimit"
    ):
        options.check_room_for_torch()
