"""The results file: one JSON object per evaluation."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from unrolled.predictors.labels import LabelledEvaluation
from unrolled.predictors.language_model import StreamEvaluation
from unrolled.predictors.seq2seq import Evaluation
from unrolled.quoting import json_line
from unrolled.vectors.evaluation import VectorEvaluation


def record(
    evaluation: Evaluation | LabelledEvaluation | StreamEvaluation | VectorEvaluation,
    path: str | PathLike[str],
    **about: object,
) -> None:
    """Append an evaluation to a results file: one JSON object per line, with date and commit.

    Args:
        evaluation: the evaluation.
        path: the file, created if it does not exist.
        about: further entries, e.g. the run and the data.
    """
    record_figures(evaluation.figures(), path, **about)


def record_figures(figures: Mapping[str, Any], path: str | PathLike[str], **about: object) -> None:
    """Append figures to a results file, as `record` does those of an evaluation."""
    line = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit_of(Path(__file__).parent, Path(path)),
        **about,
        **figures,
    }
    with open(path, "a", encoding="utf-8") as file:
        file.write(json_line(line) + "\n")


def commit_of(folder: Path, results: Path) -> str | None:
    """The commit of a source tree, with "-dirty" if files that it tracks are changed.

    Args:
        folder: a folder of the tree.
        results: the results file, whose changes do not count: each record is one.

    Returns:
        The commit; None if this code was installed from a wheel, or there is no commit or no Git.
    """
    if "site-packages" in folder.parts:
        return None
    try:
        top = Path(_git(folder, "rev-parse", "--show-toplevel")).resolve()
        commit = _git(top, "describe", "--always", "--abbrev=12")
        others = [":(top)"]
        with suppress(ValueError):  # a file outside the tree
            name = results.resolve().relative_to(top).as_posix()
            others.append(f":(top,exclude,literal){name}")
        changed = _git(top, "status", "--porcelain", "--untracked-files=no", "--", *others)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return answer.stdout.strip()
