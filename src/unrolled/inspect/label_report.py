"""An evaluation of labels as one HTML page: facts of the run, scores, confusions, calibration, errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unrolled import storage
from unrolled.baselines.config import baseline_title
from unrolled.errors import ConfigError
from unrolled.inspect import page
from unrolled.inspect.label_charts import calibration_chart, learning_charts
from unrolled.inspect.label_views import (
    Baseline,
    Evaluation,
    class_table,
    confusion_rows,
    frequent_confusions,
    mistake_view,
    model_table,
    score_view,
    scores_of,
    slice_view,
    title_of,
)
from unrolled.inspect.run_facts import RunFacts
from unrolled.metrics.display import points, shown, title
from unrolled.metrics.intervals import Comparison, Interval
from unrolled.metrics.multi_label import MultiLabelEvaluation
from unrolled.metrics.slices import TEXT_SEPARATOR, Mistake, SliceTable
from unrolled.metrics.spans import SpanEvaluation
from unrolled.metrics.tally import SMALLER_IS_BETTER
from unrolled.wording import count_of, percent

__all__ = ["Baseline", "LabelReport", "report_page", "write_report"]

_MOST_CONFUSIONS = 20
_MOST_EVALUATIONS = 60  # rows of the table of the learning curve


@dataclass(frozen=True, eq=False)
class LabelReport:
    """The contents of a report; empty sections are omitted.

    Args:
        title: title of the page.
        evaluation: single-label, multi-label or span evaluation.
        intervals: confidence intervals of the scores by name, in the units of the evaluation's scores.
        slices: tables of scores of subsets of the examples.
        mistakes: wrong predictions, the most confident first.
        baselines: other models, scored on the same examples, in any order.
        command: the command that created the page.
        notes: important facts about the evaluation, such as how many texts were truncated.
        method: attribution method of the mistakes' words: "gradients", "occlusion" or "attention"; "" if
            it is unknown.
        shuffled: the model on the same texts with their words in random order; None if it is unknown.
        facts: facts of the run; None if they are unknown.
        parts: each part of the model alone, on the same examples; () if it has none.
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
    shuffled: Baseline | None = None
    facts: RunFacts | None = None
    parts: Sequence[Baseline] = ()


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
    curve = report.facts.curve if report.facts else None
    calibration = getattr(evaluation, "calibration", None)
    values: dict[str, Any] = {
        "report": report,
        "scores": [
            score_view(name, value, report.intervals.get(name), evaluation)
            for name, value in scores_of(evaluation).items()
        ],
        "findings": list(_findings(report)),
        "facts": report.facts,
        "curve": curve,
        "charts_of_learning": list(learning_charts(curve)) if curve else [],
        "score_of_learning": title(curve.score) if curve else "",
        "evaluations": curve.evaluations[-_MOST_EVALUATIONS:] if curve else [],
        "models": model_table(
            evaluation, report.intervals, report.baselines, report.shuffled, report.parts
        ),
        "classes": class_table(evaluation),
        "matrix": confusion_rows(evaluation),
        "confusions": frequent_confusions(evaluation),
        "most_confusions": _MOST_CONFUSIONS,
        "calibration": calibration_chart(calibration) if calibration else None,
        "slices": [slice_view(table, evaluation) for table in report.slices],
        "mistakes": [mistake_view(mistake) for mistake in report.mistakes],
        "legend": " ".join(_legend(report)),
        "methods": list(_methods(report)),
    }
    return page.render(
        "label_report.html",
        title=report.title,
        command=report.command,
        summary=_summary(report),
        sections=dict(_sections(report, values)),
        **values,
    )


def _sections(report: LabelReport, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The id and the title of each section that has contents, in order."""
    compared = "Comparison with baselines" if report.baselines else "Words in random order"
    if report.parts and not report.baselines:
        compared = "Parts of the model"
    confusions = "Confusion matrix" if values["matrix"] else "Most frequent confusions"
    is_shown = {
        ("facts", "The run"): values["facts"],
        ("learning", "Learning curve"): values["charts_of_learning"],
        ("models", compared): values["models"],
        ("classes", f"Scores by {values['classes'].what}"): True,
        ("confusions", confusions): values["matrix"] or values["confusions"],
        ("calibration", "Calibration"): values["calibration"],
        **{
            (f"slices-{number}", f"Scores by {table.by}"): True
            for number, table in enumerate(report.slices, start=1)
        },
        ("mistakes", "Most confident errors"): values["mistakes"],
        ("methods", "How the scores were computed"): True,
    }
    yield from (section for section, contents in is_shown.items() if contents)


def _summary(report: LabelReport) -> str:
    evaluation = report.evaluation
    if isinstance(evaluation, SpanEvaluation):
        size = (
            f"{evaluation.n_sequences:,} sequences, {evaluation.n_tokens:,} tokens, "
            f"{sum(evaluation.gold):,} spans of {count_of(len(evaluation.types), 'type')}."
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


def _findings(report: LabelReport) -> Iterator[str]:
    """Whether the model is better than the best baseline, and what word order is worth to it."""
    compared = [(each.name, each.comparison) for each in report.baselines if each.comparison]
    if compared:
        is_loss = compared[0][1].score in SMALLER_IS_BETTER
        name, best = (min if is_loss else max)(compared, key=lambda pair: pair[1].b)
        yield _finding(best, f"the best baseline, {baseline_title(name)}", report.evaluation)
    for part in report.parts:
        if part.comparison is not None:
            yield _finding(part.comparison, f"its {part.name}", report.evaluation)
    if report.shuffled is not None and report.shuffled.comparison is not None:
        other = "the same model with the words of each text in random order"
        yield _finding(report.shuffled.comparison, other, report.evaluation)


def _finding(comparison: Comparison, other: str, evaluation: Evaluation) -> str:
    name = comparison.score
    verdict = {
        "A is better": "this model is better",
        "B is better": "this model is worse",
    }.get(comparison.verdict, "no significant difference")
    bounds = f"{points(comparison.low)} to {points(comparison.high)}"
    return (
        f"{title_of(name, evaluation)}: {shown(name, comparison.a)}, against "
        f"{shown(name, comparison.b)} of {other}: {verdict} ({points(comparison.difference)} points, "
        f"{bounds})."
    )


def _legend(report: LabelReport) -> Iterator[str]:
    """The sentences that explain how to read the mistakes."""
    is_multi_label = isinstance(report.evaluation, MultiLabelEvaluation)
    if is_multi_label:
        yield "The percentage is the model's confidence in the label that it got most wrong."
    else:
        yield "The percentage is the probability of the predicted label."
    if any(not mistake.place for mistake in report.mistakes):
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
    yield f"Blue words, marked +, support {label}; orange words, marked −, count against it{method}."


_ATTRIBUTIONS = {
    "gradients": " (integrated gradients)",
    "occlusion": " (occlusion: the change in log-odds when the word is removed)",
}


def _methods(report: LabelReport) -> Iterator[tuple[str, str]]:
    """How each score and interval was computed, by name."""
    yield from report.evaluation.signature().items()
    kinds = sorted({bounds.how for bounds in report.intervals.values()})
    others = [*report.baselines, *report.parts]
    others += [] if report.shuffled is None else [report.shuffled]
    kinds += sorted({other.comparison.how for other in others if other.comparison})
    yield from (("interval", kind) for kind in kinds)
