"""Notes on data that `unrolled data` and `unrolled train` share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from unrolled.text.corpus.config import CorpusConfig
from unrolled.text.splits import DataConfig, Duplicate
from unrolled.wording import count_of, percent

FEW_ROWS = 20
"""A validation part with fewer rows is too small to choose a model by."""

FEW_TOKENS = 1_000
"""The same for running text."""

_SHARE_TO_HOLD_OUT = 0.2
_MOST_TO_HOLD_OUT = 100


def repeated(duplicates: Sequence[Duplicate], unit: str = "row") -> str:
    """How many repeated rows are left out, of which parts, and the first of them.

    Args:
        duplicates: the repeated rows.
        unit: what a row is, "row" or "sentence".

    >>> repeated([Duplicate("test", line=9, first=4)])
    'test: left out 1 row that repeats an earlier one of its part (line 9 repeats line 4)'
    """
    counts = Counter(row.part for row in duplicates)
    parts = " and ".join(part for part in ("valid", "test") if counts[part])
    first = min(duplicates, key=lambda row: row.line)
    place = f"line {first.line:,} repeats line {first.first:,}"
    if len(duplicates) == 1:
        return f"{parts}: left out 1 {unit} that repeats an earlier one of its part ({place})"
    return (
        f"{parts}: left out {count_of(len(duplicates), unit)} that repeat earlier ones of their part "
        f"(the first: {place})"
    )


def few_rows(sizes: Mapping[str, int], data: DataConfig, unit: str = "row") -> list[str]:
    """A warning if the validation part is too small to choose by, or leaves too little to train on.

    Args:
        sizes: number of rows by part.
        data: the `[data]` section.
        unit: what a row is, "row" or "sentence".

    >>> few_rows({"train": 2, "valid": 112, "test": 6}, DataConfig())
    ['train: only 2 rows left, as 112 are held out for validation; lower data.valid_size']
    >>> print(*few_rows({"train": 9, "valid": 5, "test": 0}, DataConfig(valid=("v.tsv",))))
    valid: 5 rows are too few to choose the best model by (20.0% of a score each); give a larger --valid
    """
    n, n_train = sizes["valid"], sizes["train"]
    if n > n_train and not data.valid:
        return [
            f"train: only {count_of(n_train, unit)} left, as {n:,} are held out for validation; lower "
            "data.valid_size"
        ]
    if not 0 < n < FEW_ROWS:
        return []
    enough = min(_MOST_TO_HOLD_OUT, round(_SHARE_TO_HOLD_OUT * (n_train + n)))
    instead = "give a file with --valid, or more data"
    if data.valid:
        instead = "give a larger --valid"
    elif enough >= FEW_ROWS:
        instead = f"hold out more with data.valid_size = {enough}, or give a file with --valid"
    few = f"{count_of(n, unit)} {'is' if n == 1 else 'are'}"
    share = f"{percent(1 / n)} of a score{' each' if n > 1 else ''}"
    return [f"valid: {few} too few to choose the best model by ({share}); {instead}"]


def few_tokens(n: int, data: CorpusConfig) -> list[str]:
    """A warning if the validation part of running text is too small to choose a model by.

    >>> few_tokens(5_000, CorpusConfig())
    []
    """
    if n >= FEW_TOKENS:
        return []
    instead = "give a longer text with --valid"
    if not data.valid:
        instead = f"hold out more with data.valid_share, now {data.valid_share:g}, or {instead}"
    return [f"valid: {n:,} tokens are too few to choose the best model by; {instead}"]
