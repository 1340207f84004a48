"""`unrolled vectors`: neighbors, analogies, ratios, evaluation, plots and conversion.

`VECTORS` is a file in any format that `unrolled.vectors.formats` reads, or a folder written by `unrolled
vectors train`. Imports are inside the commands, to keep `unrolled --help` fast.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unrolled.cli.app import vectors as app
from unrolled.cli.lines import line_groups
from unrolled.cli.options import print_message, shown_on, standard_input
from unrolled.config import require
from unrolled.errors import ConfigError, DataError
from unrolled.quoting import escape_breaks, listed, quote

if TYPE_CHECKING:
    from unrolled.vectors.word_vectors import Neighbour, WordVectors

Format = Literal["glove", "word2vec", "word2vec-binary", "safetensors"]
Which = Literal["sum", "word", "context"]
WordList = Annotated[Path | None, Parameter(name="--words")]


@app.command(usage="Usage: unrolled vectors nearest [OPTIONS] VECTORS [WORDS...]")
def nearest(
    vectors: Path,
    /,
    *words: str,
    k: int = 10,
    max_words: int | None = None,
    which: Which = "sum",
) -> None:
    """List the most similar words and their cosine similarities.

    Args:
        vectors: file of vectors, or folder written by 'unrolled vectors train'.
        words: words to find neighbors of; at least one.
        k: number of neighbors of each word.
        max_words: search only the first MAX_WORDS words (usually the most frequent).
        which: vectors to use from a folder written by 'unrolled vectors train': word vectors, context
            vectors, or their sum; no effect on other files.
    """
    _need(words, 1, "nearest VECTORS WORD")
    loaded = _load(vectors, max_words, which)
    answers = [(word, loaded.nearest(word, k)) for word in words]
    for number, (word, neighbours) in enumerate(answers):
        if number:
            print()
        if len(words) > 1:
            print(_shown(word))
        _print_neighbours(neighbours, vectors)


@app.command
def analogy(
    vectors: Path,
    a: str,
    b: str,
    c: str,
    /,
    *,
    k: int = 5,
    method: Literal["add", "mul"] = "add",
    max_words: int | None = None,
    which: Which = "sum",
) -> None:
    """Solve an analogy: A is to B as C is to …

    Example: 'unrolled vectors analogy VECTORS man king woman' should print queen first.

    Args:
        vectors: file of vectors, or folder written by 'unrolled vectors train'.
        a: first word of the given pair.
        b: second word of the given pair.
        c: first word of the pair to complete.
        k: number of answers.
        method: how answers are ranked: by the cosine with B − A + C (add: 3CosAdd), or by cos(·, B)
            cos(·, C) / cos(·, A), with cosines shifted to 0…1 (mul: 3CosMul).
        max_words: search only the first MAX_WORDS words (usually the most frequent).
        which: vectors to use from a folder written by 'unrolled vectors train': word vectors, context
            vectors, or their sum; no effect on other files.
    """
    loaded = _load(vectors, max_words, which)
    answers = loaded.analogy(a, b, c, k, "3CosAdd" if method == "add" else "3CosMul")
    _print_neighbours(answers, vectors)


@app.command
def similarity(vectors: Path, first: str, second: str, /, *, which: Which = "sum") -> None:
    """Print the cosine similarity of two words, from −1 to 1.

    Args:
        vectors: file of vectors, or folder written by 'unrolled vectors train'.
        first: first word.
        second: second word.
        which: vectors to use from a folder written by 'unrolled vectors train': word vectors, context
            vectors, or their sum; no effect on other files.
    """
    print(f"{_load(vectors, None, which).similarity(first, second):.4f}")


@app.command(usage="Usage: unrolled vectors ratio [OPTIONS] FOLDER FIRST SECOND [PROBES...]")
def ratio(folder: Path, first: str, second: str, /, *probes: str) -> None:
    """Compare two words by the ratio of their co-occurrence probabilities with other words.

    Example: 'unrolled vectors ratio FOLDER ice steam solid gas water fashion' prints the table of the
    GloVe paper: P(solid | ice) / P(solid | steam), and so on.

    Args:
        folder: folder written by 'unrolled vectors train'.
        first: word in the numerator.
        second: word in the denominator.
        probes: context words whose co-occurrence probabilities are compared; at least one.
    """
    _need(probes, 1, "ratio FOLDER ice steam solid gas water fashion")
    from unrolled.vectors.counting.ratios import render

    ratios = _load(folder, None, "word").ratio(first, second, *probes)
    for line in render(first, second, ratios):
        print(line)


@app.command(usage="Usage: unrolled vectors evaluate [OPTIONS] VECTORS [SETS...]")
def evaluate(
    vectors: Path,
    /,
    *sets: str,
    max_words: int | None = None,
    which: Which = "sum",
    record: Path | None = None,
) -> None:
    """Evaluate vectors on word-similarity and analogy test sets.

    Args:
        vectors: file of vectors, or folder written by 'unrolled vectors train'.
        sets: test files, or folders of them; at least one. Similarity sets have two words and a score
            per line. Analogy sets have four words per line; sections start with a line ': NAME', or are
            separate files.
        max_words: use only the first MAX_WORDS words (usually the most frequent).
        which: vectors to use from a folder written by 'unrolled vectors train': word vectors, context
            vectors, or their sum; no effect on other files.
        record: file to append the scores to, as one line of JSON with the date and, if known, Unrolled's
            git commit.
    """
    _need(sets, 1, "evaluate VECTORS SETS")
    if record is not None and (record.is_dir() or not record.parent.is_dir()):
        raise ConfigError(f"cannot append to {record}; name a file in an existing folder")
    from unrolled.vectors import evaluation

    similarity_sets, analogies = evaluation.read_sets(sets)
    loaded = _load(vectors, max_words, which)
    scores = evaluation.evaluate(loaded, similarity_sets, analogies)
    if not scores.n_known:
        raise DataError(
            "no item of these test sets has vectors for all of its words; use test sets in the language "
            "of the vectors",
            vectors,
        )
    for line in scores.lines():
        print(line)
    if record is not None:
        from unrolled.predictors.results_file import record as append_record

        append_record(scores, record, vectors=str(vectors), which=which, width=loaded.width)


@app.command(name="map", usage="Usage: unrolled vectors map [OPTIONS] VECTORS PICTURE [WORDS...]")
def map_(
    vectors: Path,
    picture: Path,
    /,
    *words: str,
    word_list: WordList = None,
    which: Which = "sum",
) -> None:
    """Plot words on the first two principal components of their vectors (PCA); needs matplotlib.

    Args:
        vectors: file of vectors, or folder written by 'unrolled vectors train'.
        picture: plot to write: FILE.png, FILE.svg or FILE.pdf.
        words: words to plot, 2 to 500 including --words.
        word_list: text file with further words to plot, one per line; - for standard input.
        which: vectors to use from a folder written by 'unrolled vectors train': word vectors, context
            vectors, or their sum; no effect on other files.
    """
    from unrolled.inspect.word_map import ENDINGS, draw_words

    if picture.suffix.lower() not in ENDINGS:
        raise ConfigError(
            f"the picture {quote(str(picture))} must be a file name that ends in .png, .svg or .pdf; "
            "usage: unrolled vectors map VECTORS PICTURE WORD WORD"
        )
    asked = [*words, *(read_word_list(word_list) if word_list is not None else ())]
    _need(asked, 2, "map VECTORS PICTURE WORD WORD")
    loaded = _load(vectors, None, which)
    known = [word for word in asked if word in loaded]
    if len(known) >= 2 and len(known) < len(asked):
        missing = [word for word in asked if word not in loaded]
        _print_notes([f"left out, as they have no vector: {listed(missing, most=20)}"])
        asked = known
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        draw_words(loaded, asked, picture)
    _print_notes([str(note.message) for note in caught if note.category is UserWarning])
    print(picture)


@app.command(usage="Usage: unrolled vectors convert [OPTIONS] VECTORS TARGET")
def convert(
    vectors: Path,
    target: Path,
    /,
    *,
    to: Format | None = None,
    source: Annotated[Format | None, Parameter(name="--from")] = None,
    word_list: WordList = None,
    max_words: int | None = None,
    which: Which = "sum",
    force: bool = False,
) -> None:
    """Convert vectors, all or those of selected words, to another format.

    Args:
        vectors: file of vectors, or folder written by 'unrolled vectors train'.
        target: file to write. A text or word2vec binary file is compressed if its name ends in .gz, .bz2
            or .xz. A .safetensors file loads fastest; its words are written to vocabulary.tsv next to
            it.
        to: format of TARGET; by default, chosen from its extension: .txt for GloVe text, .vec for
            word2vec text, .bin for word2vec binary, .safetensors for safetensors.
        source: format of VECTORS, if it cannot be detected.
        word_list: text file with the words to keep, one per line; - for standard input.
        max_words: keep only the first MAX_WORDS words (usually the most frequent).
        which: vectors to use from a folder written by 'unrolled vectors train': word vectors, context
            vectors, or their sum; no effect on other files.
        force: replace TARGET (and, for safetensors, vocabulary.tsv next to it) if it exists.
    """
    from unrolled.vectors.formats.detect import (
        VOCABULARY_FILE,
        read_vectors,
        write_vectors,
    )

    chosen = to or _format_for(target)
    _check_max_words(max_words)
    vocabulary = target.parent / VOCABULARY_FILE
    if target.exists() and not force:
        raise ConfigError(f"{target} exists; add --force to replace it, or choose another name")
    if chosen == "safetensors" and vocabulary.exists() and not force:
        raise ConfigError(
            f"{vocabulary} exists; add --force to replace it, or choose another folder"
        )
    keep = None if word_list is None else set(read_word_list(word_list))
    stored = read_vectors(vectors, keep, format=source, which=which, limit=max_words)
    _print_notes(stored.notes)
    if not stored.words:
        raise DataError(f"none of the words in {word_list} is in this file", vectors)
    write_vectors(target, stored.words, stored.matrix, format=chosen, counts=stored.counts)
    size = f"{len(stored.words):,} vectors of {stored.width} dimensions"
    n_missing = 0 if keep is None else len(keep) - len(stored.words)
    missing = "" if keep is None else f"; words of the list without a vector: {n_missing:,}"
    print(f"{target}: {size}{missing}")


def _format_for(target: Path) -> Format:
    from unrolled.vectors.formats.detect import format_for

    try:
        return format_for(target)
    except ConfigError as error:
        message = str(error).replace("give the format", "add --to FORMAT")
        raise ConfigError(message) from None


def read_word_list(path: Path) -> list[str]:
    """The words of a text file with one word per line, or of standard input ("-"), without blank lines.

    Raises:
        DataError: the file cannot be read, or has no words.
    """
    from unrolled.text.lines import read_lines

    lines: Iterable[str]
    if str(path) == "-":
        lines = chain.from_iterable(line_groups(standard_input(), "standard input"))
    else:
        lines = (line.text for line in read_lines(path))
    words = [word for line in lines if (word := line.strip())]
    if not words:
        raise DataError("no words in this file; expected one per line", path)
    return words


def _need(words: Sequence[str], n: int, usage: str) -> None:
    if len(words) < n:
        raise ConfigError(f"too few words; usage: unrolled vectors {usage}")


def _load(vectors: Path, max_words: int | None, which: Which) -> WordVectors:
    _check_max_words(max_words)
    from unrolled.vectors.word_vectors import WordVectors

    loaded = WordVectors.load(vectors, which=which, limit=max_words)
    _print_notes(loaded.notes)
    return loaded


def _check_max_words(max_words: int | None) -> None:
    require(max_words is None or max_words >= 1, "--max-words", "at least 1", max_words)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print_message(note, "note: ")


def _print_neighbours(neighbours: Sequence[Neighbour], vectors: Path) -> None:
    if not neighbours:
        raise DataError("there are no other words in this file; use a larger vocabulary", vectors)
    for word, score in neighbours:
        print(f"{score:8.4f}  {_shown(word)}")


def _shown(word: str) -> str:
    """A word on one line; line breaks are escaped, and at a terminal all control characters."""
    return shown_on(sys.stdout, escape_breaks(word))
