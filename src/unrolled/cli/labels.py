"""Runs that answer with labels at the command line: predict, evaluate, baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled import storage
from unrolled.cli.predict import Words, _of_tags, check_words
from unrolled.errors import ConfigError
from unrolled.quoting import escape, json_line

if TYPE_CHECKING:
    from unrolled.baselines import FittedBaseline
    from unrolled.inspect.label_report import Baseline
    from unrolled.predictors.labels import LabelledEvaluation, LabelPredictor
    from unrolled.text.rows import Row

BASELINES_FOLDER = "baselines"
"""In a run folder."""


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

    Raises:
        ConfigError: the model has nothing that `words` asks for.
    """
    from unrolled.inspect.label_report import LabelReport, write_report

    if not predictor.task.by_token:
        check_words(predictor, words)
    seed = predictor.recipe.seed if shuffle_words else None
    evaluation = predictor.evaluate(rows, path, seed)
    beside = list(_baselines(predictor, run, rows, evaluation))
    for line in evaluation.lines():
        print(escape(line))
    for each in beside:
        for line in _compared(each, evaluation):
            print(line)
    folder = out or run / f"evaluation-{name}"
    if out is None:
        storage.require_own_folder(folder)
    with storage.writing(folder, "try again"):
        storage.make_folder(folder)
    report = LabelReport(
        title=f"{run.name} on {name}",
        evaluation=evaluation.measured,
        # Shares of 1 in the page, as in the records that it is made of.
        intervals={name: each.times(0.01) for name, each in evaluation.intervals.items()},
        slices=evaluation.slices,
        mistakes=_explained(predictor, rows, evaluation, words),
        baselines=beside,
        command=command,
        notes=_notes(evaluation),
        method=words,
    )
    page = write_report(report, folder / "report.html")
    answers = write_predictions(folder / "predictions.jsonl", predictor, rows, evaluation)
    print(f"\n{escape(f'{page} · {answers}')}")
    return evaluation


def write_predictions(
    path: Path, predictor: LabelPredictor, rows: Sequence[Row], evaluation: LabelledEvaluation
) -> Path:
    """One line of JSON for each row: its texts, its label, the answer and the probabilities."""
    from unrolled.text.rows import LIST_SEPARATOR, split_list

    names, by_token = predictor.labels.names, predictor.task.by_token
    columns = predictor.task.columns
    with storage.replacing(path, "try again") as file:
        for row, said in zip(rows, evaluation.predictions, strict=True):
            line: dict[str, Any] = {"line": row.line}
            for column, field in zip(columns, row.fields, strict=True):
                is_list = by_token or field.endswith(LIST_SEPARATOR)
                if is_list or column != columns[-1]:
                    line[column] = split_list(field) if is_list else field
                else:
                    line[column] = field.strip()
            if not by_token:
                line["answer"] = (
                    list(said.labels) if predictor.labels.multi_label else said.labels[0]
                )
                pairs = zip(names, said.probabilities.tolist(), strict=True)
                line["probabilities"] = {each: round(p, 6) for each, p in pairs}
            else:
                line |= {"answer": list(said.labels), **_of_tags(said, predictor.labels)}
            if said.n_truncated:
                line["n_unread"] = said.n_truncated
            file.write((json_line(line) + "\n").encode("utf-8"))
    return path


def fit_and_save_baselines(run: Path) -> None:
    """Fit bag-of-words baselines on a run's own parts, print what they reach, and keep them in it.

    Raises:
        UnavailableError: scikit-learn is not installed.
        ConfigError: the run does not answer with labels.
    """
    from unrolled.baselines import BaselineConfig, fit_baselines, fit_tagging_baselines
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.load import load

    storage.require_own_folder(run / BASELINES_FOLDER)
    predictor = load(run)
    if not isinstance(predictor, LabelPredictor):
        raise ConfigError(f"--baselines: {run} does not answer with labels")
    parts = predictor.parts()
    train, valid = (_labelled(predictor, parts[name]) for name in ("train", "valid"))
    truth = [predictor.gold(row) for row in parts["valid"]]
    metric = predictor.recipe.training.metric
    metric = metric if metric != "loss" else next(iter(predictor.scores_of(truth, truth)))
    score = _score(predictor, metric)
    if predictor.task.by_token:
        found = fit_tagging_baselines(train, valid, score)
    else:
        model: Any = predictor.recipe.model
        config = BaselineConfig(
            reads=("all", "first", "second") if predictor.n_texts == 2 else ("all",),
            class_weights=getattr(model, "class_weights", "none"),
        )
        found = fit_baselines(train, valid, score, config)
    for fitted in found:
        fitted.baseline.save(run / BASELINES_FOLDER / fitted.name, fitted.figures())
        print(_fitted_line(fitted, metric), flush=True)


def _fitted_line(fitted: FittedBaseline, metric: str) -> str:
    chosen = "" if fitted.c is None else f" · C {fitted.c:g}"
    return (
        f"baseline {fitted.name} · valid {metric} {fitted.score:.2f}{chosen} · "
        f"{fitted.n_features:,} n-grams · {fitted.seconds:.1f} s"
    )


def _labelled(predictor: LabelPredictor, rows: Sequence[Row]) -> Any:
    """Rows as the baselines read them: the words that the model reads, and labels, or tags."""
    from unrolled.baselines import Labelled, Tagged

    texts = [predictor.words(row.fields[: predictor.n_texts]) for row in rows]
    targets: list[Any] = [predictor.gold(row) for row in rows]
    if predictor.task.by_token:
        return Tagged([sentence for (sentence,) in texts], targets)
    return Labelled(texts, targets)


def _score(
    predictor: LabelPredictor, metric: str
) -> Callable[[Sequence[Any], Sequence[Any]], float]:
    def score(truth: Sequence[Any], found: Sequence[Any]) -> float:
        return predictor.scores_of(truth, found)[metric]

    return score


def _baselines(
    predictor: LabelPredictor, run: Path, rows: Sequence[Row], evaluation: LabelledEvaluation
) -> Any:
    from unrolled.inspect.label_report import Baseline
    from unrolled.metrics.intervals import bootstrap, paired_bootstrap

    folders = sorted((run / BASELINES_FOLDER).glob("*/"))
    if not folders:
        return
    from unrolled.baselines import load_baseline

    data = _labelled(predictor, rows)
    if predictor.task.by_token:
        truth, texts = data.tags, data.sentences
    else:
        truth, texts = data.targets, data.texts
    for folder in folders:
        baseline: Any = load_baseline(folder)
        tally = predictor.tally(truth, baseline.predict(texts))
        intervals = bootstrap(tally)
        metric = predictor.recipe.training.metric
        if metric not in intervals:  # the loss, which a baseline does not have
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

    from unrolled.inspect.attribution import explain_words

    mistakes = list(evaluation.mistakes)
    if words == "none" or not mistakes or predictor.task.by_token:
        return mistakes
    inputs = [rows[each.index].fields[: predictor.n_texts] for each in mistakes]
    return [
        replace(mistake, words=tuple(_one_after_the_other(texts)))
        for mistake, texts in zip(mistakes, explain_words(predictor, inputs, words), strict=True)
    ]


def _one_after_the_other(texts: Sequence[Any]) -> Iterator[tuple[str, float]]:
    """The weighed words of all texts of an input, with a sign between texts."""
    from unrolled.metrics.slices import TEXT_SEPARATOR

    for place, words in enumerate(texts):
        if place:
            yield TEXT_SEPARATOR, 0.0
        yield from words


def _notes(evaluation: LabelledEvaluation) -> list[str]:
    notes = []
    if evaluation.n_cut:
        notes.append(
            f"{evaluation.n_cut:,} texts are longer than data.max_length and were {evaluation.when_long}."
        )
    scores = evaluation.scores
    notes += [
        f"With the words of each text in random order, {name} is {value:.2f}% "
        f"({value - scores[name]:+.2f}%)."
        for name, value in evaluation.shuffled.items()
    ]
    return notes
