"""Divide a long text into rows that are read in parallel, window by window.

The ids are divided into B rows of equal length. A window contains the next steps of every row, and the
state at its end is the initial state of the next window, so that each row reads one contiguous text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from unrolled.config import Count, OptionalWidth, Range, Width, require
from unrolled.text.config import EOS_ID
from unrolled.text.corpus.corpus import CorpusConfig
from unrolled.text.header import Header


@dataclass(frozen=True)
class StreamConfig(CorpusConfig):
    """Running text, and how training reads it; the `[data]` section of a language model's recipe.

    Args, in addition to those of `CorpusConfig`:
        n_rows: number of rows that are read in parallel, B.
        k1: number of steps between updates.
        k2: number of steps that the gradient is propagated back; 0 means k1.
        restart: whether the state is reset at the start of each document instead of being carried over.
        valid_tokens: number of tokens, from the start of the validation part, that evaluations during
            training read; 0 means all.
        columns: for tables (TSV, CSV, JSON Lines, CoNLL): the columns with texts, by name or by number
            from 1. Each text is a document, and other columns, such as labels, are not read; parts are
            split off as for tasks whose output is labels. Empty for plain text.
        new_words: for a run that starts from another (`--from`): the number of words of the training
            text, the most frequent first, that are added to its vocabulary; their embeddings start at the
            mean.
        header: whether the first line of a TSV or CSV names the columns ("yes"), is a row ("no"), or the
            toolkit finds out ("auto").

    Raises:
        ConfigError: a value is out of range or unknown.

    >>> StreamConfig(train=("src",), k1=32).n_rows
    32
    """

    n_rows: Width = 32
    k1: Width = 64
    k2: OptionalWidth = 0
    restart: bool = False
    valid_tokens: Count = 500_000
    columns: tuple[str, ...] = ()
    new_words: Annotated[int, Range(0, 4_000_000)] = 0
    header: Header = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = f"at least data.k1 = {self.k1}, or 0"
        require(self.k2 == 0 or self.k2 >= self.k1, "data.k2", wanted, self.k2)


@dataclass(frozen=True)
class Window:
    """Some steps of B rows.

    Args:
        inputs: `[B, T]`, the ids that are read.
        targets: `[B, K]`, the ids to predict in the last K of the T steps; -1 where there is none.
        n_before_next: number of steps after which the next window begins; it starts from the state there.
        restarts: `[B, T]`, True where a document begins and the state is reset; None if it never is.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    n_before_next: int
    restarts: NDArray[np.bool_] | None

    @property
    def n_targets(self) -> int:
        """Number of ids that are predicted."""
        return int((self.targets >= 0).sum())


class Windows:
    """The windows of one pass over a text.

    Every id of the text is predicted once, from those before it in its row; the first id is predicted
    from an end-of-document mark. To make rows equally long, up to B - 1 ids at the end are left out or,
    with `whole`, the last rows are shorter.

    Truncated back-propagation through time (Williams & Peng 1990, BPTT(h; h')): there is an update every
    k1 steps, and its gradient is propagated back over k2 steps. If k2 is larger than k1, a window begins
    k2 - k1 steps before its first target, and these steps are read again.

    Args:
        ids: the ids, in one dimension; id 3 ends a document.
        n_rows: B.
        k1: number of steps between updates.
        k2: number of steps that the gradient is propagated back, at least k1.
        restart: whether the state is reset at the start of each document.
        whole: whether to keep all ids, so that the last rows may be shorter.
        backward: whether the text is read from right to left. Then the mark that ends the last document
            is read first, and the first document is followed by one: the windows are those of a text with
            the documents, and the tokens of each, in reverse order.

    >>> windows = Windows(np.arange(10, 21), n_rows=2, k1=3, k2=3)
    >>> len(windows), windows[0].inputs.tolist(), windows[0].targets.tolist()
    (2, [[3, 10, 11], [14, 15, 16]], [[10, 11, 12], [15, 16, 17]])
    >>> windows[1].targets.tolist()
    [[13, 14], [18, 19]]
    >>> backward = Windows(np.array([10, 11, 3, 12, 13, 3]), n_rows=1, k1=6, backward=True)
    >>> backward[0].inputs.tolist(), backward[0].targets.tolist()
    ([[3, 13, 12, 3, 11, 10]], [[13, 12, 3, 11, 10, 3]])
    """

    def __init__(
        self,
        ids: NDArray[np.unsignedinteger],
        n_rows: int,
        k1: int,
        k2: int = 0,
        restart: bool = False,
        whole: bool = False,
        backward: bool = False,
    ) -> None:
        self._ids, self._k1, self._k2, self._restart = ids, k1, max(k1, k2), restart
        self._backward = backward
        self.n_rows = max(1, min(n_rows, len(ids)))
        self.n_steps = -(-len(ids) // self.n_rows) if whole else len(ids) // self.n_rows

    def __len__(self) -> int:
        return -(-self.n_steps // self._k1)

    def place(self, index: int) -> range:
        """The steps that a window predicts in each row."""
        return range(self.n_steps)[index * self._k1 : (index + 1) * self._k1]

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < len(self):
            raise IndexError(index)
        first_target = index * self._k1
        end = min(first_target + self._k1, self.n_steps)
        start = self._start(index)
        inputs = self._block(start - 1, end - 1, EOS_ID)
        targets = self._block(first_target, end, -1)
        return Window(
            inputs=inputs,
            targets=targets,
            n_before_next=min(self._start(index + 1), end) - start,
            restarts=inputs == EOS_ID if self._restart else None,
        )

    def _start(self, index: int) -> int:
        return max(0, (index + 1) * self._k1 - self._k2)

    def _block(self, start: int, end: int, outside: int) -> NDArray[np.int64]:
        """Columns [start, end) of the rows; `outside` where there is no text."""
        block = np.full((self.n_rows, end - start), outside, dtype=np.int64)
        for row in range(self.n_rows):
            first, last = row * self.n_steps + start, row * self.n_steps + end
            low, high = max(first, 0), min(last, len(self._ids))
            if low < high:
                block[row, low - first : high - first] = self._read(low, high)
        return block

    def _read(self, start: int, end: int) -> NDArray[np.unsignedinteger]:
        """The ids [start, end) in the order of reading; backwards, without copying the whole text."""
        if not self._backward:
            return self._ids[start:end]
        n = len(self._ids) - 1  # the last id, the mark of an end, is read before the others
        part = self._ids[n - min(end, n) : n - start][::-1]
        return part if end <= n else np.append(part, part.dtype.type(EOS_ID))
