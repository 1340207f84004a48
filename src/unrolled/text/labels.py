"""The labels of a data set: the names a model chooses from, in a fixed order."""

from __future__ import annotations

import json
import math
import re
import unicodedata
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
from unrolled.wording import count_of

_MOST_BYTES = 64 << 20
# Keys of two of the fields in the file.
_NAMES, _MULTI_LABEL = "labels", "several"
_SCHEMES = ("", "bio", "iob1", "bioes", "bilou")


@dataclass(frozen=True)
class Labels:
    """The names of C labels; the id of a label is its index.

    Args:
        names: label names.
        multi_label: whether an example may have several labels or none.
        averaged: labels whose mean F1 is reported as a score of its own; () for no such score.
        scheme: tagging scheme of token labels that encode spans ("bio", "iob1", "bioes", "bilou");
            "" for all other labels.
        n_ill_formed: number of training examples whose labels violate the scheme.
        shares: `[C]`, the expected share of each label for a text without known words; () if not
            estimated, as for token labels.

    >>> labels = Labels.of(["neg", "pos", "neg"])
    >>> labels.names, labels.id_of("pos")
    (('neg', 'pos'), 1)
    >>> labels.id_of("po")
    Traceback (most recent call last):
    unrolled.errors.DataError: label 'po' is not among the training labels (neg, pos); did you mean 'pos'?
    """

    names: tuple[str, ...]
    multi_label: bool = False
    averaged: tuple[str, ...] = ()
    scheme: str = ""
    n_ill_formed: int = 0
    shares: tuple[float, ...] = ()

    @classmethod
    def of(
        cls, values: Iterable[str], *, multi_label: bool = False, averaged: Iterable[str] = ()
    ) -> Labels:
        """The distinct labels of a data set: finite numbers by value, then names by code point.

        Names that `same_names` unites are one label.

        Raises:
            DataError: there are too few labels to choose from.
            ConfigError: `averaged` names an unknown label.
        """
        names = tuple(sorted(set(same_names(values).values()), key=_order))
        least = 1 if multi_label else 2
        if len(names) < least:
            only = f"only {quote(names[0])}" if names else "none"
            wanted = "one label" if multi_label else "two different labels"
            raise DataError(f"expected at least {wanted}, found {only}")
        for name in averaged:
            wanted = f"a list of labels from the training part ({_shown(names)})"
            require(name in names, "data.averaged", wanted, name)
        return cls(names, multi_label, tuple(averaged))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _alike(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            places.setdefault(plain_name(name), []).append(place)
        return places

    def id_of(self, name: str) -> int:
        """The id of a label; "1.0" also stands for 1, and "True" for "true", if only one can be meant.

        Raises:
            DataError: the name is not one of these labels.
        """
        try:
            return self._places[name]
        except KeyError:
            alike = self._alike.get(plain_name(name), ())
            if len(alike) == 1:
                return alike[0]
            shown = _shown(self.names)
            if not name:
                raise DataError(f"the label is missing; expected one of {shown}") from None
            near = did_you_mean(name, self.names)
            if is_missing(name):
                near = "; if it stands for a missing label, remove the row"
            problem = f"label {quote(name)} is not among the training labels ({shown}){near}"
            raise DataError(problem) from None

    def name_of(self, name: str) -> str:
        """The name of a label as the model writes it.

        Raises:
            DataError: the name is not one of these labels.
        """
        return self.names[self.id_of(name)]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the labels as JSON."""
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
        fields: dict[str, Any] = {_NAMES: None, "averaged": None} | content
        problem = _why_invalid(fields)
        if problem is not None:
            raise _not_labels(path, problem)
        fields["names"] = fields.pop(_NAMES)
        fields["multi_label"] = fields.pop(_MULTI_LABEL, False)
        lists = {name: tuple(fields[name]) for name, value in fields.items() if type(value) is list}
        return cls(**{**fields, **lists})


def _why_invalid(fields: dict[str, Any]) -> str | None:
    """What is wrong with the fields of a labels file; None if they are valid."""
    lists: dict[str, type] = dict.fromkeys((_NAMES, "averaged", "shares"), list)
    kinds = {**lists, _MULTI_LABEL: bool, "scheme": str, "n_ill_formed": int}
    for name, value in fields.items():
        if type(value) is not kinds.get(name):
            return f"'{name[:40]}' is unknown or has the wrong type"
    names, averaged = fields[_NAMES], fields["averaged"]
    if not all(isinstance(name, str) for name in (*names, *averaged)):
        return "expected lists of strings"
    if len(names) < (1 if fields.get(_MULTI_LABEL) else 2):
        return "too few labels to choose from"
    if len(set(names)) < len(names):
        return "a label occurs twice"
    if not set(averaged) <= set(names):
        return "'averaged' names an unknown label"
    if fields.get("scheme", "") not in _SCHEMES or not 0 <= fields.get("n_ill_formed", 0) < 1 << 63:
        return "'scheme' or 'n_ill_formed' has an invalid value"
    shares = fields.get("shares", [])
    if len(shares) not in (0, len(names)) or not all(map(_is_share, shares)):
        return "'shares' must have one number from 0 to 1 per label"
    return None


def _is_share(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]


def _not_labels(path: str | PathLike[str], problem: str) -> RunError:
    return RunError(
        f"{path}: not a valid labels file ({problem}); restore it from a copy of the run"
    )


_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
# "none" and "na" may be labels, unlike their spellings in Python and R.
_MISSING = re.compile(r"(?i:nan|<na>|n/a|n\.a\.|null)|None|NA|\?+|[-–—]+|")


def same_names(names: Iterable[str]) -> dict[str, str]:
    """The name of the label that each name stands for.

    Names are converted to Unicode normal form C. If all are numbers, as in a column of numbers, they are
    written in the shortest way, so that 0 and 0.0 are one label.

    >>> same_names(["0", "0.0", "1.5"]), same_names(["0.0", "zero"])
    ({'0': '0', '0.0': '0', '1.5': '1.5'}, {'0.0': '0.0', 'zero': 'zero'})
    """
    distinct = list(dict.fromkeys(names))
    as_numbers = all(map(_NUMBER.fullmatch, distinct))
    return {name: plain_name(name) if as_numbers else _composed(name) for name in distinct}


def plain_name(name: str) -> str:
    """The form in which names of the same label are equal: normal form C, shortest number, lower truth.

    >>> plain_name("1.0"), plain_name("-0.50"), plain_name("True"), plain_name("007")
    ('1', '-0.5', 'true', '007')
    """
    if _NUMBER.fullmatch(name):
        short = name.rstrip("0").removesuffix(".") if "." in name else name
        return "0" if short == "-0" else short
    return name.lower() if name.lower() in ("true", "false") else _composed(name)


def is_missing(name: str) -> bool:
    """Whether a label is a usual way to write that there is none.

    >>> [name for name in ("-", "?", "nan", "None", "N/A", "none", "neutral", "") if is_missing(name)]
    ['-', '?', 'nan', 'None', 'N/A', '']
    """
    return _MISSING.fullmatch(name) is not None


def missing_note(labels: Iterable[tuple[str, int]]) -> str | None:
    """A note on labels such as "NaN", which often stand for a missing one; None if there are none.

    Args:
        labels: each with its line number.

    >>> print(missing_note([("pos", 2), ("-", 3), ("neg", 4), ("-", 5)]))  # doctest: +ELLIPSIS
    label '-' (2 rows, the first in line 3) often stands for a missing one; if so, remove these rows: ...
    """
    lines: dict[str, list[int]] = {}
    for name, line in labels:
        if name and is_missing(name):  # an empty one is an error
            lines.setdefault(name, []).append(line)
    if not lines:
        return None
    *others, last = (
        f"{quote(name)} ({count_of(len(places), 'row')}, the first in line {places[0]:,})"
        for name, places in lines.items()
    )
    if not others:
        which, stands = f"label {last}", "often stands for a missing one"
    else:
        which, stands = f"labels {', '.join(others)} and {last}", "often stand for missing ones"
    return (
        f"{which} {stands}; if so, remove these rows: otherwise, the model learns to predict them"
    )


def case_note(labels: Iterable[str]) -> str | None:
    """A note on labels that differ only in case, which are different labels; None if there are none.

    >>> case_note(["pos", "neg"])
    """
    by_form: dict[str, list[str]] = {}
    for name in sorted(set(labels)):
        by_form.setdefault(name.casefold(), []).append(name)
    alike = next((names for names in by_form.values() if len(names) > 1), None)
    if alike is None:
        return None
    *others, last = map(quote, alike)
    return (
        f"labels {', '.join(others)} and {last} differ only in case and count as different; if they are "
        "the same, write them alike"
    )


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def split_labels(field: Field, separator: str) -> list[str]:
    """The labels of an example that may have several or none.

    A string is split at the separator; with an empty separator it is a single label.

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
    # NaN does not compare with numbers, so its place would depend on the order of a set.
    return (False, value, name) if math.isfinite(value) else (True, 0.0, name)
