"""`unrolled runs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unrolled.cli.app import app
from unrolled.cli.options import print_message, shown_on, text_width
from unrolled.errors import ConfigError
from unrolled.quoting import brief


@app.command(usage="Usage: unrolled runs [FOLDER] | --diff RUN RUN")
def runs(
    folder: Path = Path("runs"),
    /,
    *,
    diff: Annotated[tuple[Path, Path] | None, Parameter(show_default=False)] = None,
) -> None:
    """List trained runs: task, cell, parameters, steps, best validation score and date.

    Args:
        folder: folder that contains run folders, at any of three levels, such as the folder of a
            comparison.
        diff: two runs whose differing settings are listed instead.
    """
    from unrolled.comparison.run_list import differing, facts_of, run_folders

    if diff is not None:
        first, second = diff
        found = differing(first, second)
        if not found:
            print("all settings are equal")
            return
        rows = [["setting", str(first), str(second)]]
        rows += [[name, brief(a), brief(b)] for name, a, b in found]
        _print(rows, n_left=3)
        return
    facts = [facts_of(each) for each in run_folders(folder)]
    if not facts:
        raise ConfigError(
            f"{folder} contains no run; give the folder that contains the run folders"
        )
    rows = [["run", "task", "cell", "parameters", "steps", "best validation score", "date"]]
    for each in facts:
        rows.append(
            [
                str(each.folder),
                each.task,
                each.cell or "–",
                "–" if each.parameters is None else f"{each.parameters:,}",
                "–" if each.steps is None else f"{each.steps:,}",
                each.best or "–",
                each.date,
            ]
        )
    _print(rows, n_left=3)
    for each in facts:
        if each.problem:
            print_message(f"{each.folder}: {each.problem}", "note: ")


def _print(rows: Sequence[Sequence[str]], n_left: int) -> None:
    from unrolled.metrics.display import aligned

    width = text_width() if sys.stdout.isatty() else 10_000
    for line in aligned(rows, width, n_left=n_left):
        print(shown_on(sys.stdout, line))
