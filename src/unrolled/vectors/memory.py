"""How the budget of `vectors.memory` is spent.

Every figure is of the words, the settings and the files that were written, and of nothing else: what is
refused once is refused always, whatever the process did before, and what the refusal asks for is enough.
The budget is that of a whole process, so that a part of it, `ALLOWANCE`, is left to Python and to its
libraries. What else a process holds comes on top.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from unrolled.errors import ConfigError
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.vocabulary import Vocabulary
from unrolled.vectors.kernels.types import PAIR

ALLOWANCE = 64_000_000
"""Bytes that `unrolled vectors train` holds before it reads a word, and buffers of the system's."""

LEAST_PART, MOST_PART = 1 << 18, 32 << 20
"""Bytes of a part of the text."""

_OF_PART = 24  # bytes of memory for each of a part's text, while it is made
_OF_PART_AGAIN = 10  # for each byte of its file, while its words are looked up
_FILE_OF_TEXT = 3  # bytes of a part's file for each of its text, where most words are rare
_OF_PIECE = 320  # of the different pieces whose words are remembered
_OF_NAME = 40  # of a word's place in a list, its count, and what is lost to its neighbours
_OF_RANK = 128  # of its entry in a dictionary
_OF_ROW = 136  # of a word's row: its start, its size and its room, and sums of them
_OF_TOKEN = 8  # its rank and its place in the index
_LEAST_ENTRIES, _MOST_ENTRIES = 1 << 16, 1 << 24
_LEAST_TOKENS = 1 << 16
_MOST_TOKENS = (1 << 32) - (1 << 24)  # positions are 32 bits
_LOOSE = 12 << 20  # buffers of files and threads
_SHARE = (
    8  # a part that is read again has this share of what there is, and so have remembered pieces
)
_MARGIN = 1.02  # of what a refusal asks for

LEAST_DEALT, MOST_DEALT = 1 << 16, 1 << 22
"""Non-zeros that are made into pairs at once; a row is not cut."""

_OF_DEALT = 64  # of a non-zero, while it is made into a pair


class TooLittleMemory(ConfigError):
    """What was read and counted is worth going on with, for more memory may be given.

    Args:
        problem: in one sentence.
        n_bytes: that are enough.
    """

    def __init__(self, problem: str, n_bytes: int) -> None:
        super().__init__(problem)
        self.n_bytes = n_bytes


def _too_little(purpose: str, n_bytes: float, otherwise: str) -> TooLittleMemory:
    megabytes = int(n_bytes * _MARGIN) // 10**6 + 1
    return TooLittleMemory(
        f"vectors.memory is too little to {purpose}; give at least {megabytes}MB and go on with "
        f"--resume, or begin again (--force) with {otherwise}",
        megabytes * 10**6,
    )


def work_of(config: VectorsConfig) -> int:
    """Bytes of the budget that are not the libraries'.

    Raises:
        ConfigError: there is too little to read a text with.
    """
    work = config.n_bytes - ALLOWANCE
    least = 3 * _OF_PART * LEAST_PART
    if work < least:
        raise ConfigError(
            f"vectors.memory must be at least {(ALLOWANCE + least) // 10**6 + 1}MB, of which "
            f"{ALLOWANCE // 10**6} are Python's and its libraries', got '{config.memory}'"
        )
    return work


def part_bytes_of(work: int, total: int, n_threads: int) -> int:
    """Text of a part: so little that some are made at once and fit, and that one fits beside the counts.

    Args:
        work: bytes of memory.
        total: of the text.
        n_threads: that make parts.
    """
    fits = min(
        work // (_OF_PART * (n_threads + 2)), work // (_SHARE * _OF_PART_AGAIN * _FILE_OF_TEXT)
    )
    return max(LEAST_PART, min(MOST_PART, fits, total // (4 * n_threads)))


def readers_of(work: int, n_threads: int) -> int:
    """Threads for whose parts, the smallest at least, there is room."""
    return max(1, min(n_threads, work // (_OF_PART * LEAST_PART) - 2))


def pieces_of(work: int) -> int:
    """Different pieces of text whose words may be remembered."""
    return work // _SHARE // _OF_PIECE


def names_of(vocabulary: Vocabulary) -> int:
    """Bytes that words take, with their counts."""
    return sum(map(sys.getsizeof, vocabulary.words)) + _OF_NAME * len(vocabulary)


@dataclass(frozen=True)
class MemoryPlan:
    """How the budget is spent while counting.

    Args:
        n_tokens: words of a chunk.
        n_entries: of a batch of rows.
    """

    n_tokens: int
    n_entries: int

    @classmethod
    def of(
        cls,
        config: VectorsConfig,
        n_words: int,
        names: int,
        width: int,
        part_file: int = 0,
        splits: bool = False,
    ) -> MemoryPlan:
        """The plan for counting V words.

        Args:
            config: the memory, and how many threads share it.
            n_words: V.
            names: bytes of the words themselves.
            width: 64-bit integers of a sum.
            part_file: bytes of the largest part of the text on the disk.
            splits: whether pieces of text are made into words, and those remembered.

        Raises:
            TooLittleMemory: it is too little.
        """
        scratch = config.n_threads * (8 * width + 5)
        fixed = names + n_words * (_OF_RANK + _OF_ROW + scratch) + _LOOSE
        of_entry = 3 * (4 + 16 * width)  # being made, being written, and drawn together
        least = max(_LEAST_ENTRIES, n_words + 1)
        needed = fixed + least * of_entry + _LEAST_TOKENS * _OF_TOKEN
        work, again = config.n_bytes - ALLOWANCE, _OF_PART_AGAIN * part_file
        remembered = int(splits)
        free = work - max(work // _SHARE, again) - remembered * (work // _SHARE)
        if free < needed:
            whole = ALLOWANCE + max(
                needed / (1 - (1 + remembered) / _SHARE),
                (needed + again) / (1 - remembered / _SHARE),
            )
            fewer = "fewer words (vectors.max_words) or threads (vectors.threads)"
            raise _too_little(f"count {n_words:,} words", whole, fewer)
        free -= fixed
        n_entries = min(_MOST_ENTRIES, max(least, free // 3 // of_entry))
        n_tokens = (free - n_entries * of_entry) // _OF_TOKEN
        return cls(min(_MOST_TOKENS, n_tokens), n_entries)


def room_for_pairs(config: VectorsConfig, n_words: int, names: int, parameters: int) -> int:
    """Bytes that are left to the non-zeros in training.

    Args:
        config: the memory.
        n_words: V.
        names: bytes of the words themselves.
        parameters: bytes of the vectors and of all that is trained with them.

    Raises:
        TooLittleMemory: it is too little for the vectors.
    """
    fixed = ALLOWANCE + names + parameters + _LOOSE
    least = max(LEAST_DEALT, n_words) * _OF_DEALT
    if config.n_bytes < fixed + least:
        what = f"train {n_words:,} vectors of {config.size} numbers"
        fewer = "fewer words (vectors.max_words) or smaller vectors (vectors.size)"
        raise _too_little(what, fixed + least, fewer)
    return config.n_bytes - fixed


def dealt_at_once(free: int) -> int:
    """Non-zeros to make into pairs at once."""
    return max(LEAST_DEALT, min(MOST_DEALT, free // 4 // _OF_DEALT))


def all_pairs_fit(n_nonzeros: int, n_words: int, free: int) -> bool:
    """Whether all pairs may be in memory, beside those that are being made."""
    making = max(n_words, dealt_at_once(free)) * _OF_DEALT
    return n_nonzeros * PAIR.itemsize + making <= free


def require_blocks_fit(config: VectorsConfig, largest: int, free: int) -> None:
    """Refuse where a block of so many pairs cannot be read while another is trained on.

    Raises:
        TooLittleMemory: it cannot.
    """
    missing = 2 * largest * PAIR.itemsize - free
    if missing > 0:
        what = f"train on blocks of {largest:,} pairs"
        fewer = "fewer words (vectors.max_words)"
        raise _too_little(what, config.n_bytes + missing, fewer)
