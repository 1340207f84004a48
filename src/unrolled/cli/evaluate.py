"""`unrolled evaluate`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unrolled import storage
from unrolled.cli.options import (
    Files,
    Overrides,
    Precision,
    decoding_from_options,
)
from unrolled.errors import ConfigError
from unrolled.quoting import escape

if TYPE_CHECKING:
    from unrolled.inspect.label_report import Baseline
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.language_model import LanguagePredictor
    from unrolled.predictors.seq2seq import Predictor
from unrolled.cli.app import app


@app.command(help_epilogue="Options --decoding.field VALUE change how answers are searched for.")
def evaluate(
    run: Path,
    /,
    *,
    data: Files = (),
    split: Literal["test", "valid"] = "test",
    record: Path | None = None,
    precision: Precision = "float32",
    cache: int = 0,
    cache_theta: float | None = None,
    cache_weight: float | None = None,
    shuffle_words: bool = False,
    words: Literal["none", "attention", "gradients", "occlusion"] = "gradients",
    out: Path | None = None,
    overrides: Overrides = (),
) -> None:
    """Score a trained run on data it has not seen.

    A run that answers with labels also writes report.html and predictions.jsonl.

    Args:
        run: run folder.
        data: data to score on, with the columns of the training data, or text for a language model.
        split: which held-out part of the run's own data to score on, without --data.
        record: file to append the scores to as a line of JSON, with date and commit.
        precision: what single steps keep the recurrent weights in; less is faster and coarser. A
            language model is then read step by step.
        cache: of a language model: mix in the words that followed the last CACHE states, the nearest
            the most (Grave et al. 2017); 0 = off.
        cache_theta: how much nearer states count in the cache; 0.3 by default.
        cache_weight: the cache's share of the mixture; 0.1 by default.
        shuffle_words: of a run that answers with labels: score the same texts with their words in random
            order too, which tells what their order was worth.
        words: how the report finds which words of the worst mistakes mattered.
        out: folder for report.html and predictions.jsonl; by default one in the run folder.
    """
    from unrolled.predictors.load import load
    from unrolled.predictors.results_file import record as append_record

    if record is not None:
        storage.require_no_link_in(run, record)
    if not cache and (cache_theta is not None or cache_weight is not None):
        raise ConfigError("--cache-theta and --cache-weight belong to --cache; give its size")
    predictor = load(run, precision=precision)
    about: dict[str, object] = {"run": run.name, "data": list(data) or split}
    if precision != "float32":
        about["precision"] = precision
    given = _Given(
        run, data, split, cache, cache_theta, cache_weight, shuffle_words, words, out, overrides
    )
    evaluation, more = _EVALUATE[predictor.task.kind.name](predictor, given)
    if record is not None:
        append_record(evaluation, record, **about, **more)


@dataclass(frozen=True)
class _Given:
    """The arguments of `evaluate` that depend on the kind of task."""

    run: Path
    data: Files
    split: Literal["test", "valid"]
    cache: int
    cache_theta: float | None
    cache_weight: float | None
    shuffle_words: bool
    words: Literal["none", "attention", "gradients", "occlusion"]
    out: Path | None
    overrides: Overrides


_Scored = tuple[Any, dict[str, object]]
"""An evaluation, printed, and what else belongs to its figures."""


def _evaluate_running_text(predictor: LanguagePredictor, given: _Given) -> _Scored:
    from unrolled.layers.neural_cache import ContinuousCache

    if given.overrides:
        name = given.overrides[0][0]
        raise ConfigError(f"--{name} does not apply to a language model; leave it out")
    data = given.data
    stream = predictor.read(data) if data else predictor.held_out(given.split)
    memory = None
    if given.cache:
        options = {"theta": given.cache_theta, "weight": given.cache_weight}
        memory = ContinuousCache(
            given.cache, **{name: value for name, value in options.items() if value is not None}
        )
    evaluation = predictor.evaluate(stream, memory)
    _print(evaluation.lines())
    return evaluation, {}


def _evaluate_labels(predictor: LabelPredictor, given: _Given) -> _Scored:
    from unrolled.cli.predict import check_words
    from unrolled.inspect.label_evaluation import evaluate_baselines, write_evaluation

    run, data, split = given.run, given.data, given.split
    if given.overrides or given.cache:
        name = given.overrides[0][0] if given.overrides else "cache"
        raise ConfigError(f"--{name} does not apply to labels; leave it out")
    rows = predictor.read(data) if data else predictor.held_out(split)
    if not predictor.task.by_token:
        check_words(predictor, given.words)
    seed = predictor.recipe.seed if given.shuffle_words else None
    evaluation = predictor.evaluate(rows, data[0] if data else f"the {split} part", seed)
    baselines = evaluate_baselines(predictor, run, rows, evaluation)
    _print(evaluation.lines())
    _print(line for baseline in baselines for line in _baseline_lines(baseline))
    name = Path(data[0]).name.split(".")[0] if data else split
    folder = given.out or run / f"evaluation-{name}"
    if given.out is None:
        storage.require_own_folder(folder)
    page, predictions = write_evaluation(
        folder,
        predictor,
        rows,
        evaluation,
        title=f"{run.name} on {name}",
        baselines=baselines,
        words=given.words,
        command=shlex.join(["unrolled", *sys.argv[1:]]),
    )
    print(f"\n{escape(f'{page} · {predictions}')}")
    return evaluation, {}


def _baseline_lines(baseline: Baseline) -> Iterator[str]:
    comparison = baseline.comparison
    if comparison is not None:
        yield (
            f"baseline {baseline.name:20}  {comparison.score} {comparison.b:.2%}  model "
            f"{comparison.difference:+.2%} ({comparison.low:+.2%} to {comparison.high:+.2%})"
        )


def _evaluate_text(predictor: Predictor, given: _Given) -> _Scored:
    from unrolled.text.readers import read_rows

    if given.cache:
        raise ConfigError(f"--cache only applies to a language model, and {given.run} is none")
    decoding = decoding_from_options(predictor.recipe.decoding, given.overrides)
    if given.data:
        columns = predictor.recipe.data.columns
        rows = list(read_rows(given.data, columns or None, len(predictor.task.columns)))
    else:
        rows = predictor.held_out(given.split)
    evaluation = predictor.evaluate(rows, decoding)
    _print(evaluation.lines())
    return evaluation, {"decoding": asdict(decoding)}


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(escape(line))


_EVALUATE: Mapping[str, Callable[[Any, _Given], _Scored]] = {
    "seq2seq": _evaluate_text,
    "labels": _evaluate_labels,
    "language_model": _evaluate_running_text,
}
"""By name of the kind of task, which is not imported before a command needs it."""
