"""How a model of labels did, as one page: scores, confusion, calibration, slices, its worst mistakes."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unrolled import storage
from unrolled.errors import ConfigError
from unrolled.metrics.calibration import Calibration
from unrolled.metrics.class_counts import ClassCounts
from unrolled.metrics.intervals import Comparison, Interval
from unrolled.metrics.labels import LabelEvaluation, shown
from unrolled.metrics.multi_label import MultiLabelEvaluation
from unrolled.metrics.slices import TEXT_SEPARATOR, Mistake, SliceTable
from unrolled.metrics.spans import SpanEvaluation
from unrolled.metrics.tally import SMALLER_IS_BETTER

Evaluation = LabelEvaluation | MultiLabelEvaluation | SpanEvaluation

_WIDEST_MATRIX = 30  # classes; a wider one cannot be read, so its most frequent mistakes are listed
_MOST_CONFUSIONS = 20
_MOST_CHARACTERS = 2_000  # of a mistake's text
_MOST_WORDS = 400

_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "mean_f1": "Mean F1",
    "weighted_f1": "Weighted F1",
    "micro_f1": "Micro F1",
    "subset_accuracy": "Subset accuracy",
    "hamming_loss": "Hamming loss",
    "f1": "F1",
    "strict_f1": "F1 (strict)",
    "precision": "Precision",
    "recall": "Recall",
    "token_accuracy": "Token accuracy",
    "ece": "Calibration error",
    "brier": "Brier score",
    "nll": "Negative log-likelihood",
}


@dataclass(frozen=True)
class Baseline:
    """Another model on the same examples.

    Args:
        name: of the model.
        scores: by name, as those of the evaluation.
        intervals: by name, where they are known.
        comparison: of this report's model, A, with the baseline, B, where one was made.
    """

    name: str
    scores: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    comparison: Comparison | None = None


@dataclass(frozen=True, eq=False)
class LabelReport:
    """What a page is made of; what is empty is left out.

    Args:
        title: of the page.
        evaluation: of one label per example, of any number of them, or of spans.
        intervals: by name of the score.
        slices: tables of scores of parts of the examples.
        mistakes: surest first.
        baselines: other models on the same examples.
        command: that made the page.
        notes: what a reader must know, as how many texts were cut; a sentence each.
        method: how the words of the mistakes were weighed: "gradients", "occlusion" or "attention"; ""
            where it is not known.
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


def write_report(report: LabelReport, path: str | Path) -> Path:
    """Write a report as one self-contained page: no script, nothing from a network, light and dark.

    Args:
        report: what is known of the model.
        path: ends in `.html`; a file that is there is replaced.

    Raises:
        ConfigError: another ending, or no such folder.

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
            f"cannot write {path}: there is no folder '{path.parent}'; make it, or name another"
        )
    storage.write_whole(path, report_page(report).encode("utf-8"), "try again")
    return path


_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --soft: #667; --line: #e5e9ee; --paper: #fff; --panel: #f6f8fa;
  --right: 8, 81, 156; --wrong: 200, 85, 0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #d8dee6; --soft: #93a0b0; --line: #2c333c; --paper: #0f1318; --panel: #171c23;
    --right: 88, 166, 255; --wrong: 255, 154, 82;
  }
}
body {
  font: 16px/1.4 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
}
h2 { margin: 2.5rem 0 .6rem; font-size: 1.25rem }
figure { margin: 0; overflow-x: auto }
figcaption, .soft, caption { color: var(--soft) }
caption { text-align: left; padding-bottom: .4rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { font-weight: 400; padding: .2rem .6rem; white-space: nowrap; text-align: right }
th.name {
  text-align: left; max-width: 24rem; overflow: hidden; text-overflow: ellipsis;
  unicode-bidi: isolate;
}
td { padding: .2rem .6rem; text-align: right; white-space: nowrap }
.rows thead th { color: var(--soft); border-bottom: 1px solid var(--line) }
.rows tbody tr + tr > * { border-top: 1px solid var(--line) }
.rows tr.total > * { border-top: 2px solid var(--line) }
td.line { text-align: left; white-space: normal; overflow-wrap: anywhere }
td > .soft { display: block; font-size: .8rem; font-weight: 400 }
.best { font-weight: 600 }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; padding: 0; list-style: none }
.cards li {
  background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem;
}
.cards .soft { display: block; font-size: .8rem }
.cards b { display: block; font-size: 1.5rem; font-weight: 600 }
.matrix thead th {
  writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .6rem .1rem;
}
.matrix td {
  min-width: 1.9rem; height: 1.7rem; border: 1px solid var(--line); padding: 0 .3rem;
  text-align: center; background: rgba(var(--tone), calc(var(--w) * .5));
}
.matrix thead td { border: 0; background: none }
.matrix td.right, .for { --tone: var(--right) }
.matrix td.wrong, .against { --tone: var(--wrong) }
.none { color: var(--soft) }
svg { display: block; max-width: 100%; height: auto }
svg text { fill: var(--soft); font-size: 12px }
.axis { stroke: var(--line) }
.ideal { stroke: var(--soft); stroke-dasharray: 4 4 }
.mark { fill: rgb(var(--right)); stroke: rgb(var(--right)) }
.path { fill: none; stroke: rgb(var(--right)); stroke-opacity: .5; stroke-width: 2 }
.range { stroke: rgb(var(--right)); stroke-opacity: .45; stroke-width: 3 }
.mistakes { list-style: none; padding: 0 }
.mistakes li { border-top: 1px solid var(--line); padding: .7rem 0 }
.mistakes p {
  margin: .3rem 0 0; overflow-wrap: anywhere; unicode-bidi: plaintext; white-space: pre-wrap;
}
.mistakes b { unicode-bidi: isolate }
.for, .against {
  background: rgba(var(--tone), calc(var(--w) * .5)); border-radius: .2rem; padding: 0 .1rem;
}
pre { background: var(--panel); padding: .7rem .9rem; overflow-x: auto; border-radius: .5rem }
summary { cursor: pointer; color: var(--soft) }
"""


def report_page(report: LabelReport) -> str:
    """One HTML page that needs nothing else."""
    parts = [
        _headline(report),
        _baselines(report),
        _by_class(report.evaluation),
        _confusion(report.evaluation),
        _reliability(getattr(report.evaluation, "calibration", None)),
        _slices(report.slices),
        _mistakes(report),
        _how(report),
    ]
    title = _text(report.title)
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f"{body}\n</body></html>\n"
    )


def _headline(report: LabelReport) -> str:
    evaluation = report.evaluation
    if isinstance(evaluation, SpanEvaluation):
        size = (
            f"{evaluation.n_sequences:,} sequences, {evaluation.n_tokens:,} tokens, "
            f"{sum(evaluation.gold):,} spans of {len(evaluation.types)} types"
        )
    else:
        size = f"{evaluation.n:,} examples, {len(evaluation.classes)} classes"
    cards = []
    for name, value in _scores(evaluation).items():
        bounds = report.intervals.get(name)
        range_line = "" if bounds is None else f'<span class="soft">{_bounds(name, bounds)}</span>'
        if name in SMALLER_IS_BETTER:
            range_line += '<span class="soft">smaller is better</span>'
        cards.append(
            f'<li><span class="soft">{_text(_named(name, evaluation))}</span>'
            f"<b>{shown(name, value)}</b>{range_line}</li>"
        )
    levels = sorted({f"{bounds.level * 100:g} %" for bounds in report.intervals.values()})
    said = ""
    if levels:
        said = (
            f" Ranges are {', '.join(levels)} intervals: how far the score of the same model may be "
            "on other data of this sort and size."
        )
    notes = "".join(f"<p>{_text(note)}</p>\n" for note in report.notes)
    return f'<p>{size}.{said}</p>\n{notes}<ul class="cards">\n' + "\n".join(cards) + "\n</ul>"


def _baselines(report: LabelReport) -> str:
    if not report.baselines:
        return ""
    own = _scores(report.evaluation)
    names = [name for name in own if any(name in each.scores for each in report.baselines)]
    rows = [Baseline("this model", own, report.intervals), *report.baselines]
    best = {}
    for name in names:
        found = [each.scores[name] for each in rows if name in each.scores]
        best[name] = min(found) if name in SMALLER_IS_BETTER else max(found)
    compared = any(each.comparison for each in report.baselines)
    heads = [_text(_named(name, report.evaluation)) for name in names]
    if compared:
        heads.append("this model − baseline")
    lines = []
    for each in rows:
        cells = []
        for name in names:
            if name not in each.scores:
                cells.append('<td class="none">–</td>')
                continue
            value, bounds = each.scores[name], each.intervals.get(name)
            marked = ' class="best"' if value == best[name] else ""
            around = f'<span class="soft">{_bounds(name, bounds)}</span>' if bounds else ""
            cells.append(f"<td{marked}>{shown(name, value)}{around}</td>")
        if compared:
            cells.append(f"<td>{_compared(each.comparison)}</td>")
        lines.append(_row(each.name, cells))
    caption = "Baselines count words, or words and their neighbours, and know no other order."
    if compared:
        caption += (
            " Where the interval of a difference holds 0, no difference is shown; of one run each, "
            "it says nothing of other seeds."
        )
    return f"<h2>Beside baselines</h2>\n{_table(['model', *heads], lines, caption)}"


def _compared(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    return _text(
        f"{comparison.score} {comparison.difference:+.2%} ({comparison.low:+.2%} to "
        f"{comparison.high:+.2%}), p = {comparison.p_value:.4f}"
    )


def _by_class(evaluation: Evaluation) -> str:
    names = _names(evaluation)
    what = "type" if isinstance(evaluation, SpanEvaluation) else "class"
    counts: ClassCounts = evaluation.counts
    thresholds = getattr(evaluation, "thresholds", None)
    heads = [what, "precision", "recall", "F1", "", "gold", "predicted"]
    if thresholds is not None:
        heads.append("predicted from")
    lines = []
    columns = (counts.precision, counts.recall, counts.f1, counts.gold, counts.predicted)
    for index, name in enumerate(names):
        precision, recall, f1, gold, predicted = (column[index] for column in columns)
        cells = [*_shares(precision, recall, f1), f"<td>{gold:,}</td>", f"<td>{predicted:,}</td>"]
        if thresholds is not None:
            cells.append(f"<td>{thresholds[index]:.3f}</td>")
        lines.append(_row(name, cells))
    macro = _shares(counts.macro_precision, counts.macro_recall, counts.macro_f1)
    total = [*macro, f"<td>{counts.gold.sum():,}</td>", f"<td>{counts.predicted.sum():,}</td>"]
    lines.append(_row("macro average", [*total, "<td></td>"] if thresholds else total, "total"))
    caption = (
        f"Gold: how many there are of a {what}; predicted: how many were called so. Lines are F1."
    )
    if thresholds is not None:
        caption += " Predicted from: the probability from which on a label was given."
    return f"<h2>By {what}</h2>\n{_table(heads, lines, caption)}"


def _shares(precision: Any, recall: Any, f1: Any) -> list[str]:
    cells = [f"<td>{value:.2%}</td>" for value in (precision, recall, f1)]
    width = 100 * float(f1)
    bar = (
        '<td><svg width="104" height="12" aria-hidden="true">'
        '<line class="axis" x1="2" x2="102" y1="6" y2="6"/>'
        f'<line class="range" x1="2" x2="{2 + width:.1f}" y1="6" y2="6"/></svg></td>'
    )
    return [*cells, bar]


def _confusion(evaluation: Evaluation) -> str:
    if not isinstance(evaluation, LabelEvaluation):
        return ""
    if len(evaluation.classes) > _WIDEST_MATRIX:
        found = evaluation.confusions()
        lines = [
            _row(gold, [f'<td class="line">{_text(predicted)}</td>', f"<td>{count:,}</td>"])
            for gold, predicted, count in found[:_MOST_CONFUSIONS]
        ]
        heading = (
            f"<h2>Most frequent mistakes</h2>\n<p>{len(found):,} pairs of classes are confused.</p>"
        )
        return f"{heading}\n{_table(['gold', 'predicted', 'times'], lines)}" if found else ""
    head = "".join(f"<th>{_text(name)}</th>" for name in evaluation.classes)
    rows = "\n".join(_confusion_rows(evaluation))
    return (
        "<h2>Confusion</h2>\n<figure><figcaption>Each row is a gold label; the stronger a colour, the "
        "larger the share of the row that was given the label above.</figcaption>\n"
        f'<table class="matrix"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></figure>"
    )


def _confusion_rows(evaluation: LabelEvaluation) -> Iterator[str]:
    for gold, counts in enumerate(evaluation.confusion.tolist()):
        total = sum(counts)
        cells = []
        for predicted, count in enumerate(counts):
            share = count / total if total else 0.0
            kinds = "right" if gold == predicted else "wrong"
            kinds += "" if count else " none"
            title = (
                f"{evaluation.classes[gold]}, called {evaluation.classes[predicted]}: {count:,} "
                f"({share:.1%} of {total:,})"
            )
            look = f'class="{kinds}" style="--w: {share:.3f}"'
            cells.append(f'<td title="{_text(title)}" {look}>{count:,}</td>')
        yield f"<tr>{_name(evaluation.classes[gold])}{''.join(cells)}</tr>"


_SIDE, _MARGIN = 300, 56


def _reliability(calibration: Calibration | None) -> str:
    if calibration is None:
        return ""
    size, middle = _SIDE + 2 * _MARGIN, _MARGIN + _SIDE / 2
    rows = [
        _row(
            f"{each.low:.1%} – {each.high:.1%}",
            [f"<td>{each.confidence:.1%}</td><td>{each.accuracy:.1%}</td><td>{each.n:,}</td>"],
        )
        for each in calibration.bins
    ]
    return (
        "<h2>Calibration</h2>\n<figure><figcaption>A point is a bin of predictions. Below the dashed "
        "line the model is surer than it is right.</figcaption>\n"
        f'<svg width="{size}" height="{size}" viewBox="0 0 {size} {size}" role="img" '
        f'aria-label="Reliability diagram: share right by confidence">{_axes()}{_points(calibration)}'
        f'<text x="{middle:g}" y="{size - 10}" text-anchor="middle">confidence: probability of '
        f'{_text(calibration.of)}</text><text x="12" y="{middle:g}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle:g})">share right</text></svg>\n'
        "<details><summary>as a table</summary>"
        f"{_table(['confidence', 'mean', 'right', 'predictions'], rows)}</details></figure>"
    )


def _axes() -> str:
    lines = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _place(tick, tick)
        lines.append(
            f'<line class="axis" x1="{x:g}" x2="{x:g}" y1="{_MARGIN}" y2="{_MARGIN + _SIDE}"/>'
            f'<line class="axis" x1="{_MARGIN}" x2="{_MARGIN + _SIDE}" y1="{y:g}" y2="{y:g}"/>'
            f'<text x="{x:g}" y="{_MARGIN + _SIDE + 16}" text-anchor="middle">{tick:.0%}</text>'
            f'<text x="{_MARGIN - 6}" y="{y + 4:g}" text-anchor="end">{tick:.0%}</text>'
        )
    (x1, y1), (x2, y2) = _place(0, 0), _place(1, 1)
    lines.append(f'<line class="ideal" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>')
    return "".join(lines)


def _points(calibration: Calibration) -> str:
    """A circle for each bin, the larger the more is in it, on a line from its lowest to its highest."""
    most = max(each.n for each in calibration.bins)
    corners, marks = [], []
    for each in calibration.bins:
        x, y = _place(each.confidence, each.accuracy)
        corners.append(f"{x:.1f},{y:.1f}")
        (low, _), (high, _) = _place(each.low, 0), _place(each.high, 0)
        marks.append(
            f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{2 + 4 * math.sqrt(each.n / most):.1f}">'
            f"<title>{each.n:,} of mean confidence {each.confidence:.1%}: {each.accuracy:.1%} right"
            "</title></circle>"
        )
    return f'<polyline class="path" points="{" ".join(corners)}"/>{"".join(marks)}'


def _place(confidence: float, accuracy: float) -> tuple[float, float]:
    return _MARGIN + _SIDE * confidence, _MARGIN + _SIDE * (1 - accuracy)


def _slices(tables: Sequence[SliceTable]) -> str:
    parts = []
    for table in tables:
        heads = [_text(table.by), "examples"]
        for name in table.shown:
            heads += [_text(_NAMES.get(name, name)), "interval", ""]
        lines = []
        for each in table.slices:
            cells = [f"<td>{each.n:,}</td>"]
            for name in table.shown:
                bounds = each.scores[name]
                cells += [
                    f"<td>{shown(name, bounds.value)}</td>",
                    f'<td class="soft">{_bounds(name, bounds)}</td>',
                    f"<td>{_whisker(bounds)}</td>",
                ]
            lines.append(_row(each.name, cells))
        caption = "Lines are the intervals, 0 to 1."
        parts.append(f"<h2>By {_text(table.by)}</h2>\n{_table(heads, lines, caption)}")
    return "\n".join(parts)


def _whisker(bounds: Interval) -> str:
    """An interval as a line with a dot, on a scale from 0 to 1."""
    low, value, high = (
        4 + 132 * min(1.0, max(0.0, x)) for x in (bounds.low, bounds.value, bounds.high)
    )
    return (
        '<svg width="140" height="12" aria-hidden="true">'
        '<line class="axis" x1="4" x2="136" y1="6" y2="6"/>'
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="6" y2="6"/>'
        f'<circle class="mark" cx="{value:.1f}" cy="6" r="3"/></svg>'
    )


def _mistakes(report: LabelReport) -> str:
    mistakes = report.mistakes
    if not mistakes:
        return ""
    legend = f"<p>{' '.join(_legend(report))}</p>\n"
    items = "\n".join(
        f"<li><b>{_text(each.predicted)}</b> with {each.probability:.1%}; "
        f"it is <b>{_text(each.gold)}</b> "
        f'<span class="soft">example {each.index + 1:,}</span>\n<p dir="auto">{_words(each)}</p></li>'
        for each in mistakes
    )
    return f'<h2>Worst mistakes</h2>\n{legend}<ol class="mistakes">\n{items}\n</ol>'


def _legend(report: LabelReport) -> Iterator[str]:
    """How to read the mistakes, sentence by sentence."""
    several = isinstance(report.evaluation, MultiLabelEvaluation)
    of = "the label it is most wrong about" if several else "its answer"
    yield f"Surest first; the percentage is how sure the model was of {of}."
    yield "Examples are counted from 1, in the order of the data."
    if all("⟦" in each.text for each in report.mistakes):
        yield "The word that is meant stands between ⟦ and ⟧."
    if all(f" {TEXT_SEPARATOR} " in each.text for each in report.mistakes):
        yield f"{TEXT_SEPARATOR} stands between the two texts."
    if not any(each.words for each in report.mistakes):
        return
    if report.method == "attention":
        yield "The stronger the colour of a word, the more the model looked at it."
        return
    answer = "the likeliest label" if several else "the answer that was given"
    how = _METHODS.get(report.method, "")
    yield f"Blue words speak for {answer}, orange ones against it{how}."


_METHODS = {
    "gradients": ", by integrated gradients",
    "occlusion": ": what its log-odds lose without the word",
}


def _words(mistake: Mistake) -> str:
    if not mistake.words:
        left = len(mistake.text) - _MOST_CHARACTERS
        return _text(mistake.text[:_MOST_CHARACTERS]) + _more(left, "characters")
    left = len(mistake.words) - _MOST_WORDS
    shaded = " ".join(
        f'<span class="{"against" if weight < 0 else "for"}" style="--w: {abs(weight):.3f}" '
        f'title="{weight:+.3f}">{_text(word)}</span>'
        for word, weight in mistake.words[:_MOST_WORDS]
    )
    return shaded + _more(left, "words")


def _more(left: int, what: str) -> str:
    return f' <span class="soft">… and {left:,} more {what}</span>' if left > 0 else ""


def _how(report: LabelReport) -> str:
    lines = [
        _row(name, [f'<td class="line">{_text(line)}</td>'])
        for name, line in report.evaluation.signature().items()
    ]
    kinds = sorted({bounds.how for bounds in report.intervals.values()})
    kinds += sorted({each.comparison.how for each in report.baselines if each.comparison})
    lines += [_row("interval", [f'<td class="line">{_text(kind)}</td>']) for kind in kinds]
    command = f"<pre>{_text(report.command)}</pre>" if report.command else ""
    return f"<h2>How it was computed</h2>\n{command}\n{_table([], lines)}"


def _table(heads: Sequence[str], lines: Iterable[str], caption: str = "") -> str:
    """Heads are HTML; the first one stands over the names."""
    cells = "".join(
        f"<th{'' if index else ' class=name'}>{head}</th>" for index, head in enumerate(heads)
    )
    top = f"<thead><tr>{cells}</tr></thead>" if heads else ""
    rows = "\n".join(lines)
    told = f"<figcaption>{_text(caption)}</figcaption>\n" if caption else ""
    return f'<figure>{told}<table class="rows">{top}<tbody>\n{rows}\n</tbody></table></figure>'


def _row(name: str, cells: Iterable[str], kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f"<tr{marked}>{_name(name)}{''.join(cells)}</tr>"


def _name(name: str) -> str:
    return f'<th class="name" scope="row">{_text(name)}</th>'


def _scores(evaluation: Evaluation) -> dict[str, float]:
    """Those to show: of one label per example, micro F1 is the accuracy once more."""
    is_single = isinstance(evaluation, LabelEvaluation)
    found = evaluation.scores().items()
    return {name: value for name, value in found if not (is_single and name == "micro_f1")}


def _names(evaluation: Evaluation) -> tuple[str, ...]:
    return evaluation.shown_types if isinstance(evaluation, SpanEvaluation) else evaluation.classes


def _named(name: str, evaluation: Evaluation) -> str:
    if name == "mean_f1" and isinstance(evaluation, LabelEvaluation):
        return f"Mean F1 of {', '.join(evaluation.averaged)}"
    return _NAMES.get(name, name)


def _bounds(name: str, bounds: Interval) -> str:
    return f"{shown(name, bounds.low)} – {shown(name, bounds.high)}"


_NOT_IN_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def _text(text: str) -> str:
    """Text that stands for itself; what no page may hold becomes U+FFFD."""
    return html.escape(_NOT_IN_HTML.sub("\ufffd", text))
