"""The tables of a label report as its page shows them: models, classes, confusions, slices, mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from unrolled.baselines.config import baseline_title
from unrolled.inspect.label_charts import IntervalScale
from unrolled.inspect.page import HeatmapCell, HeatmapRow
from unrolled.metrics.display import most_frequent, points, shown, title
from unrolled.metrics.intervals import Comparison, Interval
from unrolled.metrics.labels import LabelEvaluation
from unrolled.metrics.multi_label import MultiLabelEvaluation
from unrolled.metrics.slices import Mistake, SliceTable
from unrolled.metrics.spans import SpanEvaluation
from unrolled.metrics.tally import SMALLER_IS_BETTER
from unrolled.quoting import shorten
from unrolled.wording import percent

Evaluation = LabelEvaluation | MultiLabelEvaluation | SpanEvaluation

WIDEST_MATRIX = 30  # classes; for more, the most frequent errors are listed instead
_MOST_WITH_SHARES = 12  # classes of a matrix whose cells have the share of the row, too
_MOST_CLASSES = 1_000
_MOST_CHARACTERS = 2_000  # shown of the text of a mistake
_MOST_WORDS = 400
_MOST_NAMED = 3  # words of a mistake whose weights are printed
SHUFFLED = "this model, words shuffled"
"""Name of the model of a report on texts whose words are in random order."""

_FIRST = ("majority", "frequent_tag")
"""Baselines that look at no word, or at one alone; they come first."""


@dataclass(frozen=True)
class Baseline:
    """Another model, or the same with other texts, scored on the same examples.

    Args:
        name: name of the model.
        scores: scores by name, in the units of the evaluation's scores.
        intervals: confidence intervals of the scores by name; unknown ones are omitted.
        comparison: comparison of the report's model (A) with the baseline (B); None if there is none.
    """

    name: str
    scores: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    comparison: Comparison | None = None


def in_order(baselines: Sequence[Baseline], metric: str) -> list[Baseline]:
    """The majority first, then the others from the worst to the best by a score."""
    sign = -1 if metric in SMALLER_IS_BETTER else 1

    def place(each: Baseline) -> tuple[bool, float]:
        return not _is_first(each), sign * each.scores.get(metric, 0.0)

    return sorted(baselines, key=place)


@dataclass(frozen=True)
class Score:
    """A score as the page shows it.

    Args:
        name: readable name.
        value: the score with its unit.
        bounds: bounds of the interval; "" if it is unknown.
        is_loss: whether lower is better.
        is_best: whether no other model in the table is better.
    """

    name: str
    value: str
    bounds: str = ""
    is_loss: bool = False
    is_best: bool = False


def score_view(
    name: str,
    value: float,
    bounds: Interval | None,
    evaluation: Evaluation,
    is_best: bool = False,
) -> Score:
    """A score with its title and bounds."""
    around = f"{shown(name, bounds.low)} – {shown(name, bounds.high)}" if bounds else ""
    return Score(
        title_of(name, evaluation), shown(name, value), around, name in SMALLER_IS_BETTER, is_best
    )


def scores_of(evaluation: Evaluation) -> dict[str, float]:
    """The scores to show, without those that always equal another one."""
    scores = evaluation.scores().items()
    return {name: value for name, value in scores if name not in evaluation.redundant}


def title_of(name: str, evaluation: Evaluation) -> str:
    """The name of a score as a heading."""
    titles = evaluation.titles if isinstance(evaluation, LabelEvaluation) else {}
    shown_as = titles.get(name, title(name))
    return shown_as[:1].upper() + shown_as[1:]


@dataclass(frozen=True)
class _ModelRow:
    """A model in the table of models; a score that it lacks is None."""

    name: str
    scores: Sequence[Score | None]
    interval: Interval | None
    difference: Score | None
    is_own: bool


@dataclass(frozen=True)
class ModelTable:
    """The models by row: baselines, the model of the report, and it with shuffled words.

    Args:
        headings: names of the columns before the intervals.
        caption: how to read the table.
        rows: the models.
        compared: title of the score whose intervals and differences are shown.
        scale: scale of the intervals; None if none is known.
        has_differences: whether there is a column of differences.
    """

    headings: Sequence[str]
    caption: str
    rows: Sequence[_ModelRow]
    compared: str
    scale: IntervalScale | None
    has_differences: bool


_OWN = "this model"


def model_table(
    evaluation: Evaluation,
    intervals: Mapping[str, Interval],
    baselines: Sequence[Baseline],
    shuffled: Baseline | None,
    parts: Sequence[Baseline] = (),
) -> ModelTable | None:
    """The scores that the model shares with any other model; the best of each is marked."""
    others = [*baselines, *parts, *([] if shuffled is None else [shuffled])]
    if not others:
        return None
    own = scores_of(evaluation)
    names = [name for name in own if any(name in other.scores for other in others)]
    compared = next((each.comparison.score for each in others if each.comparison), "")
    compared = compared or next(iter(names), "")
    ordered = [*in_order(baselines, compared), *parts]
    models = [*ordered, Baseline(_OWN, own, intervals), *others[len(ordered) :]]
    best = {name: _best(name, models) for name in names}
    rows = [
        _ModelRow(
            model.name if model is shuffled else baseline_title(model.name),
            [
                score_view(
                    name,
                    model.scores[name],
                    model.intervals.get(name),
                    evaluation,
                    is_best=model.scores[name] == best[name],
                )
                if name in model.scores
                else None
                for name in names
            ],
            model.intervals.get(compared),
            _difference(model.comparison, evaluation),
            model.name == _OWN,
        )
        for model in models
    ]
    drawn = [each.intervals[compared] for each in models if compared in each.intervals]
    # The majority is often far below all others, whose intervals would be drawn too small to compare.
    close = [each.intervals[compared] for each in models if _is_drawn_whole(each, compared)]
    return ModelTable(
        ["model", *(title_of(name, evaluation) for name in names)],
        " ".join(_model_caption(baselines, shuffled, parts)),
        rows,
        title_of(compared, evaluation) if compared else "",
        IntervalScale.of(close or drawn, own.get(compared)) if drawn else None,
        any(row.difference for row in rows),
    )


def _is_first(model: Baseline) -> bool:
    return model.name.partition("-")[0] in _FIRST


def _is_drawn_whole(model: Baseline, score: str) -> bool:
    return score in model.intervals and not _is_first(model)


def _best(name: str, models: Sequence[Baseline]) -> float:
    values = [model.scores[name] for model in models if name in model.scores]
    return min(values) if name in SMALLER_IS_BETTER else max(values)


def _model_caption(
    baselines: Sequence[Baseline], shuffled: Baseline | None, parts: Sequence[Baseline]
) -> Iterator[str]:
    yield "The best score of each column is bold."
    if baselines:
        yield (
            "Baselines use counts of words, or of words and their neighbours, and no other word "
            "order."
        )
    if parts:
        yield f"{' and '.join(part.name for part in parts)} are the parts of this model."
    if shuffled is not None:
        yield (
            "The last row is this model on the same texts with the words of each in random order."
        )
    if any(each.comparison for each in (*baselines, *parts, *([shuffled] if shuffled else []))):
        yield (
            "The dashed line is this model. A difference is not significant if its interval contains 0. "
            "With one run of each model, intervals do not cover the variation between seeds."
        )


def _difference(comparison: Comparison | None, evaluation: Evaluation) -> Score | None:
    if comparison is None:
        return None
    bounds = f"{points(comparison.low)} to {points(comparison.high)}, p {comparison.p_shown}"
    name = title_of(comparison.score, evaluation)
    return Score(name, points(comparison.difference), bounds)


@dataclass(frozen=True)
class _ClassRow:
    """Precision, recall and F1 (0…1) of a class, its gold and predicted counts, and its threshold."""

    name: str
    precision: float
    recall: float
    f1: float
    gold: int
    predicted: int
    threshold: float | None = None


@dataclass(frozen=True)
class ClassTable:
    """One row for each class or type (`what`), and a last row for the average."""

    what: str
    caption: str
    rows: Sequence[_ClassRow]
    has_thresholds: bool


def class_table(evaluation: Evaluation) -> ClassTable:
    """Scores by class, the most frequent ones if there are very many."""
    counts = evaluation.counts
    if isinstance(evaluation, SpanEvaluation):
        what, names = "type", evaluation.shown_types
        caption = (
            "Gold and predicted: spans of the type in the data, and spans predicted as the type."
        )
    else:
        what, names = "class", evaluation.classes
        caption = "Gold and predicted: examples of the class, and examples predicted as the class."
    thresholds: Sequence[float] | None = getattr(evaluation, "thresholds", None)
    if thresholds is not None:
        caption += " A label is predicted if its probability reaches the threshold."
    shown_ids = most_frequent(counts, _MOST_CLASSES)
    if len(shown_ids) < len(names):
        caption += f" Of {len(names):,}, the {len(shown_ids):,} most frequent are shown."
    precision, recall, f1 = counts.precision, counts.recall, counts.f1
    rows = [
        _ClassRow(
            names[index],
            precision=float(precision[index]),
            recall=float(recall[index]),
            f1=float(f1[index]),
            gold=int(counts.gold[index]),
            predicted=int(counts.predicted[index]),
            threshold=None if thresholds is None else thresholds[index],
        )
        for index in shown_ids
    ]
    average = _ClassRow(
        "macro average",
        precision=float(counts.macro_precision),
        recall=float(counts.macro_recall),
        f1=float(counts.macro_f1),
        gold=int(counts.gold.sum()),
        predicted=int(counts.predicted.sum()),
    )
    return ClassTable(what, caption, [*rows, average], thresholds is not None)


def frequent_confusions(evaluation: Evaluation) -> list[tuple[str, str, int]]:
    """The most frequent errors, if there are too many classes for a matrix."""
    if isinstance(evaluation, LabelEvaluation) and len(evaluation.classes) > WIDEST_MATRIX:
        return evaluation.confusions()
    return []


def confusion_rows(evaluation: Evaluation) -> list[HeatmapRow]:
    """The confusion matrix, if there is one and it is not too wide."""
    if not isinstance(evaluation, LabelEvaluation) or len(evaluation.classes) > WIDEST_MATRIX:
        return []
    names = [shorten(name) for name in evaluation.classes]
    return [
        HeatmapRow(evaluation.classes[gold], list(_confusion_cells(gold, counts, names)))
        for gold, counts in enumerate(evaluation.confusion.tolist())
    ]


def _confusion_cells(
    gold: int, counts: Sequence[int], names: Sequence[str]
) -> Iterator[HeatmapCell]:
    total = sum(counts)
    for predicted, count in enumerate(counts):
        share = count / total if total else 0.0
        kind = "correct" if gold == predicted else "error"
        of_gold = f"{count:,} ({percent(share)} of {total:,})"
        tooltip = f"gold {names[gold]}, predicted {names[predicted]}: {of_gold}"
        note = percent(share, 0) if count and len(counts) <= _MOST_WITH_SHARES else ""
        yield HeatmapCell(share, tooltip, f"{count:,}", kind if count else f"{kind} none", note)


@dataclass(frozen=True)
class _SliceRow:
    """The scores of a slice: as text, and as an interval to draw."""

    name: str
    n: int
    scores: Sequence[tuple[Score, Interval]]


@dataclass(frozen=True)
class SliceView:
    """A `SliceTable` as the page shows it, with a scale for each score."""

    by: str
    scores: Sequence[tuple[str, str, IntervalScale]]
    rows: Sequence[_SliceRow]


def slice_view(table: SliceTable, evaluation: Evaluation) -> SliceView:
    """The scores of each slice, with the score of all examples to compare with."""
    own = evaluation.scores()
    columns = []
    for name in table.shown:
        intervals = [part.scores[name] for part in table.slices]
        levels = " or ".join(sorted({percent(each.level, None) for each in intervals}))
        scale = IntervalScale.of(intervals, own.get(name))
        columns.append((title_of(name, evaluation), f"{levels} interval", scale))
    rows = [
        _SliceRow(
            part.name,
            part.n,
            [
                (score_view(name, bounds.value, bounds, evaluation), bounds)
                for name, bounds in ((name, part.scores[name]) for name in table.shown)
            ],
        )
        for part in table.slices
    ]
    return SliceView(table.by, columns, rows)


@dataclass(frozen=True)
class MistakeView:
    """A mistake with the part of its text that the page shows.

    Args:
        place: file and line, or the number of the example, from 1.
        predicted: predicted label.
        gold: gold label.
        probability: the model's confidence in the mistake, 0…1.
        text: beginning of the text.
        words: the first words with their weights; empty if the weights are unknown.
        rest: a note on how much of the text is omitted.
        largest: the words with the largest weights.
    """

    place: str
    predicted: str
    gold: str
    probability: float
    text: str
    words: Sequence[tuple[str, float]]
    rest: str
    largest: Sequence[tuple[str, float]]


def mistake_view(mistake: Mistake) -> MistakeView:
    """The part of a mistake that the page shows."""
    if mistake.words:
        n_left, unit = len(mistake.words) - _MOST_WORDS, "words"
    else:
        n_left, unit = len(mistake.text) - _MOST_CHARACTERS, "characters"
    largest = sorted(mistake.words, key=lambda pair: -abs(pair[1]))[:_MOST_NAMED]
    return MistakeView(
        place=mistake.place or f"example {mistake.index + 1:,}",
        predicted=mistake.predicted,
        gold=mistake.gold,
        probability=mistake.probability,
        text=mistake.text[:_MOST_CHARACTERS],
        words=mistake.words[:_MOST_WORDS],
        rest=f"… and {n_left:,} more {unit}" if n_left > 0 else "",
        largest=[(shorten(word), weight) for word, weight in largest if abs(weight) >= 0.005],
    )
