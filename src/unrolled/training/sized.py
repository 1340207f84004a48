"""Settings that suit the amount of data, for a run that is described by its task and data alone.

A recipe file is never changed: these settings stand in for the defaults only where there is no recipe,
and each only where it is not given. How they were chosen is in docs/results.md and NOTES.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from unrolled.errors import DataError, UnavailableError
from unrolled.text.files import opened

_BLOCK = 1 << 20


MOST_ROWS = 1_000
"""Number of rows above which a run has the usual defaults, as others were not tried with more."""

_OPTIMISER = ("optimiser", "weight_decay", "momentum", "beta1", "beta2", "learning_rate")
_SCHEDULE = (
    "schedule",
    "warmup_steps",
    "plateau_factor",
    "plateau_patience",
    "patience",
    "average_after",
    "max_steps",
    "max_epochs",
    "max_minutes",
)
_GROUPS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("training.optimiser", "training.learning_rate"), _OPTIMISER),
    **dict.fromkeys(("training.schedule", "training.patience", "training.max_epochs"), _SCHEDULE),
    "training.average": ("average_after",),
}
"""For a setting, those of the same section with which it is left out if one of them is given."""


def sized_settings(task: str, data: Sequence[str], given: Collection[str] = ()) -> dict[str, Any]:
    """The settings that suit the amount of data, by full names.

    Args:
        task: name of the task; only `classify` has such settings.
        data: files of the training data.
        given: full names of settings that are given; these, and those that depend on them, are left out.

    >>> sized_settings("pair", ["pairs.tsv"])
    {}
    """
    if task != "classify":
        return {}
    n_rows, n_bytes = measured(tuple(data))
    if not 0 < n_rows <= MOST_ROWS:
        return {}
    several = "data.label_separator" in given
    max_tokens = n_tokens(n_bytes / n_rows)
    n_batches = math.ceil(n_bytes / _BYTES_PER_TOKEN / max_tokens)
    settings: dict[str, Any] = {
        "model.dropout_rate": 0.5,
        "training.optimiser": "lazy_adam",
        "training.learning_rate": 2e-3,
        "training.schedule": "linear",
        "training.patience": 0,
        "training.max_epochs": n_epochs(n_rows, n_batches),
        "training.max_tokens": max_tokens,
        "training.average": 0.99,
        "training.metric": "micro_f1" if several else "accuracy",
        "training.evaluate_every_n_steps": 0,
    }
    return {
        name: value
        for name, value in settings.items()
        if name not in given
        and not any(f"training.{other}" in given for other in _GROUPS.get(name, ()))
    }


def n_epochs(n_rows: int, n_batches: int) -> int:
    """The number of passes over data of a size, with at least some updates.

    >>> [n_epochs(n, n // 25) for n in (50, 300, 500, 1_000)]
    [75, 37, 30, 23]
    """
    return max(math.ceil(_LEAST_UPDATES / n_batches), min(40, round(30 * (500 / n_rows) ** 0.4)))


_LEAST_UPDATES = 150


def n_tokens(bytes_per_row: float) -> int:
    """The tokens of a batch of 25 rows or more, a power of two.

    >>> [n_tokens(size) for size in (60, 110, 300, 1_300)]
    [512, 512, 1024, 4096]
    """
    wanted = 25 * bytes_per_row / _BYTES_PER_TOKEN
    return min((512, 1024, 2048, 4096), key=lambda size: abs(math.log(size / wanted)))


_BYTES_PER_TOKEN = 5.5


@lru_cache(maxsize=8)
def measured(paths: tuple[str, ...]) -> tuple[int, int]:
    """Roughly the number of rows of files, that of their lines, and of bytes.

    A file that cannot be read again, such as a pipe, or that is missing or damaged counts as none.
    """
    sizes = [_measured(name) for name in paths]
    return sum(n for n, _ in sizes), sum(n_bytes for _, n_bytes in sizes)


def _measured(name: str) -> tuple[int, int]:
    path = Path(name)
    n_lines, n_bytes, last = 0, 0, b"\n"
    try:
        if not path.is_file():
            return 0, 0
        with opened(path) as stream:
            while block := stream.read(_BLOCK):
                n_lines, n_bytes = n_lines + block.count(b"\n"), n_bytes + len(block)
                last = block[-1:]
    except (DataError, UnavailableError, OSError, ValueError):
        return 0, 0
    return n_lines + (last != b"\n"), n_bytes
