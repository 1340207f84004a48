"""What `fit_vectors` reports, in the order it happens. Each event is a record; nothing calls back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Read:
    """Text was read and numbered.

    Args:
        n_tokens: words of the text so far.
        tokens_per_second: of this session.
        fraction_done: 0…1, by bytes of the files.
    """

    n_tokens: int
    tokens_per_second: float
    fraction_done: float


@dataclass(frozen=True)
class VocabularyMade:
    """The words are chosen.

    Args:
        n_words: that have vectors, V.
        n_different: that the text holds.
        n_tokens: words of the text.
        n_kept: those of them that are in the vocabulary.
    """

    n_words: int
    n_different: int
    n_tokens: int
    n_kept: int


@dataclass(frozen=True)
class Counted:
    """Pairs were counted, or counts of parts of the text were added up.

    Args:
        n_tokens: words of the vocabulary whose pairs are counted.
        n_nonzeros: pairs (i, j) with X_ij > 0 so far; of a text counted in parts, those of its part.
        tokens_per_second: of this session.
        fraction_done: 0…1.
    """

    n_tokens: int
    n_nonzeros: int
    tokens_per_second: float
    fraction_done: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the non-zeros.

    Args:
        epoch: from 1.
        n_epochs: how many there are to be.
        loss: mean of f(X_ij) diff² / 2 over the non-zeros, each before its own step; eq. 8 is twice
            the sum.
        seconds: that it took.
        pairs_per_second: non-zeros.
        eta_seconds: until the last epoch ends.
    """

    epoch: int
    n_epochs: int
    loss: float
    seconds: float
    pairs_per_second: float
    eta_seconds: float


@dataclass(frozen=True)
class Finished:
    """The vectors are on the disk.

    Args:
        folder: that holds them.
        n_words: V.
        size: D.
        loss: of the last epoch.
        seconds: since the beginning, earlier sessions included.
    """

    folder: Path
    n_words: int
    size: int
    loss: float
    seconds: float


VectorsEvent = Read | VocabularyMade | Counted | Epoch | Finished
