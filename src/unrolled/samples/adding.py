"""The adding problem: two of many digits are marked, and the label is their sum.

    7* 3 0 5* 8        12
    4 1* 2 9* 9        10

One mark is in the first half and one in the second, both anywhere in it, so the first number must be
carried over at least half of the sequence. All digits are equally likely: the most frequent sum, 9, has
the probability 1/10, and so has the best answer of a model that reads only one of the two numbers.

The task is from Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5.4, in the form of
Arjovsky, Shah and Bengio 2016, "Unitary evolution recurrent neural networks", section 4.2, but with
digits for real numbers and a label for a prediction with a squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import NamedTuple

from unrolled.samples.files import write_labelled
from unrolled.samples.parts import Sample, check_at_least, draw

MARK = "*"


class AddingRow(NamedTuple):
    """Digits separated by spaces, of which two are marked, and the sum of these."""

    text: str
    label: str


def generate(
    n_train: int = 10_000, n_valid: int = 500, n_test: int = 1_000, length: int = 100, seed: int = 1
) -> Sample[AddingRow]:
    """Generate the sample; the same arguments give the same rows on every machine.

    Args:
        n_train: number of training rows.
        n_valid: number of validation rows.
        n_test: number of test rows.
        length: number of digits in a row.
        seed: random seed.

    Raises:
        ConfigError: a number is negative, or the length below 2.

    >>> generate(n_train=2, n_valid=0, n_test=0, length=6).train
    [AddingRow(text='3* 6 6 0 0* 8', label='3'), AddingRow(text='9* 4 8 4* 6 1', label='13')]
    """
    check_at_least("length", length, 2)
    return draw(partial(_row, length), n_train, n_valid, n_test, seed)


def _row(length: int, random: Callable[[], float]) -> AddingRow:
    half = length // 2
    first = int(random() * half)
    second = half + int(random() * (length - half))
    digits = [int(random() * 10) for _ in range(length)]
    tokens = [
        f"{digit}{MARK if place in (first, second) else ''}" for place, digit in enumerate(digits)
    ]
    return AddingRow(" ".join(tokens), str(digits[first] + digits[second]))


def write(folder: str | PathLike[str], sample: Sample[AddingRow]) -> None:
    """Write train.tsv, valid.tsv and test.tsv, with a header line `text<tab>label`.

    Raises:
        DataError: the folder cannot be created or written.
    """
    write_labelled(folder, sample.items())
