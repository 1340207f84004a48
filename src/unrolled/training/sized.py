"""Settings that suit the amount of data, for a run that is described by its task and data alone.

A recipe file is never changed: these settings stand in for the defaults only where there is no recipe,
and each only where it is not given. How they were chosen is in docs/results.md and NOTES.md.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

from unrolled.errors import DataError, UnavailableError
from unrolled.text.files import opened

_BLOCK = 1 << 20


def sized_settings(task: str, n_rows: int, given: Collection[str] = ()) -> dict[str, Any]:
    """The settings for a number of rows, by full names.

    Args:
        task: name of the task.
        n_rows: number of rows of the training file.
        given: full names of settings that are given; these, and those that depend on them, are left out.
    """
    raise NotImplementedError


@lru_cache(maxsize=8)
def count_rows(paths: tuple[str, ...]) -> int:
    """Roughly the number of rows: lines of the files; 0 if they cannot be read again, as a pipe.

    A missing or damaged file counts as none; it is refused where it is read.
    """
    return sum(map(_count_lines, paths))


def _count_lines(name: str) -> int:
    path = Path(name)
    try:
        if not path.is_file():
            return 0
        with opened(path) as stream:
            n, last = 0, b"\n"
            while block := stream.read(_BLOCK):
                n, last = n + block.count(b"\n"), block[-1:]
    except (DataError, UnavailableError, OSError, ValueError):
        return 0
    return n + (last != b"\n")
