"""The number of threads of an update: all of them, or one where several only wait for each other.

Other programs decide which is faster: on an idle machine all threads are, on a busy one a single thread
can be several times as fast, because it waits for no other. So the two are compared in the first updates,
and again from time to time. When they are compared depends on the number of the update alone. The result
of the comparison depends on time, and changes sums in their last bits, so it takes a clear difference, in
all updates of a comparison, to leave the number with which a run can be repeated.
"""

from __future__ import annotations

import torch

ONE = 1

FIRST = 2
"""The update with which the first comparison begins; those before it allocate memory."""

EVERY = 200
"""Updates from the beginning of one later comparison to that of the next."""

ROUNDS = 3
"""Updates of a comparison with each of the two numbers of threads, in turn."""

MOST_LOSS = 1.2
"""If all threads take this many times as long as one, one is used."""

CLEAR = 2.0
"""A number of threads that takes this many times as long is not tried again in the same comparison."""


def use(number: int) -> None:
    """Let torch and our kernels use this number of threads."""
    if torch.get_num_threads() != number:
        torch.set_num_threads(number)


class ThreadChoice:
    """Chooses between one thread and all of them for each update.

    Args:
        most: the number of all threads.
        chosen: number of threads that an earlier session chose; 0 for none, and all are used.
        seconds_one, seconds_all: what an earlier session measured in a comparison that has not ended.

    Attributes:
        chosen: the number of threads between comparisons.
        seconds_one, seconds_all: fewest seconds per token of an update in the present or last
            comparison.

    >>> choice = ThreadChoice(most=4)
    >>> numbers = []
    >>> for update in range(10):  # four threads take half the time
    ...     numbers.append(choice.number(update))
    ...     choice.note(update, numbers[-1], n_tokens=100, seconds=2 / numbers[-1] ** 0.5)
    >>> numbers
    [4, 4, 1, 4, 4, 4, 4, 4, 4, 4]
    """

    def __init__(
        self, most: int, chosen: int = 0, seconds_one: float = 0.0, seconds_all: float = 0.0
    ) -> None:
        self.most = most
        self.chosen = chosen if chosen in (ONE, most) else most
        self.seconds_one, self.seconds_all = seconds_one, seconds_all

    def number(self, update: int) -> int:
        """Number of threads of an update, which is counted from 0."""
        place = _place(update)
        tries = place is not None and place % 2 == 0 and not (place and self._is_clear())
        return self._other if tries else self.chosen

    def note(self, update: int, number: int, n_tokens: int, seconds: float) -> None:
        """Take note of how long an update took with these threads; at the end of a comparison, choose."""
        place = _place(update)
        if self.most == ONE or place is None:
            return
        if number == (self.chosen if place % 2 else self._other):
            name = "seconds_one" if number == ONE else "seconds_all"
            found = seconds / max(1, n_tokens)
            setattr(self, name, found if place < 2 else min(getattr(self, name), found))
        if place == 2 * ROUNDS - 1:
            loses = self.seconds_all >= MOST_LOSS * self.seconds_one
            self.chosen = ONE if loses else self.most

    @property
    def _other(self) -> int:
        return self.most if self.chosen == ONE else ONE

    def _is_clear(self) -> bool:
        one, several = self.seconds_one, self.seconds_all
        tried, used = (several, one) if self.chosen == ONE else (one, several)
        return tried >= CLEAR * used


def _place(update: int) -> int | None:
    """Place of an update within a comparison; None if it is in none."""
    place = update - FIRST if update < EVERY else update % EVERY
    return place if 0 <= place < 2 * ROUNDS else None
