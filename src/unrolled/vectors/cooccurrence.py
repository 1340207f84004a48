"""X_ij: how often word j stands in the window around word i, exactly, in bounded memory.

X is as in Pennington, Socher & Manning (2014, section 3): a pair at distance d counts 1/d, or 1. Counting
is by row. An index of where each word stands leads through its windows, whose weights are added as
integers (see `PairWeights`) to one dense row; so the sums depend neither on order nor on threads.

A text too long for memory is counted in stretches. A pair belongs to the stretch of its right word; the
last words of a stretch stand once more before the next. Each stretch leaves a sorted matrix of integer
sums on the disk, and these are added up row by row at the end.

A matrix is a folder with `rows.npy` (uint64, `[V + 1]`, where each row starts), `columns.npy` (uint32,
rising within a row) and `values.npy`: float64 X_ij in the result, uint64 sums of width 1 or 2 before.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError, DataError, RunError
from unrolled.vectors import storage
from unrolled.vectors.records import BORDER, Matrix, PairWeights, Rows

_LEAST_ENTRIES = 1 << 16
_MOST_ENTRIES = 1 << 24
_LEAST_TOKENS = 1 << 16
_MOST_TOKENS = (1 << 32) - (1 << 24)  # positions are 32 bits
_BYTES_OF_TOKEN = 8  # its rank and its place in the index


class SumsWriter:
    """A matrix that is written rows by rows, on a thread of its own, and appears when it is complete.

    Args:
        folder: where it will be.
        weights: what the sums are in; None to write the sums as they are, else counts X_ij.
        width: of a sum.
    """

    def __init__(self, folder: Path, weights: PairWeights | None, width: int) -> None:
        self.folder, self._weights = folder, weights
        self._width = 1 if weights else width
        self._dtype = np.float64 if weights else np.uint64
        self.n_nonzeros = 0

    def __enter__(self) -> SumsWriter:
        self._stack = ExitStack()
        self._stack.enter_context(storage.writing(self.folder))
        partial = storage.partial(self.folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._files = [
            self._stack.enter_context(storage.NumberFile(partial / f"{name}.npy", dtype, width))
            for name, dtype, width in (
                ("rows", np.uint64, 1),
                ("columns", np.uint32, 1),
                ("values", self._dtype, self._width),
            )
        ]
        self._files[0].write(np.zeros(1, np.uint64))
        self._pool = self._stack.enter_context(ThreadPoolExecutor(1))
        self._waiting: Future[None] | None = None
        return self

    def write(self, rows: Rows) -> None:
        """Append rows, in order; they are written while the caller makes the next."""
        if self._waiting:
            self._waiting.result()
        ends = self.n_nonzeros + np.cumsum(rows.sizes)
        self.n_nonzeros += len(rows.columns)
        self._waiting = self._pool.submit(self._write, ends.astype(np.uint64), rows)

    def _write(self, ends: NDArray[np.uint64], rows: Rows) -> None:
        values = self._weights.counts(rows.values) if self._weights else rows.values
        for file, its in zip(self._files, (ends, rows.columns, values), strict=True):
            file.write(its)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None and self._waiting:
            try:
                self._waiting.result()
            except BaseException as late:
                self._stack.__exit__(type(late), late, late.__traceback__)
                raise
        if not self._stack.__exit__(kind, error, trace) and error is None:
            with storage.writing(self.folder):
                storage.appear(self.folder)


@dataclass(frozen=True, eq=False)
class Counts:
    """A matrix on the disk.

    Args:
        folder: that holds it.
        ends: `[V + 1]`, uint64, where each row starts; mapped.
    """

    folder: Path
    ends: NDArray[np.uint64]

    @classmethod
    def open(cls, folder: Path) -> Counts:
        """Open what a `SumsWriter` wrote.

        Raises:
            RunError: a file is missing or cut short.
        """
        try:
            return cls(folder, np.load(folder / "rows.npy", mmap_mode="r"))
        except (OSError, ValueError) as error:
            raise RunError(f"{folder}: damaged counts ({error}); count again (--force)") from None

    @property
    def n_words(self) -> int:
        """V."""
        return len(self.ends) - 1

    @property
    def n_nonzeros(self) -> int:
        """Pairs with X_ij > 0."""
        return int(self.ends[-1])

    def read(self, first: int, stop: int, dtype: Any = np.float64, width: int = 1) -> Matrix:
        """Rows from `first` up to `stop`, in memory of their own."""
        ends = np.array(self.ends[first : stop + 1])
        start, end = int(ends[0]), int(ends[-1])
        return Matrix(
            ends - ends[0],
            storage.read_rows(self.folder / "columns.npy", np.uint32, start, end),
            storage.read_rows(self.folder / "values.npy", dtype, start, end, width),
        )

    def batches(self, max_entries: int) -> Iterator[tuple[int, int]]:
        """All rows, as many at a time as have at most so many entries; one at least."""
        yield from row_batches(self.ends, max_entries)


def row_batches(ends: NDArray[Any], max_entries: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows with at most so many entries, or of one row."""
    row = 0
    while row < len(ends) - 1:
        # As a Python number: NumPy would compare unsigned with signed as floats.
        most = np.uint64(int(ends[row]) + max_entries)
        stop = max(row + 1, int(np.searchsorted(ends, most, "right")) - 1)
        yield row, stop
        row = stop


@dataclass(frozen=True)
class Room:
    """How a budget of memory is spent while counting.

    Args:
        n_tokens: words of a stretch.
        n_entries: of a batch of rows.
    """

    n_tokens: int
    n_entries: int

    @classmethod
    def of(cls, n_bytes: int, n_words: int, n_threads: int, width: int) -> Room:
        """Room for counting V words in so much memory, of which some is already in use.

        Raises:
            ConfigError: it is too little.
        """
        fixed = n_words * (32 + n_threads * (8 * width + 6)) + (32 << 20)
        of_entry = 3 * (4 + 16 * width)  # being made, being written, and drawn together
        least = max(_LEAST_ENTRIES, n_words + 1)
        free = n_bytes - storage.memory_in_use() - fixed
        needed = least * of_entry + _LEAST_TOKENS * _BYTES_OF_TOKEN
        if free < needed:
            whole = storage.memory_in_use() + fixed + needed
            raise ConfigError(
                f"vectors.memory is too little to count {n_words:,} words; give at least "
                f"{whole // 10**6 + 1}MB, or keep fewer words (vectors.max_words)"
            )
        n_entries = min(_MOST_ENTRIES, max(least, free // 3 // of_entry))
        n_tokens = (free - n_entries * of_entry) // _BYTES_OF_TOKEN
        return cls(min(_MOST_TOKENS, n_tokens), n_entries)


@dataclass(frozen=True, eq=False)
class Stretch:
    """Words that are counted at once.

    Args:
        tokens: ranks and borders, with `window` borders at both ends.
        first: pairs of which both words stand before it belong to the stretch before.
        end: tokens of the text up to the end of this stretch.
    """

    tokens: NDArray[np.int32]
    first: int
    end: int


def stretches(
    tokens: Iterable[NDArray[np.int32]], window: int, n_tokens: int, done: int = 0
) -> Iterator[Stretch]:
    """A text in stretches of at most so many tokens, from the token on that `done` says."""
    buffer = np.empty(3 * window + n_tokens, np.int32)
    buffer[:window] = BORDER
    before = np.empty(0, np.int32)  # the last `window` tokens before the stretch
    filled = position = 0
    start = window

    def stretch() -> Stretch:
        end = start + filled
        buffer[end : end + window] = BORDER
        return Stretch(buffer[: end + window], start, position)

    for some in tokens:
        skipped = min(len(some), max(0, done - position))
        if skipped:
            before = np.concatenate([before, some[:skipped]])[-window:]
            position += skipped
            some = some[skipped:]
        while len(some):
            if not filled:
                start = window + len(before)
                buffer[window:start] = before
            taken = some[: n_tokens - filled]
            buffer[start + filled : start + filled + len(taken)] = taken
            filled += len(taken)
            position += len(taken)
            some = some[len(taken) :]
            if filled == n_tokens:
                yield stretch()
                before = buffer[max(window, start + filled - window) : start + filled].copy()
                filled = 0
    if filled:
        yield stretch()


def count_stretch(
    stretch: Stretch,
    n_words: int,
    weights: PairWeights,
    implementation: ModuleType,
    n_entries: int,
    n_threads: int,
) -> Iterator[Rows]:
    """All rows of a stretch's sums, some at a time."""
    yield from implementation.count_rows(
        stretch.tokens, stretch.first, n_words, weights, n_entries, n_threads
    )


def merge(
    matrices: Sequence[Counts],
    weights: PairWeights,
    implementation: ModuleType,
    n_entries: int,
    n_threads: int,
) -> Iterator[tuple[int, Rows]]:
    """The sum of several matrices of sums: the row after the last, and the rows; in order."""
    n_words = matrices[0].n_words
    ends = np.zeros(n_words + 1, np.uint64)
    for each in matrices:
        ends += each.ends
    for first, stop in row_batches(ends, max(1, n_entries // 2)):
        some = [each.read(first, stop, np.uint64, weights.width) for each in matrices]
        yield stop, implementation.merge_rows(some, n_words, weights, n_threads)


def require_pairs(n_nonzeros: int, window: int, n_kept: int) -> None:
    """Refuse a text in which no two words are in each other's context.

    Raises:
        DataError: there is no pair.
    """
    if not n_nonzeros:
        raise DataError(
            f"no two of the {n_kept:,} words that are kept stand in one window of {window}; let windows "
            "reach over line ends (vectors.borders), or lower vectors.min_count"
        )


def require_longer(n_kept: int, window: int) -> None:
    """Refuse a window that holds the whole text: every word would be context of every other.

    Raises:
        DataError: it does.
    """
    if n_kept <= window:
        raise DataError(
            f"vectors.window is {window}, but the text has only {n_kept:,} words that are kept; give "
            "more text, or a smaller window"
        )
