"""Runs that answer with labels at the command line: predict, evaluate, baselines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unrolled.errors import ConfigError, DataError

if TYPE_CHECKING:
    from unrolled.baselines import FittedBaseline, Labelled
    from unrolled.inspect.labels import Baseline
    from unrolled.predict_labels import LabelledEvaluation, LabelPredictor
    from unrolled.tasks.task import LabelPrediction
    from unrolled.text.readers import Row

BASELINES_FOLDER = "baselines"
"""In a run folder."""

Words = Literal["none", "attention", "gradients", "occlusion"]


def one_line(prediction: LabelPrediction, predictor: LabelPredictor, with_scores: bool) -> str:
    """The answer, a tab and its probability; with scores every label's, the likeliest first."""
    from unrolled.predict_labels import given_labels, probability_of

    if prediction.probabilities.ndim > 1:
        return given_labels(prediction)
    if not with_scores:
        return f"{given_labels(prediction)}\t{probability_of(prediction, predictor.labels):.4f}"
    pairs = zip(predictor.labels.names, prediction.probabilities.tolist(), strict=True)
    ordered = sorted(pairs, key=lambda pair: -pair[1])
    return "\t".join(f"{name}\t{probability:.4f}" for name, probability in ordered)


def fields_of(line: str, predictor: LabelPredictor) -> list[str]:
    """The texts of an input line, separated by a tab where there are two.

    Raises:
        DataError: a line of another number of texts.
    """
    if predictor.n_texts == 1:
        return [line]
    fields = line.split("\t")
    if len(fields) != predictor.n_texts:
        wanted = " and ".join(predictor.task.columns[:-1])
        raise DataError(f"expected {wanted}, separated by a tab; found '{line[:40]}'")
    return fields


def print_words(predictor: LabelPredictor, inputs: Sequence[Any], method: Words) -> None:
    """Which words spoke for each answer, and against it, on standard error."""
    from unrolled.inspect.attribution import explain

    for texts in explain(predictor, inputs, method):
        for words in texts:
            print("  ".join(f"{word} {weight:+.2f}" for word, weight in words), file=sys.stderr)


def evaluate(
    predictor: LabelPredictor,
    run: Path,
    rows: Sequence[Row],
    name: str,
    path: str,
    *,
    shuffle_words: bool,
    out: Path | None,
    words: Words,
    command: str,
) -> LabelledEvaluation:
    """Print the tables and write `report.html` and `predictions.jsonl`.

    Args:
        predictor: of the run.
        run: its folder.
        rows: to label.
        name: of the data.
        path: where the rows are from, for messages.
        shuffle_words: whether to score the texts with their words in random order too.
        out: folder for the two files; `evaluation-NAME` in the run by default.
        words: how to find which words of the worst mistakes mattered.
        command: that was given.
    """
    from unrolled.inspect.labels import LabelReport, write_report

    seed = predictor.recipe.seed if shuffle_words else None
    evaluation = predictor.evaluate(rows, path, seed)
    beside = list(_baselines(predictor, run, rows, evaluation))
    for line in evaluation.lines():
        print(line)
    for each in beside:
        for line in _compared(each, evaluation):
            print(line)
    folder = out or run / f"evaluation-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    report = LabelReport(
        title=f"{run.name} on {name}",
        evaluation=evaluation.measured,
        intervals=evaluation.intervals,
        slices=evaluation.slices,
        mistakes=_explained(predictor, rows, evaluation, words),
        baselines=beside,
        command=command,
        notes=_notes(evaluation),
    )
    page = write_report(report, folder / "report.html")
    answers = write_predictions(folder / "predictions.jsonl", predictor, rows, evaluation)
    print(f"\n{page} · {answers}")
    return evaluation


def write_predictions(
    path: Path, predictor: LabelPredictor, rows: Sequence[Row], evaluation: LabelledEvaluation
) -> Path:
    """One line of JSON for each row: its texts, its label, the answer and the probabilities."""
    names = predictor.labels.names
    columns = predictor.task.columns
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row, said in zip(rows, evaluation.predictions, strict=True):
            line: dict[str, Any] = {"line": row.line}
            line |= dict(zip(columns, row.fields, strict=True))
            if said.probabilities.ndim == 1:
                line["answer"] = list(said.labels) if predictor.labels.several else said.labels[0]
                pairs = zip(names, said.probabilities.tolist(), strict=True)
                line["probabilities"] = {each: round(p, 6) for each, p in pairs}
            else:
                line["answer"] = list(said.labels)
            if said.n_unread:
                line["n_unread"] = said.n_unread
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return path


def fit_and_save_baselines(run: Path) -> None:
    """Fit bag-of-words baselines on a run's own parts, print what they reach, and keep them in it.

    Raises:
        UnavailableError: scikit-learn is not installed.
        ConfigError: the run does not answer with labels.
    """
    from unrolled.baselines import BaselineConfig, fit_baselines
    from unrolled.predict import load
    from unrolled.predict_labels import LabelPredictor

    predictor = load(run)
    if not isinstance(predictor, LabelPredictor):
        raise ConfigError(f"--baselines: {run} does not answer with labels")
    parts = predictor.parts()
    metric = predictor.recipe.training.metric
    metric = metric if metric != "loss" else next(iter(predictor.task.signature()))
    config = BaselineConfig(
        reads=("all", "first", "second") if predictor.n_texts == 2 else ("all",)
    )
    found = fit_baselines(
        _labelled(predictor, parts["train"]),
        _labelled(predictor, parts["valid"]),
        _score(predictor, metric),
        config,
    )
    for fitted in found:
        fitted.baseline.save(run / BASELINES_FOLDER / fitted.name, fitted.figures())
        print(_fitted_line(fitted, metric), flush=True)


def _fitted_line(fitted: FittedBaseline, metric: str) -> str:
    chosen = "" if fitted.c is None else f" · C {fitted.c:g}"
    return (
        f"baseline {fitted.name} · valid {metric} {fitted.score:.2f}{chosen} · "
        f"{fitted.n_features:,} n-grams · {fitted.seconds:.1f} s"
    )


def _labelled(predictor: LabelPredictor, rows: Sequence[Row]) -> Labelled:
    """Rows as the baselines read them: the tokens of the model, and labels."""
    from unrolled.baselines import Labelled

    texts = [predictor.pieces(row.fields[: predictor.n_texts]) for row in rows]
    return Labelled(texts, [predictor.gold(row) for row in rows])


def _score(
    predictor: LabelPredictor, metric: str
) -> Callable[[Sequence[Any], Sequence[Any]], float]:
    def score(truth: Sequence[Any], found: Sequence[Any]) -> float:
        return predictor.scores_of(truth, found)[metric]

    return score


def _baselines(
    predictor: LabelPredictor, run: Path, rows: Sequence[Row], evaluation: LabelledEvaluation
) -> Any:
    from unrolled.inspect.labels import Baseline
    from unrolled.metrics.intervals import bootstrap, paired_bootstrap

    folders = sorted((run / BASELINES_FOLDER).glob("*/"))
    if not folders:
        return
    from unrolled.baselines import load_baseline

    data = _labelled(predictor, rows)
    for folder in folders:
        baseline: Any = load_baseline(folder)
        tally = predictor.tally(data.targets, baseline.predict(data.texts))
        intervals = bootstrap(tally)
        metric = next(iter(intervals))
        yield Baseline(
            folder.name,
            {name: each.value for name, each in intervals.items()},
            intervals,
            paired_bootstrap([evaluation.tally], [tally], metric),
        )


def _compared(baseline: Baseline, evaluation: LabelledEvaluation) -> list[str]:
    comparison = baseline.comparison
    if comparison is None:
        return []
    return [
        f"baseline {baseline.name:20}  {comparison.score} {comparison.b:.2%}  model "
        f"{comparison.difference:+.2%} ({comparison.low:+.2%} to {comparison.high:+.2%})"
    ]


def _explained(
    predictor: LabelPredictor, rows: Sequence[Row], evaluation: LabelledEvaluation, words: Words
) -> list[Any]:
    from dataclasses import replace

    from unrolled.inspect.attribution import explain

    mistakes = list(evaluation.mistakes)
    if words == "none" or not mistakes:
        return mistakes
    inputs = [rows[each.index].fields[: predictor.n_texts] for each in mistakes]
    return [
        replace(mistake, words=tuple(pair for text in texts for pair in text))
        for mistake, texts in zip(mistakes, explain(predictor, inputs, words), strict=True)
    ]


def _notes(evaluation: LabelledEvaluation) -> list[str]:
    notes = []
    if evaluation.n_cut:
        notes.append(
            f"{evaluation.n_cut:,} texts are longer than data.max_length and were read in part."
        )
    scores = evaluation.measured.scores()
    notes += [
        f"With the words of each text in random order, {name} is {value:.2%} "
        f"({value - scores[name]:+.2%})."
        for name, value in evaluation.shuffled.items()
    ]
    return notes
