"""The results of evaluating a label run, with its baselines: `report.html` and `predictions.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unrolled import storage
from unrolled.baselines.config import baseline_title
from unrolled.inspect.attribution import explain_words
from unrolled.inspect.label_report import LabelReport, write_report
from unrolled.inspect.label_views import SHUFFLED, Baseline, in_order
from unrolled.inspect.run_facts import DataPart, facts_of
from unrolled.metrics.display import WIDTH, aligned, bounds_shown, points, shown, title
from unrolled.metrics.intervals import bootstrap, paired_bootstrap
from unrolled.metrics.slices import TEXT_SEPARATOR, Mistake
from unrolled.predictors.label_answers import probability_fields
from unrolled.predictors.labels import LabelledEvaluation, LabelPredictor, all_scores
from unrolled.predictors.run_baselines import baseline_inputs, baseline_metric, load_run_baselines
from unrolled.quoting import json_line, listed_paths
from unrolled.text.rows import Row, as_list, as_text
from unrolled.training.dataset import too_long

Words = Literal["none", "attention", "gradients", "occlusion"]
"""How to find the words that mattered for a prediction."""


def evaluate_baselines(
    predictor: LabelPredictor, run: Path, rows: Sequence[Row], evaluation: LabelledEvaluation
) -> list[Baseline]:
    """Score the baselines saved in a run on the same rows, each compared with the model.

    Args:
        predictor: the model of the run.
        run: the run folder.
        rows: the rows that the model was evaluated on.
        evaluation: the evaluation of the model.

    Returns:
        The baselines by increasing score, after the majority.
    """
    loaded = load_run_baselines(run)
    if not loaded:
        return []
    texts, gold = baseline_inputs(predictor, rows)
    metric = baseline_metric(predictor)
    baselines = []
    for name, baseline in loaded.items():
        tally = predictor.tally(gold, baseline.predict(texts))
        intervals = bootstrap(tally)
        comparison = paired_bootstrap([evaluation.tally], [tally], metric)
        scores = {score: interval.value for score, interval in intervals.items()}
        baselines.append(Baseline(name, scores, intervals, comparison))
    return in_order(baselines, metric)


def _shuffled(predictor: LabelPredictor, evaluation: LabelledEvaluation) -> Baseline | None:
    """The model on the texts with shuffled words as another model; None if that was not evaluated."""
    tally = evaluation.shuffled_tally
    if tally is None:
        return None
    comparison = paired_bootstrap([evaluation.tally], [tally], baseline_metric(predictor))
    return Baseline(SHUFFLED, evaluation.shuffled, bootstrap(tally), comparison)


def evaluate_parts(predictor: LabelPredictor, evaluation: LabelledEvaluation) -> list[Baseline]:
    """Score each part of a model alone, compared with what they make together; [] without parts."""
    metric = baseline_metric(predictor)
    return [
        Baseline(
            f"{name} alone",
            all_scores(tally),
            bootstrap(tally),
            paired_bootstrap([evaluation.tally], [tally], metric),
        )
        for name, tally in evaluation.parts.items()
    ]


@dataclass(frozen=True)
class _Wording:
    """The headings of a table of models: of the first column, of the last row, of the differences."""

    other: str
    own: str
    difference: str


OF_BASELINES = _Wording("baseline", "this model", "model − baseline, points")
OF_PARTS = _Wording("part", "together", "together − part, points")

_WIDE = 100  # from this width on, the scores of the baselines have their intervals, too


def baseline_lines(
    baselines: Sequence[Baseline],
    evaluation: LabelledEvaluation,
    width: int = WIDTH,
    wording: _Wording = OF_BASELINES,
) -> Iterator[str]:
    """The table of the baselines: their scores, and by how much the model differs from each.

    Args:
        baselines: from `evaluate_baselines`, or the parts from `evaluate_parts`; those without a
            comparison are left out.
        evaluation: the evaluation of the model.
        width: maximum width of a line; wide tables have more columns.
        wording: the headings of the table.
    """
    compared = [(each, each.comparison) for each in baselines if each.comparison is not None]
    if not compared:
        return
    name = compared[0][1].score
    with_bounds = width >= _WIDE
    rows = [[wording.other, title(name), "95% interval", wording.difference, "p"]]
    for baseline, comparison in compared:
        change, low, high = map(points, (comparison.difference, comparison.low, comparison.high))
        rows.append(
            [
                baseline_title(baseline.name),
                shown(name, comparison.b),
                bounds_shown(name, baseline.intervals[name]) if name in baseline.intervals else "",
                f"{change} ({low} to {high})",
                comparison.p_shown.removeprefix("= "),
            ]
        )
    own = evaluation.intervals.get(name)
    of_model = "" if own is None else bounds_shown(name, own)
    rows.append([wording.own, shown(name, evaluation.scores[name]), of_model, "", ""])
    if not with_bounds:
        rows = [[*row[:2], *row[3:]] for row in rows]
    yield from aligned(rows, width)


def write_evaluation(
    folder: Path,
    predictor: LabelPredictor,
    rows: Sequence[Row],
    evaluation: LabelledEvaluation,
    *,
    title: str,
    files: Sequence[str] = (),
    baselines: Sequence[Baseline] = (),
    words: Words = "gradients",
    command: str = "",
) -> tuple[Path, Path]:
    """Write `report.html` and `predictions.jsonl` into a folder, which is created if it is missing.

    Args:
        folder: the folder of the two files.
        predictor: the model that was evaluated.
        rows: the labelled rows.
        evaluation: the evaluation of the rows, from `LabelPredictor.evaluate`.
        title: title of the report.
        files: the files that the rows were read from; empty if unknown.
        baselines: models to compare with; see `evaluate_baselines`.
        words: how to find the words that mattered for the worst mistakes.
        command: the command that created the report.

    Returns:
        The paths of the two files.

    Raises:
        RunError: a file cannot be written.
        ConfigError: the model does not support the method `words`.
    """
    with storage.writing(folder, "try again"):
        storage.make_folder(folder)
    report = LabelReport(
        title=title,
        evaluation=evaluation.measured,
        intervals=evaluation.intervals,
        slices=evaluation.slices,
        mistakes=_explained(predictor, rows, evaluation, words, files),
        baselines=baselines,
        command=command,
        notes=_notes(evaluation),
        shuffled=_shuffled(predictor, evaluation),
        parts=evaluate_parts(predictor, evaluation),
        method=words,
        facts=facts_of(predictor, DataPart("evaluated", len(rows), listed_paths(files))),
    )
    page = write_report(report, folder / "report.html")
    return page, write_predictions(folder / "predictions.jsonl", predictor, rows, evaluation)


def write_predictions(
    path: Path, predictor: LabelPredictor, rows: Sequence[Row], evaluation: LabelledEvaluation
) -> Path:
    """Write one line of JSON per row: its texts, gold label, predicted label and probabilities."""
    labels, by_token = predictor.labels, predictor.task.by_token
    columns = predictor.task.columns
    with storage.replacing(path, "try again") as file:
        for row, answer in zip(rows, evaluation.predictions, strict=True):
            line: dict[str, Any] = {"line": row.line}
            for column, field in zip(columns, row.fields, strict=True):
                # An empty list of labels is written as "", as it is read from a table.
                if by_token or (field and not isinstance(field, str)):
                    line[column] = as_list(field)
                else:
                    line[column] = as_text(field).strip() if column == columns[-1] else field
            is_one = not by_token and not labels.multi_label
            line["answer"] = answer.labels[0] if is_one else list(answer.labels)
            line |= probability_fields(answer, labels)
            if answer.n_truncated:
                line["n_unread"] = answer.n_truncated
            file.write((json_line(line) + "\n").encode("utf-8"))
    return path


def _explained(
    predictor: LabelPredictor,
    rows: Sequence[Row],
    evaluation: LabelledEvaluation,
    words: Words,
    files: Sequence[str],
) -> list[Mistake]:
    """The mistakes with their places and the weights of their words."""
    mistakes = [
        replace(mistake, place=_place(mistake, rows[mistake.index], files))
        for mistake in evaluation.mistakes
    ]
    if words == "none" or not mistakes or predictor.task.by_token:
        return mistakes
    inputs = [rows[mistake.index].fields[: predictor.n_texts] for mistake in mistakes]
    return [
        replace(mistake, words=tuple(_joined(texts)))
        for mistake, texts in zip(mistakes, explain_words(predictor, inputs, words), strict=True)
    ]


def _place(mistake: Mistake, row: Row, files: Sequence[str]) -> str:
    """The file and line of a mistake; of several files, which are parallel, all."""
    line = row.line
    if mistake.token is not None and row.lines:
        line = row.lines[mistake.token]
    return f"{listed_paths(files)}, line {line:,}" if files else f"line {line:,}"


def _joined(texts: Sequence[Any]) -> Iterator[tuple[str, float]]:
    """The weighted words of all texts of an input, with a separator between texts."""
    for place, words in enumerate(texts):
        if place:
            yield TEXT_SEPARATOR, 0.0
        yield from words


def _notes(evaluation: LabelledEvaluation) -> list[str]:
    notes = []
    if evaluation.n_cut:
        how = too_long(evaluation.n_cut, evaluation.max_length, evaluation.when_long)
        notes.append(f"{how}.")
    return notes
