"""How the memory limit `vectors.memory` is divided.

Every figure depends only on the words, the settings and the files on disk. So an error is reproducible,
whatever the process did before, and the amount that its message names is enough. The limit applies to
the whole process, so a part of it, `ALLOWANCE`, is reserved for Python and its libraries. Anything else
that the process holds comes on top.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from unrolled.errors import ConfigError
from unrolled.vectors.config import VectorsConfig
from unrolled.vectors.counting.vocabulary import Vocabulary
from unrolled.vectors.kernels.types import PAIR

ALLOWANCE = 64_000_000
"""Bytes that `unrolled vectors train` holds before it reads a word, including system buffers."""

LEAST_PART, MOST_PART = 1 << 18, 32 << 20
"""Minimum and maximum size of a part of the text in bytes."""

# The following are bytes of memory, unless they say otherwise.
_OF_PART = 24  # for each byte of a part's text, while the part is made
_OF_PART_AGAIN = 10  # for each byte of a part's file, while its words are looked up
_FILE_OF_TEXT = 3  # bytes of a part's file for each byte of its text, if most words are rare
_OF_PIECE = 320  # for each different piece whose words are cached
_OF_NAME = 40  # for a word's place in a list, its count, and fragmentation
_OF_RANK = 128  # for a word's dictionary entry
_OF_ROW = 136  # for a word's row: its start, size and capacity, and their cumulative sums
_OF_TOKEN = 8  # for a token's rank and its place in the index
_LEAST_ENTRIES, _MOST_ENTRIES = 1 << 16, 1 << 24
_LEAST_TOKENS = 1 << 16
_MOST_TOKENS = (1 << 32) - (1 << 24)  # positions are 32 bits
_LOOSE = 12 << 20  # for buffers of files and threads
_SHARE = (
    8  # a part that is read again gets 1/8 of the available memory, and so does the piece cache
)
_MARGIN = 1.02  # safety factor for the amount that an error message asks for

LEAST_DEALT, MOST_DEALT = 1 << 16, 1 << 22
"""Number of non-zeros that are converted to pairs at once; rows are not split."""

_OF_DEALT = 64  # for a non-zero, while it is converted to a pair


class TooLittleMemory(ConfigError):
    """The memory limit is too low; the run can be resumed with a higher one.

    Args:
        problem: the message.
        n_bytes: a sufficient limit in bytes.
    """

    def __init__(self, problem: str, n_bytes: int) -> None:
        super().__init__(problem)
        self.n_bytes = n_bytes


def _too_little(purpose: str, n_bytes: float, alternative: str) -> TooLittleMemory:
    megabytes = int(n_bytes * _MARGIN) // 10**6 + 1
    return TooLittleMemory(
        f"vectors.memory is too low to {purpose}; set it to at least {megabytes}MB and resume "
        f"(--resume), or start again (--force) with {alternative}",
        megabytes * 10**6,
    )


def work_of(config: VectorsConfig) -> int:
    """The memory limit in bytes without the allowance for Python and its libraries.

    Raises:
        ConfigError: the limit is too low to read any text.
    """
    work = config.n_bytes - ALLOWANCE
    least = 3 * _OF_PART * LEAST_PART
    if work < least:
        raise ConfigError(
            f"vectors.memory must be at least {(ALLOWANCE + least) // 10**6 + 1}MB, of which Python and "
            f"its libraries take {ALLOWANCE // 10**6}MB, got '{config.memory}'"
        )
    return work


def part_bytes_of(work: int, total: int, n_threads: int) -> int:
    """Size of a part of the text in bytes.

    All threads together fit into memory while they make parts, and one part fits beside the counts.

    Args:
        work: bytes of memory.
        total: bytes of the text.
        n_threads: number of threads that make parts.
    """
    fits = min(
        work // (_OF_PART * (n_threads + 2)), work // (_SHARE * _OF_PART_AGAIN * _FILE_OF_TEXT)
    )
    return max(LEAST_PART, min(MOST_PART, fits, total // (4 * n_threads)))


def readers_of(work: int, n_threads: int) -> int:
    """Number of threads that can make parts of the minimum size at once."""
    return max(1, min(n_threads, work // (_OF_PART * LEAST_PART) - 2))


def pieces_of(work: int) -> int:
    """Number of different pieces of text whose words may be cached."""
    return work // _SHARE // _OF_PIECE


def names_of(vocabulary: Vocabulary) -> int:
    """Memory of the words and their counts, in bytes."""
    return sum(map(sys.getsizeof, vocabulary.words)) + _OF_NAME * len(vocabulary)


@dataclass(frozen=True)
class MemoryPlan:
    """How the memory limit is divided while counting.

    Args:
        n_tokens: number of words in a chunk.
        n_entries: number of entries in a batch of rows.
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
            config: has the memory limit and the number of threads.
            n_words: V.
            names: bytes of the words themselves.
            width: 64-bit integers per sum.
            part_file: size of the largest part file on disk, in bytes.
            splits: whether pieces of text are split into words, which are cached.

        Raises:
            TooLittleMemory: the limit is too low.
        """
        scratch = config.n_threads * (8 * width + 5)
        fixed = names + n_words * (_OF_RANK + _OF_ROW + scratch) + _LOOSE
        of_entry = 3 * (4 + 16 * width)  # while it is counted, compacted and written
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
            raise _too_little(f"count {n_words:,} different words", whole, fewer)
        free -= fixed
        n_entries = min(_MOST_ENTRIES, max(least, free // 3 // of_entry))
        n_tokens = (free - n_entries * of_entry) // _OF_TOKEN
        return cls(min(_MOST_TOKENS, n_tokens), n_entries)


def room_for_pairs(config: VectorsConfig, n_words: int, names: int, parameters: int) -> int:
    """Memory for the non-zeros in training, in bytes.

    Args:
        config: has the memory limit.
        n_words: V.
        names: bytes of the words themselves.
        parameters: bytes of all parameters and their AdaGrad sums.

    Raises:
        TooLittleMemory: the limit is too low for the vectors.
    """
    fixed = ALLOWANCE + names + parameters + _LOOSE
    least = max(LEAST_DEALT, n_words) * _OF_DEALT
    if config.n_bytes < fixed + least:
        purpose = f"train {n_words:,} vectors of width {config.size}"
        fewer = "fewer words (vectors.max_words) or smaller vectors (vectors.size)"
        raise _too_little(purpose, fixed + least, fewer)
    return config.n_bytes - fixed


def dealt_at_once(free: int) -> int:
    """Number of non-zeros to convert to pairs at once."""
    return max(LEAST_DEALT, min(MOST_DEALT, free // 4 // _OF_DEALT))


def all_pairs_fit(n_nonzeros: int, n_words: int, free: int) -> bool:
    """Whether all pairs fit into memory, together with those being converted."""
    making = max(n_words, dealt_at_once(free)) * _OF_DEALT
    return n_nonzeros * PAIR.itemsize + making <= free


def require_blocks_fit(config: VectorsConfig, largest: int, free: int) -> None:
    """Require memory for two of the largest blocks: one is read while another is trained on.

    Raises:
        TooLittleMemory: they do not fit.
    """
    missing = 2 * largest * PAIR.itemsize - free
    if missing > 0:
        purpose = f"train on blocks of {largest:,} pairs"
        fewer = "fewer words (vectors.max_words)"
        raise _too_little(purpose, config.n_bytes + missing, fewer)
