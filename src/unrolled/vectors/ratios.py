"""Ratios of co-occurrence probabilities, the observation that GloVe is derived from.

Pennington, Socher & Manning 2014, section 3. X_ij is how often word j stands in the context of word i,
and X_i = Σ_k X_ik. The probability that k stands in the context of i is P(k|i) = X_ik / X_i. A word k
that has to do with ice and not with steam has a large P(k|ice) / P(k|steam); one that has to do with both
or with neither has a ratio near 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import DataError

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
        """P(k|i) / P(k|j); infinite where k is never near j, not a number where it is near neither.

        >>> Ratio("solid", 1.9e-4, 2.2e-5).ratio
        8.636363636363637
        """
        if self.second:
            return self.first / self.second
        return np.inf if self.first else np.nan


@dataclass(frozen=True, eq=False)
class CountTable:
    """Co-occurrence counts by row, mapped from the disk.

    Args:
        starts: `[V + 1]`; the entries of row i are those from `starts[i]` up to `starts[i + 1]`.
        columns: `[N]`, the word j of each entry.
        values: `[N]`, its X_ij above 0, in any unit.
    """

    starts: NDArray[np.unsignedinteger[Any]]
    columns: NDArray[np.unsignedinteger[Any]]
    values: NDArray[Any]

    @classmethod
    def load(cls, folder: Path, n_words: int) -> CountTable:
        """The counts of a training's folder.

        Raises:
            DataError: they are missing, damaged, or not of `n_words` words.
        """
        counts = folder / COUNTS_FOLDER
        if not counts.is_dir():
            raise DataError(
                "no counts here; ratios need the folder that `unrolled vectors train` wrote", counts
            )
        starts, columns, values = (
            _mapped(counts / f"{name}.npy") for name in ("rows", "columns", "values")
        )
        if len(starts) != n_words + 1:
            problem = f"counts of {len(starts) - 1:,} words, but the vectors are of {n_words:,}"
            raise DataError(f"{problem}; train again", counts)
        if not int(starts[-1]) == len(columns) == len(values):
            raise DataError("these counts are not whole; train again", counts)
        return cls(starts, columns, values)

    def probability(self, probe: int, given: int) -> float:
        """P(k|i), of the words with these ids; 0 where i has no context at all."""
        row = slice(int(self.starts[given]), int(self.starts[given + 1]))
        total = float(np.sum(self.values[row], dtype=np.float64))
        together = self.values[row][self.columns[row] == probe]
        return float(np.sum(together, dtype=np.float64)) / total if total else 0.0

    def ratio(self, first: int, second: int, probe: int, word: str) -> Ratio:
        """P(k|i) and P(k|j) of the words with these ids; `word` is how k is written."""
        return Ratio(word, self.probability(probe, first), self.probability(probe, second))


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r"))
    except FileNotFoundError:
        raise DataError("missing; train again, or copy the whole folder", path) from None
    except (ValueError, EOFError):
        raise DataError(
            "not a whole NumPy array; train again, or copy the whole folder", path
        ) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path) from None


def render(first: str, second: str, ratios: list[Ratio]) -> list[str]:
    """The table as lines of text, laid out as in the paper.

    >>> for line in render("ice", "steam", [Ratio("solid", 1.9e-4, 2.2e-5), Ratio("gas", 0, 7.8e-4)]):
    ...     print(line)
                                 solid        gas
    P(k|ice)                   0.00019          0
    P(k|steam)                 2.2e-05    0.00078
    P(k|ice) / P(k|steam)         8.64          0
    """
    labels = [f"P(k|{first})", f"P(k|{second})", f"P(k|{first}) / P(k|{second})"]
    wide = max(map(len, labels))
    columns = [
        (each.probe, f"{each.first:.2g}", f"{each.second:.2g}", _shown(each.ratio))
        for each in ratios
    ]
    widths = [max(9, *map(len, column)) + 2 for column in columns]
    return [
        label.ljust(wide) + "".join(c[row].rjust(w) for c, w in zip(columns, widths, strict=True))
        for row, label in enumerate(("", *labels))
    ]


def _shown(ratio: float) -> str:
    if np.isnan(ratio):
        return "–"
    return "∞" if np.isinf(ratio) else f"{ratio:.3g}"
