"""The C compiler of this machine, if there is one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from unrolled.errors import RunError, UnavailableError
from unrolled.quoting import shorten

OPTIONS = ("-std=c99", "-O2")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
_NAMES = ("cc", "gcc", "clang")
_SECONDS = 600


def find() -> tuple[str, ...] | None:
    """The command of the C compiler, by the environment variable CC or by name; None without one."""
    given = shlex.split(os.environ.get("CC", ""))
    if given and shutil.which(given[0]):
        return tuple(given)
    return next(((name,) for name in _NAMES if shutil.which(name)), None)


def compiled(compiler: Sequence[str], source: Path, options: Sequence[str] | None = None) -> Path:
    """Compile a program beside its source.

    Args:
        compiler: the command of the compiler.
        source: the C file.
        options: options of the compiler; by default `OPTIONS`.

    Raises:
        RunError: the compiler reports an error.
        UnavailableError: it does not end.
    """
    program = source.with_suffix(".exe")
    command = [
        *compiler,
        *(OPTIONS if options is None else options),
        "-o",
        program.name,
        source.name,
        "-lm",
    ]
    done = _run(command, source.parent, "")
    if done.returncode != 0:
        said = shorten(done.stderr.decode("utf-8", "replace").strip(), 300)
        raise RunError(f"{compiler[0]} cannot compile the C code, so nothing was written: {said}")
    return program


def answer(program: Path, arguments: Sequence[str], text: str | bytes) -> str:
    """What a program writes for a text on its standard input.

    Raises:
        RunError: it fails.
    """
    done = _run([str(program), *arguments], program.parent, text)
    if done.returncode != 0:
        said = shorten(done.stderr.decode("utf-8", "replace").strip(), 300)
        raise RunError(f"the C code fails, so nothing was written: {said or done.returncode}")
    return done.stdout.decode("utf-8").replace("\r\n", "\n")


def _run(
    command: Sequence[str], folder: Path, text: str | bytes
) -> subprocess.CompletedProcess[bytes]:
    given = text if isinstance(text, bytes) else text.encode("utf-8")
    try:
        return subprocess.run(
            command, cwd=folder, input=given, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"{command[0]} did not end within {_SECONDS} seconds; export on another machine"
        ) from None
