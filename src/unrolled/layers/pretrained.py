"""Pretrained word vectors as the initial weights of an embedding."""

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
from unrolled.text.config import BOS_ID, EOS_ID, PAD_ID, SPECIALS, UNK_ID, Kind
from unrolled.text.tokenizer import Tokenizer
from unrolled.vectors.formats.detect import read_vectors
from unrolled.vectors.formats.stored import forms_of
from unrolled.wording import percent

Missing = Literal["random", "mean", "zero"]
"""How the embedding of a word without a vector is initialised; see `fill`."""


def check(
    path: str | PathLike[str], width: int, kind: Kind, *, setting: str = "model.embeddings"
) -> None:
    """Refuse a file of vectors that cannot initialise an embedding; reads at most its first vector.

    The rest is read by `fill` once the words are known: they determine which lines are needed, and
    reading the largest files takes minutes.

    Args:
        path: a file of any format of `unrolled.vectors.formats.detect`.
        width: width of the embedding.
        kind: kind of the tokenizer.
        setting: the setting that names the file, for error messages.

    Raises:
        ConfigError: the vectors have a different width, or tokens are parts of words.
        DataError: the file cannot be read.
    """
    if kind == "bpe":
        raise ConfigError(
            f"{setting} names word vectors, but text.kind is 'bpe', whose tokens are parts of words; "
            "set text.kind to 'word' or 'space'"
        )
    try:
        file_width = read_vectors(path, limit=1).width
    except DataError as error:
        raise DataError(f"{error.problem} ({setting})", error.path, error.line) from None
    if file_width != width:
        raise ConfigError(
            f"model.embedding_size is {width}, but the vectors in {path} ({setting}) have {file_width} "
            f"dimensions; set model.embedding_size = {file_width}"
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
    """Set the rows of an embedding to the pretrained vectors of their words.

    The file is read as a stream, and only the words of the vocabulary are kept. A word that the file does
    not contain as written gets the vector of its lower-cased form, if there is one. Padding stays zero. A
    special token has a vector only if the file contains its name (`</s>`).

    Args:
        embedding: `[V, D]`, one row per id of the tokenizer; its weight is overwritten in place.
        tokenizer: a word tokenizer.
        path: a file of any format of `unrolled.vectors.formats.detect`.
        missing: initial vectors of words that are not in the file: `random` (normal, with the standard
            deviation of the vectors read), the `mean` of the vectors read, or `zero`. Two cases differ:
            begin and end of a sequence, which are not words, are always random unless the file has them;
            `<unk>`, which stands for any word, gets the mean instead of a random vector.
        setting: the setting that names the file, for messages.
        scale: the factor by which the model multiplies embeddings; the vectors are divided by it, so that
            the layers receive them as they are in the file.

    Returns:
        Messages for the user: the coverage, and the notes of the file.

    Raises:
        ConfigError: the vectors have a different width, the tokenizer uses byte pairs, or `missing` is
            unknown.
        DataError: the file cannot be read, or contains none of the words.
    """
    require(missing in get_args(Missing), "missing", _CHOICES, missing)
    check(path, embedding.embedding_dim, tokenizer.kind, setting=setting)
    words = tokenizer.pieces(range(len(tokenizer)))
    try:
        stored = read_vectors(path, {*words, *map(str.lower, words)})  # in any Unicode normal form
    except DataError as error:
        raise DataError(f"{error.problem} ({setting})", error.path, error.line) from None
    rows_V = _rows_of(words, stored.words)
    is_found_V = rows_V >= 0
    if not is_found_V[len(SPECIALS) :].any():
        raise DataError(
            f"none of the {len(words) - len(SPECIALS):,} words of the vocabulary is in this file; "
            f"use vectors for the language of the data ({setting})",
            path,
        )
    table_VD = _beginnings(stored.matrix[rows_V[is_found_V]], len(words), missing)
    table_VD[is_found_V] = stored.matrix[rows_V[is_found_V]]
    table_VD[PAD_ID] = 0
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(table_VD) / scale)
    return _coverage(words, stored.words, rows_V, path, setting, missing), *stored.notes


_CHOICES = f"one of {', '.join(get_args(Missing))}"
_BEGINS = {
    "random": "start at random values",
    "mean": "start at the mean vector",
    "zero": "start at zero",
}


def _rows_of(words: Sequence[str], stored: Sequence[str]) -> NDArray[np.int64]:
    """The row of each word's vector; −1 if it has none. Padding has none."""
    rows: dict[str, int] = {}
    for row, word in enumerate(stored):
        rows[word] = row
        for form in forms_of(word)[1:]:
            rows.setdefault(form, row)
    rows_V = np.array([rows.get(word, rows.get(word.lower(), -1)) for word in words], np.int64)
    rows_V[PAD_ID] = -1
    return rows_V


def _beginnings(found_ND: NDArray[np.float32], n_words: int, missing: str) -> NDArray[np.float32]:
    """The initial table `[V, D]`, as if no word had a vector."""
    D = found_ND.shape[1]
    table_VD = np.zeros((n_words, D), np.float32)
    if missing == "mean":
        table_VD[:] = found_ND.mean(axis=0, dtype=np.float64)
    deviation = float(found_ND.std(dtype=np.float64))
    drawn = list(range(n_words)) if missing == "random" else [BOS_ID, EOS_ID]
    table_VD[drawn] = torch.empty(len(drawn), D).normal_(std=deviation).numpy()
    if missing == "random":
        # `<unk>` stands for any word; if the table is frozen, a random vector would stay forever.
        table_VD[UNK_ID] = found_ND.mean(axis=0, dtype=np.float64)
    return table_VD


def _coverage(
    words: Sequence[str],
    stored: Sequence[str],
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
        row >= 0 and word not in forms_of(stored[row])
        for row, word in zip(rows, words[first:], strict=True)
    )
    lower = f", {n_lower:,} of them in lower case" if n_lower else ""
    rest = f"; the others {_BEGINS[missing]}" if n_found < n_words else ""
    return (
        f"{setting}: {n_found:,} of {n_words:,} words ({percent(n_found / n_words)}) have a vector in "
        f"{path}{lower}{rest}"
    )
