"""A sentence in the making, and the split of what may be said in it."""

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
    """The part a lemma triple belongs to: a hash of its text, the same on every machine.

    >>> part_of(("girl", "eat", "apple"))
    'valid'
    """
    percent = zlib.crc32("|".join(triple).encode("ascii")) // 7 % 100
    if percent < TEST_PERCENT:
        return "test"
    return "valid" if percent < TEST_PERCENT + VALID_PERCENT else "train"


class SentenceState:
    """The chance a sentence is made by, what it may still say, and what it has said.

    Args:
        random: the only source of chance; gives the next number from 0 to below 1.
        part: the part every triple must belong to.
    """

    def __init__(self, random: Callable[[], float], part: Part) -> None:
        self.random, self.part = random, part
        self.budget = 0  # of extensions: relative clauses and further clauses
        self.asking = False
        self.timed = False  # whether a time is said already
        self.triples: list[Triple] = []

    def chance(self, rate: float) -> bool:
        """True in this share of all cases."""
        return self.random() < rate

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each as likely as the others."""
        return items[int(self.random() * len(items))]

    def weighted(self, cumulative: Sequence[float]) -> int:
        """An index, by the cumulative shares of all of them."""
        draw = self.random()
        return next(i for i, bound in enumerate(cumulative) if draw < bound)

    def spend(self, rate: float) -> bool:
        """Whether to extend the sentence here; draws on the budget."""
        if self.budget > 0 and self.random() < rate:
            self.budget -= 1
            return True
        return False

    def allows(self, subject: str, verb: str, object_: str) -> bool:
        """Whether a triple belongs to the part."""
        return part_of((subject, verb, object_)) == self.part

    def say(self, subject: str, verb: str, object_: str) -> None:
        """Note a triple that the sentence contains."""
        self.triples.append((subject, verb, object_))
