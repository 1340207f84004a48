"""The state of a sentence that is being generated, and the split of lemma triples."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, TypeVar

Part = Literal["train", "valid", "test"]
Triple = tuple[str, str, str]
T = TypeVar("T")

VALID_PERCENT, TEST_PERCENT = 6, 12


@lru_cache(maxsize=1 << 20)
def part_of(triple: Triple) -> Part:
    """The split to which a lemma triple belongs, by a hash of its text; the same on every machine.

    >>> part_of(("girl", "eat", "apple"))
    'valid'
    """
    percent = zlib.crc32("|".join(triple).encode("ascii")) // 7 % 100
    if percent < TEST_PERCENT:
        return "test"
    return "valid" if percent < TEST_PERCENT + VALID_PERCENT else "train"


class SentenceState:
    """The state of a sentence: random numbers, remaining extensions, and the triples so far.

    Args:
        random: the only source of randomness; returns the next number from 0 to below 1.
        part: the split to which every triple must belong.
    """

    def __init__(self, random: Callable[[], float], part: Part) -> None:
        self.random, self.part = random, part
        self.budget = 0  # remaining extensions: relative clauses and further clauses
        self.asking = False
        self.timed = False  # whether the sentence already has an expression of time
        self.triples: list[Triple] = []

    def chance(self, rate: float) -> bool:
        """True with this probability."""
        return self.random() < rate

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all equally probable."""
        return items[int(self.random() * len(items))]

    def weighted(self, cumulative: Sequence[float]) -> int:
        """A random index, given cumulative probabilities."""
        draw = self.random()
        return next(i for i, bound in enumerate(cumulative) if draw < bound)

    def spend(self, rate: float) -> bool:
        """Whether to extend the sentence here; reduces the budget if so."""
        if self.budget > 0 and self.random() < rate:
            self.budget -= 1
            return True
        return False

    def allows(self, subject: str, verb: str, object_: str) -> bool:
        """Whether a triple belongs to the split."""
        return part_of((subject, verb, object_)) == self.part

    def say(self, subject: str, verb: str, object_: str) -> None:
        """Record a triple of the sentence."""
        self.triples.append((subject, verb, object_))
