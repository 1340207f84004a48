"""Notes on data that `unrolled data` and `unrolled train` share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from unrolled.text.corpus.config import CorpusConfig
from unrolled.text.splits import DataConfig, Duplicate

FEW_ROWS = 20
"""A validation part with fewer rows is too small to choose a model by."""

FEW_TOKENS = 1_000
"""The same for running text."""

_SHARE_TO_HOLD_OUT = 0.2
_MOST_TO_HOLD_OUT = 100


def count_rows(n: int) -> str:
    """A number of rows.

    >>> count_rows(1), count_rows(2000)
    ('1 row', '2,000 rows')
    """
    return "1 row" if n == 1 else f"{n:,} rows"


def repeated(duplicates: Sequence[Duplicate]) -> str:
    """How many repeated rows are left out, of which parts, and the first of them.

    >>> repeated([Duplicate("test", line=9, first=4)])
    'test: left out 1 row that repeats an earlier one of its part (line 9 repeats line 4)'
    """
    counts = Counter(row.part for row in duplicates)
    parts = " and ".join(part for part in ("valid", "test") if counts[part])
    first = min(duplicates, key=lambda row: row.line)
    place = f"line {first.line:,} repeats line {first.first:,}"
    if len(duplicates) == 1:
        return f"{parts}: left out 1 row that repeats an earlier one of its part ({place})"
    return (
        f"{parts}: left out {count_rows(len(duplicates))} that repeat earlier ones of their part (the "
        f"first: {place})"
    )


def few_rows(sizes: Mapping[str, int], data: DataConfig) -> list[str]:
    """A warning if the validation part is too small to choose by, or leaves too little to train on.

    >>> few_rows({"train": 2, "valid": 112, "test": 6}, DataConfig())
    ['train: only 2 rows left, as 112 are held out for validation; lower data.valid_size']
    >>> print(*few_rows({"train": 9, "valid": 5, "test": 0}, DataConfig(valid=("v.tsv",))))
    valid: 5 rows are too few to choose the best model by (20 % of a score each); give a larger --valid
    """
    n, n_train = sizes["valid"], sizes["train"]
    if n > n_train and not data.valid:
        return [
            f"train: only {count_rows(n_train)} left, as {n:,} are held out for validation; lower "
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
    few = "1 row is" if n == 1 else f"{n:,} rows are"
    share = f"{100 / n:.0f} % of a score{' each' if n > 1 else ''}"
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
