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
    DECODING_HELP,
    Files,
    Overrides,
    Precision,
    decoding_from_options,
)
from unrolled.config import BleuTokenizer
from unrolled.errors import ConfigError
from unrolled.quoting import escape, one_message

if TYPE_CHECKING:
    from unrolled.inspect.label_report import Baseline
    from unrolled.predictors.labels import LabelPredictor
    from unrolled.predictors.language_model import LanguagePredictor
    from unrolled.predictors.seq2seq import Predictor
from unrolled.cli.app import app


@app.command(help_epilogue=DECODING_HELP)
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
    bleu_tokenizer: BleuTokenizer | None = None,
    shuffle_words: bool = False,
    words: Literal["none", "attention", "gradients", "occlusion"] = "gradients",
    out: Path | None = None,
    overrides: Overrides = (),
) -> None:
    """Evaluate a trained model on held-out data.

    For classify, pair and tag, report.html and predictions.jsonl are written too.

    Args:
        run: folder of a trained model, written by 'unrolled train'.
        data: data to evaluate on instead of held-out data, in the same format and with the same columns
            as the training data; for a language model, text files.
        split: if --data is not given: part of the run's data to evaluate on.
        record: file to append the scores to, as one line of JSON with the date and, if known, Unrolled's
            git commit.
        precision: for translate and language models: precision of the recurrent weights; bfloat16 and
            int8 can be faster but are less accurate, and need the native kernels (see 'unrolled
            doctor'). With either, a language model reads text one token at a time.
        cache: for language models: size of a continuous cache (Grave et al. 2017). The model's
            distribution is mixed with one over the words after the last CACHE hidden states, by
            similarity to the current state; 0 for no cache.
        cache_theta: θ of the cache, at least 0: how strongly similar states are preferred (with 0, all
            states count equally); 0.3 by default.
        cache_weight: weight λ of the cache in the mixture, at least 0 and less than 1; 0.1 by default.
        bleu_tokenizer: for translate: sacrebleu's tokenizer for BLEU. By default the run's setting
            training.bleu_tokenizer, auto, which chooses by the references: 13a for text with blanks
            between words, zh for Chinese, ja-mecab or char for Japanese, char for Thai and others.
        shuffle_words: for classify, pair and tag: also score the same texts with their words in random
            order, to measure how much the model relies on word order.
        words: for classify and pair: attribution method. The report shows how much each word contributed
            to the worst mistakes.
        out: for classify, pair and tag: folder for report.html and predictions.jsonl; by default
            evaluation-NAME in the run folder; NAME is the split or the data file's name up to a dot.
    """
    from unrolled.cli.work import reported_on_stderr
    from unrolled.predictors.load import load
    from unrolled.predictors.results_file import record as append_record

    if record is not None:
        storage.require_no_link_in(run, record)
    if not cache and (cache_theta is not None or cache_weight is not None):
        raise ConfigError("--cache-theta and --cache-weight need --cache; add --cache SIZE")
    predictor = load(run, precision=precision)
    about: dict[str, object] = {"run": run.name, "data": list(data) or split}
    if precision != "float32":
        about["precision"] = precision
    arguments = _Arguments(
        run,
        data,
        split,
        cache,
        cache_theta,
        cache_weight,
        bleu_tokenizer,
        shuffle_words,
        words,
        out,
        overrides,
    )
    if bleu_tokenizer is not None and predictor.task.kind.name != "seq2seq":
        raise ConfigError(
            f"--bleu-tokenizer does not apply to task '{predictor.task.name}'; remove it"
        )
    with reported_on_stderr():
        evaluation, more = _EVALUATE[predictor.task.kind.name](predictor, arguments)
    if record is not None:
        append_record(evaluation, record, **about, **more)


@dataclass(frozen=True)
class _Arguments:
    """The arguments of `evaluate` that depend on the kind of task."""

    run: Path
    data: Files
    split: Literal["test", "valid"]
    cache: int
    cache_theta: float | None
    cache_weight: float | None
    bleu_tokenizer: BleuTokenizer | None
    shuffle_words: bool
    words: Literal["none", "attention", "gradients", "occlusion"]
    out: Path | None
    overrides: Overrides


_Scored = tuple[Any, dict[str, object]]
"""An evaluation, already printed, and further entries for its record."""


def _evaluate_running_text(predictor: LanguagePredictor, arguments: _Arguments) -> _Scored:
    from unrolled.layers.neural_cache import ContinuousCache

    if arguments.overrides:
        name = arguments.overrides[0][0]
        raise ConfigError(f"--{name} does not apply to language models; remove it")
    data = arguments.data
    stream = predictor.read(data) if data else predictor.held_out(arguments.split)
    memory = None
    if arguments.cache:
        options = {"theta": arguments.cache_theta, "weight": arguments.cache_weight}
        memory = ContinuousCache(
            arguments.cache, **{name: value for name, value in options.items() if value is not None}
        )
    evaluation = predictor.evaluate(stream, memory)
    _print(evaluation.lines())
    return evaluation, {}


def _evaluate_labels(predictor: LabelPredictor, arguments: _Arguments) -> _Scored:
    from unrolled.cli.predict import check_words
    from unrolled.inspect.label_evaluation import evaluate_baselines, write_evaluation

    run, data, split = arguments.run, arguments.data, arguments.split
    if arguments.overrides or arguments.cache:
        name = arguments.overrides[0][0] if arguments.overrides else "cache"
        raise ConfigError(f"--{name} does not apply to task '{predictor.task.name}'; remove it")
    notes: list[str] = []
    rows = predictor.read(data, notes) if data else predictor.held_out(split)
    _print_notes(notes)
    if not predictor.task.by_token:
        check_words(predictor, arguments.words)
    seed = predictor.recipe.seed if arguments.shuffle_words else None
    evaluation = predictor.evaluate(rows, data[0] if data else f"the {split} part", seed)
    baselines = evaluate_baselines(predictor, run, rows, evaluation)
    _print(evaluation.lines())
    _print(line for baseline in baselines for line in _baseline_lines(baseline))
    name = Path(data[0]).name.split(".")[0] if data else split
    folder = arguments.out or run / f"evaluation-{name}"
    if arguments.out is None:
        storage.require_own_folder(folder)
    page, predictions = write_evaluation(
        folder,
        predictor,
        rows,
        evaluation,
        title=f"{run.name} on {name}",
        baselines=baselines,
        words=arguments.words,
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


def _evaluate_text(predictor: Predictor, arguments: _Arguments) -> _Scored:
    if arguments.cache:
        raise ConfigError(f"--cache does not apply to task '{predictor.task.name}'; remove it")
    decoding = decoding_from_options(predictor.recipe.decoding, arguments.overrides)
    data, split = arguments.data, arguments.split
    notes = list[str]()
    rows = predictor.read(data, notes) if data else predictor.held_out(split)
    _print_notes(notes)
    evaluation = predictor.evaluate(rows, decoding, bleu_tokenizer=arguments.bleu_tokenizer)
    _print(evaluation.lines())
    return evaluation, {"decoding": asdict(decoding)}


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(escape(line))


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {one_message(note)}", file=sys.stderr)


_EVALUATE: Mapping[str, Callable[[Any, _Arguments], _Scored]] = {
    "seq2seq": _evaluate_text,
    "labels": _evaluate_labels,
    "language_model": _evaluate_running_text,
}
"""By the name of a task's kind; a name, because kinds are only imported when a command needs them."""
