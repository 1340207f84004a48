"""Whether the C code answers as the model does: what is compared, and how closely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.errors import RunError
from unrolled.quoting import quote

TOLERANCE = 1e-4
"""Largest difference of a probability, or of the logarithm of one; see `check_equal`."""

ADVERSARIAL = (
    "a",
    " ",
    ".",
    "\t\t",
    "don't they'll I've n't 'tis o'clock rock'n'roll well-known -- ... --",
    "U.S.A. a.m. C++ C# 25.5 1,000 10:40h 1/2 3.x _a_b",
    "CAPITALS and \u0130stanbul, stra\u00dfe, \u017fet\u2019\u017f, \u03a3\u03a3",
    "cafe\u0301 caf\u00e9 a\u0300\u0316\u0345b \ufb2c \U0001d160 \u212b",
    "\u1112\u1161\u11ab\u1100\u1173\u11af \ud55c\uad6d\uc5b4 \u65e5\u672c\u8a9e \u0e44\u0e17\u0e22",
    "\U0001f600\U0001f468\u200d\U0001f469 \u00a0\u2003\u3000x\u200b\ufeff\u00ad",
    "</s> <unk> <pad> <s>",
    "\x01\x1b[31m\x7f \x1c\x1d",
    "a" * 100,
)
"""Texts that are hard to split, with characters that a model does not know."""


@dataclass(frozen=True)
class Agreement:
    """What was compared before an export was written.

    Args:
        how: by what the answers of the C code were computed.
        compared: what was compared, with numbers, one sentence each.
        worst: the largest difference of numbers.
        cost: by name of a score on the validation part, its value with the weights of the model and with
            the rounded weights; empty if the weights are not rounded.
        notes: what could not be compared, and why.
    """

    how: str
    compared: tuple[str, ...]
    worst: float
    cost: dict[str, tuple[float, float]]
    notes: tuple[str, ...] = ()


def check_equal(what: str, found: Any, expected: Any, exact: Callable[[], Any]) -> float:
    """Check that numbers are equal but for rounding; return the largest difference.

    Args:
        what: what the numbers are.
        found: by the C code.
        expected: by the model.
        exact: computes them by the model in double precision. Where rounding changes what the model
            computes, as in chaotic networks, it may change what the C code computes by as much again.

    Raises:
        RunError: they are not; the difference is named.
    """
    one, other = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if one.shape != other.shape:
        raise differs(what, f"{one.shape} numbers instead of {other.shape}")
    if not one.size:
        return 0.0
    difference = np.abs(one - other)
    most = TOLERANCE + 1e-5 * np.abs(other).max()
    if not difference.max() <= most:
        most += 4 * np.abs(other - np.asarray(exact(), np.float64)).max()
    if not difference.max() <= most:  # NaN is no agreement
        place = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
        found_, expected_ = one.reshape(-1)[place], other.reshape(-1)[place]
        raise differs(what, f"{found_:.6g} instead of {expected_:.6g}")
    return float(difference.max())


def check_same(what: str, found: str, expected: str) -> None:
    """Check that two texts are the same.

    Raises:
        RunError: they are not.
    """
    if found != expected:
        raise differs(what, f"{quote(found)} instead of {quote(expected)}")


def differs(what: str, how: str) -> RunError:
    """The error that the C code does not answer as the model does."""
    return RunError(
        f"the C code does not answer as the model does, so nothing was written: {what}: {how}; this is a "
        "fault of the export or of the C compiler, please report it"
    )


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files to try them out."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def some_of(items: Sequence[Any], most: int) -> list[Any]:
    """At most some items, evenly spread."""
    step = max(1, -(-len(items) // most))
    return list(items[::step])
