"""The settings of word-vector training, from reading the text to the last epoch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from unrolled.config import PositiveCount, Range, Seed, Threads, Width, check_fields, require
from unrolled.system import n_cores

Tokens = Literal["space", "word"]
Borders = Literal["line", "document", "none"]
Weighting = Literal["harmonic", "flat"]

Positive = Annotated[float, Range(above=0, most=10**12)]

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_MEMORY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(KB|MB|GB|TB)", re.IGNORECASE)


@dataclass(frozen=True)
class VectorsConfig:
    """The settings of a GloVe training.

    The defaults are those of the paper (Pennington, Socher & Manning 2014, sections 3.1 and 4.2): ten
    context words on each side, weighted by 1/d, x_max 100, α 3/4, learning rate 0.05. Where the paper
    gives no value or a larger one (50 epochs; the 400,000 most frequent words), they are those of its
    program `glove` (25 epochs, gradients clipped at 100) and of its demo script (words that occur at
    least five times).

    Args:
        size: width of a vector, D.
        tokens: how text is split into words: at ASCII white space (`space`, as in the reference program),
            or into words and punctuation marks (`word`, as in `TextConfig`). Text is converted to Unicode
            normal form C.
        lowercase: convert the text to lower case.
        borders: boundary that context windows never cross: the end of a `line` (as in the reference
            program), the end of a `document`, or `none`.
        min_count: words that occur less often are removed from the text before windows are formed.
        max_words: maximum size of the vocabulary (the most frequent words); 0 for no limit.
        window: number of context words on each side.
        symmetric: whether the context is on both sides, or only to the left. X_ij counts the words j
            around a word i; with the left side only, the words before it.
        weighting: a word at distance d counts 1/d (`harmonic`) or 1 (`flat`).
        x_max: co-occurrence count at which the weighting f saturates at 1; x_max in eq. 9.
        alpha: exponent of the weighting below x_max; α in eq. 9.
        rate: AdaGrad's learning rate.
        clip: clip each gradient component to [-clip, clip].
        epochs: passes over the non-zeros.
        seed: seed of the initial vectors and of the training order.
        memory: memory limit, e.g. "512MB" or "4GB". About 90 MB of it are for Python and its libraries;
            anything else that the process holds comes on top. Text of any size is counted within the
            limit, on disk if necessary. The vectors must fit; otherwise an error is raised. All different
            words of the text, including rare ones, must fit while the vocabulary is selected (200 bytes
            each). On a cluster, the limit of one task on a worker. The result is the same, bit for bit.
        threads: number of threads for counting and training; 0 for all that the process may use. The
            result is the same, bit for bit.
        save_every_n_seconds: minimum seconds between checkpoints (written at epoch ends); 0 saves
            every epoch.

    Raises:
        ConfigError: a value is out of range.

    >>> VectorsConfig(size=50).window
    10
    """

    size: Width = 100
    tokens: Tokens = "space"
    lowercase: bool = False
    borders: Borders = "line"
    min_count: PositiveCount = 5
    max_words: Annotated[int, Range(0, 10**9)] = 0
    window: Annotated[int, Range(1, 10_000)] = 10
    symmetric: bool = True
    weighting: Weighting = "harmonic"
    x_max: Positive = 100.0
    alpha: Annotated[float, Range(above=0, most=100)] = 0.75
    rate: Positive = 0.05
    clip: Positive = 100.0
    epochs: Annotated[int, Range(1, 10**6)] = 25
    seed: Seed = 1
    memory: str = "4GB"
    threads: Threads = 0
    save_every_n_seconds: Annotated[float, Range(0, 10**9)] = 10.0

    def __post_init__(self) -> None:
        check_fields(self, "vectors")
        wanted = "a size such as 512MB or 4GB"
        require(_MEMORY.fullmatch(self.memory) is not None, "vectors.memory", wanted, self.memory)

    @property
    def n_bytes(self) -> int:
        """`memory` in bytes.

        >>> VectorsConfig(memory="1.5 GB").n_bytes
        1500000000
        """
        match = _MEMORY.fullmatch(self.memory)
        assert match is not None
        return int(float(match[1]) * _UNITS[match[2].upper()])

    @property
    def n_threads(self) -> int:
        """`threads`, or for 0 the number of cores that this process may use."""
        return self.threads or n_cores()


OF_COUNTING = frozenset(
    {"tokens", "lowercase", "borders", "min_count", "max_words", "window", "symmetric", "weighting"}
)
"""Settings that the counts depend on."""

CHANGEABLE = frozenset({"epochs", "memory", "threads", "save_every_n_seconds"})
"""Settings that a resumed run may change."""

OF_TRAINING = frozenset({"size", "x_max", "alpha", "rate", "clip", "seed"})
"""Settings that it may also change before the first epoch is saved: the counts stay the same."""
