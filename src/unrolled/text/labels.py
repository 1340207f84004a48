"""The labels of a data set: the names, in a fixed order, that a model chooses from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from unrolled import documents, storage
from unrolled.config import require
from unrolled.errors import DataError, RunError, did_you_mean
from unrolled.quoting import listed, quote
from unrolled.text.rows import Field

_MOST_BYTES = 64 << 20
# What the file calls two of the fields.
_NAMES, _MULTI_LABEL = "labels", "several"
_SCHEMES = ("", "bio", "iob1", "bioes", "bilou")


@dataclass(frozen=True)
class Labels:
    """The names of C labels; the id of each is its place.

    Args:
        names: of the labels.
        multi_label: whether an example may have several of them, or none.
        averaged: those whose mean F1 is a score of its own; none for no such score.
        scheme: of the labels of tokens: how they write spans ("bio", "iob1", "bioes", "bilou"); "" where
            they do not.
        n_ill_formed: training examples whose labels the scheme does not allow.
        shares: `[C]`, how often to expect each where nothing is known of a text; () where this was not
            estimated, as of the labels of tokens.

    >>> labels = Labels.of(["neg", "pos", "neg"])
    >>> labels.names, labels.id_of("pos")
    (('neg', 'pos'), 1)
    >>> labels.id_of("Pos")
    Traceback (most recent call last):
    unrolled.errors.DataError: label 'Pos' is not one of the training part (neg, pos); did you mean 'pos'?
    """

    names: tuple[str, ...]
    multi_label: bool = False
    averaged: tuple[str, ...] = ()
    scheme: str = ""
    n_ill_formed: int = 0
    shares: tuple[float, ...] = ()

    @classmethod
    def of(
        cls, found: Iterable[str], *, multi_label: bool = False, averaged: Iterable[str] = ()
    ) -> Labels:
        """The different labels of a data set, finite numbers by value, then names by code point.

        Raises:
            DataError: there are too few to choose from.
            ConfigError: one that is to be averaged is not there.
        """
        names = tuple(sorted(set(found), key=_order))
        least = 1 if multi_label else 2
        if len(names) < least:
            only = f"only {quote(names[0])}" if names else "none"
            wanted = "one label" if multi_label else "two different labels"
            raise DataError(f"expected at least {wanted}, found {only}")
        for name in averaged:
            wanted = f"of labels that stand in the training part ({_shown(names)})"
            require(name in names, "data.averaged", wanted, name)
        return cls(names, multi_label, tuple(averaged))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def id_of(self, name: str) -> int:
        """The place of a name.

        Raises:
            DataError: it is not one of these labels.
        """
        try:
            return self._places[name]
        except KeyError:
            shown = _shown(self.names)
            if not name:
                raise DataError(f"the label is missing; expected one of {shown}") from None
            near = did_you_mean(name, self.names)
            problem = f"label {quote(name)} is not one of the training part ({shown}){near}"
            raise DataError(problem) from None

    def save(self, path: str | PathLike[str]) -> None:
        """Write them as JSON."""
        content = asdict(self)
        keys = {"names": _NAMES, "multi_label": _MULTI_LABEL}
        content = {keys.get(name, name): value for name, value in content.items()}
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        storage.write_whole(Path(path), text.encode("utf-8"), "try again")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Labels:
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing or damaged.
        """
        try:
            content = documents.read_json(path, _MOST_BYTES)
        except documents.DocumentError as error:
            raise _not_labels(path, error.problem) from None
        if not isinstance(content, dict):
            raise _not_labels(path, "expected an object")
        found: dict[str, Any] = {_NAMES: None, "averaged": None} | content
        problem = _why_no_labels(found)
        if problem is not None:
            raise _not_labels(path, problem)
        found["names"] = found.pop(_NAMES)
        found["multi_label"] = found.pop(_MULTI_LABEL, False)
        lists = {name: tuple(found[name]) for name, value in found.items() if type(value) is list}
        return cls(**{**found, **lists})


def _why_no_labels(found: dict[str, Any]) -> str | None:
    """What is wrong with the fields of `Labels` as a file holds them; None for nothing."""
    lists: dict[str, type] = dict.fromkeys((_NAMES, "averaged", "shares"), list)
    kinds = {**lists, _MULTI_LABEL: bool, "scheme": str, "n_ill_formed": int}
    for name, value in found.items():
        if type(value) is not kinds.get(name):
            return f"'{name[:40]}' is not as it was written"
    names, averaged = found[_NAMES], found["averaged"]
    if not all(isinstance(name, str) for name in (*names, *averaged)):
        return "expected lists of names"
    if len(names) < (1 if found.get(_MULTI_LABEL) else 2):
        return "too few labels to choose from"
    if len(set(names)) < len(names):
        return "a label stands there twice"
    if not set(averaged) <= set(names):
        return "'averaged' names a label that is not there"
    if found.get("scheme", "") not in _SCHEMES or not 0 <= found.get("n_ill_formed", 0) < 1 << 63:
        return "its scheme is not one that is known here"
    shares = found.get("shares", [])
    if len(shares) not in (0, len(names)) or not all(_is_share(each) for each in shares):
        return "'shares' is not a share of each label"
    return None


def _is_share(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]


def _not_labels(path: str | PathLike[str], problem: str) -> RunError:
    return RunError(f"{path}: not a file of labels ({problem}); restore it from a copy of the run")


def split_labels(field: Field, separator: str) -> list[str]:
    """The labels of one example that may have several, or none.

    A text is split at the separator; where that is empty, it is one label.

    >>> split_labels("sport | politics", "|"), split_labels("", "|"), split_labels("a|b", "")
    (['sport', 'politics'], [], ['a|b'])
    >>> split_labels(("sport", "politics"), "|")
    ['sport', 'politics']
    """
    parts: Sequence[str] = field
    if isinstance(field, str):
        parts = field.split(separator) if separator else [field]
    return list(dict.fromkeys(name for part in parts if (name := part.strip())))


def _shown(names: tuple[str, ...]) -> str:
    return listed(names)


def _order(name: str) -> tuple[bool, float, str]:
    try:
        value = float(name)
    except ValueError:
        value = math.nan
    # No number is below or above "nan", whose place would follow from the order of a set.
    return (False, value, name) if math.isfinite(value) else (True, 0.0, name)
