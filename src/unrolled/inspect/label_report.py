"""An evaluation of labels as one HTML page: scores, confusions, calibration, slices, confident errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unrolled import storage
from unrolled.baselines.config import baseline_title
from unrolled.errors import ConfigError
from unrolled.inspect import page
from unrolled.inspect.page import HeatmapCell, HeatmapRow
from unrolled.metrics.calibration import Calibration, ReliabilityBin
from unrolled.metrics.display import most_frequent, points, shown, title
from unrolled.metrics.intervals import Comparison, Interval
from unrolled.metrics.labels import LabelEvaluation
from unrolled.metrics.multi_label import MultiLabelEvaluation
from unrolled.metrics.slices import TEXT_SEPARATOR, Mistake, SliceTable
from unrolled.metrics.spans import SpanEvaluation
from unrolled.metrics.tally import SMALLER_IS_BETTER
from unrolled.quoting import shorten
from unrolled.wording import percent

Evaluation = LabelEvaluation | MultiLabelEvaluation | SpanEvaluation

_WIDEST_MATRIX = 30  # classes; for more, the most frequent errors are listed instead
_MOST_CONFUSIONS = 20
_MOST_CLASSES = 1_000
_MOST_CHARACTERS = 2_000  # shown of the text of a mistake
_MOST_WORDS = 400
_SIDE, _MARGIN = 300, 56  # of the reliability diagram, in pixels


@dataclass(frozen=True)
class Baseline:
    """Another model, scored on the same examples.

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


@dataclass(frozen=True, eq=False)
class LabelReport:
    """The contents of a report; empty sections are omitted.

    Args:
        title: title of the page.
        evaluation: single-label, multi-label or span evaluation.
        intervals: confidence intervals of the scores by name, in the units of the evaluation's scores.
        slices: tables of scores of subsets of the examples.
        mistakes: wrong predictions, the most confident first.
        baselines: other models, scored on the same examples.
        command: the command that created the page.
        notes: important facts about the evaluation, such as how many texts were truncated.
        method: attribution method of the mistakes' words: "gradients", "occlusion" or "attention"; "" if
            it is unknown.
        shuffled: scores of the same texts with their words in random order; empty if they are unknown.
    """

    title: str
    evaluation: Evaluation
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    slices: Sequence[SliceTable] = ()
    mistakes: Sequence[Mistake] = ()
    baselines: Sequence[Baseline] = ()
    command: str = ""
    notes: Sequence[str] = ()
    method: str = ""
    shuffled: Mapping[str, float] = field(default_factory=dict)


def write_report(report: LabelReport, path: str | Path) -> Path:
    """Write a report as one HTML page that needs no other file, no network and no script.

    Args:
        report: contents of the page.
        path: a file name that ends in `.html`; an existing file is replaced.

    Returns:
        The path.

    Raises:
        ConfigError: the path has another extension, or the folder does not exist.
        RunError: the disk is full, or the file cannot be written.

    >>> import tempfile
    >>> from unrolled.metrics.labels import measure_labels
    >>> found = measure_labels(["neg", "pos"], gold=[0, 1, 1], predicted=[0, 1, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(LabelReport("Reviews", found), f"{folder}/report.html")
    ...     page.read_text(encoding="utf-8").count("<td title=")
    4
    """
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise ConfigError(
            f"cannot write a report as '{path.suffix or path.name}'; end the file name in .html"
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"cannot write {path}: folder '{path.parent}' does not exist; create it, or choose another"
        )
    storage.write_whole(path, report_page(report).encode("utf-8"), "try again")
    return path


def report_page(report: LabelReport) -> str:
    """The report as one self-contained HTML page."""
    evaluation = report.evaluation
    confusions = _confusions(evaluation)
    return page.render(
        "label_report.html",
        title=report.title,
        command=report.command,
        report=report,
        summary=_summary(report),
        scores=[
            _score(name, value, report.intervals.get(name), evaluation)
            for name, value in _scores(evaluation).items()
        ],
        comparison=_comparison(report),
        classes=_classes(evaluation),
        matrix=_matrix(evaluation),
        confusions=confusions[:_MOST_CONFUSIONS],
        n_confusions=len(confusions),
        plot=_plot(getattr(evaluation, "calibration", None)),
        slices=[_slice_table(table, evaluation) for table in report.slices],
        mistakes=[_shown_mistake(mistake) for mistake in report.mistakes],
        legend=" ".join(_legend(report)),
        methods=list(_methods(report)),
    )


def _summary(report: LabelReport) -> str:
    evaluation = report.evaluation
    if isinstance(evaluation, SpanEvaluation):
        size = (
            f"{evaluation.n_sequences:,} sequences, {evaluation.n_tokens:,} tokens, "
            f"{sum(evaluation.gold):,} spans of {len(evaluation.types)} types."
        )
    else:
        size = f"{evaluation.n:,} examples, {len(evaluation.classes)} classes."
    levels = sorted({percent(bounds.level, None) for bounds in report.intervals.values()})
    if not levels:
        return size
    return (
        f"{size} Ranges are {', '.join(levels)} confidence intervals for the same model on other "
        "data of this kind and size."
    )


@dataclass(frozen=True)
class _Score:
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


def _score(
    name: str,
    value: float,
    bounds: Interval | None,
    evaluation: Evaluation,
    is_best: bool = False,
) -> _Score:
    around = f"{shown(name, bounds.low)} – {shown(name, bounds.high)}" if bounds else ""
    title = _title_of(name, evaluation)
    return _Score(title, shown(name, value), around, name in SMALLER_IS_BETTER, is_best)


_SHUFFLED = "this model, words shuffled"


@dataclass(frozen=True)
class _ModelRow:
    """A model in the table of baselines; a score that it lacks is None."""

    name: str
    scores: Sequence[_Score | None]
    difference: _Score | None


@dataclass(frozen=True)
class _ModelTable:
    headings: Sequence[str]
    caption: str
    rows: Sequence[_ModelRow]
    has_differences: bool


def _comparison(report: LabelReport) -> _ModelTable | None:
    """The scores of the baselines and the model that any other model has; the best of each is marked."""
    others = [replace(each, name=baseline_title(each.name)) for each in report.baselines]
    shuffled = [Baseline(_SHUFFLED, report.shuffled)] if report.shuffled else []
    if not others and not shuffled:
        return None
    own = _scores(report.evaluation)
    models = [*others, Baseline("this model", own, report.intervals), *shuffled]
    names = [name for name in own if any(name in other.scores for other in (*others, *shuffled))]
    best = {}
    for name in names:
        values = [model.scores[name] for model in models if name in model.scores]
        best[name] = min(values) if name in SMALLER_IS_BETTER else max(values)
    rows = []
    for model in models:
        scores = [
            _score(
                name,
                model.scores[name],
                model.intervals.get(name),
                report.evaluation,
                is_best=model.scores[name] == best[name],
            )
            if name in model.scores
            else None
            for name in names
        ]
        rows.append(_ModelRow(model.name, scores, _difference(model.comparison, report.evaluation)))
    headings = ["model", *(_title_of(name, report.evaluation) for name in names)]
    captions = []
    if others:
        captions.append(
            "Baselines use counts of words, or of words and their neighbours, and no other word order."
        )
    if shuffled:
        captions.append(
            "The last row is this model on the same texts with the words of each in random order."
        )
    caption = " ".join(captions)
    has_differences = any(row.difference for row in rows)
    if has_differences:
        compared = next(each.comparison.score for each in others if each.comparison)
        unit = _title_of(compared, report.evaluation)
        headings.append(f"{unit}: this model − baseline, in points")
        caption += (
            " A difference is not significant if its interval contains 0. With one run of each model, "
            "intervals do not cover the variation between seeds."
        )
    return _ModelTable(headings, caption, rows, has_differences)


def _difference(comparison: Comparison | None, evaluation: Evaluation) -> _Score | None:
    if comparison is None:
        return None
    name = _title_of(comparison.score, evaluation)
    return _Score(
        name,
        points(comparison.difference),
        f"{points(comparison.low)} to {points(comparison.high)}, p {comparison.p_shown}",
    )


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
class _ClassTable:
    """One row for each class or type (`what`), and a last row for the average."""

    what: str
    headings: Sequence[str]
    caption: str
    rows: Sequence[_ClassRow]
    has_thresholds: bool


def _classes(evaluation: Evaluation) -> _ClassTable:
    counts = evaluation.counts
    if isinstance(evaluation, SpanEvaluation):
        what, names = "type", evaluation.shown_types
        caption = (
            "Gold and predicted: spans of the type in the data, and spans predicted as the type."
        )
    else:
        what, names = "class", evaluation.classes
        caption = "Gold and predicted: examples of the class, and examples predicted as the class."
    headings = [what, "precision", "recall", "F1", "F1 from 0 to 100%", "gold", "predicted"]
    thresholds: Sequence[float] | None = getattr(evaluation, "thresholds", None)
    if thresholds is not None:
        headings.append("threshold")
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
    return _ClassTable(what, headings, caption, [*rows, average], thresholds is not None)


def _confusions(evaluation: Evaluation) -> list[tuple[str, str, int]]:
    """The most frequent errors, if there are too many classes for a matrix."""
    if isinstance(evaluation, LabelEvaluation) and len(evaluation.classes) > _WIDEST_MATRIX:
        return evaluation.confusions()
    return []


def _matrix(evaluation: Evaluation) -> list[HeatmapRow]:
    if not isinstance(evaluation, LabelEvaluation) or len(evaluation.classes) > _WIDEST_MATRIX:
        return []
    names = [shorten(name) for name in evaluation.classes]
    return [
        HeatmapRow(evaluation.classes[gold], list(_matrix_cells(gold, counts, names)))
        for gold, counts in enumerate(evaluation.confusion.tolist())
    ]


def _matrix_cells(gold: int, counts: Sequence[int], names: Sequence[str]) -> Iterator[HeatmapCell]:
    total = sum(counts)
    for predicted, count in enumerate(counts):
        share = count / total if total else 0.0
        kind = "correct" if gold == predicted else "error"
        of_gold = f"{count:,} ({percent(share)} of {total:,})"
        title = f"gold {names[gold]}, predicted {names[predicted]}: {of_gold}"
        yield HeatmapCell(share, title, f"{count:,}", kind if count else f"{kind} none")


@dataclass(frozen=True)
class _Point:
    """A bin of the reliability diagram in pixels; `low` and `high` are the limits of the bin."""

    x: float
    y: float
    low: float
    high: float
    radius: float
    title: str


@dataclass(frozen=True)
class _Plot:
    """The reliability diagram.

    Args:
        of: event that the confidences are the probabilities of.
        bins: bins of predictions by confidence.
        points: the point of each bin.
        side: side of the square from 0 to 1, in pixels.
        margin: margin around the square, in pixels.
    """

    of: str
    bins: Sequence[ReliabilityBin]
    points: Sequence[_Point]
    side: int = _SIDE
    margin: int = _MARGIN


def _plot(calibration: Calibration | None) -> _Plot | None:
    if calibration is None:
        return None
    most = max(bin.n for bin in calibration.bins)
    points = [
        _Point(
            x=_MARGIN + _SIDE * bin.confidence,
            y=_MARGIN + _SIDE * (1 - bin.accuracy),
            low=_MARGIN + _SIDE * bin.low,
            high=_MARGIN + _SIDE * bin.high,
            radius=2 + 4 * math.sqrt(bin.n / most),
            title=(
                f"{bin.n:,} predictions, mean confidence {percent(bin.confidence)}, "
                f"observed frequency {percent(bin.accuracy)}"
            ),
        )
        for bin in calibration.bins
    ]
    return _Plot(calibration.of, calibration.bins, points)


@dataclass(frozen=True)
class _SliceRow:
    """The scores of a slice: as text, and as an interval to draw."""

    name: str
    n: int
    scores: Sequence[tuple[_Score, Interval]]


@dataclass(frozen=True)
class _SliceView:
    """A `SliceTable` as the page shows it."""

    by: str
    headings: Sequence[str]
    rows: Sequence[_SliceRow]


def _slice_table(table: SliceTable, evaluation: Evaluation) -> _SliceView:
    headings = [table.by, "examples"]
    for name in table.shown:
        headings += [_title_of(name, evaluation), "95% interval", "from 0 to 100%"]
    rows = []
    for part in table.slices:
        intervals = [(name, part.scores[name]) for name in table.shown]
        scores = [
            (_score(name, bounds.value, bounds, evaluation), bounds) for name, bounds in intervals
        ]
        rows.append(_SliceRow(part.name, part.n, scores))
    return _SliceView(table.by, headings, rows)


@dataclass(frozen=True)
class _ShownMistake:
    """A mistake with the part of its text that the page shows.

    Args:
        number: number of the example, from 1.
        predicted: predicted label.
        gold: gold label.
        probability: the model's confidence in the mistake, 0…1.
        text: beginning of the text.
        words: the first words with their weights; empty if the weights are unknown.
        rest: a note on how much of the text is omitted.
    """

    number: int
    predicted: str
    gold: str
    probability: float
    text: str
    words: Sequence[tuple[str, float]]
    rest: str


def _shown_mistake(mistake: Mistake) -> _ShownMistake:
    if mistake.words:
        n_left, unit = len(mistake.words) - _MOST_WORDS, "words"
    else:
        n_left, unit = len(mistake.text) - _MOST_CHARACTERS, "characters"
    return _ShownMistake(
        number=mistake.index + 1,
        predicted=mistake.predicted,
        gold=mistake.gold,
        probability=mistake.probability,
        text=mistake.text[:_MOST_CHARACTERS],
        words=mistake.words[:_MOST_WORDS],
        rest=f"… and {n_left:,} more {unit}" if n_left > 0 else "",
    )


def _legend(report: LabelReport) -> Iterator[str]:
    """The sentences that explain how to read the mistakes."""
    is_multi_label = isinstance(report.evaluation, MultiLabelEvaluation)
    if is_multi_label:
        yield "The percentage is the model's confidence in the label that it got most wrong."
    else:
        yield "The percentage is the probability of the predicted label."
    yield "Examples are numbered from 1, in the order of the data."
    if all("⟦" in mistake.text for mistake in report.mistakes):
        yield "The token in question is between ⟦ and ⟧."
    if all(f" {TEXT_SEPARATOR} " in mistake.text for mistake in report.mistakes):
        yield f"{TEXT_SEPARATOR} separates the two texts."
    if not any(mistake.words for mistake in report.mistakes):
        return
    if report.method == "attention":
        yield "The stronger the colour of a word, the larger the attention weight."
        return
    label = "the most probable label" if is_multi_label else "the predicted label"
    method = _ATTRIBUTIONS.get(report.method, "")
    yield f"Blue words support {label}, orange words count against it{method}."


_ATTRIBUTIONS = {
    "gradients": " (integrated gradients)",
    "occlusion": " (occlusion: the change in log-odds when the word is removed)",
}


def _methods(report: LabelReport) -> Iterator[tuple[str, str]]:
    """How each score and interval was computed, by name."""
    yield from report.evaluation.signature().items()
    kinds = sorted({bounds.how for bounds in report.intervals.values()})
    kinds += sorted({other.comparison.how for other in report.baselines if other.comparison})
    yield from (("interval", kind) for kind in kinds)


def _scores(evaluation: Evaluation) -> dict[str, float]:
    """The scores to show, without those that always equal another one."""
    scores = evaluation.scores().items()
    return {name: value for name, value in scores if name not in evaluation.redundant}


def _title_of(name: str, evaluation: Evaluation) -> str:
    titles = evaluation.titles if isinstance(evaluation, LabelEvaluation) else {}
    shown_as = titles.get(name, title(name))
    return shown_as[:1].upper() + shown_as[1:]
