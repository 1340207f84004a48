"""Words and numbers that are difficult to store, and helpers for messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unrolled.errors import DataError
from unrolled.vectors.formats.detect import StoredVectors, read_vectors

WORDS = [
    "the",
    ",",
    "ñandú",
    "日本",
    "3.5",
    "New-York",
    "\x85",
    "a\u00a0b",
    "</s>",
    "don't",
    "\ufeffx",
]


def matrix_of(n_words: int, width: int = 7) -> np.ndarray:
    """Numbers of every magnitude of float32."""
    generator = np.random.default_rng(n_words)
    exponents = generator.integers(-44, 38, (n_words, width))
    values = generator.normal(size=(n_words, width)) * 10.0**exponents
    values[0, :3] = 0.1, -0.0, 1 / 3
    return values.astype(np.float32)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path, **settings) -> str:
    """The error message of `read_vectors`, without the folder of the file."""
    with pytest.raises(DataError) as raised:
        read_vectors(path, **settings)
    return str(raised.value).replace(f"{path.parent}/", "")


def notes_of(stored: StoredVectors, folder: Path) -> list[str]:
    return [note.replace(f"{folder}/", "") for note in stored.notes]
