"""The results file: one JSON object per evaluation."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
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
        "commit": _commit(),
        **about,
        **figures,
    }
    with open(path, "a", encoding="utf-8") as file:
        file.write(json_line(line) + "\n")


def _commit() -> str | None:
    """The commit of the source tree from which this code runs; None if it was installed from a wheel."""
    if "site-packages" in Path(__file__).parts:
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
