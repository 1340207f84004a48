"""Values as they are written in C."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTH = 100
_INDENT = "    "


def numbers(values: NDArray[Any]) -> str:
    """The values of an array, row by row, in lines; floats can be read back bit for bit.

    >>> print(numbers(np.array([1.5, -2.0, 0.1], np.float32)))
        1.5f, -2.0f, 0.1f
    """
    flat = values.reshape(-1)
    if flat.dtype == np.float32:
        texts: Iterable[str] = map(_float32, flat.tolist())
    elif flat.dtype == np.float64:
        texts = map(_float64, flat.tolist())
    else:
        texts = map(str, flat.tolist())
    return lines(texts)


def lines(texts: Iterable[str]) -> str:
    """Texts without spaces, separated by commas, in lines."""
    full: list[str] = []
    line: list[str] = []
    width = 0
    for text in texts:
        if line and width + len(text) + 2 > _WIDTH - len(_INDENT):
            full.append(", ".join(line))
            line, width = [], 0
        line.append(text)
        width += len(text) + 2
    full.append(", ".join(line))
    return ",\n".join(f"{_INDENT}{each}" for each in full)


def rows(values: Iterable[Sequence[int]]) -> str:
    """Rows of integers as structs, in lines.

    >>> print(rows([(1, 2), (3, 4)]))
        {1, 2}, {3, 4}
    """
    return (
        fill(
            ", ".join("{" + ",".join(map(str, row)) + "}" for row in values),
            width=_WIDTH,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_on_hyphens=False,
        )
        .replace(",", ", ")
        .replace(",  ", ", ")
        .replace(", \n", ",\n")
    )


def string(text: str) -> str:
    r"""A string constant in UTF-8, readable by any compiler.

    >>> print(string('say "é"\n'))
    "say \"\303\251\"\012"
    """
    written = []
    for byte in text.encode("utf-8"):
        character = chr(byte)
        if character in '"\\?':  # "??" begins a trigraph
            written.append("\\" + character)
        else:
            written.append(character if 0x20 <= byte < 0x7F else f"\\{byte:03o}")
    return '"' + "".join(written) + '"'


def comment(text: str) -> str:
    """A text as part of a comment, which it cannot end; without characters of other alphabets."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")


def integer_type(largest: int) -> str:
    """The smallest unsigned type for values from 0 to the largest."""
    return "uint8_t" if largest < 1 << 8 else "uint16_t" if largest < 1 << 16 else "uint32_t"


def one(value: float) -> str:
    """A number in single precision."""
    return _float32(float(np.float32(value)))


def _float32(value: float) -> str:
    text = f"{value:.9g}"
    shorter = f"{value:.6g}"
    if np.float32(shorter) == np.float32(value):
        text = shorter
    if not set(text) & set(".e"):
        text += ".0"
    return f"{text}f"


def _float64(value: float) -> str:
    return "-INFINITY" if value == -np.inf else repr(value)


def paragraph(text: str) -> str:
    """A text as lines of a comment."""
    return fill(comment(text), width=_WIDTH, subsequent_indent="   ")
