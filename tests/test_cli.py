from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import unrolled
from unrolled import cli
from unrolled.cli import app
from unrolled.system import package_version

# A process of its own imports the package under test, installed or not.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(unrolled.__file__).parents[1])}


def processor_seconds() -> float:
    """What the processes started here have used; Windows does not tell, and 0 is found there."""
    used = os.times()
    return used.children_user + used.children_system


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence that a command is refused with."""
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("unrolled: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("unrolled: ").rstrip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --resum", "Unknown option: --resum. Did you mean --resume?"),
        ("train --seed x", 'Invalid value for --seed: unable to convert "x" into int.'),
        ("score run a b", "unexpected 'b'; quote an argument that contains spaces"),
        ("train a.toml b", "unexpected 'b'; give data with --data FILE"),
        (
            "generate run Once",
            "unexpected 'Once'; give the text to continue with --prompt TEXT, in quotes",
        ),
        ("train a.csv", "a.csv was given as a recipe (a TOML file); give data with --data a.csv"),
        (
            "train --max-steps 3",
            "Unknown option: --max-steps. Settings are named with their section: --training.max_steps",
        ),
        (
            "vectors map v --out a.png",
            "Unknown option: --out. Usage: unrolled vectors map [OPTIONS] VECTORS PICTURE [WORDS...]",
        ),
        (
            "vectors map v the of",
            "the picture 'the' must be a file name that ends in .png, .svg or .pdf; usage: unrolled "
            "vectors map VECTORS PICTURE WORD WORD",
        ),
        ("doctor --training.x 3", "--training.x: `unrolled doctor` takes no recipe settings"),
        ("data", "no file given; `unrolled data FILE` describes a data file"),
        ("predict run hi --input a", "both a sentence and --input are given; use one"),
        (
            "predict run hi --attention a.jpg",
            "--attention a.jpg: expected a file name ending in .png or .html",
        ),
        ("predict run hi -n-best 3", "unknown option -n-best; did you mean --n-best?"),
        (
            "predict run --good",
            "Unknown option: --good. Did you mean --words? If it is a text, run: unrolled predict run -- "
            "--good",
        ),
        ("evaluate run --split tset", None),
        ("trian", None),
        ("trian --a.b 3", None),
    ],
)
def test_wrong_arguments_get_one_message(
    capsys: pytest.CaptureFixture[str], arguments: str, message: str | None
) -> None:
    sentence = said(capsys, *arguments.split())
    if message is None:
        message = 'Did you mean "t'
        assert message in sentence
    else:
        assert sentence == message


@pytest.mark.parametrize(
    ("raised", "code", "printed"),
    [
        (KeyboardInterrupt(), 130, "\nunrolled: interrupted\n"),
        (
            OSError(28, "No space left on device", "runs/a/x"),
            2,
            "unrolled: runs/a/x: No space left on device\n",
        ),
    ],
)
def test_interrupts_and_system_errors_have_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    printed: str,
) -> None:
    def stop() -> str:
        raise raised

    monkeypatch.setattr(app, "_version", stop)
    assert cli.main(["version"]) == code
    assert capsys.readouterr().err == printed


def test_the_version_of_an_uninstalled_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert package_version() == metadata.version("unrolled")
    monkeypatch.setattr(metadata, "version", missing)
    assert package_version() == ""
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == "not installed\n"


def test_help_shows_only_defaults_that_say_something(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["generate"], ["vectors", "train"]):
        cli.main([*words, "--help"])
        printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "[default: 1]" in printed
        for empty in ("None", "False", "()", '""'):
            assert f"[default: {empty}]" not in printed


def test_help_lists_all_commands_without_heavy_imports() -> None:
    program = (
        "import sys; from unrolled.cli import main; code = main(['--help']); "
        "print('heavy:', [m for m in ('torch', 'numpy', 'tokenizers') if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        before = processor_seconds()
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            encoding="utf-8",
            check=True,
            env=ENVIRONMENT,
        )
        seconds.append(processor_seconds() - before)
    for command in [
        "train",
        "evaluate",
        "predict",
        "ask",
        "export",
        "data",
        "config",
        "doctor",
        "sample",
        "demo",
        "version",
    ]:
        assert f" {command} " in done.stdout
    assert "heavy: []" in done.stdout
    # The promise is 0.3 s on an idle machine. Time of the processor, not of the clock, does not depend
    # on what else runs there; a slow one gets three times as much.
    assert min(seconds) < 0.9


@pytest.mark.skipif(sys.platform == "win32", reason="no signal for a closed pipe on Windows")
def test_a_closed_pipe_causes_no_traceback() -> None:
    program = (
        "import sys\nfrom unrolled import cli\nfrom unrolled.cli import app\n"
        "app._version = lambda: 'x' * 1_000_000\n"
        "sys.exit(cli.main(['version']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_config_takes_the_data_options_of_train(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text("id,review,stars\n1,good,5\n", encoding="utf-8")
    files = [f"{tmp_path}/{name}.csv" for name in ("train", "valid", "test")]
    arguments = ["config", "--task", "classify", "--data", files[0], "--valid", files[1]]
    arguments += ["--test", files[2], "--columns", "review", "stars", "--seed", "7"]
    assert cli.main(arguments) == 0
    recipe = tomllib.loads(capsys.readouterr().out)
    assert recipe["seed"] == 7
    parts = [recipe["data"][key] for key in ("train", "valid", "test")]
    assert parts == [[file] for file in files]
    assert recipe["data"]["columns"] == ["review", "stars"]
