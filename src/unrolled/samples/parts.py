"""The parts of a sample, each drawn from its own stream of random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, Literal, TypeVar, get_args

from unrolled.errors import ConfigError

T = TypeVar("T")

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Sample(Generic[T]):
    """Three parts of independent rows."""

    train: list[T]
    valid: list[T]
    test: list[T]

    def items(self) -> tuple[tuple[Part, list[T]], ...]:
        """The name and the rows of each part."""
        return ("train", self.train), ("valid", self.valid), ("test", self.test)


def draw(
    row: Callable[[Callable[[], float]], T], n_train: int, n_valid: int, n_test: int, seed: int
) -> Sample[T]:
    """Draw rows independently; a larger part begins with the rows of a smaller one.

    Args:
        row: random numbers from 0 to below 1 → a row.
        n_train: number of training rows.
        n_valid: number of validation rows.
        n_test: number of test rows.
        seed: random seed.

    Raises:
        ConfigError: a number is negative.
    """
    parts = []
    for index, (part, n_rows) in enumerate(zip(PARTS, (n_train, n_valid, n_test), strict=True)):
        check_at_least(f"n_{part}", n_rows, 0)
        random = Random(len(PARTS) * seed + index).random
        parts.append([row(random) for _ in range(n_rows)])
    return Sample(*parts)


def check_at_least(name: str, given: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        ConfigError: it is.
    """
    if given < least:
        raise ConfigError(f"{name} must be at least {least}, got {given}")
