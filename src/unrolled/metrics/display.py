"""Scores and tables of an evaluation as lines of text that fit a width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np
from rich.cells import cell_len, set_cell_size

from unrolled.metrics.class_counts import ClassCounts
from unrolled.metrics.intervals import Interval
from unrolled.metrics.tally import SMALLER_IS_BETTER, Ints
from unrolled.quoting import brief, shorten
from unrolled.wording import percent, with_minus

WIDTH = 80
"""Default width of lines, in cells of a terminal."""

GAP = 2  # cells between columns
_NARROWEST = 8  # cells of a first column that is shortened
_NARROWEST_LABEL = 5  # cells of a label above a column of the confusion matrix
_MOST_CLASSES = 50
_MOST_CONFUSIONS = 10

_TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "mean_f1": "mean F1",
    "weighted_f1": "weighted F1",
    "micro_f1": "micro F1",
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "f1": "F1",
    "strict_f1": "F1 (strict)",
    "precision": "precision",
    "recall": "recall",
    "token_accuracy": "token accuracy",
    "ece": "calibration (ECE)",
    "brier": "Brier score",
    "nll": "log loss (NLL)",
    "bleu": "BLEU",
    "bleu_lower": "BLEU, lower case",
    "chrf": "chrF",
    "exact_match": "exact match",
    "exact_tree": "exact match of trees",
    "sentence_bleu": "BLEU, mean of rows",
    "char_bleu": "BLEU of characters",
    "perplexity": "perplexity",
    "bits_per_character": "bits per character",
}


class Scored(Protocol):
    """An evaluation with scores by name."""

    def scores(self) -> dict[str, float]:
        """All scores by name."""


def short_repr(evaluation: Scored) -> str:
    """The class of an evaluation and its first three scores, in place of its arrays."""
    scores = list(evaluation.scores().items())[:3]
    shown = ", ".join(f"{name}={value:.4f}" for name, value in scores)
    return f"{type(evaluation).__name__}({shown})"


def title(name: str) -> str:
    """The name of a score as people write it.

    >>> title("macro_f1"), title("own_score")
    ('macro F1', 'own score')
    """
    return _TITLES.get(name, name.replace("_", " "))


def shown(name: str, value: float) -> str:
    """A score as text: a share as a percentage, `brier` and `nll` unchanged.

    >>> shown("macro_f1", 0.84931), shown("nll", 0.3)
    ('84.93%', '0.3000')
    """
    return f"{value:.4f}" if name in ("brier", "nll") else percent(value, 2)


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(0.0123), points(-0.5)
    ('+1.23', '−50.00')
    """
    return with_minus(f"{100 * difference:+.2f}")


def fitted(text: str, width: int) -> str:
    """A text cut to at most `width` cells, with an ellipsis if it was longer.

    >>> fitted("positive", 5), fitted("名詞句", 5)
    ('posi…', '名詞…')
    """
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def aligned(rows: Sequence[Sequence[str]], width: int = WIDTH, *, n_left: int = 1) -> Iterator[str]:
    """Rows of cells as aligned lines.

    Args:
        rows: the cells of each row, as many in each.
        width: maximum width of a line; the first column is shortened to keep to it. Columns for which
            there is no room are below the others, in a second table with the same first column.
        n_left: number of columns that are aligned to the left; the others are aligned to the right.

    >>> print(*aligned([["score", "value"], ["F1", "66.67%"]]), sep="\\n")
    score   value
    F1     66.67%
    >>> print(*aligned([["score", "value", "interval"], ["F1", "66.67%", "51% – 79%"]], 16), sep="\\n")
    score   value
    F1     66.67%
    <BLANKLINE>
    score   interval
    F1     51% – 79%
    """
    wide = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    n = _n_fitting(wide, width)
    yield from _aligned([row[:n] for row in rows], wide[:n], width, n_left)
    if n < len(wide):
        yield ""
        yield from aligned([[row[0], *row[n:]] for row in rows], width, n_left=n_left)


def _n_fitting(wide: Sequence[int], width: int) -> int:
    """How many columns fit beside each other, at least two, if the first may be shortened."""
    ends = list(accumulate(each + GAP for each in wide[1:]))
    if not ends or min(wide[0], _NARROWEST) + ends[-1] <= width:
        return len(wide)
    first = min(
        wide[0], max(_NARROWEST, width // 3)
    )  # not so short if there is a second table anyway
    return 1 + max(1, sum(first + end <= width for end in ends))


def _aligned(
    rows: Sequence[Sequence[str]], wide: list[int], width: int, n_left: int
) -> Iterator[str]:
    rest = sum(each + GAP for each in wide[1:])
    wide[0] = min(wide[0], max(_NARROWEST, width - rest))
    for row in rows:
        cells = []
        for place, (cell, cells_wide) in enumerate(zip(row, wide, strict=True)):
            cell = fitted(cell, cells_wide)
            padding = " " * (cells_wide - cell_len(cell))
            cells.append(cell + padding if place < n_left else padding + cell)
        yield (" " * GAP).join(cells).rstrip()


def score_lines(
    scores: Mapping[str, float],
    intervals: Mapping[str, Interval] | None = None,
    shuffled: Mapping[str, float] | None = None,
    width: int = WIDTH,
    *,
    titles: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """One line per score: its name, its value and, if known, its confidence interval.

    Args:
        scores: scores by name.
        intervals: their confidence intervals by name.
        shuffled: scores of the same texts with their words in random order.
        width: maximum width of a line.
        titles: names to show instead of those of `title`.
    """
    intervals, shuffled, titles = intervals or {}, shuffled or {}, titles or {}
    levels = sorted({percent(bounds.level, None) for bounds in intervals.values()})
    rows = [["score", "value", f"{' or '.join(levels)} interval" if levels else ""]]
    if shuffled:
        rows[0] += ["words shuffled", "change, points"]
    for name, value in scores.items():
        row = [brief(titles.get(name, title(name))), shown(name, value)]
        if name in intervals:
            row.append(bounds_shown(name, intervals[name]))
        else:
            row.append("lower is better" if name in SMALLER_IS_BETTER else "")
        if shuffled:
            other = shuffled.get(name)
            row += ["", ""] if other is None else [shown(name, other), points(other - value)]
        rows.append(row)
    yield from aligned(rows, width)


def bounds_shown(name: str, bounds: Interval) -> str:
    """The bounds of an interval as text."""
    return f"{shown(name, bounds.low)} – {shown(name, bounds.high)}"


def most_frequent(counts: ClassCounts, most: int) -> list[int]:
    """The ids of the classes to show: all, or those that occur most often if there are more than `most`.

    >>> counts = ClassCounts(np.zeros(3), np.zeros(3), np.array([1, 5, 5]))
    >>> most_frequent(counts, 3), most_frequent(counts, 2)
    ([0, 1, 2], [1, 2])
    """
    if len(counts.gold) <= most:
        return list(range(len(counts.gold)))
    ids: list[int] = np.argsort(-counts.gold, kind="stable")[:most].tolist()
    return ids


def class_lines(
    heading: str,
    classes: Sequence[str],
    counts: ClassCounts,
    width: int = WIDTH,
    thresholds: Sequence[float] | None = None,
) -> Iterator[str]:
    """Precision, recall, F1 and counts by class; of many classes, those with most gold labels."""
    chosen = most_frequent(counts, _MOST_CLASSES)
    rows = [[heading, "precision", "recall", "F1", "gold", "predicted"]]
    if thresholds is not None:
        rows[0].append("threshold")
    for index in chosen:
        shares = (counts.precision[index], counts.recall[index], counts.f1[index])
        sizes = (counts.gold[index], counts.predicted[index])
        rows.append(
            [
                brief(classes[index]),
                *(percent(share, 2) for share in shares),
                *(f"{int(n):,}" for n in sizes),
                *([] if thresholds is None else [f"{thresholds[index]:.3f}"]),
            ]
        )
    yield from aligned(rows, width)
    if len(chosen) < len(classes):
        yield f"… and {len(classes) - len(chosen):,} less frequent ones"


def matrix_fits(classes: Sequence[str], largest: int, width: int) -> bool:
    """Whether a confusion matrix fits, with labels of a few characters."""
    narrowest = max(_NARROWEST_LABEL, len(f"{largest:,}")) + GAP
    return _NARROWEST + len(classes) * narrowest <= width


def matrix_lines(classes: Sequence[str], confusion: Ints, width: int = WIDTH) -> Iterator[str]:
    """A confusion matrix with gold labels as rows and predicted labels as columns.

    Labels are shortened if there is no room for them.
    """
    names = [brief(name) for name in classes]
    digits = len(f"{int(confusion.max()):,}")
    longest = max(map(cell_len, names))
    # Names of rows may use a third of the line if the columns need the rest.
    row_wide = max(min(longest, width // 3), _NARROWEST)
    column = min(max(digits, longest), max(digits, (width - row_wide) // len(names) - GAP))
    heads = _distinct(names, column)
    if heads is None:
        heads = [str(number) for number in range(1, len(names) + 1)]
        names = [f"{head} {name}" for head, name in zip(heads, names, strict=True)]
    rows = [["gold", *heads]]
    for name, counts in zip(names, confusion.tolist(), strict=True):
        rows.append([fitted(name, row_wide), *(f"{count:,}" for count in counts)])
    lines = list(aligned(rows, width))
    yield " " * (max(cell_len(row[0]) for row in rows) + GAP) + "predicted"
    yield from lines


def _distinct(names: Sequence[str], width: int) -> list[str] | None:
    """Names of at most `width` cells that differ from each other; None if there is no room for them."""
    for cut in (fitted, _middle_cut):
        short = [cut(name, width) for name in names]
        if len(set(short)) == len(set(names)):
            return short
    return None


def _middle_cut(name: str, width: int) -> str:
    return name if cell_len(name) <= width else fitted(shorten(name, width), width)


def confusion_lines(
    confusions: Sequence[tuple[str, str, int]], width: int = WIDTH
) -> Iterator[str]:
    """The most frequent errors: gold label, predicted label, count."""
    if not confusions:
        return
    room = (width - 12) // 2
    rows = [["gold", "predicted", "errors"]]
    for gold, predicted, count in confusions[:_MOST_CONFUSIONS]:
        rows.append([fitted(brief(gold), room), fitted(brief(predicted), room), f"{count:,}"])
    yield "most frequent errors:"
    yield from aligned(rows, width, n_left=2)
    if len(confusions) > _MOST_CONFUSIONS:
        yield f"… and {len(confusions) - _MOST_CONFUSIONS:,} more kinds of error"


def signature_lines(signatures: Mapping[str, str]) -> Iterator[str]:
    """How each score was computed, to copy; these lines are as long as the signatures."""
    yield "how the scores were computed:"
    wide = max((len(name) for name in signatures), default=0)
    for name, signature in signatures.items():
        yield f"{name:{wide}}  {signature}"
