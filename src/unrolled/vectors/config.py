"""How word vectors are made, from the text to the last epoch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from unrolled.config import PositiveCount, Range, Seed, Threads, Width, check_fields, require

Tokens = Literal["space", "word"]
Borders = Literal["line", "document", "none"]
Weighting = Literal["harmonic", "flat"]

Positive = Annotated[float, Range(above=0, most=10**12)]

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_MEMORY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(KB|MB|GB|TB)", re.IGNORECASE)


@dataclass(frozen=True)
class VectorsConfig:
    """GloVe on a text of one's own.

    The defaults are those of the paper (Pennington, Socher & Manning 2014, sections 3.1 and 4.2): ten
    words to both sides, weighted by 1/d, x_max 100, α 3/4, rate 0.05. Where the paper is silent or asks
    for more (50 passes; the 400,000 most frequent words), they are those of its program, `glove`
    (25 passes, gradients clipped at 100), and of its demonstration (words seen five times).

    Args:
        size: width of a vector, D.
        tokens: what a word is: whatever stands between ASCII white space (`space`, as in the reference
            program), or words and punctuation marks apart (`word`, as in `TextConfig`). Unicode is put
            into normal form C.
        lowercase: whether upper case is folded away.
        borders: no window reaches over the end of a `line` (as in the reference program), over the
            end of a `document` only, or over `none`.
        min_count: words seen less often are left out of the text before windows are laid.
        max_words: the most words to keep, the most frequent first; 0 for all.
        window: words to each side that are context.
        symmetric: context on both sides, or to the left only. X_ij counts the words j around a word i;
            with the left side only, those before it.
        weighting: a word at distance d counts 1/d (`harmonic`) or 1 (`flat`).
        x_max: counts from here on have weight 1, x_max in eq. 9.
        alpha: the exponent of smaller counts' weights, α in eq. 9.
        rate: AdaGrad's learning rate.
        clip: the largest size of one number of a gradient.
        epochs: passes over the non-zeros.
        seed: of the first vectors and of the order of training.
        memory: what all of it may take, e.g. "512MB" or "4GB", of which some 90 MB are for Python and its
            libraries, and what else the process holds comes on top. Text of any size is counted within
            it, on the disk where it must be. The vectors must fit, or they are refused; all different
            words of the text, rare ones too, must fit while the vocabulary is chosen (200 bytes each).
            On a cluster, what one task on a worker may take. Changes no bit of the result.
        threads: how many threads count and train; 0 for all that the process may use. Changes no bit
            of the result either.
        save_every_n_seconds: an epoch's end is saved when so much time has gone by since the last
            was; 0 saves every epoch.

    Raises:
        ConfigError: a value that cannot be.

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
        found = _MEMORY.fullmatch(self.memory)
        assert found is not None
        return int(float(found[1]) * _UNITS[found[2].upper()])

    @property
    def n_threads(self) -> int:
        """`threads`, or how many cores this process may use."""
        if self.threads:
            return self.threads
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


OF_COUNTING = frozenset(
    {"tokens", "lowercase", "borders", "min_count", "max_words", "window", "symmetric", "weighting"}
)
"""Settings that the counts depend on."""

CHANGEABLE = frozenset({"epochs", "memory", "threads", "save_every_n_seconds"})
"""Settings that a resumed run may change."""

OF_TRAINING = frozenset({"size", "x_max", "alpha", "rate", "clip", "seed"})
"""Settings that it may change while no epoch is saved: the counts are the same."""
