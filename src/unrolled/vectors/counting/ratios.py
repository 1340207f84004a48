"""Ratios of co-occurrence probabilities, from which GloVe is derived.

Pennington, Socher & Manning 2014, section 3. X_ij is how often word j occurs in the context of word i,
and X_i = Σ_k X_ik. The probability that k occurs in the context of i is P(k|i) = X_ik / X_i. A word k
that is related to ice but not to steam has a large ratio P(k|ice) / P(k|steam); a word related to both or
to neither has a ratio near 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unrolled.quoting import brief
from unrolled.vectors.counting.cooccurrence import Counts

COUNTS_FOLDER = "counts"


@dataclass(frozen=True)
class Ratio:
    """One column of the paper's table 1.

    Args:
        probe: the word k.
        first: P(k|i).
        second: P(k|j).
    """

    probe: str
    first: float
    second: float

    @property
    def ratio(self) -> float:
        """P(k|i) / P(k|j); infinite if k never occurs near j, NaN if it occurs near neither.

        >>> Ratio("solid", 1.9e-4, 2.2e-5).ratio
        8.636363636363637
        """
        if self.second:
            return self.first / self.second
        return np.inf if self.first else np.nan


def ratio(counts: Counts, first: int, second: int, probe: int, word: str) -> Ratio:
    """P(k|i) and P(k|j) for the ranks i `first`, j `second` and k `probe`, the rank of `word`."""
    return Ratio(word, counts.probability(probe, first), counts.probability(probe, second))


def render(first: str, second: str, ratios: list[Ratio]) -> list[str]:
    """The table as lines of text, in the layout of the paper.

    >>> for line in render("ice", "steam", [Ratio("solid", 1.9e-4, 2.2e-5), Ratio("gas", 0, 7.8e-4)]):
    ...     print(line)
                                 solid        gas
    P(k|ice)                   0.00019          0
    P(k|steam)                 2.2e-05    0.00078
    P(k|ice) / P(k|steam)         8.64          0
    """
    first, second = brief(first), brief(second)
    labels = [f"P(k|{first})", f"P(k|{second})", f"P(k|{first}) / P(k|{second})"]
    width = max(map(len, labels))
    columns = [
        (brief(ratio.probe), f"{ratio.first:.2g}", f"{ratio.second:.2g}", _shown(ratio.ratio))
        for ratio in ratios
    ]
    widths = [max(9, *map(len, column)) + 2 for column in columns]
    return [
        label.ljust(width) + "".join(c[row].rjust(w) for c, w in zip(columns, widths, strict=True))
        for row, label in enumerate(("", *labels))
    ]


def _shown(ratio: float) -> str:
    if np.isnan(ratio):
        return "–"
    return "∞" if np.isinf(ratio) else f"{ratio:.3g}"
