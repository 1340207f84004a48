"""Counting and training with the compiled kernels in `native/`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.kernels import kernels, missing_because
from unrolled.vectors.formats import arrays
from unrolled.vectors.kernels.types import PAIR, Block, Matrix, PairWeights, Rows, Side

_TASKS_OF_A_THREAD = 8  # per batch of rows; rows have very different sizes


def why_not() -> str | None:
    """The reason why there are no kernels, in one sentence; None if there are."""
    return missing_because if kernels is None else None


def encode(texts: Iterable[bytes], border: bytes) -> tuple[NDArray[np.int32], bytes, Any]:
    """Encode a text, split at ASCII white space, as ids of its different words.

    Args:
        texts: consecutive blocks of the text; no word continues from one to the next.
        border: the byte that marks a border; it is not part of a word.

    Returns:
        The ids in order of occurrence, with one `BORDER` for one or more border bytes between words; the
        words by id, in UTF-8, each followed by a line end; int64, the count of each word.
    """
    table = kernels.WordTable()
    blocks = []
    for text in texts:
        characters = arrays.numbers(text, np.uint8)
        ids = np.empty(len(text) + 1, np.int32)
        n = table.add(
            _address(characters, np.uint8), len(text), border[0], _address(ids, np.int32, True)
        )
        blocks.append(ids[:n].copy())
    counts = arrays.numbers(table.counts(), np.int64)
    return np.concatenate(blocks) if blocks else np.empty(0, np.int32), table.joined(), counts


def expand(
    ids: NDArray[np.int32], starts: NDArray[np.int64], words: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Replace each id by `words[starts[id]:starts[id + 1]]`.

    Words below 0 are left out; borders remain, and consecutive ones are merged.
    """
    is_border = ids < 0
    n_words = int(np.diff(starts)[ids[~is_border]].sum())
    out = np.empty(int(is_border.sum()) + n_words, np.int32)
    n = kernels.expand(
        *(_address(ids, np.int32), len(ids), _address(starts, np.int64)),
        *(_address(words, np.int32), _address(out, np.int32, True)),
    )
    return out[:n]


def count_rows(
    tokens: NDArray[np.int32],
    first: int,
    n_words: int,
    weights: PairWeights,
    max_entries: int,
    n_threads: int,
) -> Iterator[Rows]:
    """Rows 0 … V - 1 of the sums of a chunk, some at a time.

    Args:
        tokens: ranks and borders, with at least `window` borders at both ends.
        first: position; pairs with both words before it are left out.
        n_words: V.
        weights: weights by distance.
        max_entries: number of entries that fit into memory at once; a row may need V.
        n_threads: number of threads.
    """
    starts = np.empty(n_words + 1, np.int64)
    positions = np.empty(len(tokens), np.uint32)
    kernels.index_positions(
        *(_address(tokens, np.int32), len(tokens), n_words),
        *(_address(starts, np.int64, True), _address(positions, np.uint32, True)),
    )
    most_narrow = (2**32 - 1) // weights.most_by_one
    narrow = (weights.multiples & np.uint64(2**32 - 1)).astype(np.uint32)
    call = kernels.Counting(
        *(_address(tokens, np.int32), _address(positions, np.uint32)),
        *(_address(starts, np.int64), first, n_words),
        *(weights.window, weights.sides == 2, weights.is_wide),
        *(_address(weights.multiples, np.uint64), _address(narrow, np.uint32), most_narrow),
    )
    seen = np.diff(starts)
    room = np.minimum(n_words, weights.sides * weights.window * seen) + 1
    for batch in _batches(room, seen, max_entries, n_threads):
        yield _run(kernels.count_rows, (call,), batch, room, weights.width, n_threads)


def merge_rows(
    matrices: Sequence[Matrix],
    n_words: int,
    weights: PairWeights,
    n_threads: int,
) -> Rows:
    """The sum of the same rows of several matrices with V columns."""
    sizes = sum(np.diff(matrix.ends).astype(np.int64) for matrix in matrices)
    room = np.minimum(n_words, np.asarray(sizes)) + 1
    addresses = [
        (
            _address(matrix.ends, np.uint64),
            _address(matrix.columns, np.uint32),
            _address(matrix.values, np.uint64),
        )
        for matrix in matrices
    ]
    tasks = next(_batches(room, room, int(room.sum()), n_threads))
    return _run(
        kernels.merge_rows,
        (addresses, n_words, weights.is_wide),
        tasks,
        room,
        weights.width,
        n_threads,
    )


def count_blocks(
    first_row: int, rows: Matrix, n_groups: int, sizes: NDArray[np.int64], n_threads: int
) -> None:
    """Add the number of entries of each block to `sizes` `[groups, groups]`."""
    kernels.count_blocks(
        *(first_row, len(rows.ends) - 1, n_groups),
        *(_address(rows.ends, np.uint64), _address(rows.columns, np.uint32)),
        *(_address(sizes, np.int64, True), n_threads),
    )


def deal(
    first_row: int,
    rows: Matrix,
    n_groups: int,
    weights: NDArray[np.float32],
    log_counts: NDArray[np.float32],
    pairs: NDArray[Any],
    places: NDArray[np.int64],
    n_threads: int,
) -> None:
    """Write entries as pairs at the places of their blocks, and advance the places."""
    kernels.deal(
        *(first_row, len(rows.ends) - 1, n_groups),
        *(_address(rows.ends, np.uint64), _address(rows.columns, np.uint32)),
        *(_address(weights, np.float32), _address(log_counts, np.float32)),
        *(_address(pairs, PAIR, True), _address(places, np.int64, True), n_threads),
    )


def train_blocks(
    sides: tuple[Side, Side],
    size: int,
    blocks: Sequence[Block],
    rate: float,
    clip: float,
    n_threads: int,
) -> list[tuple[float, int]]:
    """GloVe's updates for blocks no two of which share a row group or a column group.

    Args:
        sides: all parameters, changed in place.
        size: width of a vector, D.
        blocks: pairs to train on.
        rate: learning rate of AdaGrad.
        clip: each gradient component is clipped to [-clip, clip].
        n_threads: number of threads.

    Returns:
        For each block Σ f · diff² / 2, and the index of the first pair whose gradient is not finite, or
        -1.
    """
    _, n_in_group, stride = sides[0].vectors.shape
    addresses = [_address(array, np.float32, True) for side in sides for array in side.arrays]
    call = kernels.GloVe(addresses, n_in_group, size, stride, rate, clip)
    block_arguments = [
        (_address(block.pairs, PAIR), len(block.pairs), block.row_group, block.column_group)
        for block in blocks
    ]
    results: list[tuple[float, int]] = kernels.train_blocks(call, block_arguments, n_threads)
    return results


def _address(array: NDArray[Any], dtype: Any, is_written: bool = False) -> int:
    """The memory address of an array; the caller must keep a reference to the array.

    Raises:
        ValueError: the kernels cannot use the array: wrong type, not contiguous, or read-only.
    """
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(
            f"the kernels expect a contiguous array of {np.dtype(dtype)}, got {array.dtype} with strides "
            f"{array.strides}; use numpy.ascontiguousarray"
        )
    if is_written and not array.flags.writeable:
        raise ValueError("the kernels must write into this array, but it is read-only; copy it")
    return int(array.ctypes.data)


_Task = tuple[int, int]  # rows, from and to


def _batches(
    room: NDArray[np.int64], work: NDArray[np.int64], max_entries: int, n_threads: int
) -> Iterator[list[_Task]]:
    """All rows as tasks of about equal work, in batches that fit into memory."""
    rooms, works = np.cumsum(room), np.cumsum(work)
    most_work = max(1, int(works[-1]) // (4 * _TASKS_OF_A_THREAD * n_threads))
    most_room = max(1, max_entries // (2 * n_threads))
    batch: list[_Task] = []
    row = taken = 0
    while row < len(room):
        room_before, work_before = (int(sums[row - 1]) if row else 0 for sums in (rooms, works))
        end = min(
            int(np.searchsorted(rooms, room_before + most_room, "right")),
            int(np.searchsorted(works, work_before + most_work, "right")),
        )
        end = max(end, row + 1)
        needed = int(rooms[end - 1]) - room_before
        if batch and taken + needed > max_entries:
            yield batch
            batch, taken = [], 0
        batch.append((row, end))
        row, taken = end, taken + needed
    if batch:
        yield batch


def _run(
    kernel: Any,
    call: tuple[Any, ...],
    tasks: list[_Task],
    room: NDArray[np.int64],
    width: int,
    n_threads: int,
) -> Rows:
    """Run a kernel on the tasks of a batch, and make their results contiguous."""
    start = tasks[0][0]
    ends = np.cumsum(room[start : tasks[-1][1]])
    columns = np.empty(int(ends[-1]), np.uint32)
    values = np.empty((int(ends[-1]), width) if width > 1 else int(ends[-1]), np.uint64)
    sizes = np.empty(len(ends), np.int64)
    places = [int(ends[row - start - 1]) if row > start else 0 for row, _ in tasks]
    arguments = [
        (
            *(row, end, columns.ctypes.data + 4 * place),
            *(values.ctypes.data + 8 * width * place, sizes.ctypes.data + 8 * (row - start)),
        )
        for (row, end), place in zip(tasks, places, strict=True)
    ]
    written = kernel(*call, arguments, n_threads)
    n = 0
    for place, n_entries in zip(places, written, strict=True):
        if place != n:
            columns[n : n + n_entries] = columns[place : place + n_entries]
            values[n : n + n_entries] = values[place : place + n_entries]
        n += n_entries
    return Rows(sizes, columns[:n], values[:n])
