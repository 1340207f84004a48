"""Word vectors at the command line: neighbours, analogies, ratios, evaluation, maps, other formats.

`VECTORS` is a file of any format that `unrolled.vectors.formats` reads, or the folder of a training. What
a command needs is imported inside it, so that `unrolled --help` waits for nothing.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unrolled.cli.app import vectors as app
from unrolled.cli.options import shown_on
from unrolled.config import require
from unrolled.errors import ConfigError, DataError
from unrolled.quoting import escape_breaks, one_message

if TYPE_CHECKING:
    from unrolled.vectors.word_vectors import Neighbour, WordVectors

Format = Literal["glove", "word2vec", "word2vec-binary", "safetensors"]
Which = Literal["sum", "word", "context"]
WordList = Annotated[Path | None, Parameter(name="--words")]


@app.command
def nearest(
    vectors: Path,
    /,
    *words: str,
    k: int = 10,
    max_words: int | None = None,
    which: Which = "sum",
) -> None:
    """List the words most like a word, with their cosines.

    Args:
        vectors: file of vectors, or folder of a training.
        words: words to find neighbours of.
        k: how many for each.
        max_words: search among the first MAX_WORDS words only, the commonest in most files.
        which: of vectors from a training, the sum of word and context vectors, or one of them.
    """
    _need(words, 1, "nearest VECTORS WORD")
    loaded = _load(vectors, max_words, which)
    answers = [(word, loaded.nearest(word, k)) for word in words]
    for number, (word, found) in enumerate(answers):
        if number:
            print()
        if len(words) > 1:
            print(_shown(word))
        _print_neighbours(found, vectors)


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
    """Say what is to C as B is to A: `analogy VECTORS man king woman` asks for queen.

    Args:
        vectors: file of vectors, or folder of a training.
        a: a word.
        b: what belongs to it.
        c: another word.
        k: how many answers.
        method: the largest cosine with b − a + c (add, 3CosAdd), or the largest product of cosines with b
            and c over that with a (mul, 3CosMul).
        max_words: search among the first MAX_WORDS words only, the commonest in most files.
        which: of vectors from a training, the sum of word and context vectors, or one of them.
    """
    loaded = _load(vectors, max_words, which)
    found = loaded.analogy(a, b, c, k, "3CosAdd" if method == "add" else "3CosMul")
    _print_neighbours(found, vectors)


@app.command
def similarity(vectors: Path, first: str, second: str, /, *, which: Which = "sum") -> None:
    """Print the cosine of two words, −1 to 1.

    Args:
        vectors: file of vectors, or folder of a training.
        first: a word.
        second: another.
        which: of vectors from a training, the sum of word and context vectors, or one of them.
    """
    print(f"{_load(vectors, None, which).similarity(first, second):.4f}")


@app.command
def ratio(folder: Path, first: str, second: str, /, *probes: str) -> None:
    """Show how much likelier words stand near FIRST than near SECOND, from the counts of a training.

    `ratio FOLDER ice steam solid gas water fashion` is the table from which GloVe is derived.

    Args:
        folder: folder of a training.
        first: a word, whose contexts are looked at.
        second: the word to compare it with.
        probes: words that may stand near them.
    """
    _need(probes, 1, "ratio FOLDER ice steam solid gas water fashion")
    from unrolled.vectors.counting.ratios import render

    found = _load(folder, None, "word").ratio(first, second, *probes)
    for line in render(first, second, found):
        print(line)


@app.command
def evaluate(
    vectors: Path,
    /,
    *sets: str,
    max_words: int | None = None,
    which: Which = "sum",
    record: Path | None = None,
) -> None:
    """Measure vectors by word similarity and analogies.

    Args:
        vectors: file of vectors, or folder of a training.
        sets: files or folders of them: lines of two words and a score, or of four words, in sections that
            begin with ": name" or in a file for each.
        max_words: keep the first MAX_WORDS words only, the commonest in most files.
        which: of vectors from a training, the sum of word and context vectors, or one of them.
        record: file to append the figures to as a line of JSON.
    """
    _need(sets, 1, "evaluate VECTORS SETS")
    if record is not None and (record.is_dir() or not record.parent.is_dir()):
        raise ConfigError(f"cannot append to {record}; name a file in a folder that is there")
    from unrolled.vectors import evaluation

    similarity_sets, analogies = evaluation.read_sets(sets)
    loaded = _load(vectors, max_words, which)
    found = evaluation.evaluate(loaded, similarity_sets, analogies)
    if not found.n_known:
        raise DataError(
            "no pair and no question of these sets has vectors for all its words; expected sets in the "
            "language of the vectors",
            vectors,
        )
    for line in found.lines():
        print(line)
    if record is not None:
        from unrolled.predictors.results_file import record as append_record

        append_record(found, record, vectors=str(vectors), which=which, width=loaded.width)


@app.command(name="map")
def map_(
    vectors: Path,
    picture: Path,
    /,
    *words: str,
    word_list: WordList = None,
    which: Which = "sum",
) -> None:
    """Draw words in two dimensions, so that words used alike stand together.

    Args:
        vectors: file of vectors, or folder of a training.
        picture: file to draw: FILE.png, FILE.svg or FILE.pdf.
        words: words to draw.
        word_list: text file of more words, one a line.
        which: of vectors from a training, the sum of word and context vectors, or one of them.
    """
    from unrolled.inspect.word_map import draw_words

    asked = [*words, *(read_word_list(word_list) if word_list is not None else ())]
    _need(asked, 2, "map VECTORS PICTURE WORD WORD")
    loaded = _load(vectors, None, which)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        draw_words(loaded, asked, picture)
    _tell([str(each.message) for each in told if each.category is UserWarning])
    print(picture)


@app.command
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
    """Write vectors in another format, all of them or those of some words.

    Args:
        vectors: file of vectors, or folder of a training.
        target: file to write; .gz, .bz2 or .xz at its end packs it. Of safetensors, which is read
            fastest, vocabulary.tsv is written beside it.
        to: its format; by default that of its ending: .txt is GloVe's text, .vec word2vec's text, .bin
            word2vec's binary, .safetensors.
        source: the format of VECTORS, where it cannot be told.
        word_list: text file of words to keep, one a line.
        max_words: keep the first MAX_WORDS words only, the commonest in most files.
        which: of vectors from a training, the sum of word and context vectors, or one of them.
        force: replace TARGET.
    """
    from unrolled.vectors.formats.detect import (
        VOCABULARY_FILE,
        format_for,
        read_vectors,
        write_vectors,
    )

    chosen = to or format_for(target)
    _check_max_words(max_words)
    vocabulary = target.parent / VOCABULARY_FILE
    if target.exists() and not force:
        raise ConfigError(f"{target} exists; replace it (--force), or choose another name")
    if chosen == "safetensors" and vocabulary.exists() and not force:
        raise ConfigError(f"{vocabulary} exists; replace it (--force), or choose another folder")
    keep = None if word_list is None else set(read_word_list(word_list))
    stored = read_vectors(vectors, keep, format=source, which=which, limit=max_words)
    _tell(stored.notes)
    if not stored.words:
        raise DataError(f"none of the words of {word_list} is in this file", vectors)
    write_vectors(target, stored.words, stored.matrix, format=chosen, counts=stored.counts)
    size = f"{len(stored.words):,} words of {stored.width} numbers"
    missing = "" if keep is None else f", {len(keep) - len(stored.words):,} of the list without one"
    print(f"{target}: {size}{missing}")


def read_word_list(path: Path) -> list[str]:
    """The words of a text file, one a line; blank lines are left out.

    Raises:
        DataError: the file cannot be read, or has no words.
    """
    from unrolled.text.lines import read_lines

    words = [word for line in read_lines(path) if (word := line.text.strip())]
    if not words:
        raise DataError("no words in this file; expected one a line", path)
    return words


def _need(words: Sequence[str], n: int, usage: str) -> None:
    if len(words) < n:
        raise ConfigError(f"too few words given; for example: unrolled vectors {usage}")


def _load(vectors: Path, max_words: int | None, which: Which) -> WordVectors:
    _check_max_words(max_words)
    from unrolled.vectors.word_vectors import WordVectors

    loaded = WordVectors.load(vectors, which=which, limit=max_words)
    _tell(loaded.notes)
    return loaded


def _check_max_words(max_words: int | None) -> None:
    require(max_words is None or max_words >= 1, "--max-words", "at least 1", max_words)


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {one_message(note)}", file=sys.stderr)


def _print_neighbours(found: Sequence[Neighbour], vectors: Path) -> None:
    if not found:
        raise DataError("there are no other words to answer with; give more vectors", vectors)
    for word, score in found:
        print(f"{score:8.4f}  {_shown(word)}")


def _shown(word: str) -> str:
    """A word on one line, exact but for line ends where it does not go to a terminal."""
    return shown_on(sys.stdout, escape_breaks(word))
