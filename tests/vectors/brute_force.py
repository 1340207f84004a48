"""Brute-force counts: every pair of words one by one, in exact fractions."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np

from unrolled.vectors.counting.vocabulary import Vocabulary


def vocabulary_of(segments: list[list[str]], min_count: int, max_words: int = 0) -> list[str]:
    """Words by decreasing count, then by code point."""
    seen = Counter(word for segment in segments for word in segment)
    kept = [word for word in seen if seen[word] >= min_count]
    return sorted(kept, key=lambda word: (-seen[word], [ord(c) for c in word]))[: max_words or None]


def counts_of(
    segments: list[list[str]], words: list[str], window: int, symmetric: bool, flat: bool
) -> dict[tuple[str, str], Fraction]:
    """X by pair of words; windows do not cross the end of a segment."""
    counts: dict[tuple[str, str], Fraction] = {}
    for segment in segments:
        kept = [word for word in segment if word in words]
        for i, word in enumerate(kept):
            for j, other in enumerate(kept):
                distance = i - j
                if distance == 0 or abs(distance) > window or (distance < 0 and not symmetric):
                    continue
                weight = Fraction(1, 1 if flat else abs(distance))
                counts[word, other] = counts.get((word, other), Fraction(0)) + weight
    return counts


def counts_in(folder: Path) -> tuple[list[str], dict[tuple[str, str], float]]:
    """The counts in a folder of vectors, by pair of words."""
    words = Vocabulary.load(folder / "vocabulary.tsv").words
    rows = np.load(folder / "counts" / "rows.npy")
    columns = np.load(folder / "counts" / "columns.npy", mmap_mode="r")
    values = np.load(folder / "counts" / "values.npy", mmap_mode="r")
    assert (rows.dtype, columns.dtype, values.dtype) == (np.uint64, np.uint32, np.float64)
    assert len(rows) == len(words) + 1
    assert len(columns) == len(values) == rows[-1]
    counts = {}
    for i, word in enumerate(words):
        row = columns[int(rows[i]) : int(rows[i + 1])].tolist()
        assert row == sorted(set(row)), "columns are increasing"
        for column, value in zip(row, values[int(rows[i]) : int(rows[i + 1])], strict=True):
            counts[word, words[column]] = float(value)
    return words, counts


def same_counts(folder: Path, other: Path) -> bool:
    """Whether two folders have the same counts and vocabulary, byte for byte."""
    names = ("vocabulary.tsv", "counts/rows.npy", "counts/columns.npy", "counts/values.npy")
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


def zipf_lines(n_lines: int, n_words: int, seed: int) -> list[str]:
    """Lines of words with Zipfian frequencies, as in natural language; some lines are empty."""
    draw = random.Random(seed)
    words = [f"{'wörd' if i % 7 == 0 else 'w'}{i}" for i in range(n_words)]
    weights = [1 / (i + 1) for i in range(n_words)]
    return [
        " ".join(draw.choices(words, weights, k=draw.choice((0, 1, 2, 3, 7, 19, 41))))
        for _ in range(n_lines)
    ]
