"""`unrolled sample`: synthetic data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from unrolled.cli.app import sample


@sample.command
def phrasebook(folder: Path, /) -> None:
    """Generate the English–Spanish phrasebook, split into training, validation and test part.

    Args:
        folder: output folder; created if missing.
    """
    from unrolled.samples.phrasebook.generator import generate, write

    write(folder, generate())
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def order(folder: Path, /, *, n: int = 4000, seed: int = 1) -> None:
    """Generate labeled sentences whose label depends on word order alone.

    In each part, every bag of words occurs equally often under both labels.

    Args:
        folder: output folder; created if missing.
        n: number of training sentences; validation has an eighth and test a quarter as many.
        seed: random seed.
    """
    from unrolled.samples.order import generate, write

    write(folder, generate(n, n // 8, n // 4, seed))
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def commands(folder: Path, /, *, n: int = 8000, seed: int = 1) -> None:
    """Generate commands and the steps that carry them out, for a translator with a dozen target words.

    Args:
        folder: output folder; created if missing.
        n: number of training commands; validation has a sixteenth and test an eighth as many.
        seed: random seed.
    """
    from unrolled.samples.commands import generate, write

    write(folder, generate(n, n // 16, n // 8, seed))
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def tagging(folder: Path, /, *, n: int = 2000, seed: int = 1) -> None:
    """Generate sentences tagged with parts of speech and noun phrases, where tags depend on word order.

    Args:
        folder: output folder; created if missing.
        n: number of training sentences; validation has an eighth and test a quarter as many.
        seed: random seed.
    """
    from unrolled.samples.tagging import generate, write

    write(folder, generate(n, n // 8, n // 4, seed))
    print(f"{folder}: train.conll, valid.conll, test.conll")
