"""Which tags may begin a sentence, follow each other and end it, in each scheme that encodes spans.

A label is `O`, or a letter and a type, such as `B-PER` (or the letter alone if there is one type):

    bio     B begins a chunk and I continues one of its type; Tjong Kim Sang & Veenstra 1999 (IOB2)
    iob1    B only begins a chunk directly after one of the same type; I begins all others
    bioes   additionally, E ends a chunk of several steps, and S is a chunk of a single step
    bilou   the same with L for E and U for S; Ratinov & Roth 2009
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from unrolled.config import require
from unrolled.errors import ConfigError
from unrolled.quoting import quote

Scheme = Literal["bio", "bioes", "bilou"]
_INSIDE = ("I", "E")
_AS_BIOES = {"L": "E", "U": "S"}


@dataclass(frozen=True)
class Transitions:
    """What a scheme allows; True means allowed.

    Args:
        starts: for each of C labels, whether it may be the first.
        steps: `[C][C]`, from a label to the next.
        ends: for each label, whether it may be the last.
    """

    starts: list[bool]
    steps: list[list[bool]]
    ends: list[bool]


def transitions(labels: Sequence[str], scheme: str) -> Transitions:
    """The transitions that a scheme allows.

    Args:
        labels: the names of the labels, by id.
        scheme: "bio", "iob1", "bioes" or "bilou".

    Raises:
        ConfigError: the scheme is unknown, or a label does not belong to it.

    >>> allowed = transitions(["B-PER", "I-PER", "O"], "iob1")
    >>> allowed.starts, [row[0] for row in allowed.steps]
    ([False, True, True], [True, True, False])
    """
    if scheme == "iob1":
        return _iob1(labels)
    require(scheme in get_args(Scheme), "scheme", f"one of {', '.join(get_args(Scheme))}", scheme)
    parts = [_split(label, scheme) for label in labels]
    return Transitions(
        [letter not in _INSIDE for letter, _ in parts],
        [[_may_follow(before, here, scheme) for here in parts] for before in parts],
        [scheme == "bio" or letter not in "BI" for letter, _ in parts],
    )


def _iob1(labels: Sequence[str]) -> Transitions:
    parts = [(label[:1], label[2:]) for label in labels]
    return Transitions(
        [letter != "B" for letter, _ in parts],
        [
            [letter != "B" or (before != "O" and kind == kind_before) for letter, kind in parts]
            for before, kind_before in parts
        ],
        [True for _ in parts],
    )


def _split(label: str, scheme: str) -> tuple[str, str]:
    letter, dash, kind = label.partition("-")
    letters = scheme.upper()
    if letter not in list(letters) or (letter == "O" and dash) or (dash and not kind):
        others = ", ".join(f"{letter}-TYPE" for letter in letters if letter != "O")
        raise ConfigError(
            f"{quote(label)} is not a label of the scheme '{scheme}': expected O or one of {others}; "
            "correct it, or allow all transitions"
        )
    return _AS_BIOES.get(letter, letter), kind


def _may_follow(before: tuple[str, str], here: tuple[str, str], scheme: str) -> bool:
    """Whether a label may follow: a chunk is only continued if it is open and of the same type."""
    is_open, continues = before[0] in "BI", here[0] in _INSIDE
    if continues:
        return is_open and before[1] == here[1]
    return scheme == "bio" or not is_open
