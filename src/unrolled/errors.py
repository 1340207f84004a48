"""Every error a user can cause, in one tree.

    UnrolledError
    ├── ConfigError        a recipe or an option: unknown name, wrong value
    ├── DataError          a data file: names the file, and the line and field where they are known
    ├── RunError           a run folder: missing, damaged, or already there
    ├── NonFiniteError     a loss or gradient that is not a number: names the batch
    └── UnavailableError   something this machine or installation cannot do: says why, and what can

Each message is one sentence a person can act on: what was given, what was expected, what to do.
The command line prints it and exits with code 2; it never shows a traceback for these.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike


class UnrolledError(Exception):
    """Root of the tree; catch this to catch everything the toolkit raises on purpose."""


class ConfigError(UnrolledError):
    """A recipe or an option names something unknown or has a value that cannot be."""


class DataError(UnrolledError):
    """A data file cannot be read as asked.

    Args:
        problem: what is wrong and what to do, as a sentence without its place.
        path: the file.
        line: 1-based line number, where known.
        field: column name, where known.

    >>> str(DataError("expected 2 columns, found 1; separate them by a tab", "a.tsv", line=7))
    'a.tsv, line 7: expected 2 columns, found 1; separate them by a tab'
    """

    def __init__(
        self,
        problem: str,
        path: str | PathLike[str] | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        self.problem, self.path, self.line, self.field = problem, path, line, field
        place = [] if path is None else [str(path)]
        if line is not None:
            place.append(f"line {line}")
        if field is not None:
            place.append(f"field '{field}'")
        super().__init__(f"{', '.join(place)}: {problem}" if place else problem)


class RunError(UnrolledError):
    """A run folder is missing, damaged, incomplete, or in the way."""


class NonFiniteError(UnrolledError):
    """A loss or a gradient became infinite or not a number."""


class UnavailableError(UnrolledError):
    """This machine or installation cannot do what was asked; the message says why and what can."""


def did_you_mean(wrong: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest valid one, or nothing.

    >>> did_you_mean("bean", ["beam", "greedy"])
    "; did you mean 'beam'?"
    >>> did_you_mean("fast", ["beam", "greedy"])
    ''
    """
    nearest = get_close_matches(wrong, list(valid), n=1)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
