"""Pretrained word vectors as the first weights of an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unrolled.config import require
from unrolled.errors import ConfigError, DataError
from unrolled.text.tokenizer import BOS_ID, EOS_ID, PAD_ID, SPECIALS, UNK_ID, Kind, Tokenizer
from unrolled.vectors.formats.detect import read_vectors

Missing = Literal["random", "mean", "zero"]
"""What a word without a vector begins with; see `fill`."""


def check(
    path: str | PathLike[str], width: int, kind: Kind, *, setting: str = "model.embeddings"
) -> None:
    """Refuse a file that an embedding cannot begin with, after no more than its first vector is read.

    The rest is read by `fill`, once the words are known: which lines matter depends on them, and to read
    the largest files takes minutes.

    Args:
        path: a file of any format of `unrolled.vectors.formats.detect`.
        width: of the embedding.
        kind: of the tokenizer.
        setting: the setting that named the file, for messages.

    Raises:
        ConfigError: vectors of another width, or tokens that are parts of words.
        DataError: the file cannot be read.
    """
    if kind == "bpe":
        raise ConfigError(
            f"{setting} are vectors of words, but text.kind is 'bpe', whose tokens are parts of words; "
            "set text.kind to 'word' or 'space'"
        )
    try:
        found = read_vectors(path, limit=1).width
    except DataError as error:
        raise DataError(f"{error.problem} ({setting})", error.path, error.line) from None
    if found != width:
        raise ConfigError(
            f"model.embedding_size is {width}, but the vectors of {path} ({setting}) are of {found} "
            f"numbers; set model.embedding_size = {found}"
        )


def fill(
    embedding: nn.Embedding,
    tokenizer: Tokenizer,
    path: str | PathLike[str],
    *,
    missing: str = "random",
    setting: str = "model.embeddings",
    scale: float = 1.0,
) -> tuple[str, ...]:
    """Give the rows of an embedding the vectors of their words.

    The file is read as a stream, and only the words of the vocabulary are kept. A word that is not in it
    as it is written gets the vector of its lower case, if there is one. Padding stays zero. A special
    token has a vector only where the file holds its name (`</s>`).

    Args:
        embedding: `[V, D]`, a row for each id of the tokenizer; its weight is overwritten in place.
        tokenizer: of words.
        path: a file of any format of `unrolled.vectors.formats.detect`.
        missing: words without a vector begin at `random` (normal, with the deviation of the vectors that
            were found), at the `mean` of those, or at `zero`. Begin and end of a sequence, which are no
            words, are then always drawn; `<unk>`, which is any word, begins at the mean, not at random.
        setting: the setting that named the file, for messages.
        scale: what the model multiplies embeddings by; they are divided by it, so that its layers see the
            vectors as they are in the file.

    Returns:
        What there is to tell: the coverage, and the notes of the file.

    Raises:
        ConfigError: vectors of another width, a tokenizer of byte pairs, or an unknown `missing`.
        DataError: the file cannot be read, or has none of the words.
    """
    require(missing in get_args(Missing), "missing", _CHOICES, missing)
    check(path, embedding.embedding_dim, tokenizer.kind, setting=setting)
    words = tokenizer.pieces(range(len(tokenizer)))
    try:
        stored = read_vectors(path, {*words, *map(str.lower, words)})
    except DataError as error:
        raise DataError(f"{error.problem} ({setting})", error.path, error.line) from None
    rows_V = _rows_of(words, stored.words)
    is_found_V = rows_V >= 0
    if not is_found_V[len(SPECIALS) :].any():
        raise DataError(
            f"none of the {len(words) - len(SPECIALS):,} words of the vocabulary is in this file; "
            f"expected vectors of the language of the data ({setting})",
            path,
        )
    table_VD = _beginnings(stored.matrix[rows_V[is_found_V]], len(words), missing)
    table_VD[is_found_V] = stored.matrix[rows_V[is_found_V]]
    table_VD[PAD_ID] = 0
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(table_VD) / scale)
    return _told(words, stored.words, rows_V, path, setting, missing), *stored.notes


_CHOICES = f"one of {', '.join(get_args(Missing))}"
_BEGINS = {"random": "begin at random", "mean": "begin at the mean", "zero": "begin at zero"}


def _rows_of(words: Sequence[str], found: Sequence[str]) -> NDArray[np.int64]:
    """For each word the row of its vector, −1 for none; padding has none."""
    rows = {word: row for row, word in enumerate(found)}
    rows_V = np.array([rows.get(word, rows.get(word.lower(), -1)) for word in words], np.int64)
    rows_V[PAD_ID] = -1
    return rows_V


def _beginnings(found_ND: NDArray[np.float32], n_words: int, missing: str) -> NDArray[np.float32]:
    """`[V, D]`, as if no word had a vector."""
    D = found_ND.shape[1]
    table_VD = np.zeros((n_words, D), np.float32)
    if missing == "mean":
        table_VD[:] = found_ND.mean(axis=0, dtype=np.float64)
    deviation = float(found_ND.std(dtype=np.float64))
    drawn = list(range(n_words)) if missing == "random" else [BOS_ID, EOS_ID]
    table_VD[drawn] = torch.empty(len(drawn), D).normal_(std=deviation).numpy()
    if missing == "random":
        # A word of which nothing is known; a table that stays frozen could not forget what was drawn.
        table_VD[UNK_ID] = found_ND.mean(axis=0, dtype=np.float64)
    return table_VD


def _told(
    words: Sequence[str],
    found: Sequence[str],
    rows_V: NDArray[np.int64],
    path: str | PathLike[str],
    setting: str,
    missing: str,
) -> str:
    first = len(SPECIALS)
    n_words = len(words) - first
    rows = rows_V[first:]
    n_found = int((rows >= 0).sum())
    n_lower = sum(
        row >= 0 and found[row] != word for row, word in zip(rows, words[first:], strict=True)
    )
    lower = f", {n_lower:,} of them in lower case" if n_lower else ""
    rest = f"; the others {_BEGINS[missing]}" if n_found < n_words else ""
    return (
        f"{setting}: {n_found:,} of {n_words:,} words ({n_found / n_words:.1%}) have a vector in "
        f"{path}{lower}{rest}"
    )
