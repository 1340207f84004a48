"""X_ij: how often word j occurs in the window around word i, counted exactly and in bounded memory.

X is as in Pennington, Socher & Manning (2014, section 3): a pair at distance d counts 1/d, or 1. The
matrix is computed row by row: an index of the positions of each word gives its windows, whose weights are
added as integers (see `PairWeights`) to a dense row. So the sums depend neither on order nor on threads.

A text that is too long for memory is counted in chunks. A pair belongs to the chunk of its right word;
the last words of a chunk are repeated before the next. Each chunk is saved to disk as a sorted matrix of
integer sums, and these are merged row by row at the end, a few dozen at a time.

A matrix is a folder with `rows.npy` (uint64, `[V + 1]`, the start of each row), `columns.npy` (uint32,
increasing within a row) and `values.npy`: float64 X_ij in the result, uint64 sums of width 1 or 2 before;
`checksums.json` has the SHA-256 of the numbers of each file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import documents, storage
from unrolled.errors import DataError
from unrolled.vectors.formats.arrays import NumberFile, StoredNumbers
from unrolled.vectors.kernels.types import BORDER, Matrix, PairWeights, Rows

MOST_MERGED = 64
"""Maximum number of matrices that are merged at once; more are merged in several levels."""

CHECKSUMS_FILE = "checksums.json"

MATRIX: storage.Holds = {r"(rows|columns|values)\.npy|checksums\.json": None}
"""Files of a matrix."""

_ENDS_AT_ONCE = 1 << 18  # row offsets in memory, for all matrices together


class SumsWriter:
    """Writes a matrix some rows at a time, in its own thread; the folder appears when it is complete.

    Args:
        folder: the output folder.
        weights: unit of the sums, to convert them to counts X_ij; None to write them as they are.
        width: 64-bit integers per sum.
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
        storage.remove(partial, MATRIX)
        storage.new_folder(partial)
        self._files = [
            self._stack.enter_context(NumberFile(partial / f"{name}.npy", dtype, width))
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
        """Append rows, in order; they are written while the caller computes the next."""
        if self._waiting:
            self._waiting.result()
        ends = self.n_nonzeros + np.cumsum(rows.sizes)
        self.n_nonzeros += len(rows.columns)
        self._waiting = self._pool.submit(self._write, ends.astype(np.uint64), rows)

    def _write(self, ends: NDArray[np.uint64], rows: Rows) -> None:
        values = self._weights.counts(rows.values) if self._weights else rows.values
        for file, numbers in zip(self._files, (ends, rows.columns, values), strict=True):
            file.write(numbers)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None and self._waiting:
            try:
                self._waiting.result()
            except BaseException as late:
                self._stack.__exit__(type(late), late, late.__traceback__)
                raise
        if not self._stack.__exit__(kind, error, trace) and error is None:
            with storage.writing(self.folder):
                self._write_checksums()
                storage.commit(self.folder, MATRIX)

    def _write_checksums(self) -> None:
        checksums = {file.path.name: file.checksum for file in self._files}
        with storage.new_file(storage.partial(self.folder) / CHECKSUMS_FILE) as stream:
            stream.write(json.dumps(checksums, indent=1).encode() + b"\n")
            storage.flush(stream)


@dataclass(frozen=True, eq=False)
class Counts:
    """A matrix on disk, read some rows at a time. No file stays open.

    Args:
        folder: folder of the matrix.
        rows: `[V + 1]`, row offsets.
        columns: `[n_nonzeros]`.
        values: `[n_nonzeros]` counts X_ij in any unit, or sums.
    """

    folder: Path
    rows: StoredNumbers
    columns: StoredNumbers
    values: StoredNumbers

    @classmethod
    def open(cls, folder: Path, n_words: int | None = None) -> Counts:
        """Open a matrix that a `SumsWriter` wrote.

        Args:
            folder: folder of the matrix.
            n_words: V, if it is known.

        Raises:
            DataError: it is missing or damaged, or does not have `n_words` words.
        """
        if not folder.is_dir():
            raise DataError(
                "no counts found; they are in the folder that `unrolled vectors train` wrote",
                folder,
            )
        counts = cls(
            folder,
            *(StoredNumbers.open(folder / f"{name}.npy") for name in ("rows", "columns", "values")),
        )
        if n_words is not None and counts.n_words != n_words:
            problem = (
                f"the counts are for {counts.n_words:,} words, but there are {n_words:,} vectors"
            )
            raise DataError(f"{problem}; train again", folder)
        types = (counts.rows.dtype, counts.columns.dtype)
        expected = (np.dtype(np.uint64), np.dtype(np.uint32))
        widths = (counts.rows.width, counts.columns.width)
        if not counts.rows.n_rows or types != expected or widths != (1, 1):
            raise DataError("the counts are incomplete; train again", folder)
        sizes = (counts.n_nonzeros, counts.columns.n_rows, counts.values.n_rows)
        if counts.n_words < 1 or len(set(sizes)) > 1:
            raise DataError("the counts are incomplete; train again", folder)
        return counts

    def require_whole(self) -> None:
        """Compare the numbers with their checksums; counts of older versions have none.

        Raises:
            DataError: they differ.
        """
        path = self.folder / CHECKSUMS_FILE
        try:
            known = documents.read_json(path)
        except documents.DocumentError as error:
            if error.is_missing:
                return
            raise DataError(
                f"{error.problem}; train again, or copy the whole folder", path
            ) from None
        for file in (self.rows, self.columns, self.values):
            if not isinstance(known, dict) or file.checksum() != known.get(file.path.name):
                raise DataError(
                    "its checksum does not match; train again, or copy the whole folder", file.path
                )

    @property
    def n_words(self) -> int:
        """V."""
        return self.rows.n_rows - 1

    @cached_property
    def n_nonzeros(self) -> int:
        """Number of pairs with X_ij > 0."""
        return int(self.rows.read(self.n_words, self.n_words + 1)[0])

    def ends(self, first: int, stop: int) -> NDArray[np.uint64]:
        """Offsets of the rows from `first` up to `stop`, and the end of the last one.

        Raises:
            DataError: the offsets are not increasing.
        """
        ends: NDArray[np.uint64] = self.rows.read(first, stop + 1)
        if (ends[1:] < ends[:-1]).any() or int(ends[-1]) > self.n_nonzeros:
            raise DataError("the row offsets are not increasing; train again", self.rows.path)
        return ends

    def read(self, first: int, stop: int, with_values: bool = True) -> Matrix:
        """Read and check the rows from `first` up to `stop`.

        Raises:
            DataError: a column is not the rank of a word, or a count is not positive and finite.
        """
        ends = self.ends(first, stop)
        start, end = int(ends[0]), int(ends[-1])
        columns = self.columns.read(start, end)
        if len(columns) and int(columns.max()) >= self.n_words:
            where = start + int(np.argmax(columns))
            raise DataError(
                f"entry {where:,} is word number {columns.max():,}, but there are only {self.n_words:,} "
                "words; train again, or copy the whole folder",
                self.columns.path,
            )
        values = self.values.read(start, end) if with_values else np.empty(0, np.uint64)
        # Comparing the minimum and maximum needs no extra memory, and also detects NaN.
        if values.ndim == 1 and len(values) and not (values.min() > 0 and values.max() < np.inf):
            wrong = int(np.flatnonzero(~((values > 0) & (values < np.inf)))[0])
            raise DataError(
                f"entry {start + wrong:,} is {values[wrong]}, expected a count above 0; train again, "
                "or copy the whole folder",
                self.values.path,
            )
        return Matrix(ends - ends[0], columns, values)

    def batches(self, max_entries: int) -> Iterator[tuple[int, int]]:
        """All rows as ranges with at most `max_entries` entries, but at least one row."""
        for first in range(0, self.n_words, _ENDS_AT_ONCE):
            ends = self.ends(first, min(self.n_words, first + _ENDS_AT_ONCE))
            for start, stop in row_batches(ends, max_entries):
                yield first + start, first + stop

    def probability(self, probe: int, given: int) -> float:
        """P(k|i) = X_ik / Σ_k X_ik for the ranks k `probe` and i `given`; 0 if i has no context."""
        row = self.read(given, given + 1)
        total = float(np.sum(row.values, dtype=np.float64))
        together = row.values[row.columns == probe]
        return float(np.sum(together, dtype=np.float64)) / total if total else 0.0


def row_batches(ends: NDArray[Any], max_entries: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows with at most `max_entries` entries, but at least one row."""
    row = 0
    while row < len(ends) - 1:
        # Added as Python integers, since NumPy compares unsigned with signed integers as floats.
        most = np.uint64(int(ends[row]) + max_entries)
        stop = max(row + 1, int(np.searchsorted(ends, most, "right")) - 1)
        yield row, stop
        row = stop


@dataclass(frozen=True, eq=False)
class Chunk:
    """A chunk of the text that is counted at once.

    Args:
        tokens: ranks and borders, with `window` borders at both ends.
        first: position; pairs with both words before it belong to the previous chunk.
        end: number of tokens of the text up to the end of this chunk.
    """

    tokens: NDArray[np.int32]
    first: int
    end: int


def chunks(
    tokens: Iterable[NDArray[np.int32]], window: int, n_tokens: int, done: int = 0
) -> Iterator[Chunk]:
    """Split a text into chunks of at most `n_tokens` tokens, starting at token `done`."""
    buffer = np.empty(3 * window + n_tokens, np.int32)
    buffer[:window] = BORDER
    before = np.empty(0, np.int32)  # the last `window` tokens before the chunk
    filled = position = 0
    start = window

    def chunk() -> Chunk:
        end = start + filled
        buffer[end : end + window] = BORDER
        return Chunk(buffer[: end + window], start, position)

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
                yield chunk()
                before = buffer[max(window, start + filled - window) : start + filled].copy()
                filled = 0
    if filled:
        yield chunk()


def count_chunk(
    chunk: Chunk,
    n_words: int,
    weights: PairWeights,
    implementation: ModuleType,
    n_entries: int,
    n_threads: int,
) -> Iterator[Rows]:
    """The sums of a chunk, some rows at a time."""
    yield from implementation.count_rows(
        chunk.tokens, chunk.first, n_words, weights, n_entries, n_threads
    )


def merge(
    folders: Sequence[Path],
    weights: PairWeights,
    implementation: ModuleType,
    n_entries: int,
    n_threads: int,
) -> Iterator[tuple[float, Rows]]:
    """Add several matrices of sums; yield the completed fraction and rows of the result, in order.

    Only the offsets of some rows of each matrix are in memory, and no file is open between reads.

    Args:
        folders: folders of the matrices, at most `MOST_MERGED`.
        weights: weights of the pairs.
        implementation: module of the kernels.
        n_entries: number of entries in memory at once, half of them input.
        n_threads: number of threads.

    Raises:
        DataError: a matrix is damaged.
    """
    assert len(folders) <= MOST_MERGED
    matrices = [Counts.open(folder) for folder in folders]
    n_words = matrices[0].n_words
    at_once = max(1, _ENDS_AT_ONCE // len(matrices))
    for first in range(0, n_words, at_once):
        stop = min(n_words, first + at_once)
        ends = np.zeros(stop - first + 1, np.uint64)
        for matrix in matrices:
            own_ends = matrix.ends(first, stop)
            ends += own_ends - own_ends[0]
        for start, end in row_batches(ends, max(1, n_entries // 2)):
            inputs = [matrix.read(first + start, first + end) for matrix in matrices]
            rows = implementation.merge_rows(inputs, n_words, weights, n_threads)
            yield (first + end) / n_words, rows


def require_pairs(n_nonzeros: int, window: int, n_kept: int) -> None:
    """Refuse a text in which no word is in the context of another.

    Raises:
        DataError: there are no pairs.
    """
    if not n_nonzeros:
        raise DataError(
            f"no two of the {n_kept:,} vocabulary words in the text are within a window of {window}; let "
            "windows cross line ends (vectors.borders), or lower vectors.min_count"
        )


def require_longer(n_kept: int, window: int) -> None:
    """Refuse a window as long as the whole text, in which every word is in the context of every other.

    Raises:
        DataError: the window is too long.
    """
    if n_kept <= window:
        raise DataError(
            f"vectors.window is {window}, but the text has only {n_kept:,} words in the vocabulary; give "
            "more text, or a smaller window"
        )
