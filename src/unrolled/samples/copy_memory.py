"""Copy memory: remember ten symbols over a long gap, then repeat them.

    input   c a h e … d   .  .  …  .  >   .  .  .  .  …  .
    tags    O O O O … O   O  O  …  O  O   c  a  h  e  …  d

Ten symbols are followed by `length` − 1 blanks, a sign to begin, and ten more blanks, at which the model
repeats the symbols in their order; each comes `length` + 10 steps after it was read. All steps before
have the tag O. There are eight symbols, equally likely, so a model without memory is right in 1/8 of
them. A symbol is the tag of a span of one token ("B-c"), so the F1 score of the tagger only counts
symbols.

Hochreiter and Schmidhuber 1997, "Long short-term memory"; the form is that of Arjovsky, Shah and Bengio
2016, "Unitary evolution recurrent neural networks", section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import NamedTuple

from unrolled.samples.files import write_parts
from unrolled.samples.parts import Sample, check_at_least, draw

SYMBOLS = "abcdefgh"
BLANK, BEGIN = ".", ">"
N_SYMBOLS = 10
"""The number of symbols to remember."""


class CopyToken(NamedTuple):
    """A token and its tag: O, or B- and the symbol to repeat."""

    text: str
    tag: str


def generate(
    n_train: int = 10_000, n_valid: int = 500, n_test: int = 1_000, length: int = 100, seed: int = 1
) -> Sample[list[CopyToken]]:
    """Generate the sample; the same arguments give the same rows on every machine.

    Args:
        n_train: number of training rows.
        n_valid: number of validation rows.
        n_test: number of test rows.
        length: T, number of steps between the symbols and their repetition; a row has T + 20 tokens.
        seed: random seed.

    Raises:
        ConfigError: a number is negative, or the length below 1.

    >>> (row,) = generate(n_train=1, n_valid=0, n_test=0, length=3).train
    >>> " ".join(token.text for token in row), row[-1].tag
    ('b e c e f a a g c b . . > . . . . . . . . . .', 'B-b')
    """
    check_at_least("length", length, 1)
    return draw(partial(_row, length), n_train, n_valid, n_test, seed)


def _row(length: int, random: Callable[[], float]) -> list[CopyToken]:
    symbols = [SYMBOLS[int(random() * len(SYMBOLS))] for _ in range(N_SYMBOLS)]
    texts = [*symbols, *[BLANK] * (length - 1), BEGIN, *[BLANK] * N_SYMBOLS]
    n_before = len(texts) - N_SYMBOLS
    tags = ["O"] * n_before + [f"B-{symbol}" for symbol in symbols]
    return [CopyToken(text, tag) for text, tag in zip(texts, tags, strict=True)]


def write(folder: str | PathLike[str], sample: Sample[list[CopyToken]]) -> None:
    """Write train.conll, valid.conll and test.conll: a token and its tag per line.

    Raises:
        DataError: the folder cannot be created or written.
    """
    contents = {
        f"{part}.conll": "\n".join("".join(f"{text} {tag}\n" for text, tag in row) for row in rows)
        for part, rows in sample.items()
    }
    write_parts(folder, contents)
