"""`unrolled sample`: data sets that the toolkit generates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from unrolled.cli.app import sample


@sample.command
def phrasebook(folder: Path, /) -> None:
    """Write the English-Spanish phrasebook: training, validation and test part.

    Args:
        folder: where to write; created when it is not there.
    """
    from unrolled.samples.phrasebook.generator import generate, write

    write(folder, generate())
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def order(folder: Path, /, *, n: int = 4000, seed: int = 1) -> None:
    """Write sentences in which only the order of the words tells what is meant.

    Every bag of words occurs equally often under both labels, in each part.

    Args:
        folder: where to write; created when it is not there.
        n: training sentences; validation and test have an eighth and a quarter as many.
        seed: another seed, other sentences.
    """
    from unrolled.samples.order import generate, write

    write(folder, generate(n, n // 8, n // 4, seed))
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def commands(folder: Path, /, *, n: int = 8000, seed: int = 1) -> None:
    """Write commands and the steps that carry them out, for a translator with a dozen target words.

    Args:
        folder: where to write; created when it is not there.
        n: training commands; validation and test have a sixteenth and an eighth as many.
        seed: another seed, other commands.
    """
    from unrolled.samples.commands import generate, write

    write(folder, generate(n, n // 16, n // 8, seed))
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def tagging(folder: Path, /, *, n: int = 2000, seed: int = 1) -> None:
    """Write sentences with parts of speech and noun phrases, in which order tells what a word is.

    Args:
        folder: where to write; created when it is not there.
        n: training sentences; validation and test have an eighth and a quarter as many.
        seed: another seed, other sentences.
    """
    from unrolled.samples.tagging import generate, write

    write(folder, generate(n, n // 8, n // 4, seed))
    print(f"{folder}: train.conll, valid.conll, test.conll")
