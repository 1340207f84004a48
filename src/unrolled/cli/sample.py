"""`unrolled sample`: synthetic data sets."""

from __future__ import annotations

from pathlib import Path

from unrolled.cli.app import sample
from unrolled.errors import ConfigError


@sample.command
def phrasebook(folder: Path, /) -> None:
    """Generate the English–Spanish phrasebook of the demo as training, validation and test sets.

    It has 31,500 synthetic sentence pairs and is always the same.

    Args:
        folder: output folder; created if missing.
    """
    from unrolled.samples.phrasebook.generator import generate, write

    write(folder, generate())
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def order(folder: Path, /, *, n: int = 4000, seed: int = 1) -> None:
    """Generate labeled sentences whose label depends on word order alone.

    In each split, sentences with the same words occur equally often with both labels, so a bag-of-words
    model is no better than chance.

    Args:
        folder: output folder; created if missing.
        n: number of training sentences; the validation set has 1/8 as many, the test set 1/4.
        seed: random seed.
    """
    from unrolled.samples.order import generate, write

    write(folder, generate(n, n // 8, n // 4, seed))
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def commands(folder: Path, /, *, n: int = 8000, seed: int = 1) -> None:
    """Generate English instructions with what carries them out: sequences of actions, and Python code.

    In the folder itself: instructions and action sequences in the style of SCAN, a translation task with
    a target vocabulary of a dozen words. In its folder python: descriptions of small computations and
    Python expressions, where no two parts share the shape of an expression.

    Args:
        folder: output folder; created if missing.
        n: number of training instructions, and twice the number of training expressions; the validation
            sets have 1/16 as many, the test sets 1/8.
        seed: random seed.
    """
    from unrolled.samples import commands, expressions

    commands.write(folder, commands.generate(n, n // 16, n // 8, seed))
    n_code = n // 2
    sample = expressions.generate(n_code, n_code // 16, n_code // 8, seed)
    expressions.write(folder / "python", sample)
    for each in (folder, folder / "python"):
        print(f"{each}: train.tsv, valid.tsv, test.tsv")


@sample.command
def tagging(folder: Path, /, *, n: int = 2000, seed: int = 1) -> None:
    """Generate sentences with part-of-speech tags and noun-phrase chunks (BIO), in CoNLL format.

    The tags of many words depend on word order.

    Args:
        folder: output folder; created if missing.
        n: number of training sentences; the validation set has 1/8 as many, the test set 1/4.
        seed: random seed.
    """
    from unrolled.samples.tagging import generate, write

    write(folder, generate(n, n // 8, n // 4, seed))
    print(f"{folder}: train.conll, valid.conll, test.conll")


@sample.command
def shop(folder: Path, /, *, n: int = 4000, seed: int = 1) -> None:
    """Generate two SQLite databases, and questions about them with the SQL queries that answer them.

    The questions of train, valid and test are about a shop. Those of shapes are too, but combine parts of
    queries as no training query does; those of library are about the other database.

    Args:
        folder: output folder; created if missing.
        n: number of training questions; each other part has 1/8 as many.
        seed: random seed.
    """
    from unrolled.samples.shop.generator import PARTS, generate, write

    write(folder, generate(n, seed))
    print(f"{folder}: {', '.join(f'{part}.tsv' for part in PARTS)}, shop.sqlite, library.sqlite")


@sample.command
def adding(folder: Path, /, *, length: int = 100, n: int = 10_000, seed: int = 1) -> None:
    """Generate the adding problem: of many digits two are marked, and the label is their sum.

    One mark is in each half, so the first number must be remembered over at least half of the sequence.
    Guessing is right in 10% of the rows.

    Args:
        folder: output folder; created if missing.
        length: number of digits in a row.
        n: number of training rows; the validation set has 1/20 as many, the test set 1/10.
        seed: random seed.
    """
    from unrolled.samples.adding import generate, write

    write(folder, generate(n, n // 20, n // 10, length, seed))
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")


@sample.command
def copy_memory(folder: Path, /, *, length: int = 100, n: int = 10_000, seed: int = 1) -> None:
    """Generate copy memory: ten symbols, a long gap, then their repetition, as tags of the last ten.

    Guessing is right in 12.5% of the symbols.

    Args:
        folder: output folder; created if missing.
        length: number of steps between the symbols and their repetition.
        n: number of training rows; the validation set has 1/20 as many, the test set 1/10.
        seed: random seed.
    """
    from unrolled.samples.copy_memory import generate, write

    write(folder, generate(n, n // 20, n // 10, length, seed))
    print(f"{folder}: train.conll, valid.conll, test.conll")


@sample.command
def digits(
    folder: Path,
    /,
    *,
    size: int | None = None,
    n: int | None = None,
    scanned: bool = False,
    seed: int = 1,
) -> None:
    """Generate images of digits as texts with a character for each pixel, and the digits as labels.

    The digits are drawn with random size, slant, position, thickness and noise. Guessing is right in 10%
    of the images.

    Args:
        folder: output folder; created if missing.
        size: pixels of a side, 8 to 64; by default 14. A text has SIZE times SIZE characters.
        n: number of training images, by default 10,000; the validation set has 1/20 as many, the test
            set 1/10.
        scanned: write the 1,797 handwritten digits of 8 by 8 pixels that come with scikit-learn instead.
        seed: random seed; of scanned digits, that of the split.
    """
    from unrolled.samples import digits

    if scanned and (size is not None or n is not None):
        name = "--size" if size is not None else "--n"
        raise ConfigError(f"--scanned images have a fixed size and number; leave out {name}")
    n = 10_000 if n is None else n
    sample = (
        digits.scanned(seed)
        if scanned
        else digits.generate(n, n // 20, n // 10, 14 if size is None else size, seed)
    )
    digits.write(folder, sample)
    print(f"{folder}: train.tsv, valid.tsv, test.tsv")
