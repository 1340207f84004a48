"""All errors that a user can cause, as one class hierarchy.

    UnrolledError
    ├── ConfigError        a recipe or an option: unknown name, wrong value
    ├── DataError          a data file: names the file, and the line and field if known
    ├── RunError           a run folder: missing, damaged, or already there
    ├── NonFiniteError     a loss or gradient that is infinite or NaN: names the batch
    └── UnavailableError   unavailable on this machine or installation: says why, and what is available

Each message is one sentence that a person can act on: what was given, what was expected, what to do.
The command line prints it and exits with code 2, without a traceback. A message is one line of bounded
length whatever it quotes (`quoting`), because data may contain anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from os import PathLike

from unrolled.quoting import one_message, quote

_LONGEST_PLACE = 400
_LONGEST_NAME = (
    100  # characters of names to compare, as the time to compare grows with their length
)
_MOST_NAMES = 10_000


class UnrolledError(Exception):
    """Root of the tree; catch this to catch everything the toolkit raises on purpose."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*(one_message(part) if isinstance(part, str) else part for part in parts))


class ConfigError(UnrolledError):
    """A recipe or an option has an unknown name or an invalid value."""


class DataError(UnrolledError):
    """A data file cannot be read as requested.

    Args:
        problem: what is wrong and what to do, as a sentence that does not name the place.
        path: the file.
        line: 1-based line number, if known.
        field: column name, if known.

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
        self.problem, self.path, self.line, self.field = one_message(problem), path, line, field
        place = [] if path is None else [one_message(str(path), _LONGEST_PLACE)]
        if line is not None:
            place.append(f"line {line}")
        if field is not None:
            place.append(f"field {quote(field)}")
        problem = self.problem
        super().__init__(f"{', '.join(place)}: {problem}" if place else problem)


class RunError(UnrolledError):
    """A run folder is missing, damaged, incomplete, or in the way."""


class NonFiniteError(UnrolledError):
    """A loss or a gradient became infinite or not a number."""


class UnavailableError(UnrolledError):
    """Unavailable on this machine or installation; the message says why, and what is available."""


def missing_package(use: str, package: str, extra: str, instead: str = "") -> UnavailableError:
    """The error that a package of an extra is not installed.

    Args:
        use: what needs it.
        package: its name.
        extra: the extra that it belongs to.
        instead: what can be done without it, if anything.

    >>> print(missing_package("an image", "matplotlib", "figures", "write to a .html file"))
    an image needs matplotlib; run pip install 'unrolled[figures]', or write to a .html file
    """
    other = f", or {instead}" if instead else ""
    return UnavailableError(f"{use} needs {package}; run pip install 'unrolled[{extra}]'{other}")


def did_you_mean(wrong: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown name: the most similar valid name in any case, or nothing.

    >>> did_you_mean("bean", ["beam", "greedy"]), did_you_mean("BIO", ["bio"])
    ("; did you mean 'beam'?", "; did you mean 'bio'?")
    >>> did_you_mean("fast", ["beam", "greedy"])
    ''
    """
    if len(wrong) > _LONGEST_NAME:
        return ""
    names = {
        name.casefold(): name for name in islice(valid, _MOST_NAMES) if len(name) <= _LONGEST_NAME
    }
    nearest = get_close_matches(wrong.casefold(), list(names), n=1)
    return f"; did you mean {quote(names[nearest[0]])}?" if nearest else ""
