"""Events of `fit_vectors`, in order. Each is a plain record; there are no callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Read:
    """A part of the text was read and encoded.

    Args:
        n_tokens: number of words read so far.
        tokens_per_second: speed in this session.
        fraction_done: 0…1, by bytes of the files.
    """

    n_tokens: int
    tokens_per_second: float
    fraction_done: float


@dataclass(frozen=True)
class VocabularyMade:
    """The vocabulary was selected.

    Args:
        n_words: number of words in the vocabulary, V.
        n_different: number of different words in the text.
        n_tokens: number of words in the text.
        n_kept: number of them that are in the vocabulary.
    """

    n_words: int
    n_different: int
    n_tokens: int
    n_kept: int


@dataclass(frozen=True)
class Counted:
    """Pairs were counted, or counts of parts of the text were merged.

    Args:
        n_tokens: number of vocabulary words whose pairs are counted.
        n_nonzeros: pairs (i, j) with X_ij > 0 so far; for a text counted in parts, in this part.
        tokens_per_second: speed in this session.
        fraction_done: 0…1.
    """

    n_tokens: int
    n_nonzeros: int
    tokens_per_second: float
    fraction_done: float


@dataclass(frozen=True)
class Epoch:
    """An epoch, one pass over the non-zeros, is complete.

    Args:
        epoch: number of the epoch, from 1.
        n_epochs: number of epochs in total.
        loss: mean of f(X_ij) diff² / 2 over the non-zeros, each before its own step; eq. 8 is twice
            the sum.
        seconds: duration of the epoch.
        pairs_per_second: non-zeros per second.
        eta_seconds: estimated time until the end of the last epoch.
    """

    epoch: int
    n_epochs: int
    loss: float
    seconds: float
    pairs_per_second: float
    eta_seconds: float


@dataclass(frozen=True)
class Finished:
    """The vectors are saved.

    Args:
        folder: the output folder.
        n_words: V.
        size: D.
        loss: loss of the last epoch.
        seconds: training time, including earlier sessions.
    """

    folder: Path
    n_words: int
    size: int
    loss: float
    seconds: float


VectorsEvent = Read | VocabularyMade | Counted | Epoch | Finished
